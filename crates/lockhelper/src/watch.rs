//! Ending when ctdbd ends, also in the middle of a wait for a lock.

use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::thread;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl;
use nix::sys::signal::Signal;

/// Has the kernel kill this process when its parent dies. `false` when the parent is not (any more) `parent`.
pub(crate) fn die_with(parent: u32) -> io::Result<bool> {
    prctl::set_pdeathsig(Signal::SIGKILL)?;
    // It may have died before the call.
    Ok(ctdb_runtime::sys::parent_pid() == parent)
}

/// Starts a thread that ends this process when the other side closes the socket. The main thread cannot:
/// it may be waiting in libtdb. Locks end with the process; a transaction is undone by the next user of the file.
pub(crate) fn end_at_close(socket: &UnixStream) -> io::Result<()> {
    let socket = socket.try_clone()?;
    // nix has no name for it. Of the peer, a close is enough: also of the sending side only.
    let closed = PollFlags::from_bits_retain(nix::libc::POLLRDHUP);
    thread::Builder::new().name("watch".to_string()).spawn(move || {
        loop {
            let mut fds = [PollFd::new(socket.as_fd(), closed)];
            match poll(&mut fds, PollTimeout::NONE) {
                Err(Errno::EINTR) => {}
                Err(error) => {
                    log::error!("lock helper: watching the socket to ctdbd failed: {error}");
                    std::process::exit(1);
                }
                Ok(_) => std::process::exit(0),
            }
        }
    })?;
    Ok(())
}
