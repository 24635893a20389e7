//! How `ctdb-event status` shows what is remembered of an event.

use std::fmt::Write;
use std::io;

use ctdb_runtime::WallTime;
use jiff::tz::TimeZone;
use libc::{EINVAL, ENOENT, ENOEXEC, ENOMSG, ETIMEDOUT};

use crate::proto::{ScriptStatus, Status};

/// All scripts that ran, in order.
pub(super) fn status(status: &Status, zone: &TimeZone) -> String {
    let mut out = String::new();
    let mut previous = WallTime::default();
    for script in status.scripts.iter().filter(|script| script.result != -ENOMSG) {
        // What began before the script in front of it is left from an older run: this one did not come so far.
        if script.begin < previous {
            break;
        }
        show_script(&mut out, script, zone);
        previous = script.begin;
    }
    out
}

/// Why there is nothing to show.
pub(super) fn no_status(component: &str, event: &str, errno: i32) -> String {
    match errno {
        ENOENT => format!("Event dir for {component} does not exist\n"),
        EINVAL => format!("Event {event} has never run in {component}\n"),
        other => format!("Unknown error ({other}) for event {event} in {component}\n"),
    }
}

fn show_script(out: &mut String, script: &ScriptStatus, zone: &TimeZone) {
    let ScriptStatus {
        name,
        begin,
        end,
        result,
        output,
    } = script;
    let when = ctime(*begin, zone);
    // Writing to a String cannot fail, here and below.
    let _ = match *result {
        result if result == -ETIMEDOUT => writeln!(out, "{name:20} {:10} {when}", "TIMEDOUT"),
        result if result == -ENOEXEC => writeln!(out, "{name:20} {:10}", "DISABLED"),
        result @ ..0 => writeln!(out, "{name:20} {:10} ({})", "CANNOT RUN", error_text(-result)),
        0 => writeln!(
            out,
            "{name:20} {:10} {:.3} {when}",
            "OK",
            seconds_between(*begin, *end)
        ),
        1.. => writeln!(
            out,
            "{name:20} {:10} {:.3} {when}",
            "ERROR",
            seconds_between(*begin, *end)
        ),
    };
    // A failure without output says something, too.
    if output.is_some() || (*result != 0 && *result != -ENOEXEC) {
        show_output(out, output.as_deref().unwrap_or_default());
    }
}

fn show_output(out: &mut String, output: &[u8]) {
    let text = String::from_utf8_lossy(output);
    let text = text.trim_end_matches('\n');
    if text.contains('\n') {
        out.push_str("  OUTPUT:\n");
        for line in text.split('\n') {
            let _ = writeln!(out, "    {line}");
        }
    } else {
        let _ = writeln!(out, "  OUTPUT: {text}");
    }
}

fn seconds_between(begin: WallTime, end: WallTime) -> f64 {
    let micros = (f64::from(end.micros) - f64::from(begin.micros)) * 1e-6;
    (end.secs.wrapping_sub(begin.secs)) as f64 + micros
}

/// As ctime(3), without its newline; times that no calendar has are shown as seconds.
fn ctime(time: WallTime, zone: &TimeZone) -> String {
    match jiff::Timestamp::from_second(time.secs) {
        Ok(at) => at
            .to_zoned(zone.clone())
            .strftime("%a %b %e %H:%M:%S %Y")
            .to_string(),
        Err(_) => format!("{} seconds since 1970", time.secs),
    }
}

/// As strerror(3).
fn error_text(errno: i32) -> String {
    let text = io::Error::from_raw_os_error(errno).to_string();
    let end = text.rfind(" (os error").unwrap_or(text.len());
    text[..end].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn script(name: &str, begin_secs: i64, result: i32, output: Option<&str>) -> ScriptStatus {
        let begin = WallTime {
            secs: begin_secs,
            micros: 250_000,
        };
        let end = WallTime {
            secs: begin_secs + 1,
            micros: 0,
        };
        ScriptStatus {
            name: name.into(),
            begin,
            end,
            result,
            output: output.map(|text| text.as_bytes().to_vec()),
        }
    }

    fn show(scripts: Vec<ScriptStatus>) -> String {
        status(&Status { summary: 0, scripts }, &TimeZone::UTC)
    }

    #[test]
    fn each_result_has_its_line() {
        let at = 1_795_392_870;
        let text = show(vec![
            script("01.a", at, 0, None),
            script("02.b", at, -ENOEXEC, None),
            script("03.c", at, 0, Some("one\n\n")),
            script("04.d", at, -libc::EINTR, Some("one\n\ntwo\n")),
            script("05.e", at, 3, None),
            script("06.f", at, -ENOMSG, None),
            script("07.g", at, -ETIMEDOUT, Some("x")),
        ]);
        assert_eq!(
            text,
            "01.a                 OK         0.750 Mon Nov 23 00:14:30 2026\n\
             02.b                 DISABLED  \n\
             03.c                 OK         0.750 Mon Nov 23 00:14:30 2026\n  OUTPUT: one\n\
             04.d                 CANNOT RUN (Interrupted system call)\n  OUTPUT:\n    one\n    \n    two\n\
             05.e                 ERROR      0.750 Mon Nov 23 00:14:30 2026\n  OUTPUT: \n\
             07.g                 TIMEDOUT   Mon Nov 23 00:14:30 2026\n  OUTPUT: x\n"
        );
    }

    #[test]
    fn what_is_older_than_the_script_in_front_of_it_is_not_shown() {
        let text = show(vec![
            script("01.a", 100, 1, None),
            script("02.b", 99, 0, None),
            script("03.c", 200, 0, None),
        ]);
        assert!(text.contains("01.a") && !text.contains("02.b") && !text.contains("03.c"));
    }
}
