//! The turn of the loop: its end hooks and how long turns last.

use std::fmt;
use std::rc::Rc;
use std::time::Duration;

/// What wants to be called once at the end of a turn, see [`crate::Handle::at_turn_end`].
pub trait TurnEnd {
    /// Called when the ready tasks of this turn have run, before the reactor is polled.
    fn turn_end(self: Rc<Self>);
}

/// How long the turns of the loop were: running tasks and end hooks, without the wait for events.
/// Bucket `i` counts turns of less than 2^i µs that are not in a bucket before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TurnHistogram {
    /// Bucket 0: below 1 µs; the last bucket takes everything longer (above 2^22 µs, four seconds).
    pub buckets: [u64; TurnHistogram::BUCKETS],
    /// The longest turn.
    pub max: Duration,
}

impl TurnHistogram {
    /// Number of buckets.
    pub const BUCKETS: usize = 24;

    pub(crate) const fn new() -> TurnHistogram {
        TurnHistogram {
            buckets: [0; Self::BUCKETS],
            max: Duration::ZERO,
        }
    }

    pub(crate) fn add(&mut self, length: Duration) {
        let micros = u64::try_from(length.as_micros()).unwrap_or(u64::MAX);
        let bucket = (u64::BITS - micros.leading_zeros()) as usize;
        self.buckets[bucket.min(Self::BUCKETS - 1)] += 1;
        self.max = self.max.max(length);
    }

    /// Number of turns counted.
    pub fn turns(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// Number of turns of `limit` (rounded up to a power of two µs) or longer.
    pub fn turns_at_least(&self, limit: Duration) -> u64 {
        let micros = u64::try_from(limit.as_micros()).unwrap_or(u64::MAX).max(1);
        let first = (u64::BITS - (micros - 1).leading_zeros()) as usize + 1;
        self.buckets.iter().skip(first.min(Self::BUCKETS - 1)).sum()
    }
}

impl fmt::Display for TurnHistogram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} turns, longest {:?}", self.turns(), self.max)?;
        for (i, count) in self.buckets.iter().enumerate().filter(|(_, n)| **n > 0) {
            match i + 1 == Self::BUCKETS {
                false => write!(f, ", <{}us: {count}", 1u64 << i)?,
                true => write!(f, ", longer: {count}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turn_lengths_fall_into_power_of_two_buckets() {
        let mut h = TurnHistogram::new();
        for micros in [0, 1, 2, 3, 4, 1024, 1 << 40] {
            h.add(Duration::from_micros(micros));
        }
        assert_eq!(
            (h.buckets[0], h.buckets[1], h.buckets[2], h.buckets[3]),
            (1, 1, 2, 1)
        );
        assert_eq!((h.buckets[11], h.buckets[TurnHistogram::BUCKETS - 1]), (1, 1));
        assert_eq!(h.turns(), 7);
        assert_eq!(h.turns_at_least(Duration::from_micros(4)), 3);
        assert_eq!(h.max, Duration::from_micros(1 << 40));
    }
}
