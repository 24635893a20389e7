//! Read-only copies: many nodes read a record that seldom changes, so its dmaster lends copies instead of
//! handing the record round, and calls them back before the next change.
//!
//! The rsn makes an owner's record always newer than what it lent: lending jumps by 3 once, copies carry 2 less;
//! calling back tells the borrowers a header 1 less, which their copies are older than; the owner then
//! takes the next number.
//!
//! Sources: `ctdb/server/ctdb_call.c`, `ctdb_request_call`, `ctdb_reply_call`, `revoke_send` and following; facts in
//! `daemon.md` §6.6.

use crate::LtdbHeader;
use ctdb_protocol::{Pnn, RecFlags};

/// One read-only copy goes out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delegation {
    /// First copy since the last revoke: store the record under this header before.
    pub store: Option<LtdbHeader>,
    /// Header in the REPLY_CALL, in front of the data. The caller's node goes into the tracking record.
    pub reply: LtdbHeader,
}

/// Lends a copy of a record found with `header`.
pub fn delegate(header: &LtdbHeader) -> Delegation {
    let first = !header.flags.contains(RecFlags::RO_HAVE_DELEGATIONS);
    let mut lent = *header;
    if first {
        lent.rsn = lent.rsn.plus(3);
        lent.flags |= RecFlags::RO_HAVE_DELEGATIONS;
    }
    let flags = (lent.flags | RecFlags::RO_HAVE_READONLY) - RecFlags::RO_HAVE_DELEGATIONS;
    let reply = LtdbHeader {
        rsn: lent.rsn.minus(2),
        flags,
        ..lent
    };
    Delegation {
        store: first.then_some(lent),
        reply,
    }
}

/// A copy has come with a REPLY_CALL to a FETCH_WITH_HEADER: whether to store it under the header that it came
/// with. The client is answered in any case.
pub fn keep_copy(here: &LtdbHeader, came: &LtdbHeader) -> bool {
    came.flags.contains(RecFlags::RO_HAVE_READONLY) && came.rsn > here.rsn
}

/// Other nodes may hold read-only copies of this record.
pub fn has_copies_out(header: &LtdbHeader) -> bool {
    header
        .flags
        .intersects(RecFlags::RO_HAVE_DELEGATIONS | RecFlags::RO_HAVE_READONLY)
}

/// Header while copies are called back.
pub fn revoking(header: &LtdbHeader) -> LtdbHeader {
    LtdbHeader {
        flags: header.flags | RecFlags::RO_REVOKING_READONLY,
        ..*header
    }
}

/// Header that takes the place of the copies: an UPDATE_RECORD with it goes to each node of the tracking record.
pub fn revoked_copy(header: &LtdbHeader) -> LtdbHeader {
    let flags = (header.flags - RecFlags::RO_MASK) | RecFlags::MIGRATED_WITH_DATA;
    LtdbHeader {
        rsn: header.rsn.minus(1),
        flags,
        ..*header
    }
}

/// End of a revoke.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RevokeEnd {
    /// Store under this header; the revoke is over, one way or the other, and waiting calls go on.
    Store(LtdbHeader),
    /// The record has changed under the revoke: leave it, the revoke failed.
    Changed,
}

/// All borrowers have answered, or one failed. `at_start` is the header with which the revoke began, `now` what
/// the file has, under the chain lock.
///
/// If a borrower could not be told, its copy is still out, so only REVOKING is cleared and the next writer
/// tries again.
pub fn end_revoke(at_start: &LtdbHeader, now: &LtdbHeader, all_told: bool) -> RevokeEnd {
    // Looked at before the answers are: a recovery in between has made its own order.
    let expected = RecFlags::RO_REVOKING_READONLY | RecFlags::RO_HAVE_DELEGATIONS;
    if now.rsn > at_start.rsn || !now.flags.contains(expected) {
        return RevokeEnd::Changed;
    }
    let mut header = *now;
    if all_told {
        header.rsn = header.rsn.plus(1);
        header.flags |= RecFlags::RO_REVOKE_COMPLETE;
    } else {
        header.flags -= RecFlags::RO_REVOKING_READONLY;
    }
    RevokeEnd::Store(header)
}

/// If a revoke has ended: the header to store to be done with it.
pub fn finished_revoke(found: &LtdbHeader) -> Option<LtdbHeader> {
    let clean = LtdbHeader {
        flags: found.flags - RecFlags::RO_MASK,
        ..*found
    };
    found
        .flags
        .contains(RecFlags::RO_REVOKE_COMPLETE)
        .then_some(clean)
}

/// Nodes in a tracking record: a bitmap, byte `pnn / 8`, bit `pnn % 8`.
pub fn tracked_nodes(bitmap: &[u8]) -> Vec<Pnn> {
    let bits = bitmap.iter().zip(0u32..).flat_map(|(&byte, at)| {
        (0..8)
            .filter(move |bit| byte & (1 << bit) != 0)
            .map(move |bit| Pnn(at * 8 + bit))
    });
    bits.collect()
}

/// Adds a node to a tracking record, which grows as needed. A number that is no node's place changes nothing.
pub fn track(bitmap: &mut Vec<u8>, node: Pnn) {
    let Some(index) = node.index() else { return };
    let byte = index / 8;
    if bitmap.len() <= byte {
        bitmap.resize(byte + 1, 0);
    }
    bitmap[byte] |= 1 << (index % 8);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Place;
    use crate::store::{StoreInput, decide_store};
    use ctdb_protocol::{DbFlags, Rsn};
    use proptest::prelude::*;

    const OWNER: Place = Place {
        me: Pnn(1),
        lmaster: Pnn(0),
        db: DbFlags::READONLY,
    };

    fn record(rsn: u64, flags: RecFlags) -> LtdbHeader {
        LtdbHeader {
            rsn: Rsn(rsn),
            dmaster: OWNER.me,
            flags,
        }
    }

    /// `daemon.md` §5: "first RO delegation +3 at dmaster, copy = dmaster−2; revoke: copies become dmaster−1,
    /// dmaster +2, then +1 for the waiting local call".
    #[test]
    fn lending_and_calling_back_counts_as_peers_expect() {
        let lent = delegate(&record(10, RecFlags::empty()));
        let owner = decide_store(StoreInput::at(&OWNER, lent.store.unwrap(), 5)).header;
        assert_eq!((owner.rsn, owner.flags), (Rsn(13), RecFlags::RO_HAVE_DELEGATIONS));
        assert_eq!(lent.reply, record(11, RecFlags::RO_HAVE_READONLY));
        let again = delegate(&owner);
        assert_eq!((again.store, again.reply), (None, lent.reply));

        let during = revoking(&owner);
        assert_eq!(revoked_copy(&during), record(12, RecFlags::MIGRATED_WITH_DATA));
        let RevokeEnd::Store(told) = end_revoke(&during, &during, true) else {
            panic!("changed")
        };
        let told = decide_store(StoreInput::at(&OWNER, told, 5)).header;
        assert_eq!(told.rsn, Rsn(14));
        let clean = finished_revoke(&told).unwrap();
        let finished = decide_store(StoreInput::at(&OWNER, clean, 5)).header;
        assert_eq!((finished.rsn, finished.flags), (Rsn(15), RecFlags::empty()));
        assert_eq!(
            decide_store(StoreInput::at(&OWNER, finished, 5)).header.rsn,
            Rsn(16)
        );
    }

    #[test]
    fn a_revoke_that_could_not_tell_everybody_leaves_the_copies_lent() {
        let during = revoking(&record(13, RecFlags::RO_HAVE_DELEGATIONS));
        let end = end_revoke(&during, &during, false);
        assert_eq!(end, RevokeEnd::Store(record(13, RecFlags::RO_HAVE_DELEGATIONS)));
    }

    #[test]
    fn a_record_that_changed_under_a_revoke_is_left_alone() {
        let during = revoking(&record(13, RecFlags::RO_HAVE_DELEGATIONS));
        assert_eq!(
            end_revoke(&during, &record(14, during.flags), true),
            RevokeEnd::Changed
        );
        let pushed_by_a_recovery = record(13, RecFlags::MIGRATED_WITH_DATA);
        assert_eq!(
            end_revoke(&during, &pushed_by_a_recovery, true),
            RevokeEnd::Changed
        );
        assert_eq!(
            end_revoke(&during, &pushed_by_a_recovery, false),
            RevokeEnd::Changed
        );
    }

    #[test]
    fn only_a_newer_read_only_copy_is_kept() {
        let came = record(11, RecFlags::RO_HAVE_READONLY);
        assert!(keep_copy(&record(10, RecFlags::empty()), &came));
        assert!(!keep_copy(&record(11, RecFlags::empty()), &came));
        assert!(!keep_copy(
            &record(1, RecFlags::empty()),
            &record(11, RecFlags::empty())
        ));
    }

    proptest! {
        #[test]
        fn a_tracking_record_names_the_nodes_put_in(nodes in proptest::collection::btree_set(0u32..100, 0..20)) {
            let mut bitmap = Vec::new();
            for &node in nodes.iter().rev() {
                track(&mut bitmap, Pnn(node));
            }
            track(&mut bitmap, Pnn::UNKNOWN);
            let back: Vec<u32> = tracked_nodes(&bitmap).into_iter().map(|node| node.0).collect();
            prop_assert_eq!(back, nodes.into_iter().collect::<Vec<_>>());
        }
    }
}
