//! One logger for all programs: targets, levels and the line format of the C implementation.
//!
//! Code logs through the macros of the `log` crate, whose five levels stand for upstream's:
//!
//! | upstream | number | macro |
//! |---|---|---|
//! | ERROR | 0 | `error!` |
//! | WARNING | 1 | `warn!` |
//! | NOTICE | 3 | `info!` |
//! | INFO | 5 | `debug!` |
//! | DEBUG | 10 | `trace!` |
//!
//! A program calls [`init`] (daemons, with the values of `ctdb.conf`), [`init_from_env`] (children, with what their
//! parent left in the environment) or [`init_stderr`] (tools), and may call it again to go to another target. The level can be changed
//! at any time ([`set_level`], the SETDEBUG control), a file is opened anew with [`reopen`] (SIGHUP).
//!
//! Writing never fails the program and never holds it up for long; see the module `sink`. A file system that hangs
//! is the exception: a write to a log file waits for the disk as any write does.

mod level;
mod line;
mod location;
mod sink;

use std::env;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

pub use level::{BadLevel, Level};
use line::{Form, Head};
pub use location::{BadLocation, Location};
use sink::Sink;

/// Environment variable with the log target, set by ctdbd for its children.
pub const ENV_LOCATION: &str = "CTDB_LOGGING";
/// Environment variable with the name of the level, set by ctdbd for its children.
pub const ENV_LEVEL: &str = "CTDB_DEBUGLEVEL";
/// Environment variable that is there when ctdbd runs with `-i`: children log to standard error.
pub const ENV_INTERACTIVE: &str = "CTDB_INTERACTIVE";

static LEVEL: AtomicI32 = AtomicI32::new(Level::NOTICE.0);
static OUTPUT: OnceLock<Mutex<Output>> = OnceLock::new();

/// What the one logger of the process writes to.
struct Output {
    head: Head,
    sink: Sink,
}

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// The target could not be opened.
    #[error("opening the log target {location}: {error}")]
    Open {
        /// The target.
        location: Location,
        /// What the system said.
        error: io::Error,
    },
    /// `CTDB_LOGGING` is there but names no target.
    #[error("{ENV_LOCATION}: {0}")]
    Location(BadLocation),
    /// `CTDB_DEBUGLEVEL` is there but is no level.
    #[error("{ENV_LEVEL}: {0}")]
    Level(BadLevel),
    /// The process already has a logger that is not ours.
    #[error("another logger is set up in this process")]
    Taken,
}

/// Sends all log lines of this process to `location`, from `level` on. `program` stands in each line's head.
/// A further call changes target and level.
///
/// # Errors
/// The target cannot be opened (what was in use stays in use), or the process has another logger.
pub fn init(program: &str, location: &Location, level: Level) -> Result<(), InitError> {
    let sink = Sink::open(location).map_err(|error| InitError::Open {
        location: location.clone(),
        error,
    })?;
    set_sink(program, sink)?;
    set_level(level.0);
    Ok(())
}

/// Sends all log lines to a descriptor that the parent passed, as plain lines: the parent gives them a head. The level
/// is that of `CTDB_DEBUGLEVEL`.
///
/// # Errors
/// The level means nothing, or the process has another logger.
pub fn init_fd(program: &str, fd: OwnedFd) -> Result<(), InitError> {
    let (_, level) = env_settings(|name| {
        if name == ENV_LEVEL {
            env::var(name).ok()
        } else {
            None
        }
    })?;
    set_sink(program, Sink::lines(fd))?;
    set_level(level.0);
    Ok(())
}

fn set_sink(program: &str, sink: Sink) -> Result<(), InitError> {
    let output = Output {
        head: Head {
            program: program.to_owned(),
            host: host_name(),
        },
        sink,
    };
    let mut fresh = Some(output);
    OUTPUT.get_or_init(|| Mutex::new(fresh.take().expect("the closure runs at most once")));
    match fresh {
        Some(output) => {
            if let Some(mut current) = lock() {
                *current = output;
            }
            Ok(())
        }
        None => install(),
    }
}

/// Logging for a child of ctdbd: target and level from `CTDB_LOGGING` and `CTDB_DEBUGLEVEL`, standard error when
/// `CTDB_INTERACTIVE` is set or there is no target; NOTICE when there is no level.
///
/// # Errors
/// As [`init`], and for values that mean nothing.
pub fn init_from_env(program: &str) -> Result<(), InitError> {
    let (location, level) = env_settings(|name| env::var(name).ok())?;
    init(program, &location, level)
}

/// Logging for a tool: plain lines on standard error.
///
/// # Errors
/// The process has another logger.
pub fn init_stderr(program: &str, level: Level) -> Result<(), InitError> {
    init(program, &Location::Stderr, level)
}

/// The variables that make [`init_from_env`] in a child log as this process does with these settings.
pub fn child_env(location: &Location, level: Level, interactive: bool) -> Vec<(&'static str, String)> {
    let mut vars = vec![
        (ENV_LOCATION, location.to_string()),
        (ENV_LEVEL, level.name().to_owned()),
    ];
    if interactive {
        vars.push((ENV_INTERACTIVE, "true".to_owned()));
    }
    vars
}

/// Changes the level for all later lines. The number is kept as given (see [`level`]).
pub fn set_level(level: i32) {
    LEVEL.store(level, Ordering::Relaxed);
    log::set_max_level(Level(level).filter());
}

/// The level in force, as it was set.
pub fn level() -> i32 {
    LEVEL.load(Ordering::Relaxed)
}

/// Opens a log file anew under its name (SIGHUP, after rotation); nothing to do for other targets.
///
/// # Errors
/// Of opening; lines go on to the file that was open.
pub fn reopen() -> io::Result<()> {
    lock().map_or(Ok(()), |mut output| output.sink.reopen())
}

fn env_settings(var: impl Fn(&str) -> Option<String>) -> Result<(Location, Level), InitError> {
    let level = match var(ENV_LEVEL) {
        Some(text) if !text.is_empty() => text.parse().map_err(InitError::Level)?,
        _ => Level::NOTICE,
    };
    let location = match var(ENV_LOCATION) {
        Some(text) if !text.is_empty() && var(ENV_INTERACTIVE).is_none() => {
            text.parse().map_err(InitError::Location)?
        }
        _ => Location::Stderr,
    };
    Ok((location, level))
}

/// A thread that panicked while logging leaves nothing half done that the next line could trip over.
fn lock() -> Option<MutexGuard<'static, Output>> {
    OUTPUT
        .get()
        .map(|output| output.lock().unwrap_or_else(PoisonError::into_inner))
}

/// `env_logger` makes each line with the first closure and hands it in one piece to [`Pipe`].
fn install() -> Result<(), InitError> {
    env_logger::Builder::new()
        // Lines of other libraries (mio at trace, say) tell an operator nothing. Of our own, log::set_max_level
        // decides what is let through.
        .filter_level(log::LevelFilter::Warn)
        .filter_module("ctdb", log::LevelFilter::Trace)
        .format(|buf, record| {
            let Some(output) = lock() else { return Ok(()) };
            let (form, head) = (output.sink.form(), output.head.clone());
            drop(output);
            buf.write_all(&form.render(
                &head,
                std::process::id(),
                level_of(record.level()),
                &record.args().to_string(),
            ))
        })
        .target(env_logger::Target::Pipe(Box::new(Pipe)))
        .try_init()
        .map_err(|_| InitError::Taken)
}

fn level_of(level: log::Level) -> Level {
    match level {
        log::Level::Error => Level::ERROR,
        log::Level::Warn => Level::WARNING,
        log::Level::Info => Level::NOTICE,
        log::Level::Debug => Level::INFO,
        log::Level::Trace => Level::DEBUG,
    }
}

/// The writing end of the logger: one call of `write` is one line.
struct Pipe;

impl Write for Pipe {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if let Some(mut output) = lock() {
            let Output { head, sink } = &mut *output;
            let form = sink.form();
            sink.write(line, |lost, reason| lost_note(form, head, lost, reason));
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn lost_note(form: Form, head: &Head, lost: u64, reason: &str) -> Vec<u8> {
    let text = format!("{lost} log lines were lost here because they could not be written: {reason}");
    form.render(head, std::process::id(), Level::WARNING, &text)
}

/// Host name up to the first dot. In test mode many nodes share a host: there it is the name of the node's directory.
fn host_name() -> String {
    let test_node = env::var_os("CTDB_TEST_MODE").and_then(|_| env::var_os("CTDB_BASE"));
    if let Some(base) = test_node {
        let name = Path::new(&base)
            .file_name()
            .map(|name| name.to_string_lossy().into_owned());
        return name.unwrap_or_else(|| "unknown".to_owned());
    }
    let host = nix::sys::utsname::uname()
        .map(|names| names.nodename().to_string_lossy().into_owned())
        .unwrap_or_default();
    match host.split('.').next() {
        Some(short) if !short.is_empty() => short.to_owned(),
        _ => "localhost".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn settings(vars: &[(&str, &str)]) -> Result<(Location, Level), InitError> {
        env_settings(|name| {
            vars.iter()
                .find(|(n, _)| *n == name)
                .map(|(_, v)| (*v).to_owned())
        })
    }

    #[test]
    fn a_child_logs_where_its_parent_says() {
        let file = Location::File("/x/log".into());
        let vars = child_env(&file, Level::INFO, false);
        let vars: Vec<(&str, &str)> = vars.iter().map(|(n, v)| (*n, v.as_str())).collect();
        assert_eq!(settings(&vars).unwrap(), (file.clone(), Level::INFO));
        assert_eq!(settings(&[]).unwrap(), (Location::Stderr, Level::NOTICE));
        let interactive = [(ENV_LOCATION, "file:/x/log"), (ENV_INTERACTIVE, "true")];
        assert_eq!(settings(&interactive).unwrap(), (Location::Stderr, Level::NOTICE));
    }

    #[test]
    fn a_value_that_means_nothing_is_refused_by_the_name_of_its_variable() {
        let error = settings(&[(ENV_LOCATION, "nowhere")]).unwrap_err().to_string();
        assert!(error.starts_with("CTDB_LOGGING: found \"nowhere\""), "{error}");
        let error = settings(&[(ENV_LEVEL, "loud")]).unwrap_err().to_string();
        assert!(error.starts_with("CTDB_DEBUGLEVEL: found \"loud\""), "{error}");
    }

    /// The logger belongs to the process, so one test walks through its life.
    #[test]
    fn target_and_level_change_while_the_program_runs() {
        let dir = tempfile::tempdir().unwrap();
        let (first, second) = (dir.path().join("first"), dir.path().join("second"));
        init("prog", &Location::File(first.clone()), Level::NOTICE).unwrap();
        log::info!("notice\nof two lines");
        log::debug!("not seen");
        set_level(9);
        assert_eq!(level(), 9);
        log::debug!("seen now");
        let text = fs::read_to_string(&first).unwrap();
        let ends: Vec<&str> = text
            .lines()
            .map(|line| line.split_once("]: ").unwrap().1)
            .collect();
        assert_eq!(ends, ["notice\\nof two lines", "seen now"]);
        assert!(
            text.lines()
                .all(|line| line.contains(&format!(" prog[{}]: ", std::process::id()))),
            "{text}"
        );

        fs::rename(&first, dir.path().join("first.1")).unwrap();
        reopen().unwrap();
        log::error!("after rotation");
        assert!(fs::read_to_string(&first).unwrap().ends_with("after rotation\n"));

        init("prog", &Location::File(second.clone()), Level::ERROR).unwrap();
        log::warn!("too quiet");
        log::error!("to the second file");
        assert_eq!(fs::read_to_string(&second).unwrap().lines().count(), 1);

        let missing = Location::File(dir.path().join("no/such/log"));
        assert!(matches!(
            init("prog", &missing, Level::DEBUG),
            Err(InitError::Open { .. })
        ));
        assert_eq!(level(), Level::ERROR.0, "a failed change leaves all as it was");
    }
}
