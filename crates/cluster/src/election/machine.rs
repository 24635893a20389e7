//! The machine: one event in, actions out.

use super::{
    Action, BROADCAST_INTERVAL, Ballot, CALL_RETRY, Config, Event, FAST_START_TIMEOUT, LOCK_RETRY_MAX,
    LOCK_RETRY_MIN, OWN_BALLOT_DELAY, Standing, Timer,
};
use ctdb_protocol::{NodeFlags, Pnn};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// One node's part in elections. See the module above for the story.
#[derive(Debug)]
pub struct Election {
    config: Config,
    standing: Standing,
    /// Wall clock, since the epoch.
    priority_time: Duration,
    peers: BTreeMap<Pnn, Peer>,
    /// The leader heard of last; in a vote the candidate that is ahead.
    leader: Pnn,
    phase: Phase,
    lock: Lock,
    rival: Option<Rival>,
    /// The last [`Action::LeaderIs`].
    settled: Pnn,
    first_election: bool,
}

/// What is known of another node.
#[derive(Debug)]
struct Peer {
    standing: Standing,
    /// It was connected at least once since our start.
    seen: bool,
    /// It has said that it knows no leader, and no leader was heard since.
    leaderless: bool,
}

#[derive(Debug)]
enum Phase {
    /// No election.
    Calm,
    /// This node calls one: the recovery mode is being set.
    Calling {
        /// Only because no leader was known: one that speaks up makes the call needless.
        unless_led: bool,
    },
    /// Ballots are out.
    Voting(Vote),
    /// The lock is tried, or waited for before it is tried again.
    Locking { waited: Duration, pause: Duration },
}

#[derive(Debug, Default)]
struct Vote {
    /// This node's ballot is out and not beaten.
    standing_for: bool,
    own_ballot_due: bool,
    /// Who has conceded to this node's ballot.
    conceded: BTreeSet<Pnn>,
}

#[derive(Debug, PartialEq, Eq)]
enum Lock {
    Free,
    Taking,
    Held,
}

/// Another node says that it leads while this one holds the lock.
#[derive(Debug)]
struct Rival {
    who: Pnn,
    own_broadcasts_since: u32,
}

impl Election {
    /// A node that knows nothing yet. `now`: wall clock, since the epoch. Tell it the node map
    /// ([`Event::Nodes`]) before [`Event::Start`]: a node without others leads at once.
    pub fn new(config: Config, standing: Standing, now: Duration) -> Election {
        Election {
            config,
            standing,
            priority_time: now,
            peers: BTreeMap::new(),
            leader: Pnn::UNKNOWN,
            phase: Phase::Calm,
            lock: Lock::Free,
            rival: None,
            settled: Pnn::UNKNOWN,
            first_election: true,
        }
    }

    /// Who leads; UNKNOWN while that is not settled.
    pub fn leader(&self) -> Pnn {
        if self.in_election() {
            Pnn::UNKNOWN
        } else {
            self.leader
        }
    }

    /// This node leads: settled, able, and with the lock if there is one.
    pub fn is_leader(&self) -> bool {
        let by_lock = !self.config.cluster_lock || self.lock == Lock::Held;
        self.leader() == self.config.me && self.standing.can_lead() && by_lock
    }

    /// An election is running as far as this node knows.
    pub fn in_election(&self) -> bool {
        !matches!(self.phase, Phase::Calm)
    }

    /// This node holds the cluster lock.
    pub fn holds_lock(&self) -> bool {
        self.lock == Lock::Held
    }

    /// Takes one event; appends what is to be done, in order. `now`: wall clock, since the epoch; used in ballots
    /// only.
    pub fn on_event(&mut self, event: Event, now: Duration, todo: &mut Vec<Action>) {
        match event {
            Event::Start => self.start(todo),
            Event::Standing(standing) => self.on_standing(standing, now, todo),
            Event::Nodes(nodes) => self.on_nodes(&nodes, todo),
            // Broadcasts come back to their sender.
            Event::NodeConnected(by)
            | Event::NodeLost(by)
            | Event::LeaderHeard { from: by, .. }
            | Event::BallotHeard(Ballot { pnn: by, .. })
            | Event::Conceded { by }
            | Event::Asked { by }
            | Event::Leaderless { by }
                if by == self.config.me => {}
            Event::NodeConnected(node) => self.on_connected(node, todo),
            Event::NodeLost(node) => self.on_lost(node, todo),
            Event::LeaderHeard { from, leader } => self.on_leader_heard(from, leader, todo),
            Event::BallotHeard(ballot) => self.on_ballot(&ballot, now, todo),
            Event::Conceded { by } => self.on_concession(by, todo),
            Event::Asked { by } => self.on_asked(by, now, todo),
            Event::Leaderless { by } => self.on_leaderless(by, todo),
            Event::Call => self.call(false, todo),
            Event::RecmodeSet { ok } => self.on_recmode_set(ok, now, todo),
            Event::LockTaken => self.on_lock_taken(todo),
            Event::LockContended => self.on_lock_contended(todo),
            Event::LockFailed => self.on_lock_failed(todo),
            Event::LockLost => self.on_lock_lost(todo),
            Event::Fired(timer) => self.on_timer(timer, now, todo),
        }
        self.report(todo);
    }

    // ---- what this node is ----

    fn start(&mut self, todo: &mut Vec<Action>) {
        todo.push(Action::SetTimer(Timer::Broadcast, BROADCAST_INTERVAL));
        self.await_leader(todo);
        todo.push(Action::Ask {
            to: Pnn::BROADCAST_CONNECTED,
        });
        self.call_if_nobody_leads(todo);
    }

    fn on_standing(&mut self, standing: Standing, now: Duration, todo: &mut Vec<Action>) {
        let could_lead = self.standing.can_lead();
        if !standing.flags.is_active() || !self.standing.flags.is_active() {
            self.priority_time = now;
        }
        self.standing = standing;
        match (could_lead, standing.can_lead()) {
            (true, false) => self.resign(todo),
            (false, true) if self.leader() == Pnn::UNKNOWN && !self.in_election() => {
                todo.push(Action::Ask {
                    to: Pnn::BROADCAST_CONNECTED,
                });
                self.call_if_nobody_leads(todo);
            }
            (false, true) | (true, true) | (false, false) => {}
        }
    }

    /// Banned, stopped or without the capability: the lock is for others now, and so is the lead.
    fn resign(&mut self, todo: &mut Vec<Action>) {
        self.drop_lock(todo);
        let led = self.leader == self.config.me;
        if led {
            self.leader = Pnn::UNKNOWN;
        }
        match &mut self.phase {
            Phase::Calm if led => self.call(false, todo),
            Phase::Calm | Phase::Calling { .. } => {}
            Phase::Voting(vote) => *vote = Vote::default(),
            Phase::Locking { .. } => self.calm_down(todo),
        }
    }

    fn on_nodes(&mut self, nodes: &[(Pnn, Standing)], todo: &mut Vec<Action>) {
        let listed: BTreeMap<Pnn, Standing> = nodes
            .iter()
            .copied()
            .filter(|&(node, _)| node != self.config.me)
            .collect();
        let gone: Vec<Pnn> = self
            .peers
            .keys()
            .copied()
            .filter(|node| !listed.contains_key(node))
            .collect();
        for node in gone {
            self.on_lost(node, todo);
            self.peers.remove(&node);
        }
        for (node, standing) in listed {
            let connected = standing.flags.is_connected();
            let peer = self.peer(node);
            let was_connected = peer.standing.flags.is_connected();
            peer.standing = standing;
            match (was_connected, connected) {
                (false, true) => self.on_connected(node, todo),
                (true, false) => self.on_lost(node, todo),
                (true, true) | (false, false) => {}
            }
        }
        self.end_if_all_conceded(todo);
    }

    /// A node not heard of before counts as configured, not connected.
    fn peer(&mut self, node: Pnn) -> &mut Peer {
        let standing = Standing {
            flags: NodeFlags::DISCONNECTED,
            recmaster: true,
        };
        self.peers.entry(node).or_insert(Peer {
            standing,
            seen: false,
            leaderless: false,
        })
    }

    fn on_connected(&mut self, node: Pnn, todo: &mut Vec<Action>) {
        let peer = self.peer(node);
        peer.seen = true;
        peer.standing.flags.remove(NodeFlags::DISCONNECTED);
        if self.is_leader() {
            todo.push(Action::SendLeader(self.config.me));
        } else if self.leader() == Pnn::UNKNOWN && !self.in_election() {
            todo.push(Action::Ask { to: node });
        }
    }

    fn on_lost(&mut self, node: Pnn, todo: &mut Vec<Action>) {
        let peer = self.peer(node);
        peer.leaderless = false;
        peer.standing.flags.insert(NodeFlags::DISCONNECTED);
        if let Phase::Voting(vote) = &mut self.phase {
            vote.conceded.remove(&node);
        }
        if self.leader == node {
            self.leader = Pnn::UNKNOWN;
            match &mut self.phase {
                Phase::Calm => self.call(true, todo),
                // The best candidate so far is gone; who conceded to it stands again.
                Phase::Voting(vote) if self.standing.can_lead() => {
                    vote.own_ballot_due = true;
                    todo.push(Action::SetTimer(Timer::OwnBallot, OWN_BALLOT_DELAY));
                }
                Phase::Calling { .. } | Phase::Voting(_) | Phase::Locking { .. } => {}
            }
        }
        self.end_if_all_conceded(todo);
    }

    // ---- hearing of leaders ----

    fn on_leader_heard(&mut self, from: Pnn, leader: Pnn, todo: &mut Vec<Action>) {
        if leader == self.config.me {
            // Nobody says that of another node.
        } else if leader == self.leader {
            self.on_same_leader(leader, todo);
        } else if leader == Pnn::UNKNOWN {
            self.on_election_called(from, todo);
        } else {
            self.on_other_leader(leader, todo);
        }
    }

    /// Also when nobody leads as before: then somebody else's call is under way and gets its time.
    fn on_same_leader(&mut self, leader: Pnn, todo: &mut Vec<Action>) {
        match self.phase {
            Phase::Calm => self.await_leader(todo),
            // Its election is over, so this one is. (A C node sits out its timer.)
            Phase::Voting(_) if leader != Pnn::UNKNOWN => self.end_vote(todo),
            Phase::Calling { .. } | Phase::Voting(_) | Phase::Locking { .. } => {}
        }
    }

    fn on_election_called(&mut self, by: Pnn, todo: &mut Vec<Action>) {
        if self.in_election() && !matches!(self.phase, Phase::Calling { .. }) {
            return;
        }
        self.ask_last_leader(by, todo);
        if self.config.cluster_lock {
            self.lock_election(todo);
        } else {
            // The caller's ballot follows. If the caller dies before, the timer ends this.
            self.begin_vote(todo);
        }
    }

    /// The call may be older than the leader's word, come by a slower link: then the leader's answer ends this
    /// node's election at once.
    fn ask_last_leader(&self, caller: Pnn, todo: &mut Vec<Action>) {
        if ![Pnn::UNKNOWN, self.config.me, caller].contains(&self.leader) {
            todo.push(Action::Ask { to: self.leader });
        }
    }

    fn on_other_leader(&mut self, leader: Pnn, todo: &mut Vec<Action>) {
        if self.lock == Lock::Held {
            return self.on_rival(leader, todo);
        }
        if self.is_leader() {
            // Two parts of a divided cluster have met.
            self.leader = Pnn::UNKNOWN;
            return self.call(false, todo);
        }
        if let Phase::Voting(vote) = &self.phase
            && (vote.standing_for || vote.own_ballot_due)
        {
            return; // it does not know of this node's ballot yet
        }
        self.leader = leader;
        self.forget_leaderless();
        match &self.phase {
            Phase::Calm => self.await_leader(todo),
            Phase::Calling { unless_led: false } => self.leader = Pnn::UNKNOWN,
            Phase::Calling { unless_led: true } | Phase::Locking { .. } => {
                self.drop_lock(todo);
                self.calm_down(todo);
            }
            Phase::Voting(_) => self.end_vote(todo),
        }
    }

    /// This node holds the lock, so the other one's word is late: it led until it lost the lock. If it still says so
    /// after this node has said otherwise, the lock is not to be trusted: nobody leads before two do.
    fn on_rival(&mut self, who: Pnn, todo: &mut Vec<Action>) {
        match &self.rival {
            Some(rival) if rival.who == who && rival.own_broadcasts_since > 0 => {
                self.rival = None;
                self.drop_lock(todo);
                self.leader = Pnn::UNKNOWN;
                self.call(false, todo);
            }
            Some(rival) if rival.who == who => {}
            Some(_) | None => {
                self.rival = Some(Rival {
                    who,
                    own_broadcasts_since: 0,
                })
            }
        }
    }

    // ---- asking ----

    fn on_asked(&mut self, by: Pnn, now: Duration, todo: &mut Vec<Action>) {
        let me = self.config.me;
        if self.is_leader() {
            return todo.push(Action::SendLeader(me));
        }
        self.peer(by).leaderless = true;
        if by == self.leader && matches!(self.phase, Phase::Calm) {
            // Its recovery daemon was started anew and knows nothing of its lead.
            self.leader = Pnn::UNKNOWN;
            return self.call(true, todo);
        }
        match &self.phase {
            // It has just come and missed the ballot.
            Phase::Voting(vote) if vote.standing_for => todo.push(Action::SendBallot(self.ballot(now))),
            Phase::Calm if self.leader == Pnn::UNKNOWN => {
                todo.push(Action::SayLeaderless { to: by });
                self.call_if_nobody_leads(todo);
            }
            // The leader hears the question itself; an election will answer it.
            Phase::Calm | Phase::Calling { .. } | Phase::Voting(_) | Phase::Locking { .. } => {}
        }
    }

    fn on_leaderless(&mut self, by: Pnn, todo: &mut Vec<Action>) {
        self.peer(by).leaderless = true;
        self.call_if_nobody_leads(todo);
    }

    /// Every configured node has said that it knows no leader: nothing is left to wait for.
    fn call_if_nobody_leads(&mut self, todo: &mut Vec<Action>) {
        let deleted = |peer: &Peer| peer.standing.flags.contains(NodeFlags::DELETED);
        let nobody = self.peers.values().all(|peer| peer.leaderless || deleted(peer));
        if nobody && self.leader == Pnn::UNKNOWN {
            self.call(true, todo);
        }
    }

    fn forget_leaderless(&mut self) {
        for peer in self.peers.values_mut() {
            peer.leaderless = false;
        }
    }

    // ---- calling ----

    fn call(&mut self, unless_led: bool, todo: &mut Vec<Action>) {
        if self.in_election() {
            return;
        }
        self.phase = Phase::Calling { unless_led };
        let mut on: Vec<Pnn> = self
            .peers
            .iter()
            .filter(|(_, peer)| peer.is_active())
            .map(|(&node, _)| node)
            .collect();
        if self.standing.flags.is_active() {
            on.push(self.config.me);
        }
        on.sort();
        todo.push(Action::CancelTimer(Timer::LeaderLost));
        todo.push(Action::SetRecmodeActive { on });
    }

    fn on_recmode_set(&mut self, ok: bool, now: Duration, todo: &mut Vec<Action>) {
        if !matches!(self.phase, Phase::Calling { .. }) {
            return; // another node's election, or its leader, was quicker
        }
        if !ok {
            self.phase = Phase::Calm;
            let pause = CALL_RETRY.min(self.config.leader_timeout);
            return todo.push(Action::SetTimer(Timer::LeaderLost, pause));
        }
        todo.push(Action::SendLeader(Pnn::UNKNOWN));
        if self.config.cluster_lock {
            self.lock_election(todo);
        } else {
            self.begin_vote(todo);
            self.send_ballot(now, todo);
        }
    }

    // ---- the vote ----

    fn begin_vote(&mut self, todo: &mut Vec<Action>) {
        self.forget_leaderless();
        self.phase = Phase::Voting(Vote::default());
        todo.push(Action::CancelTimer(Timer::LeaderLost));
        todo.push(Action::SetTimer(Timer::ElectionEnd, self.election_timeout()));
    }

    fn election_timeout(&self) -> Duration {
        let fast = self.config.fast_start && self.first_election;
        if fast {
            FAST_START_TIMEOUT
        } else {
            self.config.election_timeout
        }
    }

    fn ballot(&self, now: Duration) -> Ballot {
        let can_lead = self.standing.can_lead();
        let connected = self
            .peers
            .values()
            .filter(|peer| peer.standing.flags.is_connected())
            .count()
            + 1;
        Ballot {
            pnn: self.config.me,
            priority_time: Ballot::as_sent(if can_lead { self.priority_time } else { now }),
            flags: self.standing.flags,
            num_connected: if can_lead {
                u32::try_from(connected).unwrap_or(u32::MAX)
            } else {
                0
            },
        }
    }

    /// A node that can't lead sends its ballot, too: for the others to beat.
    fn send_ballot(&mut self, now: Duration, todo: &mut Vec<Action>) {
        let ballot = self.ballot(now);
        let can_lead = self.standing.can_lead();
        let Phase::Voting(vote) = &mut self.phase else {
            return;
        };
        vote.own_ballot_due = false;
        vote.standing_for = can_lead;
        self.leader = if can_lead { self.config.me } else { Pnn::UNKNOWN };
        todo.push(Action::SendBallot(ballot));
        todo.push(Action::SetTimer(Timer::ElectionEnd, self.election_timeout()));
        self.end_if_all_conceded(todo);
    }

    fn on_ballot(&mut self, ballot: &Ballot, now: Duration, todo: &mut Vec<Action>) {
        // With a lock, the lock decides. A node that sends ballots then is configured without one; the comparison
        // at the start of a recovery finds that.
        if self.config.cluster_lock {
            return;
        }
        if !self.in_election() {
            self.ask_last_leader(ballot.pnn, todo);
        }
        self.begin_or_prolong_vote(todo);
        let wins = self.ballot(now).beats(self.standing.can_lead(), ballot);
        let Phase::Voting(vote) = &mut self.phase else {
            return;
        };
        // A node's latest word counts: with a new ballot it takes its concession back.
        vote.conceded.remove(&ballot.pnn);
        if !wins {
            *vote = Vote::default();
            self.leader = ballot.pnn;
            todo.push(Action::CancelTimer(Timer::OwnBallot));
            todo.push(Action::Concede { to: ballot.pnn });
        } else if !vote.own_ballot_due {
            vote.own_ballot_due = true;
            todo.push(Action::SetTimer(Timer::OwnBallot, OWN_BALLOT_DELAY));
        }
    }

    fn begin_or_prolong_vote(&mut self, todo: &mut Vec<Action>) {
        match self.phase {
            Phase::Voting(_) => todo.push(Action::SetTimer(Timer::ElectionEnd, self.election_timeout())),
            Phase::Calm | Phase::Calling { .. } | Phase::Locking { .. } => self.begin_vote(todo),
        }
    }

    fn on_concession(&mut self, by: Pnn, todo: &mut Vec<Action>) {
        if let Phase::Voting(vote) = &mut self.phase
            && vote.standing_for
        {
            vote.conceded.insert(by);
            self.end_if_all_conceded(todo);
        }
    }

    fn end_if_all_conceded(&mut self, todo: &mut Vec<Action>) {
        let Phase::Voting(vote) = &self.phase else { return };
        let settled = |(node, peer): (&Pnn, &Peer)| {
            let flags = peer.standing.flags;
            let may_yet_answer = flags.is_connected() && peer.standing.can_lead();
            flags.contains(NodeFlags::DELETED)
                || (peer.seen && !may_yet_answer)
                || vote.conceded.contains(node)
        };
        if vote.standing_for && self.peers.iter().all(settled) {
            self.end_vote(todo);
        }
    }

    fn end_vote(&mut self, todo: &mut Vec<Action>) {
        todo.push(Action::CancelTimer(Timer::ElectionEnd));
        todo.push(Action::CancelTimer(Timer::OwnBallot));
        self.first_election = false;
        if self.leader == self.config.me && self.standing.can_lead() {
            self.lead(todo);
        } else {
            self.calm_down(todo);
        }
    }

    // ---- the lock ----

    fn lock_election(&mut self, todo: &mut Vec<Action>) {
        self.forget_leaderless();
        if !self.standing.can_lead() {
            self.drop_lock(todo);
            return self.calm_down(todo);
        }
        if self.lock == Lock::Held {
            return self.lead(todo); // no letting go and taking again: the leader stays
        }
        self.leader = Pnn::UNKNOWN;
        self.phase = Phase::Locking {
            waited: Duration::ZERO,
            pause: LOCK_RETRY_MIN,
        };
        todo.push(Action::CancelTimer(Timer::LeaderLost));
        self.try_lock(todo);
    }

    fn try_lock(&mut self, todo: &mut Vec<Action>) {
        if self.lock == Lock::Free {
            self.lock = Lock::Taking;
            todo.push(Action::TakeLock);
        }
    }

    fn on_lock_taken(&mut self, todo: &mut Vec<Action>) {
        if self.lock == Lock::Taking
            && matches!(self.phase, Phase::Locking { .. })
            && self.standing.can_lead()
        {
            self.lock = Lock::Held;
            self.lead(todo);
        } else if self.lock != Lock::Held {
            self.lock = Lock::Free;
            todo.push(Action::ReleaseLock); // not wanted any more
        }
    }

    /// Another node has it. A living one says so at once or within a second; a dead one's is free soon.
    fn on_lock_contended(&mut self, todo: &mut Vec<Action>) {
        if self.lock != Lock::Taking {
            return;
        }
        self.lock = Lock::Free;
        match &mut self.phase {
            Phase::Locking { waited, pause } if *waited + *pause <= self.config.leader_timeout => {
                todo.push(Action::SetTimer(Timer::LockRetry, *pause));
                *waited += *pause;
                *pause = (*pause * 2).min(LOCK_RETRY_MAX);
            }
            Phase::Locking { .. } => self.calm_down(todo),
            Phase::Calm | Phase::Calling { .. } | Phase::Voting(_) => {}
        }
    }

    fn on_lock_failed(&mut self, todo: &mut Vec<Action>) {
        if self.lock != Lock::Taking {
            return;
        }
        self.lock = Lock::Free;
        if matches!(self.phase, Phase::Locking { .. }) {
            self.calm_down(todo);
        }
    }

    fn on_lock_lost(&mut self, todo: &mut Vec<Action>) {
        if self.lock != Lock::Held {
            return;
        }
        self.lock = Lock::Free;
        if self.leader == self.config.me {
            self.leader = Pnn::UNKNOWN;
        }
        self.call(false, todo);
    }

    fn drop_lock(&mut self, todo: &mut Vec<Action>) {
        if self.lock != Lock::Free {
            self.lock = Lock::Free;
            todo.push(Action::ReleaseLock);
        }
    }

    // ---- ends ----

    fn lead(&mut self, todo: &mut Vec<Action>) {
        self.phase = Phase::Calm;
        self.leader = self.config.me;
        self.rival = None;
        self.forget_leaderless();
        todo.push(Action::CancelTimer(Timer::LeaderLost));
        todo.push(Action::CancelTimer(Timer::LockRetry));
        todo.push(Action::SendLeader(self.config.me));
    }

    /// The election is over for this node; another one leads, or nobody yet.
    fn calm_down(&mut self, todo: &mut Vec<Action>) {
        self.phase = Phase::Calm;
        if self.leader == self.config.me {
            self.leader = Pnn::UNKNOWN;
        }
        todo.push(Action::CancelTimer(Timer::LockRetry));
        self.await_leader(todo);
    }

    fn await_leader(&mut self, todo: &mut Vec<Action>) {
        todo.push(Action::SetTimer(Timer::LeaderLost, self.config.leader_timeout));
    }

    fn on_timer(&mut self, timer: Timer, now: Duration, todo: &mut Vec<Action>) {
        match (timer, &self.phase) {
            (Timer::Broadcast, _) => {
                todo.push(Action::SetTimer(Timer::Broadcast, BROADCAST_INTERVAL));
                if self.is_leader() {
                    todo.push(Action::SendLeader(self.config.me));
                    if let Some(rival) = &mut self.rival {
                        rival.own_broadcasts_since += 1;
                    }
                }
            }
            (Timer::LeaderLost, Phase::Calm) if !self.is_leader() => {
                self.leader = Pnn::UNKNOWN;
                self.call(true, todo);
            }
            (Timer::ElectionEnd, Phase::Voting(_)) => self.end_vote(todo),
            (Timer::OwnBallot, Phase::Voting(vote)) if vote.own_ballot_due && self.standing.can_lead() => {
                self.send_ballot(now, todo);
            }
            (Timer::LockRetry, Phase::Locking { .. }) => self.try_lock(todo),
            // Fired while it was being cancelled.
            (Timer::LeaderLost | Timer::ElectionEnd | Timer::OwnBallot | Timer::LockRetry, _) => {}
        }
    }

    fn report(&mut self, todo: &mut Vec<Action>) {
        if self.leader() != self.settled {
            self.settled = self.leader();
            todo.push(Action::LeaderIs(self.settled));
        }
    }
}

impl Peer {
    fn is_active(&self) -> bool {
        self.standing.flags.is_active()
    }
}
