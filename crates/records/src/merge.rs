//! Recovery: which of several copies of a record survives, and what goes back to the nodes.
//!
//! A volatile record may be on every node in different ages; the copy with the largest rsn is the newest.
//! Equal numbers are one version. Of these the copy that names the leader as dmaster gives way: the leader is
//! going to be dmaster of everything, so such a copy may be a leftover of an earlier recovery's push, and one
//! that names another dmaster is the one a client may have changed since (a client's own write does not raise
//! the rsn).
//!
//! A persistent or replicated database is one history; its sequence number says how far a node has followed
//! it, and the database of the node that is furthest is taken whole.
//!
//! Source: `ctdb/server/ctdb_recovery_helper.c`, `recdb_traverse` and `push_database`; facts in `recovery.md` §5.3.

use crate::{LtdbHeader, is_volatile};
use ctdb_protocol::{DbFlags, Pnn, RecFlags};

/// Whether a pulled copy of a volatile record takes the place of the one kept so far.
pub fn takes_place(kept: Option<&LtdbHeader>, pulled: &LtdbHeader, leader: Pnn) -> bool {
    match kept {
        None => true,
        Some(kept) => pulled.rsn > kept.rsn || (pulled.rsn == kept.rsn && kept.dmaster == leader),
    }
}

/// The node whose persistent or replicated database is taken: the largest sequence number, and the first such
/// node of the list. `None` if nobody answered.
pub fn furthest_node(seqnums: &[(Pnn, u64)]) -> Option<Pnn> {
    let mut best: Option<(Pnn, u64)> = None;
    for &(node, seqnum) in seqnums {
        if best.is_none_or(|(_, largest)| seqnum > largest) {
            best = Some((node, seqnum));
        }
    }
    best.map(|(node, _)| node)
}

/// Header under which a merged record is pushed to all nodes; `None` for an empty record, which ends here:
/// this is where deleted keys of a persistent database disappear.
///
/// The leader becomes dmaster of all volatile and replicated records, which every node has a copy of now.
pub fn pushed_header(merged: &LtdbHeader, data_len: usize, db: DbFlags, leader: Pnn) -> Option<LtdbHeader> {
    if data_len == 0 {
        return None;
    }
    if db.contains(DbFlags::PERSISTENT) {
        return Some(*merged);
    }
    let flags = merged.flags | RecFlags::MIGRATED_WITH_DATA;
    Some(LtdbHeader {
        rsn: merged.rsn,
        dmaster: leader,
        flags,
    })
}

/// Header under which a node stores a pushed record (through [`crate::store::decide_store`]): read-only copies
/// are forgotten, for every node has the record now.
pub fn received_header(pushed: &LtdbHeader) -> LtdbHeader {
    LtdbHeader {
        flags: pushed.flags - RecFlags::RO_MASK,
        ..*pushed
    }
}

/// Whether records of this database are merged by [`takes_place`]; otherwise [`furthest_node`] gives them all.
pub fn merges_record_by_record(db: DbFlags) -> bool {
    is_volatile(db)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Place;
    use crate::store::{StoreInput, decide_store};
    use ctdb_protocol::Rsn;
    use proptest::prelude::*;

    const LEADER: Pnn = Pnn(0);

    fn header(rsn: u64, dmaster: u32) -> LtdbHeader {
        LtdbHeader {
            rsn: Rsn(rsn),
            dmaster: Pnn(dmaster),
            flags: RecFlags::empty(),
        }
    }

    #[test]
    fn the_larger_rsn_wins_and_among_equals_the_leaders_copy_gives_way() {
        // kept (rsn, dmaster), pulled (rsn, dmaster) → replaced
        let table = [
            ((5, 1), (6, 2), true),
            ((5, 1), (4, 2), false),
            ((5, 0), (4, 2), false),
            ((5, 0), (5, 2), true),
            ((5, 1), (5, 0), false),
            ((5, 1), (5, 2), false),
        ];
        for (kept, pulled, replaced) in table {
            let got = takes_place(Some(&header(kept.0, kept.1)), &header(pulled.0, pulled.1), LEADER);
            assert_eq!(got, replaced, "kept {kept:?}, pulled {pulled:?}");
        }
        assert!(takes_place(None, &header(0, 3), LEADER));
    }

    #[test]
    fn the_first_of_the_nodes_with_the_largest_sequence_number_is_taken() {
        assert_eq!(
            furthest_node(&[(Pnn(0), 3), (Pnn(1), 7), (Pnn(2), 7)]),
            Some(Pnn(1))
        );
        assert_eq!(furthest_node(&[(Pnn(2), 0), (Pnn(0), 0)]), Some(Pnn(2)));
        assert_eq!(furthest_node(&[]), None);
    }

    #[test]
    fn a_push_makes_the_leader_dmaster_but_in_persistent_databases() {
        let merged = header(8, 2);
        let volatile = pushed_header(&merged, 3, DbFlags::empty(), LEADER).unwrap();
        let expected = LtdbHeader {
            rsn: Rsn(8),
            dmaster: LEADER,
            flags: RecFlags::MIGRATED_WITH_DATA,
        };
        assert_eq!(volatile, expected);
        assert_eq!(
            pushed_header(&merged, 3, DbFlags::REPLICATED, LEADER),
            Some(volatile)
        );
        assert_eq!(
            pushed_header(&merged, 3, DbFlags::PERSISTENT, LEADER),
            Some(merged)
        );
        for db in [DbFlags::empty(), DbFlags::PERSISTENT, DbFlags::REPLICATED] {
            assert_eq!(pushed_header(&merged, 0, db, LEADER), None);
        }
    }

    #[test]
    fn after_a_push_only_the_leaders_copy_is_one_ahead() {
        let pushed = pushed_header(&header(8, 2), 3, DbFlags::empty(), LEADER).unwrap();
        for (me, rsn) in [(0, 9), (1, 8), (2, 8)] {
            let place = Place {
                me: Pnn(me),
                lmaster: Pnn(1),
                db: DbFlags::empty(),
            };
            let stored = decide_store(StoreInput::at(&place, received_header(&pushed), 3));
            assert_eq!(stored.header.rsn, Rsn(rsn), "node {me}");
        }
    }

    #[test]
    fn a_receiver_forgets_read_only_copies_and_keeps_the_other_flags() {
        let flags = RecFlags::RO_HAVE_DELEGATIONS | RecFlags::MIGRATED_WITH_DATA | RecFlags::PERSISTENT;
        let got = received_header(&LtdbHeader {
            flags,
            ..header(1, 0)
        });
        assert_eq!(got.flags, RecFlags::MIGRATED_WITH_DATA | RecFlags::PERSISTENT);
    }

    proptest! {
        #[test]
        fn in_any_order_of_pulls_the_newest_copy_survives(
            copies in proptest::collection::vec((0u64..4, 0u32..3), 1..6),
        ) {
            let mut kept: Option<LtdbHeader> = None;
            for &(rsn, dmaster) in &copies {
                let pulled = header(rsn, dmaster);
                if takes_place(kept.as_ref(), &pulled, LEADER) {
                    kept = Some(pulled);
                }
            }
            let kept = kept.unwrap();
            let newest = copies.iter().map(|c| c.0).max().unwrap();
            prop_assert_eq!(kept.rsn, Rsn(newest));
            let other_dmaster = copies.iter().any(|&(rsn, dmaster)| rsn == newest && dmaster != 0);
            prop_assert_eq!(kept.dmaster == LEADER, !other_dmaster);
        }
    }
}
