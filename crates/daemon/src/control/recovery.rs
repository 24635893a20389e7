//! The controls of a recovery. What takes more than a moment runs as a task and answers when it is done.

use std::rc::Rc;
use std::time::Duration;

use ctdb_protocol::control::Reply;
use ctdb_protocol::{DbId, PullDbExt, RecMode, Text, TransDb, VnnMap};

use super::Asked;
use crate::notice::{self, Change};
use crate::recovery::{ends, freeze, mode, pull, push, transaction};
use crate::responder::Responder;
use crate::{Daemon, stats};

/// GET_RECMODE: the mode is the status.
pub fn get_recmode(d: &Rc<Daemon>, answer: Responder) {
    answer.status(d.state.recmode() as i32);
}

/// SET_RECMODE.
pub fn set_recmode(d: &Rc<Daemon>, asked: &Asked<'_>, to: RecMode, answer: Responder) {
    log::debug!("SET_RECMODE {to} from {}", asked.sender());
    mode::set(d, to, answer);
}

/// GETVNNMAP.
pub fn get_vnnmap(d: &Rc<Daemon>, answer: Responder) {
    answer.reply(&Reply::GetVnnmap(d.state.vnnmap()));
}

/// SETVNNMAP: only during a recovery, for it changes who answers for which record.
pub fn set_vnnmap(d: &Rc<Daemon>, map: VnnMap, answer: Responder) {
    if !d.state.in_recovery() {
        log::error!("SETVNNMAP refused: the recovery mode is NORMAL");
        return answer.refuse();
    }
    log::info!("Generation {} -> {}", d.state.generation(), map.generation);
    d.state.set_vnnmap(map);
    notice::poke(d, Change::Databases);
    answer.ok();
}

/// FREEZE: answered when all databases are.
pub fn freeze(d: &Rc<Daemon>, answer: Responder) {
    d.spawn(|d| async move { reply(freeze::freeze_all(&d).await, answer) });
}

/// DB_FREEZE: answered when it is.
pub fn db_freeze(d: &Rc<Daemon>, id: DbId, answer: Responder) {
    let Some(db) = d.databases.get(id) else {
        return unknown(id, "DB_FREEZE", answer);
    };
    d.spawn(move |d| async move { reply(freeze::freeze_db(&d, &db).await, answer) });
}

/// DB_THAW.
pub fn db_thaw(d: &Rc<Daemon>, id: DbId, answer: Responder) {
    let Some(db) = d.databases.get(id) else {
        return unknown(id, "DB_THAW", answer);
    };
    d.spawn(move |d| async move {
        freeze::thaw_db(&d, &db).await;
        answer.ok();
    });
}

/// DB_TRANSACTION_START.
pub fn transaction_start(d: &Rc<Daemon>, t: &TransDb, answer: Responder) {
    let t = *t;
    d.spawn(move |d| async move { transaction::start(&d, t, answer).await });
}

/// DB_TRANSACTION_COMMIT.
pub fn transaction_commit(d: &Rc<Daemon>, t: &TransDb, answer: Responder) {
    let t = *t;
    d.spawn(move |d| async move { transaction::commit(&d, t, answer).await });
}

/// DB_TRANSACTION_CANCEL.
pub fn transaction_cancel(d: &Rc<Daemon>, id: DbId, answer: Responder) {
    let Some(db) = d.databases.get(id) else {
        return unknown(id, "DB_TRANSACTION_CANCEL", answer);
    };
    d.spawn(move |d| async move { transaction::cancel(&d, &db, answer).await });
}

/// WIPE_DATABASE.
pub fn wipe_database(d: &Rc<Daemon>, t: &TransDb, answer: Responder) {
    let t = *t;
    d.spawn(move |d| async move { transaction::wipe(&d, t, answer).await });
}

/// DB_PULL.
pub fn db_pull(d: &Rc<Daemon>, asked: &Asked<'_>, what: &PullDbExt, answer: Responder) {
    pull::start(d, asked, what, answer);
}

/// DB_PUSH_START.
pub fn db_push_start(d: &Rc<Daemon>, what: &PullDbExt, answer: Responder) {
    let what = *what;
    d.spawn(move |d| async move { push::start(&d, what, answer).await });
}

/// DB_PUSH_CONFIRM.
pub fn db_push_confirm(d: &Rc<Daemon>, id: DbId, answer: Responder) {
    d.spawn(move |d| async move { push::confirm(&d, id, answer).await });
}

/// START_RECOVERY.
pub fn start_recovery(d: &Rc<Daemon>, asked: &Asked<'_>, answer: Responder) {
    let leader = asked.srcnode;
    d.spawn(move |d| async move { ends::start(&d, leader, answer).await });
}

/// END_RECOVERY.
pub fn end_recovery(d: &Rc<Daemon>, answer: Responder) {
    d.spawn(|d| async move { ends::end(&d, answer).await });
}

/// GET_RECLOCK_FILE: the text of the cluster lock, nothing when there is none.
pub fn get_reclock_file(d: &Rc<Daemon>, answer: Responder) {
    let text = d.settings.cluster_lock_text();
    answer.reply(&Reply::GetReclockFile(
        (!text.is_empty()).then(|| Text::from(text)),
    ));
}

/// RECD_PING: the recovery daemon lives.
pub fn recd_ping(d: &Rc<Daemon>, answer: Responder) {
    d.recoverd.pinged(d.rt.now());
    answer.ok();
}

/// RECD_RECLOCK_LATENCY: seconds that the recovery daemon needed to take the cluster lock.
pub fn recd_reclock_latency(d: &Rc<Daemon>, seconds: f64, answer: Responder) {
    let took = Duration::try_from_secs_f64(seconds).unwrap_or_default();
    let limit = d.tunables.borrow().reclock_latency();
    if !limit.is_zero() && took > limit {
        log::warn!("Taking the cluster lock took {took:?}, longer than {limit:?} (RecLockLatencyMs)");
    }
    d.stats.count(|s| stats::add_latency(&mut s.reclock_recd, took));
    *d.recoverd.lock_latency.borrow_mut() = Some(seconds);
    answer.ok();
}

fn reply(result: Result<(), freeze::FreezeFailed>, answer: Responder) {
    match result {
        Ok(()) => answer.ok(),
        Err(error) => answer.fail(-1, &error.to_string()),
    }
}

fn unknown(id: DbId, control: &str, answer: Responder) {
    log::error!("{control} for database {id} refused: it is not attached on this node");
    answer.refuse();
}
