//! A client calls, `daemon.md` §4.

use std::rc::Rc;

use ctdb_protocol::packet::{Packet, ReplyCall, ReqCall};
use ctdb_protocol::{CallFlags, Reqid};
use ctdb_records::call::{self, ClientCall};

use super::record::{Access, Record, RunError};
use super::{collapse, count_done, may_proceed, pending, wait_for_chain};
use crate::Daemon;
use crate::clients::Client;
use crate::databases::Database;
use crate::waiting::Work;

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
    // Read-only copies are not lent yet: who wants one gets the record.
    let call = ReqCall {
        flags: caller.call.flags - CallFlags::WANT_READONLY,
        ..*caller.call
    };
    let then = loop {
        match call::on_client_call(&record.place, call.flags, &record.header).then {
            ClientCall::FinishRevoke { store } => record.stage(store),
            // Flags that nobody here has set: of a client, or of a node that lends copies. None are out.
            ClientCall::Defer | ClientCall::StartRevoke { .. } => record.stage_without_copies(),
            then @ (ClientCall::SendTo(_) | ClientCall::RunLocally) => break then,
        }
    };
    match then {
        ClientCall::SendTo(to) => {
            if let Err(error) = record.save() {
                log::error!("Record of database {} could not be stored: {error}", db.name);
            }
            drop(record);
            pending::call(d, db, caller.client, caller.reqid, &call, to, bytes.len());
        }
        _ => {
            let (client, reqid) = (caller.client, caller.reqid);
            match record.run(call.callid, |data| answer(d, client, reqid, 0, data)) {
                Ok(()) => {}
                Err(RunError::NoSuchFunction) => {
                    log::error!(
                        "Client {} (pid {}) calls for unknown function {}",
                        client.id,
                        client.pid,
                        call.callid
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
            d.stats
                .latency(|s| &mut s.call_latency, d.rt.now().saturating_since(began));
        }
    }
}

fn answer(d: &Rc<Daemon>, client: &Client, reqid: Reqid, status: i32, data: &[u8]) {
    client.send(d, &Packet::ReplyCall(ReplyCall { status, data }), reqid);
    count_done(d);
}
