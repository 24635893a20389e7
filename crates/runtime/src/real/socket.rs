//! Streams and listeners on descriptors of this process.

use std::cell::Cell;
use std::fs::File;
use std::future::poll_fn;
use std::io::{self, IoSlice, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::socket::{
    self, AddressFamily, Backlog, SockFlag, SockType, SockaddrLike, SockaddrStorage, UnixAddr, getsockopt,
    setsockopt, sockopt,
};
use nix::sys::stat::Mode;

use super::reactor::{Reactor, Source};
use crate::handle::Handle;
use crate::stream::PeerCred;

/// What a new socket of ours is: non-blocking and not for children.
const FLAGS: SockFlag = SockFlag::SOCK_NONBLOCK.union(SockFlag::SOCK_CLOEXEC);

/// Waiting connections of a TCP listener.
const TCP_BACKLOG: i32 = 128;

/// A unix socket whose backlog is full refuses a non-blocking connect: tried again at this interval, ...
const CONNECT_AGAIN: Duration = Duration::from_millis(5);
/// ... this often.
const CONNECT_TRIES: u32 = 2000;

/// Rest of a listener after the process or the system had no descriptor or memory left for a connection.
const ACCEPT_REST: Duration = Duration::from_millis(100);

/// A non-blocking byte stream.
pub(crate) struct Socket {
    // Before `file`: it has to leave the reactor before the descriptor closes. `None`: a plain file, always ready.
    source: Option<Source>,
    file: File,
    /// A read that gets less than it asked for has emptied it (stream sockets and pipes, not terminals).
    short_read_drains: bool,
}

impl Socket {
    pub fn new(reactor: &Rc<Reactor>, fd: OwnedFd) -> io::Result<Rc<Socket>> {
        set_nonblocking(&fd)?;
        let file = File::from(fd);
        let kind = file.metadata()?.file_type();
        let short_read_drains = kind.is_fifo()
            || kind.is_socket() && getsockopt(&file, sockopt::SockType) == Ok(SockType::Stream);
        let source = match reactor.register(file.as_raw_fd()) {
            Ok(source) => Some(source),
            Err(e) if e.raw_os_error() == Some(libc::EPERM) => None,
            Err(e) => return Err(e),
        };
        Ok(Rc::new(Socket {
            source,
            file,
            short_read_drains,
        }))
    }

    pub fn try_read(&self, buf: &mut [u8]) -> io::Result<usize> {
        let Some(source) = &self.source else {
            return (&self.file).read(buf);
        };
        if !source.is_readable() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        loop {
            match (&self.file).read(buf) {
                Ok(n) => {
                    if n > 0 && n < buf.len() && self.short_read_drains {
                        source.drained_unless_closed();
                    }
                    return Ok(n);
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => {
                    if e.kind() == io::ErrorKind::WouldBlock {
                        source.drained();
                    }
                    return Err(e);
                }
            }
        }
    }

    pub fn try_write_vectored(&self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        let Some(source) = &self.source else {
            return (&self.file).write_vectored(bufs);
        };
        if !source.is_writable() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let asked: usize = bufs.iter().map(|b| b.len()).sum();
        loop {
            match (&self.file).write_vectored(bufs) {
                Ok(n) => {
                    if n < asked {
                        source.full()?;
                    }
                    return Ok(n);
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => {
                    if e.kind() == io::ErrorKind::WouldBlock {
                        source.full()?;
                    }
                    return Err(e);
                }
            }
        }
    }

    pub fn poll_readable(&self, cx: &Context<'_>) -> Poll<()> {
        self.source
            .as_ref()
            .map_or(Poll::Ready(()), |s| s.poll_readable(cx))
    }

    pub fn poll_writable(&self, cx: &Context<'_>) -> Poll<()> {
        self.source
            .as_ref()
            .map_or(Poll::Ready(()), |s| s.poll_writable(cx))
    }

    pub fn peer_addr(&self) -> Option<SocketAddr> {
        socket::getpeername::<SockaddrStorage>(self.file.as_raw_fd())
            .ok()
            .and_then(to_std)
    }

    pub fn local_addr(&self) -> Option<SocketAddr> {
        socket::getsockname::<SockaddrStorage>(self.file.as_raw_fd())
            .ok()
            .and_then(to_std)
    }

    pub fn peer_cred(&self) -> Option<PeerCred> {
        let cred = getsockopt(&self.file, sockopt::PeerCredentials).ok()?;
        // The kernel answers for every socket; only a unix peer has a process id.
        (cred.pid() > 0).then(|| PeerCred {
            pid: cred.pid(),
            uid: cred.uid(),
            gid: cred.gid(),
        })
    }

    pub fn shutdown(&self, how: Shutdown) {
        let how = match how {
            Shutdown::Read => socket::Shutdown::Read,
            Shutdown::Write => socket::Shutdown::Write,
            Shutdown::Both => socket::Shutdown::Both,
        };
        // Not connected any more, or a pipe: nothing to shut.
        let _ = socket::shutdown(self.file.as_raw_fd(), how);
    }
}

fn set_nonblocking(fd: &impl AsFd) -> io::Result<()> {
    let flags = OFlag::from_bits_retain(fcntl(fd, FcntlArg::F_GETFL)?);
    if !flags.contains(OFlag::O_NONBLOCK) {
        fcntl(fd, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
    }
    Ok(())
}

fn to_std(addr: SockaddrStorage) -> Option<SocketAddr> {
    if let Some(v4) = addr.as_sockaddr_in() {
        return Some(SocketAddrV4::from(*v4).into());
    }
    addr.as_sockaddr_in6().map(|v6| SocketAddrV6::from(*v6).into())
}

fn family(addr: &IpAddr) -> AddressFamily {
    if addr.is_ipv4() {
        AddressFamily::Inet
    } else {
        AddressFamily::Inet6
    }
}

fn tune_tcp(fd: &impl AsFd) -> io::Result<()> {
    setsockopt(fd, sockopt::TcpNoDelay, &true)?;
    Ok(setsockopt(fd, sockopt::KeepAlive, &true)?)
}

/// Two connected unix sockets, close-on-exec, blocking.
pub(crate) fn socket_pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(socket::socketpair(
        AddressFamily::Unix,
        SockType::Stream,
        None,
        SockFlag::SOCK_CLOEXEC,
    )?)
}

pub(crate) async fn connect_tcp(
    reactor: &Rc<Reactor>,
    from: Option<IpAddr>,
    to: SocketAddr,
) -> io::Result<Rc<Socket>> {
    let fd = socket::socket(family(&to.ip()), SockType::Stream, FLAGS, None)?;
    tune_tcp(&fd)?;
    if let Some(from) = from {
        socket::bind(fd.as_raw_fd(), &SockaddrStorage::from(SocketAddr::new(from, 0)))?;
    }
    match socket::connect(fd.as_raw_fd(), &SockaddrStorage::from(to)) {
        Ok(()) | Err(Errno::EINPROGRESS) => {}
        Err(e) => return Err(e.into()),
    }
    let stream = Socket::new(reactor, fd)?;
    if let Some(source) = &stream.source {
        source.full()?; // not connected yet: writable tells when
    }
    poll_fn(|cx| stream.poll_writable(cx)).await;
    match getsockopt(&stream.file, sockopt::SocketError)? {
        0 => Ok(stream),
        errno => Err(io::Error::from_raw_os_error(errno)),
    }
}

pub(crate) async fn connect_unix(
    handle: &Handle,
    reactor: &Rc<Reactor>,
    path: &Path,
) -> io::Result<Rc<Socket>> {
    let addr = UnixAddr::new(path)?;
    let fd = socket::socket(AddressFamily::Unix, SockType::Stream, FLAGS, None)?;
    for _ in 0..CONNECT_TRIES {
        match socket::connect(fd.as_raw_fd(), &addr) {
            Ok(()) => return Socket::new(reactor, fd),
            Err(Errno::EAGAIN) => handle.sleep(CONNECT_AGAIN).await,
            Err(Errno::EINTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
    Err(Errno::EAGAIN.into())
}

enum Accepting {
    Tcp(mio::net::TcpListener),
    Unix(mio::net::UnixListener),
}

/// A listening socket.
pub(crate) struct RealListener {
    source: Source,
    accepting: Accepting,
    handle: Handle,
    /// The last accept failed for want of descriptors or memory, and the log has said so.
    short_of_resources: Cell<bool>,
}

pub(crate) fn listen_tcp(handle: &Handle, reactor: &Rc<Reactor>, at: SocketAddr) -> io::Result<RealListener> {
    let fd = socket::socket(family(&at.ip()), SockType::Stream, FLAGS, None)?;
    setsockopt(&fd, sockopt::ReuseAddr, &true)?;
    bind_and_listen(&fd, &SockaddrStorage::from(at), TCP_BACKLOG)?;
    let accepting = Accepting::Tcp(mio::net::TcpListener::from_std(std::net::TcpListener::from(fd)));
    RealListener::new(handle, reactor, accepting)
}

/// A socket file on which nobody listens is replaced; one that is in use is EADDRINUSE.
pub(crate) fn listen_unix(
    handle: &Handle,
    reactor: &Rc<Reactor>,
    path: &Path,
    mode: u32,
    backlog: i32,
) -> io::Result<RealListener> {
    let addr = UnixAddr::new(path)?;
    let fd = socket::socket(AddressFamily::Unix, SockType::Stream, FLAGS, None)?;
    // The file is born with this mode: there is no moment at which others may connect.
    nix::sys::stat::fchmod(&fd, Mode::from_bits_truncate(mode))?;
    match bind_and_listen(&fd, &addr, backlog) {
        Err(e) if e.kind() == io::ErrorKind::AddrInUse && is_stale(path, &addr)? => {
            std::fs::remove_file(path)?;
            bind_and_listen(&fd, &addr, backlog)?;
        }
        other => other?,
    }
    // What the umask took away is given back.
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
    let accepting = Accepting::Unix(mio::net::UnixListener::from_std(fd.into()));
    RealListener::new(handle, reactor, accepting)
}

fn bind_and_listen(fd: &OwnedFd, addr: &dyn SockaddrLike, backlog: i32) -> io::Result<()> {
    socket::bind(fd.as_raw_fd(), addr)?;
    Ok(socket::listen(fd, Backlog::new(backlog)?)?)
}

fn is_stale(path: &Path, addr: &UnixAddr) -> io::Result<bool> {
    if !std::fs::symlink_metadata(path)?.file_type().is_socket() {
        return Ok(false);
    }
    let probe = socket::socket(AddressFamily::Unix, SockType::Stream, FLAGS, None)?;
    Ok(socket::connect(probe.as_raw_fd(), addr) == Err(Errno::ECONNREFUSED))
}

impl RealListener {
    fn new(handle: &Handle, reactor: &Rc<Reactor>, accepting: Accepting) -> io::Result<RealListener> {
        let fd = match &accepting {
            Accepting::Tcp(l) => l.as_raw_fd(),
            Accepting::Unix(l) => l.as_raw_fd(),
        };
        let source = reactor.register(fd)?;
        Ok(RealListener {
            source,
            accepting,
            handle: handle.clone(),
            short_of_resources: Cell::new(false),
        })
    }

    pub async fn accept(&self, reactor: &Rc<Reactor>) -> io::Result<Rc<Socket>> {
        loop {
            poll_fn(|cx| self.source.poll_readable(cx)).await;
            let error = match self.take_connection() {
                Ok(fd) => {
                    self.short_of_resources.set(false);
                    return Socket::new(reactor, fd);
                }
                Err(error) => error,
            };
            match error.raw_os_error() {
                Some(libc::EAGAIN) => self.source.drained(),
                // The connection went away while it waited, or its network error is reported here (accept(2)).
                Some(
                    libc::EINTR | libc::ECONNABORTED | libc::EPROTO | libc::ENETDOWN | libc::EHOSTUNREACH,
                ) => {}
                Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM) => {
                    // The connection stays in the backlog and would be reported at once again: rest, don't spin.
                    if !self.short_of_resources.replace(true) {
                        log::error!(
                            "Cannot accept a connection ({error}): new clients wait until others leave"
                        );
                    }
                    self.handle.sleep(ACCEPT_REST).await;
                }
                _ => return Err(error),
            }
        }
    }

    fn take_connection(&self) -> io::Result<OwnedFd> {
        match &self.accepting {
            Accepting::Tcp(listener) => {
                let fd = OwnedFd::from(std_tcp(listener.accept()?.0));
                // A peer that is gone already makes this fail; its stream then reads end of file.
                let _ = tune_tcp(&fd);
                Ok(fd)
            }
            Accepting::Unix(listener) => Ok(listener.accept()?.0.into()),
        }
    }

    pub fn local_addr(&self) -> Option<SocketAddr> {
        match &self.accepting {
            Accepting::Tcp(listener) => listener.local_addr().ok(),
            Accepting::Unix(_) => None,
        }
    }
}

fn std_tcp(stream: mio::net::TcpStream) -> std::net::TcpStream {
    stream.into()
}
