//! Waiting for a condition instead of for a time.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// Short beside anything that is measured, long beside the cost of a look.
const PAUSE: Duration = Duration::from_millis(5);

/// Looks again and again until `look` finds what is waited for, and returns it with the time that took.
///
/// `look` answers `Err` with what it has seen as long as that is not yet it.
///
/// # Errors
/// After `limit`: what was waited for and what was seen last.
pub fn wait_until<T>(
    what: &str,
    limit: Duration,
    mut look: impl FnMut() -> Result<T>,
) -> Result<(T, Duration)> {
    let start = Instant::now();
    loop {
        match look() {
            Ok(found) => return Ok((found, start.elapsed())),
            Err(seen) if start.elapsed() >= limit => {
                bail!("waited {limit:?} for {what}; last seen: {seen:#}")
            }
            Err(_) => thread::sleep(PAUSE),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_found_at_once_takes_no_pause() {
        let (found, took) = wait_until("a number", Duration::ZERO, || Ok(7)).unwrap();
        assert_eq!(found, 7);
        assert!(took < PAUSE, "{took:?}");
    }

    #[test]
    fn the_last_sight_is_part_of_the_failure() {
        let mut looks = 0;
        let failed = wait_until("rain", Duration::from_millis(20), || -> Result<()> {
            looks += 1;
            bail!("look {looks}")
        });
        let text = failed.unwrap_err().to_string();
        assert!(
            text.contains("for rain") && text.contains(&format!("look {looks}")),
            "{text}"
        );
        assert!(looks > 1);
    }
}
