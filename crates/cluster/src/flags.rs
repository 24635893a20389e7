//! Node flags: what becomes of them and what follows.
//!
//! A node owns its flags but for DISCONNECTED, which each node sees for itself. The leader carries every node's own
//! view to all others by MODIFY_FLAGS. Facts: `daemon.md` §3, §14; `recovery.md` §2 step 16.

use crate::Node;
use ctdb_protocol::{NodeFlags, Pnn};
use std::collections::BTreeMap;

/// What a node does with a MODIFY_FLAGS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Modified {
    /// About the receiver: it knows better. Answered with success.
    Own,
    /// No such node. Refused.
    UnknownNode,
    /// A node without a link to the receiver. Answered with success.
    Disconnected,
    /// Nothing new. Answered with success.
    Unchanged,
    /// Take these flags.
    Changed {
        /// The node's flags from now on.
        flags: NodeFlags,
        /// The first node is healthy while this one still starts: set the own recovery mode to ACTIVE, so that the
        /// start goes on.
        became_healthy: bool,
    },
}

/// Decides on a MODIFY_FLAGS. `seen`: the node's flags here, `None` if there is no such node; `starting`: own
/// runstate is STARTUP or earlier. The sender's idea of the old flags is not asked for.
pub fn modify_flags(me: Pnn, node: Pnn, new: NodeFlags, seen: Option<NodeFlags>, starting: bool) -> Modified {
    if node == me {
        return Modified::Own;
    }
    let Some(old) = seen else {
        return Modified::UnknownNode;
    };
    if old.contains(NodeFlags::DISCONNECTED) {
        return Modified::Disconnected;
    }
    let flags = new - NodeFlags::DISCONNECTED;
    if flags == old {
        return Modified::Unchanged;
    }
    Modified::Changed {
        flags,
        became_healthy: flags.is_empty() && starting,
    }
}

/// Flags that the leader has to correct.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlagFix {
    /// Node that they belong to.
    pub node: Pnn,
    /// As the leader has seen them.
    pub old: NodeFlags,
    /// As the node itself has them; for all connected nodes by MODIFY_FLAGS, and for the leader's own map.
    pub new: NodeFlags,
}

/// Compares the leader's node map with those of the other connected nodes: what each node says of itself counts; a fix
/// is due if the leader or any connected node sees it differently. A node that says another one is disconnected
/// would ignore a fix, so that is no difference.
pub fn flags_to_fix(me: Pnn, own: &[Node], remote: &BTreeMap<Pnn, Vec<Node>>) -> Vec<FlagFix> {
    let mut fixes = Vec::new();
    for node in own.iter().filter(|node| node.flags.is_connected()) {
        let by_itself = if node.pnn == me {
            Some(node.flags)
        } else {
            flags_in(remote.get(&node.pnn), node.pnn)
        };
        let Some(new) = by_itself else { continue };
        let sees_otherwise = |other: &Node| {
            other.pnn != me && other.pnn != node.pnn && {
                let seen = flags_in(remote.get(&other.pnn), node.pnn);
                seen.is_some_and(|seen| !seen.contains(NodeFlags::DISCONNECTED) && seen != new)
            }
        };
        let connected = own.iter().filter(|other| other.flags.is_connected());
        if new != node.flags || connected.into_iter().any(sees_otherwise) {
            fixes.push(FlagFix {
                node: node.pnn,
                old: node.flags,
                new,
            });
        }
    }
    fixes
}

fn flags_in(map: Option<&Vec<Node>>, pnn: Pnn) -> Option<NodeFlags> {
    map?.iter().find(|node| node.pnn == pnn).map(|node| node.flags)
}

/// What happens to a node's flags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Both links are up.
    Connected,
    /// A link is closed, or the node was silent for too long.
    Dead,
    /// SET_BAN_STATE with a time.
    Ban,
    /// SET_BAN_STATE without one, or its time is over.
    Unban,
    /// STOP_NODE.
    Stop,
    /// CONTINUE_NODE.
    Continue,
    /// DISABLE_NODE.
    Disable,
    /// ENABLE_NODE.
    Enable,
    /// Result of the monitor event.
    Monitored {
        /// It succeeded.
        healthy: bool,
    },
}

/// Flags after a change. Coming back from a ban or a stop changes nothing else: the node stays frozen until the leader
/// has recovered it.
pub fn changed(flags: NodeFlags, change: Change) -> NodeFlags {
    match change {
        Change::Connected => flags - NodeFlags::DISCONNECTED,
        Change::Dead => flags | NodeFlags::DISCONNECTED | NodeFlags::UNHEALTHY,
        Change::Ban => flags | NodeFlags::BANNED,
        Change::Unban => flags - NodeFlags::BANNED,
        Change::Stop => flags | NodeFlags::STOPPED,
        Change::Continue => flags - NodeFlags::STOPPED,
        Change::Disable => flags | NodeFlags::PERMANENTLY_DISABLED,
        Change::Enable => flags - NodeFlags::PERMANENTLY_DISABLED,
        Change::Monitored { healthy: true } => flags - NodeFlags::UNHEALTHY,
        Change::Monitored { healthy: false } => flags | NodeFlags::UNHEALTHY,
    }
}

/// Whether the change makes this node leave the databases: generation INVALID, recovery mode ACTIVE, freeze, release
/// all addresses. A stop does so each time, a ban only when it is new.
pub fn becomes_inactive(before: NodeFlags, change: Change) -> bool {
    match change {
        Change::Stop => true,
        Change::Ban => !before.contains(NodeFlags::BANNED),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const OK: NodeFlags = NodeFlags::empty();

    fn map(flags: &[NodeFlags]) -> Vec<Node> {
        flags
            .iter()
            .zip(0..)
            .map(|(&flags, n)| Node { pnn: Pnn(n), flags })
            .collect()
    }

    #[test]
    fn a_node_believes_the_leader_about_others_but_not_about_itself_or_its_links() {
        let (me, node, banned) = (Pnn(0), Pnn(1), NodeFlags::BANNED);
        assert_eq!(modify_flags(me, me, banned, Some(OK), false), Modified::Own);
        assert_eq!(
            modify_flags(me, Pnn(9), banned, None, false),
            Modified::UnknownNode
        );
        let dead = NodeFlags::DISCONNECTED | NodeFlags::UNHEALTHY;
        assert_eq!(
            modify_flags(me, node, OK, Some(dead), true),
            Modified::Disconnected
        );
        assert_eq!(
            modify_flags(me, node, banned, Some(banned), false),
            Modified::Unchanged
        );
        let lost = banned | NodeFlags::DISCONNECTED;
        assert_eq!(
            modify_flags(me, node, lost, Some(banned), false),
            Modified::Unchanged
        );
        let expected = Modified::Changed {
            flags: banned,
            became_healthy: false,
        };
        assert_eq!(modify_flags(me, node, lost, Some(OK), false), expected);
    }

    #[test]
    fn the_first_healthy_node_wakes_those_that_start() {
        for (new, starting, became_healthy) in [
            (OK, true, true),
            (OK, false, false),
            (NodeFlags::STOPPED, true, false),
        ] {
            let got = modify_flags(Pnn(0), Pnn(1), new, Some(NodeFlags::UNHEALTHY), starting);
            assert_eq!(
                got,
                Modified::Changed {
                    flags: new,
                    became_healthy
                }
            );
        }
    }

    #[test]
    fn what_a_node_says_of_itself_is_carried_to_all() {
        let bad = NodeFlags::UNHEALTHY;
        let own = map(&[OK, OK, OK, NodeFlags::DISCONNECTED]);
        let same = map(&[OK, OK, OK, NodeFlags::DISCONNECTED]);
        let agree = BTreeMap::from([(Pnn(1), same.clone()), (Pnn(2), same.clone())]);
        assert_eq!(flags_to_fix(Pnn(0), &own, &agree), []);

        let node_1_is_bad = BTreeMap::from([(Pnn(1), map(&[OK, bad, OK, OK])), (Pnn(2), same.clone())]);
        assert_eq!(
            flags_to_fix(Pnn(0), &own, &node_1_is_bad),
            [FlagFix {
                node: Pnn(1),
                old: OK,
                new: bad
            }]
        );

        let node_2_is_late = BTreeMap::from([(Pnn(1), same.clone()), (Pnn(2), map(&[bad, OK, OK, OK]))]);
        assert_eq!(
            flags_to_fix(Pnn(0), &own, &node_2_is_late),
            [FlagFix {
                node: Pnn(0),
                old: OK,
                new: OK
            }]
        );

        let cut = BTreeMap::from([
            (Pnn(1), map(&[OK, OK, NodeFlags::DISCONNECTED | bad])),
            (Pnn(2), same),
        ]);
        assert_eq!(flags_to_fix(Pnn(0), &own, &cut), []);
    }

    proptest! {
        #[test]
        fn after_the_fixes_nothing_is_left_to_fix(bits in proptest::collection::vec(0u32..64, 9)) {
            let view = |n: usize| map(&bits[3 * n..3 * n + 3].iter().map(|&b| {
                NodeFlags::from_bits_retain(b) - NodeFlags::DELETED - NodeFlags::DISCONNECTED
            }).collect::<Vec<_>>());
            let mut maps: BTreeMap<Pnn, Vec<Node>> = (0..3u32).map(|n| (Pnn(n), view(n as usize))).collect();
            let leader = Pnn(1);
            for fix in flags_to_fix(leader, &maps[&leader].clone(), &maps.clone()) {
                for (&at, map) in &mut maps {
                    let node = map.iter_mut().find(|node| node.pnn == fix.node).unwrap();
                    match modify_flags(at, fix.node, fix.new, Some(node.flags), false) {
                        Modified::Changed { flags, .. } => node.flags = flags,
                        other => prop_assert!(matches!(other, Modified::Own | Modified::Unchanged)),
                    }
                }
            }
            prop_assert_eq!(flags_to_fix(leader, &maps[&leader].clone(), &maps), []);
        }
    }

    #[test]
    fn flags_change_as_told_and_only_new_bans_and_stops_make_inactive() {
        let dead = changed(OK, Change::Dead);
        assert_eq!(dead, NodeFlags::DISCONNECTED | NodeFlags::UNHEALTHY);
        assert_eq!(changed(dead, Change::Connected), NodeFlags::UNHEALTHY);
        let both = changed(changed(OK, Change::Ban), Change::Stop);
        assert_eq!(changed(both, Change::Unban), NodeFlags::STOPPED);
        assert_eq!(changed(both, Change::Continue), NodeFlags::BANNED);
        assert_eq!(changed(changed(OK, Change::Disable), Change::Enable), OK);
        assert_eq!(
            changed(NodeFlags::UNHEALTHY, Change::Monitored { healthy: true }),
            OK
        );
        assert_eq!(
            changed(OK, Change::Monitored { healthy: false }),
            NodeFlags::UNHEALTHY
        );
        assert!(becomes_inactive(OK, Change::Ban) && !becomes_inactive(NodeFlags::BANNED, Change::Ban));
        assert!(becomes_inactive(OK, Change::Stop) && becomes_inactive(NodeFlags::STOPPED, Change::Stop));
        assert!(!becomes_inactive(OK, Change::Disable));
    }
}
