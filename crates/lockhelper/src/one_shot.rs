//! One process for one lock, as the C ctdbd starts it. So our helper can serve a C daemon.
//!
//! The process waits for the lock, writes one byte to a pipe (0: it has it, 1: it failed) and holds the lock
//! until it gets SIGTERM or that ctdbd is gone. Source: `ctdb/server/ctdb_lock_helper.c`.

use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use ctdb_tdb::{AllRecordLock, ChainLock, OpenOptions, Tdb, TdbError, TdbFlags};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, poll};
use signal_hook::consts::SIGTERM;

use crate::priority::Priority;

/// How often is looked whether ctdbd is still there.
const PARENT_CHECK_INTERVAL_MS: u16 = 5000;

/// What to lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// The chain of this key.
    Record(Vec<u8>),
    /// The whole database.
    Db,
}

/// The job of a one-shot helper.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// ctdbd's process id.
    pub parent: u32,
    /// Database file; must exist.
    pub path: PathBuf,
    /// As ctdbd has the database open.
    pub flags: TdbFlags,
    /// What to lock.
    pub what: What,
}

/// Why there is no lock, or no telling.
#[derive(Debug, thiserror::Error)]
pub enum OneShotError {
    /// libtdb refused.
    #[error(transparent)]
    Tdb(#[from] TdbError),
    /// The answer could not be written, or a signal handler not be set up.
    #[error("{0}: {1}")]
    System(&'static str, std::io::Error),
}

#[expect(dead_code, reason = "held, not looked at")]
enum Lock {
    Record(ChainLock),
    Db(AllRecordLock),
}

/// Takes the lock, tells by `answer`, and holds it as long as it should be held.
///
/// # Errors
/// See [`OneShotError`]; the answer, if it could be written, was 1.
pub fn run(job: &Job, answer: OwnedFd) -> Result<(), OneShotError> {
    let mut answer = File::from(answer);
    let mut tell = |byte| {
        answer
            .write_all(&[byte])
            .map_err(|e| OneShotError::System("answering ctdbd", e))
    };
    // Before the lock is there, SIGTERM just ends the process; the wait could not be left otherwise.
    let lock = match take(job) {
        Ok(lock) => lock,
        Err(error) => {
            tell(1)?;
            return Err(error.into());
        }
    };
    let (stop, on_signal) =
        UnixStream::pair().map_err(|e| OneShotError::System("making a socket pair", e))?;
    signal_hook::low_level::pipe::register(SIGTERM, on_signal)
        .map_err(|e| OneShotError::System("handling SIGTERM", e))?;
    tell(0)?;
    wait(&stop, job.parent);
    drop(lock);
    Ok(())
}

fn take(job: &Job) -> Result<Lock, TdbError> {
    let tdb = open(&job.path, job.flags)?;
    Priority::default().raised(|| match &job.what {
        What::Record(key) => tdb.lock_chain(key).map(Lock::Record),
        What::Db => tdb.lock_all().map(Lock::Db),
    })
}

fn open(path: &Path, flags: TdbFlags) -> Result<Tdb, TdbError> {
    Tdb::open(
        path,
        &OpenOptions {
            flags: flags - TdbFlags::CLEAR_IF_FIRST,
            ..OpenOptions::default()
        },
    )
}

/// Until SIGTERM, or `parent` is gone.
fn wait(stop: &UnixStream, parent: u32) {
    let parent = i32::try_from(parent).unwrap_or(0);
    while ctdb_runtime::sys::process_exists(parent) {
        let mut fds = [PollFd::new(stop.as_fd(), PollFlags::POLLIN)];
        match poll(&mut fds, PARENT_CHECK_INTERVAL_MS) {
            Ok(0) | Err(Errno::EINTR) => {}
            Ok(_) => return,
            Err(error) => {
                log::error!("lock helper: waiting for SIGTERM failed, letting go of the lock: {error}");
                return;
            }
        }
    }
}
