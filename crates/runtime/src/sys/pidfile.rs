//! The pid file: a file with the process id in it, under an exclusive lock for as long as the process runs.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};

/// A locked pid file; dropping it removes the file and then lets the lock go. The lock belongs to the process:
/// it has to be taken after [`super::daemonise`].
#[derive(Debug)]
pub struct PidFile {
    path: PathBuf,
    /// Process that took the lock: a forked copy of this value must not remove the file.
    owner: u32,
    _locked: File,
}

/// Why there is no pid file.
#[derive(Debug, thiserror::Error)]
pub enum PidFileError {
    /// Another process holds the lock.
    #[error("{} is locked by process {holder}: it runs already", path.display())]
    Held {
        /// The pid file.
        path: PathBuf,
        /// The process id written in it, or `?`.
        holder: String,
    },
    /// The file could not be opened, locked or written.
    #[error("pid file {}: {source}", path.display())]
    Io {
        /// The pid file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

/// Creates the pid file if needed, locks it and writes this process's id with a newline.
///
/// # Errors
/// `Held` when another living process has it, `Io` otherwise.
pub fn lock_pid_file(path: &Path) -> Result<PidFile, PidFileError> {
    let io = |source: std::io::Error| PidFileError::Io {
        path: path.to_path_buf(),
        source,
    };
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o644)
        .open(path)
        .map_err(io)?;
    match fcntl(&file, FcntlArg::F_SETLK(&whole_file_write_lock())) {
        Ok(_) => {}
        Err(Errno::EAGAIN | Errno::EACCES) => {
            let mut text = String::new();
            let _ = file.read_to_string(&mut text); // only for the message
            let holder = if text.trim().is_empty() { "?" } else { text.trim() };
            return Err(PidFileError::Held {
                path: path.to_path_buf(),
                holder: holder.to_owned(),
            });
        }
        Err(e) => return Err(io(e.into())),
    }
    let owner = std::process::id();
    file.set_len(0).map_err(io)?;
    file.rewind().map_err(io)?;
    writeln!(file, "{owner}").map_err(io)?;
    Ok(PidFile {
        path: path.to_path_buf(),
        owner,
        _locked: file,
    })
}

fn whole_file_write_lock() -> libc::flock {
    libc::flock {
        l_type: libc::F_WRLCK as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    }
}

impl PidFile {
    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        if self.owner == std::process::id() {
            // Gone already is fine; anything else leaves a file that the next start locks and rewrites.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pid_file_holds_the_pid_and_goes_with_its_owner() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ctdbd.pid");
        let held = lock_pid_file(&path).unwrap();
        assert_eq!(
            std::fs::read_to_string(&path).unwrap(),
            format!("{}\n", std::process::id())
        );
        drop(held);
        assert!(!path.exists());
    }

    #[test]
    fn a_pid_file_in_a_missing_directory_names_the_path() {
        let error = lock_pid_file(Path::new("/nonexistent/ctdbd.pid")).unwrap_err();
        assert!(error.to_string().contains("/nonexistent/ctdbd.pid"), "{error}");
    }
}
