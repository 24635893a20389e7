//! Which nodes failed, and which one is to be told on.
//!
//! After a failed run the recovery daemon gets a message that names one node; that node gets as many ban credits as there
//! are nodes, so that two failed runs ban it. Above that stands the law of [`ctdb_cluster::credits`]: a named
//! culprit, evidence, and never the last node that could serve.

use std::collections::BTreeMap;

use ctdb_cluster::Node;
use ctdb_cluster::credits::is_last;
use ctdb_protocol::Pnn;

/// Failures of one node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// How many.
    pub count: u32,
    /// The first of them, in words for operators.
    pub evidence: String,
}

/// Failures of all nodes in one run.
#[derive(Debug, Default)]
pub struct Blame {
    notes: BTreeMap<Pnn, Note>,
}

/// What becomes of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// No active node failed.
    Nobody,
    /// This node gets ban credits.
    Credits(Pnn, Note),
    /// This node would, but without it nobody could serve.
    Spared(Pnn, Note),
}

impl Blame {
    /// One more failure.
    pub fn add(&mut self, node: Pnn, evidence: impl Into<String>) {
        let note = self.notes.entry(node).or_insert_with(|| Note {
            count: 0,
            evidence: evidence.into(),
        });
        note.count += 1;
    }

    /// The node with the most failures, the first of equals. Nodes that are inactive or lost by now, according to
    /// `nodes`, are forgiven: that may be why they failed, and a ban would change nothing.
    pub fn verdict(&self, nodes: &[Node]) -> Verdict {
        let is_active = |pnn: Pnn| nodes.iter().any(|node| node.pnn == pnn && node.flags.is_active());
        let active = self.notes.iter().filter(|(pnn, _)| is_active(**pnn));
        // `max_by_key` finds the last of equals: from behind that is the first.
        match active.rev().max_by_key(|(_, note)| note.count) {
            None => Verdict::Nobody,
            Some((&node, note)) if is_last(nodes, node) => Verdict::Spared(node, note.clone()),
            Some((&node, note)) => Verdict::Credits(node, note.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ctdb_protocol::NodeFlags;

    fn nodes(flags: &[NodeFlags]) -> Vec<Node> {
        let numbered = (0..).map(Pnn).zip(flags);
        numbered.map(|(pnn, &flags)| Node { pnn, flags }).collect()
    }

    const OK: NodeFlags = NodeFlags::empty();

    fn failed(failures: &[u32]) -> Blame {
        let mut blame = Blame::default();
        for (at, &node) in failures.iter().enumerate() {
            blame.add(Pnn(node), format!("failure {at}"));
        }
        blame
    }

    fn note(count: u32, first: u32) -> Note {
        Note {
            count,
            evidence: format!("failure {first}"),
        }
    }

    #[test]
    fn the_node_with_the_most_failures_is_named_and_the_lowest_of_equals() {
        let all = nodes(&[OK, OK, OK]);
        assert_eq!(failed(&[]).verdict(&all), Verdict::Nobody);
        assert_eq!(
            failed(&[2, 1]).verdict(&all),
            Verdict::Credits(Pnn(1), note(1, 1))
        );
        assert_eq!(
            failed(&[1, 2, 2]).verdict(&all),
            Verdict::Credits(Pnn(2), note(2, 1))
        );
    }

    #[test]
    fn a_node_that_is_lost_or_inactive_by_now_is_forgiven() {
        let some = nodes(&[OK, NodeFlags::DISCONNECTED, NodeFlags::STOPPED, OK]);
        assert_eq!(failed(&[1, 1, 2, 7]).verdict(&some), Verdict::Nobody);
        assert_eq!(
            failed(&[1, 1, 0]).verdict(&some),
            Verdict::Credits(Pnn(0), note(1, 2))
        );
    }

    #[test]
    fn the_last_healthy_node_is_spared() {
        let some = nodes(&[OK, NodeFlags::UNHEALTHY, NodeFlags::BANNED]);
        assert_eq!(failed(&[0]).verdict(&some), Verdict::Spared(Pnn(0), note(1, 0)));
        assert_eq!(failed(&[1]).verdict(&some), Verdict::Credits(Pnn(1), note(1, 0)));
    }
}
