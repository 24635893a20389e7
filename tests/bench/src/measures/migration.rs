//! **migration**: a client on each of three nodes; a record goes to node 0, then to node 1, to node 2, and around again.
//! At each node a client does what every client does: asks for the record, and when the answer is there takes the chain
//! lock in the node's file, sees that the record is on this node and holds what was stored last, stores a number
//! one higher, and unlocks. Counted are such visits, each of which is one migration.
//!
//! - *1 record*: one client at a time, always the same record.
//! - *1000 records*: one client at a time; all records go to a node one after the other, then to the next node.
//! - *64 clients*: sixty-four records, each with a client on each node, all under way at the same time.
//!
//! The floor: packets of the size of a migration's on the way that it takes (to the location master, to the node that
//! has the record, back the same way; less where two of these are the same node), without databases.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use ctdb_protocol::packet::Packet;
use ctdb_protocol::{Generation, PacketHeader, Pnn, Reqid};

use crate::connection::{Connection, encode_migration, migrated};
use crate::course::{self, Course, Laps};
use crate::database::{Database, Kind, number};
use crate::floor::{self, BareCluster, client_hop};
use crate::plan::Plan;
use crate::row::Row;
use crate::subject::{NODES, Subject, sockets};

/// The database of all records that migrate.
pub const DATABASE: &str = "bench.tdb";
/// Clients on each node, at most.
pub const CLIENTS_MAX: usize = 64;
/// Mean of the packets between nodes: REQ_CALL, REQ_DMASTER, REPLY_DMASTER with our keys and values.
const PACKET_BYTES: usize = 104;

/// Row, what it says, clients at the same time, records of each.
const CASES: [(&str, &str, usize, usize); 3] = [
    ("migration_1", "1 record", 1, 1),
    ("migration_1000", "1000 records", 1, 1000),
    ("migration_64", "64 clients", 64, 64),
];

struct Migrations<'d> {
    databases: &'d [Database],
    /// By token and record.
    keys: Vec<Vec<Vec<u8>>>,
    steps: Vec<u64>,
}

impl Migrations<'_> {
    /// Node and record of a token's step, and how often the record was visited before.
    fn place(&self, token: usize, step: u64) -> (usize, usize, u64) {
        let records = self.keys[token].len() as u64;
        let round = step / records;
        (round as usize % NODES, (step % records) as usize, round)
    }
}

impl Course for Migrations<'_> {
    fn connection(&self, token: usize, step: u64) -> usize {
        token * NODES + self.place(token, step).0
    }

    fn begin(&mut self, token: usize, step: u64, out: &mut Vec<u8>) {
        self.steps[token] = step;
        let (node, record, _) = self.place(token, step);
        // One request at a time on a connection.
        let header = PacketHeader::new(
            Generation(0),
            Pnn(0),
            Pnn::CURRENT,
            Reqid(step as u32 & 0x7fff_ffff),
        );
        encode_migration(&header, self.databases[node].id, &self.keys[token][record], out);
    }

    fn end(&mut self, connection: usize, packet: &[u8]) -> Result<Option<usize>> {
        let token = connection / NODES;
        migrated(&Packet::decode(packet)?.1)?;
        let (node, record, visits) = self.place(token, self.steps[token]);
        let locked = self.databases[node]
            .lock_if_here(&self.keys[token][record])?
            .with_context(|| format!("a record was said to be on node {node} and is not there"))?;
        let before = number(&locked.value)?;
        ensure!(
            before == visits,
            "a record has number {before} after {visits} visits: a change was lost"
        );
        locked.count()?;
        Ok(Some(token))
    }
}

/// Has `records` records migrate, shared among so many tokens, as long as `go_on` says. `name` is part of the keys:
/// one that was not there before.
pub fn migrate(
    sockets: &[PathBuf],
    name: &str,
    tokens: usize,
    records: usize,
    go_on: impl Fn(Duration) -> bool,
) -> Result<Laps> {
    let open = |socket: &PathBuf| Database::open(&mut Connection::open(socket)?, DATABASE, Kind::Volatile);
    let databases = sockets.iter().map(open).collect::<Result<Vec<_>>>()?;
    let key = |token, record| format!("{name:>8} {token:4} {record:8}\0\0").into_bytes();
    let keys = |token| (0..records / tokens).map(|record| key(token, record)).collect();
    let mut migrations = Migrations {
        databases: &databases,
        keys: (0..tokens).map(keys).collect(),
        steps: vec![0; tokens],
    };
    let mut connections = (0..tokens)
        .flat_map(|_| sockets)
        .map(|socket| Connection::open(socket))
        .collect::<Result<Vec<_>>>()?;
    course::run(&mut connections, tokens, &mut migrations, go_on)
}

pub fn daemons(subject: &mut Subject) -> Result<Vec<Row>> {
    let sockets = sockets(subject.cluster()?);
    let time = subject.plan.counting;
    let measure = |&(id, what, tokens, records): &(&str, &str, usize, usize)| {
        let laps = migrate(&sockets, id, tokens, records, |elapsed| elapsed < time)?;
        Ok(row(id, what, &laps))
    };
    CASES.iter().map(measure).collect()
}

/// What [`migrate`] has go over bare relays.
pub fn bare(
    bare: &BareCluster,
    tokens: usize,
    records: usize,
    go_on: impl Fn(Duration) -> bool,
) -> Result<Laps> {
    let mut connections = (0..tokens * NODES)
        .map(|index| bare.connect(index % NODES, index / NODES))
        .collect::<Result<Vec<_>>>()?;
    let per_token = (records / tokens) as u64;
    let mut route = floor::Route {
        way: |token: usize, step: u64| {
            let at = (step / per_token) as usize % NODES;
            let lmaster = (token + (step % per_token) as usize) % NODES;
            (token * NODES + at, way(at, lmaster, token))
        },
        bytes: PACKET_BYTES,
    };
    course::run(&mut connections, tokens, &mut route, go_on)
}

/// A migration's way to node `at` from the node before it, and to the client that wants it.
fn way(at: usize, lmaster: usize, client: usize) -> Vec<u8> {
    let before = (at + NODES - 1) % NODES;
    let mut way = [at, lmaster, before, lmaster, at].map(|node| node as u8).to_vec();
    way.dedup();
    way.push(client_hop(client));
    way
}

pub fn floor(plan: Plan) -> Result<Vec<Row>> {
    let measure = |&(id, what, tokens, records): &(&str, &str, usize, usize)| {
        let cluster = BareCluster::start()?;
        let laps = bare(&cluster, tokens, records, |elapsed| elapsed < plan.counting)?;
        Ok(row(id, what, &laps))
    };
    CASES.iter().map(measure).collect()
}

fn row(id: &str, what: &str, laps: &Laps) -> Row {
    let what = format!("record migrations around a ring of 3 nodes, {what}");
    Row::rate(id, &what, laps.per_second())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_way_has_no_hop_to_the_same_node() {
        assert_eq!(way(1, 0, 0), [1, 0, 1, client_hop(0)]);
        assert_eq!(way(1, 1, 0), [1, 0, 1, client_hop(0)]);
        assert_eq!(way(1, 2, 5), [1, 2, 0, 2, 1, client_hop(5)]);
    }
}
