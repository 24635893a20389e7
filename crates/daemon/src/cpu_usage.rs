//! One thread serves everything: when it uses nearly the whole of its processor, packets begin to wait. The log says
//! so once a minute, and when it is over.

use std::rc::Rc;
use std::time::Duration;

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;

use crate::Daemon;

/// How long each measurement lasts.
const INTERVAL: Duration = Duration::from_secs(60);
/// Per cent of one processor, unless a test says otherwise.
const THRESHOLD: u32 = 90;
/// Sets another threshold, 1..100.
const ENV_THRESHOLD: &str = "CTDB_TEST_CPU_USAGE_THRESHOLD";

/// Runs for the life of the daemon.
pub async fn run(d: Rc<Daemon>) {
    let threshold = threshold(std::env::var(ENV_THRESHOLD).ok().as_deref());
    let mut was_busy = false;
    let (mut since, mut used) = (d.rt.now(), used());
    loop {
        d.rt.sleep(INTERVAL).await;
        let (now, used_now) = (d.rt.now(), self::used());
        let usage = per_cent(used_now.saturating_sub(used), now - since);
        (since, used) = (now, used_now);
        if usage >= threshold {
            log::warn!(
                "This daemon used {usage} % of a processor in the last minute ({threshold} % is much): answers begin to \
                 wait. `ctdb dbstatistics` shows contended databases"
            );
        } else if was_busy {
            log::warn!(
                "This daemon used {usage} % of a processor in the last minute, less than {threshold} % again"
            );
        }
        was_busy = usage >= threshold;
    }
}

/// Processor time of this process, user and system.
fn used() -> Duration {
    // The call fails only for a bad argument.
    getrusage(UsageWho::RUSAGE_SELF).map_or(Duration::ZERO, |usage| {
        let microseconds = usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
        Duration::from_micros(u64::try_from(microseconds).unwrap_or(0))
    })
}

fn per_cent(used: Duration, passed: Duration) -> u32 {
    let passed = passed.as_micros().max(1);
    u32::try_from(used.as_micros() * 100 / passed).unwrap_or(u32::MAX)
}

/// A value outside 1..100 is as none.
fn threshold(setting: Option<&str>) -> u32 {
    setting
        .and_then(|text| text.parse().ok())
        .filter(|per_cent| (1..=100).contains(per_cent))
        .unwrap_or(THRESHOLD)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usage_is_part_of_the_time_that_passed() {
        let second = Duration::from_secs(1);
        assert_eq!(per_cent(second, second * 2), 50);
        assert_eq!(per_cent(second, second), 100);
        assert_eq!(per_cent(second, Duration::ZERO), 100_000_000);
    }

    #[test]
    fn a_threshold_is_a_percentage() {
        assert_eq!(threshold(Some("55")), 55);
        for other in [None, Some("0"), Some("101"), Some("much")] {
            assert_eq!(threshold(other), THRESHOLD);
        }
    }

    #[test]
    fn time_used_grows_with_work() {
        let before = used();
        while used() == before {
            std::hint::black_box((0..10_000u64).sum::<u64>());
        }
        assert!(used() > before);
    }
}
