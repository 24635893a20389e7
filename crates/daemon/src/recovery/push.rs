//! DB_PUSH_START and DB_PUSH_CONFIRM: records come as messages between the two and are counted.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use ctdb_protocol::control::Reply;
use ctdb_protocol::{DbId, PullDbExt, Srvid};

use super::transaction::{self, PushRefused};
use crate::Daemon;
use crate::databases::Database;
use crate::responder::Responder;
use crate::services::ListenerId;

/// Pushes under way, one for each database at most.
#[derive(Default)]
pub struct Pushes {
    by_db: RefCell<BTreeMap<u32, Push>>,
}

struct Push {
    at: Srvid,
    listener: ListenerId,
    /// Records taken so far. Stays behind when something went wrong, by which the helper sees it.
    count: u32,
}

/// DB_PUSH_START: from now on records are taken. An older push of the database ends.
pub async fn start(d: &Rc<Daemon>, push: PullDbExt, answer: Responder) {
    let Some(db) = transaction::ready(d, push.db_id, "DB_PUSH_START").await else {
        return answer.refuse();
    };
    if !transaction::is_open(d, &db) {
        log::error!(
            "DB_PUSH_START for database {} refused: no recovery transaction is open",
            db.name
        );
        return answer.refuse();
    }
    if stop(d, &db) {
        log::warn!("Database {}: an earlier push ends, a new one begins", db.name);
    }
    let target = db.clone();
    let listener = d.services.register_own(
        push.srvid,
        Rc::new(move |d, _, data| on_records(d, &target, data)),
    );
    d.recovery.pushes.by_db.borrow_mut().insert(
        db.id.0,
        Push {
            at: push.srvid,
            listener,
            count: 0,
        },
    );
    answer.ok();
}

fn on_records(d: &Rc<Daemon>, db: &Rc<Database>, buffer: &[u8]) {
    match transaction::stage(d, db, buffer) {
        Ok(count) => {
            if let Some(push) = d.recovery.pushes.by_db.borrow_mut().get_mut(&db.id.0) {
                push.count = push.count.saturating_add(count);
            }
        }
        Err(PushRefused::Spoiled) => {}
        Err(why) => log::error!("Pushed records for database {} refused: {why}", db.name),
    }
}

/// DB_PUSH_CONFIRM: answers how many records were taken.
pub async fn confirm(d: &Rc<Daemon>, id: DbId, answer: Responder) {
    let Some(db) = transaction::ready(d, id, "DB_PUSH_CONFIRM").await else {
        return answer.refuse();
    };
    let Some(push) = take(d, &db) else {
        log::error!(
            "DB_PUSH_CONFIRM for database {} refused: no push was started",
            db.name
        );
        return answer.refuse();
    };
    answer.reply(&Reply::DbPushConfirm(push.count));
}

/// Ends the push of a database; true if there was one.
pub fn stop(d: &Rc<Daemon>, db: &Database) -> bool {
    take(d, db).is_some()
}

fn take(d: &Rc<Daemon>, db: &Database) -> Option<Push> {
    let push = d.recovery.pushes.by_db.borrow_mut().remove(&db.id.0)?;
    d.services.deregister_own(push.at, push.listener);
    Some(push)
}
