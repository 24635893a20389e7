//! What waits for a disk: transactions of persistent databases, their recovery, and the check of a file.
//! All of it is done by helpers.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::path::Path;
use std::rc::Rc;

use ctdb_lockhelper::protocol::{self, Reply, Request, Rules};
use ctdb_protocol::DbId;
use ctdb_runtime::sync::{Either, Notify, OneshotSender, oneshot, select2};
use ctdb_tdb::TdbFlags;

use super::helper::HelperError;
use super::pool::{self, Lease};
use crate::Daemon;
use crate::databases::Database;

/// UPDATE_RECORDs under way.
#[derive(Default)]
pub struct Updates {
    running: RefCell<BTreeMap<u64, (DbId, Notify)>>,
    last: Cell<u64>,
}

fn rules(d: &Daemon, db: &Database) -> Rules {
    Rules {
        db: db.flags.get(),
        me: d.me(),
        vnnmap: d.state.vnnmap().map,
    }
}

/// Stores records in one transaction: all of them are on the disk, or none.
///
/// # Errors
/// Why not: the database is as before. Also when a freeze has cut it short; the recovery that wants the
/// freeze decides then whether the transaction took place.
pub async fn update_records(d: &Rc<Daemon>, db: &Rc<Database>, records: Vec<u8>) -> Result<(), String> {
    let updates = &d.locks.updates;
    let number = updates.last.get() + 1;
    updates.last.set(number);
    let cancelled = Notify::new();
    let wait = cancelled.notified();
    updates.running.borrow_mut().insert(number, (db.id, cancelled));
    let _entry = Entry(updates, number);
    match select2(update(d, db, &records), wait).await {
        Either::Left(result) => result.map_err(|error| error.to_string()),
        Either::Right(()) => Err("the database is being frozen for a recovery".to_owned()),
    }
}

struct Entry<'a>(&'a Updates, u64);

impl Drop for Entry<'_> {
    fn drop(&mut self) {
        self.0.running.borrow_mut().remove(&self.1);
    }
}

/// A helper that dies on the way may have stored everything or nothing; the same once more does no harm.
async fn update(d: &Rc<Daemon>, db: &Rc<Database>, records: &[u8]) -> Result<(), HelperError> {
    match update_once(d, db, records).await {
        Err(HelperError::Io(error)) => {
            log::warn!(
                "Database {}: a transaction is stored once more: lock helper: {error}",
                db.name
            );
            update_once(d, db, records).await
        }
        other => other,
    }
}

async fn update_once(d: &Rc<Daemon>, db: &Rc<Database>, records: &[u8]) -> Result<(), HelperError> {
    let mut helper = pool::lease(d)?;
    let request = Request::UpdateRecords {
        db: db.for_helper(d),
        rules: rules(d, db),
        records,
    };
    let reply = helper.ask(&request).await?;
    helper.give_back();
    match reply {
        Reply::Ok => Ok(()),
        Reply::Busy => Err(HelperError::Failed("it is locked".to_owned())),
        Reply::Failed(text) | Reply::Corrupt(text) => Err(HelperError::Failed(text)),
    }
}

/// Cuts short the transactions under way in a database. One that waits for a lock would otherwise write after
/// the recovery, what the recovery has decided against; one that is being committed is undone by libtdb
/// when the file is next locked, or had already taken place.
pub fn cancel_updates(d: &Daemon, db: &Database) {
    for (id, cancelled) in d.locks.updates.running.borrow().values() {
        if *id == db.id {
            log::info!(
                "Database {}: a transaction under way is cut short by a freeze",
                db.name
            );
            cancelled.notify_all();
        }
    }
}

/// Flushes of files to the disk that are wanted, by database: one is under way for each, and whoever comes
/// meanwhile shares the next.
#[derive(Default)]
pub struct Syncs(RefCell<BTreeMap<DbId, Vec<SyncDone>>>);

/// Tells who wants a flush that it is over, and how.
type SyncDone = OneshotSender<Result<(), String>>;

impl Syncs {
    /// Adds one to the next flush of the database; true when nobody sees to it yet.
    fn want(&self, db: DbId, done: SyncDone) -> bool {
        let mut wanted = self.0.borrow_mut();
        let idle = !wanted.contains_key(&db);
        wanted.entry(db).or_default().push(done);
        idle
    }

    /// Those who share the flush that begins now; with the last of them the database is forgotten.
    fn begin(&self, db: DbId) -> Vec<SyncDone> {
        let mut wanted = self.0.borrow_mut();
        let waiting = wanted.get_mut(&db).map(std::mem::take).unwrap_or_default();
        if waiting.is_empty() {
            wanted.remove(&db);
        }
        waiting
    }
}

/// What was stored in the database before is on the disk afterwards. A helper waits for the disk.
///
/// # Errors
/// What the disk says.
pub async fn sync_file(d: &Rc<Daemon>, db: &Rc<Database>) -> Result<(), String> {
    let (done, wait) = oneshot();
    if d.locks.syncs.want(db.id, done) {
        let db = db.clone();
        d.spawn(move |d| async move { sync_while_wanted(&d, &db).await });
    }
    wait.await.unwrap_or_else(|_| Err("it was given up".to_owned()))
}

async fn sync_while_wanted(d: &Rc<Daemon>, db: &Rc<Database>) {
    loop {
        let waiting = d.locks.syncs.begin(db.id);
        if waiting.is_empty() {
            return;
        }
        let result = sync_once(d, db).await.map_err(|error| error.to_string());
        for one in waiting {
            // Who wanted it may have given up.
            let _ = one.send(result.clone());
        }
    }
}

async fn sync_once(d: &Rc<Daemon>, db: &Database) -> Result<(), HelperError> {
    let mut helper = pool::lease(d)?;
    helper.order(&Request::Sync { db: db.for_helper(d) }).await?;
    helper.give_back();
    Ok(())
}

/// What a check of a file found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Checked {
    /// The structure is sound.
    Sound,
    /// It is not, and what is wrong.
    Corrupt(String),
}

/// Checks a file that this daemon has not opened yet.
///
/// # Errors
/// It could not be looked at.
pub async fn check(d: &Rc<Daemon>, path: &Path, flags: TdbFlags) -> Result<Checked, String> {
    let checked = async {
        let mut helper = pool::lease(d)?;
        let db = protocol::Database {
            path,
            flags,
            max_dead: d.tunables.borrow().database_max_dead(),
        };
        let reply = helper.ask(&Request::Check { db }).await?;
        // Closed again: what it is opened with next must be what the daemon opens it with.
        helper.order(&Request::Close { path }).await?;
        helper.give_back();
        match reply {
            Reply::Ok => Ok(Checked::Sound),
            Reply::Corrupt(text) => Ok(Checked::Corrupt(text)),
            Reply::Busy => Err(HelperError::Failed("it is locked".to_owned())),
            Reply::Failed(text) => Err(HelperError::Failed(text)),
        }
    };
    checked.await.map_err(|error| error.to_string())
}

/// Replaces the records of a persistent database that is locked for a recovery ([`super::lock_db`]).
/// Dropped before the commit, it leaves the database as it was.
pub struct RecoverWriter {
    helper: Lease,
}

impl RecoverWriter {
    /// Starts; with `wipe`, by deleting all records.
    ///
    /// # Errors
    /// The helper died or libtdb refused.
    pub async fn begin(d: &Rc<Daemon>, db: &Rc<Database>, wipe: bool) -> Result<RecoverWriter, String> {
        let begun = async {
            let mut helper = pool::lease(d)?;
            helper
                .order(&Request::RecoverBegin {
                    db: db.for_helper(d),
                    rules: rules(d, db),
                    wipe,
                })
                .await?;
            Ok(RecoverWriter { helper })
        };
        begun.await.map_err(|error: HelperError| error.to_string())
    }

    /// Adds records: a `rec_buffer` as it came.
    ///
    /// # Errors
    /// As [`RecoverWriter::begin`]; the whole is void then.
    pub async fn records(&mut self, records: &[u8]) -> Result<(), String> {
        let request = Request::RecoverRecords { records };
        self.helper
            .order(&request)
            .await
            .map_err(|error| error.to_string())
    }

    /// That was all; afterwards it is on the disk.
    ///
    /// # Errors
    /// The database is as it was before.
    pub async fn commit(mut self) -> Result<(), String> {
        self.helper
            .order(&Request::RecoverCommit)
            .await
            .map_err(|error| error.to_string())?;
        self.helper.give_back();
        Ok(())
    }

    /// Leaves the database as it was.
    pub async fn cancel(mut self) {
        match self.helper.order(&Request::RecoverCancel).await {
            Ok(()) => self.helper.give_back(),
            Err(error) => {
                log::error!("Undoing a recovery of a database: {error}; its helper is ended instead")
            }
        }
    }
}
