//! What the process may use: scheduling class, locked memory, open files, umask.
#![allow(unsafe_code)] // sched_setscheduler(2) is not wrapped by nix.

use std::io;

use nix::sys::mman::{MlockAllFlags, mlockall};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::stat::{Mode, umask};

/// Puts this process into the realtime FIFO class with the lowest priority of it, so that it runs before every
/// ordinary process. Children fall back to the ordinary class by themselves.
///
/// # Errors
/// EPERM without CAP_SYS_NICE.
pub fn set_realtime() -> io::Result<()> {
    set_scheduler(libc::SCHED_FIFO | libc::SCHED_RESET_ON_FORK, 1)
}

/// Goes back to the ordinary scheduling class.
///
/// # Errors
/// As the kernel's; none is expected.
pub fn reset_scheduler() -> io::Result<()> {
    set_scheduler(libc::SCHED_OTHER, 0)
}

fn set_scheduler(policy: libc::c_int, priority: libc::c_int) -> io::Result<()> {
    let param = libc::sched_param {
        sched_priority: priority,
    };
    // SAFETY: `param` is a valid sched_param for the time of the call; pid 0 is this process.
    match unsafe { libc::sched_setscheduler(0, policy, &raw const param) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Keeps all memory of the process, now and later, from being paged out.
///
/// # Errors
/// EPERM or ENOMEM beyond RLIMIT_MEMLOCK.
pub fn lock_memory() -> io::Result<()> {
    Ok(mlockall(MlockAllFlags::MCL_CURRENT | MlockAllFlags::MCL_FUTURE)?)
}

/// Raises the soft limit of open files to the hard one and returns it: a daemon has one descriptor per client.
///
/// # Errors
/// As the kernel's; none is expected.
pub fn raise_open_files_limit() -> io::Result<u64> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if soft < hard {
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    }
    Ok(hard)
}

/// Sets the mask of permission bits that new files do not get, and returns the one before.
pub fn set_umask(mask: u32) -> u32 {
    umask(Mode::from_bits_truncate(mask)).bits()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_open_files_limit_is_at_its_hard_limit_afterwards() {
        let limit = raise_open_files_limit().unwrap();
        assert_eq!(getrlimit(Resource::RLIMIT_NOFILE).unwrap(), (limit, limit));
    }

    #[test]
    fn realtime_is_granted_or_refused_and_can_be_left() {
        match set_realtime() {
            Ok(()) => reset_scheduler().unwrap(),
            Err(e) => assert_eq!(e.kind(), io::ErrorKind::PermissionDenied),
        }
    }
}
