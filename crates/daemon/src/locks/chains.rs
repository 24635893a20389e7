//! Packets whose chain is taken. One helper waits for each such chain; when it has the lock, everything that
//! queued up for the chain runs here under a mark, in the order in which it came.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::time::Duration;

use ctdb_lockhelper::protocol::Request;
use ctdb_protocol::DbId;
use ctdb_runtime::Instant;
use ctdb_runtime::sync::select2;
use ctdb_tdb::Chain;

use super::helper::HelperError;
use super::pool::{self, Lease};
use super::watch::{self, Wanted};
use crate::Daemon;
use crate::databases::Database;
use crate::waiting::Waiting;

/// Packets run under one lock; then other processes get a chance at the chain.
const BATCH: usize = 64;
/// Pause after a helper that failed; doubles up to [`RETRY_MAX`].
const RETRY_MIN: Duration = Duration::from_millis(50);
const RETRY_MAX: Duration = Duration::from_secs(5);

/// Where: a chain of a database.
type Place = (DbId, Chain);

/// Chains that are waited for.
#[derive(Default)]
pub struct Chains {
    waited: RefCell<BTreeMap<Place, Wait>>,
    /// Helpers that wait, and chains beyond LockProcessesPerDB that wait for a helper.
    busy: RefCell<BTreeMap<DbId, Busy>>,
    /// The chain whose queue runs at this moment.
    running: Cell<Option<Place>>,
}

struct Wait {
    /// Names the chain to libtdb.
    key: Box<[u8]>,
    queue: VecDeque<(Waiting, Instant)>,
}

#[derive(Default)]
struct Busy {
    helpers: usize,
    backlog: VecDeque<Chain>,
}

/// Whether a packet for this chain has to queue behind others. Joining the queue even if the lock could be
/// had at this moment keeps packets in order: a migrating record before the calls for it.
pub fn is_contended(d: &Daemon, db: &Database, key: &[u8]) -> bool {
    let chains = &d.locks.chains;
    if chains.waited.borrow().is_empty() {
        return false;
    }
    let place = (db.id, db.tdb.chain_of(key));
    chains.running.get() != Some(place) && chains.waited.borrow().contains_key(&place)
}

/// Queues work for the time when the chain of `key` is locked for us.
pub fn wait_chain(d: &Rc<Daemon>, db: &Rc<Database>, key: &[u8], work: Waiting) {
    let place = (db.id, db.tdb.chain_of(key));
    count(d, db, |l| l.num_pending += 1);
    let entry = (work, d.rt.now());
    let mut waited = d.locks.chains.waited.borrow_mut();
    if let Some(wait) = waited.get_mut(&place) {
        wait.queue.push_back(entry);
        return;
    }
    waited.insert(
        place,
        Wait {
            key: key.into(),
            queue: VecDeque::from([entry]),
        },
    );
    drop(waited);
    start(d, db, place.1);
}

fn start(d: &Rc<Daemon>, db: &Rc<Database>, chain: Chain) {
    let limit = (d.tunables.borrow().lock_processes_per_db() as usize).max(1);
    let mut busy = d.locks.chains.busy.borrow_mut();
    let busy = busy.entry(db.id).or_default();
    if busy.helpers >= limit {
        busy.backlog.push_back(chain);
        return;
    }
    busy.helpers += 1;
    let db = db.clone();
    d.spawn(|d| async move {
        let _ = select2(serve(&d, &db, chain), db.gone.reached()).await;
    });
}

/// Until nothing waits for the chain any more; then for the next chain of the database.
async fn serve(d: &Rc<Daemon>, db: &Rc<Database>, first: Chain) {
    let mut chain = first;
    let mut pause = RETRY_MIN;
    loop {
        while let Some(key) = key_of(d, (db.id, chain)) {
            let Err(error) = serve_once(d, db, chain, &key).await else {
                pause = RETRY_MIN;
                continue;
            };
            log::error!(
                "Database {}: lock of record 0x{}: {error}; again in {pause:?}",
                db.name,
                watch::hex(&key)
            );
            count(d, db, |l| l.num_failed += 1);
            d.rt.sleep(pause).await;
            pause = (pause * 2).min(RETRY_MAX);
        }
        match next_chain(d, db) {
            Some(next) => chain = next,
            None => return,
        }
    }
}

/// The key that stands for the chain; `None` and the end of the wait when nothing is queued.
fn key_of(d: &Daemon, place: Place) -> Option<Box<[u8]>> {
    let mut waited = d.locks.chains.waited.borrow_mut();
    let wait = waited.get(&place)?;
    if wait.queue.is_empty() {
        waited.remove(&place);
        return None;
    }
    Some(wait.key.clone())
}

fn next_chain(d: &Daemon, db: &Database) -> Option<Chain> {
    let mut all = d.locks.chains.busy.borrow_mut();
    let busy = all.get_mut(&db.id)?;
    let next = busy.backlog.pop_front();
    if next.is_none() {
        busy.helpers -= 1;
        if busy.helpers == 0 {
            all.remove(&db.id);
        }
    }
    next
}

/// Gets the lock and runs a batch of what waits for it.
async fn serve_once(d: &Rc<Daemon>, db: &Rc<Database>, chain: Chain, key: &[u8]) -> Result<(), HelperError> {
    // It may be free by now; then no helper is needed.
    match db.tdb.try_lock_chain(key) {
        Ok(Some(lock)) => {
            run_batch(d, db, chain);
            drop(lock);
            d.rt.yield_now().await;
            return Ok(());
        }
        Ok(None) => {}
        Err(error) => return Err(HelperError::Failed(error.to_string())),
    }
    let mut helper = pool::lease(d)?;
    lock_by(d, db, key, &mut helper).await?;
    match db.tdb.mark_chain(key) {
        Ok(mark) => {
            run_batch(d, db, chain);
            drop(mark);
        }
        Err(error) => log::error!("Database {}: {error}", db.name),
    }
    helper.order(&Request::UnlockRecord).await?;
    helper.give_back();
    Ok(())
}

async fn lock_by(d: &Rc<Daemon>, db: &Database, key: &[u8], helper: &mut Lease) -> Result<(), HelperError> {
    let pid = helper.pid();
    let request = Request::LockRecord {
        db: db.for_helper(d),
        key,
    };
    let lock = helper.order(&request);
    let _counted = Current::begin(d, db);
    watch::watched(d, db, Wanted::Record(key), pid, lock).await
}

/// Counts one helper that waits; also when the wait is given up.
struct Current<'a>(&'a Daemon, &'a Database);

impl<'a> Current<'a> {
    fn begin(d: &'a Daemon, db: &'a Database) -> Current<'a> {
        count(d, db, |l| l.num_current += 1);
        Current(d, db)
    }
}

impl Drop for Current<'_> {
    fn drop(&mut self) {
        count(self.0, self.1, |l| {
            l.num_current = l.num_current.saturating_sub(1)
        });
    }
}

/// The database is detached: what waits for its chains waits in vain. Helpers that wait end with [`Database::gone`].
pub fn database_gone(d: &Daemon, db: &Database) {
    let chains = &d.locks.chains;
    let vain: Vec<_> = chains
        .waited
        .borrow_mut()
        .extract_if(.., |(id, _), _| *id == db.id)
        .collect();
    chains.busy.borrow_mut().remove(&db.id);
    let packets: usize = vain.iter().map(|(_, wait)| wait.queue.len()).sum();
    let packets = u32::try_from(packets).unwrap_or(u32::MAX);
    count(d, db, |l| l.num_pending = l.num_pending.saturating_sub(packets));
    drop(vain);
}

fn run_batch(d: &Rc<Daemon>, db: &Rc<Database>, chain: Chain) {
    let place = (db.id, chain);
    for _ in 0..BATCH {
        let mut waited = d.locks.chains.waited.borrow_mut();
        let Some((work, since)) = waited.get_mut(&place).and_then(|w| w.queue.pop_front()) else {
            break;
        };
        drop(waited);
        let took = d.rt.now().saturating_since(since);
        count(d, db, |l| {
            l.num_pending = l.num_pending.saturating_sub(1);
            l.num_calls += 1;
            l.buckets[bucket(took)] += 1;
            crate::stats::add_latency(&mut l.latency, took);
        });
        d.locks.chains.running.set(Some(place));
        work.run(d);
        d.locks.chains.running.set(None);
    }
}

/// Lock counters exist for the daemon and for each database.
fn count(d: &Daemon, db: &Database, f: impl Fn(&mut ctdb_protocol::LockStatistics)) {
    d.stats.count(|s| f(&mut s.locks));
    db.stats.count(|s| f(&mut s.locks));
}

/// Of the times that waits took: <1ms, <10ms, <100ms, <1s, <2s, <4s … <64s, more.
fn bucket(took: Duration) -> usize {
    let millis = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
    match millis {
        0 => 0,
        1..10 => 1,
        10..100 => 2,
        100..1000 => 3,
        _ => (3 + (u64::BITS - (millis / 1000).leading_zeros()) as usize).min(10),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_fall_into_the_buckets_that_the_tool_prints() {
        let table = [
            (0, 0),
            (1, 1),
            (9, 1),
            (10, 2),
            (100, 3),
            (999, 3),
            (1000, 4),
            (1999, 4),
            (2000, 5),
            (3999, 5),
            (4000, 6),
            (8000, 7),
            (16_000, 8),
            (32_000, 9),
            (63_999, 9),
            (64_000, 10),
            (1_000_000, 10),
        ];
        for (millis, expected) in table {
            assert_eq!(bucket(Duration::from_millis(millis)), expected, "{millis} ms");
        }
    }
}
