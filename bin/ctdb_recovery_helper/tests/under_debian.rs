//! The helper under the recovery daemon of Debian's ctdb, between Debian's daemons.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use ctdb_harness::{Binaries, Cluster, Helper, require_peer, wait_until};

const LIMIT: Duration = Duration::from_secs(60);

/// Debian's programs with our helper.
fn with_our_helper(debian: Binaries) -> Binaries {
    debian.with_helper(
        Helper::Recovery,
        Path::new(env!("CARGO_BIN_EXE_ctdb_recovery_helper")),
    )
}

fn started(debian: Binaries) -> Result<Cluster> {
    let cluster = Cluster::builder()
        .nodes(3, &with_our_helper(debian))
        .tunable("RerecoveryTimeout", 1)
        .build()?;
    cluster.start()?;
    cluster.wait_healthy(LIMIT)?;
    Ok(cluster)
}

fn tool(cluster: &Cluster, pnn: usize, args: &[&str]) -> Result<String> {
    let run = cluster.node(pnn).ctdb(args)?.ok();
    let run = run.with_context(|| format!("node {pnn}: ctdb {args:?}"))?;
    Ok(run.text().trim().to_owned())
}

/// What `readkey` says of a record with this value.
fn value_shown(value: &str) -> String {
    format!("Data: size:{} ptr:[{value}]", value.len())
}

fn recover(cluster: &Cluster) -> Result<()> {
    let before = cluster.generation()?;
    tool(cluster, 0, &["recover"])?;
    wait_until("a new generation", LIMIT, || {
        ensure!(cluster.generation()? != before, "still {before}");
        Ok(())
    })?;
    cluster.wait_healthy(LIMIT)?;
    Ok(())
}

#[test]
fn every_kind_of_database_keeps_its_records_through_recoveries() -> Result<()> {
    let Some(debian) = require_peer() else {
        return Ok(());
    };
    let cluster = started(debian)?;
    tool(&cluster, 0, &["attach", "volatile.tdb"])?;
    tool(&cluster, 1, &["attach", "persistent.tdb", "persistent"])?;
    tool(&cluster, 2, &["attach", "replicated.tdb", "replicated"])?;
    for n in 0..10 {
        let (key, value) = (format!("key{n}"), format!("value{n}"));
        // Records end up on different nodes, some of them after a visit elsewhere.
        tool(&cluster, n % 3, &["writekey", "volatile.tdb", &key, "old"])?;
        tool(&cluster, (n + 1) % 3, &["writekey", "volatile.tdb", &key, &value])?;
    }
    tool(&cluster, 0, &["pstore", "persistent.tdb", "p", "kept"])?;
    tool(&cluster, 1, &["pstore", "persistent.tdb", "gone", "deleted"])?;
    tool(&cluster, 2, &["pdelete", "persistent.tdb", "gone"])?;
    tool(&cluster, 2, &["pstore", "replicated.tdb", "r", "kept too"])?;

    for round in 0..2 {
        recover(&cluster)?;
        for n in 0..10 {
            let (key, value) = (format!("key{n}"), format!("value{n}"));
            let shown = tool(&cluster, (n + round) % 3, &["readkey", "volatile.tdb", &key])?;
            ensure!(
                shown.contains(&value_shown(&value)),
                "round {round}, {key}: {shown}"
            );
        }
        for pnn in 0..3 {
            ensure!(
                tool(&cluster, pnn, &["pfetch", "persistent.tdb", "p"])? == "kept",
                "node {pnn}"
            );
            ensure!(
                tool(&cluster, pnn, &["pfetch", "replicated.tdb", "r"])? == "kept too",
                "node {pnn}"
            );
        }
    }
    let leader = cluster.leader()?;
    ensure!(
        cluster.node(leader).log_contains("databases recovered on nodes"),
        "it was our helper that ran"
    );
    Ok(())
}

#[test]
fn a_killed_node_takes_only_its_own_records_with_it_and_comes_back() -> Result<()> {
    let Some(debian) = require_peer() else {
        return Ok(());
    };
    let cluster = started(debian)?;
    tool(&cluster, 0, &["attach", "volatile.tdb"])?;
    tool(&cluster, 0, &["attach", "persistent.tdb", "persistent"])?;
    tool(&cluster, 0, &["writekey", "volatile.tdb", "of0", "here"])?;
    tool(&cluster, 1, &["writekey", "volatile.tdb", "of1", "here"])?;
    tool(&cluster, 2, &["pstore", "persistent.tdb", "p", "1"])?;
    // With its event daemon, which would be in the way of the next one for some seconds.
    cluster.node(2).kill_all();
    cluster.wait_healthy(LIMIT)?;
    tool(&cluster, 1, &["pstore", "persistent.tdb", "p", "2"])?;
    tool(&cluster, 1, &["attach", "late.tdb"])?;
    tool(&cluster, 1, &["writekey", "late.tdb", "k", "v"])?;
    cluster.node(2).start()?;
    cluster.wait_healthy(LIMIT)?;
    for pnn in 0..3 {
        for key in ["of0", "of1"] {
            let shown = tool(&cluster, pnn, &["readkey", "volatile.tdb", key])?;
            ensure!(shown.contains(&value_shown("here")), "node {pnn}, {key}: {shown}");
        }
        ensure!(
            tool(&cluster, pnn, &["pfetch", "persistent.tdb", "p"])? == "2",
            "node {pnn}"
        );
        let shown = tool(&cluster, pnn, &["readkey", "late.tdb", "k"])?;
        ensure!(shown.contains(&value_shown("v")), "node {pnn}: {shown}");
    }
    Ok(())
}
