//! One number of the table.

use std::fmt::Write as _;
use std::time::Duration;

/// What a number counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// More is better.
    PerSecond,
    /// Less is better.
    Seconds,
    /// Less is better.
    Bytes,
}

/// A measured value.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// Stands for the row in the JSON file and when ours, theirs and the floor are put beside each other.
    pub id: String,
    /// For the reader.
    pub what: String,
    pub unit: Unit,
    pub value: f64,
}

impl Row {
    pub fn rate(id: &str, what: &str, per_second: f64) -> Row {
        Row::new(id, what, Unit::PerSecond, per_second)
    }

    pub fn time(id: &str, what: &str, took: Duration) -> Row {
        Row::new(id, what, Unit::Seconds, took.as_secs_f64())
    }

    pub fn memory(id: &str, what: &str, bytes: u64) -> Row {
        Row::new(id, what, Unit::Bytes, bytes as f64)
    }

    fn new(id: &str, what: &str, unit: Unit, value: f64) -> Row {
        let (id, what) = (id.to_owned(), what.to_owned());
        Row {
            id,
            what,
            unit,
            value,
        }
    }
}

impl Unit {
    /// How many times better `ours` is than `theirs`; below 1 it is worse.
    pub fn ratio(self, ours: f64, theirs: f64) -> Option<f64> {
        let (better, worse) = match self {
            Unit::PerSecond => (ours, theirs),
            Unit::Seconds | Unit::Bytes => (theirs, ours),
        };
        (worse > 0.0).then_some(better / worse)
    }

    /// For the JSON file.
    pub fn name(self) -> &'static str {
        match self {
            Unit::PerSecond => "per second",
            Unit::Seconds => "seconds",
            Unit::Bytes => "bytes",
        }
    }

    /// Three digits or so, with the unit.
    pub fn show(self, value: f64) -> String {
        match self {
            Unit::PerSecond => format!("{}/s", grouped(value)),
            Unit::Seconds if value < 1e-3 => format!("{:.1} µs", value * 1e6),
            Unit::Seconds if value < 1.0 => format!("{:.2} ms", value * 1e3),
            Unit::Seconds => format!("{value:.2} s"),
            Unit::Bytes => format!("{:.1} MB", value / 1e6),
        }
    }
}

/// A whole number with its thousands apart; with a decimal when it is small.
fn grouped(value: f64) -> String {
    if value < 100.0 {
        return format!("{value:.1}");
    }
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at) % 3 == 0 {
            text.push(' ');
        }
        let _ = text.write_char(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_above_one_is_better_whatever_the_unit() {
        assert_eq!(Unit::PerSecond.ratio(200.0, 100.0), Some(2.0));
        assert_eq!(Unit::Seconds.ratio(0.5, 1.0), Some(2.0));
        assert_eq!(Unit::Bytes.ratio(2.0, 1.0), Some(0.5));
        assert_eq!(Unit::PerSecond.ratio(1.0, 0.0), None);
    }

    #[test]
    fn numbers_are_short_and_have_their_unit() {
        assert_eq!(Unit::PerSecond.show(1_234_567.0), "1 234 567/s");
        assert_eq!(Unit::PerSecond.show(54.25), "54.2/s");
        assert_eq!(Unit::Seconds.show(0.000_012_34), "12.3 µs");
        assert_eq!(Unit::Seconds.show(0.2), "200.00 ms");
        assert_eq!(Unit::Seconds.show(9.1), "9.10 s");
        assert_eq!(Unit::Bytes.show(8.04e6), "8.0 MB");
    }
}
