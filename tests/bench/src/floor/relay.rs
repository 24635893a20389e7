//! A process that passes packets on.

use std::collections::{HashMap, HashSet};
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream as BlockingStream};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use mio::event::Source;
use mio::net::{TcpListener, TcpStream, UnixListener};
use mio::{Events, Interest, Poll, Token};

use super::{HELLO, PACKET_BYTES_MIN};
use crate::worker::Inside;

const CLIENTS: Token = Token(0);
const PEERS: Token = Token(1);
/// Links have the tokens behind.
const FIRST_LINK: usize = 2;
const READ_BYTES: usize = 64 * 1024;
/// Place in the route, and route.
const PLACE_AT: usize = 4;
const ROUTE_AT: usize = 8;

trait Duplex: Read + Write + Source {}
impl<T: Read + Write + Source> Duplex for T {}

struct Link {
    stream: Box<dyn Duplex>,
    input: Vec<u8>,
    output: Vec<u8>,
    /// Bytes of the output that are written.
    written: usize,
}

struct Relay {
    index: u8,
    poll: Poll,
    links: Vec<Link>,
    /// Where a hop leads.
    by_hop: HashMap<u8, usize>,
    /// For hops that have not said who they are.
    early: HashMap<u8, Vec<u8>>,
    to_flush: HashSet<usize>,
    buffer: Box<[u8]>,
}

/// The socket of a relay's clients.
pub fn socket(dir: &Path, relay: usize) -> PathBuf {
    dir.join(format!("{relay}.socket"))
}

/// Appends what a client or relay sends first: which hop it is.
pub fn encode_hello(hop: u8, out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(&(PACKET_BYTES_MIN as u32).to_le_bytes());
    out.extend_from_slice(&[HELLO, 0, 0, 0, hop]);
    out.resize(start + PACKET_BYTES_MIN, 0);
}

/// Runs a relay until the benchmark ends it.
pub fn run(inside: &Inside, dir: &Path, index: usize) -> Result<()> {
    let mut clients = UnixListener::bind(socket(dir, index))?;
    let mut peers = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
    inside.say(&peers.local_addr()?.port().to_string())?;
    let mut relay = Relay::new(index)?;
    let registry = relay.poll.registry();
    registry.register(&mut clients, CLIENTS, Interest::READABLE)?;
    registry.register(&mut peers, PEERS, Interest::READABLE)?;
    for (peer, port) in inside.listen()?.split(' ').enumerate().take(index) {
        relay.connect(peer, port.parse().context("a port")?)?;
    }
    inside.say("ready")?;

    let mut events = Events::with_capacity(256);
    loop {
        relay.poll.poll(&mut events, None)?;
        for event in &events {
            match event.token() {
                CLIENTS => accept_all(|| relay.accept(clients.accept().map(|(stream, _)| stream)))?,
                PEERS => accept_all(|| {
                    let accepted = peers.accept();
                    if let Ok((stream, _)) = &accepted {
                        stream.set_nodelay(true)?;
                    }
                    relay.accept(accepted.map(|(stream, _)| stream))
                })?,
                Token(token) => {
                    let link = token - FIRST_LINK;
                    relay.to_flush.insert(link);
                    relay.read(link)?;
                }
            }
        }
        relay.flush()?;
    }
}

/// Until there is none any more.
fn accept_all(mut accept: impl FnMut() -> std::io::Result<()>) -> Result<()> {
    loop {
        match accept() {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
}

impl Relay {
    fn new(index: usize) -> Result<Relay> {
        Ok(Relay {
            index: index as u8,
            poll: Poll::new()?,
            links: Vec::new(),
            by_hop: HashMap::new(),
            early: HashMap::new(),
            to_flush: HashSet::new(),
            buffer: vec![0; READ_BYTES].into(),
        })
    }

    fn connect(&mut self, peer: usize, port: u16) -> Result<()> {
        let stream = BlockingStream::connect((Ipv4Addr::LOCALHOST, port))?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        self.add(TcpStream::from_std(stream))?;
        let link = self.links.len() - 1;
        encode_hello(self.index, &mut self.links[link].output);
        self.by_hop.insert(peer as u8, link);
        self.to_flush.insert(link);
        self.flush()
    }

    fn accept(&mut self, stream: std::io::Result<impl Duplex + 'static>) -> std::io::Result<()> {
        self.add(stream?)
    }

    fn add(&mut self, mut stream: impl Duplex + 'static) -> std::io::Result<()> {
        let token = Token(FIRST_LINK + self.links.len());
        let both = Interest::READABLE | Interest::WRITABLE;
        self.poll.registry().register(&mut stream, token, both)?;
        self.links.push(Link {
            stream: Box::new(stream),
            input: Vec::new(),
            output: Vec::new(),
            written: 0,
        });
        Ok(())
    }

    /// Takes all that has come and puts it where it goes next.
    fn read(&mut self, link: usize) -> Result<()> {
        let mut input = std::mem::take(&mut self.links[link].input);
        let mut drained = false;
        while !drained {
            match self.links[link].stream.read(&mut self.buffer) {
                // A client is done.
                Ok(0) => break,
                Ok(count) => {
                    input.extend_from_slice(&self.buffer[..count]);
                    drained = count < READ_BYTES;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::ConnectionReset => break,
                Err(error) => return Err(error.into()),
            }
            let mut from = 0;
            while let Some(length) = whole_packet(&input[from..]) {
                self.pass_on(link, &mut input[from..from + length]);
                from += length;
            }
            input.drain(..from);
        }
        self.links[link].input = input;
        Ok(())
    }

    fn pass_on(&mut self, from: usize, packet: &mut [u8]) {
        if packet[PLACE_AT] == HELLO {
            let hop = packet[ROUTE_AT];
            self.by_hop.insert(hop, from);
            let early = self.early.remove(&hop).unwrap_or_default();
            self.links[from].output.extend_from_slice(&early);
            self.to_flush.insert(from);
            return;
        }
        // The first hop of the route is the relay that the client is connected to.
        packet[PLACE_AT] += 1;
        let hop = packet[ROUTE_AT + usize::from(packet[PLACE_AT])];
        match self.by_hop.get(&hop) {
            Some(&link) => {
                self.links[link].output.extend_from_slice(packet);
                self.to_flush.insert(link);
            }
            None => self.early.entry(hop).or_default().extend_from_slice(packet),
        }
    }

    /// Writes what the streams take; the rest goes when they are writable again.
    fn flush(&mut self) -> Result<()> {
        for link in self.to_flush.drain() {
            let link = &mut self.links[link];
            while link.written < link.output.len() {
                match link.stream.write(&link.output[link.written..]) {
                    Ok(count) => link.written += count,
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    // A client is done.
                    Err(error) if error.kind() == ErrorKind::BrokenPipe => {
                        link.written = link.output.len();
                    }
                    Err(error) => return Err(error.into()),
                }
            }
            if link.written == link.output.len() {
                link.output.clear();
                link.written = 0;
            }
        }
        Ok(())
    }
}

fn whole_packet(input: &[u8]) -> Option<usize> {
    let length = u32::from_le_bytes(*input.first_chunk::<4>()?) as usize;
    (length >= PACKET_BYTES_MIN && length <= input.len()).then_some(length)
}
