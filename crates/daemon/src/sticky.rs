//! Hot records of sticky databases stay for a moment on each node that they come to (SET_DB_STICKY).
//!
//! A record becomes sticky on a node when a call for it has come over HopcountMakeSticky hops, for StickyDuration.
//! From then on, each time it comes to this node it is pinned down for StickyPindown: calls of other nodes wait.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use ctdb_protocol::{DbFlags, DbId};
use ctdb_runtime::Instant;

use crate::Daemon;
use crate::databases::Database;
use crate::locks::hex;

/// Most sticky records; one more does not become sticky.
const RECORDS_MAX: usize = 10_000;

type Place = (DbId, Rc<[u8]>);

/// Sticky records.
#[derive(Default)]
pub struct Sticky(RefCell<BTreeMap<Place, Stickiness>>);

struct Stickiness {
    until: Instant,
    pinned_until: Instant,
}

impl Sticky {
    fn make(&self, db: DbId, key: &[u8], now: Instant, lasts: Duration) -> bool {
        let mut all = self.0.borrow_mut();
        all.retain(|_, record| record.until > now);
        let place = (db, Rc::from(key));
        if all.len() >= RECORDS_MAX || all.contains_key(&place) {
            return false;
        }
        let record = Stickiness {
            until: now + lasts,
            pinned_until: now,
        };
        all.insert(place, record);
        true
    }

    fn pin(&self, db: DbId, key: &[u8], now: Instant, lasts: Duration) {
        let mut all = self.0.borrow_mut();
        if all.is_empty() {
            return;
        }
        if let Some(record) = all.get_mut(&(db, Rc::from(key)))
            && record.until > now
        {
            record.pinned_until = now + lasts;
        }
    }

    fn pinned(&self, db: DbId, key: &[u8], now: Instant) -> Option<Duration> {
        let all = self.0.borrow();
        if all.is_empty() {
            return None;
        }
        let record = all.get(&(db, Rc::from(key)))?;
        let left = record.pinned_until.saturating_since(now);
        (!left.is_zero()).then_some(left)
    }
}

/// Calls for the record come from so far that it is to stay from now on where it comes.
pub fn make(d: &Daemon, db: &Database, key: &[u8]) {
    let lasts = d.tunables.borrow().sticky_duration();
    if d.sticky.make(db.id, key, d.rt.now(), lasts) {
        log::info!(
            "Database {}: record 0x{} is sticky for {lasts:?}",
            db.name,
            hex(key)
        );
    }
}

/// The record has come to this node: if it is sticky, other nodes have to wait for it now.
pub fn pin(d: &Daemon, db: &Database, key: &[u8]) {
    if db.flags.get().contains(DbFlags::STICKY) {
        let lasts = d.tunables.borrow().sticky_pindown();
        d.sticky.pin(db.id, key, d.rt.now(), lasts);
    }
}

/// How long the record still has to stay.
pub fn pinned(d: &Daemon, db: &Database, key: &[u8]) -> Option<Duration> {
    if !db.flags.get().contains(DbFlags::STICKY) {
        return None;
    }
    d.sticky.pinned(db.id, key, d.rt.now())
}

/// The database is detached.
pub fn database_gone(d: &Daemon, db: DbId) {
    d.sticky.0.borrow_mut().retain(|(id, _), _| *id != db);
}

#[cfg(test)]
mod tests {
    use super::*;

    const DB: DbId = DbId(1);
    const PINDOWN: Duration = Duration::from_millis(200);

    fn at(millis: u64) -> Instant {
        Instant::START + Duration::from_millis(millis)
    }

    #[test]
    fn a_sticky_record_is_pinned_each_time_it_comes_until_it_is_no_longer_sticky() {
        let sticky = Sticky::default();
        sticky.pin(DB, b"key", at(0), PINDOWN);
        assert_eq!(sticky.pinned(DB, b"key", at(0)), None, "not sticky yet");
        assert!(sticky.make(DB, b"key", at(0), Duration::from_secs(1)));
        assert!(
            !sticky.make(DB, b"key", at(0), Duration::from_secs(9)),
            "it is already"
        );
        assert_eq!(sticky.pinned(DB, b"key", at(0)), None, "it has not come since");
        for came in [100, 500] {
            sticky.pin(DB, b"key", at(came), PINDOWN);
            assert_eq!(
                sticky.pinned(DB, b"key", at(came + 50)),
                Some(Duration::from_millis(150))
            );
            assert_eq!(sticky.pinned(DB, b"key", at(came + 200)), None);
            assert_eq!(sticky.pinned(DbId(2), b"key", at(came)), None);
        }
        sticky.pin(DB, b"key", at(1000), PINDOWN);
        assert_eq!(sticky.pinned(DB, b"key", at(1001)), None, "its time is over");
        assert!(sticky.make(DB, b"key", at(1001), PINDOWN));
    }

    #[test]
    fn there_is_a_limit_of_sticky_records() {
        let sticky = Sticky::default();
        let made = (0..RECORDS_MAX as u64 + 5).filter(|n| sticky.make(DB, &n.to_le_bytes(), at(0), PINDOWN));
        assert_eq!(made.count(), RECORDS_MAX);
    }
}
