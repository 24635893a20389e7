//! Calls of this node's clients that another node has to answer: by a REPLY_CALL, or by giving the record to
//! this node, which then runs the call itself.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::rc::Rc;

use ctdb_protocol::packet::{Packet, ReplyCall, ReqCall};
use ctdb_protocol::{CallFlags, CallId, ClientId, DbId, Header, Pnn, ReplyError, Reqid};
use ctdb_runtime::Instant;

use super::{collapse, count_done};
use crate::Daemon;
use crate::clients::Client;
use crate::databases::Database;
use crate::waiting::Ticket;

/// A call under way.
pub struct Pending {
    client: ClientId,
    /// The client's number for it.
    client_reqid: Reqid,
    pub db: DbId,
    pub key: Rc<[u8]>,
    pub function: CallId,
    pub flags: CallFlags,
    calldata: Vec<u8>,
    /// Other calls for the key wait for it.
    leads: bool,
    began: Instant,
    _ticket: Ticket,
}

/// All calls under way, by the number that they have between nodes.
#[derive(Default)]
pub struct PendingCalls(RefCell<BTreeMap<u32, Pending>>);

impl PendingCalls {
    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.borrow().len()
    }

    fn add(&self, d: &Daemon, call: Pending) -> Reqid {
        loop {
            let reqid = d.asks.next_reqid();
            if let Entry::Vacant(place) = self.0.borrow_mut().entry(reqid.0) {
                place.insert(call);
                return reqid;
            }
        }
    }

    /// The call of that number if it is for this record.
    pub fn take_for(&self, reqid: Reqid, db: DbId, key: &[u8]) -> Option<Pending> {
        let mut all = self.0.borrow_mut();
        let fits = all
            .get(&reqid.0)
            .is_some_and(|call| call.db == db && *call.key == *key);
        if fits { all.remove(&reqid.0) } else { None }
    }

    /// Looks at the call of that number if it is for this record.
    pub fn flags_for(&self, reqid: Reqid, db: DbId, key: &[u8]) -> Option<CallFlags> {
        let all = self.0.borrow();
        all.get(&reqid.0)
            .filter(|call| call.db == db && *call.key == *key)
            .map(|call| call.flags)
    }

    fn take(&self, reqid: Reqid) -> Option<Pending> {
        self.0.borrow_mut().remove(&reqid.0)
    }

    /// Those of a client.
    pub fn take_client(&self, client: ClientId) -> Vec<Pending> {
        self.take_where(|call| call.client == client)
    }

    /// Those for a database.
    pub fn take_database(&self, db: DbId) -> Vec<Pending> {
        self.take_where(|call| call.db == db)
    }

    fn take_where(&self, which: impl Fn(&Pending) -> bool) -> Vec<Pending> {
        let mut all = self.0.borrow_mut();
        all.extract_if(.., |_, call| which(call))
            .map(|(_, call)| call)
            .collect()
    }
}

/// Sends a client's call to the node that has the record, or knows who has. `len` is the size of its packet.
pub fn call(
    d: &Rc<Daemon>,
    db: &Rc<Database>,
    client: &Client,
    reqid: Reqid,
    call: &ReqCall<'_>,
    to: Pnn,
    len: usize,
) {
    let Some(ticket) = db.load.take(len) else {
        log::error!(
            "Database {}: {} calls are under way: client {} (pid {}) is closed because it wants one more",
            db.name,
            db.load.packets(),
            client.id,
            client.pid
        );
        client.close("too many calls are under way for a database that it uses");
        return count_done(d);
    };
    d.calls.grace.wanted(db.id, call.key, d.rt.now());
    let key: Rc<[u8]> = call.key.into();
    let leads = collapse::lead(d, db, &key);
    let pending = Pending {
        client: client.id,
        client_reqid: reqid,
        db: db.id,
        key,
        function: call.callid,
        flags: call.flags,
        calldata: call.calldata.to_vec(),
        leads,
        began: d.rt.now(),
        _ticket: ticket,
    };
    let number = d.calls.pending.add(d, pending);
    d.send_in(
        db.generation.get(),
        to,
        &Packet::ReqCall(ReqCall { hopcount: 0, ..*call }),
        number,
    );
}

/// Sends every call for the database again, under new numbers, so that late answers to the old ones find
/// nothing. Each goes to this node first, which looks where the record is now.
pub fn send_again(d: &Rc<Daemon>, db: &Rc<Database>) {
    for call in d.calls.pending.take_database(db.id) {
        if d.clients.get(call.client).is_none() {
            forget(d, call);
            continue;
        }
        let (key, calldata) = (call.key.clone(), call.calldata.clone());
        let (flags, callid) = (call.flags, call.function);
        let number = d.calls.pending.add(d, call);
        let packet = ReqCall {
            flags,
            db_id: db.id,
            callid,
            hopcount: 0,
            key: &key,
            calldata: &calldata,
        };
        d.send_in(db.generation.get(), d.me(), &Packet::ReqCall(packet), number);
    }
}

/// Answers the client, if it is still there, and lets the calls behind this one go.
pub fn answer(d: &Rc<Daemon>, call: Pending, status: i32, data: &[u8]) {
    if let Some(client) = d.clients.get(call.client) {
        client.send(
            d,
            &Packet::ReplyCall(ReplyCall { status, data }),
            call.client_reqid,
        );
    }
    d.stats
        .latency(|s| &mut s.call_latency, d.rt.now().saturating_since(call.began));
    forget(d, call);
}

/// The call ends without an answer.
pub fn forget(d: &Rc<Daemon>, call: Pending) {
    count_done(d);
    if call.leads {
        collapse::release(d, call.db, &call.key);
    }
}

/// The call ends in failure.
pub fn fail(d: &Rc<Daemon>, call: Pending, why: &str) {
    log::error!(
        "Call of client {} for database {} failed: {why}",
        call.client,
        call.db
    );
    answer(d, call, -1, b"");
}

/// Another node has run the call.
pub fn on_reply_call(d: &Rc<Daemon>, header: &Header, reply: &ReplyCall<'_>, _bytes: &[u8]) {
    match d.calls.pending.take(header.reqid) {
        Some(call) => answer(d, call, reply.status, reply.data),
        None => log::debug!(
            "Answer {} from node {} to a call that is over: dropped",
            header.reqid,
            header.srcnode
        ),
    }
}

/// Another node could not run the call. The C daemon leaves its client without an answer then, which makes it
/// wait for ever; here it gets a status.
pub fn on_reply_error(d: &Rc<Daemon>, header: &Header, error: &ReplyError<'_>) {
    match d.calls.pending.take(header.reqid) {
        Some(call) => fail(
            d,
            call,
            &format!("node {} says: {}", header.srcnode, error.text()),
        ),
        None => log::debug!(
            "Error {} from node {} to a call that is over: dropped",
            header.reqid,
            header.srcnode
        ),
    }
}
