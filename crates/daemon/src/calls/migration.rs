//! The record itself comes by: REQ_DMASTER at the location master, REPLY_DMASTER at the new data master,
//! `daemon.md` §6.3 and §6.4.

use std::rc::Rc;

use ctdb_protocol::packet::{Packet, ReplyDmaster, ReqDmaster};
use ctdb_protocol::{CallFlags, Header, RecFlags, Rsn};
use ctdb_records::dmaster::{self, LmasterAction, Pending};

use super::record::{Access, Record, RunError};
use super::{is_node, may_proceed, pending, unknown_database, wait_for_chain};
use crate::databases::Database;
use crate::locks::hex;
use crate::recovery::mode::want_recovery;
use crate::waiting::Work;
use crate::{Daemon, sticky};

/// A REQ_DMASTER: a node gives a record away that this node is location master of.
pub fn on_req_dmaster(d: &Rc<Daemon>, header: &Header, req: &ReqDmaster<'_>, bytes: &[u8]) {
    let Some(db) = d.databases.get(req.db_id) else {
        // To the node that waits: the number is one of its own, not of the giver's.
        return unknown_database(d, header, req.dmaster, req.db_id);
    };
    if !is_node(d, req.dmaster) {
        log::error!(
            "Node {} gives a record to node {}, which is not in the nodes file: dropped",
            header.srcnode,
            req.dmaster
        );
        return;
    }
    let Some(mut record) = open(d, &db, header, req.key, bytes) else {
        return;
    };
    let packet = dmaster::ReqDmaster {
        srcnode: header.srcnode,
        dmaster: req.dmaster,
        rsn: req.rsn,
        flags: req.flags,
    };
    let plan = dmaster::on_req_dmaster(&record.place, &packet, &record.header);
    if plan.older_than_here {
        log::warn!(
            "Database {}: record 0x{} comes from node {} with rsn {}, the copy here has {}: the data master's word counts",
            db.name,
            hex(req.key),
            header.srcnode,
            req.rsn,
            record.header.rsn
        );
    }
    record.set_data(req.data);
    match plan.action {
        LmasterAction::Become => arrive(
            d,
            &db,
            record,
            header,
            &Came {
                key: req.key,
                rsn: req.rsn,
                flags: req.flags,
            },
        ),
        LmasterAction::Forward { store } => {
            record.stage(store);
            if let Err(error) = record.save() {
                log::error!(
                    "Database {}: record on its way to node {} is lost: {error}",
                    db.name,
                    req.dmaster
                );
                drop(record);
                return want_recovery(d, "a location master could not store a record that moves");
            }
            let stored = record.header;
            let packet = ReplyDmaster {
                db_id: db.id,
                rsn: stored.rsn,
                key: req.key,
                data: req.data,
                flags: stored.flags,
            };
            d.send_in(
                db.generation.get(),
                req.dmaster,
                &Packet::ReplyDmaster(packet),
                header.reqid,
            );
        }
        LmasterAction::NeedRecovery { expected } => {
            log::error!(
                "Database {}: node {} gives record 0x{} away, but by the copy here its data master is node {expected}",
                db.name,
                header.srcnode,
                hex(req.key)
            );
            drop(record);
            want_recovery(d, "nodes disagree on who is data master of a record");
        }
        LmasterAction::WrongLmaster { lmaster } => {
            log::error!(
                "Database {}: node {} takes this node for location master of record 0x{}; by the vnnmap here it is node {lmaster}",
                db.name,
                header.srcnode,
                hex(req.key)
            );
            drop(record);
            want_recovery(d, "nodes disagree on who is location master of a record");
        }
    }
}

/// A REPLY_DMASTER: this node gets a record.
pub fn on_reply_dmaster(d: &Rc<Daemon>, header: &Header, reply: &ReplyDmaster<'_>, bytes: &[u8]) {
    let Some(db) = d.databases.get(reply.db_id) else {
        log::error!(
            "Node {} gives us a record of database {}, which is not attached here",
            header.srcnode,
            reply.db_id
        );
        return;
    };
    let Some(mut record) = open(d, &db, header, reply.key, bytes) else {
        return;
    };
    record.set_data(reply.data);
    arrive(
        d,
        &db,
        record,
        header,
        &Came {
            key: reply.key,
            rsn: reply.rsn,
            flags: reply.flags,
        },
    );
}

fn open<'a>(
    d: &'a Rc<Daemon>,
    db: &'a Rc<Database>,
    header: &Header,
    key: &'a [u8],
    bytes: &[u8],
) -> Option<Record<'a>> {
    let work = || Work::Node(bytes.to_vec());
    if !may_proceed(d, db, key, work) {
        return None;
    }
    match Record::open(d, db, key) {
        Access::Got(record) => Some(record),
        Access::Busy => {
            wait_for_chain(d, db, key, work());
            None
        }
        Access::Failed(error) => {
            log::error!("Record from node {} cannot be stored: {error}", header.srcnode);
            want_recovery(d, "a record that moves could not be stored");
            None
        }
    }
}

/// What a record came with.
struct Came<'a> {
    key: &'a [u8],
    rsn: Rsn,
    flags: RecFlags,
}

/// This node is data master now, whether or not somebody still waits for the record.
fn arrive(d: &Rc<Daemon>, db: &Rc<Database>, mut record: Record<'_>, header: &Header, came: &Came<'_>) {
    let waiting = match d.calls.pending.flags_for(header.reqid, db.id, came.key) {
        Some(flags) => Pending::Found {
            vacuum: flags.contains(CallFlags::VACUUM_MIGRATION),
        },
        None => Pending::Gone,
    };
    let plan = dmaster::become_dmaster(&record.place, came.rsn, came.flags, waiting);
    record.stage(plan.store);
    sticky::pin(d, db, came.key);
    let call = plan
        .run_call
        .then(|| d.calls.pending.take_for(header.reqid, db.id, came.key))
        .flatten();
    let Some(call) = call else {
        log::debug!(
            "Database {}: record 0x{} has come, its caller has gone",
            db.name,
            hex(came.key)
        );
        return stored(d, db, record.save());
    };
    if let Some(count) = db.hot_keys.migrated(came.key, d.rt.now()) {
        log::info!(
            "Database {}: record 0x{} has come here {count} times within a second",
            db.name,
            hex(came.key)
        );
    }
    let mut call = Some(call);
    let function = call.as_ref().map_or(ctdb_protocol::CallId::NULL, |c| c.function);
    d.calls.grace.arrived(db.id, came.key, record.data(), d.rt.now());
    let ran = record.run(function, |data| {
        if let Some(call) = call.take() {
            pending::answer(d, call, 0, data);
        }
    });
    drop(record);
    match ran {
        Ok(()) => {}
        Err(RunError::NoSuchFunction) => {
            if let Some(call) = call {
                pending::answer(d, call, -1, b"");
            }
        }
        Err(RunError::Store(error)) => {
            if let Some(call) = call {
                pending::fail(d, call, &error.to_string());
            }
            stored(d, db, Err(error));
        }
    }
}

/// A record that could not be stored on its arrival is nowhere; the copies that other nodes kept bring it back.
fn stored(d: &Rc<Daemon>, db: &Database, result: Result<(), ctdb_tdb::TdbError>) {
    if let Err(error) = result {
        log::error!(
            "Database {}: a record that came here could not be stored: {error}",
            db.name
        );
        want_recovery(d, "a record that moves could not be stored");
    }
}
