//! Without a cluster lock a divided cluster has two leaders, so the leader tells when nodes are missing: at once, then each
//! minute, after ten minutes every ten, after an hour every hour.

use std::time::Duration;

use ctdb_cluster::Node;
use ctdb_protocol::{NodeFlags, Pnn};

/// How often the leader looks.
pub const INTERVAL: Duration = Duration::from_secs(60);

/// Since when nodes are missing.
#[derive(Debug, Default)]
pub struct Completeness {
    incomplete_since: Option<Duration>,
}

/// A line for the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Note {
    /// All nodes are connected again.
    Complete,
    /// Some are not.
    Incomplete {
        /// Whole minutes since that was noticed.
        minutes: u64,
        /// Other nodes that are connected.
        connected: usize,
        /// Other nodes that are not.
        missing: usize,
    },
}

impl Completeness {
    /// Looks at the leader's node map. `now`: since the start of the program.
    pub fn look(&mut self, me: Pnn, nodes: &[Node], now: Duration) -> Option<Note> {
        let others = nodes
            .iter()
            .filter(|node| node.pnn != me && !node.flags.contains(NodeFlags::DELETED));
        let (missing, connected): (Vec<&Node>, Vec<&Node>) =
            others.partition(|node| node.flags.contains(NodeFlags::DISCONNECTED));
        if missing.is_empty() {
            return self.incomplete_since.take().map(|_| Note::Complete);
        }
        let since = *self.incomplete_since.get_or_insert(now);
        let minutes = now.saturating_sub(since).as_secs() / 60;
        let due = match minutes {
            0..10 => true,
            10..60 => minutes.is_multiple_of(10),
            _ => minutes.is_multiple_of(60),
        };
        due.then_some(Note::Incomplete {
            minutes,
            connected: connected.len(),
            missing: missing.len(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_nodes_are_told_less_and_less_often_and_their_return_once() {
        let map = |flags: NodeFlags| {
            [(0, NodeFlags::empty()), (1, flags), (2, NodeFlags::empty())]
                .map(|(n, flags)| Node { pnn: Pnn(n), flags })
        };
        let (whole, broken) = (map(NodeFlags::empty()), map(NodeFlags::DISCONNECTED));
        let mut look = Completeness::default();
        assert_eq!(look.look(Pnn(0), &whole, Duration::ZERO), None);
        let told: Vec<u64> = (0..200)
            .filter(|minute| {
                look.look(Pnn(0), &broken, INTERVAL * (5 + *minute as u32))
                    .is_some()
            })
            .collect();
        let expected: Vec<u64> = (0..10).chain([10, 20, 30, 40, 50, 60, 120, 180]).collect();
        assert_eq!(told, expected);
        assert_eq!(look.look(Pnn(0), &whole, INTERVAL * 300), Some(Note::Complete));
        assert_eq!(look.look(Pnn(0), &whole, INTERVAL * 301), None);
    }

    #[test]
    fn deleted_nodes_are_not_missed() {
        let flags = NodeFlags::DELETED | NodeFlags::DISCONNECTED;
        let nodes = [
            Node {
                pnn: Pnn(0),
                flags: NodeFlags::empty(),
            },
            Node { pnn: Pnn(1), flags },
        ];
        assert_eq!(Completeness::default().look(Pnn(0), &nodes, Duration::ZERO), None);
    }
}
