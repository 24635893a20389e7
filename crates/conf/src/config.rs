//! `ctdb.conf`: reading, judging, typed values, and what `ctdb-config` prints.

use std::fmt::Write;
use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ctdb_logging::{Level, Location};

use crate::ini::{self, Statement};
use crate::options::{OptionSpec, Value, options, script_path};
use crate::{Finding, FindingKind, Paths};

/// The configuration of a node, checked: every value is usable.
#[derive(Clone, Debug)]
pub struct Config {
    /// `[logging]`
    pub logging: Logging,
    /// `[cluster]`
    pub cluster: Cluster,
    /// `[database]`
    pub database: Database,
    /// `[event]`
    pub event: Event,
    /// `[failover]`
    pub failover: Failover,
    /// `[legacy]`
    pub legacy: Legacy,
    /// The file it was read from.
    pub file: PathBuf,
    /// Whether there is such a file; without one everything has its default.
    pub file_exists: bool,
    /// What is odd in the file but does not make it unusable: for the log, and for `ctdb-config validate`.
    pub findings: Vec<Finding>,
    /// One for each option, in the order of the table.
    values: Vec<Value>,
}

/// Where the daemons log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Logging {
    /// `location`
    pub location: Location,
    /// `log level`
    pub level: Level,
}

/// How the node takes part in the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cluster {
    /// `node address`: listen on this one instead of looking for an address of this host in `nodes`.
    pub node_address: Option<IpAddr>,
    /// `cluster lock`, or the deprecated `recovery lock`: a file or `!command`.
    pub lock: Option<String>,
    /// `nodes list`: a file or `!command`; the file `nodes` when not set.
    pub nodes_list: Option<String>,
    /// `leader timeout`: without a leader's broadcast for this long there is an election.
    pub leader_timeout: Duration,
    /// `leader capability`
    pub leader_capability: bool,
}

/// Where the databases are. Defaults are not checked for existence here; the daemon does at start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Database {
    /// `volatile database directory`
    pub volatile_dir: PathBuf,
    /// `persistent database directory`
    pub persistent_dir: PathBuf,
    /// `state database directory`
    pub state_dir: PathBuf,
    /// `lock debug script`: full path of an executable file.
    pub lock_debug_script: Option<PathBuf>,
    /// `tdb mutexes`
    pub tdb_mutexes: bool,
}

/// The event daemon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// `debug script`: full path of an executable file, run when an event script times out.
    pub debug_script: Option<PathBuf>,
}

/// Public addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failover {
    /// `disabled`
    pub disabled: bool,
    /// `shutdown extra timeout`
    pub shutdown_extra_timeout: Duration,
    /// `shutdown failover timeout`
    pub shutdown_failover_timeout: Duration,
}

/// The rest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Legacy {
    /// `realtime scheduling`
    pub realtime_scheduling: bool,
    /// `lmaster capability`
    pub lmaster_capability: bool,
    /// `start as stopped`
    pub start_as_stopped: bool,
    /// `start as disabled`
    pub start_as_disabled: bool,
    /// `script log level`: level for the output of children.
    pub script_log_level: Level,
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file is there but cannot be read.
    #[error("reading {path}: {error}", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// Values that cannot be used; one line of text for each.
    #[error("{}", .0.iter().map(Finding::to_string).collect::<Vec<_>>().join("\n"))]
    Invalid(Vec<Finding>),
}

impl ConfigError {
    /// The errno with which upstream's tools end: EINVAL for bad values.
    pub fn errno(&self) -> i32 {
        const EINVAL: i32 = 22;
        match self {
            ConfigError::Read { error, .. } => error.raw_os_error().unwrap_or(EINVAL),
            ConfigError::Invalid(_) => EINVAL,
        }
    }
}

/// `ctdb-config get` of something that is no option.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no such configuration option")]
pub struct UnknownOption;

/// A change that has no effect until the daemon is started again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("[{section}] {name}: the change from \"{old}\" to \"{new}\" takes effect only after a restart")]
pub struct IgnoredChange {
    /// Section of the option.
    pub section: &'static str,
    /// Name of the option.
    pub name: &'static str,
    /// The value in force.
    pub old: String,
    /// The value in the file.
    pub new: String,
}

impl Config {
    /// Reads the node's `ctdb.conf`. A file that does not exist gives the defaults.
    ///
    /// # Errors
    /// The file cannot be read, or holds values that cannot be used (all of them are listed).
    pub fn load(paths: &Paths) -> Result<Config, ConfigError> {
        let path = paths.config();
        match fs::read(&path) {
            Ok(text) => Config::parse(&path, &text, paths),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Config {
                file_exists: false,
                ..Config::parse(&path, b"", paths)?
            }),
            Err(error) => Err(ConfigError::Read { path, error }),
        }
    }

    /// Reads a configuration from memory; `file` is what errors name, `paths` where bare script names are looked up.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn parse(file: &Path, text: &[u8], paths: &Paths) -> Result<Config, ConfigError> {
        let table = options();
        let mut reading = Reading {
            file,
            paths,
            values: table.iter().map(|option| option.default.clone()).collect(),
            table: &table,
            section: None,
            findings: Vec::new(),
        };
        for item in ini::parse(text) {
            reading.take(item.line, item.statement);
        }
        let Reading { values, findings, .. } = reading;
        let (errors, findings): (Vec<_>, Vec<_>) = findings
            .into_iter()
            .partition(|finding| finding.kind == FindingKind::Error);
        if !errors.is_empty() {
            return Err(ConfigError::Invalid(errors));
        }
        Ok(Config::typed(file, values, findings, paths))
    }

    /// The configuration of a node without a file.
    pub fn default_values() -> Config {
        let values = options().into_iter().map(|option| option.default).collect();
        Config {
            file_exists: false,
            ..Config::typed(Path::new(""), values, Vec::new(), &Paths::installed())
        }
    }

    /// Whether `ctdb-config validate` finds the file in order: no unknown sections or options.
    pub fn is_strictly_valid(&self) -> bool {
        !self
            .findings
            .iter()
            .any(|finding| finding.kind == FindingKind::Unknown)
    }

    /// What `ctdb-config dump` prints: all options, those with their default value commented out.
    pub fn dump(&self) -> String {
        let mut out = String::new();
        let mut section = "";
        for (option, value) in options().iter().zip(&self.values) {
            if option.section != section {
                section = option.section;
                // Writing to a String cannot fail, here and below.
                let _ = writeln!(out, "[{section}]");
            }
            let comment = if *value == option.default { "# " } else { "" };
            let _ = writeln!(out, "\t{comment}{} = {}", option.name, value.print());
        }
        out
    }

    /// What `ctdb-config get SECTION NAME` prints. The section's name is matched in any case, the option's exactly.
    ///
    /// # Errors
    /// There is no such option (ENOENT).
    pub fn get(&self, section: &str, name: &str) -> Result<String, UnknownOption> {
        let mut all = options().into_iter().zip(&self.values);
        all.find(|(option, _)| option.section.eq_ignore_ascii_case(section) && option.name == name)
            .map(|(_, value)| value.print())
            .ok_or(UnknownOption)
    }

    /// This configuration after `fresh` was read from the same file while the daemon runs: what cannot change stays as it is.
    /// Also tells which changes are ignored.
    pub fn reloaded(&self, fresh: &Config, paths: &Paths) -> (Config, Vec<IgnoredChange>) {
        let mut values = fresh.values.clone();
        let mut ignored = Vec::new();
        for (index, option) in options().iter().enumerate() {
            let (old, new) = (&self.values[index], &fresh.values[index]);
            if option.fixed && old != new {
                let (section, name) = (option.section, option.name);
                ignored.push(IgnoredChange {
                    section,
                    name,
                    old: old.print(),
                    new: new.print(),
                });
                values[index] = old.clone();
            }
        }
        let mut merged = Config::typed(&fresh.file, values, fresh.findings.clone(), paths);
        merged.file_exists = fresh.file_exists;
        (merged, ignored)
    }

    fn typed(file: &Path, values: Vec<Value>, findings: Vec<Finding>, paths: &Paths) -> Config {
        let table = options();
        let by_name = ByName {
            table: &table,
            values: &values,
        };
        let config = Config {
            logging: Logging {
                location: by_name.parsed("logging", "location"),
                level: by_name.parsed("logging", "log level"),
            },
            cluster: Cluster {
                node_address: by_name
                    .text("cluster", "node address")
                    .and_then(|text| text.parse().ok()),
                lock: by_name
                    .text("cluster", "cluster lock")
                    .or_else(|| by_name.text("cluster", "recovery lock")),
                nodes_list: by_name.text("cluster", "nodes list"),
                leader_timeout: by_name.seconds("cluster", "leader timeout"),
                leader_capability: by_name.flag("cluster", "leader capability"),
            },
            database: Database {
                volatile_dir: by_name.path("database", "volatile database directory"),
                persistent_dir: by_name.path("database", "persistent database directory"),
                state_dir: by_name.path("database", "state database directory"),
                lock_debug_script: by_name
                    .text("database", "lock debug script")
                    .map(|name| script_path(&name, paths)),
                tdb_mutexes: by_name.flag("database", "tdb mutexes"),
            },
            event: Event {
                debug_script: by_name
                    .text("event", "debug script")
                    .map(|name| script_path(&name, paths)),
            },
            failover: Failover {
                disabled: by_name.flag("failover", "disabled"),
                shutdown_extra_timeout: by_name.seconds("failover", "shutdown extra timeout"),
                shutdown_failover_timeout: by_name.seconds("failover", "shutdown failover timeout"),
            },
            legacy: Legacy {
                realtime_scheduling: by_name.flag("legacy", "realtime scheduling"),
                lmaster_capability: by_name.flag("legacy", "lmaster capability"),
                start_as_stopped: by_name.flag("legacy", "start as stopped"),
                start_as_disabled: by_name.flag("legacy", "start as disabled"),
                script_log_level: by_name.parsed("legacy", "script log level"),
            },
            file: file.to_owned(),
            file_exists: true,
            findings,
            values: Vec::new(),
        };
        Config { values, ..config }
    }
}

/// Values looked up by name. The names are ours, and values were checked when they were read, so a lookup that
/// fails is an error of this crate.
struct ByName<'a> {
    table: &'a [OptionSpec],
    values: &'a [Value],
}

impl ByName<'_> {
    fn value(&self, section: &str, name: &str) -> &Value {
        let place = self
            .table
            .iter()
            .position(|option| option.section == section && option.name == name);
        &self.values[place.expect("the option is in the table, which the tests check")]
    }

    fn text(&self, section: &str, name: &str) -> Option<String> {
        match self.value(section, name) {
            Value::Text(text) => text.clone(),
            other => unreachable!("[{section}] {name} is a text in the table, not {other:?}"),
        }
    }

    fn flag(&self, section: &str, name: &str) -> bool {
        match self.value(section, name) {
            Value::Flag(flag) => *flag,
            other => unreachable!("[{section}] {name} is a flag in the table, not {other:?}"),
        }
    }

    fn seconds(&self, section: &str, name: &str) -> Duration {
        match self.value(section, name) {
            Value::Number(seconds) => Duration::from_secs((*seconds).into()),
            other => unreachable!("[{section}] {name} is a number in the table, not {other:?}"),
        }
    }

    fn path(&self, section: &str, name: &str) -> PathBuf {
        self.text(section, name)
            .map(PathBuf::from)
            .expect("the option has a default")
    }

    fn parsed<T: std::str::FromStr>(&self, section: &str, name: &str) -> T {
        let text = self.text(section, name).expect("the option has a default");
        text.parse()
            .unwrap_or_else(|_| unreachable!("[{section}] {name} = {text} was checked when read"))
    }
}

/// A file half read.
struct Reading<'a> {
    file: &'a Path,
    paths: &'a Paths,
    table: &'a [OptionSpec],
    values: Vec<Value>,
    /// The section we are in, if one was opened: its name if we know it.
    section: Option<Result<&'static str, String>>,
    findings: Vec<Finding>,
}

impl Reading<'_> {
    fn take(&mut self, line: usize, statement: Statement) {
        match statement {
            Statement::Section(name) => self.enter(line, name),
            Statement::Assignment { name, value } => self.assign(line, &name, &value),
            Statement::Ignored(text) => {
                self.find(
                    line,
                    FindingKind::Note,
                    format!("found \"{text}\", expected name = value; ignored"),
                );
            }
            Statement::Broken { found, expected } => {
                self.find(
                    line,
                    FindingKind::Error,
                    format!("found \"{found}\", expected {expected}"),
                );
            }
        }
    }

    fn enter(&mut self, line: usize, name: String) {
        let known = self
            .table
            .iter()
            .find(|option| option.section.eq_ignore_ascii_case(&name));
        match known {
            Some(option) => self.section = Some(Ok(option.section)),
            None => {
                let mut known: Vec<&str> = self.table.iter().map(|option| option.section).collect();
                known.dedup();
                let known = known.join(", ");
                self.find(
                    line,
                    FindingKind::Unknown,
                    format!("[{name}]: unknown section, expected one of {known}"),
                );
                self.section = Some(Err(name));
            }
        }
    }

    fn assign(&mut self, line: usize, name: &str, text: &str) {
        let section = match &self.section {
            Some(Ok(section)) => *section,
            Some(Err(unknown)) => {
                let what = format!("[{unknown}] {name}: option of an unknown section; ignored");
                return self.find(line, FindingKind::Unknown, what);
            }
            None => {
                let what = format!(
                    "{name}: option outside of any section, expected a [section] line above; ignored"
                );
                return self.find(line, FindingKind::Unknown, what);
            }
        };
        let table = self.table;
        let in_section = |option: &&OptionSpec| option.section == section;
        let Some(index) = table
            .iter()
            .position(|option| option.section == section && option.name == name)
        else {
            let known: Vec<&str> = table
                .iter()
                .filter(in_section)
                .map(|option| option.name)
                .collect();
            let what = format!(
                "[{section}] {name}: unknown option, expected one of: {}; ignored",
                known.join(", ")
            );
            return self.find(line, FindingKind::Unknown, what);
        };
        if text.is_empty() {
            let what = format!("[{section}] {name}: found no value, expected one (or no such line at all)");
            return self.find(line, FindingKind::Error, what);
        }
        self.set(line, index, text);
    }

    fn set(&mut self, line: usize, index: usize, text: &str) {
        let OptionSpec {
            section,
            name,
            kind,
            ref default,
            deprecated,
            ..
        } = self.table[index];
        let as_default = Value::Text(Some(text.to_owned())) == *default;
        // The default is taken as it is: a directory is looked for when it is needed.
        let read = if as_default {
            Ok((default.clone(), None))
        } else {
            kind.read(text, self.paths)
        };
        match read {
            Ok((value, ignored)) => {
                if let Some(behind) = ignored {
                    let what = format!(
                        "[{section}] {name}: found \"{text}\", taken as {}; expected only a number, \"{behind}\" is ignored",
                        value.print()
                    );
                    self.find(line, FindingKind::Note, what);
                }
                if deprecated {
                    let what = format!("[{section}] {name}: deprecated, expected the name \"cluster lock\"");
                    self.find(line, FindingKind::Note, what);
                }
                self.values[index] = value;
            }
            Err(expected) => {
                let what = format!("[{section}] {name}: found \"{text}\", expected {expected}");
                self.find(line, FindingKind::Error, what);
            }
        }
    }

    fn find(&mut self, line: usize, kind: FindingKind, text: String) {
        self.findings.push(Finding::new(self.file, line, kind, text));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::os::unix::fs::PermissionsExt;

    fn paths() -> Paths {
        Paths::in_base(Path::new("/nonexistent"))
    }

    fn parse(text: &str) -> Result<Config, ConfigError> {
        Config::parse(Path::new("ctdb.conf"), text.as_bytes(), &paths())
    }

    fn error(text: &str) -> String {
        parse(text).expect_err(text).to_string()
    }

    #[test]
    fn an_empty_file_gives_the_defaults() {
        let config = parse("").unwrap();
        assert_eq!(config.logging.level, Level::NOTICE);
        assert_eq!(config.cluster.leader_timeout, Duration::from_secs(5));
        assert!(
            config.cluster.leader_capability
                && config.database.tdb_mutexes
                && config.legacy.realtime_scheduling
        );
        assert_eq!(config.database.volatile_dir, Path::new("/var/lib/ctdb/volatile"));
        assert_eq!(config.failover.shutdown_failover_timeout, Duration::from_secs(10));
        assert_eq!(config.legacy.script_log_level, Level::ERROR);
        assert_eq!(config.cluster.lock, None);
        assert!(config.findings.is_empty() && config.is_strictly_valid());
    }

    #[test]
    fn the_dump_comments_out_what_has_its_default_value() {
        let config =
            parse("[cluster]\nleader timeout = 0x7\ntransport = tcp\n[LEGACY]\nlmaster capability = NO\n")
                .unwrap();
        let dump = config.dump();
        assert!(dump.starts_with(
            "[logging]\n\t# location = file:/var/log/ctdb/log.ctdb\n\t# log level = NOTICE\n[cluster]\n"
        ));
        assert!(dump.contains("\n\t# transport = tcp\n\t# node address = \n\t# cluster lock = \n"));
        assert!(dump.contains("\n\tleader timeout = 7\n"));
        assert!(dump.ends_with(
            "\tlmaster capability = false\n\t# start as stopped = false\n\t# start as disabled = false\n\t# script log level = ERROR\n"
        ));
    }

    #[test]
    fn an_error_names_file_line_option_value_and_what_would_be_right() {
        assert_eq!(
            error("\n[cluster]\n leader timeout = 0\n"),
            "ctdb.conf:3: [cluster] leader timeout: found \"0\", expected a number from 1 to 2147483647"
        );
        assert!(error("[cluster]\ntransport = ib").contains("expected tcp"));
        assert!(error("[cluster]\nnode address = host").contains("an IPv4 or IPv6 address"));
        assert!(error("[cluster]\nleader timeout = soon").contains("a number"));
        assert!(error("[cluster]\nleader timeout = 4294967297").contains("a number"));
        assert!(error("[cluster]\nleader timeout =").contains("found no value"));
        assert!(error("[database]\ntdb mutexes = on").contains("true, yes, false or no"));
        assert!(
            error("[database]\nvolatile database directory = /nonexistent/x")
                .contains("a directory that exists")
        );
        assert!(error("[logging]\nlocation = syslog:tcp").contains("syslog:udp"));
        assert!(error("[logging]\nlocation = file:/nonexistent/x/log").contains("/nonexistent/x does not"));
        assert!(error("[logging]\nlog level = loud").contains("NOTICE"));
        assert!(error("[cluster\nleader timeout = 3").starts_with("ctdb.conf:1: "));
        let all = error("[cluster]\nleader timeout = -1\n[legacy]\nstart as stopped = maybe\n");
        assert_eq!(all.lines().count(), 2, "{all}");
    }

    #[test]
    fn what_nobody_knows_is_told_but_does_not_stop_the_daemon() {
        let config = parse("x = 1\n[nosuch]\na = b\n[cluster]\nLeader Timeout = 7\n").unwrap();
        let lines: Vec<usize> = config.findings.iter().map(|finding| finding.line).collect();
        assert_eq!(lines, [1, 2, 3, 5]);
        assert!(!config.is_strictly_valid());
        assert!(
            config.findings[3]
                .to_string()
                .starts_with("ctdb.conf:5: [cluster] Leader Timeout: unknown option")
        );
        assert_eq!(
            config.cluster.leader_timeout,
            Duration::from_secs(5),
            "names of options are matched exactly"
        );
    }

    #[test]
    fn text_behind_a_number_is_ignored_as_upstream_does_but_told() {
        let config = parse("[cluster]\nleader timeout = 9 # seconds\nwords\n").unwrap();
        assert_eq!(config.cluster.leader_timeout, Duration::from_secs(9));
        assert_eq!(config.findings.len(), 2);
        assert!(config.is_strictly_valid());
    }

    #[test]
    fn the_recovery_lock_is_taken_when_there_is_no_cluster_lock() {
        let old = parse("[cluster]\nrecovery lock = /old\n").unwrap();
        assert_eq!(old.cluster.lock.as_deref(), Some("/old"));
        assert!(old.findings[0].text.contains("deprecated") && old.is_strictly_valid());
        let both = parse("[cluster]\nrecovery lock = /old\ncluster lock = !helper a  b\n").unwrap();
        assert_eq!(both.cluster.lock.as_deref(), Some("!helper a b"));
    }

    #[test]
    fn a_script_is_a_bare_name_of_an_executable_file_in_the_configuration_directory() {
        let dir = tempfile::tempdir().unwrap();
        let paths = Paths::in_base(dir.path());
        let script = dir.path().join("debug.sh");
        let parse = |text: &str| Config::parse(Path::new("c"), text.as_bytes(), &paths);
        let text = "[event]\ndebug script = /elsewhere/debug.sh\n";
        assert!(parse(text).unwrap_err().to_string().contains("No such file"));
        fs::write(&script, "#!/bin/sh\n").unwrap();
        fs::set_permissions(&script, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(parse(text).unwrap_err().to_string().contains("not executable"));
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(parse(text).unwrap().event.debug_script, Some(script));
        assert!(
            parse("[event]\ndebug script = .")
                .unwrap_err()
                .to_string()
                .contains("no file")
        );
    }

    #[test]
    fn get_matches_the_section_in_any_case_and_the_option_exactly() {
        let config = parse("[cluster]\nleader timeout = 9\n").unwrap();
        assert_eq!(config.get("CLUSTER", "leader timeout").as_deref(), Ok("9"));
        assert_eq!(config.get("cluster", "cluster lock").as_deref(), Ok(""));
        assert_eq!(config.get("legacy", "start as stopped").as_deref(), Ok("false"));
        assert_eq!(config.get("cluster", "Leader timeout"), Err(UnknownOption));
    }

    #[test]
    fn a_reload_changes_only_what_can_change() {
        let old = parse("[cluster]\ncluster lock = /a\nleader timeout = 6\n").unwrap();
        let new = parse("[cluster]\ncluster lock = /b\nleader timeout = 7\n").unwrap();
        let (merged, ignored) = old.reloaded(&new, &paths());
        assert_eq!(merged.cluster.lock.as_deref(), Some("/a"));
        assert_eq!(merged.cluster.leader_timeout, Duration::from_secs(7));
        assert_eq!(ignored.len(), 1);
        assert_eq!((ignored[0].name, ignored[0].new.as_str()), ("cluster lock", "/b"));
    }

    #[test]
    fn a_missing_file_is_no_error_but_an_unreadable_one_is() {
        let dir = tempfile::tempdir().unwrap();
        let paths = Paths::in_base(dir.path());
        assert!(!Config::load(&paths).unwrap().file_exists);
        fs::create_dir(paths.config()).unwrap();
        assert!(matches!(Config::load(&paths), Err(ConfigError::Read { .. })));
    }

    proptest! {
        #[test]
        fn any_text_is_either_a_configuration_or_a_list_of_errors(text in "(\\[(cluster|legacy|x)\\]\n|[a-z ]{0,9}=?[a-z0-9 ]{0,5}\n|leader timeout = .{0,4}\n){0,8}") {
            match parse(&text) {
                Ok(config) => prop_assert!(config.dump().lines().count() > 20),
                Err(error) => prop_assert!(error.to_string().starts_with("ctdb.conf:")),
            }
        }
    }
}
