//! A daemon that can't understand its configuration names file, line, what was found and what would be right, and
//! ends with status 1.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::time::Duration;

use ctdb_harness::{Binaries, Cluster};

const LIMIT: Duration = Duration::from_secs(10);

/// Starts a daemon whose directory was changed by `spoil`, and returns its exit code and log.
fn start_with(spoil: impl FnOnce(&Path)) -> (Option<i32>, String) {
    let cluster = Cluster::builder()
        .nodes(1, &Binaries::ours().unwrap())
        .build()
        .unwrap();
    let node = cluster.node(0);
    spoil(node.base());
    node.start().unwrap();
    let status = node.wait_end(LIMIT).unwrap();
    (status.code(), node.log())
}

fn append(file: &Path, text: &str) {
    let old = std::fs::read_to_string(file).unwrap();
    std::fs::write(file, old + text).unwrap();
}

/// Fails the test unless the daemon refused, with each of `wanted` in its log.
fn assert_refused(result: (Option<i32>, String), wanted: &[&str]) {
    let (code, log) = result;
    assert_eq!(code, Some(1), "{log}");
    for text in wanted {
        assert!(log.contains(text), "\"{text}\" is not in:\n{log}");
    }
}

#[test]
fn a_bad_value_in_ctdb_conf_is_named_with_its_line() {
    let refused =
        start_with(|base| append(&base.join("ctdb.conf"), "\n[cluster]\n\tleader timeout = soon\n"));
    assert_refused(refused, &["ctdb.conf:", "leader timeout", "soon", "expected"]);
}

#[test]
fn an_empty_value_in_ctdb_conf_is_refused() {
    let refused = start_with(|base| append(&base.join("ctdb.conf"), "\n[event]\n\tdebug script =\n"));
    assert_refused(refused, &["ctdb.conf:", "debug script"]);
}

#[test]
fn a_bad_address_in_the_nodes_file_is_named_with_its_line() {
    let refused = start_with(|base| append(&base.join("nodes"), "10.0.0.256\n"));
    assert_refused(refused, &["nodes:2", "10.0.0.256", "expected"]);
}

#[test]
fn a_missing_nodes_file_is_named() {
    let refused = start_with(|base| std::fs::remove_file(base.join("nodes")).unwrap());
    assert_refused(refused, &["nodes"]);
}

#[test]
fn a_nodes_file_without_this_host_is_refused() {
    let refused = start_with(|base| {
        std::fs::write(base.join("nodes"), "203.0.113.1\n203.0.113.2\n").unwrap();
        let conf = std::fs::read_to_string(base.join("ctdb.conf")).unwrap();
        let automatic: Vec<&str> = conf.lines().filter(|l| !l.contains("node address")).collect();
        std::fs::write(base.join("ctdb.conf"), automatic.join("\n")).unwrap();
    });
    assert_refused(refused, &["no address of the nodes file"]);
}

#[test]
fn a_node_address_that_is_not_in_the_nodes_file_is_named() {
    let refused =
        start_with(|base| std::fs::write(base.join("nodes"), "203.0.113.1\n203.0.113.2\n").unwrap());
    assert_refused(refused, &["node address 127.", "is not in the nodes file"]);
}

#[test]
fn a_missing_database_directory_is_named() {
    let refused = start_with(|base| std::fs::remove_dir_all(base.join("db/volatile")).unwrap());
    assert_refused(refused, &["volatile database directory", "db/volatile"]);
}

#[test]
fn a_cluster_lock_helper_that_does_not_exist_is_named() {
    let cluster = Cluster::builder()
        .nodes(1, &Binaries::ours().unwrap())
        .env("CTDB_CLUSTER_MUTEX_HELPER", "/nonexistent/lock-helper")
        .build()
        .unwrap();
    let node = cluster.node(0);
    node.start().unwrap();
    let code = node.wait_end(LIMIT).unwrap().code();
    assert_refused((code, node.log()), &["cluster lock", "/nonexistent/lock-helper"]);
}

#[test]
fn a_bad_tunable_is_named_but_does_not_keep_the_daemon_from_starting() {
    let cluster = Cluster::builder()
        .nodes(1, &Binaries::ours().unwrap())
        .build()
        .unwrap();
    let node = cluster.node(0);
    std::fs::write(
        node.base().join("ctdb.tunables"),
        "NoSuchTunable=1\nControlTimeout=61\n",
    )
    .unwrap();
    node.start().unwrap();
    node.wait_ready(LIMIT).unwrap();
    assert!(node.log_contains("ctdb.tunables:1"), "{}", node.log());
    assert!(node.log_contains("NoSuchTunable"), "{}", node.log());
}

#[test]
fn a_second_daemon_of_the_same_node_is_refused_by_the_pid_file() {
    let cluster = Cluster::builder()
        .nodes(1, &Binaries::ours().unwrap())
        .build()
        .unwrap();
    let node = cluster.node(0);
    node.start().unwrap();
    node.wait_ready(LIMIT).unwrap();
    let ours = Binaries::ours().unwrap();
    let mut second = ours.daemon_command();
    let output = node.in_this_node(second.arg("--interactive")).output().unwrap();
    assert_eq!(output.status.code(), Some(11));
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(text.contains("it runs already"), "{text}");
    assert!(node.is_running());
}
