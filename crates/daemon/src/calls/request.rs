//! REQ_CALL: another node calls for a record that is here or that we know to find, `daemon.md` §6.1 and §6.2.
//! Own calls that are sent again after a recovery come this way, too.

use std::rc::Rc;

use ctdb_protocol::packet::{Packet, ReplyDmaster, ReqCall, ReqDmaster};
use ctdb_protocol::{CallFlags, CallId, Header, LtdbHeader};
use ctdb_records::call::{self, Arrived, Handover, ReqAction, ReqCircumstances};

use super::record::{Access, Record, RunError};
use super::{grace, is_node, may_proceed, pending, reply_error, revoke, unknown_database, wait_for_chain};
use crate::databases::Database;
use crate::readonly::Wants;
use crate::waiting::Work;
use crate::{Daemon, readonly, sticky};

/// A REQ_CALL. `bytes` is the whole packet, in case it has to wait.
pub fn on_req_call(d: &Rc<Daemon>, header: &Header, call: &ReqCall<'_>, bytes: &[u8]) {
    let Some(db) = d.databases.get(call.db_id) else {
        return unknown_database(d, header, header.srcnode, call.db_id);
    };
    if !is_node(d, header.srcnode) {
        log::error!(
            "Call from node {}, which is not in the nodes file: dropped",
            header.srcnode
        );
        return;
    }
    if let Some(stays) = sticky::pinned(d, &db, call.key) {
        return grace::wait(d, &db, stays, bytes);
    }
    let work = || Work::Node(bytes.to_vec());
    if !may_proceed(d, &db, call.key, work) {
        return;
    }
    match Record::open(d, &db, call.key) {
        Access::Got(record) => serve(d, &db, record, header, call, bytes),
        Access::Busy => wait_for_chain(d, &db, call.key, work()),
        Access::Failed(error) => {
            log::error!("Call from node {} failed: {error}", header.srcnode);
            reply_error(d, header, header.srcnode, &error.to_string());
        }
    }
}

fn serve(
    d: &Rc<Daemon>,
    db: &Rc<Database>,
    mut record: Record<'_>,
    header: &Header,
    call: &ReqCall<'_>,
    bytes: &[u8],
) {
    let plan = decide(d, db, &mut record, header, call);
    match plan {
        ReqAction::Redirect {
            to,
            hopcount,
            worth_a_line,
        } => {
            if worth_a_line {
                log::warn!(
                    "Database {}: a call of node {} is on its way for {hopcount} hops, the record moves faster than it",
                    db.name,
                    header.srcnode
                );
            }
            if let Err(error) = record.save() {
                log::error!("Record of database {} could not be stored: {error}", db.name);
            }
            drop(record);
            d.pass_on(header, to, &Packet::ReqCall(ReqCall { hopcount, ..*call }));
        }
        ReqAction::HoldForCommit(_) => {
            drop(record);
            d.calls.held.push(d, db, Work::Node(bytes.to_vec()));
        }
        ReqAction::Migrate(arrived, handover) => {
            let now = d.rt.now();
            if let Some(stays) = d.calls.grace.stays(db.id, call.key, now) {
                drop(record);
                return grace::wait(d, db, stays, bytes);
            }
            d.calls.grace.left(db.id, call.key, record.data(), now);
            count_hops(d, db, call, &arrived);
            give(d, db, record, header, call, &handover);
        }
        ReqAction::RunLocally(arrived) => {
            count_hops(d, db, call, &arrived);
            run_own(d, record, header, call);
        }
        ReqAction::Delegate(delegation) => {
            revoke::lend(d, db, record, header, call, &delegation);
        }
        ReqAction::Defer | ReqAction::StartRevoke { .. } => {
            let ready = revoke::begin(d, db, &mut record, &plan);
            drop(record);
            match ready {
                Ok(()) => {
                    let copy = call.flags.contains(CallFlags::WANT_READONLY);
                    let wants = if copy { Wants::Copy } else { Wants::Record };
                    readonly::wait(d, db, call.key, wants, Work::Node(bytes.to_vec()));
                }
                Err(error) => {
                    log::error!("Call from node {} failed: {error}", header.srcnode);
                    reply_error(d, header, header.srcnode, &error.to_string());
                }
            }
        }
        ReqAction::FinishRevoke { .. } => {
            log::error!(
                "Call from node {} dropped: its record has no end of revokes",
                header.srcnode
            );
        }
    }
}

/// What the rules say, once an ended revoke is tidied up and marks that stand for nothing are off.
fn decide(
    d: &Daemon,
    db: &Database,
    record: &mut Record<'_>,
    header: &Header,
    call: &ReqCall<'_>,
) -> ReqAction {
    let asked = call::ReqCall {
        srcnode: header.srcnode,
        flags: call.flags,
        fetch_with_header: call.callid == CallId::FETCH_WITH_HEADER,
        hopcount: call.hopcount,
    };
    let around = ReqCircumstances {
        commit_running: d.commits.is_running(db.id),
        hopcount_make_sticky: d.tunables.borrow().hopcount_make_sticky(),
    };
    let len = record.data().len();
    loop {
        match call::on_req_call(&record.place, &asked, &record.header, len, &around) {
            ReqAction::FinishRevoke { store } => {
                record.stage(store);
                readonly::finished(d, db, call.key);
            }
            ReqAction::Defer | ReqAction::StartRevoke { .. }
                if revoke::is_for_nothing(d, db, record, call.key) =>
            {
                record.stage_without_copies();
            }
            action => return action,
        }
    }
}

/// Hands the record over to the caller's node.
fn give(
    d: &Rc<Daemon>,
    db: &Database,
    mut record: Record<'_>,
    header: &Header,
    call: &ReqCall<'_>,
    handover: &Handover,
) {
    let (Handover::Direct { store } | Handover::ViaLmaster { store, .. }) = handover;
    record.stage(*store);
    if let Err(error) = record.save() {
        log::error!(
            "Database {}: record stays here, node {} does not get it, because its new place can't be noted: {error}",
            db.name,
            header.srcnode
        );
        return reply_error(d, header, header.srcnode, &error.to_string());
    }
    let LtdbHeader { rsn, dmaster, flags } = record.header;
    let (db_id, key, data) = (db.id, call.key, record.data());
    let generation = db.generation.get();
    match handover {
        Handover::Direct { .. } => {
            let packet = Packet::ReplyDmaster(ReplyDmaster {
                db_id,
                rsn,
                key,
                data,
                flags,
            });
            d.send_in(generation, header.srcnode, &packet, header.reqid);
        }
        Handover::ViaLmaster { lmaster, .. } => {
            let packet = Packet::ReqDmaster(ReqDmaster {
                db_id,
                rsn,
                dmaster,
                key,
                data,
                flags,
            });
            d.send_in(generation, *lmaster, &packet, header.reqid);
        }
    }
}

/// A call of this node that a recovery has sent again has found the record here.
fn run_own(d: &Rc<Daemon>, mut record: Record<'_>, header: &Header, call: &ReqCall<'_>) {
    let Some(pending) = d.calls.pending.take_for(header.reqid, call.db_id, call.key) else {
        log::debug!("Call {} is over: its client has gone", header.reqid);
        if let Err(error) = record.save() {
            log::error!("A record could not be stored: {error}");
        }
        return;
    };
    let mut pending = Some(pending);
    let ran = record.run(call.callid, |data| {
        if let Some(pending) = pending.take() {
            pending::answer(d, pending, 0, data);
        }
    });
    drop(record);
    if let (Err(error), Some(pending)) = (ran, pending) {
        match error {
            RunError::NoSuchFunction => pending::answer(d, pending, -1, b""),
            RunError::Store(error) => pending::fail(d, pending, &error.to_string()),
        }
    }
}

fn count_hops(d: &Daemon, db: &Database, call: &ReqCall<'_>, arrived: &Arrived) {
    if arrived.make_sticky {
        sticky::make(d, db, call.key);
    }
    d.stats.count(|s| {
        s.max_hop_count = s.max_hop_count.max(call.hopcount);
        s.hop_count_bucket[arrived.hop_bucket] += 1;
    });
    db.stats.count(|s| s.hop_count_bucket[arrived.hop_bucket] += 1);
}
