//! Empty records that vacuuming should look at, by the hash of their keys.
//!
//! Only a hint: a full run of vacuuming finds the same records by itself. So there is room for a fixed
//! number, and of two keys with the same hash the first stays.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use ctdb_protocol::{LtdbHeader, jenkins_hash};

/// Most records of one database that are remembered.
pub const RECORDS_MAX: usize = 100_000;

/// A record that was empty when it was last stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deletion {
    /// Its key.
    pub key: Box<[u8]>,
    /// Its header then; if the rsn is another one later, it has been used again.
    pub header: LtdbHeader,
}

/// See the module.
#[derive(Default)]
pub struct Deletions {
    by_hash: RefCell<BTreeMap<u32, Deletion>>,
}

impl Deletions {
    /// The record is empty: vacuuming may delete it.
    pub fn schedule(&self, key: &[u8], header: LtdbHeader) {
        let mut all = self.by_hash.borrow_mut();
        let full = all.len() >= RECORDS_MAX;
        match all.entry(jenkins_hash(key)) {
            Entry::Occupied(mut known) if *known.get().key == *key => known.get_mut().header = header,
            Entry::Vacant(place) if !full => {
                place.insert(Deletion {
                    key: key.into(),
                    header,
                });
            }
            Entry::Occupied(_) | Entry::Vacant(_) => {}
        }
    }

    /// The record is in use again.
    pub fn remove(&self, key: &[u8]) {
        let mut all = self.by_hash.borrow_mut();
        if all.is_empty() {
            return;
        }
        let hash = jenkins_hash(key);
        if all.get(&hash).is_some_and(|known| *known.key == *key) {
            all.remove(&hash);
        }
    }

    /// The database was wiped.
    pub fn clear(&self) {
        self.by_hash.borrow_mut().clear();
    }

    /// How many are remembered.
    pub fn len(&self) -> usize {
        self.by_hash.borrow().len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Everything, for one run of vacuuming.
    pub fn take(&self) -> Vec<Deletion> {
        self.by_hash.take().into_values().collect()
    }
}

#[cfg(test)]
mod tests {
    use ctdb_protocol::{Pnn, Rsn};

    use super::*;

    #[test]
    fn a_record_is_remembered_once_with_its_last_header_until_it_is_used_again() {
        let deletions = Deletions::default();
        deletions.schedule(b"key", LtdbHeader::new(Rsn(1), Pnn(0)));
        deletions.schedule(b"key", LtdbHeader::new(Rsn(2), Pnn(0)));
        deletions.schedule(b"other", LtdbHeader::new(Rsn(3), Pnn(0)));
        deletions.remove(b"other");
        deletions.remove(b"unknown");
        let expected = Deletion {
            key: b"key"[..].into(),
            header: LtdbHeader::new(Rsn(2), Pnn(0)),
        };
        assert_eq!(deletions.take(), [expected]);
        assert!(deletions.is_empty());
    }

    #[test]
    fn no_more_records_are_remembered_than_there_is_room_for() {
        let deletions = Deletions::default();
        for n in 0..RECORDS_MAX as u64 + 10 {
            deletions.schedule(&n.to_le_bytes(), LtdbHeader::new(Rsn(1), Pnn(0)));
        }
        assert!(deletions.len() <= RECORDS_MAX);
    }
}
