//! Record traffic: clients call for records, records move to where they are called for.
//!
//! What is right to do with a record is decided by `ctdb-records`; here it is fetched under its chain lock,
//! stored, and sent. Everything is done in place, while the packet is in the receive buffer, unless
//!
//! * the chain is taken: the packet waits for a lock helper ([`crate::locks`]),
//! * the database is frozen for a recovery: the packet waits for the thaw,
//! * a persistent transaction is being committed on the database: the record stays until the end of that,
//! * another call of this node for the same key is under way: a client's call waits for its answer,
//! * read-only copies of the record are out and are called back before it changes.
//!
//! Then the packet is looked at again from the start.
//!
//! ```text
//! record      one record in hand, under its lock        client     a client calls
//! request     REQ_CALL: another node calls, or a        migration  the record itself comes by:
//!             recovery sends our own calls again                   REQ_DMASTER, REPLY_DMASTER
//! pending     our calls that other nodes answer         collapse   calls behind those
//! grace       records that are fought over stay a moment  revoke    read-only copies of a record are out
//! ```

mod client;
mod collapse;
mod grace;
mod migration;
mod pending;
mod record;
mod request;
mod revoke;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use ctdb_protocol::packet::Packet;
use ctdb_protocol::{ClientId, DbId, Header, Pnn, ReplyError};

pub use client::on_client_call;
pub use migration::{on_reply_dmaster, on_req_dmaster};
pub use pending::{fetch_for_vacuum, on_reply_call, on_reply_error};
pub use record::{Access, Record};
pub use request::on_req_call;

use crate::databases::Database;
use crate::waiting::{self, Queue, Work};
use crate::{Daemon, locks, readonly, sticky};

/// State of the room.
#[derive(Default)]
pub struct Calls {
    pending: pending::PendingCalls,
    collapse: collapse::Collapse,
    grace: grace::Grace,
    /// Packets for databases that are frozen.
    frozen: Queues,
    /// Calls for records that have to stay because of a commit.
    held: Queues,
    /// Where records are read into: one buffer, so that no call allocates.
    scratch: RefCell<Vec<u8>>,
}

/// A queue for each database that has something waiting.
#[derive(Default)]
struct Queues(RefCell<BTreeMap<DbId, Queue>>);

impl Queues {
    fn push(&self, d: &Rc<Daemon>, db: &Database, work: Work) {
        if let Some(waiting) = waiting::hold(d, db, work) {
            self.0.borrow_mut().entry(db.id).or_default().push(waiting);
        }
    }

    fn run(&self, d: &Rc<Daemon>, db: DbId) {
        let queue = self.0.borrow_mut().remove(&db);
        if let Some(queue) = queue {
            waiting::run_all(d, queue.take());
        }
    }

    fn forget(&self, db: DbId) {
        self.0.borrow_mut().remove(&db);
    }
}

/// Looks whether a packet for `key` can be handled now. If not, `work` makes it wait, and the answer is false.
fn may_proceed(d: &Rc<Daemon>, db: &Rc<Database>, key: &[u8], work: impl FnOnce() -> Work) -> bool {
    if db.is_frozen() {
        d.calls.frozen.push(d, db, work());
        return false;
    }
    if locks::is_contended(d, db, key) {
        wait_for_chain(d, db, key, work());
        return false;
    }
    true
}

fn wait_for_chain(d: &Rc<Daemon>, db: &Rc<Database>, key: &[u8], work: Work) {
    if let Some(waiting) = waiting::hold(d, db, work) {
        locks::wait_chain(d, db, key, waiting);
    }
}

/// A packet came for a database that is not here: `waits`, whose call it belongs to, is told.
fn unknown_database(d: &Rc<Daemon>, header: &Header, waits: Pnn, db: DbId) {
    log::error!(
        "{} from node {} for database {db}, which is not attached here",
        header.operation,
        header.srcnode
    );
    reply_error(
        d,
        header,
        waits,
        &format!("Unknown database in request. db_id=={db}"),
    );
}

fn reply_error(d: &Rc<Daemon>, header: &Header, waits: Pnn, text: &str) {
    let message = [text.as_bytes(), b"\0"].concat();
    d.send(
        waits,
        &Packet::ReplyError(ReplyError {
            status: -1,
            message: &message,
        }),
        header.reqid,
    );
}

/// Whether a record can be given to a node: it is in the nodes file, so that a damaged packet doesn't send a
/// record nowhere.
fn is_node(d: &Daemon, pnn: Pnn) -> bool {
    d.nodes.get(pnn).is_some_and(|n| !n.is_deleted())
}

/// A client has gone: nobody waits for the answers to its calls. Records that they asked for are stored all
/// the same when they come.
pub fn client_gone(d: &Rc<Daemon>, client: ClientId) {
    for call in d.calls.pending.take_client(client) {
        pending::forget(d, call);
    }
}

/// A node has gone. Calls that it was to answer stay: where their records are now is decided by the recovery
/// that follows, after which [`resend`] sends them again.
pub fn node_gone(d: &Rc<Daemon>, pnn: Pnn) {
    let pending = d.calls.pending.count();
    if pending > 0 {
        log::debug!("{pending} calls wait for the recovery that settles the loss of node {pnn}");
    }
}

/// A database is usable again after a recovery: its calls that were under way start over, since records may be
/// somewhere else now, and the packets that waited for this are looked at.
pub fn resend(d: &Rc<Daemon>, db: &Rc<Database>) {
    pending::send_again(d, db);
    d.calls.frozen.run(d, db.id);
    d.calls.held.run(d, db.id);
}

/// A commit on the database has ended: records may leave again.
pub fn commit_ended(d: &Rc<Daemon>, db: DbId) {
    d.calls.held.run(d, db);
}

/// The database is detached: what waits for it waits in vain.
pub fn database_gone(d: &Rc<Daemon>, db: DbId) {
    d.calls.frozen.forget(db);
    d.calls.held.forget(db);
    readonly::database_gone(d, db);
    sticky::database_gone(d, db);
    for call in d.calls.pending.take_database(db) {
        pending::fail(d, call, "the database was detached");
    }
}

/// Lets calls go that have waited too long behind another; called once a second.
pub fn expire(d: &Rc<Daemon>) {
    collapse::expire(d);
}

/// One call less is under way.
fn count_done(d: &Daemon) {
    d.stats
        .count(|s| s.pending_calls = s.pending_calls.saturating_sub(1));
}
