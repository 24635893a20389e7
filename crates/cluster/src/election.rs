//! Who leads the cluster.
//!
//! # What goes wrong in the world
//!
//! The leader dies, hangs, is banned or stopped, loses the cluster lock or is cut off. Nodes start together and
//! nobody leads yet, or one after the other and somebody does. A cut heals, and two nodes lead. Nodes of the C
//! implementation are in the cluster and know nothing of what we add.
//!
//! # What we do
//!
//! The leader says so once a second. A node that has heard no leader for the leader timeout *calls an election*:
//! it sets the recovery mode ACTIVE on all active nodes, tells everybody that no one leads, and then
//!
//! - **with a cluster lock** tries to take the lock: who gets it leads;
//! - **without** sends its *ballot*; whoever would be the better leader answers with a ballot of its own, and when
//!   no ballot has been heard for the election timeout, the sender of the best one leads.
//!
//! The election timeout is there because silence is the only consent that the C implementation gives. Our nodes
//! give more, in private messages that C nodes ignore:
//!
//! - **Concessions.** Who is beaten by a ballot tells its sender. A candidate to whom every connected node that
//!   could lead has conceded leads at once. A connected node that has not conceded may still answer with a better
//!   ballot, so for it the full time is kept; likewise for a configured node that was never seen since our start,
//!   for it may just be coming up and be the better one. A node that was seen and whose link is closed is not
//!   waited for.
//! - **Asking.** A node that starts, or meets another one, and knows no leader asks. If the leader itself does, its
//!   recovery daemon was started anew and has forgotten its lead: the election is called at once. Otherwise the
//!   leader answers with its broadcast; others say that they know none either. When every configured node has said
//!   so, there is nothing to wait for and the election is called.
//! - **Closed links.** That the link to the leader is closed is knowledge: the election is called at once. The dead
//!   leader's lock may take a moment to be let go, so a contended attempt is repeated within the leader timeout.
//! - **Resigning.** A leader that can't lead any more (banned, stopped) calls the election itself.
//!
//! # What we never do
//!
//! Lead while another leads, as far as it can be known: with a lock, only its holder leads, from the moment it has
//! it to the moment it is lost or let go. Without a lock a divided cluster has a leader in each part; when the parts
//! meet, each leader steps down the moment it hears the other and calls an election. Lead while inactive or without
//! the capability. Wait for ever: every phase ends by a timer. Ban anybody: a lock that can't be taken is
//! tried again later.
//!
//! Facts: `recovery.md` §3; source: `ctdb/server/ctdb_recoverd.c`, `force_election`, `election_handler`,
//! `cluster_lock_election`, `leader_handler`.

mod ballot;
mod machine;
#[cfg(test)]
mod scenarios;
#[cfg(test)]
mod simulation;

pub use ballot::Ballot;
pub use machine::Election;

use ctdb_protocol::{NodeFlags, Pnn};
use std::time::Duration;

/// How often the leader says that it leads.
pub const BROADCAST_INTERVAL: Duration = Duration::from_secs(1);
/// How long answers to ballots are collected into one ballot. (The C implementation waits 500 ms.)
pub const OWN_BALLOT_DELAY: Duration = Duration::from_millis(50);
/// Election timeout of the first election of a test cluster.
pub const FAST_START_TIMEOUT: Duration = Duration::from_millis(500);
/// First pause before a contended lock is tried again; doubles each time.
pub const LOCK_RETRY_MIN: Duration = Duration::from_millis(100);
/// Longest pause before a contended lock is tried again.
pub const LOCK_RETRY_MAX: Duration = Duration::from_secs(1);
/// Pause after a call that failed because some node's recovery mode could not be set.
pub const CALL_RETRY: Duration = Duration::from_secs(1);

/// What does not change while the recovery daemon runs.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// This node.
    pub me: Pnn,
    /// A cluster lock is configured.
    pub cluster_lock: bool,
    /// `[cluster] leader timeout`.
    pub leader_timeout: Duration,
    /// Tunable ElectionTimeout.
    pub election_timeout: Duration,
    /// The first election is short (test mode).
    pub fast_start: bool,
}

/// What decides whether a node may lead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Its flags.
    pub flags: NodeFlags,
    /// It has the RECMASTER capability; `true` for nodes that have not told.
    pub recmaster: bool,
}

impl Standing {
    /// Active and capable.
    pub fn can_lead(self) -> bool {
        self.flags.is_active() && self.recmaster
    }
}

/// Timers of the machine. Setting one again replaces it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Timer {
    /// Time for the leader's broadcast; always runs.
    Broadcast,
    /// No leader was heard for too long.
    LeaderLost,
    /// No ballot was heard for long enough.
    ElectionEnd,
    /// Time to answer ballots with an own one.
    OwnBallot,
    /// Time to try the lock again.
    LockRetry,
}

/// What the machine is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// First of all, once.
    Start,
    /// This node's own flags and capability, whenever they were looked at.
    Standing(Standing),
    /// The whole node map as this node sees it, whenever it was looked at; own entry included or not.
    Nodes(Vec<(Pnn, Standing)>),
    /// A link is up.
    NodeConnected(Pnn),
    /// A link is closed, or the node is dead by its silence.
    NodeLost(Pnn),
    /// Message LEADER.
    LeaderHeard {
        /// The packet's source; own echoes are ignored.
        from: Pnn,
        /// Who leads; UNKNOWN: an election begins.
        leader: Pnn,
    },
    /// Message ELECTION.
    BallotHeard(Ballot),
    /// Private message: `by` will not lead as long as this node's last ballot stands.
    Conceded {
        /// Who.
        by: Pnn,
    },
    /// Private message: `by` knows no leader and asks.
    Asked {
        /// Who.
        by: Pnn,
    },
    /// Private message: asked, `by` knows no leader either.
    Leaderless {
        /// Who.
        by: Pnn,
    },
    /// Somebody wants an election for a reason of its own.
    Call,
    /// End of [`Action::SetRecmodeActive`].
    RecmodeSet {
        /// On all of the nodes.
        ok: bool,
    },
    /// End of [`Action::TakeLock`]: this node has the lock.
    LockTaken,
    /// End of [`Action::TakeLock`]: another node has it.
    LockContended,
    /// End of [`Action::TakeLock`]: timeout or error.
    LockFailed,
    /// The lock that was held is lost.
    LockLost,
    /// A timer has fired.
    Fired(Timer),
}

/// What is to be done, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Message ELECTION to all.
    SendBallot(Ballot),
    /// Message LEADER to all connected nodes; UNKNOWN: an election begins.
    SendLeader(Pnn),
    /// Private message that leads to [`Event::Conceded`] there.
    Concede {
        /// Sender of the better ballot.
        to: Pnn,
    },
    /// Private message that leads to [`Event::Asked`] there; `to` may be BROADCAST_CONNECTED.
    Ask {
        /// Whom.
        to: Pnn,
    },
    /// Private message that leads to [`Event::Leaderless`] there.
    SayLeaderless {
        /// Who asked.
        to: Pnn,
    },
    /// SET_RECMODE ACTIVE on these nodes at once, then [`Event::RecmodeSet`].
    SetRecmodeActive {
        /// The active nodes, this one included if it is one.
        on: Vec<Pnn>,
    },
    /// Start an attempt on the cluster lock.
    TakeLock,
    /// Let the lock go, or end the attempt; a report about either that comes later is not to be delivered.
    ReleaseLock,
    /// Set a timer.
    SetTimer(Timer, Duration),
    /// Stop a timer.
    CancelTimer(Timer),
    /// Who leads is settled anew, for logs and for whoever waits; UNKNOWN while nobody does.
    LeaderIs(Pnn),
}
