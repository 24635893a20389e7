//! What `ctdb statistics`, `stats` and `dbstatistics` show.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use ctdb_protocol::{DbStatistics, LatencyCounter, Statistics, Timeval};
use ctdb_runtime::WallTime;

use crate::Daemon;

/// Entries of the history; the wire always carries all of them.
const HISTORY: usize = 100;

/// Counters since start or reset, the same for the running interval, and those of intervals past.
pub struct Stats {
    total: RefCell<Statistics>,
    current: RefCell<Statistics>,
    history: RefCell<VecDeque<Statistics>>,
}

impl Stats {
    /// All zero, from `now` on.
    pub fn new(now: WallTime) -> Stats {
        let zero = since(now);
        Stats {
            total: RefCell::new(zero),
            current: RefCell::new(zero),
            history: RefCell::default(),
        }
    }

    /// Changes the same counters in both: `f` must only add.
    pub fn count(&self, f: impl Fn(&mut Statistics)) {
        f(&mut self.total.borrow_mut());
        f(&mut self.current.borrow_mut());
    }

    /// Takes one measured time into a latency counter.
    pub fn latency(&self, which: impl Fn(&mut Statistics) -> &mut LatencyCounter, took: Duration) {
        self.count(|s| add_latency(which(s), took));
    }

    /// Starts over. The history goes on: its intervals have starts of their own.
    pub fn reset(&self, now: WallTime) {
        *self.total.borrow_mut() = since(now);
    }

    /// As STATISTICS answers; what is not counted but looked up is filled in by the caller.
    pub fn total(&self) -> Statistics {
        *self.total.borrow()
    }

    /// As GET_STAT_HISTORY answers: newest first, always [`HISTORY`] entries.
    pub fn history(&self) -> Vec<Statistics> {
        let mut all: Vec<Statistics> = self.history.borrow().iter().cloned().collect();
        all.resize(HISTORY, Statistics::default());
        all
    }

    /// The running interval is over.
    fn shift(&self, now: WallTime) {
        let mut done = self.current.replace(since(now));
        done.current_time = timeval(now);
        let mut history = self.history.borrow_mut();
        history.push_front(done);
        history.truncate(HISTORY);
    }
}

/// Shifts the history every StatHistoryInterval, for the life of the daemon.
pub async fn run(d: Rc<Daemon>) {
    loop {
        let interval = d
            .tunables
            .borrow()
            .stat_history_interval()
            .max(Duration::from_secs(1));
        d.rt.sleep(interval).await;
        d.stats.shift(d.rt.wall_clock());
    }
}

/// Counters of one database.
#[derive(Default)]
pub struct DbStats(RefCell<DbStatistics>);

impl DbStats {
    /// Changes counters.
    pub fn count(&self, f: impl FnOnce(&mut DbStatistics)) {
        f(&mut self.0.borrow_mut());
    }

    /// A copy for an answer.
    pub fn get(&self) -> DbStatistics {
        self.0.borrow().clone()
    }

    /// Starts over.
    pub fn reset(&self) {
        *self.0.borrow_mut() = DbStatistics::default();
    }
}

/// One more measurement.
pub fn add_latency(counter: &mut LatencyCounter, took: Duration) {
    let took = took.as_secs_f64();
    counter.min = if counter.num == 0 {
        took
    } else {
        counter.min.min(took)
    };
    counter.max = counter.max.max(took);
    counter.total += took;
    counter.num += 1;
}

/// On the wire.
pub fn timeval(at: WallTime) -> Timeval {
    Timeval {
        sec: at.secs,
        usec: i64::from(at.micros),
    }
}

fn since(start: WallTime) -> Statistics {
    Statistics {
        start_time: timeval(start),
        ..Statistics::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: i64) -> WallTime {
        WallTime { secs, micros: 0 }
    }

    #[test]
    fn a_reset_leaves_the_history_and_the_running_interval() {
        let stats = Stats::new(at(1));
        stats.count(|s| s.total_calls += 1);
        stats.shift(at(2));
        stats.count(|s| s.total_calls += 2);
        stats.reset(at(3));
        assert_eq!(stats.total().total_calls, 0);
        assert_eq!(stats.total().start_time, timeval(at(3)));
        stats.shift(at(4));
        let calls: Vec<u32> = stats.history().iter().map(|s| s.total_calls).collect();
        assert_eq!(calls[..3], [2, 1, 0]);
        assert_eq!(calls.len(), HISTORY);
    }
}
