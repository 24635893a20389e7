//! The second process of the fcntl helper: finds out that the lock file is not what it was.
//!
//! A lock on a file that was deleted or replaced protects nothing, for the next node locks the new file. And a
//! cluster file system that hangs may have given our lock away. So while the lock is held, a second process opens
//! the file again at every interval, compares its identity, and locks another byte. It must be a process: closing
//! the file in the holder would drop the lock, and the look at a hanging file system may never return. The two are
//! joined by a socket pair. Its end tells the holder that the check failed (the reason is on standard error by
//! then). A holder that asked for pings gets one each second, and their absence tells that the check is stuck.
//!
//! `unsafe` is not used in this crate, so that the process is not forked but started from the same program under
//! [`ARGUMENT`].

use std::env;
use std::ffi::{CStr, OsString};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use nix::unistd;

use crate::file_lock::{self, FileId, TEST_BYTE};

/// The first argument under which the helper's program is the checking process. A user's command line cannot be
/// taken for it: it has two more arguments than the helper allows.
pub const ARGUMENT: &str = "--recheck";

/// As much of the program's name as the kernel keeps.
const PROCESS_NAME: &CStr = c"ctdb_mutex_fcnt";

/// One ping each, when pings are wanted.
const PING_INTERVAL: Duration = Duration::from_secs(1);

/// The checking process as the holder sees it. Dropping it kills the process, without a wait for its end, which
/// may be stuck in the file system.
#[derive(Debug)]
pub(crate) struct Checker {
    process: Child,
    socket: OwnedFd,
}

impl Checker {
    /// Starts the process.
    pub(crate) fn start(path: &Path, id: FileId, interval: Duration, pings: bool) -> io::Result<Checker> {
        let (ours, theirs) = socketpair(
            AddressFamily::Unix,
            SockType::Stream,
            None,
            SockFlag::SOCK_CLOEXEC,
        )?;
        // Not by its path, where an upgrade may have put another version meanwhile.
        let process = Command::new("/proc/self/exe")
            .arg0(env::args_os().next().unwrap_or_default())
            .arg(ARGUMENT)
            .arg(path)
            .args([id.device.to_string(), id.inode.to_string()])
            .args([interval.as_secs().to_string(), u8::from(pings).to_string()])
            .stdin(Stdio::from(theirs))
            // Not the pipe that tells our parent of a lost lock: a stuck child would keep it open.
            .stdout(Stdio::null())
            .spawn()?;
        Ok(Checker {
            process,
            socket: ours,
        })
    }

    /// Readable when a ping is there or the process has ended.
    pub(crate) fn socket(&self) -> &OwnedFd {
        &self.socket
    }

    /// Takes the pings that have come; false when the process has ended.
    pub(crate) fn take_pings(&self) -> bool {
        let mut pings = [0; 64];
        unistd::read(&self.socket, &mut pings).is_ok_and(|n| n > 0)
    }
}

impl Drop for Checker {
    fn drop(&mut self) {
        // An error says that it has ended already.
        let _ = self.process.kill();
    }
}

/// The checking process: ends when the file is not the locked one any more, or when the holder has gone.
///
/// `args` are those behind [`ARGUMENT`]. Standard input is the socket to the holder.
pub fn main(args: &[OsString]) -> ExitCode {
    let Some(check) = Check::from_args(args) else {
        tell!("{ARGUMENT} is for the lock helper's own use");
        return ExitCode::FAILURE;
    };
    // A stuck check must not outlive the holder. The socket tells an idle check the same.
    if let Err(errno) = prctl::set_pdeathsig(Signal::SIGKILL) {
        tell!(
            "{}: cannot ask to be ended with the holder: {errno}",
            check.path.display()
        );
    }
    // `ps` would show `exe`, after the link by which this process was started.
    if let Err(errno) = prctl::set_name(PROCESS_NAME) {
        tell!(
            "{}: cannot set the name of the checking process: {errno}",
            check.path.display()
        );
    }
    match check.run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            tell!("cluster lock {} is lost: {reason}", check.path.display());
            ExitCode::FAILURE
        }
    }
}

/// What to check.
struct Check {
    path: PathBuf,
    locked: FileId,
    interval: Duration,
    pings: bool,
}

impl Check {
    fn from_args(args: &[OsString]) -> Option<Check> {
        let [path, device, inode, interval, pings] = args else {
            return None;
        };
        let number = |text: &OsString| text.to_str()?.parse::<u64>().ok();
        Some(Check {
            path: path.into(),
            locked: FileId {
                device: number(device)?,
                inode: number(inode)?,
            },
            interval: Duration::from_secs(number(interval)?),
            pings: number(pings)? != 0,
        })
    }

    /// Checks and pings by turns until the holder has gone.
    fn run(&self) -> Result<(), String> {
        let holder = io::stdin();
        let mut next_check = Instant::now() + self.interval;
        loop {
            if self.pings && unistd::write(&holder, b".").is_err() {
                return Ok(());
            }
            let now = Instant::now();
            if now >= next_check {
                self.check()?;
                next_check = Instant::now() + self.interval;
            }
            let until_check = next_check.saturating_duration_since(now);
            let pause = if self.pings {
                until_check.min(PING_INTERVAL)
            } else {
                until_check
            };
            let mut fds = [PollFd::new(holder.as_fd(), PollFlags::POLLIN)];
            match poll(&mut fds, poll_timeout(pause)) {
                Ok(0) => {}
                // The holder never writes: this is its end.
                Ok(_) => return Ok(()),
                Err(errno) => return Err(format!("the check cannot wait: {errno}")),
            }
        }
    }

    /// One look at the file. May block for as long as the file system likes; that stops the pings, which is what
    /// they are for.
    fn check(&self) -> Result<(), String> {
        let file: File = OpenOptions::new()
            .read(true)
            .write(true)
            .open(&self.path)
            .map_err(|error| format!("the file cannot be opened: {error}"))?;
        let found = FileId::of(&file).map_err(|error| format!("the file cannot be examined: {error}"))?;
        if found != self.locked {
            return Err("the name leads to another file than the locked one".to_owned());
        }
        file_lock::lock(&file, TEST_BYTE).map_err(|error| format!("a test lock in the file failed: {error}"))
    }
}

/// Milliseconds for poll, rounded up: a wait that ends early would only turn once more.
pub(crate) fn poll_timeout(wait: Duration) -> PollTimeout {
    let ms = wait.as_nanos().div_ceil(1_000_000);
    i32::try_from(ms)
        .ok()
        .and_then(|ms| PollTimeout::try_from(ms).ok())
        .unwrap_or(PollTimeout::MAX)
}
