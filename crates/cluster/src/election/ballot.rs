//! Ballots, and which of two is the better one.

use ctdb_protocol::{ElectionMessage, NodeFlags, Pnn, Timeval};
use std::time::Duration;

/// Contents of a message ELECTION.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ballot {
    /// Who would lead.
    pub pnn: Pnn,
    /// Since when it is there without a break: wall clock, since the epoch.
    pub priority_time: Duration,
    /// Its flags.
    pub flags: NodeFlags,
    /// Nodes not disconnected by its node map. Sent, but never compared.
    pub num_connected: u32,
}

impl From<&ElectionMessage> for Ballot {
    fn from(message: &ElectionMessage) -> Ballot {
        Ballot {
            pnn: message.pnn,
            priority_time: message.priority_time.to_duration(),
            flags: message.node_flags,
            num_connected: message.num_connected,
        }
    }
}

impl From<&Ballot> for ElectionMessage {
    fn from(ballot: &Ballot) -> ElectionMessage {
        ElectionMessage {
            num_connected: ballot.num_connected,
            priority_time: Timeval::from_duration(ballot.priority_time),
            pnn: ballot.pnn,
            node_flags: ballot.flags,
        }
    }
}

impl Ballot {
    /// A time as precise as others hear it, whole microseconds: both sides of a comparison must compare the same.
    pub fn as_sent(time: Duration) -> Duration {
        Timeval::from_duration(time).to_duration()
    }

    /// Whether this node's ballot beats another one. The longest running node wins, of two the one with the
    /// larger number; never an inactive one, nor one that can't lead.
    pub fn beats(&self, can_lead: bool, other: &Ballot) -> bool {
        if !can_lead {
            return false;
        }
        if !other.flags.is_active() {
            return true;
        }
        (other.priority_time, self.pnn) > (self.priority_time, other.pnn)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ballot(pnn: u32, since: u64, flags: NodeFlags) -> Ballot {
        Ballot {
            pnn: Pnn(pnn),
            priority_time: Duration::from_micros(since),
            flags,
            num_connected: 3,
        }
    }

    #[test]
    fn the_longest_running_active_node_wins_and_then_the_larger_number() {
        let none = NodeFlags::empty();
        let me = ballot(1, 100, none);
        let table = [
            (true, ballot(2, 101, none), true),
            (true, ballot(2, 99, none), false),
            (true, ballot(2, 100, none), false),
            (true, ballot(0, 100, none), true),
            (true, ballot(2, 1, NodeFlags::BANNED), true),
            (true, ballot(2, 1, NodeFlags::STOPPED), true),
            (true, ballot(2, 1, NodeFlags::UNHEALTHY), false),
            (false, ballot(2, 1, NodeFlags::BANNED), false),
            (false, ballot(2, 101, none), false),
        ];
        for (can_lead, other, wins) in table {
            assert_eq!(
                me.beats(can_lead, &other),
                wins,
                "can lead: {can_lead}, {other:?}"
            );
        }
    }

    #[test]
    fn connected_nodes_are_counted_but_not_compared() {
        let me = Ballot {
            num_connected: 1,
            ..ballot(1, 100, NodeFlags::empty())
        };
        let other = Ballot {
            num_connected: 9,
            ..ballot(0, 100, NodeFlags::empty())
        };
        assert!(me.beats(true, &other));
    }

    #[test]
    fn what_is_sent_is_what_is_compared() {
        let mine = Ballot {
            priority_time: Duration::from_nanos(1_000_000_700),
            ..ballot(1, 0, NodeFlags::BANNED)
        };
        let heard = Ballot::from(&ElectionMessage::from(&mine));
        assert_eq!(
            heard,
            Ballot {
                priority_time: Ballot::as_sent(mine.priority_time),
                ..mine
            }
        );
        assert_eq!(heard.priority_time, Duration::from_secs(1));
    }

    proptest! {
        #[test]
        fn of_two_nodes_that_can_lead_exactly_one_wins(a in 0u32..9, b in 0u32..9, s in 0u64..3, t in 0u64..3) {
            prop_assume!(a != b);
            let (x, y) = (ballot(a, s, NodeFlags::empty()), ballot(b, t, NodeFlags::empty()));
            prop_assert!(x.beats(true, &y) != y.beats(true, &x));
        }
    }
}
