//! Calls of this node's clients that another node has to answer: by a REPLY_CALL, or by giving the record to
//! this node, which then runs the call itself.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::rc::Rc;

use ctdb_protocol::packet::{Packet, ReplyCall, ReqCall};
use ctdb_protocol::{CallFlags, CallId, ClientId, DbId, Header, LtdbHeader, Pnn, ReplyError, Reqid};
use ctdb_runtime::Instant;
use ctdb_runtime::sync::{OneshotReceiver, OneshotSender, oneshot};

use super::{collapse, count_done, revoke};
use crate::Daemon;
use crate::clients::Client;
use crate::databases::Database;
use crate::waiting::Ticket;

/// Who waits for a call.
pub struct Caller<'a> {
    /// The client.
    pub client: &'a Client,
    /// Its number for the call.
    pub reqid: Reqid,
    /// How it wants the answer.
    pub answered: Answered,
}

/// In which form the client gets the data of an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Answered {
    /// The daemon asks for the header where the client has not: it is taken off again.
    pub without_header: bool,
}

impl Answered {
    /// The client's part of an answer.
    pub fn data(self, data: &[u8]) -> &[u8] {
        match LtdbHeader::split(data) {
            Some((_, data)) if self.without_header => data,
            _ => data,
        }
    }
}

/// A call under way.
pub struct Pending {
    owner: Owner,
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

/// Who waits for it.
enum Owner {
    Client {
        id: ClientId,
        /// The client's number for it.
        reqid: Reqid,
        answered: Answered,
    },
    /// Vacuuming, which only wants to know when it is over: then this is dropped.
    Vacuum { _over: OneshotSender<()> },
}

impl std::fmt::Display for Owner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Owner::Client { id, .. } => write!(f, "client {id}"),
            Owner::Vacuum { .. } => f.write_str("this node's vacuuming"),
        }
    }
}

impl Owner {
    fn client(&self) -> Option<ClientId> {
        match self {
            Owner::Client { id, .. } => Some(*id),
            Owner::Vacuum { .. } => None,
        }
    }
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

    /// The record of a call for a read-only copy.
    fn wants_copy(&self, reqid: Reqid) -> Option<(DbId, Rc<[u8]>)> {
        let all = self.0.borrow();
        all.get(&reqid.0)
            .filter(|call| call.function == CallId::FETCH_WITH_HEADER)
            .map(|call| (call.db, call.key.clone()))
    }

    fn take(&self, reqid: Reqid) -> Option<Pending> {
        self.0.borrow_mut().remove(&reqid.0)
    }

    /// Those of a client.
    pub fn take_client(&self, client: ClientId) -> Vec<Pending> {
        self.take_where(|call| call.owner.client() == Some(client))
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
pub fn call(d: &Rc<Daemon>, db: &Rc<Database>, caller: &Caller<'_>, call: &ReqCall<'_>, to: Pnn, len: usize) {
    let Some(ticket) = db.load.take(len) else {
        log::error!(
            "Database {}: {} calls are under way: client {} (pid {}) is closed because it wants one more",
            db.name,
            db.load.packets(),
            caller.client.id,
            caller.client.pid
        );
        caller
            .client
            .close("too many calls are under way for a database that it uses");
        return count_done(d);
    };
    d.calls.grace.wanted(db.id, call.key, d.rt.now());
    let key: Rc<[u8]> = call.key.into();
    let leads = collapse::lead(d, db, &key);
    let pending = Pending {
        owner: Owner::Client {
            id: caller.client.id,
            reqid: caller.reqid,
            answered: caller.answered,
        },
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

/// Brings an empty record here for vacuuming. Resolves when it has come, or will not. `None` if it can't be asked for
/// now: too much is under way, or a client of this node wants it, too.
pub fn fetch_for_vacuum(
    d: &Rc<Daemon>,
    db: &Rc<Database>,
    key: &[u8],
    to: Pnn,
) -> Option<OneshotReceiver<()>> {
    if collapse::is_led(d, db, key) {
        return None;
    }
    let ticket = db.load.take(key.len())?;
    let (sender, receiver) = oneshot();
    d.stats.count(|s| {
        s.total_calls += 1;
        s.pending_calls += 1;
    });
    let call = ReqCall {
        flags: CallFlags::IMMEDIATE_MIGRATION | CallFlags::VACUUM_MIGRATION,
        db_id: db.id,
        callid: CallId::NULL,
        hopcount: 0,
        key,
        calldata: b"",
    };
    let key: Rc<[u8]> = key.into();
    let leads = collapse::lead(d, db, &key);
    let pending = Pending {
        owner: Owner::Vacuum { _over: sender },
        db: db.id,
        key,
        function: call.callid,
        flags: call.flags,
        calldata: Vec::new(),
        leads,
        began: d.rt.now(),
        _ticket: ticket,
    };
    let number = d.calls.pending.add(d, pending);
    d.send_in(db.generation.get(), to, &Packet::ReqCall(call), number);
    Some(receiver)
}

/// Sends every call for the database again, under new numbers, so that late answers to the old ones find
/// nothing. Each goes to this node first, which looks where the record is now.
pub fn send_again(d: &Rc<Daemon>, db: &Rc<Database>) {
    for call in d.calls.pending.take_database(db.id) {
        if call.owner.client().is_none_or(|id| d.clients.get(id).is_none()) {
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
    if let Owner::Client { id, reqid, answered } = call.owner
        && let Some(client) = d.clients.get(id)
    {
        let data = answered.data(data);
        client.send(d, &Packet::ReplyCall(ReplyCall { status, data }), reqid);
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
    log::error!("Call of {} for database {} failed: {why}", call.owner, call.db);
    answer(d, call, -1, b"");
}

/// Another node has run the call. A read-only copy that it lends is kept.
pub fn on_reply_call(d: &Rc<Daemon>, header: &Header, reply: &ReplyCall<'_>, bytes: &[u8]) {
    if let Some((db, key)) = d.calls.pending.wants_copy(header.reqid)
        && let Some(db) = d.databases.get(db)
        && !revoke::keep(d, &db, &key, reply.data, bytes)
    {
        return;
    }
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
