//! Elections as text: each event and what follows from it.
//!
//! A line is an event, the indented line below it the actions; no indented line means that nothing is done. Setting
//! and cancelling of timers is left out but where a story is about it.

use super::{Action, Ballot, Config, Election, Event, Standing, Timer};
use ctdb_protocol::{NodeFlags, Pnn};
use std::time::Duration;

const BOOT: Duration = Duration::from_secs(1000);

fn standing(flags: NodeFlags) -> Standing {
    Standing {
        flags,
        recmaster: true,
    }
}

/// Node 1 of three, started 1000 s after the epoch.
fn node_1(cluster_lock: bool) -> Election {
    let config = Config {
        me: Pnn(1),
        cluster_lock,
        leader_timeout: Duration::from_secs(5),
        election_timeout: Duration::from_secs(3),
        fast_start: false,
    };
    let mut election = Election::new(config, standing(NodeFlags::empty()), BOOT);
    let map = (0..3).map(|n| (Pnn(n), standing(NodeFlags::empty()))).collect();
    let mut todo = Vec::new();
    election.on_event(Event::Nodes(map), BOOT, &mut todo);
    for node in [0, 2] {
        election.on_event(Event::NodeConnected(Pnn(node)), BOOT, &mut todo);
    }
    election
}

fn leader(from: u32, leader: u32) -> Event {
    Event::LeaderHeard {
        from: Pnn(from),
        leader: Pnn(leader),
    }
}

fn nobody_leads(from: u32) -> Event {
    Event::LeaderHeard {
        from: Pnn(from),
        leader: Pnn::UNKNOWN,
    }
}

/// A ballot of a node that was started at that second.
fn ballot(pnn: u32, since_secs: u64) -> Event {
    Event::BallotHeard(Ballot {
        pnn: Pnn(pnn),
        priority_time: Duration::from_secs(since_secs),
        flags: NodeFlags::empty(),
        num_connected: 3,
    })
}

fn event_text(event: &Event) -> String {
    match event {
        Event::LeaderHeard { from, leader } => format!("node {from}: leader is {leader}"),
        Event::BallotHeard(ballot) => {
            format!(
                "node {}: ballot, since {} s",
                ballot.pnn,
                ballot.priority_time.as_secs()
            )
        }
        Event::Conceded { by } => format!("node {by}: concedes"),
        Event::Asked { by } => format!("node {by}: who leads?"),
        Event::Leaderless { by } => format!("node {by}: nobody I know"),
        Event::NodeLost(node) => format!("link to node {node} closed"),
        Event::NodeConnected(node) => format!("link to node {node} up"),
        Event::Standing(standing) => format!("own flags 0x{:x}", standing.flags.bits()),
        Event::Fired(timer) => format!("timer {timer:?}"),
        Event::RecmodeSet { ok: true } => "recovery mode set".into(),
        Event::RecmodeSet { ok: false } => "recovery mode not set".into(),
        other => format!("{other:?}"),
    }
}

fn action_text(action: &Action) -> Option<String> {
    Some(match action {
        Action::SendBallot(ballot) => {
            format!(
                "ballot, since {} s, flags 0x{:x}",
                ballot.priority_time.as_secs(),
                ballot.flags.bits()
            )
        }
        Action::SendLeader(leader) => format!("say leader is {leader}"),
        Action::Concede { to } => format!("concede to {to}"),
        Action::Ask { to } => format!("ask {to}"),
        Action::SayLeaderless { to } => format!("say nobody I know to {to}"),
        Action::SetRecmodeActive { on } => {
            let list: Vec<String> = on.iter().map(Pnn::to_string).collect();
            format!("set recovery mode on {}", list.join(","))
        }
        Action::TakeLock => "take lock".into(),
        Action::ReleaseLock => "release lock".into(),
        Action::SetTimer(timer @ (Timer::LockRetry | Timer::OwnBallot), after) => {
            format!("{timer:?} in {} ms", after.as_millis())
        }
        Action::LeaderIs(leader) => format!("settled: {leader}"),
        Action::SetTimer(..) | Action::CancelTimer(_) => return None,
    })
}

#[track_caller]
fn tells(mut election: Election, events: &[Event], story: &str) {
    let now = Duration::from_secs(2000);
    let mut text = String::new();
    for event in events {
        let mut todo = Vec::new();
        election.on_event(event.clone(), now, &mut todo);
        let actions: Vec<String> = todo.iter().filter_map(action_text).collect();
        text += &format!("{}\n", event_text(event));
        if !actions.is_empty() {
            text += &format!("    {}\n", actions.join("; "));
        }
    }
    let expected: Vec<&str> = story
        .trim()
        .lines()
        .map(|line| line.strip_prefix("        ").unwrap_or(line))
        .collect();
    assert_eq!(
        text.trim().lines().collect::<Vec<_>>(),
        expected,
        "\nthe story is now\n{text}"
    );
}

#[test]
fn without_a_lock_the_dead_leaders_successor_leads_when_the_other_concedes() {
    tells(
        node_1(false),
        &[
            Event::Start,
            leader(0, 0),
            Event::NodeLost(Pnn(0)),
            Event::RecmodeSet { ok: true },
            Event::Conceded { by: Pnn(2) },
            Event::Fired(Timer::Broadcast),
        ],
        "
        Start
            ask BROADCAST_CONNECTED
        node 0: leader is 0
            settled: 0
        link to node 0 closed
            set recovery mode on 1,2; settled: UNKNOWN
        recovery mode set
            say leader is UNKNOWN; ballot, since 1000 s, flags 0x0
        node 2: concedes
            say leader is 1; settled: 1
        timer Broadcast
            say leader is 1
        ",
    );
}

#[test]
fn a_c_node_that_never_concedes_is_given_the_election_timeout() {
    tells(
        node_1(false),
        &[
            leader(0, 0),
            Event::Fired(Timer::LeaderLost),
            Event::RecmodeSet { ok: true },
            Event::Conceded { by: Pnn(0) },
            ballot(2, 1500),
            Event::Fired(Timer::OwnBallot),
            Event::Fired(Timer::ElectionEnd),
        ],
        "
        node 0: leader is 0
            settled: 0
        timer LeaderLost
            set recovery mode on 0,1,2; settled: UNKNOWN
        recovery mode set
            say leader is UNKNOWN; ballot, since 1000 s, flags 0x0
        node 0: concedes
        node 2: ballot, since 1500 s
            OwnBallot in 50 ms
        timer OwnBallot
            ballot, since 1000 s, flags 0x0
        timer ElectionEnd
            say leader is 1; settled: 1
        ",
    );
}

#[test]
fn a_new_ballot_takes_a_concession_back() {
    tells(
        node_1(false),
        &[
            Event::Call,
            Event::RecmodeSet { ok: true },
            Event::Conceded { by: Pnn(2) },
            ballot(2, 1500),
            Event::Conceded { by: Pnn(0) },
            Event::Conceded { by: Pnn(2) },
        ],
        "
        Call
            set recovery mode on 0,1,2
        recovery mode set
            say leader is UNKNOWN; ballot, since 1000 s, flags 0x0
        node 2: concedes
        node 2: ballot, since 1500 s
            OwnBallot in 50 ms
        node 0: concedes
        node 2: concedes
            say leader is 1; settled: 1
        ",
    );
}

#[test]
fn a_beaten_candidate_concedes_and_follows() {
    tells(
        node_1(false),
        &[
            nobody_leads(2),
            Event::Call,
            leader(0, 0),
            nobody_leads(2),
            ballot(2, 900),
            leader(2, 2),
        ],
        "
        node 2: leader is UNKNOWN
        Call
            set recovery mode on 0,1,2
        node 0: leader is 0
        node 2: leader is UNKNOWN
        node 2: ballot, since 900 s
            concede to 2
        node 2: leader is 2
            settled: 2
        ",
    );
}

#[test]
fn a_banned_leader_calls_the_election_that_it_can_only_lose() {
    tells(
        node_1(false),
        &[
            Event::Call,
            Event::RecmodeSet { ok: true },
            Event::Conceded { by: Pnn(0) },
            Event::Conceded { by: Pnn(2) },
            Event::Standing(standing(NodeFlags::BANNED)),
            Event::RecmodeSet { ok: true },
            ballot(2, 1500),
            leader(2, 2),
        ],
        "
        Call
            set recovery mode on 0,1,2
        recovery mode set
            say leader is UNKNOWN; ballot, since 1000 s, flags 0x0
        node 0: concedes
        node 2: concedes
            say leader is 1; settled: 1
        own flags 0x8
            set recovery mode on 0,2; settled: UNKNOWN
        recovery mode set
            say leader is UNKNOWN; ballot, since 2000 s, flags 0x8
        node 2: ballot, since 1500 s
            concede to 2
        node 2: leader is 2
            settled: 2
        ",
    );
}

#[test]
fn two_leaders_that_meet_both_step_down_and_vote() {
    tells(
        node_1(false),
        &[
            Event::Call,
            Event::RecmodeSet { ok: true },
            Event::Conceded { by: Pnn(0) },
            Event::Conceded { by: Pnn(2) },
            leader(2, 2),
            leader(2, 2),
            Event::RecmodeSet { ok: true },
            leader(2, 2),
            ballot(2, 1500),
            Event::Conceded { by: Pnn(0) },
            Event::Conceded { by: Pnn(2) },
        ],
        "
        Call
            set recovery mode on 0,1,2
        recovery mode set
            say leader is UNKNOWN; ballot, since 1000 s, flags 0x0
        node 0: concedes
        node 2: concedes
            say leader is 1; settled: 1
        node 2: leader is 2
            set recovery mode on 0,1,2; settled: UNKNOWN
        node 2: leader is 2
        recovery mode set
            say leader is UNKNOWN; ballot, since 1000 s, flags 0x0
        node 2: leader is 2
        node 2: ballot, since 1500 s
            OwnBallot in 50 ms
        node 0: concedes
        node 2: concedes
            say leader is 1; settled: 1
        ",
    );
}

#[test]
fn with_a_lock_a_dead_holders_lock_is_tried_until_it_is_free() {
    tells(
        node_1(true),
        &[
            leader(0, 0),
            Event::NodeLost(Pnn(0)),
            Event::RecmodeSet { ok: true },
            Event::LockContended,
            Event::Fired(Timer::LockRetry),
            Event::LockContended,
            Event::Fired(Timer::LockRetry),
            Event::LockTaken,
            nobody_leads(2),
        ],
        "
        node 0: leader is 0
            settled: 0
        link to node 0 closed
            set recovery mode on 1,2; settled: UNKNOWN
        recovery mode set
            say leader is UNKNOWN; take lock
        LockContended
            LockRetry in 100 ms
        timer LockRetry
            take lock
        LockContended
            LockRetry in 200 ms
        timer LockRetry
            take lock
        LockTaken
            say leader is 1; settled: 1
        node 2: leader is UNKNOWN
            say leader is 1
        ",
    );
}

#[test]
fn a_lock_that_comes_too_late_is_given_back() {
    tells(
        node_1(true),
        &[
            nobody_leads(0),
            Event::Call,
            Event::RecmodeSet { ok: true },
            leader(2, 2),
            Event::LockTaken,
        ],
        "
        node 0: leader is UNKNOWN
        Call
            set recovery mode on 0,1,2
        recovery mode set
            say leader is UNKNOWN; take lock
        node 2: leader is 2
            release lock; settled: 2
        LockTaken
            release lock
        ",
    );
}

#[test]
fn a_holder_believes_its_lock_once_and_not_twice() {
    tells(
        node_1(true),
        &[
            Event::Call,
            Event::RecmodeSet { ok: true },
            Event::LockTaken,
            leader(2, 2),
            leader(2, 2),
            Event::Fired(Timer::Broadcast),
            leader(2, 2),
        ],
        "
        Call
            set recovery mode on 0,1,2
        recovery mode set
            say leader is UNKNOWN; take lock
        LockTaken
            say leader is 1; settled: 1
        node 2: leader is 2
        node 2: leader is 2
        timer Broadcast
            say leader is 1
        node 2: leader is 2
            release lock; set recovery mode on 0,1,2; settled: UNKNOWN
        ",
    );
}

#[test]
fn a_lost_lock_ends_the_lead_and_an_unreachable_one_is_tried_again_later() {
    tells(
        node_1(true),
        &[
            Event::Call,
            Event::RecmodeSet { ok: true },
            Event::LockTaken,
            Event::LockLost,
            Event::RecmodeSet { ok: true },
            Event::LockFailed,
            Event::Fired(Timer::LeaderLost),
        ],
        "
        Call
            set recovery mode on 0,1,2
        recovery mode set
            say leader is UNKNOWN; take lock
        LockTaken
            say leader is 1; settled: 1
        LockLost
            set recovery mode on 0,1,2; settled: UNKNOWN
        recovery mode set
            say leader is UNKNOWN; take lock
        LockFailed
        timer LeaderLost
            set recovery mode on 0,1,2
        ",
    );
}

#[test]
fn nodes_that_all_know_no_leader_do_not_wait_for_one() {
    tells(
        node_1(false),
        &[
            Event::Start,
            Event::Asked { by: Pnn(0) },
            Event::Leaderless { by: Pnn(2) },
        ],
        "
        Start
            ask BROADCAST_CONNECTED
        node 0: who leads?
            say nobody I know to 0
        node 2: nobody I know
            set recovery mode on 0,1,2
        ",
    );
}

#[test]
fn a_failed_call_is_repeated_and_a_leader_that_speaks_up_ends_it() {
    tells(
        node_1(false),
        &[
            leader(0, 0),
            Event::Fired(Timer::LeaderLost),
            Event::RecmodeSet { ok: false },
            Event::Fired(Timer::LeaderLost),
            leader(0, 0),
            Event::RecmodeSet { ok: true },
        ],
        "
        node 0: leader is 0
            settled: 0
        timer LeaderLost
            set recovery mode on 0,1,2; settled: UNKNOWN
        recovery mode not set
        timer LeaderLost
            set recovery mode on 0,1,2
        node 0: leader is 0
            settled: 0
        recovery mode set
        ",
    );
}

#[test]
fn a_node_that_joins_hears_the_leader_at_once() {
    tells(
        node_1(true),
        &[
            Event::Call,
            Event::RecmodeSet { ok: true },
            Event::LockTaken,
            Event::NodeLost(Pnn(2)),
            Event::NodeConnected(Pnn(2)),
            Event::Asked { by: Pnn(2) },
            leader(1, 1),
            nobody_leads(1),
        ],
        "
        Call
            set recovery mode on 0,1,2
        recovery mode set
            say leader is UNKNOWN; take lock
        LockTaken
            say leader is 1; settled: 1
        link to node 2 closed
        link to node 2 up
            say leader is 1
        node 2: who leads?
            say leader is 1
        node 1: leader is 1
        node 1: leader is UNKNOWN
        ",
    );
}

#[test]
fn a_leader_that_asks_who_leads_leads_no_more() {
    tells(
        node_1(true),
        &[
            leader(2, 2),
            Event::Asked { by: Pnn(2) },
            Event::RecmodeSet { ok: true },
        ],
        "node 2: leader is 2
            settled: 2
        node 2: who leads?
            set recovery mode on 0,1,2; settled: UNKNOWN
        recovery mode set
            say leader is UNKNOWN; take lock",
    );
}
