//! A client calls, `daemon.md` §4.

use std::rc::Rc;

use ctdb_protocol::packet::{Packet, ReplyCall, ReqCall};
use ctdb_protocol::{CallFlags, CallId, Reqid};
use ctdb_records::call::{self, ClientCall};

use super::pending::Answered;
use super::record::{Access, Record, RunError};
use super::{collapse, count_done, may_proceed, pending, revoke, wait_for_chain};
use crate::clients::Client;
use crate::databases::Database;
use crate::readonly::Wants;
use crate::waiting::Work;
use crate::{Daemon, readonly};

/// A REQ_CALL from a client of this node. `bytes` is the whole packet, in case it has to wait.
pub fn on_client_call(d: &Rc<Daemon>, client: &Rc<Client>, reqid: Reqid, call: &ReqCall<'_>, bytes: &[u8]) {
    let Some(db) = d.databases.get(call.db_id) else {
        log::error!(
            "Call of client {} (pid {}) for database {}, which is not attached here: dropped",
            client.id,
            client.pid,
            call.db_id
        );
        return;
    };
    d.stats.count(|s| {
        s.total_calls += 1;
        s.pending_calls += 1;
    });
    let work = || Work::Client(client.id, bytes.to_vec());
    if collapse::join(d, &db, call.key, work) || !may_proceed(d, &db, call.key, work) {
        return count_done(d);
    }
    match Record::open(d, &db, call.key) {
        Access::Got(record) => serve(d, &db, record, &Caller { client, reqid, call }, bytes),
        Access::Busy => {
            wait_for_chain(d, &db, call.key, work());
            count_done(d);
        }
        Access::Failed(error) => {
            log::error!(
                "Call of client {} (pid {}) failed: {error}",
                client.id,
                client.pid
            );
            answer(d, client, reqid, -1, b"");
        }
    }
}

/// Who calls for what.
struct Caller<'a> {
    client: &'a Rc<Client>,
    reqid: Reqid,
    call: &'a ReqCall<'a>,
}

fn serve(d: &Rc<Daemon>, db: &Rc<Database>, mut record: Record<'_>, caller: &Caller<'_>, bytes: &[u8]) {
    let began = d.rt.now();
    let (readonly, then) = decide(d, db, &mut record, caller);
    let call = if readonly {
        ReqCall {
            callid: CallId::FETCH_WITH_HEADER,
            ..*caller.call
        }
    } else {
        ReqCall {
            flags: caller.call.flags - CallFlags::WANT_READONLY,
            ..*caller.call
        }
    };
    let answered = Answered {
        without_header: readonly && caller.call.callid == CallId::FETCH,
    };
    match then {
        ClientCall::SendTo(to) => {
            if let Err(error) = record.save() {
                log::error!("Record of database {} could not be stored: {error}", db.name);
            }
            drop(record);
            let caller = pending::Caller {
                client: caller.client,
                reqid: caller.reqid,
                answered,
            };
            pending::call(d, db, &caller, &call, to, bytes.len());
        }
        ClientCall::Defer | ClientCall::StartRevoke { .. } => {
            let wants = if readonly { Wants::Copy } else { Wants::Record };
            let ready = revoke::begin(d, db, &mut record, &then);
            drop(record);
            match ready {
                Ok(()) => {
                    let work = Work::Client(caller.client.id, bytes.to_vec());
                    readonly::wait(d, db, call.key, wants, work);
                    count_done(d);
                }
                Err(error) => {
                    log::error!(
                        "Call of client {} (pid {}) failed: {error}",
                        caller.client.id,
                        caller.client.pid
                    );
                    answer(d, caller.client, caller.reqid, -1, b"");
                }
            }
        }
        ClientCall::RunLocally | ClientCall::FinishRevoke { .. } => {
            run(d, record, caller, call.callid, answered);
            d.stats
                .latency(|s| &mut s.call_latency, d.rt.now().saturating_since(began));
        }
    }
}

/// What the rules say, once an ended revoke is tidied up and marks that stand for nothing are off. The first value
/// says that the client gets a read-only copy.
fn decide(d: &Daemon, db: &Database, record: &mut Record<'_>, caller: &Caller<'_>) -> (bool, ClientCall) {
    loop {
        let plan = call::on_client_call(&record.place, caller.call.flags, &record.header);
        match plan.then {
            ClientCall::FinishRevoke { store } => {
                record.stage(store);
                readonly::finished(d, db, caller.call.key);
            }
            ClientCall::Defer | ClientCall::StartRevoke { .. }
                if revoke::is_for_nothing(d, db, record, caller.call.key) =>
            {
                record.stage_without_copies();
            }
            then => return (plan.readonly_fetch, then),
        }
    }
}

fn run(d: &Rc<Daemon>, mut record: Record<'_>, caller: &Caller<'_>, function: CallId, answered: Answered) {
    let (client, reqid) = (caller.client, caller.reqid);
    match record.run(function, |data| answer(d, client, reqid, 0, answered.data(data))) {
        Ok(()) => {}
        Err(RunError::NoSuchFunction) => {
            log::error!(
                "Client {} (pid {}) calls for unknown function {}",
                client.id,
                client.pid,
                function
            );
            answer(d, client, reqid, 0, b"");
        }
        Err(RunError::Store(error)) => {
            log::error!(
                "Call of client {} (pid {}) failed: {error}",
                client.id,
                client.pid
            );
            answer(d, client, reqid, -1, b"");
        }
    }
}

fn answer(d: &Rc<Daemon>, client: &Client, reqid: Reqid, status: i32, data: &[u8]) {
    client.send(d, &Packet::ReplyCall(ReplyCall { status, data }), reqid);
    count_done(d);
}
