//! **records-1e5**, **records-1e6**: a cluster of its own (in the quick run that of the measures before) with one volatile database of so many records of 24 bytes key
//! and 100 bytes value, a third on each node, written into the nodes' files as clients write. Then one recovery on
//! request:
//!
//! - *recovery*: from the request to the last node in recovery mode NORMAL with the new generation (see
//!   `recover.rs`). Afterwards every node has all records, which is looked at;
//! - *unanswered*: the longest that any of the three daemons left a PING of a client unanswered meanwhile, asked a
//!   millisecond after each answer;
//! - *extra memory*: how much more memory of their own (neither files nor shared) all processes of the cluster
//!   together had at the worst moment than before, seen every 100 ms;
//! - *resident*: of `ctdbd` after that, the most of the three nodes, database files that it has mapped included; and how
//!   much of that is its own.
//!
//! The floor: the same bytes as packets of a megabyte, first from a client of each node to one client (the pull), then
//! from that one to a client of each node (the push), over bare relays.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Result;
use ctdb_protocol::{LtdbHeader, Pnn, RecData};

use crate::connection::Connection;
use crate::fill::{KEY_BYTES, VALUE_BYTES, check, fill};
use crate::floor::{BareCluster, client_hop, encode};
use crate::memory;
use crate::parallel::in_parallel;
use crate::pinger::longest_silence;
use crate::plan::Plan;
use crate::recover::recover;
use crate::row::Row;
use crate::subject::{NODES, Subject, leader, sockets};

const DATABASE: &str = "records.tdb";
/// RecBufferSizeLimit's default.
const PACKET_BYTES: usize = 1_000_000;

pub fn small(subject: &mut Subject) -> Result<Vec<Row>> {
    daemons(subject, 100_000, "1e5", "10^5")
}

pub fn big(subject: &mut Subject) -> Result<Vec<Row>> {
    daemons(subject, 1_000_000, "1e6", "10^6")
}

pub fn floor_of_small(_: Plan) -> Result<Vec<Row>> {
    floor(100_000, "1e5", "10^5")
}

pub fn floor_of_big(_: Plan) -> Result<Vec<Row>> {
    floor(1_000_000, "1e6", "10^6")
}

fn daemons(subject: &mut Subject, count: usize, id: &str, number: &str) -> Result<Vec<Row>> {
    if !subject.plan.quick {
        subject.fresh_cluster()?;
    }
    let sockets = sockets(subject.cluster()?);
    fill(&sockets, DATABASE, count)?;
    subject.pause_before_recovery();
    let cluster = subject.cluster()?;
    let leading = leader(cluster)?;
    let before = memory::own_of_all(cluster);
    let (peak, recovered) = memory::peak_during(cluster, || longest_silence(&sockets, || recover(cluster)));
    let (silence, took) = recovered?;
    check(&sockets, DATABASE, count, Pnn(leading as u32))?;
    let daemon = memory::of_ctdbd(cluster.nodes())?;
    subject.end();

    let memory = |name: &str, what: &str, bytes| {
        Row::memory(
            &format!("{name}_{id}"),
            &format!("{what}, {number} records"),
            bytes,
        )
    };
    Ok(vec![
        recovery_row(id, number, took),
        Row::time(
            &format!("silence_{id}"),
            &format!("  longest unanswered ping meanwhile, {number} records"),
            silence,
        ),
        memory(
            "extra",
            "  extra memory meanwhile, all processes",
            peak.saturating_sub(before),
        ),
        memory(
            "resident",
            "resident memory of ctdbd, mapped files too",
            daemon.resident,
        ),
        memory("own", "  of this its own", daemon.own),
    ])
}

fn recovery_row(id: &str, number: &str, took: Duration) -> Row {
    Row::time(
        &format!("recover_{id}"),
        &format!("recovery of {number} records"),
        took,
    )
}

fn floor(count: usize, id: &str, number: &str) -> Result<Vec<Row>> {
    let record_bytes = RecData::LEN_MIN + KEY_BYTES + LtdbHeader::LEN + VALUE_BYTES;
    let packets = (count * record_bytes).div_ceil(PACKET_BYTES);
    let bare = BareCluster::start()?;
    let (collector, client) = (1, 0);
    let start = Instant::now();
    // Each node sends its share to the one that collects at node 0.
    let pull = |node: usize| (node, vec![node as u8, 0, client_hop(collector)]);
    transfer(&bare, &[0, 1, 2].map(pull), packets / NODES, &[(0, collector)])?;
    // That one sends everything to each.
    let push = |node: usize| (0, vec![0, node as u8, client_hop(client)]);
    let receivers = [0, 1, 2].map(|node| (node, client));
    transfer(&bare, &[0, 1, 2].map(push), packets, &receivers)?;
    Ok(vec![recovery_row(id, number, start.elapsed())])
}

/// Sends so many packets on each way, which begins at a relay, and waits until all have come to the receivers (relay
/// and client).
fn transfer(
    bare: &BareCluster,
    ways: &[(usize, Vec<u8>)],
    packets: usize,
    receivers: &[(usize, usize)],
) -> Result<()> {
    let to_each = packets * ways.len() / receivers.len();
    // Before anything is sent to them.
    let receivers = receivers
        .iter()
        .map(|&(relay, client)| Ok(Mutex::new(bare.connect(relay, client)?)))
        .collect::<Result<Vec<_>>>()?;
    let receive = |receiver: &Mutex<Connection>| -> Result<()> {
        let mut connection = receiver.lock().unwrap_or_else(PoisonError::into_inner);
        (0..to_each).try_for_each(|_| connection.receive().map(|_| ()))
    };
    let send = |number: usize| -> Result<()> {
        let (relay, mut way) = ways[number].clone();
        // A way to the relay that it begins at has one hop less.
        way.dedup();
        let mut connection = bare.connect(relay, 2 + number)?;
        (0..packets).try_for_each(|_| connection.send_with(|out| encode(&way, 0, PACKET_BYTES, out)))
    };
    in_parallel(receivers.len() + ways.len(), |number| {
        match receivers.get(number) {
            Some(receiver) => receive(receiver),
            None => send(number - receivers.len()),
        }
    })?;
    Ok(())
}
