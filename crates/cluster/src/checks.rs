//! Is a recovery needed, and why? The leader's checks, in the order of `recovery.md` §2; the numbers are its steps.
//!
//! Each check takes what was seen and gives the first thing that is wrong, with the node to blame. The caller stops
//! at the first reason, for what is wrong later is often a consequence.

use crate::Node;
use crate::operations::Cause;
use crate::vnnmap::{CapabilitiesOf, active_lmasters};
use ctdb_protocol::{Generation, Pnn, RecMode, VnnMap};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// Why a recovery is needed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// 19: an earlier attempt failed, or somebody asked.
    Pending(String),
    /// 20: a node is in recovery mode.
    InRecovery {
        /// Which.
        node: Pnn,
    },
    /// 21: a cluster lock is configured and not held.
    LockNotHeld {
        /// The leader.
        leader: Pnn,
    },
    /// 23: node maps differ in length.
    NodeCount {
        /// Whose is different.
        node: Pnn,
        /// Its number of nodes.
        theirs: usize,
        /// The leader's.
        ours: usize,
    },
    /// 23: node maps differ in a node number.
    NodeNumber {
        /// Whose is different.
        node: Pnn,
        /// Where, counted from 0.
        at: usize,
        /// Its entry.
        theirs: Pnn,
        /// The leader's.
        ours: Pnn,
    },
    /// 24: as many location masters as active nodes that can be one.
    LmasterCount {
        /// The leader.
        leader: Pnn,
        /// In the vnnmap.
        mapped: usize,
        /// Active and able.
        active: usize,
    },
    /// 25: an active node that can be location master is not one.
    LmasterMissing {
        /// Which.
        node: Pnn,
    },
    /// 26: another recovery's vnnmap.
    MapGeneration {
        /// Whose is different.
        node: Pnn,
        /// Its generation.
        theirs: Generation,
        /// The leader's.
        ours: Generation,
    },
    /// 26: a vnnmap of another size.
    MapSize {
        /// Whose is different.
        node: Pnn,
        /// Its size.
        theirs: usize,
        /// The leader's.
        ours: usize,
    },
    /// 26: another location master.
    MapEntry {
        /// Whose is different.
        node: Pnn,
        /// Where, counted from 0.
        at: usize,
        /// Its entry.
        theirs: Pnn,
        /// The leader's.
        ours: Pnn,
    },
}

impl Reason {
    /// Who gets a ban credit for it; nobody for what was asked for or is no one's fault.
    pub fn culprit(&self) -> Option<Pnn> {
        match *self {
            Reason::Pending(_) | Reason::InRecovery { .. } => None,
            Reason::LockNotHeld { leader: node }
            | Reason::LmasterCount { leader: node, .. }
            | Reason::NodeCount { node, .. }
            | Reason::NodeNumber { node, .. }
            | Reason::LmasterMissing { node }
            | Reason::MapGeneration { node, .. }
            | Reason::MapSize { node, .. }
            | Reason::MapEntry { node, .. } => Some(node),
        }
    }

    /// Whether it may be acted on during the pause after a recovery, see [`crate::operations`]. Who knows more (that
    /// an administrator set the recovery mode, say) gives that instead.
    pub fn cause(&self) -> Cause {
        match self {
            Reason::LmasterCount { .. } | Reason::LmasterMissing { .. } => Cause::Membership,
            // It takes part in no generation: it has just come, or come back.
            Reason::MapGeneration { theirs, .. } if !theirs.is_valid() => Cause::Membership,
            Reason::Pending(_)
            | Reason::InRecovery { .. }
            | Reason::LockNotHeld { .. }
            | Reason::NodeCount { .. }
            | Reason::NodeNumber { .. }
            | Reason::MapGeneration { .. }
            | Reason::MapSize { .. }
            | Reason::MapEntry { .. } => Cause::Other,
        }
    }
}

/// Whether the active nodes are others than those that took part in the last recovery: evidence for
/// [`Cause::Membership`], whichever check found something first.
pub fn members_changed(took_part: &BTreeSet<Pnn>, own: &[Node]) -> bool {
    let active: BTreeSet<Pnn> = own
        .iter()
        .filter(|node| node.flags.is_active())
        .map(|node| node.pnn)
        .collect();
    active != *took_part
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::Pending(why) => write!(f, "a recovery is pending: {why}"),
            Reason::InRecovery { node } => write!(f, "node {node} is in recovery mode"),
            Reason::LockNotHeld { leader } => write!(f, "leader {leader} does not hold the cluster lock"),
            Reason::NodeCount { node, theirs, ours } => {
                write!(
                    f,
                    "node {node} lists {theirs} nodes, the leader {ours}: their nodes files differ"
                )
            }
            Reason::NodeNumber {
                node,
                at,
                theirs,
                ours,
            } => {
                write!(
                    f,
                    "node {node} lists node {theirs} in place {at}, the leader node {ours}"
                )
            }
            Reason::LmasterCount { mapped, active, .. } => {
                write!(
                    f,
                    "the vnnmap has {mapped} location masters, {active} active nodes can be one"
                )
            }
            Reason::LmasterMissing { node } => {
                write!(
                    f,
                    "active node {node} can be location master and is not in the vnnmap"
                )
            }
            Reason::MapGeneration { node, theirs, ours } => {
                write!(f, "node {node} is in generation {theirs}, the leader in {ours}")
            }
            Reason::MapSize { node, theirs, ours } => {
                write!(
                    f,
                    "the vnnmap of node {node} has {theirs} entries, the leader's {ours}"
                )
            }
            Reason::MapEntry {
                node,
                at,
                theirs,
                ours,
            } => {
                write!(
                    f,
                    "entry {at} of the vnnmap of node {node} is {theirs}, of the leader's {ours}"
                )
            }
        }
    }
}

/// A node did not answer a question of the round: one ban credit if the check says so, and the round ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unanswered {
    /// Who.
    pub node: Pnn,
    /// What it was asked.
    pub question: &'static str,
    /// Whether it gets a ban credit.
    pub blame: bool,
}

impl fmt::Display for Unanswered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "node {} did not answer {}", self.node, self.question)
    }
}

/// 15: every connected node, active or not, has to give its node map.
pub fn nodemap_missing<M>(me: Pnn, own: &[Node], remote: &BTreeMap<Pnn, M>) -> Option<Unanswered> {
    let silent =
        |node: &&Node| node.flags.is_connected() && node.pnn != me && !remote.contains_key(&node.pnn);
    let node = own.iter().find(silent)?.pnn;
    Some(Unanswered {
        node,
        question: "GET_NODEMAP",
        blame: true,
    })
}

/// 17: the list that the recovery daemon has loaded is not the daemon's any more.
pub fn nodes_list_is_stale(loaded: usize, own: &[Node]) -> bool {
    loaded != own.len()
}

/// 20: all active nodes are in normal mode. One in recovery mode counts before one that does not answer.
///
/// # Errors
/// Some node did not answer; nobody is to blame for that here, its link or keepalive tells soon.
pub fn not_normal(own: &[Node], modes: &BTreeMap<Pnn, RecMode>) -> Result<Option<Reason>, Unanswered> {
    let mut silent = None;
    for node in own.iter().filter(|node| node.flags.is_active()) {
        match modes.get(&node.pnn) {
            Some(RecMode::Normal) => {}
            Some(RecMode::Active) => return Ok(Some(Reason::InRecovery { node: node.pnn })),
            None => silent = silent.or(Some(node.pnn)),
        }
    }
    match silent {
        None => Ok(None),
        Some(node) => Err(Unanswered {
            node,
            question: "GET_RECMODE",
            blame: false,
        }),
    }
}

/// 21: the leader holds the lock, if one is configured.
pub fn lock_not_held(me: Pnn, configured: bool, held: bool) -> Option<Reason> {
    (configured && !held).then_some(Reason::LockNotHeld { leader: me })
}

/// 23: the other active nodes have the same nodes in the same places. Flags are not compared.
pub fn node_lists_differ(me: Pnn, own: &[Node], remote: &BTreeMap<Pnn, Vec<Node>>) -> Option<Reason> {
    let others = own.iter().filter(|node| node.flags.is_active() && node.pnn != me);
    others
        .filter_map(|node| Some((node.pnn, remote.get(&node.pnn)?)))
        .find_map(|(node, list)| {
            if list.len() != own.len() {
                return Some(Reason::NodeCount {
                    node,
                    theirs: list.len(),
                    ours: own.len(),
                });
            }
            let pairs = list.iter().zip(own).enumerate();
            let different = |(at, (theirs, ours)): (usize, (&Node, &Node))| {
                let (theirs, ours) = (theirs.pnn, ours.pnn);
                (theirs != ours).then_some(Reason::NodeNumber {
                    node,
                    at,
                    theirs,
                    ours,
                })
            };
            pairs.into_iter().find_map(different)
        })
}

/// 24: the vnnmap has as many entries as there are active nodes that can be location master; with none of
/// these, the leader alone.
pub fn lmaster_count_differs(me: Pnn, own: &[Node], caps: &CapabilitiesOf, map: &VnnMap) -> Option<Reason> {
    let active = active_lmasters(own, caps).len();
    let mapped = map.map.len();
    (mapped != active.max(1)).then_some(Reason::LmasterCount {
        leader: me,
        mapped,
        active,
    })
}

/// 25: each active node that can be location master is in the vnnmap; the leader itself is not looked for.
pub fn lmaster_missing(me: Pnn, own: &[Node], caps: &CapabilitiesOf, map: &VnnMap) -> Option<Reason> {
    let missing = |node: &Pnn| *node != me && !map.map.contains(node);
    active_lmasters(own, caps)
        .into_iter()
        .find(missing)
        .map(|node| Reason::LmasterMissing { node })
}

/// 26: the other active nodes have the leader's vnnmap.
///
/// # Errors
/// A node before the first different one did not answer; it is not blamed here.
pub fn vnnmaps_differ(
    me: Pnn,
    own: &[Node],
    map: &VnnMap,
    remote: &BTreeMap<Pnn, VnnMap>,
) -> Result<Option<Reason>, Unanswered> {
    for node in own
        .iter()
        .filter(|node| node.flags.is_active() && node.pnn != me)
        .map(|node| node.pnn)
    {
        let Some(theirs) = remote.get(&node) else {
            return Err(Unanswered {
                node,
                question: "GETVNNMAP",
                blame: false,
            });
        };
        let reason = vnnmap_differs(node, map, theirs);
        if reason.is_some() {
            return Ok(reason);
        }
    }
    Ok(None)
}

fn vnnmap_differs(node: Pnn, ours: &VnnMap, theirs: &VnnMap) -> Option<Reason> {
    if theirs.generation != ours.generation {
        return Some(Reason::MapGeneration {
            node,
            theirs: theirs.generation,
            ours: ours.generation,
        });
    }
    if theirs.map.len() != ours.map.len() {
        return Some(Reason::MapSize {
            node,
            theirs: theirs.map.len(),
            ours: ours.map.len(),
        });
    }
    let pairs = theirs
        .map
        .iter()
        .copied()
        .zip(ours.map.iter().copied())
        .enumerate();
    let mut different = pairs.filter(|(_, (theirs, ours))| theirs != ours);
    different.next().map(|(at, (theirs, ours))| Reason::MapEntry {
        node,
        at,
        theirs,
        ours,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vnnmap::build_vnnmap;
    use ctdb_protocol::{Capabilities, NodeFlags};
    use proptest::prelude::*;

    const ME: Pnn = Pnn(0);
    const OK: NodeFlags = NodeFlags::empty();

    fn nodes(flags: &[NodeFlags]) -> Vec<Node> {
        flags
            .iter()
            .zip(0..)
            .map(|(&flags, n)| Node { pnn: Pnn(n), flags })
            .collect()
    }

    fn three() -> Vec<Node> {
        nodes(&[OK, NodeFlags::UNHEALTHY, OK])
    }

    fn caps(able: &[u32]) -> CapabilitiesOf {
        able.iter().map(|&n| (Pnn(n), Capabilities::LMASTER)).collect()
    }

    fn map(generation: u32, nodes: &[u32]) -> VnnMap {
        VnnMap {
            generation: Generation(generation),
            map: nodes.iter().copied().map(Pnn).collect(),
        }
    }

    #[test]
    fn step_15_wants_the_node_map_of_inactive_nodes_too() {
        let own = nodes(&[OK, NodeFlags::BANNED, NodeFlags::DISCONNECTED]);
        let missing = nodemap_missing::<()>(ME, &own, &BTreeMap::new()).unwrap();
        assert_eq!((missing.node, missing.blame), (Pnn(1), true));
        assert_eq!(missing.to_string(), "node 1 did not answer GET_NODEMAP");
        assert_eq!(nodemap_missing(ME, &own, &BTreeMap::from([(Pnn(1), ())])), None);
    }

    #[test]
    fn step_17_compares_lengths() {
        assert!(!nodes_list_is_stale(3, &three()) && nodes_list_is_stale(2, &three()));
    }

    #[test]
    fn step_20_finds_active_nodes_that_are_not_in_normal_mode() {
        use RecMode::*;
        let own = nodes(&[OK, OK, NodeFlags::STOPPED]);
        let modes = |a, b| BTreeMap::from([(Pnn(0), a), (Pnn(1), b), (Pnn(2), Active)]);
        assert_eq!(not_normal(&own, &modes(Normal, Normal)), Ok(None));
        assert_eq!(
            not_normal(&own, &modes(Normal, Active)),
            Ok(Some(Reason::InRecovery { node: Pnn(1) }))
        );
        let silent = not_normal(&own, &BTreeMap::from([(Pnn(1), Normal)])).unwrap_err();
        assert_eq!((silent.node, silent.blame), (Pnn(0), false));
        let active_and_silent = not_normal(&own, &BTreeMap::from([(Pnn(1), Active)]));
        assert_eq!(active_and_silent, Ok(Some(Reason::InRecovery { node: Pnn(1) })));
    }

    #[test]
    fn step_21_blames_a_leader_without_its_lock() {
        assert_eq!(lock_not_held(ME, true, false).unwrap().culprit(), Some(ME));
        for (configured, held) in [(true, true), (false, false), (false, true)] {
            assert_eq!(lock_not_held(ME, configured, held), None);
        }
    }

    #[test]
    fn step_23_compares_numbers_but_not_flags() {
        let own = three();
        let with = |list: Vec<Node>| node_lists_differ(ME, &own, &BTreeMap::from([(Pnn(2), list)]));
        assert_eq!(with(nodes(&[NodeFlags::BANNED, OK, OK])), None);
        let short = Reason::NodeCount {
            node: Pnn(2),
            theirs: 2,
            ours: 3,
        };
        assert_eq!(with(nodes(&[OK, OK])), Some(short));
        let mut swapped = three();
        swapped.swap(1, 2);
        let other = Reason::NodeNumber {
            node: Pnn(2),
            at: 1,
            theirs: Pnn(2),
            ours: Pnn(1),
        };
        assert_eq!(with(swapped), Some(other));
        let stopped = nodes(&[OK, OK, NodeFlags::STOPPED]);
        assert_eq!(
            node_lists_differ(ME, &stopped, &BTreeMap::from([(Pnn(2), vec![])])),
            None
        );
    }

    #[test]
    fn steps_24_and_25_find_location_masters_that_are_too_few_or_others() {
        let own = three();
        let able = caps(&[0, 1, 2]);
        assert_eq!(lmaster_count_differs(ME, &own, &able, &map(5, &[0, 1, 2])), None);
        let few = lmaster_count_differs(ME, &own, &able, &map(5, &[0, 1])).unwrap();
        assert_eq!(
            few,
            Reason::LmasterCount {
                leader: ME,
                mapped: 2,
                active: 3
            }
        );
        assert_eq!((few.culprit(), few.cause()), (Some(ME), Cause::Membership));
        assert_eq!(
            lmaster_count_differs(ME, &own, &caps(&[]), &map(5, &[0])),
            None,
            "the leader alone"
        );

        assert_eq!(lmaster_missing(ME, &own, &able, &map(5, &[0, 1, 2])), None);
        assert_eq!(
            lmaster_missing(ME, &own, &able, &map(5, &[9, 1, 2])),
            None,
            "the leader is not looked for"
        );
        let missing = lmaster_missing(ME, &own, &able, &map(5, &[0, 1, 9])).unwrap();
        assert_eq!(missing, Reason::LmasterMissing { node: Pnn(2) });
    }

    #[test]
    fn step_26_compares_generation_then_size_then_entries() {
        let own = three();
        let ours = map(5, &[0, 1, 2]);
        let with = |theirs: VnnMap| {
            let remote = BTreeMap::from([(Pnn(1), ours.clone()), (Pnn(2), theirs)]);
            vnnmaps_differ(ME, &own, &ours, &remote)
                .unwrap()
                .map(|reason| reason.to_string())
        };
        assert_eq!(with(ours.clone()), None);
        assert_eq!(
            with(map(6, &[0])).unwrap(),
            "node 2 is in generation 6, the leader in 5"
        );
        assert_eq!(
            with(map(1, &[0])).unwrap(),
            "node 2 is in generation INVALID, the leader in 5"
        );
        assert_eq!(
            with(map(5, &[0])).unwrap(),
            "the vnnmap of node 2 has 1 entries, the leader's 3"
        );
        let other = "entry 1 of the vnnmap of node 2 is 2, of the leader's 1";
        assert_eq!(with(map(5, &[0, 2, 1])).unwrap(), other);
        let silent = vnnmaps_differ(ME, &own, &ours, &BTreeMap::new()).unwrap_err();
        assert_eq!(
            (silent.node, silent.question, silent.blame),
            (Pnn(1), "GETVNNMAP", false)
        );
    }

    #[test]
    fn a_node_that_came_or_went_is_a_change_of_members() {
        let own = nodes(&[OK, OK, NodeFlags::STOPPED]);
        let members = |list: &[u32]| list.iter().copied().map(Pnn).collect();
        assert!(!members_changed(&members(&[0, 1]), &own));
        assert!(members_changed(&members(&[0]), &own) && members_changed(&members(&[0, 1, 2]), &own));
        let back = Reason::MapGeneration {
            node: Pnn(1),
            theirs: Generation::INVALID,
            ours: Generation(5),
        };
        assert_eq!(back.cause(), Cause::Membership);
        let late = Reason::MapGeneration {
            node: Pnn(1),
            theirs: Generation(4),
            ours: Generation(5),
        };
        assert_eq!(late.cause(), Cause::Other);
    }

    #[test]
    fn nobody_is_blamed_for_a_recovery_that_was_asked_for() {
        assert_eq!(Reason::InRecovery { node: Pnn(1) }.culprit(), None);
        let pending = Reason::Pending("the last one failed".into());
        assert_eq!((pending.culprit(), pending.cause()), (None, Cause::Other));
        assert_eq!(pending.to_string(), "a recovery is pending: the last one failed");
    }

    proptest! {
        #[test]
        fn right_after_a_recovery_no_check_finds_anything(bits in proptest::collection::vec((0u32..64, 0u32..3), 1..8)) {
            let flags: Vec<NodeFlags> = bits.iter().map(|&(flags, _)| NodeFlags::from_bits_retain(flags)).collect();
            let mut own = nodes(&flags);
            own[0].flags = OK; // the leader
            let caps: CapabilitiesOf =
                bits.iter().zip(0..).map(|(&(_, caps), n)| (Pnn(n), Capabilities::from_bits_retain(caps))).collect();
            let map = build_vnnmap(&own, &caps, ME, Generation(7));
            let everywhere: BTreeMap<Pnn, VnnMap> = own.iter().map(|node| (node.pnn, map.clone())).collect();
            let lists: BTreeMap<Pnn, Vec<Node>> = own.iter().map(|node| (node.pnn, own.clone())).collect();
            prop_assert_eq!(node_lists_differ(ME, &own, &lists), None);
            prop_assert_eq!(lmaster_count_differs(ME, &own, &caps, &map), None);
            prop_assert_eq!(lmaster_missing(ME, &own, &caps, &map), None);
            prop_assert_eq!(vnnmaps_differ(ME, &own, &map, &everywhere), Ok(None));
        }
    }
}
