//! A client's connection, as thin as it can be: the daemon is to be measured, not its client.
//!
//! Blocking for who asks one thing at a time; with [`Connection::set_nonblocking`] for [`crate::course`], which has
//! many connections in one thread.

use std::io::{ErrorKind, Read, Write};
use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use ctdb_protocol::packet::{CallId, ControlHead, Packet, ReqCall, ReqMessage};
use ctdb_protocol::{
    CallFlags, ControlFlags, DbId, Generation, Header, Opcode, PacketHeader, Pnn, Reply, Reqid, Request,
    Srvid,
};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// For answers that nothing holds up. During a recovery the daemons hold calls back, and 10^6 records take their time.
const ANSWER_LIMIT: Duration = Duration::from_secs(120);
/// Free space in front of each read.
const READ_BYTES: usize = 64 * 1024;

/// A connection to a daemon's socket, or to a relay of the floor, whose packets begin with their length, too.
pub struct Connection {
    stream: UnixStream,
    /// Received bytes: those before `from` have been given out, those from `filled` on are free.
    input: Vec<u8>,
    from: usize,
    filled: usize,
    output: Vec<u8>,
    reqid: u32,
    /// How often a record was asked for.
    pub migrations: u64,
}

/// What a control was answered with.
pub struct Answer {
    pub status: i32,
    pub data: Vec<u8>,
    opcode: Opcode,
}

impl Answer {
    /// The data, typed by the control.
    pub fn reply(&self) -> Result<Reply<'_>> {
        Ok(Reply::decode(self.opcode, &self.data)?)
    }
}

impl Connection {
    pub fn open(socket: &Path) -> Result<Connection> {
        let stream =
            UnixStream::connect(socket).with_context(|| format!("connect to {}", socket.display()))?;
        stream.set_read_timeout(Some(ANSWER_LIMIT))?;
        Ok(Connection {
            stream,
            input: Vec::new(),
            from: 0,
            filled: 0,
            output: Vec::new(),
            reqid: 0,
            migrations: 0,
        })
    }

    pub fn set_nonblocking(&self) -> Result<()> {
        Ok(self.stream.set_nonblocking(true)?)
    }

    pub fn fd(&self) -> RawFd {
        self.stream.as_raw_fd()
    }

    /// The header of the next request to a node.
    pub fn request_header(&mut self, to: Pnn) -> PacketHeader {
        self.reqid = self.reqid.wrapping_add(1) & 0x7fff_ffff;
        // Clients are in no generation, and the daemon knows its own number.
        PacketHeader::new(Generation(0), Pnn(0), to, Reqid(self.reqid))
    }

    /// Sends what `encode` writes.
    pub fn send_with(&mut self, encode: impl FnOnce(&mut Vec<u8>)) -> Result<()> {
        self.output.clear();
        encode(&mut self.output);
        let mut left = &self.output[..];
        while !left.is_empty() {
            match self.stream.write(left) {
                Ok(count) => left = &left[count..],
                Err(error) if error.kind() == ErrorKind::WouldBlock => wait_writable(self.stream.as_fd())?,
                Err(error) => return Err(error).context("sending to the daemon"),
            }
        }
        Ok(())
    }

    /// The next packet's bytes; waits for it.
    pub fn receive(&mut self) -> Result<&[u8]> {
        loop {
            if let Some(packet) = self.cut()? {
                return Ok(&self.input[packet]);
            }
            match self.fill() {
                Ok(0) => bail!("the daemon closed the connection"),
                Ok(_) => {}
                Err(error) => return Err(error).context("no answer of the daemon"),
            }
        }
    }

    /// Gives each packet that is there to `each`; to be called after each event of the poll.
    pub fn receive_all(&mut self, mut each: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let mut more = true;
        loop {
            while let Some(packet) = self.cut()? {
                each(&self.input[packet])?;
            }
            // A short read got all that had come; what comes now is another event.
            if !more {
                return Ok(());
            }
            match self.fill() {
                Ok(0) => bail!("the daemon closed the connection"),
                Ok(_) => more = self.filled == self.input.len(),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error).context("reading from the daemon"),
            }
        }
    }

    /// Takes a whole packet off the input.
    fn cut(&mut self) -> Result<Option<Range<usize>>> {
        let input = &self.input[self.from..self.filled];
        let Some(length) = Header::peek_length(input) else {
            return Ok(None);
        };
        let length = length as usize;
        ensure!(length >= 4, "a packet of {length} bytes");
        if input.len() < length {
            return Ok(None);
        }
        let packet = self.from..self.from + length;
        self.from += length;
        Ok(Some(packet))
    }

    fn fill(&mut self) -> std::io::Result<usize> {
        self.input.copy_within(self.from..self.filled, 0);
        self.filled -= self.from;
        self.from = 0;
        if self.input.len() < self.filled + READ_BYTES {
            self.input.resize(2 * (self.filled + READ_BYTES), 0);
        }
        let free = &mut self.input[self.filled..];
        let count = self.stream.read(free)?;
        self.filled += count;
        Ok(count)
    }
}

/// What clients ask.
impl Connection {
    /// One control, and its answer whatever the status is. Messages that come before it are passed over.
    pub fn control(&mut self, to: Pnn, request: &Request<'_>) -> Result<Answer> {
        self.control_as(ControlHead::new(request.opcode()), to, request)
    }

    /// As [`Connection::control`], without an answer.
    pub fn control_noreply(&mut self, to: Pnn, request: &Request<'_>) -> Result<()> {
        let head = ControlHead::new(request.opcode()).with_flags(ControlFlags::NOREPLY);
        let header = self.request_header(to);
        self.send_with(|out| head.encode_packet(&header, out, |out| request.encode(out)))
    }

    /// As [`Connection::control`], and the status has to be 0.
    pub fn expect(&mut self, to: Pnn, request: &Request<'_>) -> Result<Answer> {
        let answer = self.control(to, request)?;
        ensure!(
            answer.status == 0,
            "node {to} answered {} with status {}",
            answer.opcode,
            answer.status
        );
        Ok(answer)
    }

    /// Messages for this service are to come to this connection.
    pub fn register(&mut self, srvid: Srvid) -> Result<()> {
        let request = Request::RegisterSrvid;
        let head = ControlHead::new(request.opcode()).with_srvid(srvid);
        let answer = self.control_as(head, Pnn::CURRENT, &request)?;
        ensure!(
            answer.status == 0,
            "REGISTER_SRVID answered with status {}",
            answer.status
        );
        Ok(())
    }

    fn control_as(&mut self, head: ControlHead, to: Pnn, request: &Request<'_>) -> Result<Answer> {
        let header = self.request_header(to);
        self.send_with(|out| head.encode_packet(&header, out, |out| request.encode(out)))?;
        loop {
            let (answered, packet) = Packet::decode(self.receive()?)?;
            if let Packet::ReplyControl(reply) = packet
                && answered.reqid == header.reqid
            {
                return Ok(Answer {
                    status: reply.status,
                    data: reply.data.to_vec(),
                    opcode: head.opcode,
                });
            }
        }
    }

    /// Asks for a record to come to this node, and waits until it has.
    pub fn migrate(&mut self, db_id: DbId, key: &[u8]) -> Result<()> {
        self.migrations += 1;
        let header = self.request_header(Pnn::CURRENT);
        self.send_with(|out| encode_migration(&header, db_id, key, out))?;
        loop {
            let (answered, packet) = Packet::decode(self.receive()?)?;
            if answered.reqid == header.reqid {
                return migrated(&packet);
            }
        }
    }
}

/// Appends the request of a client that wants a record on its node.
pub fn encode_migration(header: &PacketHeader, db_id: DbId, key: &[u8], out: &mut Vec<u8>) {
    let call = ReqCall {
        flags: CallFlags::IMMEDIATE_MIGRATION,
        db_id,
        callid: CallId::NULL,
        hopcount: 0,
        key,
        calldata: b"",
    };
    Packet::ReqCall(call).encode(header, out);
}

/// Whether the answer to [`encode_migration`] is a good one.
pub fn migrated(packet: &Packet<'_>) -> Result<()> {
    match packet {
        Packet::ReplyCall(reply) if reply.status == 0 => Ok(()),
        other => bail!("a call was answered by {other:?}"),
    }
}

/// Appends a message.
pub fn encode_message(to: Pnn, srvid: Srvid, data: &[u8], out: &mut Vec<u8>) {
    let header = PacketHeader::new(Generation(0), Pnn(0), to, Reqid(0));
    ReqMessage::encode_packet(&header, srvid, out, |out| out.extend_from_slice(data));
}

fn wait_writable(fd: BorrowedFd<'_>) -> Result<()> {
    let mut fds = [PollFd::new(fd, PollFlags::POLLOUT)];
    poll(&mut fds, PollTimeout::NONE)?;
    Ok(())
}
