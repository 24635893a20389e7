//! The shape of one log line for each kind of target.
//!
//! | target | line |
//! |---|---|
//! | file | `2026-11-22T23:56:21.668173+00:00 host ctdbd[6493]: text` |
//! | stderr | `text` |
//! | syslog, syslog:nonblocking, syslog:udp | `<29>ctdbd[6493]: text` |
//! | syslog:udp-rfc5424 | `<29>1 2026-11-22T23:56:21.668173+00:00 host ctdbd 6493 - - text` |
//!
//! The short syslog form has no time of its own: the receiver adds one, finer than the form could carry.
//! Source: `ctdb/common/logging.c`, `format_rfc3164`, `format_rfc5424`; the file form was read off Debian's daemon.

use std::fmt::Write;

use crate::Level;

/// Longest datagram that a syslog receiver has to take (RFC 3164); longer text is cut.
const DATAGRAM_LEN_MAX: usize = 1024;

/// LOG_DAEMON, the syslog facility, already shifted.
const FACILITY_DAEMON: u8 = 3 << 3;

/// Which of the forms above.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Only the text.
    Plain,
    /// Time, host, programme and pid.
    File,
    /// A datagram in the short form.
    Rfc3164,
    /// A datagram in the long form.
    Rfc5424,
}

/// What stands in the head of each line.
#[derive(Clone, Debug)]
pub struct Head {
    /// Name of the program, as in `ps`.
    pub program: String,
    /// Host name up to the first dot; in test mode the name of the node's directory.
    pub host: String,
}

impl Form {
    /// One line (a file's with its newline) or one datagram.
    pub fn render(self, head: &Head, pid: u32, level: Level, text: &str) -> Vec<u8> {
        let Head { program, host } = head;
        let text = one_line(text);
        match self {
            Form::Plain => format!("{text}\n").into_bytes(),
            Form::File => format!("{} {host} {program}[{pid}]: {text}\n", timestamp()).into_bytes(),
            Form::Rfc3164 => datagram(format!("<{}>{program}[{pid}]: {text}", priority(level))),
            Form::Rfc5424 => datagram(format!(
                "<{}>1 {} {host} {program} {pid} - - {text}",
                priority(level),
                timestamp()
            )),
        }
    }
}

/// Facility and severity. Level 5 (INFO) is sent as LOG_NOTICE, as upstream does.
fn priority(level: Level) -> u8 {
    let severity = match level.0 {
        0 => 3,
        1 => 4,
        2..=5 => 5,
        6..=9 => 6,
        _ => 7,
    };
    FACILITY_DAEMON | severity
}

fn datagram(line: String) -> Vec<u8> {
    let mut bytes = line.into_bytes();
    bytes.truncate(DATAGRAM_LEN_MAX);
    bytes
}

/// Local time with microseconds and the distance from UTC.
fn timestamp() -> String {
    jiff::Zoned::now()
        .strftime("%Y-%m-%dT%H:%M:%S%.6f%:z")
        .to_string()
}

/// Newlines and control characters as escapes, so that no value (a file name, a script's output, a peer's
/// message) can break a line or fake another one. A newline at the end is dropped.
fn one_line(text: &str) -> String {
    let text = text.trim_end_matches('\n');
    let mut line = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' => line.push_str("\\n"),
            '\r' => line.push_str("\\r"),
            '\t' => line.push('\t'),
            c if c.is_control() => {
                // Writing to a String cannot fail.
                let _ = write!(line, "\\x{:02x}", u32::from(c));
            }
            c => line.push(c),
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn head() -> Head {
        Head {
            program: "ctdbd".into(),
            host: "lg".into(),
        }
    }

    fn text(form: Form, level: Level, text: &str) -> String {
        String::from_utf8(form.render(&head(), 6493, level, text)).unwrap()
    }

    #[test]
    fn a_file_line_has_the_shape_that_the_c_daemon_writes() {
        let line = text(Form::File, Level::NOTICE, "daemon started, pid=6493");
        let (time, rest) = line.split_once(' ').unwrap();
        assert_eq!(rest, "lg ctdbd[6493]: daemon started, pid=6493\n");
        // 2026-11-22T23:56:21.668173+00:00
        assert_eq!(time.len(), 32, "{time}");
        let shape: String = time
            .chars()
            .map(|c| if c.is_ascii_digit() { '0' } else { c })
            .collect();
        assert_eq!(shape.replace('-', "+"), "0000+00+00T00:00:00.000000+00:00");
    }

    #[test]
    fn a_syslog_datagram_carries_facility_and_severity() {
        assert_eq!(text(Form::Rfc3164, Level::ERROR, "x"), "<27>ctdbd[6493]: x");
        assert_eq!(text(Form::Rfc3164, Level::WARNING, "x"), "<28>ctdbd[6493]: x");
        assert_eq!(text(Form::Rfc3164, Level::NOTICE, "x"), "<29>ctdbd[6493]: x");
        assert_eq!(text(Form::Rfc3164, Level::DEBUG, "x"), "<31>ctdbd[6493]: x");
        let long = text(Form::Rfc5424, Level::NOTICE, "x");
        assert!(
            long.starts_with("<29>1 ") && long.ends_with(" lg ctdbd 6493 - - x"),
            "{long}"
        );
    }

    #[test]
    fn a_datagram_is_cut_at_the_length_that_receivers_take() {
        assert_eq!(
            Form::Rfc3164
                .render(&head(), 1, Level::ERROR, &"y".repeat(5000))
                .len(),
            DATAGRAM_LEN_MAX
        );
    }

    #[test]
    fn values_of_several_lines_become_one() {
        assert_eq!(
            text(Form::Plain, Level::ERROR, "a\nb\r\x1b[1m\tc\n"),
            "a\\nb\\r\\x1b[1m\tc\n"
        );
    }

    proptest! {
        #[test]
        fn no_text_makes_a_second_line(t in any::<String>()) {
            let line = text(Form::Plain, Level::ERROR, &t);
            prop_assert_eq!(line.matches('\n').count(), 1);
            prop_assert!(line.ends_with('\n'));
        }
    }
}
