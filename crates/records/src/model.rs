//! A cluster of three nodes and one record, made of nothing but the decisions of this crate, in-order links and
//! dice. Clients write, delete and read as `client.md` §3 says; after every step the record must be in order:
//!
//! - never two nodes that are dmaster by their own copy, and no REQ_DMASTER that its lmaster does not expect;
//! - the newest rsn, in a copy or under way, never falls;
//! - a copy marked as read-only has the data of the last write;
//! - all clients get through in a bounded number of steps, and then exactly one node is dmaster and has the
//!   data of the last write.

use crate::call::{ClientCall, Handover, ReqAction, ReqCall, ReqCircumstances, on_client_call, on_req_call};
use crate::dmaster::{LmasterAction, Pending, ReqDmaster, become_dmaster, on_req_dmaster};
use crate::readonly::{self, RevokeEnd};
use crate::store::{StoreInput, decide_store, missing_record};
use crate::update::{Found, Update, update_record};
use crate::{LtdbHeader, Place};
use ctdb_protocol::{CallFlags, DbFlags, Pnn, RecFlags, Rsn};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

const NODES: u32 = 3;
const CLIENTS_PER_NODE: u32 = 2;
const OPERATIONS_PER_CLIENT: u32 = 6;
/// Some ten times what the longest of the seeds takes.
const STEPS_MAX: u32 = 20_000;

/// Number of the write; `None`: the record is empty.
type Data = Option<u64>;

fn data_len(data: Data) -> usize {
    data.map_or(0, |_| 8)
}

#[derive(Clone, Debug)]
enum Packet {
    Call {
        call: ReqCall,
        reqid: u64,
    },
    ReplyCall {
        reqid: u64,
        lent: Option<(LtdbHeader, Data)>,
    },
    ReqDmaster {
        packet: ReqDmaster,
        data: Data,
        reqid: u64,
    },
    ReplyDmaster {
        rsn: Rsn,
        flags: RecFlags,
        data: Data,
        reqid: u64,
    },
    Update {
        header: LtdbHeader,
        data: Data,
    },
    Updated,
}

impl Packet {
    fn rsn(&self) -> Rsn {
        match self {
            Packet::ReqDmaster { packet, .. } => packet.rsn,
            Packet::ReplyDmaster { rsn, .. } => *rsn,
            Packet::ReplyCall {
                lent: Some((header, _)),
                ..
            }
            | Packet::Update { header, .. } => header.rsn,
            Packet::Call { .. } | Packet::ReplyCall { .. } | Packet::Updated => Rsn(0),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Operation {
    Write,
    Delete,
    Read,
}

#[derive(Debug)]
struct Client {
    node: u32,
    operation: Operation,
    left: u32,
    waiting: bool,
}

#[derive(Debug, Default)]
struct Node {
    copy: Option<(LtdbHeader, Data)>,
    borrowers: Vec<u8>,
    revoke: Option<Revoke>,
    deferred: Vec<Deferred>,
}

#[derive(Debug)]
struct Revoke {
    at_start: LtdbHeader,
    unanswered: usize,
}

#[derive(Debug)]
enum Deferred {
    Client(usize),
    Packet(u32, Packet),
}

struct Model {
    dice: fastrand::Rng,
    lmaster: Pnn,
    db: DbFlags,
    nodes: Vec<Node>,
    clients: Vec<Client>,
    links: BTreeMap<(u32, u32), VecDeque<Packet>>,
    pending: BTreeMap<u64, usize>,
    next_reqid: u64,
    writes: u64,
    newest: Data,
    highest_rsn: Rsn,
    seen: BTreeSet<&'static str>,
}

impl Model {
    fn new(seed: u64, db: DbFlags) -> Model {
        let mut dice = fastrand::Rng::with_seed(seed);
        let lmaster = Pnn(dice.u32(0..NODES));
        let client = |at| Client {
            node: at % NODES,
            operation: Operation::Write,
            left: OPERATIONS_PER_CLIENT,
            waiting: false,
        };
        Model {
            dice,
            lmaster,
            db,
            nodes: (0..NODES).map(|_| Node::default()).collect(),
            clients: (0..NODES * CLIENTS_PER_NODE).map(client).collect(),
            links: BTreeMap::new(),
            pending: BTreeMap::new(),
            next_reqid: 1,
            writes: 0,
            newest: None,
            highest_rsn: Rsn(0),
            seen: BTreeSet::new(),
        }
    }

    /// Runs until nothing is left to do; gives which kinds of decision were met.
    fn run(mut self) -> BTreeSet<&'static str> {
        for _ in 0..STEPS_MAX {
            if !self.step() {
                self.check_the_end();
                return self.seen;
            }
            self.check();
        }
        panic!(
            "clients still wait: {:?}, under way: {:?}",
            self.clients, self.links
        );
    }

    fn step(&mut self) -> bool {
        let links: Vec<(u32, u32)> = self
            .links
            .iter()
            .filter(|(_, queue)| !queue.is_empty())
            .map(|(&link, _)| link)
            .collect();
        let ready: Vec<usize> = (0..self.clients.len())
            .filter(|&at| self.clients[at].left > 0 && !self.clients[at].waiting)
            .collect();
        if links.is_empty() && ready.is_empty() {
            return false;
        }
        let choice = self.dice.usize(0..links.len() + ready.len());
        if let Some(&(from, to)) = links.get(choice) {
            let packet = self
                .links
                .get_mut(&(from, to))
                .and_then(VecDeque::pop_front)
                .expect("not empty");
            self.receive(from, to, packet);
        } else {
            self.act(ready[choice - links.len()]);
        }
        true
    }

    // ---- the daemon's part ----

    fn place(&self, node: u32) -> Place {
        Place {
            me: Pnn(node),
            lmaster: self.lmaster,
            db: self.db,
        }
    }

    fn fetch(&mut self, node: u32) -> (LtdbHeader, Data) {
        if let Some(copy) = self.nodes[node as usize].copy {
            return copy;
        }
        let (header, at_once) = missing_record(&self.place(node));
        let header = if at_once {
            self.store(node, header, None)
        } else {
            header
        };
        (header, None)
    }

    fn store(&mut self, node: u32, header: LtdbHeader, data: Data) -> LtdbHeader {
        let decision = decide_store(StoreInput::at(&self.place(node), header, data_len(data)));
        self.nodes[node as usize].copy = decision.keep.then_some((decision.header, data));
        decision.header
    }

    fn send(&mut self, from: u32, to: Pnn, packet: Packet) {
        assert!(to.0 < NODES, "{packet:?} to {to}");
        self.links.entry((from, to.0)).or_default().push_back(packet);
    }

    fn finish_revoke(&mut self, node: u32, store: LtdbHeader, data: Data) {
        self.seen.insert("finish revoke");
        self.nodes[node as usize].borrowers.clear();
        self.store(node, store, data);
    }

    fn start_revoke(&mut self, node: u32, store: LtdbHeader, data: Data) {
        self.seen.insert("revoke");
        let at_start = self.store(node, store, data);
        let borrowers = readonly::tracked_nodes(&self.nodes[node as usize].borrowers);
        for &borrower in &borrowers {
            let header = readonly::revoked_copy(&at_start);
            self.send(node, borrower, Packet::Update { header, data });
        }
        let unanswered = borrowers.len();
        assert!(unanswered > 0, "copies are out, so somebody was noted down");
        self.nodes[node as usize].revoke = Some(Revoke { at_start, unanswered });
    }

    fn revoke_answered(&mut self, node: u32) {
        let here = &mut self.nodes[node as usize];
        let revoke = here.revoke.as_mut().expect("an answer belongs to a revoke");
        revoke.unanswered -= 1;
        if revoke.unanswered > 0 {
            return;
        }
        let at_start = revoke.at_start;
        here.revoke = None;
        let (now, data) = here.copy.expect("a record under revoke stays");
        let RevokeEnd::Store(header) = readonly::end_revoke(&at_start, &now, true) else {
            panic!("nobody else changes a record under revoke: {at_start:?} {now:?}");
        };
        self.store(node, header, data);
        for deferred in std::mem::take(&mut self.nodes[node as usize].deferred) {
            match deferred {
                Deferred::Client(client) => self.clients[client].waiting = false,
                Deferred::Packet(from, packet) => self.receive(from, node, packet),
            }
        }
    }

    fn receive(&mut self, from: u32, node: u32, packet: Packet) {
        match packet {
            Packet::Call { call, reqid } => self.receive_call(from, node, call, reqid),
            Packet::ReplyCall { reqid, lent } => {
                if let Some((came, data)) = lent {
                    let (here, _) = self.fetch(node);
                    if readonly::keep_copy(&here, &came) {
                        self.seen.insert("keep copy");
                        self.store(node, came, data);
                    }
                }
                self.answer(reqid);
            }
            Packet::ReqDmaster { packet, data, reqid } => {
                let (found, _) = self.fetch(node);
                let plan = on_req_dmaster(&self.place(node), &packet, &found);
                assert!(!plan.older_than_here, "{packet:?} {found:?}");
                match plan.action {
                    LmasterAction::Become => self.become_dmaster(node, packet.rsn, packet.flags, data, reqid),
                    LmasterAction::Forward { store } => {
                        self.seen.insert("forward");
                        let stored = self.store(node, store, data);
                        let reply = Packet::ReplyDmaster {
                            rsn: stored.rsn,
                            flags: stored.flags,
                            data,
                            reqid,
                        };
                        self.send(node, packet.dmaster, reply);
                    }
                    refused => panic!("{packet:?} {found:?} {refused:?}"),
                }
            }
            Packet::ReplyDmaster {
                rsn,
                flags,
                data,
                reqid,
            } => {
                self.become_dmaster(node, rsn, flags, data, reqid);
            }
            Packet::Update { header, data } => {
                let number = data.map(u64::to_le_bytes);
                let new = number.as_ref().map_or(&[][..], |bytes| &bytes[..]);
                let old = self.nodes[node as usize].copy;
                let old_number = old.and_then(|(_, data)| data).map(u64::to_le_bytes);
                let old_data = old_number.as_ref().map_or(&[][..], |bytes| &bytes[..]);
                let found = old.map_or(Found::Missing, |(header, _)| Found::Copy {
                    header,
                    data: old_data,
                });
                match update_record(self.db, found, &header, new) {
                    Update::Store => {
                        self.store(node, header, data);
                    }
                    Update::Skip => {}
                    Update::Conflict => panic!("a borrower is newer: {found:?} {header:?}"),
                }
                self.send(node, Pnn(from), Packet::Updated);
            }
            Packet::Updated => self.revoke_answered(node),
        }
    }

    fn receive_call(&mut self, from: u32, node: u32, call: ReqCall, reqid: u64) {
        let (found, data) = self.fetch(node);
        let around = ReqCircumstances {
            commit_running: false,
            hopcount_make_sticky: 50,
        };
        let plan = on_req_call(&self.place(node), &call, &found, data_len(data), &around);
        match plan {
            ReqAction::FinishRevoke { store } => {
                self.finish_revoke(node, store, data);
                self.receive_call(from, node, call, reqid);
            }
            ReqAction::Redirect { to, hopcount, .. } => {
                assert_ne!(to.0, node, "a call is not sent to oneself: {call:?} {found:?}");
                self.seen.insert("redirect");
                self.send(
                    node,
                    to,
                    Packet::Call {
                        call: ReqCall { hopcount, ..call },
                        reqid,
                    },
                );
            }
            ReqAction::Defer => self.nodes[node as usize]
                .deferred
                .push(Deferred::Packet(from, Packet::Call { call, reqid })),
            ReqAction::StartRevoke { store } => {
                self.start_revoke(node, store, data);
                self.nodes[node as usize]
                    .deferred
                    .push(Deferred::Packet(from, Packet::Call { call, reqid }));
            }
            ReqAction::Delegate(delegation) => {
                self.seen.insert("delegate");
                if let Some(store) = delegation.store {
                    self.store(node, store, data);
                }
                readonly::track(&mut self.nodes[node as usize].borrowers, call.srcnode);
                self.send(
                    node,
                    call.srcnode,
                    Packet::ReplyCall {
                        reqid,
                        lent: Some((delegation.reply, data)),
                    },
                );
            }
            ReqAction::RunLocally(_) => {
                self.seen.insert("own call");
                self.store(node, found, data);
                self.send(node, call.srcnode, Packet::ReplyCall { reqid, lent: None });
            }
            ReqAction::Migrate(_, Handover::Direct { store }) => {
                self.seen.insert("direct");
                let stored = self.store(node, store, data);
                let reply = Packet::ReplyDmaster {
                    rsn: stored.rsn,
                    flags: stored.flags,
                    data,
                    reqid,
                };
                self.send(node, store.dmaster, reply);
            }
            ReqAction::Migrate(_, Handover::ViaLmaster { store, lmaster }) => {
                self.seen.insert("via lmaster");
                let stored = self.store(node, store, data);
                let packet = ReqDmaster {
                    srcnode: Pnn(node),
                    dmaster: store.dmaster,
                    rsn: stored.rsn,
                    flags: stored.flags,
                };
                self.send(node, lmaster, Packet::ReqDmaster { packet, data, reqid });
            }
            ReqAction::HoldForCommit(_) => panic!("no commit is running"),
        }
    }

    fn become_dmaster(&mut self, node: u32, rsn: Rsn, flags: RecFlags, data: Data, reqid: u64) {
        let arrival = become_dmaster(&self.place(node), rsn, flags, Pending::Found { vacuum: false });
        assert!(arrival.run_call);
        let on_arrival = self.store(node, arrival.store, data);
        self.store(node, on_arrival, data);
        self.answer(reqid);
    }

    fn answer(&mut self, reqid: u64) {
        let client = self.pending.remove(&reqid).expect("each call is answered once");
        self.clients[client].waiting = false;
    }

    // ---- the client's part ----

    fn act(&mut self, at: usize) {
        let Client { node, operation, .. } = self.clients[at];
        let copy = self.nodes[node as usize].copy;
        let mine = copy.filter(|(header, _)| header.dmaster == Pnn(node));
        let lent = copy.filter(|(header, _)| header.flags.contains(RecFlags::RO_HAVE_READONLY));
        match (operation, mine, lent) {
            (Operation::Read, Some((_, data)), _) | (Operation::Read, None, Some((_, data))) => {
                assert_eq!(data, self.newest, "a reader sees the last write");
                self.next_operation(at);
            }
            (Operation::Write | Operation::Delete, Some((header, _)), _)
                if !readonly::has_copies_out(&header) =>
            {
                self.writes += 1;
                self.newest = (operation == Operation::Write).then_some(self.writes);
                self.nodes[node as usize].copy = Some((header, self.newest));
                self.next_operation(at);
            }
            _ => self.call(at, node, operation),
        }
    }

    fn next_operation(&mut self, at: usize) {
        let operations = [
            Operation::Write,
            Operation::Write,
            Operation::Delete,
            Operation::Read,
            Operation::Read,
        ];
        self.clients[at].operation = operations[self.dice.usize(0..operations.len())];
        self.clients[at].left -= 1;
    }

    fn call(&mut self, at: usize, node: u32, operation: Operation) {
        let read = operation == Operation::Read;
        let flags = if read {
            CallFlags::WANT_READONLY
        } else {
            CallFlags::IMMEDIATE_MIGRATION
        };
        let (found, data) = self.fetch(node);
        let plan = on_client_call(&self.place(node), flags, &found);
        match plan.then {
            ClientCall::FinishRevoke { store } => {
                self.finish_revoke(node, store, data);
                self.call(at, node, operation);
            }
            // Answered in the next turn, as a later step here.
            ClientCall::RunLocally => {
                self.store(node, found, data);
            }
            ClientCall::SendTo(to) => {
                assert_ne!(to.0, node);
                let reqid = self.next_reqid;
                self.next_reqid += 1;
                self.pending.insert(reqid, at);
                self.clients[at].waiting = true;
                let call = ReqCall {
                    srcnode: Pnn(node),
                    flags,
                    fetch_with_header: plan.readonly_fetch,
                    hopcount: 0,
                };
                self.send(node, to, Packet::Call { call, reqid });
            }
            ClientCall::Defer => {
                self.clients[at].waiting = true;
                self.nodes[node as usize].deferred.push(Deferred::Client(at));
            }
            ClientCall::StartRevoke { store } => {
                self.clients[at].waiting = true;
                self.start_revoke(node, store, data);
                self.nodes[node as usize].deferred.push(Deferred::Client(at));
            }
        }
    }

    // ---- the auditor ----

    fn dmasters(&self) -> Vec<u32> {
        let is_dmaster = |&node: &u32| {
            self.nodes[node as usize]
                .copy
                .is_some_and(|(header, _)| header.dmaster == Pnn(node))
        };
        (0..NODES).filter(is_dmaster).collect()
    }

    fn check(&mut self) {
        assert!(self.dmasters().len() <= 1, "dmasters: {:?}", self.dmasters());
        let copies = self
            .nodes
            .iter()
            .filter_map(|node| node.copy)
            .map(|(header, _)| header.rsn);
        let under_way = self.links.values().flatten().map(Packet::rsn);
        let highest = copies.chain(under_way).max().unwrap_or_default();
        assert!(
            highest >= self.highest_rsn,
            "rsn fell from {} to {highest}",
            self.highest_rsn
        );
        self.highest_rsn = highest;
        for node in &self.nodes {
            if let Some((header, data)) = node.copy
                && header.flags.contains(RecFlags::RO_HAVE_READONLY)
            {
                assert_eq!(data, self.newest, "a read-only copy is the last write");
            }
        }
    }

    fn check_the_end(&self) {
        assert!(
            self.clients
                .iter()
                .all(|client| client.left == 0 && !client.waiting)
        );
        assert!(self.pending.is_empty());
        let dmasters = self.dmasters();
        assert_eq!(dmasters.len(), 1, "the record is somewhere, once");
        let (header, data) = self.nodes[dmasters[0] as usize]
            .copy
            .expect("a dmaster has a copy");
        assert_eq!(data, self.newest, "the last write is at the dmaster");
        let newest = self
            .nodes
            .iter()
            .filter_map(|node| node.copy)
            .map(|(header, _)| header.rsn)
            .max();
        assert_eq!(Some(header.rsn), newest, "the dmaster's copy is the newest");
    }
}

fn run(seeds: std::ops::Range<u64>, db: DbFlags) -> BTreeSet<&'static str> {
    let mut seen = BTreeSet::new();
    for seed in seeds {
        let one = std::panic::catch_unwind(|| Model::new(seed, db).run());
        match one {
            Ok(kinds) => seen.extend(kinds),
            Err(why) => {
                eprintln!("seed {seed}");
                std::panic::resume_unwind(why);
            }
        }
    }
    seen
}

#[test]
fn a_record_that_migrates_at_random_is_always_in_order() {
    let seen = run(0..500, DbFlags::empty());
    let expected = ["direct", "forward", "own call", "redirect", "via lmaster"];
    assert!(
        expected.iter().all(|kind| seen.contains(kind)),
        "only met {seen:?}"
    );
}

#[test]
fn a_record_that_is_lent_and_called_back_at_random_is_always_in_order() {
    let seen = run(0..500, DbFlags::READONLY);
    let expected = [
        "delegate",
        "direct",
        "finish revoke",
        "keep copy",
        "redirect",
        "revoke",
        "via lmaster",
    ];
    assert!(
        expected.iter().all(|kind| seen.contains(kind)),
        "only met {seen:?}"
    );
}
