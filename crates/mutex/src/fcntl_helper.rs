//! The lock helper that comes with CTDB: `ctdb_mutex_fcntl_helper FILE [RECHECK_INTERVAL [PING_TIMEOUT]]`.
//!
//! 1. Locks the first byte of FILE, made if missing, and writes the outcome as one byte to standard output.
//! 2. Not taken: that is all.
//! 3. Taken: holds the lock until SIGTERM, the end of the process that started it, or word from the checking
//!    process ([`crate::recheck`]) that the lock is worth nothing any more.
//!
//! Exit status 0, or 1 for a wrong command line. What went wrong is told on standard error.
//! Source: `ctdb/server/ctdb_mutex_fcntl_helper.c`. Unlike there, the end of the parent is noticed at once, by a
//! signal from the kernel, not up to five seconds later: a node that waits for the lock of a dead leader leads
//! that much sooner.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, poll};
use nix::sys::prctl;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::{self, Pid};

use crate::file_lock::{self, FileId, HOLD_BYTE};
use crate::recheck::{self, Checker, poll_timeout};
use crate::spec::Outcome;

/// The kernel sends it when the parent ends. Not SIGTERM, so that the two can be told apart: the signal also comes
/// when only the parent's thread that started us ends.
const PARENT_ENDED: Signal = Signal::SIGUSR1;

/// A look at the parent besides the signal, for a kernel that cannot send it.
const PARENT_CHECK: Duration = Duration::from_secs(1);

/// The whole program. `args` begin with the program's name.
pub fn main(args: &[OsString]) -> ExitCode {
    if let [_, first, rest @ ..] = args
        && first == recheck::ARGUMENT
        && rest.len() > 2
    {
        return recheck::main(rest);
    }
    let Some(request) = Request::from_args(args) else {
        let name = args
            .first()
            .map_or("ctdb_mutex_fcntl_helper".into(), |arg| arg.to_string_lossy());
        tell!("Usage: {name} <file> [recheck_interval [ping_timeout]]");
        return ExitCode::FAILURE;
    };
    match request.run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            tell!("cluster lock {}: {reason}", request.path.display());
            ExitCode::SUCCESS
        }
    }
}

/// The command line.
#[derive(Debug, PartialEq, Eq)]
struct Request {
    path: PathBuf,
    /// `None` to trust the lock forever.
    recheck_interval: Option<Duration>,
    /// `None` to wait for a stuck check forever.
    ping_timeout: Option<Duration>,
}

impl Request {
    fn from_args(args: &[OsString]) -> Option<Request> {
        let (path, recheck_interval, ping_timeout) = match args {
            [_, path] => (path, 5, 0),
            [_, path, recheck] => (path, seconds(recheck)?, 0),
            [_, path, recheck, ping] => (path, seconds(recheck)?, seconds(ping)?),
            _ => return None,
        };
        let unless_zero = |seconds| (seconds > 0).then(|| Duration::from_secs(seconds));
        Some(Request {
            path: path.into(),
            recheck_interval: unless_zero(recheck_interval),
            ping_timeout: unless_zero(ping_timeout),
        })
    }

    fn run(&self) -> Result<(), String> {
        let starter = Starter::watch().map_err(|error| format!("cannot watch for signals: {error}"))?;
        let (outcome, taken) = match self.take() {
            Ok(Some(file)) => (Outcome::Taken, Ok(Some(file))),
            Ok(None) => (Outcome::Contended, Ok(None)),
            Err(reason) => (Outcome::Failed, Err(reason)),
        };
        // Nobody hears it: then nobody wants the lock either.
        unistd::write(io::stdout(), &[outcome.byte()])
            .map_err(|errno| format!("the outcome cannot be told: {errno}"))?;
        let Some(file) = taken? else { return Ok(()) };

        let end = self.hold(&file, &starter);
        if let End::Lost { .. } = &end
            && let Err(error) = close_stdout()
        {
            tell!("{}: cannot close the pipe early: {error}", self.path.display());
        }
        drop(file);
        match end {
            End::LetGo { reason: Some(reason) } | End::Lost { reason: Some(reason) } => Err(reason),
            End::LetGo { reason: None } | End::Lost { reason: None } => Ok(()),
        }
    }

    /// Takes the lock if it is free.
    fn take(&self) -> Result<Option<File>, String> {
        let file = file_lock::open_or_create(&self.path)
            .map_err(|error| format!("the file cannot be opened: {error}"))?;
        let ours = file_lock::try_lock(&file, HOLD_BYTE)
            .map_err(|error| format!("the file cannot be locked: {error}"))?;
        Ok(ours.then_some(file))
    }

    /// Returns when the lock must not be held any longer.
    fn hold(&self, file: &File, starter: &Starter) -> End {
        let checker = match self
            .recheck_interval
            .map(|interval| self.start_checker(file, interval))
        {
            None => None,
            Some(Ok(checker)) => Some(checker),
            Some(Err(reason)) => return End::Lost { reason: Some(reason) },
        };
        let mut last_ping = Instant::now();
        loop {
            let ping_deadline = self
                .ping_timeout
                .filter(|_| checker.is_some())
                .map(|limit| last_ping + limit);
            let now = Instant::now();
            let wait = ping_deadline.map_or(PARENT_CHECK, |at| {
                at.saturating_duration_since(now).min(PARENT_CHECK)
            });
            let heard = match wait_for(starter, checker.as_ref(), wait) {
                Ok(heard) => heard,
                Err(reason) => return End::Lost { reason: Some(reason) },
            };
            if heard.signal && starter.asks_to_end() {
                return End::LetGo { reason: None };
            }
            if starter.has_gone() {
                let reason = "let go, for the process that asked for it has ended".to_owned();
                return End::LetGo { reason: Some(reason) };
            }
            if heard.checker {
                match &checker {
                    Some(checker) if checker.take_pings() => last_ping = Instant::now(),
                    // It has told why.
                    _ => return End::Lost { reason: None },
                }
            } else if ping_deadline.is_some_and(|at| Instant::now() >= at) {
                let reason = "lost: the check of its file is stuck, it has not pinged in time".to_owned();
                return End::Lost { reason: Some(reason) };
            }
        }
    }

    fn start_checker(&self, file: &File, interval: Duration) -> Result<Checker, String> {
        FileId::of(file)
            .and_then(|id| Checker::start(&self.path, id, interval, self.ping_timeout.is_some()))
            .map_err(|error| format!("let go, for its file cannot be checked: {error}"))
    }
}

/// Why the lock is not held any longer.
enum End {
    /// It is not wanted any more. The reader of the pipe may take its end for the lock being free, so that the
    /// file is closed before it.
    LetGo { reason: Option<String> },
    /// It may be worth nothing already. The pipe is closed first, so that the parent knows: to close the file may
    /// take as long as its file system hangs.
    Lost { reason: Option<String> },
}

fn close_stdout() -> io::Result<()> {
    unistd::dup2_stdout(File::open("/dev/null")?)?;
    Ok(())
}

/// Seconds as the C implementation reads them: the digits at the front, and what follows them does not matter.
fn seconds(text: &OsStr) -> Option<u64> {
    let digits = text
        .as_bytes()
        .iter()
        .take_while(|byte| byte.is_ascii_digit())
        .count();
    // More than 32 bits of seconds is a slip of the hand, and no instant that far away can be computed with.
    text.to_str()?.get(..digits)?.parse::<u32>().ok().map(u64::from)
}

/// The process that started us, and its wishes.
struct Starter {
    parent: Pid,
    signals: SignalFd,
}

impl Starter {
    fn watch() -> nix::Result<Starter> {
        let parent = Pid::parent();
        let mut mask = SigSet::empty();
        for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, PARENT_ENDED] {
            mask.add(signal);
        }
        mask.thread_block()?;
        let signals = SignalFd::with_flags(&mask, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
        prctl::set_pdeathsig(PARENT_ENDED)?;
        Ok(Starter { parent, signals })
    }

    /// Whether one of the signals that have come asks us to let go.
    fn asks_to_end(&self) -> bool {
        while let Ok(Some(info)) = self.signals.read_signal() {
            if info.ssi_signo != PARENT_ENDED as u32 {
                return true;
            }
        }
        false
    }

    /// An orphan is given to another parent: init, or a process that gathers orphans. One that was an orphan from
    /// the start has init for a parent.
    fn has_gone(&self) -> bool {
        self.parent == Pid::from_raw(1) || Pid::parent() != self.parent
    }
}

/// Who has something to say.
struct Heard {
    signal: bool,
    checker: bool,
}

fn wait_for(starter: &Starter, checker: Option<&Checker>, wait: Duration) -> Result<Heard, String> {
    let mut fds = vec![PollFd::new(starter.signals.as_fd(), PollFlags::POLLIN)];
    fds.extend(checker.map(|checker| PollFd::new(checker.socket().as_fd(), PollFlags::POLLIN)));
    poll(&mut fds, poll_timeout(wait))
        .map_err(|errno| format!("let go, for it cannot be watched: {errno}"))?;
    let ready = |fd: Option<&PollFd<'_>>| fd.and_then(PollFd::any).unwrap_or(false);
    Ok(Heard {
        signal: ready(fds.first()),
        checker: ready(fds.get(1)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(words: &[&str]) -> Option<Request> {
        let args: Vec<OsString> = words.iter().map(OsString::from).collect();
        Request::from_args(&args)
    }

    #[test]
    fn a_file_alone_is_rechecked_every_five_seconds_without_pings() {
        let expected = Request {
            path: "/clusterfs/lock".into(),
            recheck_interval: Some(Duration::from_secs(5)),
            ping_timeout: None,
        };
        assert_eq!(request(&["helper", "/clusterfs/lock"]), Some(expected));
    }

    #[test]
    fn zero_turns_the_checks_off() {
        let request = request(&["helper", "f", "0", "0"]).unwrap();
        assert_eq!((request.recheck_interval, request.ping_timeout), (None, None));
    }

    #[test]
    fn numbers_are_read_as_the_c_helper_reads_them() {
        let request = request(&["helper", "f", "12s", "007"]).unwrap();
        assert_eq!(request.recheck_interval, Some(Duration::from_secs(12)));
        assert_eq!(request.ping_timeout, Some(Duration::from_secs(7)));
    }

    #[test]
    fn a_wrong_command_line_is_refused() {
        for words in [
            &["helper"][..],
            &["helper", "f", "x"],
            &["helper", "f", ""],
            &["helper", "f", "-1"],
            &["helper", "f", "1", "x"],
            &["helper", "f", "4294967296"],
            &["helper", "f", "1", "1", "1"],
            &[],
        ] {
            assert_eq!(request(words), None, "{words:?}");
        }
    }
}
