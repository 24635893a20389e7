//! SIGSTOP: everything keeps its sockets and locks, and does nothing.

use std::thread;
use std::time::{Duration, Instant};

use ctdb_cluster_tests::scene::{LIMIT, Scene};
use ctdb_harness::{ClusterLock, Process, wait_until};
use nix::sys::signal::Signal;

use crate::{all_but, quick_keepalives, three};

const ALL: [usize; 3] = [0, 1, 2];

/// Stops processes of a node until the others are healthy without it, and lets them go on.
fn stop_for_a_while(scene: &Scene, pnn: usize, stopped: &[Process]) {
    let others = all_but(pnn);
    let fault = || {
        stopped.iter().for_each(|process| process.signal(Signal::SIGSTOP));
        scene.node(others[0]).wait_log("nothing heard for", LIMIT)?;
        scene.healthy(&others)?;
        stopped.iter().for_each(|process| process.signal(Signal::SIGCONT));
        scene.healthy(&ALL)?;
        Ok(())
    };
    scene.under_load(&others, &ALL, fault).unwrap();
    scene.ends_well().unwrap();
}

#[test]
fn a_stopped_node_that_returns_is_taken_back() {
    let scene = Scene::begin(quick_keepalives(three())).unwrap();
    let (_, others) = scene.roles().unwrap();
    let victim = others[0];
    stop_for_a_while(&scene, victim, &scene.node(victim).processes());
}

/// A full minute, with default tunables: the others notice by the keepalives (25 s), work without it, and take it back.
#[test]
fn a_node_that_was_stopped_for_a_minute_is_taken_back() {
    let scene = Scene::begin(three()).unwrap();
    let (_, others) = scene.roles().unwrap();
    let victim = others[0];
    let begun = Instant::now();
    scene.node(victim).pause().unwrap();
    scene
        .cluster
        .wait_healthy_among(&all_but(victim), Duration::from_secs(55))
        .unwrap();
    // The minute itself is what is tested; there is no condition to wait for.
    thread::sleep(Duration::from_secs(60).saturating_sub(begun.elapsed()));
    scene.node(victim).resume().unwrap();
    scene.healthy(&ALL).unwrap();
    scene.ends_well().unwrap();
}

/// Elections by message: the stopped leader has no lock that it keeps from the others.
#[test]
fn without_a_cluster_lock_a_stopped_leader_that_returns_is_taken_back() {
    let nodes = quick_keepalives(three()).cluster_lock(ClusterLock::None);
    let scene = Scene::begin(nodes).unwrap();
    let (leader, _) = scene.roles().unwrap();
    stop_for_a_while(&scene, leader, &scene.node(leader).processes());
}

#[test]
fn a_stopped_daemon_whose_children_run_is_taken_back() {
    let scene = Scene::begin(quick_keepalives(three())).unwrap();
    let (_, others) = scene.roles().unwrap();
    let victim = others[0];
    stop_for_a_while(&scene, victim, &scene.node(victim).processes_of("ctdbd"));
}

/// The lock is the law: while the stopped leader keeps it nobody else leads, nobody is banned, and the nodes
/// wait. When the leader goes on the cluster is whole again.
#[test]
fn nobody_leads_while_a_stopped_node_keeps_the_cluster_lock() {
    let scene = Scene::begin(quick_keepalives(three())).unwrap();
    let (leader, others) = scene.roles().unwrap();
    let node = scene.node(others[0]);
    scene.node(leader).pause().unwrap();
    node.wait_log("nothing heard for", LIMIT).unwrap();
    node.wait_log("Another node holds the cluster lock", LIMIT)
        .unwrap();
    scene.node(leader).resume().unwrap();
    scene.ends_well().unwrap();
}

/// It does not answer SIGTERM either.
#[test]
fn a_stopped_recovery_daemon_is_replaced() {
    let nodes = three().tunable("RecdPingTimeout", 1).tunable("RecdFailCount", 1);
    let scene = Scene::begin(nodes).unwrap();
    let (leader, _) = scene.roles().unwrap();
    let fault = || {
        let old = scene.node(leader).wait_process("ctdb_recoverd", LIMIT)?;
        old.signal(Signal::SIGSTOP);
        scene.node(leader).wait_log("no sign of life", LIMIT)?;
        wait_until("another recovery daemon", LIMIT, || {
            let now = scene.node(leader).processes_of("ctdb_recoverd");
            anyhow::ensure!(now.iter().any(|new| new.pid != old.pid), "{now:?}");
            Ok(())
        })?;
        scene.healthy(&ALL)?;
        Ok(())
    };
    scene.under_load(&ALL, &ALL, fault).unwrap();
    scene.cluster.leader().unwrap();
    scene.ends_well().unwrap();
}
