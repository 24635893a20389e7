//! Vacuuming: empty records of volatile databases leave the files of all nodes, `daemon.md` §10.
//!
//! The C daemon forks a child for each run. Here a run is a task that works in slices and never waits for a lock
//! ([`run`]); what it may delete is decided in [`rules`]. A *fast* run looks at the records that are known as
//! empty ([`crate::deletions`]), a *full* one at all.
//!
//! An empty record is deleted by its location master, from where the other nodes delete their old copies first. So
//! one whose dmaster is elsewhere goes in three runs: the dmaster asks the location master to fetch it
//! (VACUUM_FETCH), that brings it to itself, and then deletes it everywhere (TRY_DELETE_RECORDS).
//!
//! Files are not repacked (RepackLimit): that locks a database as a whole.

mod rules;
mod run;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use ctdb_protocol::{DbId, DbVacuum, RecBuffer};
use ctdb_runtime::Instant;

use crate::Daemon;
use crate::databases::Database;
use crate::responder::Responder;
use crate::stats::add_latency;

/// How often it is looked which database is due.
const LOOK: Duration = Duration::from_millis(500);

/// State of the room.
#[derive(Default)]
pub struct Vacuum {
    /// One run at a time.
    running: Cell<bool>,
    plans: RefCell<BTreeMap<DbId, Plan>>,
}

/// When a database was vacuumed.
#[derive(Clone, Copy)]
struct Plan {
    last: Instant,
    /// Runs since the last full one.
    fast_runs: u32,
}

/// Vacuums every volatile database each VacuumInterval, for the life of the daemon.
pub async fn schedule(d: Rc<Daemon>) {
    loop {
        d.rt.sleep(LOOK).await;
        for db in due(&d) {
            scheduled(&d, &db).await;
        }
    }
}

fn due(d: &Daemon) -> Vec<Rc<Database>> {
    let now = d.rt.now();
    let interval = d.tunables.borrow().vacuum_interval();
    let all = d.databases.all();
    let mut plans = d.vacuum.plans.borrow_mut();
    plans.retain(|id, _| all.iter().any(|db| db.id == *id));
    all.into_iter()
        .filter(|db| db.is_volatile())
        .filter(|db| {
            let first = Plan {
                last: now,
                fast_runs: 0,
            };
            let plan = plans.entry(db.id).or_insert(first);
            now.saturating_since(plan.last) >= interval
        })
        .collect()
}

async fn scheduled(d: &Rc<Daemon>, db: &Rc<Database>) {
    let full = {
        let mut plans = d.vacuum.plans.borrow_mut();
        let Some(plan) = plans.get_mut(&db.id) else { return };
        plan.last = d.rt.now();
        if !may_run(d, db) {
            return;
        }
        let every = d.tunables.borrow().vacuum_fast_path_count();
        let full = every != 0 && plan.fast_runs >= every;
        plan.fast_runs = if full { 0 } else { plan.fast_runs.saturating_add(1) };
        full
    };
    if full || !db.deletions.has_nothing_to_do() {
        // Why it failed is in the log.
        let _ = vacuum(Running::begin(d), db, full).await;
    }
}

fn may_run(d: &Daemon, db: &Database) -> bool {
    !d.vacuum.running.get() && !d.state.in_recovery() && !db.is_frozen()
}

/// Marks the one run that there can be.
struct Running(Rc<Daemon>);

impl Running {
    fn begin(d: &Rc<Daemon>) -> Running {
        d.vacuum.running.set(true);
        Running(d.clone())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.vacuum.running.set(false);
    }
}

async fn vacuum(running: Running, db: &Rc<Database>, full: bool) -> Result<(), String> {
    let d = &running.0;
    let began = d.rt.now();
    let limit = d.tunables.borrow().vacuum_max_run_time();
    let mut run = run::Run::new(d, db);
    let ended = match d.rt.timeout(limit, run.all(full)).await {
        Ok(ended) => ended.map_err(|why| why.to_string()),
        Err(_) => Err(format!("it took longer than {limit:?} (VacuumMaxRunTime)")),
    };
    let took = d.rt.now().saturating_since(began);
    db.stats.count(|s| add_latency(&mut s.vacuum_latency, took));
    let done = run.done;
    match &ended {
        Ok(()) => log::debug!(
            "Database {}: vacuumed in {took:?}: {} records deleted, {} fetched, {} left to their location masters, {} in use",
            db.name,
            done.deleted,
            done.fetched,
            done.sent_for,
            done.left
        ),
        Err(why) => log::warn!(
            "Database {}: vacuuming has stopped after {} records: {why}; a later full run goes on",
            db.name,
            done.deleted
        ),
    }
    ended
}

/// DB_VACUUM: now. Answered at its end.
pub fn now(d: &Rc<Daemon>, wish: &DbVacuum, answer: Responder) {
    let Some(db) = volatile(d, wish.db_id, "DB_VACUUM") else {
        return answer.refuse();
    };
    if !may_run(d, &db) {
        log::error!(
            "DB_VACUUM of {} refused: a recovery or another run of vacuuming is under way",
            db.name
        );
        return answer.refuse();
    }
    let full = wish.full;
    // Begun here already, so that no other run comes in between.
    let running = Running::begin(d);
    d.spawn(move |_| async move {
        match vacuum(running, &db, full).await {
            Ok(()) => answer.ok(),
            Err(why) => answer.fail(-1, &why),
        }
    });
}

/// VACUUM_FETCH: another node has emptied these records that this one is location master of.
pub fn fetch(d: &Rc<Daemon>, records: &RecBuffer<'_>, answer: Responder) {
    let Some(db) = volatile(d, records.db_id(), "VACUUM_FETCH") else {
        return answer.refuse();
    };
    let all_taken = records.iter().all(|record| db.deletions.fetch(record.key));
    if !all_taken {
        log::debug!(
            "Database {}: not all of {} records can be fetched for vacuuming now",
            db.name,
            records.count()
        );
    }
    answer.ok();
}

fn volatile(d: &Daemon, id: DbId, control: &str) -> Option<Rc<Database>> {
    let db = d.databases.get(id).filter(|db| db.is_volatile());
    if db.is_none() {
        log::error!("{control} refused: {id} is not a volatile database of this node");
    }
    db
}
