//! The recovery mode of this node: ACTIVE while databases must not be used, NORMAL otherwise.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use ctdb_mutex::{ClusterLock, LockAttempt, LockCommand};
use ctdb_protocol::RecMode;
use ctdb_runtime::Task;

use super::freeze;
use crate::Daemon;
use crate::notice::{self, Change};
use crate::responder::Responder;

/// Time for the test whether the cluster lock is held.
const LOCK_TEST_LIMIT: Duration = Duration::from_secs(5);

/// See the fields.
#[derive(Default)]
pub struct Mode {
    /// Gives all addresses up when a recovery takes too long.
    drop_addresses: RefCell<Option<Task<()>>>,
    /// Counts the wishes for a recovery, so that a test under way when one comes does not end it.
    wishes: Cell<u64>,
}

/// This node itself wants a recovery: only its variable changes, and the leader is told to look.
pub fn want_recovery(d: &Rc<Daemon>, why: &str) {
    log::error!("This node asks for a recovery: {why}");
    wish(d);
    d.state.set_recmode(RecMode::Active);
    notice::poke(d, Change::Recovery);
}

/// This node leaves the databases (banned, stopped): its mode is ACTIVE, and a test of the cluster lock that is under
/// way must not make it NORMAL again. No addresses are given up by timer: they are gone already.
pub fn leave(d: &Rc<Daemon>) {
    wish(d);
    d.state.set_recmode(RecMode::Active);
}

fn wish(d: &Daemon) {
    let wishes = &d.recovery.mode.wishes;
    wishes.set(wishes.get() + 1);
}

/// SET_RECMODE.
pub fn set(d: &Rc<Daemon>, to: RecMode, answer: Responder) {
    if to == RecMode::Active {
        // Also when it is ACTIVE already: a lock test under way must not make it NORMAL any more.
        wish(d);
    }
    if to == d.state.recmode() {
        log::debug!("The recovery mode is {to} already");
        return answer.ok();
    }
    log::info!("Recovery mode: {} -> {to}", d.state.recmode());
    match to {
        RecMode::Active => {
            arm_address_timer(d);
            d.state.set_recmode(RecMode::Active);
            notice::poke(d, Change::Recovery);
            answer.ok();
        }
        RecMode::Normal => {
            d.recovery.mode.drop_addresses.borrow_mut().take();
            let wishes = d.recovery.mode.wishes.get();
            d.spawn_urgent(move |d| async move { back_to_normal(&d, wishes, answer).await });
        }
    }
}

/// A node that stays in recovery for this long may have been forgotten by the others, who then host its addresses.
fn arm_address_timer(d: &Rc<Daemon>) {
    let limit = d.tunables.borrow().recovery_drop_all_ips();
    let daemon = d.clone();
    let timer = d.rt.spawn(async move {
        daemon.rt.sleep(limit).await;
        log::error!(
            "In recovery for {limit:?} (RecoveryDropAllIPs): this node gives up its public addresses"
        );
        crate::control::addresses::release_all(&daemon);
    });
    *d.recovery.mode.drop_addresses.borrow_mut() = Some(timer);
}

/// The rules of `recovery.md` §5.5, in their order. `wishes`: how many there were when this was asked for.
async fn back_to_normal(d: &Rc<Daemon>, wishes: u64, answer: Responder) {
    if d.recovery.mode.wishes.get() != wishes {
        return another_is_wanted(answer);
    }
    let generation = d.state.generation();
    if let Some(db) = d
        .databases
        .all()
        .iter()
        .find(|db| db.generation.get() != generation)
    {
        log::error!(
            "The recovery mode stays ACTIVE: database {} has generation {}, the cluster {generation}; \
             the next recovery takes it in",
            db.name,
            db.generation.get()
        );
        return answer.refuse();
    }
    if d.state.all_frozen.get() {
        freeze::thaw_all(d).await;
    }
    if let Some(lock) = &d.settings.cluster_lock
        && let Err(text) = lock_is_held(d, lock).await
    {
        return answer.fail(-1, &text);
    }
    if d.recovery.mode.wishes.get() != wishes {
        return another_is_wanted(answer);
    }
    d.state.set_recmode(RecMode::Normal);
    d.deferred_attaches.release(d);
    answer.ok();
}

fn another_is_wanted(answer: Responder) {
    log::error!(
        "The recovery mode stays ACTIVE: another recovery is wanted already, or this node became inactive"
    );
    answer.refuse();
}

/// The leader must hold the cluster lock, so that this node can't get it.
async fn lock_is_held(d: &Rc<Daemon>, lock: &LockCommand) -> Result<(), String> {
    let began = d.rt.now();
    match ClusterLock::try_take(&d.rt, lock, LOCK_TEST_LIMIT).await {
        LockAttempt::Contended => {
            let took = d.rt.now() - began;
            d.stats.latency(|s| &mut s.reclock_ctdbd, took);
            log::trace!("The cluster lock is held, as it should be (found out in {took:?})");
            Ok(())
        }
        LockAttempt::Timeout => {
            // Not taken is what counts; a cluster file system can be slow just after it lost a node.
            log::warn!("The test of the cluster lock took longer than {LOCK_TEST_LIMIT:?}; counted as held");
            Ok(())
        }
        LockAttempt::Taken(held) => {
            drop(held);
            log::error!(
                "This node could take the cluster lock {} during a recovery, so the leader does not hold it: \
                 check that the cluster file system keeps locks coherent between the nodes",
                d.settings.cluster_lock_text()
            );
            Err("Took recovery lock from daemon during recovery - probably a cluster filesystem lock coherence problem"
                .to_owned())
        }
        LockAttempt::Failed(why) => {
            log::error!(
                "The cluster lock {} can't be tested: {why}",
                d.settings.cluster_lock_text()
            );
            Err("Unexpected error when testing recovery lock".to_owned())
        }
    }
}
