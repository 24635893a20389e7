//! The client against Debian's daemon: one cluster of three nodes, in which the tests run one after the other.
//!
//! Not the standard test runner: that knows no "after the last test", and a start of the cluster takes ten seconds. Arguments are parts of
//! test names; options are ignored.

mod cluster;
mod controls;
mod g_lock;
mod messages;
mod records;
#[path = "../../examples/tour.rs"]
#[expect(dead_code, reason = "its main is that of the example")]
mod tour;
mod transactions;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use cluster::{Test, run, start};
use ctdb_harness::{peer, skip};

macro_rules! tests {
    ($($module:ident { $($test:ident,)* })*) => {
        &[$($((
            concat!(stringify!($module), "::", stringify!($test)),
            |handle, cluster| Box::pin($module::$test(handle, cluster)),
        ),)*)*]
    };
}

const TESTS: &[(&str, Test)] = tests! {
    controls {
        every_question_about_a_node_is_answered_by_something_that_decodes,
        tunables_are_listed_read_and_set,
        a_database_of_each_kind_is_attached_and_described,
        flags_of_a_database_are_set_on_all_nodes,
        many_controls_under_way_find_their_answers,
        a_control_to_many_nodes_is_answered_or_refused_by_each,
        raw_status_flags_and_controls_without_answer_work_too,
        no_answer_in_time_is_a_timeout_and_no_daemon_a_disconnect,
    }
    messages {
        messages_go_from_node_to_node_in_order,
        two_handlers_of_a_service_get_each_message_once_and_none_after_their_end,
        bulk_keeps_in_step_with_the_daemon,
    }
    records {
        a_record_moves_to_who_locks_it_and_back_with_its_data,
        a_deleted_record_is_empty_for_the_next_node,
        tasks_of_one_process_have_a_record_in_turn,
        a_read_only_copy_may_be_read_but_not_changed,
        a_walk_over_the_local_copy_shows_every_record,
        a_walk_over_the_cluster_shows_each_record_once_and_deleted_ones_if_asked,
        records_of_persistent_databases_and_records_without_key_cannot_be_locked,
    }
    g_lock {
        only_one_of_two_nodes_has_a_write_lock,
        readers_share_and_a_writer_waits_for_the_last_of_them,
        the_entry_of_a_dead_client_is_removed_by_the_next_who_locks,
        a_record_of_smbd_is_left_alone,
    }
    transactions {
        the_tour_of_the_example_goes_to_its_end,
        a_commit_is_on_all_nodes_and_counts_the_sequence_number,
        debians_tool_and_our_client_see_each_others_commits,
        a_cancelled_dropped_or_empty_transaction_changes_nothing_and_unlocks,
        a_deleted_record_is_gone_for_transactions,
        transactions_of_three_nodes_do_not_lose_an_update_even_in_a_recovery,
        a_volatile_database_has_no_transactions,
    }
};

fn main() -> ExitCode {
    let filters: Vec<String> = std::env::args()
        .skip(1)
        .filter(|arg| !arg.starts_with('-'))
        .collect();
    let wanted = |name: &str| filters.is_empty() || filters.iter().any(|part| name.contains(part.as_str()));
    let tests: Vec<_> = TESTS.iter().filter(|(name, _)| wanted(name)).collect();
    let count = tests.len();
    println!("running {count} tests");
    let mut failed = 0;
    match peer() {
        Err(error) => {
            // A test is known by the name of its thread.
            let reason = format!("{error:#}");
            for (name, _) in &tests {
                let reason = reason.clone();
                failed += usize::from(!run(name, move || skip(&reason)));
            }
        }
        Ok(_) if tests.is_empty() => {}
        Ok(binaries) => {
            let cluster = Arc::new(start(&binaries).expect("Debian's cluster starts"));
            for (name, test) in tests {
                let (began, cluster) = (Instant::now(), cluster.clone());
                let passed = run(name, move || cluster::within_limit(cluster, *test));
                let verdict = if passed { "ok" } else { "FAILED" };
                println!(
                    "test {name} ... {verdict} ({:.2} s)",
                    began.elapsed().as_secs_f64()
                );
                failed += usize::from(!passed);
            }
            if failed > 0 {
                println!("{}", cluster.log_tails(40));
            }
        }
    }
    let verdict = if failed == 0 { "ok" } else { "FAILED" };
    println!(
        "test result: {verdict}. {} passed; {failed} failed; 0 ignored",
        count - failed
    );
    if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
