//! **messages**: clients on three nodes have registered a service; a message of 32 bytes goes from the client on node 0
//! to the one on node 1, from there to node 2, and so on. Counted are messages that arrive. Once a single message is
//! under way, once sixty-four.
//!
//! The floor: packets of the same size on the same way, from process to process to process.

use std::process;

use anyhow::{Context, Result};
use ctdb_protocol::packet::Packet;
use ctdb_protocol::{Pnn, Srvid};

use crate::connection::encode_message;
use crate::course::{self, Course};
use crate::floor::{self, client_hop};
use crate::plan::Plan;
use crate::row::Row;
use crate::subject::{NODES, Subject, connect_all};

/// Bytes of each message.
const DATA_BYTES: usize = 32;
/// Header, srvid, length, data, padding.
const PACKET_BYTES: usize = 80;
/// Messages under way: of who waits for each, and of many clients.
const UNDER_WAY: [usize; 2] = [1, 64];
/// The service, below our process number.
const SERVICE: Srvid = Srvid(0xBE0B_0000_0000_0000);

struct Messages {
    service: Srvid,
}

impl Course for Messages {
    fn connection(&self, _token: usize, step: u64) -> usize {
        step as usize % NODES
    }

    fn begin(&mut self, token: usize, step: u64, out: &mut Vec<u8>) {
        let to = (step as usize + 1) % NODES;
        let mut data = [0; DATA_BYTES];
        data[..8].copy_from_slice(&(token as u64).to_le_bytes());
        encode_message(Pnn(to as u32), self.service, &data, out);
    }

    fn end(&mut self, _connection: usize, packet: &[u8]) -> Result<Option<usize>> {
        let (_, Packet::ReqMessage(message)) = Packet::decode(packet)? else {
            return Ok(None);
        };
        let token = message.data.first_chunk().context("a message that is not ours")?;
        Ok(Some(u64::from_le_bytes(*token) as usize))
    }
}

pub fn daemons(subject: &mut Subject) -> Result<Vec<Row>> {
    let service = Srvid(SERVICE.0 | u64::from(process::id()));
    let mut rows = Vec::new();
    for under_way in UNDER_WAY {
        let mut connections = connect_all(subject.cluster()?)?;
        for connection in &mut connections {
            connection.register(service)?;
        }
        let time = subject.plan.counting;
        let mut messages = Messages { service };
        let laps = course::run(&mut connections, under_way, &mut messages, |elapsed| {
            elapsed < time
        })?;
        rows.push(row(under_way, laps.per_second()));
    }
    Ok(rows)
}

pub fn floor(plan: Plan) -> Result<Vec<Row>> {
    let way = |_, step: u64| {
        let [from, to] = [step as usize, step as usize + 1].map(|node| node % NODES);
        (from, vec![from as u8, to as u8, client_hop(0)])
    };
    let mut rows = Vec::new();
    for under_way in UNDER_WAY {
        let laps = floor::run(1, under_way, PACKET_BYTES, way, plan.counting)?;
        rows.push(row(under_way, laps.per_second()));
    }
    Ok(rows)
}

fn row(under_way: usize, per_second: f64) -> Row {
    Row::rate(
        &format!("messages_{under_way}"),
        &format!("messages around a ring of 3 nodes, {under_way} under way"),
        per_second,
    )
}
