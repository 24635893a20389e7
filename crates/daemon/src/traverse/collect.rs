//! The client's side of a traverse: asks the nodes, passes their records on, and knows who still owes an end.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

use ctdb_protocol::control::Request;
use ctdb_protocol::{ClientId, DbId, Pnn, RecData, Srvid, TraverseAll, TraverseAllExt, TraverseStart, Wire};
use ctdb_runtime::{Instant, Task};

use crate::control::Asked;
use crate::databases::Database;
use crate::responder::Responder;
use crate::{Daemon, services};

/// Traverses of all clients of this node that may be under way.
const COLLECTIONS_MAX: usize = 1000;
/// Bytes that wait for the client to read before the nodes are asked to pause.
const PAUSE_ABOVE: usize = 4 << 20;
/// Bytes at which they go on.
const RESUME_AT: usize = 1 << 20;
/// The client's queue is looked at once for so many records.
const RECORDS_PER_LOOK: u64 = 64;
/// Nodes that have become inactive, and silence, are looked for this often.
const WATCH: Duration = Duration::from_secs(1);

/// Traverses under way for clients of this node, by the number that they have between nodes.
#[derive(Default)]
pub struct Collections(RefCell<BTreeMap<u32, Collection>>);

struct Collection {
    db: DbId,
    name: String,
    client: ClientId,
    /// The client's number for it, in every record that it gets.
    client_reqid: u32,
    at: Srvid,
    /// Nodes that have not sent their end yet.
    awaited: BTreeSet<Pnn>,
    records: u64,
    last_news: Instant,
    /// The nodes were asked to pause.
    paused: bool,
    /// Looks for silence; dropped with the rest.
    watch: Option<Task<()>>,
}

impl Collections {
    pub fn count(&self) -> usize {
        self.0.borrow().len()
    }

    fn take_where(&self, which: impl Fn(&Collection) -> bool) -> Vec<(u32, Collection)> {
        self.0.borrow_mut().extract_if(.., |_, c| which(c)).collect()
    }
}

/// Why a collection is over.
enum End {
    /// Every node has sent its end.
    Complete,
    /// So long nothing came.
    Silence(Duration),
    Detached,
}

/// TRAVERSE_START, TRAVERSE_START_EXT: records come as messages, the last of them is empty.
pub fn start(
    d: &Rc<Daemon>,
    asked: &Asked<'_>,
    wish: &TraverseStart,
    with_empty_records: bool,
    answer: Responder,
) {
    match begin(d, asked, wish, with_empty_records) {
        Ok(()) => answer.ok(),
        Err(why) => {
            log::error!(
                "Traverse of database {} for {} refused: {why}",
                wish.db_id,
                asked.sender()
            );
            answer.refuse();
        }
    }
}

fn begin(
    d: &Rc<Daemon>,
    asked: &Asked<'_>,
    wish: &TraverseStart,
    with_empty_records: bool,
) -> Result<(), String> {
    let client = asked
        .client
        .ok_or("only a client of this node gets the records")?;
    let db = d.databases.get(wish.db_id).ok_or("it is not attached here")?;
    may_read(d, &db)?;
    if d.traverses.collections.count() >= COLLECTIONS_MAX {
        return Err(format!("{COLLECTIONS_MAX} traverses are under way already"));
    }
    let nodes = nodes_to_ask(d, &db);
    if let Some(gone) = nodes
        .iter()
        .find(|pnn| !d.nodes.get(**pnn).is_some_and(|n| n.is_connected()))
    {
        return Err(format!("node {gone}, which has the records, is not connected"));
    }
    let reqid = add(d, &db, client, wish, &nodes);
    log::info!(
        "Traverse {reqid} of database {} begins, for {}",
        db.name,
        asked.sender()
    );
    let all = TraverseAll {
        db_id: db.id,
        reqid,
        pnn: d.me(),
        client_reqid: wish.reqid,
        srvid: wish.srvid,
    };
    // The plain form where it is enough, as C has it.
    let request = if with_empty_records {
        Request::TraverseAllExt(TraverseAllExt {
            all,
            with_empty_records,
        })
    } else {
        Request::TraverseAll(all)
    };
    for node in nodes {
        d.tell(node, &request);
    }
    if d.traverses
        .collections
        .0
        .borrow()
        .get(&reqid)
        .is_some_and(|c| c.awaited.is_empty())
    {
        // No node is active: there is nothing to be seen. The end goes out after the answer to the start.
        d.spawn(move |d| async move { finish(&d, reqid, &End::Complete) });
    }
    Ok(())
}

/// An unhealthy database is not shown, unless an operator wants to see it.
///
/// # Errors
/// Why not.
pub(super) fn may_read(d: &Daemon, db: &Database) -> Result<(), String> {
    let Some(reason) = &*db.unhealthy.borrow() else {
        return Ok(());
    };
    if !d.tunables.borrow().allow_unhealthy_db_read() {
        return Err(format!(
            "it is unhealthy: {reason} (tunable AllowUnhealthyDBRead=1 shows it all the same)"
        ));
    }
    log::warn!(
        "Database {} is traversed although it is unhealthy: {reason}",
        db.name
    );
    Ok(())
}

/// Volatile: all active nodes, each has some. Others: this node, or a location master if this node is none and so
/// may have missed transactions.
fn nodes_to_ask(d: &Daemon, db: &Database) -> Vec<Pnn> {
    if db.is_volatile() {
        return d.nodes.active();
    }
    let map = d.state.vnnmap().map;
    let one = match map.first() {
        Some(first) if !map.contains(&d.me()) => *first,
        _ => d.me(),
    };
    vec![one]
}

fn add(d: &Rc<Daemon>, db: &Database, client: ClientId, wish: &TraverseStart, nodes: &[Pnn]) -> u32 {
    let mut all = d.traverses.collections.0.borrow_mut();
    let mut reqid = d.asks.next_reqid().0;
    while all.contains_key(&reqid) {
        reqid = d.asks.next_reqid().0;
    }
    let watch = d.rt.spawn(watch(d.clone(), reqid));
    let collection = Collection {
        db: db.id,
        name: db.name.clone(),
        client,
        client_reqid: wish.reqid,
        at: wish.srvid,
        awaited: nodes.iter().copied().collect(),
        records: 0,
        last_news: d.rt.now(),
        paused: false,
        watch: Some(watch),
    };
    all.insert(reqid, collection);
    reqid
}

/// TRAVERSE_DATA: a record of another node, or its end. C's daemons send them for a client, the child that reads;
/// no client of this daemon has any to send.
pub fn data(d: &Rc<Daemon>, asked: &Asked<'_>, record: &RecData<'_>, answer: Responder) {
    if asked.client.is_some() {
        log::error!(
            "{} by {} refused: daemons send records",
            asked.opcode,
            asked.sender()
        );
        return answer.refuse();
    }
    on_data(d, asked.srcnode, record);
    answer.ok();
}

/// A record of that node, or its end. What is not awaited any more is dropped.
pub(super) fn on_data(d: &Rc<Daemon>, from: Pnn, record: &RecData<'_>) {
    let mut all = d.traverses.collections.0.borrow_mut();
    let collection = all.get_mut(&record.reqid).filter(|c| c.awaited.contains(&from));
    let Some(collection) = collection else {
        drop(all);
        return log::trace!(
            "Record for traverse {} from node {from} dropped: it has ended",
            record.reqid
        );
    };
    collection.last_news = d.rt.now();
    if record.is_end() {
        drop(all);
        return node_done(d, record.reqid, from);
    }
    collection.records += 1;
    let look = !collection.paused && collection.records % RECORDS_PER_LOOK == 0;
    let (at, client, reqid) = (collection.at, collection.client, collection.client_reqid);
    drop(all);
    services::deliver_to_clients(d, at, |out| RecData { reqid, ..*record }.encode(out));
    if look {
        keep_pace(d, record.reqid, client);
    }
}

/// Asks the nodes to pause while the client has too much to read.
fn keep_pace(d: &Rc<Daemon>, reqid: u32, client: ClientId) {
    let Some(queue) = d.clients.get(client).and_then(|c| c.sender()) else {
        return;
    };
    if queue.queued_bytes() <= PAUSE_ABOVE {
        return;
    }
    tell_pace(d, reqid, true);
    d.spawn(move |d| async move {
        if queue.drained(RESUME_AT).await.is_ok() {
            tell_pace(&d, reqid, false);
        }
    });
}

fn tell_pace(d: &Rc<Daemon>, reqid: u32, pause: bool) {
    let mut all = d.traverses.collections.0.borrow_mut();
    let Some(collection) = all.get_mut(&reqid) else {
        return;
    };
    collection.paused = pause;
    let nodes = collection.awaited.clone();
    drop(all);
    let message = super::walk::pace_message(reqid, pause);
    for node in nodes {
        d.send_message(node, Srvid::TRAVERSE_PACE, &message);
    }
}

/// Nothing more comes from this node.
fn node_done(d: &Rc<Daemon>, reqid: u32, node: Pnn) {
    let mut all = d.traverses.collections.0.borrow_mut();
    let complete = all.get_mut(&reqid).is_some_and(|c| {
        c.awaited.remove(&node);
        c.awaited.is_empty()
    });
    drop(all);
    if complete {
        finish(d, reqid, &End::Complete);
    }
}

fn finish(d: &Rc<Daemon>, reqid: u32, why: &End) {
    let done = d.traverses.collections.0.borrow_mut().remove(&reqid);
    if let Some(done) = done {
        end(d, reqid, done, why);
    }
}

/// Tells the client that this was all, and the nodes if they don't know.
fn end(d: &Rc<Daemon>, reqid: u32, mut done: Collection, why: &End) {
    if let Some(watch) = done.watch.take() {
        watch.detach(); // this may be its own doing; otherwise it finds nothing and ends
    }
    let Collection {
        name,
        records,
        awaited,
        ..
    } = &done;
    match why {
        End::Complete => log::info!("Traverse {reqid} of database {name} ends after {records} records"),
        End::Silence(limit) => {
            d.stats.count(|s| s.timeouts.traverse += 1);
            log::error!(
                "Traverse {reqid} of database {name} is cut short after {records} records: nothing came from {} \
                 for {limit:?} (TraverseTimeout). Look there for a recovery that doesn't end and for locks that are held",
                list(awaited)
            );
        }
        End::Detached => log::info!(
            "Traverse {reqid} of database {name} is cut short after {records} records: the database is detached"
        ),
    }
    let last = RecData::end(done.client_reqid);
    services::deliver_to_clients(d, done.at, |out| last.encode(out));
    if matches!(why, End::Silence(_)) {
        tell_kill(d, &done);
    }
}

fn list(nodes: &BTreeSet<Pnn>) -> String {
    let numbers: Vec<String> = nodes.iter().map(|pnn| format!("node {pnn}")).collect();
    numbers.join(", ")
}

fn tell_kill(d: &Rc<Daemon>, collection: &Collection) {
    d.tell(
        Pnn::BROADCAST_CONNECTED,
        &Request::TraverseKill(TraverseStart {
            db_id: collection.db,
            reqid: collection.client_reqid,
            srvid: collection.at,
        }),
    );
}

/// Until the collection is over: notices silence, and nodes that take no part in databases any more.
async fn watch(d: Rc<Daemon>, reqid: u32) {
    loop {
        let limit = d.tunables.borrow().traverse_timeout().max(WATCH);
        d.rt.sleep(WATCH.min(limit)).await;
        let (awaited, silent) = {
            let all = d.traverses.collections.0.borrow();
            let Some(collection) = all.get(&reqid) else { return };
            let silent = d.rt.now().saturating_since(collection.last_news);
            (collection.awaited.clone(), silent)
        };
        if silent >= limit {
            return finish(&d, reqid, &End::Silence(limit));
        }
        for node in awaited {
            if !d.nodes.get(node).is_some_and(|n| n.flags.get().is_active()) {
                without(&d, reqid, node, "is not active any more");
            }
        }
    }
}

fn without(d: &Rc<Daemon>, reqid: u32, node: Pnn, why: &str) {
    log::warn!("Traverse {reqid}: node {node} {why}; what it had not sent yet is missing");
    node_done(d, reqid, node);
}

pub(super) fn node_gone(d: &Rc<Daemon>, pnn: Pnn) {
    let all = d.traverses.collections.0.borrow();
    let waiting: Vec<u32> = all
        .iter()
        .filter(|(_, c)| c.awaited.contains(&pnn))
        .map(|(reqid, _)| *reqid)
        .collect();
    drop(all);
    for reqid in waiting {
        without(d, reqid, pnn, "is lost");
    }
}

pub(super) fn client_gone(d: &Rc<Daemon>, client: ClientId) {
    for (reqid, gone) in d.traverses.collections.take_where(|c| c.client == client) {
        log::error!(
            "Traverse {reqid} of database {} ends after {} records: its client {client} has gone",
            gone.name,
            gone.records
        );
        tell_kill(d, &gone);
    }
}

pub(super) fn database_gone(d: &Rc<Daemon>, db: &Database) {
    for (reqid, cut) in d.traverses.collections.take_where(|c| c.db == db.id) {
        end(d, reqid, cut, &End::Detached);
    }
}
