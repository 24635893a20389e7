//! **transactions**: transactions that store one record of 100 bytes in a persistent database, as the ctdb client library
//! makes them: the lock in `g_lock.tdb`, the record and the sequence number read from the file, TRANS3_COMMIT, the
//! lock given back. By one client, and by one on each of three nodes in the same database at the same time, where each
//! waits for the others' lock by asking every millisecond. The sequence number has to count all of them.
//!
//! The floor: a transaction of libtdb with the same two records on three files at the same time, which is what three nodes
//! need on their disk. All nodes of the benchmark share one disk, as no real cluster does.

use std::path::Path;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use ctdb_tdb::{OpenOptions, StoreMode, Tdb};

use crate::connection::Connection;
use crate::parallel::in_parallel;
use crate::plan::Plan;
use crate::row::Row;
use crate::subject::{NODES, Subject, sockets};
use crate::transaction::{SEQNUM_KEY, Transactions};

const DATABASE: &str = "bench_persistent.tdb";
const KEY: &[u8] = b"a record of the benchmark";
const VALUE_BYTES: usize = 100;
/// Header and number.
const SEQNUM_BYTES: usize = 32;

/// Another one each time: what is stored already, neither clients nor libtdb write again.
fn value(number: u64) -> [u8; VALUE_BYTES] {
    let mut value = [b'v'; VALUE_BYTES];
    value[..8].copy_from_slice(&number.to_le_bytes());
    value
}

pub fn daemons(subject: &mut Subject) -> Result<Vec<Row>> {
    let time = subject.plan.committing;
    let sockets = sockets(subject.cluster()?);
    let before = seqnum(&sockets[0])?;
    let one = in_parallel(1, |node| commit(&sockets[node], time))?;
    let all = in_parallel(NODES, |node| commit(&sockets[node], time))?;
    let made: u64 = one.iter().chain(&all).sum();
    let counted = seqnum(&sockets[0])? - before;
    ensure!(
        counted == made,
        "{made} transactions were made, and the sequence number has counted {counted}"
    );
    Ok(rows(rate(&one, time), rate(&all, time)))
}

pub fn floor(plan: Plan) -> Result<Vec<Row>> {
    let dir = tempfile::Builder::new().prefix("ctdb-floor-").tempdir()?;
    let barrier = Barrier::new(NODES);
    let done = AtomicBool::new(false);
    let one_file = |node: usize| {
        let path = dir.path().join(format!("bare.tdb.{node}"));
        write_in_step(&path, &barrier, &done, plan.committing)
    };
    let rounds = in_parallel(NODES, one_file)?;
    let per_second = rate(&rounds[..1], plan.committing);
    Ok(rows(per_second, per_second))
}

fn rows(one: f64, all: f64) -> Vec<Row> {
    vec![
        Row::rate("transactions_1", "persistent transactions, 1 client", one),
        Row::rate(
            "transactions_3",
            "persistent transactions, a client on each of 3 nodes",
            all,
        ),
    ]
}

fn rate(counts: &[u64], time: Duration) -> f64 {
    counts.iter().sum::<u64>() as f64 / time.as_secs_f64()
}

/// What the database has counted so far.
fn seqnum(socket: &Path) -> Result<u64> {
    Transactions::open(Connection::open(socket)?, DATABASE)?.seqnum()
}

/// Commits for a time, and how many were made.
fn commit(socket: &Path, time: Duration) -> Result<u64> {
    let mut transactions = Transactions::open(Connection::open(socket)?, DATABASE)?;
    let start = Instant::now();
    let mut count = 0;
    while start.elapsed() < time {
        transactions.store(KEY, &value(count))?;
        count += 1;
    }
    Ok(count)
}

/// Rounds of a transaction on each file, all begun at the same time.
fn write_in_step(path: &Path, barrier: &Barrier, done: &AtomicBool, time: Duration) -> Result<u64> {
    let options = OpenOptions {
        create: true,
        ..OpenOptions::default()
    };
    let tdb = Tdb::open(path, &options)?;
    let start = Instant::now();
    let mut rounds = 0;
    loop {
        let transaction = tdb.transaction()?;
        tdb.store(KEY, &value(rounds), StoreMode::Replace)?;
        tdb.store(SEQNUM_KEY, &value(rounds)[..SEQNUM_BYTES], StoreMode::Replace)?;
        transaction.commit()?;
        rounds += 1;
        if start.elapsed() >= time {
            done.store(true, Ordering::SeqCst);
        }
        // All have seen the same when they are past both.
        barrier.wait();
        let ended = done.load(Ordering::SeqCst);
        barrier.wait();
        if ended {
            return Ok(rounds);
        }
    }
}
