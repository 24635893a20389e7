//! A packet connection: one stream, one task, one output queue.
//!
//! The task reads, cuts packets and calls `on_packet` for each; it writes only when the stream was full before. Otherwise output
//! is written by the hook at the end of the turn. No borrow is held while a callback runs, so a callback may send on any
//! connection, its own too, or drop it.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use ctdb_runtime::sync::Notify;
use ctdb_runtime::{Class, Handle, Stream, Task, TurnEnd};

use crate::output::{OutputQueue, SLICES};
use crate::reader::{FrameError, LinkKind, PacketReader};

/// Output of one connection per turn; a stream that takes more goes on in the next.
const WRITTEN_PER_TURN: usize = 1 << 20;

/// The bounds of a connection.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Longest packet that is accepted.
    pub packet_bytes_max: usize,
    /// Output beyond which nothing more is taken ([`SendError::Full`]). A packet that begins below it is taken whole.
    pub queued_bytes_max: usize,
    /// Output beyond which nothing is read from the peer until it takes some.
    pub pause_reading_above: usize,
    /// Input per turn, then others have theirs.
    pub read_bytes_per_turn: usize,
    /// Packets per turn, then others have theirs.
    pub read_packets_per_turn: usize,
    /// Memory that an empty output queue keeps.
    pub output_kept: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            packet_bytes_max: 128 << 20,
            queued_bytes_max: 256 << 20,
            pause_reading_above: 16 << 20,
            read_bytes_per_turn: 256 * 1024,
            read_packets_per_turn: 64,
            output_kept: 64 * 1024,
        }
    }
}

/// What `on_packet` wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Flow {
    /// The next packet.
    Continue,
    /// An end, for this reason. What was sent before is still written as far as the stream takes it at once.
    Close(Cow<'static, str>),
}

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub enum CloseReason {
    /// The peer closed it, between two packets.
    #[error("closed by the peer")]
    Eof,
    /// The peer closed it within a packet of which so many bytes had come.
    #[error("closed by the peer after {0} bytes of a packet")]
    EofInPacket(usize),
    /// Reading failed.
    #[error("reading failed: {0}")]
    Read(#[source] io::Error),
    /// Writing failed.
    #[error("writing failed: {0}")]
    Write(#[source] io::Error),
    /// What came is no packet.
    #[error("received {0}")]
    Frame(#[from] FrameError),
    /// Our side asked for it.
    #[error("closed by us: {0}")]
    Asked(Cow<'static, str>),
}

/// What `on_close` is told: "name: reason".
#[derive(Debug)]
pub struct Closed {
    /// The name given at the start.
    pub name: Rc<str>,
    /// Why.
    pub reason: CloseReason,
}

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name, self.reason)
    }
}

/// Why a packet was not taken for sending.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// The connection is closed.
    #[error("the connection is closed")]
    Closed,
    /// The peer does not take what was sent before.
    #[error("the output queue of the connection is full")]
    Full,
}

/// What a connection has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Packets given to `on_packet`.
    pub packets_in: u64,
    /// Bytes read.
    pub bytes_in: u64,
    /// Packets taken for sending.
    pub packets_out: u64,
    /// Bytes written.
    pub bytes_out: u64,
}

struct Shared {
    handle: Handle,
    name: Rc<str>,
    limits: Limits,
    /// `None` once closed.
    stream: RefCell<Option<Stream>>,
    queue: RefCell<OutputQueue>,
    /// The end-of-turn hook is asked for.
    armed: Cell<bool>,
    /// The stream took less than it was offered; the task waits until it is writable.
    blocked: Cell<bool>,
    /// The end that the task is to make.
    ending: RefCell<Option<CloseReason>>,
    /// The connection's task.
    task: RefCell<Option<Waker>>,
    drained: Notify,
    counters: Cell<Counters>,
}

/// Sends on a connection. Clones are the same connection; none of them keeps it open.
#[derive(Clone)]
pub struct Sender(Rc<Shared>);

/// A connection. Dropping it closes the stream, after an attempt to write what is queued, without a call of `on_close`.
pub struct Connection {
    sender: Sender,
    task: Option<Task<()>>,
}

impl Connection {
    /// Takes over a stream. It can be sent on at once; nothing is read before [`Connection::receive`]. The name is for messages:
    /// "node 2 (10.0.0.3:4379)", "client 17 (pid 4711)".
    pub fn new(handle: &Handle, stream: Stream, name: &str, limits: Limits) -> Connection {
        let shared = Shared {
            handle: handle.clone(),
            name: name.into(),
            limits,
            stream: RefCell::new(Some(stream)),
            queue: RefCell::new(OutputQueue::new(limits.output_kept)),
            armed: Cell::new(false),
            blocked: Cell::new(false),
            ending: RefCell::new(None),
            task: RefCell::new(None),
            drained: Notify::new(),
            counters: Cell::default(),
        };
        Connection {
            sender: Sender(Rc::new(shared)),
            task: None,
        }
    }

    /// Begins to read: `on_packet` is called for each packet, in place; `on_close` once, unless the connection is dropped before.
    /// Needed for output too: a full stream goes on in the same task.
    pub fn receive(
        &mut self,
        class: Class,
        kind: LinkKind,
        on_packet: impl FnMut(&[u8]) -> Flow + 'static,
        on_close: impl FnOnce(Closed) + 'static,
    ) {
        let shared = self.sender.0.clone();
        let reader = PacketReader::new(kind, shared.limits.packet_bytes_max);
        let handle = shared.handle.clone();
        self.task = Some(handle.spawn_class(class, run(shared, reader, on_packet, on_close)));
    }

    /// [`Connection::new`] and [`Connection::receive`] in one.
    #[expect(
        clippy::too_many_arguments,
        reason = "two calls in one, each argument named by its type"
    )]
    pub fn start(
        handle: &Handle,
        stream: Stream,
        name: &str,
        class: Class,
        kind: LinkKind,
        limits: Limits,
        on_packet: impl FnMut(&[u8]) -> Flow + 'static,
        on_close: impl FnOnce(Closed) + 'static,
    ) -> Connection {
        let mut connection = Connection::new(handle, stream, name, limits);
        connection.receive(class, kind, on_packet, on_close);
        connection
    }

    /// For those who send without owning the connection, its own `on_packet` among them.
    pub fn sender(&self) -> Sender {
        self.sender.clone()
    }
}

impl std::ops::Deref for Connection {
    type Target = Sender;
    fn deref(&self) -> &Sender {
        &self.sender
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.sender.0.finish();
    }
}

impl Sender {
    /// The name given at the start.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Sends the packet that `encode` appends to the buffer it is given, which may hold other packets already. `encode`
    /// must not send on this connection itself.
    ///
    /// # Errors
    /// `Closed` and `Full`; then `encode` is not called.
    pub fn send_with(&self, encode: impl FnOnce(&mut Vec<u8>)) -> Result<(), SendError> {
        self.0.push(|queue| queue.push_with(false, encode))
    }

    /// As [`Sender::send_with`], before every packet that is not begun and not urgent.
    ///
    /// # Errors
    /// As there.
    pub fn send_urgent_with(&self, encode: impl FnOnce(&mut Vec<u8>)) -> Result<(), SendError> {
        self.0.push(|queue| queue.push_with(true, encode))
    }

    /// Sends a copy of an encoded packet.
    ///
    /// # Errors
    /// As [`Sender::send_with`].
    pub fn send(&self, packet: &[u8]) -> Result<(), SendError> {
        self.send_with(|buf| buf.extend_from_slice(packet))
    }

    /// Sends an encoded packet, without copying it if it is big.
    ///
    /// # Errors
    /// As [`Sender::send_with`].
    pub fn send_owned(&self, packet: Vec<u8>) -> Result<(), SendError> {
        self.0.push(|queue| queue.push_owned(false, packet))
    }

    /// Packets not fully written.
    pub fn queued_packets(&self) -> usize {
        self.0.queue.borrow().packets()
    }

    /// Bytes not written.
    pub fn queued_bytes(&self) -> usize {
        self.0.queue.borrow().bytes()
    }

    /// Waits until at most `mark` bytes are queued: how producers of bulk data keep in step with the peer.
    ///
    /// # Errors
    /// `Closed` when the connection ends before.
    pub async fn drained(&self, mark: usize) -> Result<(), SendError> {
        loop {
            let drained = self.0.drained.notified();
            if self.is_closed() {
                return Err(SendError::Closed);
            }
            if self.queued_bytes() <= mark {
                return Ok(());
            }
            drained.await;
        }
    }

    /// Ends the connection soon, for this reason; `on_close` is told. Output is still written as far as the stream takes it at once.
    pub fn close(&self, reason: impl Into<Cow<'static, str>>) {
        self.0.end(CloseReason::Asked(reason.into()));
    }

    /// Whether the connection has ended.
    pub fn is_closed(&self) -> bool {
        self.0.stream.borrow().is_none()
    }

    /// What the connection has done.
    pub fn counters(&self) -> Counters {
        self.0.counters.get()
    }

    /// The stream, for addresses and credentials; `None` once closed.
    pub fn stream(&self) -> Option<Stream> {
        self.0.stream()
    }
}

/// Output.
impl Shared {
    fn stream(&self) -> Option<Stream> {
        self.stream.borrow().clone()
    }

    fn push(self: &Rc<Shared>, push: impl FnOnce(&mut OutputQueue)) -> Result<(), SendError> {
        if self.stream.borrow().is_none() || self.ending.borrow().is_some() {
            return Err(SendError::Closed);
        }
        let mut queue = self.queue.borrow_mut();
        if queue.bytes() >= self.limits.queued_bytes_max {
            return Err(SendError::Full);
        }
        push(&mut queue);
        drop(queue);
        self.count(|c| c.packets_out += 1);
        if !self.blocked.get() && !self.armed.replace(true) {
            self.handle.at_turn_end(self.clone());
        }
        Ok(())
    }

    /// Writes what is queued until the stream is full or has taken `share` bytes.
    fn flush(self: &Rc<Shared>, share: usize) {
        let Some(stream) = self.stream() else { return };
        let mut written = 0;
        let result = loop {
            if self.queue.borrow().is_empty() {
                break Ok(());
            }
            if written >= share {
                self.armed.set(true);
                self.handle.at_turn_end(self.clone());
                break Ok(());
            }
            match self.write_once(&stream) {
                Ok(n) => written += n,
                Err(e) => break Err(e),
            }
        };
        self.count(|c| c.bytes_out += written as u64);
        match result {
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => self.blocked.set(true),
            Err(e) => {
                let unsent = self.queue.replace(OutputQueue::new(0));
                drop(unsent);
                self.end(CloseReason::Write(e));
            }
            Ok(()) => {}
        }
        if written > 0 {
            self.drained.notify_all();
        }
    }

    fn write_once(&self, stream: &Stream) -> io::Result<usize> {
        let mut queue = self.queue.borrow_mut();
        let mut slices = [IoSlice::new(&[]); SLICES];
        let count = queue.slices(&mut slices);
        let n = stream.try_write_vectored(&slices[..count])?;
        if n == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        queue.written(n);
        Ok(n)
    }

    fn count(&self, add: impl FnOnce(&mut Counters)) {
        let mut counters = self.counters.get();
        add(&mut counters);
        self.counters.set(counters);
    }
}

impl TurnEnd for Shared {
    fn turn_end(self: Rc<Self>) {
        self.armed.set(false);
        if !self.blocked.get() {
            self.flush(WRITTEN_PER_TURN);
            if self.blocked.get() {
                self.wake_task(); // it waits for the stream
            }
        }
    }
}

/// The end.
impl Shared {
    /// Asks the task to end the connection. The first reason counts.
    fn end(&self, reason: CloseReason) {
        self.ending.borrow_mut().get_or_insert(reason);
        self.wake_task();
    }

    fn wake_task(&self) {
        let waker = self.task.borrow().clone();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Closes the stream after a last attempt to write.
    fn finish(self: &Rc<Shared>) {
        if !self.blocked.get() {
            self.flush(usize::MAX);
        }
        let stream = self.stream.borrow_mut().take();
        drop(stream);
        let queue = self.queue.replace(OutputQueue::new(0));
        drop(queue);
        self.drained.notify_all();
    }
}

/// Why the task stops for the moment.
enum Step {
    /// It had its share of the turn.
    GiveWay,
    End(CloseReason),
}

async fn run(
    shared: Rc<Shared>,
    mut reader: PacketReader,
    mut on_packet: impl FnMut(&[u8]) -> Flow,
    on_close: impl FnOnce(Closed),
) {
    let reason = loop {
        match poll_fn(|cx| shared.poll_step(cx, &mut reader, &mut on_packet)).await {
            Step::GiveWay => shared.handle.yield_now().await,
            Step::End(reason) => break reason,
        }
    };
    let dropped = shared.stream.borrow().is_none();
    shared.finish();
    if !dropped {
        on_close(Closed {
            name: shared.name.clone(),
            reason,
        });
    }
}

/// Input.
impl Shared {
    fn poll_step(
        self: &Rc<Shared>,
        cx: &Context<'_>,
        reader: &mut PacketReader,
        on_packet: &mut impl FnMut(&[u8]) -> Flow,
    ) -> Poll<Step> {
        self.remember_task(cx);
        let Some(stream) = self.stream() else {
            return Poll::Ready(Step::End(CloseReason::Eof));
        };
        while self.blocked.get() && stream.poll_writable(cx).is_ready() {
            self.blocked.set(false);
            self.flush(WRITTEN_PER_TURN);
        }
        let mut bytes = 0;
        let mut packets = 0;
        loop {
            if let Err(reason) = self.deliver(reader, on_packet, &mut packets) {
                return Poll::Ready(Step::End(reason));
            }
            if self.stream.borrow().is_none() {
                return Poll::Ready(Step::End(CloseReason::Eof)); // dropped by on_packet: nobody will be told
            }
            if let Some(reason) = self.asked_to_end() {
                return Poll::Ready(Step::End(reason));
            }
            if packets >= self.limits.read_packets_per_turn || bytes >= self.limits.read_bytes_per_turn {
                return Poll::Ready(Step::GiveWay);
            }
            // A peer that takes no answers has to wait with its questions; the write that drains the queue runs this again.
            if self.blocked.get() && self.queue.borrow().bytes() > self.limits.pause_reading_above {
                return Poll::Pending;
            }
            match stream.try_read(reader.space()) {
                Ok(0) => return Poll::Ready(Step::End(self.ended_by(end_of_stream(reader)))),
                Ok(n) => {
                    reader.filled(n);
                    bytes += n;
                    self.count(|c| c.bytes_in += n as u64);
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    if let Some(reason) = self.ending.borrow_mut().take() {
                        return Poll::Ready(Step::End(reason));
                    }
                    if stream.poll_readable(cx).is_pending() {
                        return Poll::Pending;
                    }
                }
                Err(e) => return Poll::Ready(Step::End(self.ended_by(CloseReason::Read(e)))),
            }
        }
    }

    /// Gives on the packets that are complete, within the turn's share.
    fn deliver(
        &self,
        reader: &mut PacketReader,
        on_packet: &mut impl FnMut(&[u8]) -> Flow,
        packets: &mut usize,
    ) -> Result<(), CloseReason> {
        while *packets < self.limits.read_packets_per_turn {
            let Some(packet) = reader.next_packet()? else {
                return Ok(());
            };
            *packets += 1;
            self.count(|c| c.packets_in += 1);
            if let Flow::Close(reason) = on_packet(packet) {
                return Err(CloseReason::Asked(reason));
            }
            // The packet may have ended its own connection: the rest is not for anybody.
            let asked = matches!(&*self.ending.borrow(), Some(CloseReason::Asked(_)));
            if asked || self.stream.borrow().is_none() {
                return Ok(());
            }
        }
        Ok(())
    }

    /// The end that our side asked for. A failed write waits until all that the peer had sent before it went is read.
    fn asked_to_end(&self) -> Option<CloseReason> {
        let mut ending = self.ending.borrow_mut();
        match &*ending {
            Some(CloseReason::Write(_)) | None => None,
            Some(_) => ending.take(),
        }
    }

    /// The reason that came first.
    fn ended_by(&self, now: CloseReason) -> CloseReason {
        self.ending.borrow_mut().take().unwrap_or(now)
    }

    fn remember_task(&self, cx: &Context<'_>) {
        let mut task = self.task.borrow_mut();
        match &mut *task {
            Some(waker) => waker.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
    }
}

fn end_of_stream(reader: &PacketReader) -> CloseReason {
    match reader.pending() {
        0 => CloseReason::Eof,
        n => CloseReason::EofInPacket(n),
    }
}
