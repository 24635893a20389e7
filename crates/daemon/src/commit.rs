//! Persistent transactions: a client's changes go to every node and are stored there whole or not at all,
//! `daemon.md` §9.
//!
//! The commit is over when every node has said yes. A node that says no, or goes away, leaves it open whether
//! the transaction took place: that is for a recovery to decide, which takes the database of the node that
//! is furthest. Whoever asked hears so and looks at the sequence number.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use ctdb_protocol::control::Request;
use ctdb_protocol::{ClientId, DbId, Generation, NodeFlags, Pnn, Reader, RecBuffer, Wire};
use ctdb_runtime::Task;

use crate::asks::Answered;
use crate::control::Asked;
use crate::databases::Database;
use crate::recovery::mode::want_recovery;
use crate::responder::Responder;
use crate::{Daemon, calls, locks};

/// The answer of a node is waited for by the commit's own clock; this is only an end to everything.
const ANSWER_LIMIT: Duration = Duration::from_secs(24 * 3600);

/// Statuses of TRANS3_COMMIT.
const TIMED_OUT: i32 = 1;
const ENDED_BY_RECOVERY: i32 = 2;

/// Commits under way, at most one for each database.
#[derive(Default)]
pub struct Commits {
    open: RefCell<BTreeMap<DbId, Commit>>,
    last: Cell<u64>,
}

struct Commit {
    /// Tells this commit from a later one on the same database.
    number: u64,
    client: ClientId,
    answer: Responder,
    /// Nodes that have not stored it yet.
    left: usize,
    /// Its clock, and one task for each node; dropped with it.
    tasks: Vec<Task<()>>,
}

impl Commits {
    /// Whether a commit runs on the database: its records stay where they are.
    pub fn is_running(&self, db: DbId) -> bool {
        self.open.borrow().contains_key(&db)
    }
}

/// TRANS3_COMMIT from a client of this node.
pub fn trans3_commit(d: &Rc<Daemon>, asked: &Asked<'_>, records: &RecBuffer<'_>, answer: Responder) {
    let client = match may_commit(d, asked, records.db_id()) {
        Ok(client) => client,
        Err(why) => {
            log::error!(
                "Commit on database {} by {} refused: {why}",
                records.db_id(),
                asked.sender()
            );
            return answer.refuse();
        }
    };
    let id = records.db_id();
    let map = d.state.vnnmap().map;
    let is_in = |pnn: &Pnn| {
        d.nodes
            .get(*pnn)
            .is_some_and(|n| !n.flags.get().intersects(NodeFlags::INACTIVE))
    };
    let nodes: Vec<Pnn> = map.into_iter().filter(is_in).collect();
    if nodes.is_empty() {
        return answer.ok();
    }
    let mut bytes = Vec::new();
    records.encode(&mut bytes);
    let bytes: Rc<[u8]> = bytes.into();
    let number = d.commits.last.get() + 1;
    d.commits.last.set(number);
    let mut tasks = vec![d.rt.spawn(run_clock(d.clone(), id, number))];
    let ask = |node: &Pnn| d.rt.spawn(ask_node(d.clone(), *node, bytes.clone(), id, number));
    tasks.extend(nodes.iter().map(ask));
    let commit = Commit {
        number,
        client,
        answer,
        left: nodes.len(),
        tasks,
    };
    d.commits.open.borrow_mut().insert(id, commit);
}

fn may_commit(d: &Daemon, asked: &Asked<'_>, id: DbId) -> Result<ClientId, String> {
    if d.state.in_recovery() {
        return Err("a recovery is under way".to_owned());
    }
    let Some(client) = asked.client.filter(|id| d.clients.get(*id).is_some()) else {
        return Err("only a client of this node can commit".to_owned());
    };
    if d.databases.get(id).is_none() {
        return Err("it is not attached here".to_owned());
    }
    let open = d.commits.open.borrow();
    if open.values().any(|commit| commit.client == client) {
        return Err("the client has another commit under way".to_owned());
    }
    if let Some(other) = open.get(&id) {
        return Err(format!("client {} has a commit under way on it", other.client));
    }
    Ok(client)
}

async fn ask_node(d: Rc<Daemon>, node: Pnn, records: Rc<[u8]>, db: DbId, number: u64) {
    let decoded = RecBuffer::decode(&mut Reader::new(&records));
    let records = decoded.expect("these are the bytes that a decoded buffer was encoded to");
    let answered = d.ask(node, &Request::UpdateRecord(records), ANSWER_LIMIT).await;
    // In a task of its own: the last answer drops the commit, and with it this task.
    d.spawn(move |d| async move { on_answer(&d, node, db, number, &answered) });
}

fn on_answer(d: &Rc<Daemon>, node: Pnn, db: DbId, number: u64, answered: &Answered) {
    if d.state.in_recovery() {
        return; // the recovery's end decides
    }
    if answered.status != 0 {
        log::error!(
            "Commit on database {db}: node {node} has not stored it (status {}, {}); a recovery decides whether it took place",
            answered.status,
            if answered.text.is_empty() {
                "its log tells why"
            } else {
                &answered.text
            }
        );
        return want_recovery(d, "a node could not store a persistent transaction");
    }
    let mut open = d.commits.open.borrow_mut();
    let Some(commit) = open.get_mut(&db).filter(|commit| commit.number == number) else {
        return;
    };
    commit.left -= 1;
    if commit.left > 0 {
        return;
    }
    let done = open.remove(&db);
    drop(open);
    if let Some(done) = done {
        end(d, db, done, 0, "");
    }
}

async fn run_clock(d: Rc<Daemon>, db: DbId, number: u64) {
    loop {
        let limit = d.tunables.borrow().control_timeout().max(Duration::from_secs(1));
        d.rt.sleep(limit).await;
        if !d.state.in_recovery() {
            break;
        }
    }
    d.spawn(move |d| async move {
        let mut open = d.commits.open.borrow_mut();
        if open.get(&db).is_none_or(|commit| commit.number != number) {
            return;
        }
        let late = open.remove(&db);
        drop(open);
        if let Some(late) = late {
            log::error!(
                "Commit on database {db}: {} nodes did not answer in time (ControlTimeout)",
                late.left
            );
            end(&d, db, late, TIMED_OUT, "timeout in ctdb_persistent_state");
        }
    });
}

fn end(d: &Rc<Daemon>, db: DbId, commit: Commit, status: i32, text: &str) {
    let Commit { answer, tasks, .. } = commit;
    drop(tasks);
    if text.is_empty() {
        answer.status(status)
    } else {
        answer.fail(status, text)
    }
    calls::commit_ended(d, db);
}

/// The client has gone: its commit, if it had one, is left to a recovery. True if it had one.
pub fn client_gone(d: &Rc<Daemon>, client: ClientId) -> bool {
    let mut open = d.commits.open.borrow_mut();
    let db = open
        .iter()
        .find(|(_, commit)| commit.client == client)
        .map(|(db, _)| *db);
    let commit = db.and_then(|db| open.remove(&db));
    drop(open);
    if let Some(db) = db {
        calls::commit_ended(d, db);
    }
    commit.is_some()
}

/// The database is detached: a commit on it can't go on. Only volatile ones are, on which C allows commits, too.
pub fn database_gone(d: &Rc<Daemon>, db: DbId) {
    let open = d.commits.open.borrow_mut().remove(&db);
    if let Some(open) = open {
        end(d, db, open, -1, "the database was detached");
    }
}

/// A node has gone. The commits that wait for it get its answer, -1, from the room of controls.
pub fn node_gone(d: &Rc<Daemon>, pnn: Pnn) {
    let open = d.commits.open.borrow().len();
    if open > 0 {
        log::info!(
            "{open} persistent transactions are under way while node {pnn} goes: a recovery settles them"
        );
    }
}

/// END_RECOVERY: whether open transactions took place can be read in the databases now.
pub fn recovery_ended(d: &Rc<Daemon>) {
    let open = d.commits.open.take();
    for (db, commit) in open {
        end(
            d,
            db,
            commit,
            ENDED_BY_RECOVERY,
            "trans3 commit ended by recovery",
        );
    }
}

/// UPDATE_RECORD: stores records in one transaction, for a commit or for a revoke. `data` are the control's.
pub fn update_record(d: &Rc<Daemon>, records: &RecBuffer<'_>, asked: &Asked<'_>, answer: Responder) {
    let id = records.db_id();
    // What follows the records in the control is not passed on.
    let len = asked.data.len().min(RECORDS_AT + records.record_bytes().len());
    let bytes = asked.data[..len].to_vec();
    let generation = d.state.generation();
    if d.state.in_recovery() && asked.generation == Some(generation) {
        d.spawn(move |d| async move {
            recovery_ends(&d, generation).await;
            if d.state.generation() == generation {
                store(&d, id, bytes, answer);
            } else {
                log::error!("Update of database {id} refused: a recovery has decided without it");
                answer.refuse();
            }
        });
    } else {
        store(d, id, bytes, answer);
    }
}

/// Nodes become NORMAL one after the other. A node that sends an update in our generation is it already, and so
/// shall we be in a moment, unless it has not heard yet of the next recovery, which then brings another generation. A
/// refusal in the first case would cost the cluster another recovery.
async fn recovery_ends(d: &Daemon, generation: Generation) {
    let ends = async {
        while d.state.in_recovery() && d.state.generation() == generation {
            d.state.changed().await;
        }
    };
    let limit = d.tunables.borrow().control_timeout();
    // After the limit the update is refused as any in a recovery.
    let _ = d.rt.timeout(limit, ends).await;
}

fn store(d: &Rc<Daemon>, id: DbId, records: Vec<u8>, answer: Responder) {
    let db = match may_update(d, id) {
        Ok(db) => db,
        Err(why) => {
            log::error!("Update of database {id} refused: {why}");
            return answer.refuse();
        }
    };
    d.stats.count(|s| {
        s.childwrite_calls += 1;
        s.pending_childwrite_calls += 1;
    });
    d.spawn(move |d| async move { update(&d, &db, records, answer).await });
}

/// Database and count are in front of the records.
const RECORDS_AT: usize = 8;

fn may_update(d: &Daemon, id: DbId) -> Result<Rc<Database>, String> {
    if d.state.in_recovery() {
        return Err("a recovery is under way".to_owned());
    }
    let Some(db) = d.databases.get(id) else {
        return Err("it is not attached here".to_owned());
    };
    if let Some(reason) = &*db.unhealthy.borrow() {
        return Err(format!("it is unhealthy: {reason}"));
    }
    Ok(db)
}

async fn update(d: &Rc<Daemon>, db: &Rc<Database>, records: Vec<u8>, answer: Responder) {
    let began = d.rt.now();
    let limit = d.tunables.borrow().control_timeout().max(Duration::from_secs(1));
    let result = d.rt.timeout(limit, locks::update_records(d, db, records)).await;
    d.stats
        .count(|s| s.pending_childwrite_calls = s.pending_childwrite_calls.saturating_sub(1));
    d.stats
        .latency(|s| &mut s.childwrite_latency, d.rt.now().saturating_since(began));
    match result {
        Ok(Ok(())) => answer.ok(),
        Ok(Err(why)) => {
            log::error!("Database {}: a transaction was not stored: {why}", db.name);
            answer.fail(1, &why);
        }
        Err(_) => {
            log::error!(
                "Database {}: a transaction was given up, its lock did not come in {limit:?} (ControlTimeout)",
                db.name
            );
            answer.refuse();
        }
    }
}
