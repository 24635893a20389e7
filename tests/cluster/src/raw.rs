//! Connections as another node would make them.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};

use nix::sys::socket::{self, AddressFamily, SockFlag, SockType, SockaddrStorage};

/// Connects to `remote` from `local`: a daemon tells nodes by the address they come from.
///
/// # Errors
/// What the system says.
pub fn connect_from(local: SocketAddr, remote: SocketAddr) -> io::Result<TcpStream> {
    let family = if remote.is_ipv4() {
        AddressFamily::Inet
    } else {
        AddressFamily::Inet6
    };
    let fd: OwnedFd = socket::socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    socket::bind(fd.as_raw_fd(), &SockaddrStorage::from(local))?;
    socket::connect(fd.as_raw_fd(), &SockaddrStorage::from(remote))?;
    Ok(TcpStream::from(fd))
}
