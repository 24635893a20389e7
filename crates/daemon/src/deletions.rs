//! Records that vacuuming should look at, by the hash of their keys: empty ones to delete, and ones that other nodes
//! have emptied, which are to come here, to their location master, first.
//!
//! Only hints: a full run of vacuuming finds the same records by itself. So there is room for a fixed
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
    to_fetch: RefCell<BTreeMap<u32, Box<[u8]>>>,
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
        self.to_fetch.borrow_mut().clear();
    }

    /// The record is to come here, so that it can be deleted everywhere. False if there is no room.
    pub fn fetch(&self, key: &[u8]) -> bool {
        let mut all = self.to_fetch.borrow_mut();
        let full = all.len() >= RECORDS_MAX;
        match all.entry(jenkins_hash(key)) {
            Entry::Occupied(known) => **known.get() == *key,
            Entry::Vacant(_) if full => false,
            Entry::Vacant(place) => {
                place.insert(key.into());
                true
            }
        }
    }

    /// All that are to come here, for one run of vacuuming.
    pub fn take_fetches(&self) -> Vec<Box<[u8]>> {
        self.to_fetch.take().into_values().collect()
    }

    /// How many are remembered.
    pub fn len(&self) -> usize {
        self.by_hash.borrow().len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether a fast run of vacuuming has nothing to look at.
    pub fn has_nothing_to_do(&self) -> bool {
        self.is_empty() && self.to_fetch.borrow().is_empty()
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
    fn records_to_fetch_are_remembered_once_until_they_are_taken_or_the_database_is_wiped() {
        let deletions = Deletions::default();
        assert!(deletions.fetch(b"key") && deletions.fetch(b"key"));
        assert_eq!(deletions.take_fetches(), [Box::from(&b"key"[..])]);
        deletions.fetch(b"other");
        deletions.clear();
        assert!(deletions.take_fetches().is_empty());
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
