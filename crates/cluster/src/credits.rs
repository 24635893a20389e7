//! Ban credits: who is to blame when recoveries fail again and again.
//!
//! The leader notes each failure against the node that failed. When a node has twice as many as there are nodes, it
//! is banned for a time, so that the others can recover without it. Notes older than the grace period
//! are forgiven, all notes after a successful recovery.
//!
//! One law stands above this: a ban takes capacity away, so it needs a named culprit and evidence that is kept with it;
//! the last node that could serve is never banned; and that the cluster lock can't be reached bans nobody, for
//! the databases can be served without it in the current generation. The C implementation bans the leader then, next
//! the node that follows it, and so on until nobody is left.
//!
//! Times are since the start of the program. Facts: `recovery.md` §9.

use crate::Node;
use ctdb_protocol::{NodeFlags, Pnn};
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// Why a node is to blame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Evidence {
    /// It did something wrong or failed to answer; in words for operators.
    Failed(String),
    /// The cluster lock could not be taken or reached. Noted, but never counted.
    ClusterLock(String),
}

impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Evidence::Failed(what) => f.write_str(what),
            Evidence::ClusterLock(what) => write!(f, "cluster lock: {what}"),
        }
    }
}

/// What is noted against a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credit {
    /// Credits so far.
    pub count: u32,
    /// When the last was added.
    pub last: Duration,
    /// For the last.
    pub evidence: Evidence,
}

/// What becomes of a node that has enough credits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sentence {
    /// Ban it for RecoveryBanPeriod.
    Ban {
        /// Whom.
        node: Pnn,
        /// What for.
        credit: Credit,
    },
    /// It is the last one that can serve; say so in the log. Its credits start over.
    Spare {
        /// Whom.
        node: Pnn,
        /// What for.
        credit: Credit,
    },
}

/// The leader's notes.
#[derive(Clone, Debug, Default)]
pub struct Credits {
    notes: BTreeMap<Pnn, Credit>,
}

impl Credits {
    /// Notes `count` credits against `culprit`. Ignored, with `false`, if there is no such node or this node is inactive
    /// itself and in no position to judge. `grace`: tunable RecoveryGracePeriod.
    pub fn blame(
        &mut self,
        culprit: Pnn,
        count: u32,
        evidence: Evidence,
        now: Duration,
        grace: Duration,
        view: &View<'_>,
    ) -> bool {
        let known = view.nodes.iter().any(|node| node.pnn == culprit);
        if !known || !view.is_active(view.me) {
            return false;
        }
        let count = if matches!(evidence, Evidence::ClusterLock(_)) {
            0
        } else {
            count
        };
        let before = self
            .notes
            .get(&culprit)
            .filter(|credit| now.saturating_sub(credit.last) <= grace);
        let count = before.map_or(0, |credit| credit.count).saturating_add(count);
        self.notes.insert(
            culprit,
            Credit {
                count,
                last: now,
                evidence,
            },
        );
        true
    }

    /// Credits that a failed takeover run gives at once, so that two of them ban.
    pub fn for_failed_takeover_run(view: &View<'_>) -> u32 {
        u32::try_from(view.nodes.len()).unwrap_or(u32::MAX)
    }

    /// Who is to be banned now, in the order of node numbers; their credits start over.
    pub fn judge(&mut self, view: &View<'_>) -> Vec<Sentence> {
        let threshold = 2 * view.nodes.len();
        let guilty = |credit: &Credit| usize::try_from(credit.count).is_ok_and(|count| count >= threshold);
        let mut serving: Vec<Node> = view.nodes.to_vec();
        let mut sentences = Vec::new();
        for (&node, credit) in self.notes.iter_mut().filter(|(_, credit)| guilty(credit)) {
            let credit = std::mem::replace(
                credit,
                Credit {
                    count: 0,
                    ..credit.clone()
                },
            );
            let Some(at) = serving.iter().position(|other| other.pnn == node) else {
                continue;
            };
            if !serving[at].flags.is_active() {
                continue; // banned or gone already
            }
            if is_last(&serving, node) {
                sentences.push(Sentence::Spare { node, credit });
            } else {
                serving.remove(at);
                sentences.push(Sentence::Ban { node, credit });
            }
        }
        sentences
    }

    /// A recovery has succeeded: all is forgiven.
    pub fn forgive_all(&mut self) {
        self.notes.clear();
    }

    /// Notes, for operators.
    pub fn notes(&self) -> impl Iterator<Item = (Pnn, &Credit)> {
        self.notes.iter().map(|(&node, credit)| (node, credit))
    }
}

/// What the leader sees when it judges.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    /// The leader.
    pub me: Pnn,
    /// Its node map.
    pub nodes: &'a [Node],
}

impl View<'_> {
    fn is_active(&self, pnn: Pnn) -> bool {
        self.nodes
            .iter()
            .any(|node| node.pnn == pnn && node.flags.is_active())
    }
}

/// Without this node nobody would serve: it is the last healthy one, or the last active one if none is healthy.
pub fn is_last(nodes: &[Node], pnn: Pnn) -> bool {
    let healthy = |node: &Node| !node.flags.intersects(NodeFlags::INACTIVE | NodeFlags::DISABLED);
    let Some(node) = nodes.iter().find(|node| node.pnn == pnn) else {
        return false;
    };
    let mut others = nodes.iter().filter(|other| other.pnn != pnn);
    if healthy(node) {
        !others.any(healthy)
    } else {
        !others.any(|other| other.flags.is_active())
    }
}

/// What a leader does that finds itself without the cluster lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WithoutLock {
    /// Stop leading and call an election; nobody is banned.
    StepDown,
    /// It can't serve either: ban itself, so that the others go on without it.
    BanSelf,
}

/// Decides for a leader that should hold the lock and does not. `serves`: active, with a valid generation, its databases
/// not frozen; `last`: by [`is_last`].
pub fn on_lock_missing(serves: bool, last: bool) -> WithoutLock {
    if serves || last {
        WithoutLock::StepDown
    } else {
        WithoutLock::BanSelf
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const GRACE: Duration = Duration::from_secs(120);
    const OK: NodeFlags = NodeFlags::empty();

    fn nodes(flags: &[NodeFlags]) -> Vec<Node> {
        flags
            .iter()
            .zip(0..)
            .map(|(&flags, n)| Node { pnn: Pnn(n), flags })
            .collect()
    }

    fn failed() -> Evidence {
        Evidence::Failed("no answer to DB_FREEZE".into())
    }

    fn blame(credits: &mut Credits, nodes: &[Node], culprit: u32, count: u32, secs: u64) -> bool {
        let view = View { me: Pnn(0), nodes };
        credits.blame(
            Pnn(culprit),
            count,
            failed(),
            Duration::from_secs(secs),
            GRACE,
            &view,
        )
    }

    fn banned(credits: &mut Credits, nodes: &[Node]) -> Vec<(u32, bool)> {
        let sentences = credits.judge(&View { me: Pnn(0), nodes });
        let row = |sentence: Sentence| match sentence {
            Sentence::Ban { node, .. } => (node.0, true),
            Sentence::Spare { node, .. } => (node.0, false),
        };
        sentences.into_iter().map(row).collect()
    }

    #[test]
    fn a_node_is_banned_at_twice_as_many_credits_as_there_are_nodes() {
        let three = nodes(&[OK, OK, OK]);
        let mut credits = Credits::default();
        for secs in 0..5 {
            assert!(blame(&mut credits, &three, 1, 1, secs));
        }
        assert_eq!(banned(&mut credits, &three), []);
        blame(&mut credits, &three, 1, 1, 6);
        let sentences = credits.judge(&View {
            me: Pnn(0),
            nodes: &three,
        });
        let credit = Credit {
            count: 6,
            last: Duration::from_secs(6),
            evidence: failed(),
        };
        assert_eq!(sentences, [Sentence::Ban { node: Pnn(1), credit }]);
        assert_eq!(banned(&mut credits, &three), [], "its credits have started over");
    }

    #[test]
    fn two_failed_takeover_runs_are_enough() {
        let three = nodes(&[OK, OK, OK]);
        let mut credits = Credits::default();
        let each = Credits::for_failed_takeover_run(&View {
            me: Pnn(0),
            nodes: &three,
        });
        blame(&mut credits, &three, 2, each, 0);
        assert_eq!(banned(&mut credits, &three), []);
        blame(&mut credits, &three, 2, each, 9);
        assert_eq!(banned(&mut credits, &three), [(2, true)]);
    }

    #[test]
    fn old_credits_are_forgiven_and_all_after_a_success() {
        let three = nodes(&[OK, OK, OK]);
        let mut credits = Credits::default();
        blame(&mut credits, &three, 1, 5, 0);
        blame(&mut credits, &three, 1, 1, 121);
        assert_eq!(banned(&mut credits, &three), []);
        blame(&mut credits, &three, 1, 5, 241);
        assert_eq!(
            banned(&mut credits, &three),
            [(1, true)],
            "120 s later still counts"
        );
        blame(&mut credits, &three, 1, 6, 242);
        credits.forgive_all();
        assert_eq!(banned(&mut credits, &three), []);
    }

    #[test]
    fn unknown_nodes_are_not_blamed_and_inactive_nodes_do_not_blame() {
        let mut credits = Credits::default();
        assert!(!blame(&mut credits, &nodes(&[OK, OK]), 2, 9, 0));
        assert!(!blame(&mut credits, &nodes(&[NodeFlags::STOPPED, OK]), 1, 9, 0));
        assert_eq!(credits.notes().count(), 0);
    }

    #[test]
    fn the_last_healthy_node_is_spared_and_so_is_the_last_active_one() {
        let bad = NodeFlags::UNHEALTHY;
        let mut credits = Credits::default();
        let sick = nodes(&[OK, bad, bad]);
        blame(&mut credits, &sick, 0, 6, 0);
        blame(&mut credits, &sick, 1, 6, 0);
        assert_eq!(banned(&mut credits, &sick), [(0, false), (1, true)]);
        assert_eq!(banned(&mut credits, &sick), [], "and that is said once");
        let alone = nodes(&[bad, NodeFlags::BANNED, NodeFlags::DISCONNECTED]);
        blame(&mut credits, &alone, 0, 6, 0);
        assert_eq!(banned(&mut credits, &alone), [(0, false)]);
    }

    #[test]
    fn an_unreachable_cluster_lock_bans_nobody_who_can_serve() {
        let three = nodes(&[OK, OK, OK]);
        let view = View {
            me: Pnn(0),
            nodes: &three,
        };
        let mut credits = Credits::default();
        for secs in 0..100 {
            let evidence = Evidence::ClusterLock("timeout".into());
            assert!(credits.blame(Pnn(0), 3, evidence, Duration::from_secs(secs), GRACE, &view));
        }
        assert_eq!(credits.judge(&view), []);
        assert_eq!(on_lock_missing(true, false), WithoutLock::StepDown);
        assert_eq!(on_lock_missing(false, true), WithoutLock::StepDown);
        assert_eq!(on_lock_missing(false, false), WithoutLock::BanSelf);
    }

    proptest! {
        #[test]
        fn some_node_that_served_before_a_judgement_serves_after_it(
            bits in proptest::collection::vec(0u32..64, 1..6),
            counts in proptest::collection::vec(0u32..20, 6),
        ) {
            let flags: Vec<NodeFlags> = bits.into_iter().map(NodeFlags::from_bits_retain).collect();
            let mut map = nodes(&flags);
            map.push(Node { pnn: Pnn(9), flags: OK });
            let view = View { me: Pnn(9), nodes: &map };
            let mut credits = Credits::default();
            for (&count, n) in counts.iter().zip(0..) {
                credits.blame(Pnn(if n == 5 { 9 } else { n }), count, failed(), Duration::ZERO, GRACE, &view);
            }
            let healthy = |node: &Node| node.flags.is_active() && !node.flags.intersects(NodeFlags::DISABLED);
            let gone: Vec<Pnn> = credits.judge(&view).into_iter().filter_map(|sentence| match sentence {
                Sentence::Ban { node, .. } => Some(node),
                Sentence::Spare { .. } => None,
            }).collect();
            prop_assert!(map.iter().any(|node| healthy(node) && !gone.contains(&node.pnn)));
        }
    }
}
