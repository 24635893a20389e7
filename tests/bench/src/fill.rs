//! Many records at once, written as clients do: under chain locks into the nodes' files.

use std::ops::Range;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use ctdb_protocol::{LtdbHeader, Pnn, RecFlags, Rsn};
use ctdb_tdb::StoreMode;

use crate::connection::Connection;
use crate::database::{Database, Kind};
use crate::parallel::in_parallel;

/// As a key of `locking.tdb`.
pub const KEY_BYTES: usize = 24;
/// As a small value in it.
pub const VALUE_BYTES: usize = 100;

/// Puts `count` records into the database, an equal share on each node, which is the data master of its share.
pub fn fill(sockets: &[PathBuf], name: &str, count: usize) -> Result<()> {
    let nodes = sockets.len();
    in_parallel(nodes, |node| {
        let share = count * node / nodes..count * (node + 1) / nodes;
        fill_node(&sockets[node], name, share)
    })?;
    Ok(())
}

fn fill_node(socket: &Path, name: &str, records: Range<usize>) -> Result<()> {
    let mut daemon = Connection::open(socket)?;
    let database = Database::open(&mut daemon, name, Kind::Volatile)?;
    let header = LtdbHeader {
        rsn: Rsn(1),
        dmaster: database.pnn,
        flags: RecFlags::MIGRATED_WITH_DATA,
    };
    let header = header.to_bytes();
    for record in records {
        let key = key(record);
        let _lock = database.tdb.lock_chain(&key)?;
        let value = value(record);
        database
            .tdb
            .store_vectored(&key, &[&header, &value], StoreMode::Replace)?;
    }
    Ok(())
}

/// Looks at some of the records on every node: after a recovery, all have all of them, and the leader is the data
/// master.
pub fn check(sockets: &[PathBuf], name: &str, count: usize, leader: Pnn) -> Result<()> {
    const SAMPLES: usize = 500;
    for socket in sockets {
        let database = Database::open(&mut Connection::open(socket)?, name, Kind::Volatile)?;
        for record in (0..count).step_by(count / SAMPLES) {
            let data = database.tdb.fetch(&key(record))?;
            let data = data.with_context(|| format!("node {} has lost record {record}", database.pnn))?;
            let (header, found) = LtdbHeader::split(&data).context("a record without header")?;
            ensure!(
                header.dmaster == leader && found == value(record),
                "node {} has record {record} with {header:?} and other data than was stored",
                database.pnn
            );
        }
    }
    Ok(())
}

fn key(record: usize) -> Vec<u8> {
    format!("{record:0KEY_BYTES$}").into_bytes()
}

fn value(record: usize) -> Vec<u8> {
    format!("{record:VALUE_BYTES$}").into_bytes()
}
