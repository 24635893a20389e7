//! What may become of an empty record, `daemon.md` §10. Asked under the record's chain lock.

use ctdb_protocol::{LtdbHeader, Pnn, RecFlags};
use ctdb_records::Place;

/// See [`fate`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is in use, or not this node's to delete.
    Leave,
    /// Its location master has to fetch it and delete it from there.
    FetchBy(Pnn),
    /// Other nodes may have copies, which would bring it back: they have to delete theirs first.
    DeleteEverywhere(LtdbHeader),
    /// No other node ever had it with data.
    DeleteHere,
}

/// Decides on a record that was empty when it was stored under `then`. `found` is its header now and the length of
/// its data; `None` when there is no whole header any more.
pub fn fate(place: &Place, then: &LtdbHeader, found: Option<(LtdbHeader, usize)>) -> Fate {
    let Some(now) = unused(place, then, found) else {
        return Fate::Leave;
    };
    if place.lmaster == Pnn::UNKNOWN {
        Fate::Leave
    } else if !place.is_lmaster() {
        Fate::FetchBy(place.lmaster)
    } else if (now.flags | then.flags).contains(RecFlags::MIGRATED_WITH_DATA) {
        Fate::DeleteEverywhere(now)
    } else {
        Fate::DeleteHere
    }
}

/// Whether the record can go at last, all other nodes having deleted their copies.
pub fn may_delete(place: &Place, then: &LtdbHeader, found: Option<(LtdbHeader, usize)>) -> bool {
    place.is_lmaster() && unused(place, then, found).is_some()
}

/// Its header if it is still the empty record that it was, this node its dmaster, and no copies are lent.
fn unused(place: &Place, then: &LtdbHeader, found: Option<(LtdbHeader, usize)>) -> Option<LtdbHeader> {
    let (now, data_len) = found?;
    let same = data_len == 0
        && now.rsn == then.rsn
        && now.dmaster == place.me
        && !now.flags.intersects(RecFlags::RO_MASK);
    same.then_some(now)
}

#[cfg(test)]
mod tests {
    use ctdb_protocol::{DbFlags, Rsn};

    use super::*;

    const ME: Pnn = Pnn(1);

    fn place(lmaster: Pnn) -> Place {
        Place {
            me: ME,
            lmaster,
            db: DbFlags::empty(),
        }
    }

    fn header(rsn: u64, dmaster: Pnn, flags: RecFlags) -> LtdbHeader {
        LtdbHeader {
            rsn: Rsn(rsn),
            dmaster,
            flags,
        }
    }

    #[test]
    fn a_record_in_use_is_left_alone() {
        let then = header(5, ME, RecFlags::empty());
        let lent = header(5, ME, RecFlags::RO_HAVE_DELEGATIONS);
        let used = [
            None,
            Some((then, 1)),
            Some((header(6, ME, RecFlags::empty()), 0)),
            Some((header(5, Pnn(2), RecFlags::empty()), 0)),
            Some((lent, 0)),
        ];
        for found in used {
            assert_eq!(fate(&place(ME), &then, found), Fate::Leave, "{found:?}");
            assert!(!may_delete(&place(ME), &then, found), "{found:?}");
        }
        assert_eq!(fate(&place(Pnn::UNKNOWN), &then, Some((then, 0))), Fate::Leave);
        assert!(
            !may_delete(&place(Pnn(2)), &then, Some((then, 0))),
            "no longer location master"
        );
    }

    #[test]
    fn who_deletes_depends_on_where_copies_can_be() {
        let plain = header(5, ME, RecFlags::empty());
        let travelled = header(5, ME, RecFlags::MIGRATED_WITH_DATA);
        assert_eq!(
            fate(&place(Pnn(0)), &plain, Some((plain, 0))),
            Fate::FetchBy(Pnn(0))
        );
        assert_eq!(fate(&place(ME), &plain, Some((plain, 0))), Fate::DeleteHere);
        for (then, now) in [(plain, travelled), (travelled, plain), (travelled, travelled)] {
            assert_eq!(
                fate(&place(ME), &then, Some((now, 0))),
                Fate::DeleteEverywhere(now)
            );
            assert!(may_delete(&place(ME), &then, Some((now, 0))));
        }
    }
}
