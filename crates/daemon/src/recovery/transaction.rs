//! The recovery transaction of a database: what the recovery helper wipes and pushes is kept aside and replaces the
//! records only at the commit.
//!
//! The C daemon works in a libtdb transaction. That keeps a copy of every changed page in memory and writes
//! them all in one step at the end, in which the daemon answers nobody. Here a helper process does that, and
//! flushes a persistent database to disk. What is small and need not survive a crash is faster done in place: the
//! database is wiped and filled in slices. While either goes on nothing else may happen to the database (see
//! [`settled`]), for a half applied commit would have lost records.
//!
//! Until the commit GET_DB_SEQNUM and DB_PULL see the old records.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::rc::Rc;

use ctdb_protocol::{Generation, RecBuffer, RecData, Records, TransDb, Wire};
use ctdb_records::Place;
use ctdb_records::merge::received_header;
use ctdb_records::store::{StoreInput, decide_store};
use ctdb_runtime::sync::Notify;
use ctdb_tdb::{StoreMode, Tdb, TdbError};

use super::staged::{StageError, Staged, Used};
use super::{RECORDS_PER_LOOK, SLICE, freeze, frozen};
use crate::databases::{Database, DbKind, FreezeState};
use crate::locks::RecoverWriter;
use crate::responder::Responder;
use crate::{Daemon, health, readonly};

/// A volatile or replicated database with more pushed bytes is written by a helper: while its file grows, libtdb fills
/// the new part with zeros in one go, a tenth of a large file.
const IN_PLACE_MAX: usize = 4 << 20;

/// Transactions of all databases.
#[derive(Default)]
pub struct Transactions {
    open: RefCell<BTreeMap<u32, Open>>,
    applying: RefCell<BTreeSet<u32>>,
    settled: Notify,
    used: Used,
}

struct Open {
    tid: u32,
    wipe: bool,
    staged: Staged,
    /// A push went wrong: this must not be committed.
    spoiled: bool,
}

/// Why a pushed buffer was not taken.
#[derive(Debug, thiserror::Error)]
pub enum PushRefused {
    /// CANCEL or THAW came in between.
    #[error("no recovery transaction is open")]
    NotOpen,
    /// An earlier buffer was refused.
    #[error("an earlier part of this push was refused")]
    Spoiled,
    /// It is no buffer of records.
    #[error("malformed records: {0}")]
    Malformed(#[from] ctdb_protocol::WireError),
    /// A record has no header.
    #[error("a record of {0} bytes is too short to have a header")]
    ShortRecord(usize),
    /// It can't be kept.
    #[error(transparent)]
    Stage(#[from] StageError),
}

/// DB_TRANSACTION_START: an open one of the database is dropped.
pub async fn start(d: &Rc<Daemon>, t: TransDb, answer: Responder) {
    let Some(db) = ready(d, t.db_id, "DB_TRANSACTION_START").await else {
        return answer.refuse();
    };
    let staged = Staged::new(
        &d.settings.config.database.state_dir,
        &db.name,
        &d.recovery.transactions.used,
    );
    let open = Open {
        tid: t.tid,
        wipe: false,
        staged,
        spoiled: false,
    };
    if d.recovery
        .transactions
        .open
        .borrow_mut()
        .insert(db.id.0, open)
        .is_some()
    {
        log::info!(
            "Database {}: an earlier recovery transaction ends, a new one begins",
            db.name
        );
    }
    answer.ok();
}

/// WIPE_DATABASE: the commit will begin by deleting all records.
pub async fn wipe(d: &Rc<Daemon>, t: TransDb, answer: Responder) {
    let Some(db) = ready(d, t.db_id, "WIPE_DATABASE").await else {
        return answer.refuse();
    };
    let wiped = with_open(d, &db, t.tid, "WIPE_DATABASE", |open| {
        open.wipe = true;
        // What was pushed before would be wiped, too.
        let (directory, used) = (
            &d.settings.config.database.state_dir,
            &d.recovery.transactions.used,
        );
        open.staged = Staged::new(directory, &db.name, used);
    });
    if wiped.is_some() {
        answer.ok()
    } else {
        answer.refuse()
    }
}

/// DB_TRANSACTION_CANCEL.
pub async fn cancel(d: &Rc<Daemon>, db: &Rc<Database>, answer: Responder) {
    settled(d, db).await;
    log::error!("Database {}: the recovery transaction is cancelled", db.name);
    drop_open(d, db);
    answer.ok();
}

/// DB_TRANSACTION_COMMIT: answered when the records are in the database.
pub async fn commit(d: &Rc<Daemon>, t: TransDb, answer: Responder) {
    let Some(db) = ready(d, t.db_id, "DB_TRANSACTION_COMMIT").await else {
        return answer.refuse();
    };
    let Some(spoiled) = with_open(d, &db, t.tid, "DB_TRANSACTION_COMMIT", |open| open.spoiled) else {
        return answer.refuse();
    };
    if spoiled {
        log::error!("Commit of database {} refused: its push went wrong", db.name);
        return answer.refuse();
    }
    let Some(open) = take_open(d, &db) else {
        return answer.refuse();
    };
    let applying = Applying::begin(d, &db);
    let in_place = db.kind != DbKind::Persistent && open.staged.bytes() <= IN_PLACE_MAX;
    let result = if in_place {
        apply(d, &db, open).await
    } else {
        write_by_helper(d, &db, open).await
    };
    drop(applying);
    match result {
        Ok(()) => {
            db.generation.set(Generation(t.tid));
            health::recovered(d, &db).await;
            answer.ok();
        }
        Err(why) => {
            log::error!("Commit of database {} failed: {why}", db.name);
            answer.fail(-1, &why);
        }
    }
}

/// Keeps a pushed buffer. Returns the number of its records.
///
/// # Errors
/// Why not; the transaction can't be committed any more then.
pub fn stage(d: &Rc<Daemon>, db: &Database, buffer: &[u8]) -> Result<u32, PushRefused> {
    let mut all = d.recovery.transactions.open.borrow_mut();
    let open = all.get_mut(&db.id.0).ok_or(PushRefused::NotOpen)?;
    if open.spoiled {
        return Err(PushRefused::Spoiled);
    }
    let staged = check_records(buffer).and_then(|count| Ok(open.staged.add(buffer).map(|()| count)?));
    open.spoiled = staged.is_err();
    staged
}

/// Every record must be storable: the commit is too late to find out.
fn check_records(buffer: &[u8]) -> Result<u32, PushRefused> {
    let records = RecBuffer::decode(&mut ctdb_protocol::Reader::new(buffer))?;
    match records.iter().find(|record| record.header_and_value().is_none()) {
        None => Ok(records.count()),
        Some(short) => Err(PushRefused::ShortRecord(short.data.len())),
    }
}

/// Whether a transaction is open.
pub fn is_open(d: &Daemon, db: &Database) -> bool {
    d.recovery.transactions.open.borrow().contains_key(&db.id.0)
}

/// Forgets an open transaction; the database stays as it is.
pub fn drop_open(d: &Daemon, db: &Database) {
    drop(take_open(d, db));
}

fn take_open(d: &Daemon, db: &Database) -> Option<Open> {
    d.recovery.transactions.open.borrow_mut().remove(&db.id.0)
}

/// Whether a commit is being applied.
pub fn is_applying(d: &Daemon, db: &Database) -> bool {
    d.recovery.transactions.applying.borrow().contains(&db.id.0)
}

/// Waits until no commit is being applied.
pub async fn settled(d: &Rc<Daemon>, db: &Database) {
    loop {
        let notified = d.recovery.transactions.settled.notified();
        if !is_applying(d, db) {
            return;
        }
        notified.await;
    }
}

/// The frozen database of a control, once nothing is being applied to it.
pub(super) async fn ready(d: &Rc<Daemon>, id: ctdb_protocol::DbId, control: &str) -> Option<Rc<Database>> {
    if let Some(db) = d.databases.get(id) {
        settled(d, &db).await;
    }
    frozen(d, id, control)
}

fn with_open<T>(
    d: &Daemon,
    db: &Database,
    tid: u32,
    control: &str,
    f: impl FnOnce(&mut Open) -> T,
) -> Option<T> {
    match d.recovery.transactions.open.borrow_mut().get_mut(&db.id.0) {
        None => log::error!(
            "{control} for database {} refused: no recovery transaction is open",
            db.name
        ),
        Some(open) if open.tid != tid => {
            log::error!(
                "{control} for database {} refused: its transaction is {}, not {tid}",
                db.name,
                open.tid
            );
        }
        Some(open) => return Some(f(open)),
    }
    None
}

/// Marks a database as being in the middle of a commit.
struct Applying {
    daemon: Rc<Daemon>,
    db: u32,
}

impl Applying {
    fn begin(d: &Rc<Daemon>, db: &Database) -> Applying {
        d.recovery.transactions.applying.borrow_mut().insert(db.id.0);
        Applying {
            daemon: d.clone(),
            db: db.id.0,
        }
    }
}

impl Drop for Applying {
    fn drop(&mut self) {
        self.daemon
            .recovery
            .transactions
            .applying
            .borrow_mut()
            .remove(&self.db);
        self.daemon.recovery.transactions.settled.notify_all();
    }
}

/// All or nothing.
async fn write_by_helper(d: &Rc<Daemon>, db: &Rc<Database>, mut open: Open) -> Result<(), String> {
    let mut writer = RecoverWriter::begin(d, db, open.wipe).await?;
    loop {
        let wrote = match open.staged.next() {
            Ok(None) => {
                writer.commit().await?;
                if open.wipe {
                    db.deletions.clear();
                }
                readonly::recovered(d, db);
                return Ok(());
            }
            Ok(Some(buffer)) => writer.records(&buffer).await,
            Err(error) => Err(error.to_string()),
        };
        if let Err(why) = wrote {
            writer.cancel().await;
            return Err(why);
        }
    }
}

/// Wipes and fills a small database that need not survive a crash. A record that can't be stored does not keep the others
/// out: once wiped, as much as possible has to come back.
async fn apply(d: &Rc<Daemon>, db: &Rc<Database>, mut open: Open) -> Result<(), String> {
    if open.wipe {
        in_slice(d, db, wipe_unless_empty)
            .await?
            .map_err(|error| error.to_string())?;
        db.deletions.clear();
    }
    // Not before this point: a transaction that is dropped leaves the marks in the records.
    readonly::recovered(d, db);
    let mut failed = None;
    loop {
        let buffer = match open.staged.next() {
            Ok(Some(buffer)) => buffer,
            Ok(None) => break,
            Err(error) => {
                failed.get_or_insert(error.to_string());
                continue;
            }
        };
        let records =
            RecBuffer::decode(&mut ctdb_protocol::Reader::new(&buffer)).map_err(|e| e.to_string())?;
        let mut left = records.iter();
        while left.len() > 0 {
            if let Err(error) = in_slice(d, db, |tdb| store_some(d, db, tdb, &mut left)).await? {
                failed.get_or_insert(error.to_string());
            }
        }
    }
    failed.map_or(Ok(()), Err)
}

/// Does one slice of work under the lock that a helper holds; gets the lock back if the helper has died.
///
/// # Errors
/// The lock can't be had: nothing was done, and nothing can be. What the work itself says is in the `Ok`.
async fn in_slice<T>(d: &Rc<Daemon>, db: &Rc<Database>, work: impl FnOnce(&Tdb) -> T) -> Result<T, String> {
    while db.freeze.get() != FreezeState::Frozen {
        freeze::freeze_db(d, db)
            .await
            .map_err(|error| error.to_string())?;
    }
    let done = {
        let _mark = db.tdb.mark_all().map_err(|error| error.to_string())?;
        work(&db.tdb)
    };
    d.rt.yield_now().await;
    Ok(done)
}

/// A wipe goes over all chains; most databases are empty and need none.
fn wipe_unless_empty(tdb: &Tdb) -> Result<(), TdbError> {
    let _transaction = tdb.mark_transaction_lock()?;
    let mut empty = true;
    tdb.traverse_read(|_, _| {
        empty = false;
        ControlFlow::Break(())
    })?;
    if empty { Ok(()) } else { tdb.wipe_all() }
}

/// Stores records until the slice is over. The one that fails is passed over.
fn store_some(d: &Daemon, db: &Database, tdb: &Tdb, left: &mut Records<'_>) -> Result<(), TdbError> {
    let end = d.rt.now() + SLICE;
    loop {
        for record in left.by_ref().take(RECORDS_PER_LOOK) {
            store(d, db, tdb, &record)?;
        }
        if left.len() == 0 || d.rt.now() >= end {
            return Ok(());
        }
    }
}

fn store(d: &Daemon, db: &Database, tdb: &Tdb, record: &RecData<'_>) -> Result<(), TdbError> {
    let Some((header, data)) = record.header_and_value() else {
        return Ok(());
    };
    let place = Place {
        me: d.me(),
        lmaster: d.state.lmaster(record.key),
        db: db.flags.get(),
    };
    let decision = decide_store(StoreInput::at(&place, received_header(&header), data.len()));
    if decision.keep {
        tdb.store_vectored(
            record.key,
            &[&decision.header.to_bytes(), data],
            StoreMode::Replace,
        )
    } else {
        tdb.delete(record.key).map(|_| ())
    }
}
