//! The ten records of a database that migrate to this node most often, for `ctdb dbstatistics`.
//!
//! What counts is how often a record comes within a second.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::Duration;

use ctdb_protocol::{DbStatistics, HotKey};
use ctdb_runtime::Instant;

/// Migrations within this time count together.
const WINDOW: Duration = Duration::from_secs(1);
/// Most records that are counted within a window.
const COUNTED_MAX: usize = 10_000;
/// Least count that is worth a line in the log when it has doubled.
const LINE_MIN: u32 = 10;

/// See the module.
#[derive(Default)]
pub struct HotKeys(RefCell<Inner>);

#[derive(Default)]
struct Inner {
    window: Instant,
    counts: BTreeMap<Box<[u8]>, u32>,
    /// By count, the smallest first.
    hottest: Vec<HotKey>,
    /// The count that was last said in the log.
    said: u32,
}

impl HotKeys {
    /// The record has come to this node. Returns its count when that is worth a line in the log.
    pub fn migrated(&self, key: &[u8], now: Instant) -> Option<u32> {
        let inner = &mut *self.0.borrow_mut();
        if now.saturating_since(inner.window) >= WINDOW {
            inner.counts.clear();
            inner.window = now;
        }
        let count = match inner.counts.get_mut(key) {
            Some(count) => {
                *count += 1;
                *count
            }
            None => {
                if inner.counts.len() < COUNTED_MAX {
                    inner.counts.insert(key.into(), 1);
                }
                1
            }
        };
        inner.place(key, count);
        let worth = count >= LINE_MIN.max(inner.said.saturating_mul(2));
        if worth {
            inner.said = count;
        }
        worth.then_some(count)
    }

    /// Starts over.
    pub fn reset(&self) {
        *self.0.borrow_mut() = Inner::default();
    }

    /// Fills in the ten places of an answer.
    pub fn fill(&self, stats: &mut DbStatistics) {
        stats.num_hot_keys = DbStatistics::HOT_KEYS as u32;
        let hottest = &self.0.borrow().hottest;
        let first = DbStatistics::HOT_KEYS - hottest.len();
        stats.hot_keys = std::array::from_fn(|i| {
            i.checked_sub(first)
                .map(|place| hottest[place].clone())
                .unwrap_or_default()
        });
    }
}

impl Inner {
    fn place(&mut self, key: &[u8], count: u32) {
        let known = self.hottest.iter().position(|hot| hot.key == key);
        match known {
            Some(place) if self.hottest[place].count >= count => return,
            Some(place) => self.hottest[place].count = count,
            None if self.hottest.len() < DbStatistics::HOT_KEYS => {
                self.hottest.push(HotKey {
                    count,
                    key: key.to_vec(),
                });
            }
            None if self.hottest[0].count >= count => return,
            None => {
                self.hottest[0] = HotKey {
                    count,
                    key: key.to_vec(),
                }
            }
        }
        self.hottest.sort_by_key(|hot| hot.count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Instant {
        Instant::START + Duration::from_millis(millis)
    }

    #[test]
    fn the_hottest_records_stand_last_and_keep_their_highest_count() {
        let keys = HotKeys::default();
        for key in 0..20_u8 {
            for _ in 0..=key {
                keys.migrated(&[key], at(0));
            }
        }
        keys.migrated(&[19], at(5000));
        let mut stats = DbStatistics::default();
        keys.fill(&mut stats);
        let counts: Vec<u32> = stats.hot_keys.iter().map(|hot| hot.count).collect();
        assert_eq!(counts, (11..=20).collect::<Vec<u32>>());
        assert_eq!(stats.hot_keys[9].key, [19]);
        keys.reset();
        keys.fill(&mut stats);
        assert_eq!(stats.hot_keys[9], HotKey::default());
    }

    #[test]
    fn the_log_hears_of_a_count_when_it_has_doubled() {
        let keys = HotKeys::default();
        let said: Vec<u32> = (0..50).filter_map(|_| keys.migrated(b"hot", at(10))).collect();
        assert_eq!(said, [10, 20, 40]);
    }
}
