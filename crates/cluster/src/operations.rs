//! Whether a takeover run or a recovery may begin: one at a time, and not while somebody has asked for a pause.
//!
//! After each recovery the C implementation allows none for RerecoveryTimeout (10 s), so that a fault which each recovery
//! brings back can't keep the databases closed all the time. The price is that a node that joins just then waits
//! for service. Here two kinds of cause may recover at once, at most [`QUICK_MAX`] times within that time:
//! an administrator's request, and a change of membership with evidence (a node has come or gone). Neither is
//! brought about by the recovery itself, so the protection stays; everything else waits as upstream.
//!
//! Times are since the start of the program. Facts: `recovery.md` §5, §7, §10.

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

/// Recoveries allowed within RerecoveryTimeout although the pause is not over.
pub const QUICK_MAX: usize = 3;

/// Why an operation may not begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It is running.
    InProgress,
    /// Somebody has disabled it until then.
    Disabled {
        /// Since the start of the program.
        until: Duration,
    },
    /// Too soon after the last recovery.
    Pause {
        /// Since the start of the program.
        until: Duration,
    },
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::InProgress => f.write_str("one is running"),
            Refusal::Disabled { until } => {
                write!(f, "disabled until {:.1} s after start", until.as_secs_f64())
            }
            Refusal::Pause { until } => {
                write!(
                    f,
                    "pause after the last one until {:.1} s after start",
                    until.as_secs_f64()
                )
            }
        }
    }
}

/// DISABLE_* while the operation runs: answered with -EAGAIN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Busy;

/// One kind of operation: takeover runs.
#[derive(Clone, Debug, Default)]
pub struct Operation {
    in_progress: bool,
    disabled_until: Option<Duration>,
}

impl Operation {
    /// Handles DISABLE_*: no operation for `timeout` from now; 0 ends an earlier request.
    ///
    /// # Errors
    /// `Busy` while one runs.
    pub fn disable(&mut self, now: Duration, timeout: Duration) -> Result<(), Busy> {
        if timeout.is_zero() {
            self.disabled_until = None;
            return Ok(());
        }
        if self.in_progress {
            return Err(Busy);
        }
        self.disabled_until = Some(now.saturating_add(timeout));
        Ok(())
    }

    /// Whether one may begin now.
    ///
    /// # Errors
    /// Why not.
    pub fn may_begin(&self, now: Duration) -> Result<(), Refusal> {
        match self.disabled_until {
            _ if self.in_progress => Err(Refusal::InProgress),
            Some(until) if now < until => Err(Refusal::Disabled { until }),
            Some(_) | None => Ok(()),
        }
    }

    /// Begins one. [`Operation::end`] follows, however it ends.
    ///
    /// # Errors
    /// Why not.
    pub fn begin(&mut self, now: Duration) -> Result<(), Refusal> {
        self.may_begin(now)?;
        self.in_progress = true;
        self.disabled_until = None;
        Ok(())
    }

    /// It is over, with success or not.
    pub fn end(&mut self) {
        self.in_progress = false;
    }

    /// One is running.
    pub fn in_progress(&self) -> bool {
        self.in_progress
    }

    /// Somebody has asked for none now.
    pub fn is_disabled(&self, now: Duration) -> bool {
        self.disabled_until.is_some_and(|until| now < until)
    }
}

/// Why a recovery is wanted, as far as the pause is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// An administrator has asked for it.
    Operator,
    /// A node has come or gone, and that was seen (a link, its flags).
    Membership,
    /// Anything else.
    Other,
}

/// Recoveries: an [`Operation`] with the pause after each.
#[derive(Clone, Debug, Default)]
pub struct Recoveries {
    operation: Operation,
    pause_until: Duration,
    /// When recoveries began in spite of the pause; not more than [`QUICK_MAX`].
    quick: VecDeque<Duration>,
}

impl Recoveries {
    /// As [`Operation::disable`]; 0 ends the pause, too.
    ///
    /// # Errors
    /// `Busy` while one runs.
    pub fn disable(&mut self, now: Duration, timeout: Duration) -> Result<(), Busy> {
        if timeout.is_zero() {
            self.pause_until = Duration::ZERO;
        }
        self.operation.disable(now, timeout)
    }

    /// Whether a recovery for this cause may begin now. `rerecovery`: tunable RerecoveryTimeout.
    ///
    /// # Errors
    /// Why not.
    pub fn may_begin(&self, now: Duration, cause: Cause, rerecovery: Duration) -> Result<(), Refusal> {
        self.operation.may_begin(now)?;
        if now >= self.pause_until || (cause != Cause::Other && self.quick_left(now, rerecovery)) {
            Ok(())
        } else {
            Err(Refusal::Pause {
                until: self.pause_until,
            })
        }
    }

    fn quick_left(&self, now: Duration, rerecovery: Duration) -> bool {
        let recent = self
            .quick
            .iter()
            .filter(|&&began| now < began.saturating_add(rerecovery));
        recent.count() < QUICK_MAX
    }

    /// Begins one. [`Recoveries::end`] follows, however it ends.
    ///
    /// # Errors
    /// Why not.
    pub fn begin(&mut self, now: Duration, cause: Cause, rerecovery: Duration) -> Result<(), Refusal> {
        self.may_begin(now, cause, rerecovery)?;
        if now < self.pause_until {
            if self.quick.len() == QUICK_MAX {
                self.quick.pop_front();
            }
            self.quick.push_back(now);
        }
        self.operation.begin(now)
    }

    /// It is over. After a success begins the pause; after a failure the next attempt may follow.
    pub fn end(&mut self, now: Duration, success: bool, rerecovery: Duration) {
        self.operation.end();
        if success {
            self.pause_until = now.saturating_add(rerecovery);
        }
    }

    /// One is running.
    pub fn in_progress(&self) -> bool {
        self.operation.in_progress()
    }

    /// Somebody has asked for none now; the pause does not count.
    pub fn is_disabled(&self, now: Duration) -> bool {
        self.operation.is_disabled(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PAUSE: Duration = Duration::from_secs(10);

    fn at(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    #[test]
    fn a_running_operation_can_be_neither_begun_nor_disabled() {
        let mut runs = Operation::default();
        runs.begin(at(1)).unwrap();
        assert_eq!(runs.begin(at(2)), Err(Refusal::InProgress));
        assert_eq!(runs.disable(at(2), at(60)), Err(Busy));
        assert_eq!(runs.disable(at(2), at(0)), Ok(()));
        runs.end();
        assert_eq!(runs.begin(at(3)), Ok(()));
    }

    #[test]
    fn a_disabled_operation_begins_again_in_time_or_when_enabled() {
        let mut runs = Operation::default();
        runs.disable(at(0), at(60)).unwrap();
        runs.disable(at(10), at(60)).unwrap();
        assert!(runs.is_disabled(at(69)) && !runs.is_disabled(at(70)));
        assert_eq!(runs.begin(at(69)), Err(Refusal::Disabled { until: at(70) }));
        runs.disable(at(20), at(0)).unwrap();
        assert_eq!(runs.begin(at(21)), Ok(()));
    }

    #[test]
    fn after_a_success_only_operators_and_members_go_first_and_not_often() {
        let mut recoveries = Recoveries::default();
        let mut recover = |secs, cause| {
            let begun = recoveries.begin(at(secs), cause, PAUSE);
            if begun.is_ok() {
                recoveries.end(at(secs), true, PAUSE);
            }
            begun
        };
        assert_eq!(recover(100, Cause::Other), Ok(()));
        assert_eq!(recover(101, Cause::Other), Err(Refusal::Pause { until: at(110) }));
        assert_eq!(recover(101, Cause::Membership), Ok(()));
        assert_eq!(recover(102, Cause::Operator), Ok(()));
        assert_eq!(recover(103, Cause::Membership), Ok(()));
        assert_eq!(
            recover(104, Cause::Operator),
            Err(Refusal::Pause { until: at(113) })
        );
        assert_eq!(
            recover(111, Cause::Membership),
            Ok(()),
            "the first quick one is 10 s ago"
        );
        assert_eq!(recover(120, Cause::Other), Err(Refusal::Pause { until: at(121) }));
        assert_eq!(recover(121, Cause::Other), Ok(()));
    }

    #[test]
    fn a_failure_is_repeated_without_a_pause_and_a_request_for_none_is_kept() {
        let mut recoveries = Recoveries::default();
        recoveries.begin(at(1), Cause::Other, PAUSE).unwrap();
        recoveries.end(at(2), false, PAUSE);
        assert_eq!(recoveries.may_begin(at(2), Cause::Other, PAUSE), Ok(()));
        recoveries.disable(at(2), at(30)).unwrap();
        let refused = recoveries.may_begin(at(3), Cause::Operator, PAUSE);
        assert_eq!(refused, Err(Refusal::Disabled { until: at(32) }));
    }

    proptest! {
        #[test]
        fn no_sequence_of_causes_makes_a_storm(causes in proptest::collection::vec((0u64..1500, 0u8..3), 1..200)) {
            let mut recoveries = Recoveries::default();
            let mut began = Vec::new();
            let mut now = Duration::ZERO;
            for (millis, cause) in causes {
                now += Duration::from_millis(millis);
                let cause = [Cause::Operator, Cause::Membership, Cause::Other][usize::from(cause)];
                if recoveries.begin(now, cause, PAUSE).is_ok() {
                    recoveries.end(now, true, PAUSE);
                    began.push(now);
                }
            }
            for &from in &began {
                let within = began.iter().filter(|&&other| from <= other && other < from + PAUSE).count();
                prop_assert!(within <= QUICK_MAX + 1, "{within} within {PAUSE:?}");
            }
        }
    }
}
