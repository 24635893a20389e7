//! A call meets a record whose read-only copies are out or are being called back; what is done about those is in
//! [`crate::readonly`].

use std::rc::Rc;

use ctdb_protocol::packet::{Packet, ReplyCall, ReqCall};
use ctdb_protocol::{Header, LtdbHeader, RecFlags};
use ctdb_records::call::{ClientCall, ReqAction};
use ctdb_records::readonly::{self as rules, Delegation};
use ctdb_tdb::TdbError;

use super::record::{Access, Record};
use super::{may_proceed, reply_error, wait_for_chain};
use crate::databases::Database;
use crate::locks::hex;
use crate::waiting::Work;
use crate::{Daemon, readonly};

/// Whether the marks in the record stand for nothing: this node neither has lent copies nor could have, and calls
/// none back.
pub fn is_for_nothing(d: &Daemon, db: &Database, record: &Record<'_>, key: &[u8]) -> bool {
    if readonly::is_revoking(d, db, key) {
        return false;
    }
    db.tracking.borrow().is_none() || !record.header.flags.contains(RecFlags::RO_HAVE_DELEGATIONS)
}

/// The part of a decision that is about a revoke.
pub trait Revoking {
    /// The marked header, where the revoke begins now; `None` where it is under way.
    fn mark(&self) -> Option<LtdbHeader>;
}

impl Revoking for ClientCall {
    fn mark(&self) -> Option<LtdbHeader> {
        match self {
            ClientCall::StartRevoke { store } => Some(*store),
            _ => None,
        }
    }
}

impl Revoking for ReqAction {
    fn mark(&self) -> Option<LtdbHeader> {
        match self {
            ReqAction::StartRevoke { store } => Some(*store),
            _ => None,
        }
    }
}

/// Begins a revoke; also one that the record is marked for but that was cut short by a recovery that came to nothing.
///
/// # Errors
/// The mark can't be stored: nothing was begun.
pub fn begin(
    d: &Rc<Daemon>,
    db: &Rc<Database>,
    record: &mut Record<'_>,
    plan: &impl Revoking,
) -> Result<(), TdbError> {
    if let Some(marked) = plan.mark() {
        record.stage(marked);
    }
    record.save()?;
    readonly::revoke(d, db, record.key(), record.header, record.data());
    Ok(())
}

/// Lends a copy to the caller's node.
pub fn lend(
    d: &Rc<Daemon>,
    db: &Rc<Database>,
    mut record: Record<'_>,
    header: &Header,
    call: &ReqCall<'_>,
    delegation: &Delegation,
) {
    if let Some(store) = delegation.store {
        record.stage(store);
    }
    // Noted before it is lent, so that no copy is ever out that nobody knows of.
    let lent = readonly::track(db, call.key, header.srcnode)
        .map_err(|error| error.to_string())
        .and_then(|()| record.save().map_err(|error| error.to_string()));
    if let Err(why) = lent {
        log::error!(
            "Database {}: no copy of record 0x{} for node {}: {why}",
            db.name,
            hex(call.key),
            header.srcnode
        );
        return reply_error(d, header, header.srcnode, &why);
    }
    let data = record.with_header(delegation.reply);
    let packet = Packet::ReplyCall(ReplyCall { status: 0, data });
    d.send_in(db.generation.get(), header.srcnode, &packet, header.reqid);
    d.stats.count(|s| s.total_ro_delegations += 1);
    db.stats.count(|s| s.db_ro_delegations += 1);
}

/// An answer brings a copy: it is kept if it is newer than what is here. False if the packet has to wait for that.
pub fn keep(d: &Rc<Daemon>, db: &Rc<Database>, key: &[u8], answer: &[u8], packet: &[u8]) -> bool {
    let Some((came, data)) = LtdbHeader::split(answer) else {
        return true;
    };
    if !came.flags.contains(RecFlags::RO_HAVE_READONLY) {
        return true;
    }
    let work = || Work::Node(packet.to_vec());
    if !may_proceed(d, db, key, work) {
        return false;
    }
    match Record::open(d, db, key) {
        Access::Got(mut record) => {
            if rules::keep_copy(&record.header, &came) {
                record.set_data(data);
                record.stage(came);
            }
            if let Err(error) = record.save() {
                log::error!(
                    "Database {}: a read-only copy could not be stored: {error}",
                    db.name
                );
            }
            true
        }
        Access::Busy => {
            wait_for_chain(d, db, key, work());
            false
        }
        Access::Failed(error) => {
            log::error!(
                "Database {}: a read-only copy could not be stored: {error}",
                db.name
            );
            true
        }
    }
}
