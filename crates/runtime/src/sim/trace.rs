//! What happened in a simulation, for a reader and for comparison.

use std::collections::VecDeque;
use std::collections::hash_map::DefaultHasher;
use std::hash::Hasher;

use crate::time::Instant;

/// Lines that are kept; the hash covers all.
const LINES_MAX: usize = 100_000;

#[derive(Default)]
pub(super) struct Trace {
    lines: VecDeque<String>,
    /// `DefaultHasher::new` has fixed keys: equal traces hash equally in every process.
    hasher: DefaultHasher,
}

impl Trace {
    pub fn say(&mut self, now: Instant, what: &str) {
        let line = format!("{:>12.6} {what}", now.since_start().as_secs_f64());
        self.hasher.write(line.as_bytes());
        self.hasher.write_u8(b'\n');
        if self.lines.len() == LINES_MAX {
            self.lines.pop_front();
        }
        self.lines.push_back(line);
    }

    pub fn lines(&self) -> Vec<String> {
        self.lines.iter().cloned().collect()
    }

    pub fn hash(&self) -> u64 {
        self.hasher.finish()
    }
}
