//! Log levels: the numbers 0 to 10 that the `SETDEBUG` control carries, and their five names.

use std::fmt;
use std::str::FromStr;

/// Names by number, in the order in which a prefix is looked up.
/// Source: `ctdb/common/logging.c`, `log_string_map`.
const NAMES: [&str; 11] = [
    "ERROR", "WARNING", "WARNING", "NOTICE", "NOTICE", "INFO", "INFO", "INFO", "INFO", "INFO", "DEBUG",
];

/// A log level as tools and controls carry it: a number that is kept as it was set.
///
/// Numbers 0 to 10 have names (several share one), all others print as `UNKNOWN`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Level(pub i32);

impl Level {
    /// 0: something failed and needs attention.
    pub const ERROR: Level = Level(0);
    /// 1: something odd that is coped with.
    pub const WARNING: Level = Level(1);
    /// 3: changes of state; the default.
    pub const NOTICE: Level = Level(3);
    /// 5: the course of things.
    pub const INFO: Level = Level(5);
    /// 10: everything.
    pub const DEBUG: Level = Level(10);

    /// The name that `ctdb getdebug` prints.
    pub fn name(self) -> &'static str {
        usize::try_from(self.0)
            .ok()
            .and_then(|n| NAMES.get(n))
            .copied()
            .unwrap_or("UNKNOWN")
    }

    /// What the `log` crate lets through at this level (see the crate documentation for the mapping).
    pub fn filter(self) -> log::LevelFilter {
        match self.0 {
            ..=0 => log::LevelFilter::Error,
            1..=2 => log::LevelFilter::Warn,
            3..=4 => log::LevelFilter::Info,
            5..=9 => log::LevelFilter::Debug,
            10.. => log::LevelFilter::Trace,
        }
    }

    /// The macro level of the `log` crate under which lines of this level are written:
    /// for text whose level comes from configuration, such as the output of scripts.
    pub fn to_log(self) -> log::Level {
        self.filter().to_level().unwrap_or(log::Level::Error)
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The text is neither a number from 0 to 10 nor the beginning of a level's name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("found \"{0}\", expected ERROR, WARNING, NOTICE, INFO, DEBUG or a number from 0 to 10")]
pub struct BadLevel(pub String);

impl FromStr for Level {
    type Err = BadLevel;

    /// Takes a number, or the beginning of a name in any case; the first name that fits wins.
    ///
    /// # Errors
    /// `BadLevel` for anything else; the empty text, too (it is the beginning of every name).
    fn from_str(text: &str) -> Result<Self, BadLevel> {
        let bad = || BadLevel(text.to_owned());
        let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        if digits > 0 {
            // As C's atoi: what follows the digits is not looked at.
            let number: i32 = text[..digits].parse().map_err(|_| bad())?;
            return if usize::try_from(number).is_ok_and(|n| n < NAMES.len()) {
                Ok(Level(number))
            } else {
                Err(bad())
            };
        }
        let starts = |name: &str| {
            name.get(..text.len())
                .is_some_and(|head| head.eq_ignore_ascii_case(text))
        };
        match NAMES.iter().position(|name| starts(name)) {
            Some(number) if !text.is_empty() => Ok(Level(i32::try_from(number).map_err(|_| bad())?)),
            _ => Err(bad()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_has_the_name_that_the_tool_shows() {
        let names: Vec<&str> = (-1..=11).map(|n| Level(n).name()).collect();
        assert_eq!(names[0], "UNKNOWN");
        assert_eq!(names[1..12], NAMES);
        assert_eq!(names[12], "UNKNOWN");
    }

    #[test]
    fn a_name_may_be_cut_short_and_in_any_case() {
        assert_eq!("notice".parse(), Ok(Level::NOTICE));
        assert_eq!("w".parse(), Ok(Level::WARNING));
        assert_eq!("Err".parse(), Ok(Level::ERROR));
        assert_eq!("DEBUG".parse(), Ok(Level::DEBUG));
        assert!("DEBUGGING".parse::<Level>().is_err());
        assert!("".parse::<Level>().is_err());
    }

    #[test]
    fn a_number_is_kept_as_it_is() {
        assert_eq!("9".parse(), Ok(Level(9)));
        assert_eq!("10".parse(), Ok(Level(10)));
        assert!("11".parse::<Level>().is_err());
        assert!("-1".parse::<Level>().is_err());
        assert!("99999999999".parse::<Level>().is_err());
    }

    #[test]
    fn the_five_names_are_the_five_levels_of_the_log_crate() {
        let filters = [
            Level::ERROR,
            Level::WARNING,
            Level::NOTICE,
            Level::INFO,
            Level::DEBUG,
        ]
        .map(Level::to_log);
        assert_eq!(
            filters,
            [
                log::Level::Error,
                log::Level::Warn,
                log::Level::Info,
                log::Level::Debug,
                log::Level::Trace
            ]
        );
    }
}
