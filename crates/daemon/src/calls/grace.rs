//! A record that came here for a client is not sent on before the client could look at it.
//!
//! A client that was answered still has to wake up and lock the record's chain in the file. If the next node's
//! call is handled before that, the client finds the record gone and calls again, and so does the client over
//! there: the faster the daemons, the more often the record travels, and the less is done with it. The C daemon
//! has the same trouble (and sticky databases against it); here it is noticed and answered:
//!
//! * A *miss* is a record that left soon after it came, unchanged, and is called for again at once.
//! * A miss makes the record stay longer the next time: [`STAY`], doubling up to [`LEVEL_MAX`] times. Calls that
//!   come in this time wait.
//! * When a call comes later than that, the record does not have to stay any more.
//!
//! A record that goes round and is changed on each node, as one does that is not fought over, is never held.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use ctdb_protocol::{DbId, jenkins_hash};
use ctdb_runtime::Instant;

use crate::Daemon;
use crate::databases::Database;
use crate::waiting::{self, Work};

/// How long a record stays after its first miss.
const STAY: Duration = Duration::from_millis(1);
/// The longest stay is `STAY << (LEVEL_MAX - 1)`.
const LEVEL_MAX: u8 = 4;
/// A record that leaves earlier than this has hardly been used.
const SOON: Duration = Duration::from_micros(200);
/// A call that comes earlier than this after the record has left is a client's second try.
const AGAIN: Duration = Duration::from_millis(10);
/// Records that are watched. Two with the same place take it from each other, which does no harm.
const PLACES: usize = 1024;
/// Bytes of the data that tell whether they were changed.
const LOOKED_AT: usize = 256;

/// Records that came here lately.
#[derive(Default)]
pub struct Grace {
    places: RefCell<Vec<Place>>,
}

#[derive(Clone, Copy, Default)]
struct Place {
    /// Database and hash of the key.
    tag: (u32, u32),
    arrived: Instant,
    data: (usize, u32),
    /// It left without having been used, at this time.
    left_unused: Option<Instant>,
    level: u8,
}

impl Place {
    fn stay(&self) -> Duration {
        match self.level {
            0 => Duration::ZERO,
            level => STAY * (1 << (level - 1)),
        }
    }
}

fn fingerprint(data: &[u8]) -> (usize, u32) {
    (data.len(), jenkins_hash(&data[..data.len().min(LOOKED_AT)]))
}

impl Grace {
    fn with<T>(&self, db: DbId, key: &[u8], f: impl FnOnce(&mut Place, (u32, u32)) -> T) -> T {
        let mut places = self.places.borrow_mut();
        if places.is_empty() {
            places.resize(PLACES, Place::default());
        }
        let tag = (db.0, jenkins_hash(key));
        f(&mut places[(tag.0 ^ tag.1) as usize % PLACES], tag)
    }

    /// The record has come, and the client that wanted it is being answered.
    pub fn arrived(&self, db: DbId, key: &[u8], data: &[u8], now: Instant) {
        self.with(db, key, |place, tag| {
            let level = if place.tag == tag { place.level } else { 0 };
            *place = Place {
                tag,
                arrived: now,
                data: fingerprint(data),
                left_unused: None,
                level,
            };
        });
    }

    /// Another node calls for the record: how long it stays still.
    pub fn stays(&self, db: DbId, key: &[u8], now: Instant) -> Option<Duration> {
        self.with(db, key, |place, tag| {
            if place.tag != tag || place.level == 0 {
                return None;
            }
            let left = place.stay().saturating_sub(now.saturating_since(place.arrived));
            (!left.is_zero()).then_some(left)
        })
    }

    /// The record leaves, with these data.
    pub fn left(&self, db: DbId, key: &[u8], data: &[u8], now: Instant) {
        self.with(db, key, |place, tag| {
            if place.tag != tag {
                return;
            }
            let stayed = now.saturating_since(place.arrived);
            let soon = stayed < SOON.max(place.stay() * 2);
            place.left_unused = (soon && place.data == fingerprint(data)).then_some(now);
            if !soon {
                place.level = 0;
            }
        });
    }

    /// A client of this node wants a record that is elsewhere.
    pub fn wanted(&self, db: DbId, key: &[u8], now: Instant) {
        self.with(db, key, |place, tag| {
            let missed = |left| place.tag == tag && now.saturating_since(left) < AGAIN;
            if place.left_unused.take().is_some_and(missed) {
                place.level = (place.level + 1).min(LEVEL_MAX);
            }
        });
    }
}

/// Makes another node's call wait until the record has stayed long enough.
pub fn wait(d: &Rc<Daemon>, db: &Database, stays: Duration, packet: &[u8]) {
    if let Some(waiting) = waiting::hold(d, db, Work::Node(packet.to_vec())) {
        d.spawn(move |d| async move {
            d.rt.sleep(stays).await;
            waiting.run(&d);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DB: DbId = DbId(1);
    const KEY: &[u8] = b"key";

    fn at(micros: u64) -> Instant {
        Instant::START + Duration::from_micros(micros)
    }

    #[test]
    fn a_record_that_was_missed_stays_longer_each_time() {
        let grace = Grace::default();
        let mut stays = Vec::new();
        for round in 0..6 {
            let start = round * 50_000;
            grace.arrived(DB, KEY, b"same", at(start));
            let stay = grace.stays(DB, KEY, at(start + 50)).unwrap_or_default();
            stays.push(stay.as_micros() as u64);
            let leaves = start + 50 + stay.as_micros() as u64;
            grace.left(DB, KEY, b"same", at(leaves));
            grace.wanted(DB, KEY, at(leaves + 100));
        }
        assert_eq!(stays, [0, 950, 1950, 3950, 7950, 7950]);
    }

    #[test]
    fn a_record_that_is_used_or_not_wanted_back_never_stays() {
        // arrives with, leaves with, wanted back after µs
        for (before, after, back) in [(b"old", b"new", 100), (b"old", b"old", 20_000)] {
            let grace = Grace::default();
            for round in 0..10 {
                let start = round * 50_000;
                grace.arrived(DB, KEY, before, at(start));
                assert_eq!(grace.stays(DB, KEY, at(start + 50)), None);
                grace.left(DB, KEY, after, at(start + 50));
                grace.wanted(DB, KEY, at(start + 50 + back));
            }
        }
    }

    #[test]
    fn a_record_that_is_left_alone_for_a_while_need_not_stay_any_more() {
        let grace = Grace::default();
        grace.arrived(DB, KEY, b"", at(0));
        grace.left(DB, KEY, b"", at(10));
        grace.wanted(DB, KEY, at(20));
        grace.arrived(DB, KEY, b"", at(100));
        assert!(grace.stays(DB, KEY, at(150)).is_some());
        grace.left(DB, KEY, b"", at(5000));
        grace.arrived(DB, KEY, b"", at(6000));
        assert_eq!(grace.stays(DB, KEY, at(6001)), None);
    }
}
