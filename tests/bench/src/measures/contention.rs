//! **contention**: fifty clients of one node, each a process, want the same record all the time: chain lock, look,
//! store a number one higher, unlock, give way to others, again. Counted are locks of all together.
//!
//! - *on one node*: the record stays there, so that libtdb does most and the daemon little.
//! - *and one on another*: a client of another node wants the record, too. Its daemon asks for it, and theirs has to
//!   get the lock of the chain that fifty clients fight for. Said as well: how often that one had to ask for the record, so
//!   how often it moved there and back, which is what the daemons are about here, and the longest it waited.
//!
//! Both say how far a lock is held up by the machinery around it; the number in the record is checked at the end.
//!
//! The floor of the first: the same fifty processes on a database file that belongs to no daemon.

use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use ctdb_protocol::{LtdbHeader, Pnn, Rsn};
use ctdb_tdb::{OpenOptions, StoreMode, Tdb, TdbFlags, mutexes_supported};
use serde::{Deserialize, Serialize};

use super::migration;
use crate::connection::Connection;
use crate::database::{Database, Kind, number};
use crate::plan::Plan;
use crate::row::Row;
use crate::subject::{Subject, sockets};
use crate::worker::{Inside, Worker};

const CLIENTS: usize = 50;

/// What a client process is to do.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Order {
    place: Place,
    key: String,
    seconds: f64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
enum Place {
    /// The socket of a daemon.
    Daemon(PathBuf),
    /// A database file without a daemon.
    File(PathBuf),
}

/// What it got.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Outcome {
    locks: u64,
    longest_wait: Duration,
    /// How often the record had to be asked for.
    migrations: u64,
}

pub fn daemons(subject: &mut Subject) -> Result<Vec<Row>> {
    let time = subject.plan.counting;
    let sockets = sockets(subject.cluster()?);
    let fifty = |key: &str| vec![order(Place::Daemon(sockets[0].clone()), key, time); CLIENTS];

    let alone = fifty("contended by one node");
    let local = contend(&alone)?;
    check(&sockets[0], &alone[0].key, &local)?;

    let mut both = fifty("contended by two nodes");
    both.push(order(Place::Daemon(sockets[1].clone()), &both[0].key, time));
    let all = contend(&both)?;
    check(&sockets[0], &both[0].key, &all)?;
    let other = all[CLIENTS];

    let mut rows = vec![local_row(&local, time)];
    rows.push(Row::rate(
        "contended_two",
        "fetch-locks of a record, 50 clients on one node and 1 on another",
        rate(&all, time),
    ));
    rows.push(Row::rate(
        "contended_moves",
        "  how often the record moved to the other node",
        other.migrations as f64 / time.as_secs_f64(),
    ));
    rows.push(Row::time(
        "contended_wait",
        "  and the longest that the one there waited",
        other.longest_wait,
    ));
    Ok(rows)
}

pub fn floor(plan: Plan) -> Result<Vec<Row>> {
    let dir = tempfile::Builder::new().prefix("ctdb-floor-").tempdir()?;
    let file = dir.path().join("bare.tdb");
    let key = "contended";
    // Emptied by the first who opens it, so that it stays open.
    let tdb = Tdb::open(
        &file,
        &OpenOptions {
            create: true,
            ..bare_options()
        },
    )?;
    let header = LtdbHeader::new(Rsn(1), Pnn(0)).to_bytes();
    tdb.store(key.as_bytes(), &header, StoreMode::Replace)?;
    let outcomes = contend(&vec![order(Place::File(file), key, plan.counting); CLIENTS])?;
    Ok(vec![local_row(&outcomes, plan.counting)])
}

/// As the daemons have their volatile databases.
fn bare_options() -> OpenOptions {
    let mutexes = if mutexes_supported() {
        TdbFlags::MUTEX_LOCKING
    } else {
        TdbFlags::empty()
    };
    OpenOptions {
        hash_size: 100_001,
        flags: TdbFlags::CLEAR_IF_FIRST | TdbFlags::NOSYNC | TdbFlags::INCOMPATIBLE_HASH | mutexes,
        ..OpenOptions::default()
    }
}

fn order(place: Place, key: &str, time: Duration) -> Order {
    Order {
        place,
        key: key.to_owned(),
        seconds: time.as_secs_f64(),
    }
}

fn local_row(outcomes: &[Outcome], time: Duration) -> Row {
    Row::rate(
        "contended_one",
        "fetch-locks of a record, 50 clients on one node",
        rate(outcomes, time),
    )
}

fn rate(outcomes: &[Outcome], time: Duration) -> f64 {
    let locks: u64 = outcomes.iter().map(|outcome| outcome.locks).sum();
    locks as f64 / time.as_secs_f64()
}

/// Has all clients begin at the same time, and waits for their ends.
fn contend(orders: &[Order]) -> Result<Vec<Outcome>> {
    let start = |order| Worker::start(&["contend".to_owned(), serde_json::to_string(order)?]);
    let mut workers = orders.iter().map(start).collect::<Result<Vec<_>>>()?;
    workers.iter_mut().try_for_each(Worker::wait_ready)?;
    workers.iter_mut().try_for_each(|worker| worker.tell(""))?;
    workers.iter_mut().map(Worker::result).collect()
}

/// The record has counted every lock.
fn check(socket: &Path, key: &str, outcomes: &[Outcome]) -> Result<()> {
    let mut daemon = Connection::open(socket)?;
    let database = Database::open(&mut daemon, migration::DATABASE, Kind::Volatile)?;
    let counted = number(&database.fetch_lock(&mut daemon, key.as_bytes())?.value)?;
    let locks: u64 = outcomes.iter().map(|outcome| outcome.locks).sum();
    ensure!(
        counted == locks,
        "{locks} locks of a record, and it has counted {counted}: two had it at once"
    );
    Ok(())
}

/// A client process.
pub fn run_contender(inside: &Inside, order: &str) -> Result<()> {
    let order: Order = serde_json::from_str(order)?;
    let (mut daemon, database) = match &order.place {
        Place::Daemon(socket) => {
            let mut daemon = Connection::open(socket)?;
            let database = Database::open(&mut daemon, migration::DATABASE, Kind::Volatile)?;
            (Some(daemon), database)
        }
        Place::File(path) => {
            let tdb = Tdb::open(path, &bare_options())?;
            let (id, pnn) = (ctdb_protocol::DbId(0), Pnn(0));
            (None, Database { id, tdb, pnn })
        }
    };
    inside.ready()?;
    let key = order.key.as_bytes();
    let start = Instant::now();
    let mut outcome = Outcome {
        locks: 0,
        longest_wait: Duration::ZERO,
        migrations: 0,
    };
    while start.elapsed().as_secs_f64() < order.seconds {
        let before = Instant::now();
        let locked = match &mut daemon {
            Some(daemon) => Some(database.fetch_lock(daemon, key)?),
            None => database.lock_if_here(key)?,
        };
        outcome.longest_wait = outcome.longest_wait.max(before.elapsed());
        if let Some(locked) = locked {
            locked.count()?;
            outcome.locks += 1;
        }
        thread::yield_now();
    }
    outcome.migrations = daemon.map_or(0, |daemon| daemon.migrations);
    inside.result(&outcome)
}
