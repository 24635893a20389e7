//! Waiting for a change that somebody else makes: short at first, longer if it takes its time.

use std::time::Duration;

use ctdb_runtime::Handle;

/// The C tool looks once a second.
const FIRST: Duration = Duration::from_millis(5);
const LONGEST: Duration = Duration::from_millis(100);

/// The pauses between two looks.
pub(crate) struct Patience {
    next: Duration,
}

impl Patience {
    pub(crate) fn new() -> Patience {
        Patience { next: FIRST }
    }

    /// Waits a little, and longer the next time.
    pub(crate) async fn pause(&mut self, handle: &Handle) {
        handle.sleep(self.take()).await;
    }

    fn take(&mut self) -> Duration {
        let pause = self.next;
        self.next = (pause * 3 / 2).min(LONGEST);
        pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_tenth_of_a_second() {
        let mut patience = Patience::new();
        let pauses: Vec<_> = (0..20).map(|_| patience.take()).collect();
        assert_eq!(pauses[0], FIRST);
        assert!(pauses.is_sorted());
        assert_eq!(pauses.last(), Some(&LONGEST));
        assert!(pauses.iter().take(6).sum::<Duration>() < LONGEST * 2);
    }
}
