//! Processes: what happens in a child between fork and exec, and how its end is noticed.
#![allow(unsafe_code)] // pre_exec, pidfd_open and taking over an inherited descriptor have no safe form.

use std::io;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::errno::Errno;
use nix::sys::signal::kill;
use nix::unistd::Pid;

/// Whether a process with this id exists, whoever owns it. Zombies count, as for kill(2).
pub fn process_exists(pid: i32) -> bool {
    // 0 and negative numbers name groups.
    pid > 0 && matches!(kill(Pid::from_raw(pid), None), Ok(()) | Err(Errno::EPERM))
}

/// The parent's process id; 1 (or a reaper's) once the parent has died.
pub fn parent_pid() -> u32 {
    nix::unistd::getppid().as_raw().unsigned_abs()
}

/// Takes over a descriptor that the parent passed by number, and keeps it from going to our own children.
///
/// # Errors
/// EBADF when the number is no open descriptor. The standard streams (0 to 2) are refused with EINVAL.
pub fn inherited_fd(number: RawFd) -> io::Result<OwnedFd> {
    if number <= 2 {
        return Err(Errno::EINVAL.into());
    }
    // SAFETY: fcntl(2) with F_SETFD takes any number and refuses what is not open.
    if unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) } == -1 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor is open (above) and by the contract of the program's arguments ours alone: the parent made it for us
    // and nothing in this process has been given its number.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// A descriptor that becomes readable when the process `pid`, a child of ours not yet waited for, ends.
pub(crate) fn pidfd_open(pid: u32) -> io::Result<OwnedFd> {
    // SAFETY: a plain system call with two numbers.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid as libc::pid_t, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made this descriptor for us (close-on-exec is always set on it).
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

/// What a child does before it becomes the program.
pub(crate) struct ChildSetup {
    /// Descriptors that stay open in the program, with the numbers they have here.
    pub pass: Vec<RawFd>,
    /// Leads a new process group.
    pub new_group: bool,
    /// Gets SIGKILL when this process ends.
    pub die_with_parent: bool,
}

/// Arranges that the child of `command` gets default signal dispositions, no descriptors but the standard streams and
/// the passed ones, and the rest of `setup`. (The standard library itself empties the signal mask.)
pub(crate) fn prepare_child(command: &mut Command, setup: ChildSetup) {
    let parent = std::process::id() as libc::pid_t;
    if setup.new_group {
        command.process_group(0);
    }
    let work = move || child_work(&setup.pass, setup.die_with_parent.then_some(parent));
    // SAFETY: `child_work` makes only system calls that are allowed between fork and exec; it allocates nothing and takes no lock.
    unsafe { command.pre_exec(work) };
}

/// Runs in the child.
fn child_work(pass: &[RawFd], die_with: Option<libc::pid_t>) -> io::Result<()> {
    for signal in 1..32 {
        // SAFETY: setting the default disposition is async-signal-safe; SIGKILL and SIGSTOP are refused, which is as well.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
    // A library may have opened something without close-on-exec. Kernels before 5.11 refuse the flag: then what they were opened with counts.
    // SAFETY: only flags of descriptors change.
    unsafe {
        libc::syscall(
            libc::SYS_close_range,
            3,
            libc::c_uint::MAX,
            libc::CLOSE_RANGE_CLOEXEC,
        )
    };
    for &fd in pass {
        // SAFETY: F_SETFD takes any number.
        if unsafe { libc::fcntl(fd, libc::F_SETFD, 0) } == -1 {
            return Err(io::Error::last_os_error());
        }
    }
    if let Some(parent) = die_with {
        // SAFETY: PR_SET_PDEATHSIG takes a signal number.
        if unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) } == -1 {
            return Err(io::Error::last_os_error());
        }
        // The parent may have died before that took effect.
        // SAFETY: getppid(2) cannot fail.
        if unsafe { libc::getppid() } != parent {
            return Err(io::Error::from_raw_os_error(libc::ESRCH));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_and_its_parent_exist_and_groups_are_not_processes() {
        assert!(process_exists(std::process::id() as i32));
        assert!(process_exists(parent_pid() as i32));
        assert!(!process_exists(0) && !process_exists(-1));
    }

    #[test]
    fn a_number_that_is_not_open_cannot_be_inherited() {
        assert_eq!(
            inherited_fd(1_000_000).unwrap_err().raw_os_error(),
            Some(libc::EBADF)
        );
        assert_eq!(inherited_fd(0).unwrap_err().raw_os_error(), Some(libc::EINVAL));
    }
}
