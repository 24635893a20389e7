//! Leaving the terminal: fork, new session, standard streams on `/dev/null`.
#![allow(unsafe_code)] // fork(2) has no safe form: only the single-threaded caller can promise it is one.

use std::fs::OpenOptions;

use nix::errno::Errno;
use nix::unistd::ForkResult;

/// Why the process could not become a daemon.
#[derive(Debug, thiserror::Error)]
pub enum DaemoniseError {
    /// There are other threads: a fork would lose them. A programming error: daemonise first.
    #[error("cannot become a daemon with {0} threads running; this has to be done before any is started")]
    Threads(usize),
    /// A system call was refused.
    #[error("cannot become a daemon: {0}: {1}")]
    System(&'static str, Errno),
    /// `/dev/null` could not be opened.
    #[error("cannot become a daemon: opening /dev/null: {0}")]
    DevNull(std::io::Error),
}

/// Goes on as a child in a session of its own, with standard input, output and error on `/dev/null`; the parent exits
/// with status 0. The working directory and the umask stay. To be called before any thread and before the runtime is made
/// (its poll descriptor and signal pipes belong to one process).
///
/// # Errors
/// Threads are running, or the system refuses; then nothing has happened.
pub fn daemonise() -> Result<(), DaemoniseError> {
    let threads = std::fs::read_dir("/proc/self/task").map_or(1, Iterator::count);
    if threads > 1 {
        return Err(DaemoniseError::Threads(threads));
    }
    let null = OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/null")
        .map_err(DaemoniseError::DevNull)?;
    // SAFETY: this is the only thread (checked above), so the child has all there is and may do anything.
    match unsafe { nix::unistd::fork() }.map_err(|e| DaemoniseError::System("fork", e))? {
        // SAFETY: _exit(2) ends the parent at once: buffers and exit handlers are now the child's to run.
        ForkResult::Parent { .. } => unsafe { libc::_exit(0) },
        ForkResult::Child => {}
    }
    nix::unistd::setsid().map_err(|e| DaemoniseError::System("setsid", e))?;
    nix::unistd::dup2_stdin(&null).map_err(|e| DaemoniseError::System("dup2", e))?;
    nix::unistd::dup2_stdout(&null).map_err(|e| DaemoniseError::System("dup2", e))?;
    nix::unistd::dup2_stderr(&null).map_err(|e| DaemoniseError::System("dup2", e))
}
