//! Points in time: of the runtime's own clock (monotonic) and of the wall.

use std::fmt;
use std::ops::{Add, AddAssign, Sub};
use std::time::Duration;

/// A point on the runtime's monotonic clock, counted from the start of the runtime.
/// In the simulator the clock is virtual: it stands still while tasks run and jumps to the next timer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(Duration);

impl Instant {
    /// The start of the runtime.
    pub const START: Instant = Instant(Duration::ZERO);

    /// The point `since_start` after the start of the runtime.
    pub const fn from_start(since_start: Duration) -> Instant {
        Instant(since_start)
    }

    /// Time since the start of the runtime.
    pub const fn since_start(self) -> Duration {
        self.0
    }

    /// Time from `earlier` to this point; zero when `earlier` is later.
    pub fn saturating_since(self, earlier: Instant) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

/// Saturates: "never" is `Instant::START + Duration::MAX`.
impl Add<Duration> for Instant {
    type Output = Instant;
    fn add(self, d: Duration) -> Instant {
        Instant(self.0.saturating_add(d))
    }
}

impl AddAssign<Duration> for Instant {
    fn add_assign(&mut self, d: Duration) {
        *self = *self + d;
    }
}

/// Zero when the right side is later, as the standard library's.
impl Sub for Instant {
    type Output = Duration;
    fn sub(self, earlier: Instant) -> Duration {
        self.saturating_since(earlier)
    }
}

/// Time of day: seconds and microseconds since 1970-01-01 UTC, the pair that the protocol's `timeval` carries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WallTime {
    /// Seconds since the epoch.
    pub secs: i64,
    /// Microseconds within the second, below 1 000 000.
    pub micros: u32,
}

impl WallTime {
    /// The time `since_epoch` after the epoch.
    pub fn from_epoch(since_epoch: Duration) -> WallTime {
        WallTime {
            secs: since_epoch.as_secs() as i64,
            micros: since_epoch.subsec_micros(),
        }
    }

    /// The system's clock now. For code that runs before there is a runtime.
    pub fn of_system() -> WallTime {
        // A clock set before 1970 reads as the epoch.
        let since = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap_or_default();
        WallTime::from_epoch(since)
    }
}

/// The time given to [`crate::Handle::timeout`] ran out first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Elapsed;

impl fmt::Display for Elapsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("timed out")
    }
}

impl std::error::Error for Elapsed {}

impl From<Elapsed> for std::io::Error {
    fn from(_: Elapsed) -> Self {
        std::io::ErrorKind::TimedOut.into()
    }
}
