//! Three recovery daemons over fake daemons: what they do, and how soon.
#![allow(clippy::unwrap_used)] // a test may panic, its helpers too

mod fake;

use std::time::Duration;

use ctdb_protocol::{
    DisableRequest, Generation, Message, NodeFlags, Opcode, Pnn, RecMode, Srvid, SrvidRequest,
};
use fake::{Cluster, World};

const SECOND: Duration = Duration::from_secs(1);
const MS: Duration = Duration::from_millis(1);
/// Where a test listens for answers.
const REPLY_TO: Srvid = Srvid(0xCE00_0000_0000_0007);

fn recovered(seed: u64) -> Cluster {
    let mut cluster = Cluster::new(3, seed);
    cluster.start_all();
    cluster.wait("the first recovery", SECOND, World::healthy);
    cluster.run(100 * MS);
    cluster
}

fn recoveries(cluster: &Cluster) -> usize {
    cluster.world.recoveries.borrow().len()
}

fn send(cluster: &Cluster, to: usize, srvid: Srvid, message: &Message<'_>) {
    let mut data = Vec::new();
    message.encode(&mut data);
    cluster.world.deliver(to, srvid, &data);
}

fn answer(cluster: &mut Cluster) -> i32 {
    cluster.wait("an answer", SECOND, |world| !world.answers.borrow().is_empty());
    let (srvid, data) = cluster.world.answers.borrow_mut().remove(0);
    assert_eq!(srvid, REPLY_TO);
    i32::from_le_bytes(data.try_into().unwrap())
}

#[test]
fn three_nodes_that_start_elect_and_recover_at_once() {
    let mut cluster = Cluster::new(3, 1);
    cluster.start_all();
    let took = cluster.wait("the first recovery", SECOND, World::healthy);
    assert!(took < 100 * MS, "{took:?}");
    cluster.run(20 * SECOND);
    assert_eq!(recoveries(&cluster), 1, "one is enough");
    assert!(cluster.world.healthy());
}

#[test]
fn a_dead_leader_s_successor_leads_and_recovers_at_once() {
    for seed in 1..20 {
        let mut cluster = recovered(seed);
        let dead = cluster.world.leader();
        cluster.kill(dead);
        let took = cluster.wait("a new leader", SECOND, |world| {
            world.healthy() && world.leader() != dead
        });
        assert!(took < 200 * MS, "seed {seed}: {took:?}");
    }
}

#[test]
fn an_operator_s_wish_on_any_node_reaches_the_leader_and_is_done_at_once() {
    let mut cluster = recovered(3);
    for n in 0..3 {
        let before = recoveries(&cluster);
        cluster.ask_for_recovery(n);
        let took = cluster.wait("the recovery", SECOND, |world| {
            world.healthy() && world.recoveries.borrow().len() > before
        });
        assert!(took < 100 * MS, "node {n}: {took:?}");
        cluster.run(300 * MS);
    }
    // The fourth within the pause has to wait for its end.
    cluster.ask_for_recovery(0);
    cluster.run(5 * SECOND);
    assert!(!cluster.world.healthy());
    cluster.wait("the end of the pause", 10 * SECOND, World::healthy);
}

#[test]
fn a_recovery_that_fails_is_tried_again() {
    let mut cluster = recovered(4);
    cluster.world.failures.set(2);
    cluster.ask_for_recovery(1);
    cluster.wait("the third attempt", 5 * SECOND, |world| {
        world.failures.get() == 0 && world.healthy()
    });
}

#[test]
fn a_stopped_leader_freezes_and_another_one_leads() {
    let mut cluster = recovered(5);
    let old = cluster.world.leader();
    cluster.change_flags(old, NodeFlags::STOPPED);
    let took = cluster.wait("a new leader", SECOND, |world| {
        world.healthy() && world.leader() != old && world.nodes.borrow()[old].frozen
    });
    assert!(took < 200 * MS, "{took:?}");
    let nodes = cluster.world.nodes.borrow();
    assert_eq!(
        nodes[old].recmode,
        RecMode::Active,
        "it stays out of the databases"
    );
    let leader = cluster.world.leader();
    assert_eq!(
        nodes[leader].flags[old],
        NodeFlags::STOPPED,
        "the leader took its word"
    );
    drop(nodes);
    cluster.change_flags(old, NodeFlags::empty());
    cluster.wait("its return", SECOND, World::healthy);
    assert_eq!(*cluster.world.recoveries.borrow().last().unwrap(), [0, 1, 2]);
}

#[test]
fn the_leader_s_recovery_daemon_started_anew_does_not_leave_the_cluster_without_a_leader() {
    let mut cluster = recovered(6);
    let leader = cluster.world.leader();
    cluster.kill_recoverd(leader);
    cluster.run(20 * MS);
    cluster.start(leader);
    let before = recoveries(&cluster);
    let took = cluster.wait("a leader", SECOND, |world| {
        world.healthy() && world.recoveries.borrow().len() > before
    });
    assert!(took < 300 * MS, "{took:?}");
}

#[test]
fn a_node_of_another_generation_is_taken_in() {
    let mut cluster = recovered(7);
    cluster.run(11 * SECOND);
    let before = recoveries(&cluster);
    cluster.world.nodes.borrow_mut()[1].vnnmap.generation = Generation(77);
    cluster.wait("the recovery", 2 * SECOND, |world| {
        world.healthy() && world.recoveries.borrow().len() > before
    });
    let generations = |world: &World| {
        world
            .nodes
            .borrow()
            .iter()
            .map(|node| node.vnnmap.generation)
            .collect::<Vec<_>>()
    };
    let now = generations(&cluster.world);
    assert!(
        now.iter()
            .all(|generation| *generation == now[0] && generation.is_valid()),
        "{now:?}"
    );
}

#[test]
fn the_leader_answers_who_asks_for_a_takeover_run_and_nobody_else_does() {
    let mut cluster = recovered(8);
    let leader = cluster.world.leader();
    let told = |cluster: &Cluster| {
        let asked = cluster.world.asked.borrow();
        asked
            .iter()
            .filter(|(opcode, _)| *opcode == Opcode::IPREALLOCATED)
            .count()
    };
    let before = told(&cluster);
    let request = SrvidRequest {
        pnn: 0,
        srvid: REPLY_TO,
    };
    for n in 0..3 {
        send(&cluster, n, Srvid::TAKEOVER_RUN, &Message::Request(request));
    }
    assert_eq!(answer(&mut cluster), leader as i32);
    cluster.run(10 * SECOND);
    assert!(cluster.world.answers.borrow().is_empty());
    assert_eq!(told(&cluster) - before, 3, "each node was told once");
}

#[test]
fn takeover_runs_and_recoveries_can_be_disabled_for_a_time() {
    let mut cluster = recovered(9);
    let leader = cluster.world.leader();
    let disable = |seconds| {
        Message::Disable(DisableRequest {
            pnn: 0,
            srvid: REPLY_TO,
            timeout_s: seconds,
        })
    };
    send(&cluster, leader, Srvid::DISABLE_TAKEOVER_RUNS, &disable(2));
    assert_eq!(answer(&mut cluster), leader as i32);
    let request = SrvidRequest {
        pnn: 0,
        srvid: REPLY_TO,
    };
    send(&cluster, leader, Srvid::TAKEOVER_RUN, &Message::Request(request));
    cluster.run(1500 * MS);
    assert!(cluster.world.answers.borrow().is_empty(), "not yet");
    cluster.run(2 * SECOND);
    assert_eq!(answer(&mut cluster), leader as i32);

    send(&cluster, leader, Srvid::DISABLE_RECOVERIES, &disable(60));
    assert_eq!(answer(&mut cluster), leader as i32);
    cluster.ask_for_recovery(0);
    cluster.run(3 * SECOND);
    assert!(!cluster.world.healthy());
    send(&cluster, leader, Srvid::DISABLE_RECOVERIES, &disable(0));
    assert_eq!(answer(&mut cluster), leader as i32);
    cluster.wait("the recovery", SECOND, World::healthy);
}

#[test]
fn a_node_that_is_blamed_often_enough_is_banned_but_not_the_last_one() {
    let mut cluster = recovered(10);
    let leader = cluster.world.leader();
    let culprit = (leader + 1) % 3;
    for _ in 0..2 {
        send(
            &cluster,
            leader,
            Srvid::BANNING,
            &Message::Pnn(Pnn(culprit as u32)),
        );
    }
    cluster.wait("the ban", SECOND, |world| {
        world.nodes.borrow()[culprit].flags[culprit].contains(NodeFlags::BANNED)
    });
    let other = (leader + 2) % 3;
    cluster.change_flags(other, NodeFlags::STOPPED);
    cluster.wait("the leader alone", 5 * SECOND, |world| {
        world.healthy() && *world.recoveries.borrow().last().unwrap() == [leader as u32]
    });
    cluster.run(100 * MS);
    for _ in 0..4 {
        send(
            &cluster,
            leader,
            Srvid::BANNING,
            &Message::Pnn(Pnn(leader as u32)),
        );
    }
    cluster.run(2 * SECOND);
    assert!(!cluster.world.nodes.borrow()[leader].flags[leader].contains(NodeFlags::BANNED));
}

#[test]
fn sigterm_ends_it_with_success() {
    let mut cluster = recovered(11);
    assert_eq!(cluster.terminate(0), Some(0));
}

#[test]
fn malformed_messages_are_ignored() {
    let mut cluster = recovered(12);
    let services = [
        Srvid::ELECTION,
        Srvid::CONCEDE,
        Srvid::POKE,
        Srvid::BANNING,
        Srvid::TAKEOVER_RUN,
        Srvid::DISABLE_RECOVERIES,
    ];
    for len in [0, 1, 5, 200] {
        for srvid in services {
            cluster.world.deliver(0, srvid, &vec![0xA5; len]);
        }
    }
    cluster.run(10 * SECOND);
    assert!(cluster.world.healthy());
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let run = |seed| {
        let mut cluster = recovered(seed);
        let leader = cluster.world.leader();
        cluster.kill(leader);
        cluster.run(5 * SECOND);
        cluster.sim.trace_hash()
    };
    assert_eq!(run(13), run(13));
}
