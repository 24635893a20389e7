//! The lock of a whole database, which freezes it. One helper, the keeper, holds those of all databases that
//! were free; a database in which somebody has a lock gets a helper of its own that waits.

use std::cell::{Cell, RefCell};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use ctdb_lockhelper::protocol::{Reply, Request};
use ctdb_runtime::sync::{Either, Notify, OneshotSender, Receiver, Sender, oneshot, select2, unbounded};

use super::helper::{Helper, HelperError};
use super::pool::{self, Lease};
use super::watch::{self, Wanted};
use super::writer;
use crate::Daemon;
use crate::databases::Database;

/// The keeper, once there was need of one.
#[derive(Default)]
pub struct Whole {
    keeper: RefCell<Option<Rc<Keeper>>>,
}

/// The database could not be locked.
#[derive(Debug, thiserror::Error)]
#[error("database {database} cannot be locked: {why}")]
pub struct LockFailed {
    /// Its name.
    pub database: String,
    /// What the helper says.
    pub why: String,
}

/// A database that a helper has locked. Drop lets go soon, [`DbLock::release`] tells when.
#[must_use = "the database is unlocked when this is dropped"]
pub struct DbLock {
    daemon: Rc<Daemon>,
    path: PathBuf,
    held: Option<Held>,
}

enum Held {
    ByKeeper(Rc<Keeper>),
    ByOwn(Lease),
}

/// Locks a database as a whole, however long that takes. Transactions that clients have under way in it are
/// cut short: what they commit after a recovery would undo its decision.
///
/// # Errors
/// The helper died or libtdb refused.
pub async fn lock_db(d: &Rc<Daemon>, db: &Rc<Database>) -> Result<DbLock, LockFailed> {
    writer::cancel_updates(d, db);
    let failed = |error: HelperError| LockFailed {
        database: db.name.clone(),
        why: error.to_string(),
    };
    let keeper = keeper(d).map_err(failed)?;
    let held = match keeper.ask(Order::TryLock(db.clone())).await.map_err(failed)? {
        Reply::Ok => Held::ByKeeper(keeper),
        Reply::Busy => Held::ByOwn(wait_for(d, db).await.map_err(failed)?),
        Reply::Failed(text) | Reply::Corrupt(text) => return Err(failed(HelperError::Failed(text))),
    };
    Ok(DbLock {
        daemon: d.clone(),
        path: db.path.clone(),
        held: Some(held),
    })
}

async fn wait_for(d: &Rc<Daemon>, db: &Database) -> Result<Lease, HelperError> {
    let mut helper = pool::lease(d)?;
    let pid = helper.pid();
    let request = Request::LockDb { db: db.for_helper(d) };
    let lock = helper.order(&request);
    watch::watched(d, db, Wanted::Whole, pid, lock).await?;
    Ok(helper)
}

impl DbLock {
    /// Resolves when the helper has died, and the lock with it.
    pub fn lost(&self) -> impl Future<Output = ()> + use<> {
        let gone = match &self.held {
            Some(Held::ByKeeper(keeper)) => Either::Left((keeper.gone.notified(), keeper.dead.get())),
            Some(Held::ByOwn(helper)) => Either::Right(Some(helper.died())),
            None => Either::Right(None),
        };
        async move {
            match gone {
                Either::Left((_, true)) | Either::Right(None) => {}
                Either::Left((notified, false)) => notified.await,
                Either::Right(Some(died)) => died.await,
            }
        }
    }

    /// Lets go; afterwards others can have it.
    pub async fn release(mut self) {
        if let Some(held) = self.held.take() {
            let_go(held, &self.path).await;
        }
    }
}

impl Drop for DbLock {
    fn drop(&mut self) {
        if let Some(held) = self.held.take() {
            let path = std::mem::take(&mut self.path);
            self.daemon
                .rt
                .spawn_urgent(async move { let_go(held, &path).await })
                .detach();
        }
    }
}

async fn let_go(held: Held, path: &std::path::Path) {
    let result = match held {
        Held::ByKeeper(keeper) if keeper.dead.get() => return,
        Held::ByKeeper(keeper) => keeper.ask(Order::Unlock(path.to_owned())).await.map(|_| ()),
        Held::ByOwn(mut helper) => match helper.order(&Request::UnlockDb { path }).await {
            Ok(()) => {
                helper.give_back();
                Ok(())
            }
            Err(error) => Err(error),
        },
    };
    if let Err(error) = result {
        log::error!("Letting go of {} failed: {error}", path.display());
    }
}

/// A database is detached: no helper has its file open any more, or will look at it again.
pub async fn close_file(d: &Rc<Daemon>, path: &Path) {
    pool::retire(d);
    let keeper = d.locks.whole.keeper.borrow().clone();
    let Some(keeper) = keeper.filter(|keeper| !keeper.dead.get()) else {
        return;
    };
    match keeper.ask(Order::Close(path.to_owned())).await {
        Ok(Reply::Ok) => {}
        // Then it has died, or will be found out by the next lock of the file.
        other => log::error!(
            "The lock helper that keeps databases locked did not close {}: {other:?}",
            path.display()
        ),
    }
}

/// The helper that holds many databases, behind a queue of orders.
struct Keeper {
    orders: Sender<(Order, OneshotSender<Result<Reply, HelperError>>)>,
    dead: Cell<bool>,
    gone: Notify,
}

enum Order {
    TryLock(Rc<Database>),
    Unlock(PathBuf),
    Close(PathBuf),
}

impl Keeper {
    async fn ask(&self, order: Order) -> Result<Reply, HelperError> {
        let (sender, receiver) = oneshot();
        // Bounded by the number of databases: each has one order under way at most.
        if self.orders.try_send((order, sender)).is_err() {
            return Err(died());
        }
        receiver.await.unwrap_or_else(|_| Err(died()))
    }
}

fn died() -> HelperError {
    HelperError::Failed("the lock helper that keeps databases locked has died".to_owned())
}

fn keeper(d: &Rc<Daemon>) -> Result<Rc<Keeper>, HelperError> {
    if let Some(keeper) = &*d.locks.whole.keeper.borrow()
        && !keeper.dead.get()
    {
        return Ok(keeper.clone());
    }
    let helper = Helper::start(d)?;
    let (orders, queue) = unbounded();
    let keeper = Rc::new(Keeper {
        orders,
        dead: Cell::new(false),
        gone: Notify::new(),
    });
    *d.locks.whole.keeper.borrow_mut() = Some(keeper.clone());
    let (daemon, kept) = (d.clone(), keeper.clone());
    d.rt.spawn_urgent(async move { keep(&daemon, helper, queue, &kept).await })
        .detach();
    Ok(keeper)
}

async fn keep(
    d: &Rc<Daemon>,
    mut helper: Helper,
    mut queue: Receiver<(Order, OneshotSender<Result<Reply, HelperError>>)>,
    keeper: &Keeper,
) {
    loop {
        let (order, answer) = match select2(queue.recv(), helper.died()).await {
            Either::Left(Some(next)) => next,
            Either::Left(None) => return,
            Either::Right(()) => break,
        };
        let result = match &order {
            Order::TryLock(db) => helper.ask(&Request::TryLockDb { db: db.for_helper(d) }).await,
            Order::Unlock(path) => helper.ask(&Request::UnlockDb { path }).await,
            Order::Close(path) => helper.ask(&Request::Close { path }).await,
        };
        let broken = result.is_err();
        // Who asked may have given up; a lock that nobody wants any more is let go again.
        if let (Err(Ok(Reply::Ok)), Order::TryLock(db)) = (answer.send(result), &order) {
            let _ = helper.ask(&Request::UnlockDb { path: &db.path }).await;
        }
        if broken {
            break;
        }
    }
    log::error!(
        "The lock helper (pid {}) that keeps databases locked has died: they are not frozen any more",
        helper.pid()
    );
    helper.kill();
    keeper.dead.set(true);
    keeper.gone.notify_all();
}
