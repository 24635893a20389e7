//! How long and how much: the full run, or the quick one.

use std::time::Duration;

/// After a recovery the C daemons refuse another one for RerecoveryTimeout, 10 s. Both kinds of daemons get this
/// pause before each recovery that is timed, so that neither is timed waiting.
pub const RERECOVERY_PAUSE: Duration = Duration::from_secs(11);

/// Times and amounts of a run.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// The run is the short one: fewer repetitions, smaller databases, some measures left out.
    pub quick: bool,
    /// For each rate that is counted.
    pub counting: Duration,
    /// For each rate of transactions, which wait for the disk.
    pub committing: Duration,
    /// Recoveries of few databases, of which the median counts.
    pub recoveries: usize,
}

impl Plan {
    pub fn full() -> Plan {
        Plan {
            quick: false,
            counting: Duration::from_secs(3),
            committing: Duration::from_secs(4),
            recoveries: 3,
        }
    }

    pub fn quick() -> Plan {
        Plan {
            quick: true,
            counting: Duration::from_millis(700),
            committing: Duration::from_secs(1),
            recoveries: 1,
        }
    }
}
