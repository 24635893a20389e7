//! Keep or delete: what a store by the daemon leaves in the file.
//!
//! A volatile database would fill with empty copies if every node that once touched a record kept one. So a
//! store of an empty record leaves something behind only where somebody needs it: at the lmaster and at the
//! dmaster, for a record whose data went round before (other nodes have old copies of it, which a plain delete
//! here would bring back to life), and while read-only copies are out.
//!
//! Source: `ctdb/server/ctdb_ltdb_server.c`, `ctdb_ltdb_store_server`; facts in `daemon.md` §5.

use crate::{LtdbHeader, Place, is_volatile};
use ctdb_protocol::{DbFlags, RecFlags, Rsn};

/// What is about to be stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreInput {
    /// Header as the caller has it, with the flags that never reach the file.
    pub header: LtdbHeader,
    /// Length of the data without header, in bytes.
    pub data_len: usize,
    /// This node is the record's location master.
    pub is_lmaster: bool,
    /// The header names this node as dmaster.
    pub is_dmaster: bool,
    /// Kind of the database.
    pub db: DbFlags,
}

impl StoreInput {
    /// A store of `header` and `data_len` bytes of data at this place.
    pub fn at(place: &Place, header: LtdbHeader, data_len: usize) -> StoreInput {
        StoreInput {
            header,
            data_len,
            is_lmaster: place.is_lmaster(),
            is_dmaster: header.dmaster == place.me,
            db: place.db,
        }
    }
}

/// What a store does with the queue of records that vacuuming is to delete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeleteQueue {
    /// Put the record in.
    Schedule,
    /// Take it out: it is in use again.
    Remove,
    /// Leave the queue alone.
    Leave,
}

/// What to do with the file and the delete queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreDecision {
    /// Write the record; otherwise delete it (that it is not there is no error).
    pub keep: bool,
    /// Header to write, and from now on the caller's header also where nothing is written.
    pub header: LtdbHeader,
    /// What happens in the delete queue.
    pub queue: DeleteQueue,
}

/// Decides on one store by the daemon. Children of the daemon have no vnnmap and store plainly without asking.
pub fn decide_store(input: StoreInput) -> StoreDecision {
    let mut header = input.header;
    header
        .flags
        .remove(RecFlags::VACUUM_MIGRATED | RecFlags::AUTOMATIC);
    if !is_volatile(input.db) {
        return StoreDecision {
            keep: true,
            header,
            queue: DeleteQueue::Leave,
        };
    }
    let fate = fate(&input);
    if fate == Fate::Delete {
        return StoreDecision {
            keep: false,
            header,
            queue: DeleteQueue::Leave,
        };
    }
    let mut schedule = fate == Fate::KeepForAWhile;
    if input.is_dmaster && !header.flags.intersects(RecFlags::RO_MASK) {
        header.rsn = header.rsn.plus(1);
        schedule |= input.data_len == 0;
    }
    let queue = if schedule {
        DeleteQueue::Schedule
    } else {
        DeleteQueue::Remove
    };
    StoreDecision {
        keep: true,
        header,
        queue,
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Keep,
    /// Kept, but vacuuming looks at it soon.
    KeepForAWhile,
    Delete,
}

/// The rules in their order; the first that matches wins.
fn fate(input: &StoreInput) -> Fate {
    let flags = input.header.flags;
    if input.data_len > 0 || flags.intersects(RecFlags::RO_MASK) {
        return Fate::Keep;
    }
    if flags.contains(RecFlags::AUTOMATIC) {
        return Fate::KeepForAWhile;
    }
    if flags.contains(RecFlags::MIGRATED_WITH_DATA) {
        return Fate::Keep;
    }
    let vacuumed = flags.contains(RecFlags::VACUUM_MIGRATED) && input.is_dmaster;
    if (input.is_lmaster && !vacuumed) || (!input.is_lmaster && input.is_dmaster) {
        return Fate::Keep;
    }
    Fate::Delete
}

/// The header of a record that is not in the file, or too short to have one. Second value: store it at once
/// (through [`decide_store`], which makes rsn 1 of it).
pub fn missing_record(place: &Place) -> (LtdbHeader, bool) {
    let header = LtdbHeader {
        rsn: Rsn(0),
        dmaster: place.lmaster,
        flags: RecFlags::AUTOMATIC,
    };
    let at_once = place.db.contains(DbFlags::PERSISTENT) || place.is_lmaster();
    (header, at_once)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ctdb_protocol::Pnn;
    use proptest::prelude::*;

    const ME: Pnn = Pnn(1);
    const OTHER: Pnn = Pnn(2);
    const NONE: RecFlags = RecFlags::empty();

    fn place(is_lmaster: bool) -> Place {
        Place {
            me: ME,
            lmaster: if is_lmaster { ME } else { OTHER },
            db: DbFlags::empty(),
        }
    }

    fn store(is_lmaster: bool, is_dmaster: bool, flags: RecFlags, data_len: usize) -> StoreDecision {
        let dmaster = if is_dmaster { ME } else { OTHER };
        let header = LtdbHeader {
            rsn: Rsn(5),
            dmaster,
            flags,
        };
        decide_store(StoreInput::at(&place(is_lmaster), header, data_len))
    }

    #[test]
    fn each_rule_of_the_sheet_decides_in_its_order() {
        use DeleteQueue::*;
        let migrated = RecFlags::MIGRATED_WITH_DATA;
        let vacuumed = RecFlags::VACUUM_MIGRATED;
        // lmaster, dmaster, flags, data → keep, rsn, queue
        let table = [
            (false, false, NONE, 3, true, 5, Remove),
            (false, true, NONE, 3, true, 6, Remove),
            (false, true, RecFlags::RO_HAVE_DELEGATIONS, 3, true, 5, Remove),
            (false, false, RecFlags::RO_HAVE_READONLY, 0, true, 5, Remove),
            (
                false,
                true,
                RecFlags::RO_HAVE_DELEGATIONS | vacuumed,
                0,
                true,
                5,
                Remove,
            ),
            (true, true, RecFlags::AUTOMATIC, 0, true, 6, Schedule),
            (false, false, RecFlags::AUTOMATIC, 0, true, 5, Schedule),
            (false, false, migrated, 0, true, 5, Remove),
            (false, true, migrated, 0, true, 6, Schedule),
            (true, true, migrated | vacuumed, 0, true, 6, Schedule),
            (true, true, vacuumed, 0, false, 5, Leave),
            (true, false, vacuumed, 0, true, 5, Remove),
            (true, false, NONE, 0, true, 5, Remove),
            (true, true, NONE, 0, true, 6, Schedule),
            (false, true, vacuumed, 0, true, 6, Schedule),
            (false, true, NONE, 0, true, 6, Schedule),
            (false, false, NONE, 0, false, 5, Leave),
        ];
        for (lmaster, dmaster, flags, data_len, keep, rsn, queue) in table {
            let got = store(lmaster, dmaster, flags, data_len);
            let case = format!("lmaster {lmaster} dmaster {dmaster} {flags:?} data {data_len}");
            assert_eq!(
                (got.keep, got.header.rsn, got.queue),
                (keep, Rsn(rsn), queue),
                "{case}"
            );
        }
    }

    #[test]
    fn persistent_and_replicated_databases_store_everything_as_given() {
        for db in [DbFlags::PERSISTENT, DbFlags::REPLICATED] {
            let header = LtdbHeader {
                rsn: Rsn(9),
                dmaster: ME,
                flags: NONE,
            };
            let input = StoreInput {
                header,
                data_len: 0,
                is_lmaster: false,
                is_dmaster: true,
                db,
            };
            let plain = StoreDecision {
                keep: true,
                header,
                queue: DeleteQueue::Leave,
            };
            assert_eq!(decide_store(input), plain);
        }
    }

    #[test]
    fn a_missing_record_is_stored_at_once_by_the_lmaster_and_gets_rsn_1() {
        let here = place(true);
        let (header, at_once) = missing_record(&here);
        assert!(at_once);
        let stored = decide_store(StoreInput::at(&here, header, 0));
        assert_eq!(
            (stored.keep, stored.header.rsn, stored.header.flags),
            (true, Rsn(1), NONE)
        );
        assert!(!missing_record(&place(false)).1);
        let replicated = Place {
            db: DbFlags::REPLICATED,
            ..place(false)
        };
        assert!(!missing_record(&replicated).1);
        let persistent = Place {
            db: DbFlags::PERSISTENT,
            ..place(false)
        };
        assert!(missing_record(&persistent).1);
    }

    proptest! {
        #[test]
        fn temporary_flags_never_stay_in_the_header(
            lmaster: bool, dmaster: bool, bits: u32, data_len in 0usize..3, db in 0u8..16,
        ) {
            let header = LtdbHeader {
                rsn: Rsn(5),
                dmaster: if dmaster { ME } else { OTHER },
                flags: RecFlags::from_bits_retain(bits),
            };
            let at = Place { db: DbFlags::from_bits_retain(db), ..place(lmaster) };
            let got = decide_store(StoreInput::at(&at, header, data_len));
            prop_assert!(!got.header.flags.intersects(RecFlags::VACUUM_MIGRATED | RecFlags::AUTOMATIC));
            prop_assert!(got.keep || data_len == 0, "data is never deleted by a store");
            prop_assert!(got.header.rsn >= header.rsn && got.header.rsn <= header.rsn.plus(1));
            prop_assert_eq!(got.header.dmaster, header.dmaster);
        }
    }
}
