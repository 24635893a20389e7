//! Points in time and spans, as C's library and tool write them.

use ctdb_protocol::{Pnn, Timeval, Uptime};
use jiff::Timestamp;
use jiff::tz::TimeZone;

/// `Mon Nov 23 00:42:44 2026` in local time, with the line's end.
pub fn ctime(seconds: i64) -> String {
    local(seconds, "%a %b %e %H:%M:%S %Y\n")
}

/// `2026/11/23 00:45:02`.
pub fn date(seconds: i64) -> String {
    local(seconds, "%Y/%m/%d %H:%M:%S")
}

fn local(seconds: i64, format: &str) -> String {
    // A time beyond what there is can only come from nonsense; it is shown as the first one.
    let at = Timestamp::from_second(seconds).unwrap_or(Timestamp::UNIX_EPOCH);
    at.to_zoned(TimeZone::system()).strftime(format).to_string()
}

/// `(000 00:00:47)`: days, hours, minutes, seconds.
pub fn span(from: Timeval, to: Timeval) -> String {
    let seconds = to.sec.wrapping_sub(from.sec) as i32;
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86400);
    format!(
        "({days:03} {:02}:{:02}:{:02})",
        hours % 24,
        minutes % 60,
        seconds % 60
    )
}

/// The four lines of `ctdb uptime`.
pub fn uptime(node: Pnn, uptime: &Uptime) -> String {
    let now = uptime.current_time;
    let (started, recovered) = (uptime.ctdbd_start_time, uptime.last_recovery_finished);
    let begun = uptime.last_recovery_started;
    let took = (recovered.sec - begun.sec) as f64 + (recovered.usec - begun.usec) as f64 * 1.0e-6;
    let mut text = format!(
        "Current time of node {:<4}     :                {}",
        node.0,
        ctime(now.sec)
    );
    text += &format!(
        "Ctdbd start time              : {} {}",
        span(started, now),
        ctime(started.sec)
    );
    text += &format!(
        "Time of last recovery/failover: {} {}",
        span(recovered, now),
        ctime(recovered.sec)
    );
    text += &format!("Duration of last recovery/failover: {took:.6} seconds\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(sec: i64, usec: i64) -> Timeval {
        Timeval { sec, usec }
    }

    #[test]
    fn a_span_is_days_and_a_time_of_day() {
        assert_eq!(span(at(0, 0), at(86400 * 3 + 3600 * 2 + 61, 0)), "(003 02:01:01)");
        assert_eq!(span(at(5, 0), at(0, 0)), "(000 00:00:-5)");
    }

    #[test]
    fn a_time_has_the_columns_of_ctime() {
        let text = ctime(1_000_000_000);
        assert_eq!(text.len(), "Sun Sep  9 01:46:40 2001\n".len());
        assert!(text.ends_with(" 2001\n"));
    }

    #[test]
    fn uptime_has_four_lines() {
        let text = uptime(
            Pnn(3),
            &Uptime {
                current_time: at(1_000_000_100, 0),
                ctdbd_start_time: at(1_000_000_000, 0),
                last_recovery_started: at(1_000_000_050, 900_000),
                last_recovery_finished: at(1_000_000_051, 0),
            },
        );
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 4);
        assert!(lines[0].starts_with("Current time of node 3        :                "));
        assert!(lines[1].starts_with("Ctdbd start time              : (000 00:01:40) "));
        assert!(lines[2].starts_with("Time of last recovery/failover: (000 00:00:49) "));
        assert_eq!(lines[3], "Duration of last recovery/failover: 0.100000 seconds");
    }
}
