//! The table of all options of `ctdb.conf`, in the order in which `ctdb-config dump` prints them.

use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use ctdb_logging::{Level, Location};

use crate::Paths;
use crate::number::leading_number;

/// A value after reading.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    /// Text as written; `None` when there is neither a value nor a default.
    Text(Option<String>),
    Number(u32),
    Flag(bool),
}

/// What may stand to the right of the `=`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    AnyText,
    LogLocation,
    LogLevel,
    Transport,
    Address,
    Directory,
    /// Bare name of a program in the configuration directory.
    Script,
    Number {
        min: u32,
    },
    Flag,
}

/// One option.
pub(crate) struct OptionSpec {
    pub section: &'static str,
    pub name: &'static str,
    pub kind: Kind,
    pub default: Value,
    /// A change of it while the daemon runs has no effect.
    pub fixed: bool,
    pub deprecated: bool,
}

/// Order of options within a section is that of the table; sections come in the order of first mention.
/// Source: `ctdb/conf/*_conf.c`.
pub(crate) fn options() -> Vec<OptionSpec> {
    use Kind::*;
    let text = |text: &str| Value::Text(Some(text.to_owned()));
    let none = Value::Text(None);
    let option = |section, name, kind, default| OptionSpec {
        section,
        name,
        kind,
        default,
        fixed: false,
        deprecated: false,
    };
    let fixed = |section, name, kind, default| OptionSpec {
        fixed: true,
        ..option(section, name, kind, default)
    };
    let database_dir = |name: &str| Value::Text(Some(Paths::default_database_dir(name)));
    vec![
        fixed(
            "logging",
            "location",
            LogLocation,
            Value::Text(Some(Paths::default_log_location())),
        ),
        option("logging", "log level", LogLevel, text("NOTICE")),
        fixed("cluster", "transport", Transport, text("tcp")),
        fixed("cluster", "node address", Address, none.clone()),
        fixed("cluster", "cluster lock", AnyText, none.clone()),
        OptionSpec {
            deprecated: true,
            ..fixed("cluster", "recovery lock", AnyText, none.clone())
        },
        fixed("cluster", "nodes list", AnyText, none.clone()),
        option("cluster", "leader timeout", Number { min: 1 }, Value::Number(5)),
        option("cluster", "leader capability", Flag, Value::Flag(true)),
        fixed(
            "database",
            "volatile database directory",
            Directory,
            database_dir("volatile"),
        ),
        fixed(
            "database",
            "persistent database directory",
            Directory,
            database_dir("persistent"),
        ),
        fixed(
            "database",
            "state database directory",
            Directory,
            database_dir("state"),
        ),
        option("database", "lock debug script", Script, none.clone()),
        fixed("database", "tdb mutexes", Flag, Value::Flag(true)),
        option("event", "debug script", Script, none),
        fixed("failover", "disabled", Flag, Value::Flag(false)),
        option(
            "failover",
            "shutdown extra timeout",
            Number { min: 0 },
            Value::Number(0),
        ),
        option(
            "failover",
            "shutdown failover timeout",
            Number { min: 0 },
            Value::Number(10),
        ),
        option("legacy", "realtime scheduling", Flag, Value::Flag(true)),
        option("legacy", "lmaster capability", Flag, Value::Flag(true)),
        option("legacy", "start as stopped", Flag, Value::Flag(false)),
        option("legacy", "start as disabled", Flag, Value::Flag(false)),
        option("legacy", "script log level", LogLevel, text("ERROR")),
    ]
}

impl Value {
    /// As `dump` and `get` print it; nothing for a text that is not set.
    pub fn print(&self) -> String {
        match self {
            Value::Text(text) => text.clone().unwrap_or_default(),
            Value::Number(number) => number.to_string(),
            Value::Flag(flag) => flag.to_string(),
        }
    }
}

/// Why a value is no good: what would be right.
pub(crate) type Expected = String;

impl Kind {
    /// Reads a value that is not empty. The second part is text behind a number, which has no effect.
    pub fn read(self, text: &str, paths: &Paths) -> Result<(Value, Option<String>), Expected> {
        let whole = |value| Ok((value, None));
        let as_written = || whole(Value::Text(Some(text.to_owned())));
        match self {
            Kind::AnyText => as_written(),
            Kind::LogLocation => check_location(text).and_then(|()| as_written()),
            Kind::LogLevel => match text.parse::<Level>() {
                Ok(_) => as_written(),
                Err(_) => Err("ERROR, WARNING, NOTICE, INFO, DEBUG or a number from 0 to 10".into()),
            },
            Kind::Transport if text == "tcp" => as_written(),
            Kind::Transport => Err("tcp (no other transport is supported)".into()),
            Kind::Address if text.parse::<IpAddr>().is_ok() => as_written(),
            Kind::Address => Err("an IPv4 or IPv6 address".into()),
            Kind::Directory if Path::new(text).is_dir() => as_written(),
            Kind::Directory => Err("a directory that exists".into()),
            Kind::Script => check_script(&script_path(text, paths)).and_then(|()| as_written()),
            Kind::Number { min } => read_number(text, min),
            Kind::Flag => match text.to_ascii_lowercase().as_str() {
                "true" | "yes" => whole(Value::Flag(true)),
                "false" | "no" => whole(Value::Flag(false)),
                _ => Err("true, yes, false or no".into()),
            },
        }
    }
}

fn check_location(text: &str) -> Result<(), Expected> {
    let location: Location = text
        .parse()
        .map_err(|_| "file:PATH, syslog, syslog:nonblocking, syslog:udp or syslog:udp-rfc5424".to_owned())?;
    match location.directory() {
        Some(dir) if !dir.is_dir() => Err(format!(
            "a file in a directory that exists ({} does not)",
            dir.display()
        )),
        _ => Ok(()),
    }
}

/// Where a script given by its bare name is; directories in front of the name do not count.
pub(crate) fn script_path(text: &str, paths: &Paths) -> PathBuf {
    let name = Path::new(text).file_name().unwrap_or_default();
    paths.etc_dir.join(name)
}

fn check_script(path: &Path) -> Result<(), Expected> {
    let at = path.display();
    match fs::metadata(path) {
        Err(error) => Err(format!("the name of an executable file: {at}: {error}")),
        Ok(meta) if !meta.is_file() => Err(format!("the name of an executable file: {at} is no file")),
        Ok(meta) if meta.permissions().mode() & 0o100 == 0 => Err(format!(
            "the name of an executable file: {at} is not executable by its owner"
        )),
        Ok(_) => Ok(()),
    }
}

/// As C reads it: the number at the beginning counts, what follows is ignored (and reported).
fn read_number(text: &str, min: u32) -> Result<(Value, Option<String>), Expected> {
    let expected = || format!("a number from {min} to {}", i32::MAX);
    let (number, behind) = leading_number(text).ok_or_else(expected)?;
    let number = i32::try_from(number)
        .ok()
        .and_then(|n| u32::try_from(n).ok())
        .filter(|&n| n >= min);
    let ignored = Some(behind.trim().to_owned()).filter(|text| !text.is_empty());
    Ok((Value::Number(number.ok_or_else(expected)?), ignored))
}
