//! Byte streams and listeners, the same for both back ends.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::net::{Shutdown, SocketAddr};
use std::rc::Rc;
use std::task::{Context, Poll};

use crate::handle::BackEnd;
use crate::handle::Handle;
use crate::real::{RealListener, Socket};
use crate::sim::{VirtualListener, VirtualSocket};

/// Who is at the other end of a unix socket, as of its connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerCred {
    /// Process id.
    pub pid: i32,
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
}

#[derive(Clone)]
enum Kind {
    Real(Rc<Socket>),
    Virtual(Rc<VirtualSocket>),
}

/// A byte stream: TCP, unix socket, pipe or socket pair. Clones are the same stream; it closes with the last.
#[derive(Clone)]
pub struct Stream(Kind);

impl Stream {
    pub(crate) fn real(socket: Rc<Socket>) -> Stream {
        Stream(Kind::Real(socket))
    }

    pub(crate) fn simulated(socket: Rc<VirtualSocket>) -> Stream {
        Stream(Kind::Virtual(socket))
    }

    /// Reads what is there. 0 is the end of the stream; `buf` must not be empty.
    ///
    /// # Errors
    /// `WouldBlock` when nothing is there (await [`Stream::readable`] then); the connection's errors.
    pub fn try_read(&self, buf: &mut [u8]) -> io::Result<usize> {
        debug_assert!(
            !buf.is_empty(),
            "a read of nothing looks like the end of the stream"
        );
        match &self.0 {
            Kind::Real(socket) => socket.try_read(buf),
            Kind::Virtual(socket) => socket.try_read(buf),
        }
    }

    /// Writes what there is room for.
    ///
    /// # Errors
    /// `WouldBlock` when there is no room (await [`Stream::writable`] then); `BrokenPipe` and the like.
    pub fn try_write_vectored(&self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        match &self.0 {
            Kind::Real(socket) => socket.try_write_vectored(bufs),
            Kind::Virtual(socket) => socket.try_write_vectored(bufs),
        }
    }

    /// As [`Stream::try_write_vectored`] with one buffer.
    ///
    /// # Errors
    /// As there.
    pub fn try_write(&self, buf: &[u8]) -> io::Result<usize> {
        self.try_write_vectored(&[IoSlice::new(buf)])
    }

    /// Ready when a read would not find `WouldBlock`, as far as is known: also at the end of the stream and on errors.
    pub fn poll_readable(&self, cx: &Context<'_>) -> Poll<()> {
        match &self.0 {
            Kind::Real(socket) => socket.poll_readable(cx),
            Kind::Virtual(socket) => socket.poll_readable(cx),
        }
    }

    /// Ready when a write would not find `WouldBlock`, as far as is known: also on errors.
    pub fn poll_writable(&self, cx: &Context<'_>) -> Poll<()> {
        match &self.0 {
            Kind::Real(socket) => socket.poll_writable(cx),
            Kind::Virtual(socket) => socket.poll_writable(cx),
        }
    }

    /// Waits for something to read, the end of the stream or an error.
    pub async fn readable(&self) {
        poll_fn(|cx| self.poll_readable(cx)).await;
    }

    /// Waits for room to write or an error.
    pub async fn writable(&self) {
        poll_fn(|cx| self.poll_writable(cx)).await;
    }

    /// Reads at least one byte, or 0 at the end of the stream.
    ///
    /// # Errors
    /// The connection's.
    pub async fn read(&self, buf: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.try_read(buf) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => self.readable().await,
                other => return other,
            }
        }
    }

    /// Fills `buf`.
    ///
    /// # Errors
    /// `UnexpectedEof` when the stream ends before; the connection's errors.
    pub async fn read_exact(&self, buf: &mut [u8]) -> io::Result<()> {
        let mut filled = 0;
        while filled < buf.len() {
            match self.read(&mut buf[filled..]).await? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                n => filled += n,
            }
        }
        Ok(())
    }

    /// Reads to the end of the stream, at most `limit` bytes.
    ///
    /// # Errors
    /// `InvalidData` beyond the limit; the connection's errors.
    pub async fn read_to_end(&self, limit: usize) -> io::Result<Vec<u8>> {
        let mut all = Vec::new();
        let mut chunk = vec![0; 16 * 1024];
        loop {
            match self.read(&mut chunk).await? {
                0 => return Ok(all),
                n if all.len() + n > limit => {
                    let what = format!("more than {limit} bytes came where fewer were expected");
                    return Err(io::Error::new(io::ErrorKind::InvalidData, what));
                }
                n => all.extend_from_slice(&chunk[..n]),
            }
        }
    }

    /// Writes all of `buf`.
    ///
    /// # Errors
    /// The connection's; how much was written is then not known.
    pub async fn write_all(&self, mut buf: &[u8]) -> io::Result<()> {
        while !buf.is_empty() {
            match self.try_write(buf) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(n) => buf = &buf[n..],
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => self.writable().await,
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    /// The peer's address (TCP only).
    pub fn peer_addr(&self) -> Option<SocketAddr> {
        match &self.0 {
            Kind::Real(socket) => socket.peer_addr(),
            Kind::Virtual(socket) => socket.peer_addr(),
        }
    }

    /// Our address (TCP only).
    pub fn local_addr(&self) -> Option<SocketAddr> {
        match &self.0 {
            Kind::Real(socket) => socket.local_addr(),
            Kind::Virtual(socket) => socket.local_addr(),
        }
    }

    /// The process at the other end (unix sockets only).
    pub fn peer_cred(&self) -> Option<PeerCred> {
        match &self.0 {
            Kind::Real(socket) => socket.peer_cred(),
            Kind::Virtual(socket) => socket.peer_cred(),
        }
    }

    /// Ends both directions for all clones: the peer reads end of file, our readers too.
    pub fn shutdown(&self) {
        self.shutdown_how(Shutdown::Both);
    }

    /// Ends our direction: the peer reads end of file after what was written, we can still read.
    pub fn shutdown_write(&self) {
        self.shutdown_how(Shutdown::Write);
    }

    fn shutdown_how(&self, how: Shutdown) {
        match &self.0 {
            Kind::Real(socket) => socket.shutdown(how),
            Kind::Virtual(socket) => socket.shutdown(how),
        }
    }
}

pub(crate) enum ListenerKind {
    Real(RealListener),
    Virtual(Rc<VirtualListener>),
}

/// A listening socket.
pub struct Listener {
    pub(crate) kind: ListenerKind,
    pub(crate) handle: Handle,
}

impl Listener {
    /// Waits for a connection. Want of descriptors or memory is waited out and logged once.
    ///
    /// # Errors
    /// What cannot be waited out: the listener is of no more use.
    pub async fn accept(&self) -> io::Result<Stream> {
        match (&self.kind, &self.handle.back) {
            (ListenerKind::Real(listener), BackEnd::Real(reactor)) => {
                Ok(Stream::real(listener.accept(reactor).await?))
            }
            (ListenerKind::Virtual(listener), _) => Ok(Stream::simulated(listener.accept().await)),
            (ListenerKind::Real(_), BackEnd::Virtual(_)) => {
                unreachable!("a listener is made by the back end of its handle")
            }
        }
    }

    /// Where it listens (TCP only): the port that was chosen when 0 was asked for.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        match &self.kind {
            ListenerKind::Real(listener) => listener.local_addr(),
            ListenerKind::Virtual(listener) => listener.local_addr(),
        }
    }
}
