//! When rounds begin: at once when there is news, at the latest after the interval, never too many.

use std::collections::VecDeque;
use std::time::Duration;

/// Rounds that may begin within [`WINDOW`]. A node that changes all the time gets no more of the cluster's time than
/// this.
pub const ROUNDS_MAX: usize = 20;
/// See [`ROUNDS_MAX`].
pub const WINDOW: Duration = Duration::from_secs(1);

/// The beginnings of the last rounds. Times are since the start of the program.
#[derive(Debug, Default)]
pub struct Pace {
    begun: VecDeque<Duration>,
}

impl Pace {
    /// A round begins.
    pub fn begin(&mut self, now: Duration) {
        if self.begun.len() == ROUNDS_MAX {
            self.begun.pop_front();
        }
        self.begun.push_back(now);
    }

    /// Not before then, whatever the news.
    pub fn earliest(&self) -> Duration {
        match self.begun.front() {
            Some(first) if self.begun.len() == ROUNDS_MAX => first.saturating_add(WINDOW),
            _ => Duration::ZERO,
        }
    }

    /// Then without any news. `interval`: tunable RecoverInterval.
    pub fn latest(&self, interval: Duration) -> Duration {
        self.begun
            .back()
            .map_or(Duration::ZERO, |last| last.saturating_add(interval))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn single_news_does_not_wait() {
        let mut pace = Pace::default();
        pace.begin(Duration::from_secs(5));
        assert_eq!(pace.earliest(), Duration::ZERO);
        assert_eq!(pace.latest(Duration::from_secs(1)), Duration::from_secs(6));
    }

    proptest! {
        #[test]
        fn no_window_holds_more_rounds_than_allowed(gaps in prop::collection::vec(0u64..200, 1..200)) {
            let mut pace = Pace::default();
            let (mut now, mut all) = (Duration::from_secs(1), Vec::new());
            for gap in gaps {
                now = (now + Duration::from_millis(gap)).max(pace.earliest());
                pace.begin(now);
                all.push(now);
            }
            for window in all.windows(ROUNDS_MAX + 1) {
                prop_assert!(window[ROUNDS_MAX] - window[0] >= WINDOW);
            }
        }
    }
}
