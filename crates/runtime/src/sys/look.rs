//! Looking at this process and its files, and a file that nobody can look at.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use nix::sys::signal::Signal;
use nix::unistd::Pid;

/// Bytes of memory that this process has in use; 0 where `/proc` can't be read.
pub fn resident_bytes() -> u64 {
    let pages = fs::read_to_string("/proc/self/statm")
        .ok()
        .and_then(|text| text.split_whitespace().nth(1)?.parse::<u64>().ok())
        .unwrap_or(0);
    pages * 4096
}

/// Whether standard input is a named or unnamed pipe.
pub fn stdin_is_fifo() -> bool {
    fs::metadata("/proc/self/fd/0").is_ok_and(|m| m.file_type().is_fifo())
}

/// A regular file that somebody may execute.
pub fn is_executable(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
}

/// Signals a process by number; false when there is none, or it is not ours to signal. For children use
/// [`crate::Child::kill`], which can't hit a stranger.
pub fn signal_process(pid: u32, signal: Signal) -> bool {
    match i32::try_from(pid) {
        Ok(pid) if pid > 0 => nix::sys::signal::kill(Pid::from_raw(pid), signal).is_ok(),
        _ => false,
    }
}

/// A file that vanishes with its descriptor, also when this process is killed. What stood at `path` before is removed.
///
/// # Errors
/// What the system says: the directory is missing, or not ours to write.
pub fn nameless_file(path: &Path) -> io::Result<File> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    fs::remove_file(path)?;
    Ok(file)
}
