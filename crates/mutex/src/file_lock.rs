//! One locked byte of a file, by POSIX record locks: the kind that cluster file systems offer between nodes.
//!
//! Such a lock belongs to the process and goes as soon as the process closes *any* descriptor of the file. So the
//! process that holds the cluster lock opens its file once and never again; whoever wants to look at the file does
//! so in another process ([`crate::recheck`]).

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;

/// The byte whose lock is the cluster lock.
pub(crate) const HOLD_BYTE: i64 = 0;
/// The byte that the re-check locks for a moment to see whether the file system still works.
pub(crate) const TEST_BYTE: i64 = 1;

/// Which file a name led to. The name may lead to another one later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FileId {
    pub(crate) device: u64,
    pub(crate) inode: u64,
}

impl FileId {
    pub(crate) fn of(file: &File) -> io::Result<FileId> {
        let metadata = file.metadata()?;
        Ok(FileId {
            device: metadata.dev(),
            inode: metadata.ino(),
        })
    }
}

/// Opens the lock file, and makes it for its owner only where it is missing.
pub(crate) fn open_or_create(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
}

/// Locks `byte` if nobody else has it: whether it is ours now.
pub(crate) fn try_lock(file: &File, byte: i64) -> io::Result<bool> {
    match fcntl(file, FcntlArg::F_SETLK(&write_lock(byte))) {
        Ok(_) => Ok(true),
        // POSIX lets a system answer either.
        Err(Errno::EACCES | Errno::EAGAIN) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}

/// Locks `byte`, however long that takes.
pub(crate) fn lock(file: &File, byte: i64) -> io::Result<()> {
    fcntl(file, FcntlArg::F_SETLKW(&write_lock(byte)))?;
    Ok(())
}

fn write_lock(byte: i64) -> libc::flock {
    libc::flock {
        l_type: libc::F_WRLCK as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: byte,
        l_len: 1,
        l_pid: 0,
    }
}
