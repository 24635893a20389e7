//! The floor: the same bytes through bare sockets between bare processes.
//!
//! Three relays stand for the daemons. Each has a unix socket for clients and TCP links on the loopback to the other
//! two, as daemons have, and passes packets on along the route that they carry: no look at the content, no database,
//! no state. What the daemons need beyond that is what they do; what they need for that, nobody can do without.

mod relay;

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tempfile::TempDir;

use crate::connection::Connection;
use crate::course::{self, Course, Laps};
use crate::subject::NODES;
use crate::worker::Worker;

pub use relay::run as run_relay;

/// Packets are this long at least: length, place in the route, route, token.
pub const PACKET_BYTES_MIN: usize = 32;
/// Hops of a route.
const HOPS_MAX: usize = 16;
/// Behind the route.
const TOKEN_AT: usize = 24;
/// Hops from here on are clients of the relay.
const FIRST_CLIENT: u8 = 0x40;
/// In the place of the route's: the packet says who its sender is.
const HELLO: u8 = 0xff;

/// Three relays, ended with this value.
pub struct BareCluster {
    dir: TempDir,
    _relays: Vec<Worker>,
}

impl BareCluster {
    pub fn start() -> Result<BareCluster> {
        let dir = tempfile::Builder::new().prefix("ctdb-floor-").tempdir()?;
        let path = dir.path().to_str().context("the directory's name")?.to_owned();
        let start = |index: usize| Worker::start(&["relay".to_owned(), path.clone(), index.to_string()]);
        let mut relays = (0..NODES).map(start).collect::<Result<Vec<_>>>()?;
        let ports = relays.iter_mut().map(Worker::line).collect::<Result<Vec<_>>>()?;
        for relay in &mut relays {
            relay.tell(&ports.join(" "))?;
        }
        relays.iter_mut().try_for_each(Worker::wait_ready)?;
        Ok(BareCluster { dir, _relays: relays })
    }

    /// A client of a relay. Its number is its own among all clients of the relay.
    pub fn connect(&self, relay: usize, client: usize) -> Result<Connection> {
        let mut connection = Connection::open(&relay::socket(self.dir.path(), relay))?;
        connection.send_with(|out| relay::encode_hello(client_hop(client), out))?;
        Ok(connection)
    }
}

/// The last hop of a route.
pub fn client_hop(client: usize) -> u8 {
    FIRST_CLIENT + client as u8
}

/// Appends a packet of so many bytes that goes from a client to the first relay of the route, and on.
pub fn encode(route: &[u8], token: usize, bytes: usize, out: &mut Vec<u8>) {
    assert!(route.len() <= HOPS_MAX, "a route of {} hops", route.len());
    let start = out.len();
    let bytes = bytes.max(PACKET_BYTES_MIN);
    out.extend_from_slice(&(bytes as u32).to_le_bytes());
    out.extend_from_slice(&[0, 0, 0, 0]);
    out.extend_from_slice(route);
    out.resize(start + TOKEN_AT, 0);
    out.extend_from_slice(&(token as u64).to_le_bytes());
    out.resize(start + bytes, 0);
}

/// The token of a packet that has arrived.
pub fn token(packet: &[u8]) -> Result<usize> {
    let bytes = packet
        .get(TOKEN_AT..TOKEN_AT + 8)
        .and_then(|bytes| bytes.try_into().ok());
    Ok(u64::from_le_bytes(bytes.context("a packet without token")?) as usize)
}

/// Tokens that go around between the relays.
pub struct Route<F> {
    /// For a token's step: connection, and the packet's way from the first relay to the client.
    pub way: F,
    pub bytes: usize,
}

impl<F: Fn(usize, u64) -> (usize, Vec<u8>)> Course for Route<F> {
    fn connection(&self, token: usize, step: u64) -> usize {
        (self.way)(token, step).0
    }

    fn begin(&mut self, token: usize, step: u64, out: &mut Vec<u8>) {
        encode(&(self.way)(token, step).1, token, self.bytes, out);
    }

    fn end(&mut self, _connection: usize, packet: &[u8]) -> Result<Option<usize>> {
        token(packet).map(Some)
    }
}

/// Runs so many tokens on routes for a time, with clients numbered as the connections: `clients` of each relay, those
/// of relay 0 at 0, 3, 6, ...
pub fn run(
    clients: usize,
    tokens: usize,
    bytes: usize,
    way: impl Fn(usize, u64) -> (usize, Vec<u8>),
    time: Duration,
) -> Result<Laps> {
    let bare = BareCluster::start()?;
    let connect = |index: usize| bare.connect(index % NODES, index / NODES);
    let mut connections = (0..clients * NODES).map(connect).collect::<Result<Vec<_>>>()?;
    let mut route = Route { way, bytes };
    course::run(&mut connections, tokens, &mut route, |elapsed| elapsed < time)
}

/// The time of packets that a client sends one after the other to a relay and gets back.
pub fn round_trips(connection: &mut Connection, route: &[u8], bytes: usize) -> Result<Duration> {
    let before = Instant::now();
    connection.send_with(|out| encode(route, 0, bytes, out))?;
    connection.receive()?;
    Ok(before.elapsed())
}
