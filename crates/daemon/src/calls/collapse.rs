//! Many clients of this node want the same record at once (tunable FetchCollapse): the first call goes to the
//! other node, the others wait here for its answer. Without that, a node with many clients would tear the
//! record away from itself again and again.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::time::Duration;

use ctdb_protocol::DbId;
use ctdb_runtime::Instant;

use crate::Daemon;
use crate::databases::Database;
use crate::waiting::{self, Waiting, Work};

/// Longest wait behind another call.
const WAIT_MAX: Duration = Duration::from_secs(30);
/// Calls run again in one go when a queue is let go.
const BATCH: usize = 64;

/// Keys for which a call is under way, with what waits behind it.
#[derive(Default)]
pub struct Collapse(RefCell<BTreeMap<DbId, ByKey>>);

type ByKey = BTreeMap<Rc<[u8]>, Behind>;

struct Behind {
    since: Instant,
    queue: VecDeque<Waiting>,
}

/// Whether a call is under way for the key, behind which others wait.
pub fn is_led(d: &Daemon, db: &Database, key: &[u8]) -> bool {
    let all = d.calls.collapse.0.borrow();
    all.get(&db.id).is_some_and(|keys| keys.contains_key(key))
}

/// Queues a client's call behind the one under way for the key; false if there is none.
pub fn join(d: &Rc<Daemon>, db: &Database, key: &[u8], work: impl FnOnce() -> Work) -> bool {
    if !is_led(d, db, key) {
        return false;
    }
    if let Some(waiting) = waiting::hold(d, db, work()) {
        let mut all = d.calls.collapse.0.borrow_mut();
        let behind = all.get_mut(&db.id).and_then(|keys| keys.get_mut(key));
        behind
            .expect("looked up above, and hold only closes a client later")
            .queue
            .push_back(waiting);
    }
    true
}

/// A call for the key goes to another node; true if others are to wait for it.
pub fn lead(d: &Daemon, db: &Database, key: &Rc<[u8]>) -> bool {
    if !d.tunables.borrow().fetch_collapse() {
        return false;
    }
    let mut all = d.calls.collapse.0.borrow_mut();
    let keys = all.entry(db.id).or_default();
    if keys.contains_key(key) {
        return false;
    }
    keys.insert(
        key.clone(),
        Behind {
            since: d.rt.now(),
            queue: VecDeque::new(),
        },
    );
    true
}

/// The call is over: those behind it go on, in order, until one of them leads again.
pub fn release(d: &Rc<Daemon>, db: DbId, key: &Rc<[u8]>) {
    let behind = {
        let mut all = d.calls.collapse.0.borrow_mut();
        let behind = all.get_mut(&db).and_then(|keys| keys.remove(key));
        if all.get(&db).is_some_and(BTreeMap::is_empty) {
            all.remove(&db);
        }
        behind
    };
    let Some(behind) = behind else { return };
    if behind.queue.is_empty() {
        return;
    }
    // Not from within: the record that came is still locked in the caller's hands.
    let key = key.clone();
    d.spawn(move |d| async move { go_on(&d, db, &key, behind.queue).await });
}

async fn go_on(d: &Rc<Daemon>, db: DbId, key: &Rc<[u8]>, mut queue: VecDeque<Waiting>) {
    let mut done = 0;
    while let Some(waiting) = queue.pop_front() {
        waiting.run(d);
        if queue.is_empty() {
            return;
        }
        if stay_behind(d, db, key, &mut queue) {
            return;
        }
        done += 1;
        if done % BATCH == 0 {
            d.rt.yield_now().await;
        }
    }
}

/// If one of them leads again, the others wait for it, in front of what came meanwhile.
fn stay_behind(d: &Daemon, db: DbId, key: &Rc<[u8]>, queue: &mut VecDeque<Waiting>) -> bool {
    let mut all = d.calls.collapse.0.borrow_mut();
    let Some(behind) = all.get_mut(&db).and_then(|keys| keys.get_mut(key)) else {
        return false;
    };
    queue.append(&mut behind.queue);
    behind.queue = std::mem::take(queue);
    true
}

/// Lets go what has waited too long.
pub fn expire(d: &Rc<Daemon>) {
    let now = d.rt.now();
    let mut late = Vec::new();
    for (db, keys) in &*d.calls.collapse.0.borrow() {
        let overdue = keys
            .iter()
            .filter(|(_, b)| !b.queue.is_empty() && now.saturating_since(b.since) >= WAIT_MAX);
        late.extend(overdue.map(|(key, _)| (*db, key.clone())));
    }
    for (db, key) in late {
        log::debug!(
            "Database {db}: calls have waited {WAIT_MAX:?} behind another for the same record: sent on their own"
        );
        release(d, db, &key);
    }
}
