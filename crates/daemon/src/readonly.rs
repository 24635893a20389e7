//! Read-only copies of records: who has them, and calling them back before the record changes. The rules are in
//! [`ctdb_records::readonly`].
//!
//! Who was lent a copy is noted in a file beside the database's (`.RO`, SET_DB_READONLY). A *revoke* tells all of
//! them by UPDATE_RECORD, side by side, and notes its success in the record itself; the next call clears that away.
//! Calls for a record whose copies are being called back wait here.
//!
//! A recovery makes one copy of each record and takes the marks off, so that nothing is lent afterwards and
//! whatever revoke was under way is void.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::time::Duration;

use ctdb_protocol::control::Request;
use ctdb_protocol::{DbId, LtdbHeader, Pnn, Reader, RecBuffer, RecBufferWriter, Wire};
use ctdb_records::readonly::{self as rules, RevokeEnd};
use ctdb_runtime::Task;
use ctdb_runtime::sync::join_all;
use ctdb_tdb::{StoreMode, TdbError};

use crate::calls::{Access, Record};
use crate::databases::Database;
use crate::locks::hex;
use crate::waiting::{self, Waiting, Work};
use crate::{Daemon, locks};

/// Readers wait that long after a revoke, so that the writer gets its turn; everybody does after one that failed.
const PAUSE: Duration = Duration::from_secs(1);
/// ControlTimeout=0 means no limit; this is one that nobody sees.
const FOR_EVER: Duration = Duration::from_secs(365 * 86_400);

type Key = Rc<[u8]>;

/// Revokes under way.
#[derive(Default)]
pub struct Readonly {
    revokes: RefCell<BTreeMap<(DbId, Key), Revoke>>,
    last: Cell<u64>,
}

struct Revoke {
    number: u64,
    /// Ends with the entry.
    task: Task<()>,
    waiting: Vec<(Wants, Waiting)>,
}

/// Which revoke, and how the record was marked at its start.
struct Revoked {
    number: u64,
    key: Key,
    at_start: LtdbHeader,
}

/// What a call wants that has to wait for a revoke.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wants {
    /// A read-only copy.
    Copy,
    /// The record.
    Record,
}

/// Notes that a node has a copy.
///
/// # Errors
/// It could not be noted; without that nothing may be lent.
pub fn track(db: &Database, key: &[u8], node: Pnn) -> Result<(), TrackError> {
    let tracking = db.tracking.borrow();
    let tracking = tracking.as_ref().ok_or(TrackError::NoFile)?;
    let mut nodes = tracking.fetch(key)?.unwrap_or_default();
    rules::track(&mut nodes, node);
    Ok(tracking.store(key, &nodes, StoreMode::Replace)?)
}

/// Why a borrower could not be noted.
#[derive(Debug, thiserror::Error)]
pub enum TrackError {
    /// SET_DB_READONLY was never sent.
    #[error("the database has no file to note borrowers in")]
    NoFile,
    /// The file failed.
    #[error(transparent)]
    Tdb(#[from] TdbError),
}

fn borrowers(db: &Database, key: &[u8]) -> Result<Vec<Pnn>, TrackError> {
    let tracking = db.tracking.borrow();
    let tracking = tracking.as_ref().ok_or(TrackError::NoFile)?;
    let nodes = tracking.fetch(key)?.unwrap_or_default();
    Ok(rules::tracked_nodes(&nodes))
}

/// The record's revoke has ended and its marks are off: nobody has a copy any more.
pub fn finished(d: &Daemon, db: &Database, key: &[u8]) {
    if let Some(tracking) = &*db.tracking.borrow()
        && let Err(error) = tracking.delete(key)
    {
        log::warn!(
            "Database {}: borrowers of record 0x{} stay noted ({error}): they will be told of its next change for nothing",
            db.name,
            hex(key)
        );
    }
    d.stats.count(|s| s.total_ro_revokes += 1);
    db.stats.count(|s| s.db_ro_revokes += 1);
}

/// Makes a call wait for the end of the record's revoke, which is under way.
pub fn wait(d: &Rc<Daemon>, db: &Database, key: &[u8], wants: Wants, work: Work) {
    let Some(waiting) = waiting::hold(d, db, work) else {
        return;
    };
    let mut all = d.readonly.revokes.borrow_mut();
    match all.get_mut(&(db.id, Key::from(key))) {
        Some(revoke) => revoke.waiting.push((wants, waiting)),
        None => {
            drop(all);
            go_on(d, vec![(wants, waiting)], true);
        }
    }
}

/// Whether the copies of a record are being called back.
pub fn is_revoking(d: &Daemon, db: &Database, key: &[u8]) -> bool {
    let all = d.readonly.revokes.borrow();
    !all.is_empty() && all.contains_key(&(db.id, Key::from(key)))
}

/// Calls back all copies of a record, which is stored under `header`, marked for that. Nothing happens if they are
/// being called back already.
pub fn revoke(d: &Rc<Daemon>, db: &Rc<Database>, key: &[u8], header: LtdbHeader, data: &[u8]) {
    if is_revoking(d, db, key) {
        return;
    }
    let number = d.readonly.last.get() + 1;
    d.readonly.last.set(number);
    let key = Key::from(key);
    let mut records = RecBufferWriter::new(db.id);
    records.push(0, &key, &rules::revoked_copy(&header), data);
    let revoked = Revoked {
        number,
        key: key.clone(),
        at_start: header,
    };
    let task =
        d.rt.spawn(carry_out(d.clone(), db.clone(), revoked, records.into_bytes()));
    let revoke = Revoke {
        number,
        task,
        waiting: Vec::new(),
    };
    d.readonly.revokes.borrow_mut().insert((db.id, key), revoke);
}

async fn carry_out(d: Rc<Daemon>, db: Rc<Database>, revoked: Revoked, records: Vec<u8>) {
    let all_told = match borrowers(&db, &revoked.key) {
        Ok(nodes) => {
            let told = nodes.iter().map(|&node| tell(&d, &db, node, &records));
            join_all(told).await.into_iter().all(|told| told)
        }
        Err(error) => {
            log::error!("Database {}: who has copies is not known: {error}", db.name);
            false
        }
    };
    note_end(&d, &db, revoked, all_told);
}

async fn tell(d: &Rc<Daemon>, db: &Database, node: Pnn, records: &[u8]) -> bool {
    let limit = match d.tunables.borrow().control_timeout() {
        Duration::ZERO => FOR_EVER,
        limit => limit,
    };
    let decoded = RecBuffer::decode(&mut Reader::new(records));
    let records = decoded.expect("these are the bytes of a buffer that was just written");
    let answered = d.ask(node, &Request::UpdateRecord(records), limit).await;
    if answered.status != 0 {
        log::error!(
            "Database {}: node {node} did not give up its read-only copy: status {} {}",
            db.name,
            answered.status,
            answered.text
        );
    }
    answered.status == 0
}

/// Stores what came of the revoke, as soon as the record's chain can be had, and lets go who waits.
fn note_end(d: &Rc<Daemon>, db: &Rc<Database>, revoked: Revoked, all_told: bool) {
    if !is_current(d, db, &revoked) {
        return;
    }
    let Some(ended) = try_end(d, db, &revoked, all_told) else {
        return note_end_later(d, db, revoked, all_told);
    };
    if let Err(why) = &ended {
        log::error!(
            "Database {}: calling back copies of record 0x{} failed: {why}; the next call tries again",
            db.name,
            hex(&revoked.key)
        );
    }
    let entry = d.readonly.revokes.borrow_mut().remove(&(db.id, revoked.key));
    if let Some(Revoke { task, waiting, .. }) = entry {
        // This may be that very task, on its last step.
        task.detach();
        go_on(d, waiting, ended.is_ok());
    }
}

/// `None` while somebody else has the chain.
fn try_end(d: &Daemon, db: &Rc<Database>, revoked: &Revoked, all_told: bool) -> Option<Result<(), String>> {
    if db.is_frozen() {
        return Some(Err("a recovery has come in between".to_owned()));
    }
    if locks::is_contended(d, db, &revoked.key) {
        return None;
    }
    match Record::open(d, db, &revoked.key) {
        Access::Got(mut record) => Some(store_end(&mut record, &revoked.at_start, all_told)),
        Access::Busy => None,
        Access::Failed(error) => Some(Err(error.to_string())),
    }
}

fn note_end_later(d: &Rc<Daemon>, db: &Rc<Database>, revoked: Revoked, all_told: bool) {
    let key = revoked.key.clone();
    let id = db.id;
    let again = Work::Own(Box::new(move |d| {
        if let Some(db) = d.databases.get(id) {
            note_end(d, &db, revoked, all_told);
        }
    }));
    match waiting::hold(d, db, again) {
        Some(waiting) => locks::wait_chain(d, db, &key, waiting),
        // The mark stays in the record; the next call starts over.
        None => drop(d.readonly.revokes.borrow_mut().remove(&(db.id, key))),
    }
}

fn store_end(record: &mut Record<'_>, at_start: &LtdbHeader, all_told: bool) -> Result<(), String> {
    match rules::end_revoke(at_start, &record.header, all_told) {
        RevokeEnd::Store(header) => {
            record.stage(header);
            record.save().map_err(|error| error.to_string())?;
            if all_told {
                Ok(())
            } else {
                Err("a copy is still out".to_owned())
            }
        }
        RevokeEnd::Changed => Err("the record has changed meanwhile".to_owned()),
    }
}

fn is_current(d: &Daemon, db: &Database, revoked: &Revoked) -> bool {
    let all = d.readonly.revokes.borrow();
    all.get(&(db.id, revoked.key.clone()))
        .is_some_and(|revoke| revoke.number == revoked.number)
}

/// Writers go on at once if the copies are back.
fn go_on(d: &Rc<Daemon>, waiting: Vec<(Wants, Waiting)>, success: bool) {
    let (now, later): (Vec<_>, Vec<_>) = waiting
        .into_iter()
        .partition(|(wants, _)| success && *wants == Wants::Record);
    let calls = |all: Vec<(Wants, Waiting)>| all.into_iter().map(|(_, waiting)| waiting).collect();
    let (now, later): (VecDeque<Waiting>, VecDeque<Waiting>) = (calls(now), calls(later));
    d.spawn(move |d| async move {
        waiting::run_all(&d, now);
        if !later.is_empty() {
            d.rt.sleep(PAUSE).await;
            waiting::run_all(&d, later);
        }
    });
}

/// A recovery has written the database anew: all marks are off its records, so nobody is noted as borrower, and
/// calls that waited for a revoke start over when the database is thawed.
pub fn recovered(d: &Rc<Daemon>, db: &Database) {
    if let Some(tracking) = &*db.tracking.borrow()
        && let Err(error) = tracking.wipe_all()
    {
        log::error!(
            "Database {}: borrowers of read-only copies could not be forgotten: {error}",
            db.name
        );
    }
    for revoke in take_all(d, db.id) {
        go_on(d, revoke.waiting, true);
    }
}

/// The database is detached: what waits for it waits in vain.
pub fn database_gone(d: &Daemon, db: DbId) {
    drop(take_all(d, db));
}

fn take_all(d: &Daemon, db: DbId) -> Vec<Revoke> {
    let mut all = d.readonly.revokes.borrow_mut();
    all.extract_if(.., |(id, _), _| *id == db)
        .map(|(_, revoke)| revoke)
        .collect()
}
