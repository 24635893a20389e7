//! Timers: wakers ordered by time, equal times in the order in which they were set.

use std::collections::BTreeMap;
use std::task::Waker;

use crate::time::Instant;

/// Names one timer that is set.
pub(crate) type TimerKey = (Instant, u64);

#[derive(Default)]
pub(crate) struct Timers {
    waiting: BTreeMap<TimerKey, Waker>,
    next_seq: u64,
}

impl Timers {
    pub fn set(&mut self, at: Instant, waker: Waker) -> TimerKey {
        let key = (at, self.next_seq);
        self.next_seq += 1;
        self.waiting.insert(key, waker);
        key
    }

    /// Replaces the waker of a timer whose task moved; false when it has gone off.
    pub fn rearm(&mut self, key: TimerKey, waker: &Waker) -> bool {
        match self.waiting.get_mut(&key) {
            Some(w) => {
                w.clone_from(waker);
                true
            }
            None => false,
        }
    }

    pub fn cancel(&mut self, key: TimerKey) -> Option<Waker> {
        self.waiting.remove(&key)
    }

    pub fn next(&self) -> Option<Instant> {
        self.waiting.first_key_value().map(|((at, _), _)| *at)
    }

    /// Takes the earliest timer if it is due.
    pub fn pop_due(&mut self, now: Instant) -> Option<Waker> {
        let entry = self.waiting.first_entry()?;
        (entry.key().0 <= now).then(|| entry.remove())
    }
}
