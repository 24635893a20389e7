//! Virtual streams and listeners.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::future::poll_fn;
use std::io::{self, ErrorKind, IoSlice};
use std::net::{IpAddr, Shutdown, SocketAddr};
use std::path::Path;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use super::process::Process;
use super::world::{Event, Host, HostId, World};
use crate::handle::Handle;
use crate::stream::PeerCred;
use crate::wakers::WakerSet;

/// Bytes that a sender may have under way or unread at the peer.
const WINDOW: usize = 256 * 1024;
/// Wait before a lost connection request is sent again; doubles.
const CONNECT_RETRY: Duration = Duration::from_secs(1);
/// Lost connection requests in a row after which connecting times out: 31 seconds.
const CONNECT_TRIES: u32 = 5;
/// A read could not be told to the sender: tried again.
const WINDOW_RETRY: Duration = Duration::from_millis(200);

/// What one segment carries.
pub(super) enum Segment {
    Data(Vec<u8>),
    End,
}

impl Segment {
    fn describe(&self) -> String {
        match self {
            Segment::Data(bytes) => format!("{} bytes", bytes.len()),
            Segment::End => "end".to_owned(),
        }
    }
}

#[derive(Default)]
struct HalfState {
    /// Arrived in order, unread.
    unread: VecDeque<u8>,
    /// Arrived before an earlier one.
    ahead: BTreeMap<u64, Segment>,
    next_in: u64,
    next_out: u64,
    /// Sent and not yet read by the peer.
    outstanding: usize,
    peer_ended: bool,
    write_shut: bool,
    read_shut: bool,
    closed: bool,
    error: Option<ErrorKind>,
}

/// One end of a connection, as its host's kernel knows it.
pub(super) struct Half {
    id: u64,
    world: Rc<World>,
    host: HostId,
    peer_host: HostId,
    /// Within a host, by no network: immediate.
    local: bool,
    /// Until both ends are closed.
    peer: RefCell<Option<Rc<Half>>>,
    addresses: Option<(SocketAddr, SocketAddr)>,
    peer_cred: Cell<Option<PeerCred>>,
    state: RefCell<HalfState>,
    readers: WakerSet,
    writers: WakerSet,
}

impl Half {
    fn name(&self) -> String {
        let arrow = if self.id.is_multiple_of(2) { "<-" } else { "->" };
        let (host, peer) = (
            self.world.host_name(self.host),
            self.world.host_name(self.peer_host),
        );
        format!("{host}{arrow}{peer}#{}", self.id.div_ceil(2))
    }

    fn peer(&self) -> Option<Rc<Half>> {
        self.peer.borrow().clone()
    }

    /// Sends a segment, or loses it and tries again later.
    pub fn transmit(self: &Rc<Half>, seq: u64, segment: Segment, losses: u32) {
        // Both ends are closed, or this one has failed: nobody waits for it.
        let Some(peer) = self.peer() else { return };
        if self.state.borrow().error.is_some() {
            return;
        }
        if !self.world.draw_loss(self.host, self.peer_host) {
            let wait = self.world.draw_latency(self.host, self.peer_host);
            self.world.after(
                wait,
                Event::Arrive {
                    to: peer,
                    seq,
                    segment,
                },
            );
            return;
        }
        self.world
            .say(|| format!("{} loses {seq} ({})", self.name(), segment.describe()));
        if losses >= self.world.losses_max() {
            self.fail(ErrorKind::TimedOut);
            return;
        }
        let wait = World::retransmit_wait(losses);
        self.world.after(
            wait,
            Event::Retransmit {
                from: self.clone(),
                seq,
                segment,
                losses: losses + 1,
            },
        );
    }

    /// Takes in a segment that the network delivers.
    pub fn arrive(self: &Rc<Half>, seq: u64, segment: Segment) {
        self.world
            .say(|| format!("{} gets {seq} ({})", self.name(), segment.describe()));
        if self.state.borrow().closed {
            if matches!(segment, Segment::Data(_)) {
                self.reset_peer();
            }
            return;
        }
        let mut state = self.state.borrow_mut();
        state.ahead.insert(seq, segment);
        let mut next = state.next_in;
        while let Some(segment) = state.ahead.remove(&next) {
            state.take_in(segment);
            next += 1;
        }
        state.next_in = next;
        drop(state);
        self.readers.wake_all();
    }

    /// The connection fails at this end.
    pub fn fail(&self, why: ErrorKind) {
        let mut state = self.state.borrow_mut();
        if state.closed || state.error.is_some() {
            return;
        }
        state.error = Some(why);
        drop(state);
        self.world.say(|| format!("{} fails: {why}", self.name()));
        self.readers.wake_all();
        self.writers.wake_all();
    }

    /// The peer has read `bytes` of what was sent.
    pub fn was_read(self: &Rc<Half>, bytes: usize) {
        if self.world.is_cut(self.peer_host, self.host) {
            self.world.after(
                WINDOW_RETRY,
                Event::Window {
                    to: self.clone(),
                    bytes,
                },
            );
            return;
        }
        self.state.borrow_mut().outstanding -= bytes;
        self.writers.wake_all();
    }

    /// Tells the peer that nobody is here. Lost when the network is cut; the peer's next segment asks again.
    fn reset_peer(&self) {
        let Some(peer) = self.peer() else { return };
        if self.local {
            peer.fail(ErrorKind::ConnectionReset);
        } else if !self.world.is_cut(self.host, self.peer_host) {
            let wait = self.world.draw_latency(self.host, self.peer_host);
            self.world.after(
                wait,
                Event::Reset {
                    to: peer,
                    why: ErrorKind::ConnectionReset,
                },
            );
        }
    }

    fn send(self: &Rc<Half>, segment: Segment) {
        let Some(peer) = self.peer() else { return };
        if self.local {
            let mut state = peer.state.borrow_mut();
            if !state.closed {
                state.take_in(segment);
            }
            drop(state);
            peer.readers.wake_all();
            return;
        }
        let seq = {
            let mut state = self.state.borrow_mut();
            state.next_out += 1;
            state.next_out - 1
        };
        self.transmit(seq, segment, 0);
    }

    fn shut_write(self: &Rc<Half>) {
        let first = !std::mem::replace(&mut self.state.borrow_mut().write_shut, true);
        if first {
            self.send(Segment::End);
            self.writers.wake_all();
        }
    }

    /// Closes this end: in order, or (`abort`, or when something was left unread) with a reset.
    pub fn close(self: &Rc<Half>, abort: bool) {
        let abort = {
            let mut state = self.state.borrow_mut();
            if std::mem::replace(&mut state.closed, true) {
                return;
            }
            let unread = std::mem::take(&mut state.unread);
            abort || !unread.is_empty()
        };
        if abort {
            self.reset_peer();
        } else {
            self.shut_write();
        }
        self.readers.wake_all();
        self.writers.wake_all();
        let Some(peer) = self.peer() else { return };
        if peer.local {
            peer.writers.wake_all(); // to find the pipe broken
        }
        if peer.state.borrow().closed {
            // Nothing can be said between them any more: the ring of references is opened.
            *self.peer.borrow_mut() = None;
            *peer.peer.borrow_mut() = None;
        }
    }

    fn is_readable(&self) -> bool {
        let s = self.state.borrow();
        !s.unread.is_empty() || s.peer_ended || s.read_shut || s.closed || s.error.is_some()
    }

    fn is_writable(&self) -> bool {
        let s = self.state.borrow();
        s.outstanding < WINDOW || s.write_shut || s.closed || s.error.is_some() || self.peer_is_gone()
    }

    fn peer_is_gone(&self) -> bool {
        self.local && self.peer().is_none_or(|p| p.state.borrow().closed)
    }

    fn read(&self, buf: &mut [u8]) -> io::Result<usize> {
        let mut state = self.state.borrow_mut();
        if state.unread.is_empty() {
            return match state.error {
                Some(error) => Err(error.into()),
                None if state.peer_ended || state.read_shut || state.closed => Ok(0),
                None => Err(ErrorKind::WouldBlock.into()),
            };
        }
        let n = io::Read::read(&mut state.unread, buf)?;
        drop(state);
        if let Some(peer) = self.peer() {
            if self.local {
                peer.was_read(n);
            } else {
                let wait = self.world.draw_latency(self.host, self.peer_host);
                self.world.after(wait, Event::Window { to: peer, bytes: n });
            }
        }
        Ok(n)
    }

    fn write(self: &Rc<Half>, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut state = self.state.borrow_mut();
        if let Some(error) = state.error {
            return Err(error.into());
        }
        if state.write_shut || state.closed || self.peer_is_gone() {
            return Err(ErrorKind::BrokenPipe.into());
        }
        let room = WINDOW - state.outstanding;
        let mut bytes = Vec::new();
        for buf in bufs {
            let n = buf.len().min(room - bytes.len());
            bytes.extend_from_slice(&buf[..n]);
        }
        if bytes.is_empty() {
            return if room == 0 {
                Err(ErrorKind::WouldBlock.into())
            } else {
                Ok(0)
            };
        }
        let n = bytes.len();
        state.outstanding += n;
        drop(state);
        self.send(Segment::Data(bytes));
        Ok(n)
    }
}

impl HalfState {
    fn take_in(&mut self, segment: Segment) {
        match segment {
            Segment::Data(bytes) => self.unread.extend(bytes),
            Segment::End => self.peer_ended = true,
        }
    }
}

/// What a program has of a connection: closes it when dropped.
pub(crate) struct VirtualSocket(Rc<Half>);

impl Drop for VirtualSocket {
    fn drop(&mut self) {
        self.0.close(false);
    }
}

impl VirtualSocket {
    pub(super) fn new(half: Rc<Half>) -> Rc<VirtualSocket> {
        Rc::new(VirtualSocket(half))
    }

    pub fn try_read(&self, buf: &mut [u8]) -> io::Result<usize> {
        self.0.read(buf)
    }

    pub fn try_write_vectored(&self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        self.0.write(bufs)
    }

    pub fn poll_readable(&self, cx: &Context<'_>) -> Poll<()> {
        if self.0.is_readable() {
            return Poll::Ready(());
        }
        self.0.readers.add(cx);
        Poll::Pending
    }

    pub fn poll_writable(&self, cx: &Context<'_>) -> Poll<()> {
        if self.0.is_writable() {
            return Poll::Ready(());
        }
        self.0.writers.add(cx);
        Poll::Pending
    }

    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.0.addresses.map(|(local, _)| local)
    }

    pub fn peer_addr(&self) -> Option<SocketAddr> {
        self.0.addresses.map(|(_, peer)| peer)
    }

    pub fn peer_cred(&self) -> Option<PeerCred> {
        self.0.peer_cred.get()
    }

    pub fn shutdown(&self, how: Shutdown) {
        if how != Shutdown::Write {
            self.0.state.borrow_mut().read_shut = true;
            self.0.readers.wake_all();
        }
        if how != Shutdown::Read {
            self.0.shut_write();
        }
    }
}

/// Two connected ends; `addresses` are those of the first.
fn connect(
    a: &Process,
    b: &Process,
    local: bool,
    addresses: Option<(SocketAddr, SocketAddr)>,
) -> (Rc<Half>, Rc<Half>) {
    let half = |own: &Process, other: &Process, addresses| {
        Rc::new(Half {
            id: own.world.next_socket_id(),
            world: own.world.clone(),
            host: own.host.id,
            peer_host: other.host.id,
            local,
            peer: RefCell::default(),
            addresses,
            peer_cred: Cell::new(None),
            state: RefCell::default(),
            readers: WakerSet::default(),
            writers: WakerSet::default(),
        })
    };
    let near = half(a, b, addresses);
    let far = half(b, a, addresses.map(|(local, peer)| (peer, local)));
    *near.peer.borrow_mut() = Some(far.clone());
    *far.peer.borrow_mut() = Some(near.clone());
    a.owns_socket(&near);
    b.owns_socket(&far);
    (near, far)
}

/// Two ends within a host, for two of its processes.
pub(super) fn pair(a: &Process, b: &Process) -> (Rc<Half>, Rc<Half>) {
    connect(a, b, true, None)
}

pub(crate) fn stream_pair(process: &Process) -> (Rc<VirtualSocket>, Rc<VirtualSocket>) {
    let (a, b) = pair(process, process);
    (VirtualSocket::new(a), VirtualSocket::new(b))
}

/// A listening virtual socket.
pub(crate) struct VirtualListener {
    process: Weak<Process>,
    host: Rc<Host>,
    at: Option<SocketAddr>,
    backlog: RefCell<VecDeque<Rc<VirtualSocket>>>,
    backlog_max: usize,
    closed: Cell<bool>,
    waiting: WakerSet,
}

impl VirtualListener {
    fn new(process: &Rc<Process>, at: Option<SocketAddr>, backlog_max: usize) -> Rc<VirtualListener> {
        let listener = Rc::new(VirtualListener {
            process: Rc::downgrade(process),
            host: process.host.clone(),
            at,
            backlog: RefCell::default(),
            backlog_max,
            closed: Cell::new(false),
            waiting: WakerSet::default(),
        });
        process.owns_listener(&listener);
        listener
    }

    /// Refuses from now on; connections not accepted yet are reset.
    pub(super) fn close(&self) {
        if self.closed.replace(true) {
            return;
        }
        if let Some(at) = self.at {
            self.host.tcp.borrow_mut().remove(&at.port());
        }
        let waiting = std::mem::take(&mut *self.backlog.borrow_mut());
        for socket in waiting {
            socket.0.close(true);
        }
    }

    fn has_room(&self) -> bool {
        self.backlog.borrow().len() < self.backlog_max
    }

    fn offer(&self, half: Rc<Half>) {
        self.backlog.borrow_mut().push_back(VirtualSocket::new(half));
        self.waiting.wake_all();
    }

    pub async fn accept(&self) -> Rc<VirtualSocket> {
        poll_fn(|cx| match self.backlog.borrow_mut().pop_front() {
            Some(socket) => Poll::Ready(socket),
            None => {
                self.waiting.add(cx);
                Poll::Pending
            }
        })
        .await
    }

    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.at
    }
}

impl Drop for VirtualListener {
    fn drop(&mut self) {
        self.close();
    }
}

/// The living listener of a weak reference and its process.
fn living(listener: Option<&Weak<VirtualListener>>) -> Option<(Rc<VirtualListener>, Rc<Process>)> {
    let listener = listener?.upgrade().filter(|l| !l.closed.get())?;
    let process = listener.process.upgrade()?;
    Some((listener, process))
}

pub(crate) fn listen_tcp(process: &Rc<Process>, at: SocketAddr) -> io::Result<Rc<VirtualListener>> {
    /// As the real back end's.
    const BACKLOG: usize = 128;
    let host = &process.host;
    if !at.ip().is_unspecified() && !host.has_address(at.ip()) {
        return Err(ErrorKind::AddrNotAvailable.into());
    }
    let port = if at.port() == 0 {
        host.any_port()
    } else {
        at.port()
    };
    if living(host.tcp.borrow().get(&port)).is_some() {
        return Err(ErrorKind::AddrInUse.into());
    }
    let listener = VirtualListener::new(process, Some(SocketAddr::new(at.ip(), port)), BACKLOG);
    host.tcp.borrow_mut().insert(port, Rc::downgrade(&listener));
    Ok(listener)
}

pub(crate) fn listen_unix(
    process: &Rc<Process>,
    path: &Path,
    backlog: i32,
) -> io::Result<Rc<VirtualListener>> {
    let host = &process.host;
    if living(host.unix.borrow().get(path)).is_some() {
        return Err(ErrorKind::AddrInUse.into());
    }
    let backlog_max = usize::try_from(backlog).unwrap_or(0).max(1);
    let listener = VirtualListener::new(process, None, backlog_max);
    host.unix
        .borrow_mut()
        .insert(path.to_path_buf(), Rc::downgrade(&listener));
    Ok(listener)
}

pub(crate) async fn connect_unix(
    handle: &Handle,
    process: &Rc<Process>,
    path: &Path,
) -> io::Result<Rc<VirtualSocket>> {
    /// As the real back end's.
    const AGAIN: Duration = Duration::from_millis(5);
    loop {
        let listener = match process.host.unix.borrow().get(path) {
            None => return Err(ErrorKind::NotFound.into()),
            some => living(some),
        };
        let Some((listener, server)) = listener else {
            return Err(ErrorKind::ConnectionRefused.into());
        };
        if listener.has_room() {
            let (near, far) = connect(process, &server, true, None);
            near.peer_cred.set(Some(cred(&server)));
            far.peer_cred.set(Some(cred(process)));
            listener.offer(far);
            return Ok(VirtualSocket::new(near));
        }
        handle.sleep(AGAIN).await;
    }
}

/// Everybody is root in a simulation.
fn cred(process: &Process) -> PeerCred {
    PeerCred {
        pid: process.pid as i32,
        uid: 0,
        gid: 0,
    }
}

/// The exchange that opens a connection: a request there, an answer back.
pub(crate) async fn connect_tcp(
    handle: &Handle,
    process: &Rc<Process>,
    from: Option<IpAddr>,
    to: SocketAddr,
) -> io::Result<Rc<VirtualSocket>> {
    let (world, host) = (&process.world, &process.host);
    let from = match from {
        Some(ip) if !host.has_address(ip) => return Err(ErrorKind::AddrNotAvailable.into()),
        Some(ip) => ip,
        // Every host was made with an address; it may have been taken away since.
        None => host
            .addresses
            .borrow()
            .first()
            .copied()
            .ok_or(ErrorKind::AddrNotAvailable)?,
    };
    let local = SocketAddr::new(from, host.any_port());
    for tries in 0..CONNECT_TRIES {
        let there = world.host_at(host, to.ip()).map(|h| h.id);
        let lost = there.is_none_or(|there| world.draw_loss(host.id, there));
        if let Some(there) = there.filter(|_| !lost) {
            handle.sleep(world.draw_latency(host.id, there)).await;
            // Looked up again: it may have crashed or moved meanwhile.
            let server = world.host_at(host, to.ip());
            let listener = server
                .as_ref()
                .and_then(|s| living(s.tcp.borrow().get(&to.port())));
            let answer_lost = world.draw_loss(there, host.id);
            match listener {
                None if !answer_lost => {
                    handle.sleep(world.draw_latency(there, host.id)).await;
                    world.say(|| format!("{} is refused by {to}", process.name()));
                    return Err(ErrorKind::ConnectionRefused.into());
                }
                Some((listener, server)) if !answer_lost && listener.has_room() => {
                    let (near, far) = connect(process, &server, false, Some((local, to)));
                    world.say(|| format!("{} connects to {to}", near.name()));
                    let near = VirtualSocket::new(near);
                    listener.offer(far);
                    handle.sleep(world.draw_latency(there, host.id)).await;
                    return Ok(near);
                }
                _ => {}
            }
        }
        world.say(|| format!("{} gets no answer from {to}", process.name()));
        handle.sleep(CONNECT_RETRY * 2u32.saturating_pow(tries)).await;
    }
    Err(ErrorKind::TimedOut.into())
}
