//! Steps 19 to 26: is a recovery needed? The checks themselves are in `ctdb_cluster::checks`; here is their order.

use std::collections::{BTreeMap, BTreeSet};

use ctdb_cluster::Node;
use ctdb_cluster::checks::{self, Reason, Unanswered};
use ctdb_cluster::operations::Cause;
use ctdb_cluster::vnnmap::CapabilitiesOf;
use ctdb_protocol::{Pnn, RecMode, VnnMap};

/// What the leader has seen in this round.
#[derive(Debug)]
pub struct Seen {
    /// The leader.
    pub me: Pnn,
    /// Its node map, flags corrected.
    pub nodes: Vec<Node>,
    /// Its vnnmap.
    pub vnnmap: VnnMap,
    /// Of all connected nodes.
    pub capabilities: CapabilitiesOf,
    /// Node maps of the other connected nodes.
    pub node_maps: BTreeMap<Pnn, Vec<Node>>,
    /// Recovery modes of all active nodes.
    pub recmodes: BTreeMap<Pnn, RecMode>,
    /// vnnmaps of the other active nodes.
    pub vnnmaps: BTreeMap<Pnn, VnnMap>,
}

/// What the leader knows from before.
#[derive(Debug)]
pub struct Known<'a> {
    /// Why an earlier attempt was made that failed.
    pub pending: Option<&'a str>,
    /// A cluster lock is configured.
    pub lock_configured: bool,
    /// The leader holds it.
    pub lock_held: bool,
    /// Somebody has disabled recoveries for a time.
    pub recoveries_disabled: bool,
    /// A daemon has told that it was set into recovery mode.
    pub asked_for: bool,
    /// Who took part in the last recovery; `None` before this daemon's first.
    pub took_part: Option<&'a BTreeSet<Pnn>>,
}

/// The first reason to recover.
///
/// # Errors
/// A node that did not answer, before any reason was found.
pub fn reason_to_recover(seen: &Seen, known: &Known<'_>) -> Result<Option<Reason>, Unanswered> {
    if let Some(why) = known.pending {
        return Ok(Some(Reason::Pending(why.to_owned()))); // 19
    }
    if let Some(reason) = checks::not_normal(&seen.nodes, &seen.recmodes)? {
        return Ok(Some(reason)); // 20
    }
    if let Some(reason) = checks::lock_not_held(seen.me, known.lock_configured, known.lock_held) {
        return Ok(Some(reason)); // 21
    }
    if known.recoveries_disabled {
        // 22: `ctdb reloadnodes` disables recoveries while the nodes' lists differ on purpose.
        return Ok(None);
    }
    let Seen {
        me,
        nodes,
        capabilities,
        vnnmap,
        ..
    } = seen;
    let reason = checks::node_lists_differ(*me, nodes, &seen.node_maps) // 23
        .or_else(|| checks::lmaster_count_differs(*me, nodes, capabilities, vnnmap)) // 24
        .or_else(|| checks::lmaster_missing(*me, nodes, capabilities, vnnmap)); // 25
    match reason {
        Some(reason) => Ok(Some(reason)),
        None => checks::vnnmaps_differ(*me, nodes, vnnmap, &seen.vnnmaps), // 26
    }
}

/// What a reason is worth during the pause after a recovery: a change of membership or an operator's wish that
/// there is evidence for counts more than the check that stumbled over it first.
pub fn cause(reason: &Reason, nodes: &[Node], known: &Known<'_>) -> Cause {
    if known
        .took_part
        .is_some_and(|before| checks::members_changed(before, nodes))
    {
        return Cause::Membership;
    }
    match reason {
        Reason::InRecovery { .. } if known.asked_for => Cause::Operator,
        _ => reason.cause(),
    }
}

/// Whether the leader goes on with its takeover runs if this reason has to wait: as in C, where the pause skips only
/// the checks from 23 on.
pub fn lets_addresses_move(reason: &Reason) -> bool {
    !matches!(
        reason,
        Reason::Pending(_) | Reason::InRecovery { .. } | Reason::LockNotHeld { .. }
    )
}

/// The check, for counters.
pub fn name(reason: &Reason) -> &'static str {
    match reason {
        Reason::Pending(_) => "pending",
        Reason::InRecovery { .. } => "in recovery mode",
        Reason::LockNotHeld { .. } => "cluster lock not held",
        Reason::NodeCount { .. } | Reason::NodeNumber { .. } => "node lists differ",
        Reason::LmasterCount { .. } | Reason::LmasterMissing { .. } => "location masters",
        Reason::MapGeneration { .. } | Reason::MapSize { .. } | Reason::MapEntry { .. } => "vnnmaps differ",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ctdb_protocol::{Capabilities, Generation, NodeFlags};

    fn healthy() -> Seen {
        let nodes: Vec<Node> = (0..3)
            .map(|n| Node {
                pnn: Pnn(n),
                flags: NodeFlags::empty(),
            })
            .collect();
        let vnnmap = VnnMap {
            generation: Generation(7),
            map: vec![Pnn(0), Pnn(1), Pnn(2)],
        };
        let others = [Pnn(1), Pnn(2)];
        Seen {
            me: Pnn(0),
            capabilities: (0..3)
                .map(|n| (Pnn(n), Capabilities::LMASTER | Capabilities::RECMASTER))
                .collect(),
            node_maps: others.iter().map(|&n| (n, nodes.clone())).collect(),
            recmodes: (0..3).map(|n| (Pnn(n), RecMode::Normal)).collect(),
            vnnmaps: others.iter().map(|&n| (n, vnnmap.clone())).collect(),
            nodes,
            vnnmap,
        }
    }

    fn known() -> Known<'static> {
        Known {
            pending: None,
            lock_configured: false,
            lock_held: false,
            recoveries_disabled: false,
            asked_for: false,
            took_part: None,
        }
    }

    fn set(nodes: &[u32]) -> BTreeSet<Pnn> {
        nodes.iter().copied().map(Pnn).collect()
    }

    #[test]
    fn a_healthy_cluster_needs_no_recovery() {
        assert_eq!(reason_to_recover(&healthy(), &known()), Ok(None));
    }

    #[test]
    fn the_first_reason_in_the_documented_order_is_given() {
        let mut seen = healthy();
        seen.vnnmaps.insert(
            Pnn(2),
            VnnMap {
                generation: Generation(8),
                map: vec![],
            },
        );
        let reason = |seen: &Seen, known: &Known<'_>| reason_to_recover(seen, known).unwrap().unwrap();
        assert_eq!(name(&reason(&seen, &known())), "vnnmaps differ");
        seen.vnnmap.map.pop();
        assert_eq!(name(&reason(&seen, &known())), "location masters");
        seen.node_maps.insert(Pnn(1), vec![]);
        assert_eq!(name(&reason(&seen, &known())), "node lists differ");
        let without_lock = || Known {
            lock_configured: true,
            ..known()
        };
        assert_eq!(name(&reason(&seen, &without_lock())), "cluster lock not held");
        seen.recmodes.insert(Pnn(2), RecMode::Active);
        assert_eq!(
            reason(&seen, &without_lock()),
            Reason::InRecovery { node: Pnn(2) }
        );
        let pending = Known {
            pending: Some("node 1 died"),
            ..without_lock()
        };
        assert_eq!(reason(&seen, &pending), Reason::Pending("node 1 died".into()));
    }

    #[test]
    fn while_recoveries_are_disabled_lists_may_differ() {
        let mut seen = healthy();
        seen.node_maps.insert(Pnn(1), vec![]);
        let disabled = Known {
            recoveries_disabled: true,
            ..known()
        };
        assert_eq!(reason_to_recover(&seen, &disabled), Ok(None));
        seen.recmodes.insert(Pnn(2), RecMode::Active);
        assert!(reason_to_recover(&seen, &disabled).unwrap().is_some());
    }

    #[test]
    fn who_does_not_answer_ends_the_search() {
        let mut seen = healthy();
        seen.recmodes.remove(&Pnn(1));
        assert_eq!(reason_to_recover(&seen, &known()).unwrap_err().node, Pnn(1));
        let mut seen = healthy();
        seen.vnnmaps.remove(&Pnn(2));
        assert_eq!(
            reason_to_recover(&seen, &known()).unwrap_err().question,
            "GETVNNMAP"
        );
    }

    #[test]
    fn evidence_of_a_wish_or_of_new_members_outweighs_the_check() {
        let nodes = healthy().nodes;
        let in_recovery = Reason::InRecovery { node: Pnn(1) };
        assert_eq!(cause(&in_recovery, &nodes, &known()), Cause::Other);
        let (all, two) = (set(&[0, 1, 2]), set(&[0, 1]));
        let asked = |before| Known {
            asked_for: true,
            took_part: before,
            ..known()
        };
        assert_eq!(cause(&in_recovery, &nodes, &asked(Some(&all))), Cause::Operator);
        assert_eq!(cause(&in_recovery, &nodes, &asked(Some(&two))), Cause::Membership);
        let pending = Reason::Pending("again".into());
        assert_eq!(cause(&pending, &nodes, &asked(Some(&all))), Cause::Other);
        let differ = Reason::MapEntry {
            node: Pnn(1),
            at: 0,
            theirs: Pnn(1),
            ours: Pnn(0),
        };
        assert_eq!(cause(&differ, &nodes, &known()), Cause::Other);
    }
}
