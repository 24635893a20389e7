//! The harness with daemons that are known to work: Debian's.
#![allow(clippy::unwrap_used)] // In the helpers of the tests, as in the tests: a failure shows its line.

use std::fs;
use std::time::Duration;

use anyhow::{Result, ensure};
use ctdb_harness::{Cluster, ClusterLock, Helper, RunState, flags, require_peer, wait_until};

const LIMIT: Duration = Duration::from_secs(60);

/// Of all processes, those that belong to the cluster.
fn processes_with(base: &std::path::Path) -> usize {
    let base = base.to_str().unwrap().as_bytes();
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let environments = entries.filter_map(|entry| fs::read(entry.path().join("environ")).ok());
    environments
        .filter(|env| env.windows(base.len()).any(|window| window == base))
        .count()
}

#[test]
fn a_cluster_starts_loses_its_leader_gets_it_back_and_leaves_nothing_behind() -> Result<()> {
    let Some(debian) = require_peer() else {
        return Ok(());
    };
    let cluster = Cluster::builder().nodes(2, &debian).build()?;
    cluster.start()?;
    cluster.wait_healthy(LIMIT)?;
    assert_eq!(cluster.running(), [0, 1]);
    assert!(cluster.node(0).start().is_err(), "it runs already");

    let rows = cluster.node(1).status()?;
    assert_eq!(
        rows.iter().map(|row| row.this_node).collect::<Vec<_>>(),
        [false, true]
    );
    assert_eq!(rows[0].address.to_string(), cluster.node(0).address().to_string());
    assert!(
        rows.iter()
            .all(|row| !row.disconnected && !row.unhealthy && !row.inactive)
    );

    let leader = cluster.leader()?;
    let (old, other) = (cluster.node(leader), cluster.node(1 - leader));
    let said = other.ctdb(&["leader"])?.ok()?.text();
    assert_eq!(said, format!("{leader}\n"));
    assert_eq!(old.processes_of("ctdb_recoverd").len(), 1);
    assert_eq!(
        old.processes_of("ctdb_mutex_fcntl_helper").len(),
        2,
        "the leader holds the lock"
    );
    assert!(other.processes_of("ctdb_mutex_fcntl_helper").is_empty());

    let generation = cluster.generation()?;
    old.kill()?;
    assert!(!old.is_running() && old.pid().is_none());
    cluster.wait_healthy(LIMIT)?;
    let state = other.state()?;
    assert_eq!(state.runstate, RunState::Running);
    assert_ne!(state.generation, generation);
    assert_ne!(state.flags[leader] & flags::DISCONNECTED, 0);
    assert_eq!(cluster.leader()?, 1 - leader);
    other.wait_log("Recovery has finished", LIMIT)?;

    old.start()?;
    cluster.wait_healthy(LIMIT)?;
    cluster.stop()?;
    assert!(
        cluster
            .nodes()
            .iter()
            .all(|node| node.exit_status().is_some_and(|status| status.success()))
    );

    let dir = cluster.dir().to_owned();
    drop(cluster);
    assert!(!dir.exists());
    assert_eq!(processes_with(&dir), 0);
    Ok(())
}

#[test]
fn a_paused_node_is_not_asked_and_goes_on_when_resumed() -> Result<()> {
    let Some(debian) = require_peer() else {
        return Ok(());
    };
    let cluster = Cluster::builder()
        .nodes(1, &debian)
        .cluster_lock(ClusterLock::None)
        .build()?;
    let node = cluster.node(0);
    assert!(node.pause().is_err(), "it does not run yet");
    node.start()?;
    node.wait_ready(LIMIT)?;
    node.pause()?;
    assert!(cluster.running().is_empty());
    assert!(node.state().is_err());
    node.resume()?;
    node.wait_ready(LIMIT)?;

    // A cluster that is dropped while one node is paused and one never ran goes as well.
    node.pause()?;
    let dir = cluster.dir().to_owned();
    drop(cluster);
    assert_eq!(processes_with(&dir), 0);
    Ok(())
}

#[test]
fn a_daemon_that_ends_during_a_wait_is_told_with_its_log() -> Result<()> {
    let Some(debian) = require_peer() else {
        return Ok(());
    };
    let cluster = Cluster::builder()
        .nodes(1, &debian)
        .conf("cluster", "transport", "pigeon")
        .build()?;
    cluster.start()?;
    // Whether it is seen to have ended before the wait or in it, is a matter of time.
    let node = cluster.node(0);
    let failed = node.wait_running(LIMIT).unwrap_err();
    let text = format!("{failed:#}");
    assert!(
        text.contains("exit status: 1") && text.contains("pigeon"),
        "{text}"
    );
    Ok(())
}

#[test]
fn the_environment_of_a_helper_can_be_replaced() -> Result<()> {
    let Some(debian) = require_peer() else {
        return Ok(());
    };
    let dir = tempfile::tempdir()?;
    let wrapper = dir.path().join("lock");
    let helper = debian.helper(Helper::ClusterMutex);
    fs::write(
        &wrapper,
        format!("#!/bin/sh\necho wrapped >&2\nexec {} \"$@\"\n", helper.display()),
    )?;
    fs::set_permissions(&wrapper, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    let binaries = debian.with_helper(Helper::ClusterMutex, &wrapper);
    let cluster = Cluster::builder().nodes(1, &binaries).build()?;
    cluster.start()?;
    wait_until("the wrapper", LIMIT, || {
        ensure!(cluster.node(0).log_contains("wrapped"));
        Ok(())
    })?;
    Ok(())
}
