//! `kill -9`, of each kind of process.

use ctdb_cluster_tests::load;
use ctdb_cluster_tests::scene::{LIMIT, Scene};
use ctdb_harness::{ClusterLock, wait_until};
use nix::sys::signal::Signal;

use crate::{all_but, often, scene, three};

const ALL: [usize; 3] = [0, 1, 2];

/// Kills a node's daemon under load, and takes the node back.
fn lose_a_daemon(scene: &Scene, victim: usize) {
    let others = all_but(victim);
    let fault = || {
        scene.node(victim).kill()?;
        scene.healthy(&others)?;
        scene
            .node(others[0])
            .wait_log(&format!("Node {victim} "), LIMIT)?;
        Ok(())
    };
    scene.under_load(&others, &others, fault).unwrap();
    for other in others {
        let dead = scene.node(other).log();
        assert!(
            dead.lines()
                .any(|l| l.contains(&format!("Node {victim} (")) && l.contains("is dead")),
            "{dead}"
        );
    }
    // Its children don't outlive it.
    wait_until("the end of the killed daemon's children", LIMIT, || {
        let left = scene.node(victim).processes();
        anyhow::ensure!(left.is_empty(), "{left:?}");
        Ok(())
    })
    .unwrap();
    scene.node(victim).start().unwrap();
    scene.ends_well().unwrap();
}

#[test]
fn the_leaders_daemon_is_killed() {
    let scene = scene();
    let (leader, _) = scene.roles().unwrap();
    lose_a_daemon(&scene, leader);
}

#[test]
fn another_nodes_daemon_is_killed() {
    let scene = scene();
    let (_, others) = scene.roles().unwrap();
    lose_a_daemon(&scene, others[0]);
}

#[test]
fn without_a_cluster_lock_the_leaders_daemon_is_killed() {
    let scene = Scene::begin(three().cluster_lock(ClusterLock::None)).unwrap();
    let (leader, _) = scene.roles().unwrap();
    lose_a_daemon(&scene, leader);
}

/// Power off: all of the leader's processes, the one that holds the cluster lock among them.
#[test]
fn the_node_that_holds_the_cluster_lock_is_killed_as_a_whole() {
    let scene = scene();
    let (leader, others) = scene.roles().unwrap();
    let fault = || {
        scene.node(leader).kill_all();
        scene.healthy(&others)?;
        Ok(())
    };
    scene.under_load(&others, &others, fault).unwrap();
    let (new, _) = scene.roles().unwrap();
    assert!(scene.node(new).log_contains("The cluster lock is taken"));
    scene.node(leader).start().unwrap();
    scene.ends_well().unwrap();
}

/// Kills a child of one node's daemon; the nodes stay together, and an election or a recovery may follow.
fn lose_a_child(scene: &Scene, pnn: usize, program: &str, line: &str) {
    let fault = || {
        let victims = scene.node(pnn).processes_of(program);
        anyhow::ensure!(!victims.is_empty(), "no {program} on node {pnn}");
        victims.iter().for_each(|process| process.signal(Signal::SIGKILL));
        scene.node(pnn).wait_log(line, LIMIT)?;
        scene.healthy(&ALL)?;
        Ok(())
    };
    scene.under_load(&ALL, &ALL, fault).unwrap();
}

#[test]
fn the_leaders_recovery_daemon_is_killed() {
    let scene = scene();
    let (leader, _) = scene.roles().unwrap();
    lose_a_child(&scene, leader, "ctdb_recoverd", "it is started again");
    scene.cluster.leader().unwrap();
    scene.ends_well().unwrap();
}

#[test]
fn another_nodes_recovery_daemon_is_killed() {
    let scene = scene();
    let (_, others) = scene.roles().unwrap();
    lose_a_child(&scene, others[0], "ctdb_recoverd", "it is started again");
    scene.ends_well().unwrap();
}

#[test]
fn the_cluster_lock_helper_is_killed() {
    let scene = scene();
    let (leader, _) = scene.roles().unwrap();
    lose_a_child(
        &scene,
        leader,
        "ctdb_mutex_fcntl_helper",
        "The cluster lock is lost",
    );
    wait_until("a leader with the lock", LIMIT, || {
        let (leader, _) = scene.roles()?;
        anyhow::ensure!(
            !scene
                .node(leader)
                .processes_of("ctdb_mutex_fcntl_helper")
                .is_empty(),
            "node {leader} leads without the lock"
        );
        Ok(())
    })
    .unwrap();
    scene.ends_well().unwrap();
}

/// Idle, during commits, and in the middle of a recovery, when one of them keeps databases frozen.
#[test]
fn lock_helpers_are_killed() {
    let scene = Scene::begin(often(three())).unwrap();
    let fault = || {
        for _ in 0..20 {
            for pnn in ALL {
                let helpers = scene.node(pnn).processes_of("ctdb_lock_helper");
                helpers.iter().for_each(|process| process.signal(Signal::SIGKILL));
            }
            let done = scene
                .node(0)
                .ctdb(&["pstore", load::DATABASE, "between", "kills"])?;
            anyhow::ensure!(done.code.is_some(), "the tool was killed");
        }
        scene.healthy(&ALL)?;
        Ok(())
    };
    scene.under_load(&ALL, &ALL, fault).unwrap();
    assert!(ALL.iter().any(|&pnn| scene.node(pnn).log_contains("lock helper")));
    scene.ends_well().unwrap();
}

/// A node that can't run events can't serve: its daemon ends in order, the others go on.
#[test]
fn the_event_daemon_is_killed() {
    let scene = scene();
    let (_, others) = scene.roles().unwrap();
    let victim = others[0];
    let left = all_but(victim);
    let fault = || {
        let eventd = scene.node(victim).wait_process("ctdb-eventd", LIMIT)?;
        eventd.signal(Signal::SIGKILL);
        scene.node(victim).wait_end(LIMIT)?;
        scene.healthy(&left)?;
        Ok(())
    };
    scene.under_load(&left, &left, fault).unwrap();
    assert!(scene.node(victim).log_contains("can't run events and shuts down"));
    scene.node(victim).start().unwrap();
    scene.ends_well().unwrap();
}

#[test]
fn two_of_three_nodes_are_killed_and_the_last_one_serves() {
    let scene = scene();
    let (leader, others) = scene.roles().unwrap();
    let last = others[1];
    let fault = || {
        scene.node(leader).kill_all();
        scene.node(others[0]).kill_all();
        scene.healthy(&[last])?;
        Ok(())
    };
    scene.under_load(&[last], &[last], fault).unwrap();
    assert_eq!(scene.cluster.leader().unwrap(), last);
    scene.cluster.start().unwrap();
    scene.ends_well().unwrap();
}

#[test]
fn all_nodes_are_killed_at_once_and_started_again() {
    let scene = scene();
    for pnn in ALL {
        scene.node(pnn).kill_all();
    }
    scene.cluster.start().unwrap();
    scene.ends_well_without_volatile_data().unwrap();
}

#[test]
fn a_node_is_killed_and_comes_back_ten_times_in_a_row() {
    let scene = Scene::begin(often(three())).unwrap();
    let fault = || {
        for round in 0..10 {
            // Now the leader, now another one, but never the node that the clients are at.
            let victim = 1 + round % 2;
            scene.node(victim).kill()?;
            scene.healthy(&all_but(victim))?;
            scene.node(victim).start()?;
            scene.healthy(&ALL)?;
        }
        Ok(())
    };
    scene.under_load(&[0], &ALL, fault).unwrap();
    scene.ends_well().unwrap();
}
