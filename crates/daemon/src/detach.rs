//! A volatile database that nobody uses any more leaves the cluster. `daemon.md` §7.
//!
//! A client asks its daemon, which tells all nodes; each lets go of the database by itself. The file stays where it
//! is, and the database can be attached again: then libtdb must not have the file open any more, here or in a helper,
//! or the new handle would be refused, or an old one would look at a file that was emptied under it. So the name stays
//! taken ([`Databases::is_leaving`](crate::databases::Databases::is_leaving)) until the last user has let go.

use std::rc::Rc;
use std::time::Duration;

use ctdb_protocol::control::Request;
use ctdb_protocol::{ClientId, DbId, Pnn};

use crate::control::Asked;
use crate::databases::Database;
use crate::notice::{self, Change};
use crate::recovery::freeze;
use crate::responder::Responder;
use crate::{Daemon, calls, commit, locks, traverse};

/// Pause before it is looked again whether the last user has let go; doubles up to [`LOOK_MAX`].
const LOOK_MIN: Duration = Duration::from_millis(1);
const LOOK_MAX: Duration = Duration::from_millis(100);
/// After this time it is said that somebody does not let go.
const COMPLAIN_AFTER: Duration = Duration::from_secs(10);

/// DB_DETACH. A client's goes to all nodes, this one included; a daemon's is carried out.
pub fn detach(d: &Rc<Daemon>, asked: &Asked<'_>, id: DbId, answer: Responder) {
    match may_detach(d, asked, id) {
        Ok(_) if asked.client.is_some() => {
            d.tell(Pnn::BROADCAST_CONNECTED, &Request::DbDetach(id));
            answer.ok();
        }
        Ok(db) => {
            leave(d, db);
            answer.ok();
        }
        Err(why) => {
            log::error!("Detaching database {id} for {} refused: {why}", asked.sender());
            answer.refuse();
        }
    }
}

fn may_detach(d: &Daemon, asked: &Asked<'_>, id: DbId) -> Result<Rc<Database>, String> {
    let db = d.databases.get(id).ok_or("it is not attached here")?;
    if d.tunables.borrow().allow_client_db_attach() {
        return Err(format!(
            "clients may use {} (set tunable AllowClientDBAttach=0 on all nodes first)",
            db.name
        ));
    }
    if !db.is_volatile() {
        return Err(format!(
            "{} is {}, only volatile ones can leave",
            db.name, db.kind
        ));
    }
    if d.state.in_recovery() {
        return Err("a recovery is under way".to_owned());
    }
    if asked.client.is_none() && asked.client_id != ClientId::DAEMON {
        return Err("a client has to ask the daemon of its own node".to_owned());
    }
    Ok(db)
}

/// From here on nobody finds the database; who has it is made to let go.
fn leave(d: &Rc<Daemon>, db: Rc<Database>) {
    d.databases.begin_leaving(&db);
    db.gone.set();
    db.seqnum_watch.borrow_mut().take();
    db.tracking.borrow_mut().take();
    db.deletions.clear();
    traverse::database_gone(d, &db);
    commit::database_gone(d, db.id);
    locks::cancel_updates(d, &db);
    locks::database_gone(d, &db);
    calls::database_gone(d, db.id);
    d.spawn(move |d| async move {
        freeze::database_gone(&d, &db).await;
        locks::close_file(&d, &db.path).await;
        last_user(&d, db).await;
    });
}

/// Waits for whoever is in the middle of something, then closes the file.
async fn last_user(d: &Rc<Daemon>, db: Rc<Database>) {
    let (began, mut pause, mut said) = (d.rt.now(), LOOK_MIN, false);
    while Rc::strong_count(&db) > 1 {
        if !said && d.rt.now().saturating_since(began) >= COMPLAIN_AFTER {
            said = true;
            log::warn!(
                "Database {}: {} tasks of this daemon still have it, {COMPLAIN_AFTER:?} after it was detached; \
                 it can't be attached again before they are done",
                db.name,
                Rc::strong_count(&db) - 1
            );
        }
        d.rt.sleep(pause).await;
        pause = (pause * 2).min(LOOK_MAX);
    }
    let (name, path) = (db.name.clone(), db.path.clone());
    drop(db);
    d.databases.end_leaving(&name);
    log::info!("Detached from database {name}; its file {} stays", path.display());
    notice::poke(d, Change::Databases);
}
