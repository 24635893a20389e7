//! Records that come in by control: transactions (UPDATE_RECORD), copies (PUSH_RECORD) and deletions on behalf
//! of the lmaster's vacuuming (TRY_DELETE_RECORDS).
//!
//! Sources: `ctdb/server/ctdb_update_record.c`, `ctdb_vacuum.c`, `ctdb_control.c`; facts in `daemon.md` §7, §9, §10.

use crate::{LtdbHeader, is_volatile};
use ctdb_protocol::{DbFlags, Generation, Pnn, RecFlags};

/// What the file has under a record's key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found<'a> {
    /// Nothing.
    Missing,
    /// Something shorter than a header.
    TooShort,
    /// A record.
    Copy {
        /// Its header.
        header: LtdbHeader,
        /// Its data.
        data: &'a [u8],
    },
}

/// What becomes of one record of an UPDATE_RECORD.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Update {
    /// Store it under the header given; in a volatile database through [`crate::store::decide_store`].
    Store,
    /// Leave it out: a volatile database only refreshes the copies that it has.
    Skip,
    /// The node has something newer: roll the whole transaction back.
    Conflict,
}

/// Decides on one record of an UPDATE_RECORD, inside the transaction that stores them all.
///
/// A record that is already there with the same data is stored again, whatever its rsn: a client repeats a
/// commit of which it does not know the outcome.
pub fn update_record(db: DbFlags, found: Found<'_>, header: &LtdbHeader, data: &[u8]) -> Update {
    match found {
        Found::Missing if is_volatile(db) => Update::Skip,
        Found::Missing | Found::TooShort if header.rsn.0 == 0 && !data.is_empty() => Update::Conflict,
        Found::Missing | Found::TooShort => Update::Store,
        Found::Copy {
            header: old,
            data: old_data,
        } if old.rsn >= header.rsn && old_data != data => Update::Conflict,
        Found::Copy { .. } => Update::Store,
    }
}

/// What a node does with a PUSH_RECORD.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Push {
    /// Store under this header (through [`crate::store::decide_store`]) and flush to disk.
    Store(LtdbHeader),
    /// Of another generation: a recovery has decided since. Answered with success.
    OtherGeneration,
    /// This node's own record came back. Answered with success.
    Own,
}

/// Decides on a PUSH_RECORD: a durable record of a volatile database on its way to every node.
pub fn push_record(me: Pnn, mine: Generation, pushed: Generation, header: &LtdbHeader) -> Push {
    if pushed != mine {
        Push::OtherGeneration
    } else if header.dmaster == me {
        Push::Own
    } else {
        Push::Store(LtdbHeader {
            flags: header.flags | RecFlags::MIGRATED_WITH_DATA,
            ..*header
        })
    }
}

/// What becomes of one record of a TRY_DELETE_RECORDS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TryDelete {
    /// Delete it, if the lock of the free list can be had, too; otherwise give it back.
    Delete,
    /// Nothing to do.
    Gone,
    /// Give it back to the lmaster: it must not be deleted there.
    Refuse(&'static str),
}

/// Decides on one record that the lmaster wants to delete everywhere, under the record's chain lock (if that is
/// busy, the record is given back without asking here). `given` is the header sent, `None` if what was sent is
/// not exactly a header.
pub fn try_delete(me: Pnn, lmaster: Pnn, given: Option<&LtdbHeader>, found: Found<'_>) -> TryDelete {
    if me == lmaster {
        return TryDelete::Refuse("this node is its lmaster");
    }
    let Some(given) = given else {
        return TryDelete::Refuse("the lmaster sent something else than an empty record");
    };
    let local = match found {
        Found::Missing => return TryDelete::Gone,
        Found::TooShort => return TryDelete::Delete,
        Found::Copy { header, .. } => header,
    };
    if local.rsn > given.rsn {
        TryDelete::Refuse("the copy here is newer")
    } else if (local.flags | given.flags).intersects(RecFlags::RO_MASK) {
        TryDelete::Refuse("read-only copies are out")
    } else if local.dmaster == me {
        TryDelete::Refuse("this node is its dmaster")
    } else {
        TryDelete::Delete
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ctdb_protocol::Rsn;

    fn header(rsn: u64, dmaster: u32) -> LtdbHeader {
        LtdbHeader {
            rsn: Rsn(rsn),
            dmaster: Pnn(dmaster),
            flags: RecFlags::empty(),
        }
    }

    fn copy(rsn: u64, dmaster: u32, data: &[u8]) -> Found<'_> {
        Found::Copy {
            header: header(rsn, dmaster),
            data,
        }
    }

    #[test]
    fn an_update_stores_what_is_newer_and_repeats_what_is_the_same() {
        let persistent = DbFlags::PERSISTENT;
        let volatile = DbFlags::empty();
        let table = [
            (persistent, Found::Missing, 1, Update::Store),
            (persistent, Found::Missing, 0, Update::Conflict),
            (volatile, Found::Missing, 1, Update::Skip),
            (volatile, Found::TooShort, 1, Update::Store),
            (persistent, copy(4, 0, b"old"), 5, Update::Store),
            (persistent, copy(5, 0, b"old"), 5, Update::Conflict),
            (persistent, copy(6, 0, b"old"), 5, Update::Conflict),
            (persistent, copy(5, 0, b"new"), 5, Update::Store),
            (persistent, copy(6, 0, b"new"), 5, Update::Store),
            (volatile, copy(4, 0, b"old"), 5, Update::Store),
            (volatile, copy(5, 0, b"old"), 5, Update::Conflict),
        ];
        for (db, found, rsn, expected) in table {
            assert_eq!(
                update_record(db, found, &header(rsn, 1), b"new"),
                expected,
                "{db:?} {found:?} {rsn}"
            );
        }
    }

    #[test]
    fn a_pushed_record_is_stored_by_the_others_in_its_generation() {
        let (now, before) = (Generation(77), Generation(76));
        assert_eq!(
            push_record(Pnn(1), now, before, &header(3, 0)),
            Push::OtherGeneration
        );
        assert_eq!(push_record(Pnn(0), now, now, &header(3, 0)), Push::Own);
        let stored = LtdbHeader {
            flags: RecFlags::MIGRATED_WITH_DATA,
            ..header(3, 0)
        };
        assert_eq!(push_record(Pnn(1), now, now, &header(3, 0)), Push::Store(stored));
    }

    #[test]
    fn a_copy_is_deleted_only_where_it_is_old_and_nobody_uses_it() {
        let (me, lmaster) = (Pnn(1), Pnn(0));
        let given = header(5, 0);
        let lent = LtdbHeader {
            flags: RecFlags::RO_HAVE_READONLY,
            ..given
        };
        let refused = |found, given: Option<&LtdbHeader>, lmaster| {
            matches!(try_delete(me, lmaster, given, found), TryDelete::Refuse(_))
        };
        assert_eq!(
            try_delete(me, lmaster, Some(&given), copy(5, 0, b"")),
            TryDelete::Delete
        );
        assert_eq!(
            try_delete(me, lmaster, Some(&given), copy(4, 2, b"data")),
            TryDelete::Delete
        );
        assert_eq!(
            try_delete(me, lmaster, Some(&given), Found::Missing),
            TryDelete::Gone
        );
        assert_eq!(
            try_delete(me, lmaster, Some(&given), Found::TooShort),
            TryDelete::Delete
        );
        assert!(refused(copy(6, 0, b""), Some(&given), lmaster));
        assert!(refused(copy(5, 1, b""), Some(&given), lmaster));
        assert!(refused(copy(5, 0, b""), Some(&lent), lmaster));
        assert!(refused(
            Found::Copy {
                header: lent,
                data: b""
            },
            Some(&given),
            lmaster
        ));
        assert!(refused(copy(5, 0, b""), Some(&given), me));
        assert!(refused(copy(5, 0, b""), None, lmaster));
    }
}
