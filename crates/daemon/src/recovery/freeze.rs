//! Frozen databases: a helper process holds the lock on the whole file, so that neither smbd nor record traffic
//! of this daemon changes it while the cluster decides which copy of each record counts.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

use ctdb_runtime::Task;
use ctdb_runtime::sync::{Notify, join_all};

use super::{pull, push, transaction};
use crate::databases::{Database, FreezeState};
use crate::locks::{self, DbLock};
use crate::{Daemon, calls};

/// Pause before the lock is asked for again, where giving it up is out of the question.
const RETRY: Duration = Duration::from_millis(100);

/// Who holds which database.
#[derive(Default)]
pub struct Freezers {
    /// One task for each database that is frozen or about to be.
    keepers: RefCell<BTreeMap<u32, Task<()>>>,
    locks: RefCell<BTreeMap<u32, DbLock>>,
    /// Databases whose lock is being given back.
    thawing: RefCell<BTreeSet<u32>>,
    changed: Notify,
}

/// A database could not be frozen; why is in the log.
#[derive(Debug, thiserror::Error)]
#[error("database {0} could not be locked")]
pub struct FreezeFailed(pub String);

/// Freezes one database and waits until it is. A frozen one is left as it is.
///
/// # Errors
/// The lock can't be had, or the database was thawed meanwhile.
pub async fn freeze_db(d: &Rc<Daemon>, db: &Rc<Database>) -> Result<(), FreezeFailed> {
    thawed_fully(d, db).await;
    if db.freeze.get() == FreezeState::Thawed {
        log::debug!("Freezing database {}", db.name);
        db.freeze.set(FreezeState::Freezing);
        let keeper = d.rt.spawn(keep(d.clone(), db.clone()));
        d.recovery.freezers.keepers.borrow_mut().insert(db.id.0, keeper);
    }
    loop {
        let changed = d.recovery.freezers.changed.notified();
        match db.freeze.get() {
            FreezeState::Frozen => return Ok(()),
            FreezeState::Thawed => return Err(FreezeFailed(db.name.clone())),
            FreezeState::Freezing => changed.await,
        }
    }
}

/// Takes the lock of one database and watches it. A lock that is lost thaws the database, unless a commit is
/// being applied: half of it must not be seen, so the lock is taken again and the commit goes on. It is taken again
/// on an inactive node, too, which must not serve what it has.
async fn keep(d: Rc<Daemon>, db: Rc<Database>) {
    loop {
        match locks::lock_db(&d, &db).await {
            Ok(lock) => {
                let lost = lock.lost();
                d.recovery.freezers.locks.borrow_mut().insert(db.id.0, lock);
                change(&d, &db, FreezeState::Frozen);
                lost.await;
                log::error!("The lock helper that kept database {} frozen is gone", db.name);
                drop(take_lock(&d, &db));
            }
            Err(error) => log::error!("Cannot freeze: {error}"),
        }
        if !transaction::is_applying(&d, &db) && !d.state.all_frozen.get() {
            break;
        }
        change(&d, &db, FreezeState::Freezing);
        d.rt.sleep(RETRY).await;
    }
    // This task is the keeper itself: it ends here, so it must not be dropped on the way.
    if let Some(own) = take_keeper(&d, &db) {
        own.detach();
    }
    end_recovery_work(&d, &db);
    change(&d, &db, FreezeState::Thawed);
    calls::resend(&d, &db);
}

/// Lets a database go: an open transaction and pulls end, waiting calls are sent again. While a commit is being
/// applied that is finished first.
pub async fn thaw_db(d: &Rc<Daemon>, db: &Rc<Database>) {
    transaction::settled(d, db).await;
    thawed_fully(d, db).await;
    d.recovery.freezers.thawing.borrow_mut().insert(db.id.0);
    drop(take_keeper(d, db));
    end_recovery_work(d, db);
    db.invalid_records.set(false);
    let lock = take_lock(d, db);
    if let Some(lock) = lock {
        lock.release().await;
    }
    d.recovery.freezers.thawing.borrow_mut().remove(&db.id.0);
    change(d, db, FreezeState::Thawed);
    calls::resend(d, db);
}

fn take_keeper(d: &Daemon, db: &Database) -> Option<Task<()>> {
    d.recovery.freezers.keepers.borrow_mut().remove(&db.id.0)
}

fn take_lock(d: &Daemon, db: &Database) -> Option<DbLock> {
    d.recovery.freezers.locks.borrow_mut().remove(&db.id.0)
}

async fn thawed_fully(d: &Rc<Daemon>, db: &Database) {
    loop {
        let changed = d.recovery.freezers.changed.notified();
        if !d.recovery.freezers.thawing.borrow().contains(&db.id.0) {
            return;
        }
        changed.await;
    }
}

fn end_recovery_work(d: &Rc<Daemon>, db: &Rc<Database>) {
    pull::stop(d, db);
    let _ = push::stop(d, db);
    transaction::drop_open(d, db);
}

/// Resolves at the next change of the [`FreezeState`] of any database.
pub async fn changed(d: &Daemon) {
    d.recovery.freezers.changed.notified().await;
}

/// The database is detached: what a recovery did with it ends, its lock is let go.
pub async fn database_gone(d: &Rc<Daemon>, db: &Rc<Database>) {
    transaction::settled(d, db).await;
    drop(take_keeper(d, db));
    end_recovery_work(d, db);
    let lock = take_lock(d, db);
    if let Some(lock) = lock {
        lock.release().await;
    }
}

fn change(d: &Daemon, db: &Database, to: FreezeState) {
    db.freeze.set(to);
    d.recovery.freezers.changed.notify_all();
}

/// FREEZE: this node takes no part in the cluster's databases any more. What its volatile ones hold counts for
/// nothing in the next recovery, for others go on without it.
///
/// # Errors
/// The first database that could not be frozen; the others are.
pub async fn freeze_all(d: &Rc<Daemon>) -> Result<(), FreezeFailed> {
    for db in d.databases.all().iter().filter(|db| db.is_volatile()) {
        db.invalid_records.set(true);
    }
    freeze_each(d).await?;
    d.state.all_frozen.set(true);
    Ok(())
}

/// Freezes everything before this node has met the others; its records are as good as theirs.
///
/// # Errors
/// As [`freeze_all`].
pub async fn freeze_all_at_start(d: &Rc<Daemon>) -> Result<(), FreezeFailed> {
    freeze_each(d).await
}

async fn freeze_each(d: &Rc<Daemon>) -> Result<(), FreezeFailed> {
    let all = d.databases.all();
    join_all(all.iter().map(|db| freeze_db(d, db)))
        .await
        .into_iter()
        .collect()
}

/// Thaws everything: this node is back from being inactive.
pub async fn thaw_all(d: &Rc<Daemon>) {
    log::info!("All databases are thawed: this node takes part again");
    d.state.all_frozen.set(false);
    let all = d.databases.all();
    join_all(all.iter().map(|db| thaw_db(d, db))).await;
}
