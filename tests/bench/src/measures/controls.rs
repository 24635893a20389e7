//! **controls**: PING by one client to its own daemon, one after the other, each from the packet sent to the answer
//! read. Once in an idle cluster, once while sixteen other clients have records migrate around all three nodes as fast
//! as they can (see `migration`).
//!
//! The floor is a packet of the same size to a bare process and back, alone and beside sixteen packets that go around
//! between three bare processes as the migrations do.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, ensure};
use ctdb_protocol::{Pnn, Request};

use super::migration;
use crate::connection::Connection;
use crate::floor::{self, BareCluster, client_hop};
use crate::latency::Latencies;
use crate::plan::Plan;
use crate::row::Row;
use crate::subject::{Subject, sockets};

/// Records that are under way as load.
const LOAD: usize = 16;
/// For the load to be at its height.
const WARM_UP: Duration = Duration::from_millis(100);
/// Bytes of the request; the answer has 48.
const BYTES: usize = 64;

pub fn daemons(subject: &mut Subject) -> Result<Vec<Row>> {
    let time = subject.plan.counting;
    let sockets = sockets(subject.cluster()?);
    let mut daemon = Connection::open(&sockets[0])?;
    let mut ping = || {
        let before = Instant::now();
        let answer = daemon.control(Pnn::CURRENT, &Request::Ping)?;
        ensure!(
            answer.status >= 0,
            "PING was answered with status {}",
            answer.status
        );
        Ok(before.elapsed())
    };
    let idle = series(&mut ping, time)?;
    let load = |go_on: &(dyn Fn(Duration) -> bool + Sync)| {
        migration::migrate(&sockets, "load", LOAD, LOAD, go_on).map(|_| ())
    };
    let loaded = under_load(load, || series(&mut ping, time))?;
    Ok(rows(idle, loaded))
}

pub fn floor(plan: Plan) -> Result<Vec<Row>> {
    let bare = BareCluster::start()?;
    let mut connection = bare.connect(0, migration::CLIENTS_MAX)?;
    let mut ping = || floor::round_trips(&mut connection, &[0, client_hop(migration::CLIENTS_MAX)], BYTES);
    let idle = series(&mut ping, plan.counting)?;
    let load =
        |go_on: &(dyn Fn(Duration) -> bool + Sync)| migration::bare(&bare, LOAD, LOAD, go_on).map(|_| ());
    let loaded = under_load(load, || series(&mut ping, plan.counting))?;
    Ok(rows(idle, loaded))
}

fn rows(mut idle: Latencies, mut loaded: Latencies) -> Vec<Row> {
    let row = |id: &str, what: &str, took| Row::time(id, &format!("control round trip, {what}"), took);
    vec![
        row("control_idle_p50", "idle, median", idle.quantile(0.5)),
        row("control_idle_p99", "idle, 99 %", idle.quantile(0.99)),
        row(
            "control_load_p50",
            "under record load, median",
            loaded.quantile(0.5),
        ),
        row(
            "control_load_p99",
            "under record load, 99 %",
            loaded.quantile(0.99),
        ),
    ]
}

/// One after the other for a time.
fn series(one: &mut impl FnMut() -> Result<Duration>, time: Duration) -> Result<Latencies> {
    let mut latencies = Latencies::default();
    let start = Instant::now();
    while start.elapsed() < time {
        latencies.add(one()?);
    }
    Ok(latencies)
}

/// Does `work` while `load` runs in another thread.
fn under_load<T>(
    load: impl FnOnce(&(dyn Fn(Duration) -> bool + Sync)) -> Result<()> + Send,
    work: impl FnOnce() -> Result<T>,
) -> Result<T> {
    let (warm, done) = (AtomicBool::new(false), AtomicBool::new(false));
    let go_on = |elapsed| {
        warm.fetch_or(elapsed >= WARM_UP, Ordering::Relaxed);
        !done.load(Ordering::Relaxed)
    };
    thread::scope(|scope| {
        let load = scope.spawn(|| load(&go_on));
        while !warm.load(Ordering::Relaxed) && !load.is_finished() {
            thread::sleep(Duration::from_millis(1));
        }
        let result = work();
        done.store(true, Ordering::Relaxed);
        load.join().map_err(|_| anyhow!("the load's thread panicked"))??;
        result
    })
}
