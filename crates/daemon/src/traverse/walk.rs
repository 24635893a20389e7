//! This node's part in a traverse: its own file is read chain by chain and sent to the node that asked.
//!
//! A slice of about [`SLICE`] takes chain after chain; each is locked for reading if that is possible at once, its
//! records are written straight into the output, and the lock is let go before anything else happens. A chain that
//! somebody holds is put aside and tried again after the others, so that it keeps none of them waiting.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::ops::ControlFlow;
use std::rc::Rc;
use std::time::Duration;

use ctdb_protocol::{DbId, LtdbHeader, Opcode, Pnn, RecData, Srvid, TraverseAll, TraverseStart, Wire};
use ctdb_runtime::sync::{Notify, select2};
use ctdb_runtime::{Instant, Task};
use ctdb_tdb::{Chain, TdbError};
use ctdb_transport::Sender;

use super::collect;
use crate::Daemon;
use crate::control::Asked;
use crate::databases::Database;
use crate::recovery::freeze;
use crate::responder::Responder;

/// Time after which a walk lets the loop turn.
const SLICE: Duration = Duration::from_millis(2);
/// Most chains are empty: the clock is read once for so many.
const CHAINS_PER_LOOK: usize = 32;
/// Bytes that may wait on the way out before more is read. Record traffic on the same link waits behind them.
const AHEAD_MAX: usize = 512 << 10;
/// Chains put aside. With more than this the whole file is locked, most likely, and the walk waits.
const ASIDE_MAX: usize = 1024;
/// Pause before chains that were taken are tried again; doubles up to [`RETRY_MAX`] while all of them stay taken.
const RETRY_MIN: Duration = Duration::from_millis(1);
const RETRY_MAX: Duration = Duration::from_millis(100);
/// After this time without a step it is said which chains are in the way.
const COMPLAIN_AFTER: Duration = Duration::from_secs(10);
/// Walks of all nodes that may be under way here.
const WALKS_MAX: usize = 1000;

/// Walks under way, by the node that asked and its number for them. Dropping one ends it.
#[derive(Default)]
pub struct Walks(RefCell<BTreeMap<(Pnn, u32), Walk>>);

struct Walk {
    db: DbId,
    client_reqid: u32,
    at: Srvid,
    pace: Rc<Pace>,
    task: Task<()>,
}

impl Walks {
    pub fn count(&self) -> usize {
        self.0.borrow().len()
    }
}

/// Whether the reader at the other end keeps up.
#[derive(Default)]
struct Pace {
    paused: Cell<bool>,
    changed: Notify,
}

impl Pace {
    fn set(&self, paused: bool) {
        self.paused.set(paused);
        self.changed.notify_all();
    }

    async fn kept(&self) {
        loop {
            let changed = self.changed.notified();
            if !self.paused.get() {
                return;
            }
            changed.await;
        }
    }
}

/// TRAVERSE_ALL, TRAVERSE_ALL_EXT. A node that can't take part has nothing to send, and says so by its end mark.
pub fn walk(d: &Rc<Daemon>, asked: &Asked<'_>, wish: &TraverseAll, with_empty: bool, answer: Responder) {
    let asker = Asker {
        d: d.clone(),
        node: wish.pnn,
        reqid: wish.reqid,
    };
    if asked.client.is_some() || asker.check().is_err() {
        log::error!(
            "{} by {} refused: only a daemon that is connected gets records this way",
            asked.opcode,
            asked.sender()
        );
        return answer.refuse();
    }
    let db = match may_walk(d, wish.db_id) {
        Ok(db) => db,
        Err(why) => {
            log::error!(
                "Traverse of database {} for node {} refused: {why}",
                wish.db_id,
                wish.pnn
            );
            asker.send_end();
            return answer.refuse();
        }
    };
    let pace = Rc::new(Pace::default());
    let (place, daemon, its_pace) = ((asker.node, asker.reqid), d.clone(), pace.clone());
    let (id, mut reading) = (db.id, Reading::new(&db, with_empty));
    let task = d.rt.spawn(async move {
        let ended = reading.run(&db, &asker, &its_pace).await;
        over(&db, &asker, &ended);
        // This task is part of the entry: it ends here, so it must not be dropped on the way.
        let own = daemon.traverses.walks.0.borrow_mut().remove(&place);
        if let Some(own) = own {
            own.task.detach();
        }
    });
    let walk = Walk {
        db: id,
        client_reqid: wish.client_reqid,
        at: wish.srvid,
        pace,
        task,
    };
    let before = d.traverses.walks.0.borrow_mut().insert(place, walk);
    drop(before);
    answer.ok();
}

fn may_walk(d: &Daemon, id: DbId) -> Result<Rc<Database>, String> {
    let db = d.databases.get(id).ok_or("it is not attached here")?;
    collect::may_read(d, &db)?;
    if d.traverses.walks.count() >= WALKS_MAX {
        return Err(format!("{WALKS_MAX} traverses are under way here already"));
    }
    Ok(db)
}

fn over(db: &Database, asker: &Asker, ended: &Result<u64, WalkFailed>) {
    match ended {
        Ok(records) => log::debug!(
            "Traverse of database {} for node {}: {records} records sent",
            db.name,
            asker.node
        ),
        Err(why) => log::error!(
            "Traverse of database {} for node {} is cut short: {why}",
            db.name,
            asker.node
        ),
    }
    if !matches!(ended, Err(WalkFailed::AskerGone)) {
        asker.send_end();
    }
}

/// TRAVERSE_KILL: nobody wants the records any more. C compares the client's numbers only, and so may end the
/// traverse of another node's client that happens to have the same.
pub fn kill(d: &Rc<Daemon>, asked: &Asked<'_>, which: &TraverseStart, answer: Responder) {
    let mut walks = d.traverses.walks.0.borrow_mut();
    let killed: Vec<_> = walks
        .extract_if(.., |(node, _), walk| {
            *node == asked.srcnode
                && walk.db == which.db_id
                && walk.client_reqid == which.reqid
                && walk.at == which.srvid
        })
        .collect();
    drop(walks);
    drop(killed);
    answer.ok();
}

pub(super) fn node_gone(d: &Rc<Daemon>, pnn: Pnn) {
    let gone: Vec<_> = d
        .traverses
        .walks
        .0
        .borrow_mut()
        .extract_if(.., |(node, _), _| *node == pnn)
        .collect();
    drop(gone);
}

pub(super) fn database_gone(d: &Rc<Daemon>, db: &Database) {
    let cut: Vec<_> = d
        .traverses
        .walks
        .0
        .borrow_mut()
        .extract_if(.., |_, walk| walk.db == db.id)
        .collect();
    for ((node, reqid), walk) in cut {
        drop(walk);
        Asker {
            d: d.clone(),
            node,
            reqid,
        }
        .send_end();
    }
}

/// Private message between daemons: traverse (u32), 1 to pause or 0 to go on (u32).
pub(super) fn pace_message(reqid: u32, pause: bool) -> [u8; 8] {
    (u64::from(reqid) | u64::from(pause) << 32).to_le_bytes()
}

/// See [`pace_message`]. From the node that has the reader.
pub(super) fn on_pace(d: &Rc<Daemon>, from: Pnn, message: &[u8]) {
    let Ok(bytes) = <[u8; 8]>::try_from(message) else {
        return log::error!("Malformed TRAVERSE_PACE from node {from} dropped: it has 8 bytes");
    };
    let number = u64::from_le_bytes(bytes);
    if let Some(walk) = d.traverses.walks.0.borrow().get(&(from, number as u32)) {
        walk.pace.set(number >> 32 != 0);
    }
}

/// Who gets the records.
struct Asker {
    d: Rc<Daemon>,
    node: Pnn,
    /// Its number for the traverse.
    reqid: u32,
}

impl Asker {
    /// The link that the records go over; `None` for this node itself, where they go to the client's queue.
    fn check(&self) -> Result<Option<Sender>, WalkFailed> {
        if self.node == self.d.me() {
            return Ok(None);
        }
        let node = self.d.nodes.get(self.node).filter(|n| n.is_connected());
        let link = node.and_then(|n| n.outgoing.borrow().as_ref().map(|link| link.sender()));
        link.map(Some).ok_or(WalkFailed::AskerGone)
    }

    fn send(&self, key: &[u8], data: &[u8]) {
        let record = RecData {
            reqid: self.reqid,
            key,
            data,
        };
        if self.node == self.d.me() {
            return collect::on_data(&self.d, self.node, &record);
        }
        self.d
            .tell_in_place(self.node, Opcode::TRAVERSE_DATA, |out| record.encode(out));
    }

    fn send_end(&self) {
        self.send(b"", b"");
    }
}

#[derive(Debug, thiserror::Error)]
enum WalkFailed {
    #[error("the node that asked is not connected any more")]
    AskerGone,
    #[error("this node became inactive, its records count for nothing")]
    Inactive,
    #[error(transparent)]
    Tdb(#[from] TdbError),
}

/// What came of a slice.
enum Slice {
    /// There is more to read.
    More,
    /// What is left is locked by others.
    Taken,
    Done,
}

/// A walk through one file.
struct Reading {
    /// Only records that this node is dmaster of.
    own_only: bool,
    with_empty: bool,
    chains: Box<dyn Iterator<Item = Chain>>,
    /// Chains that were taken when they were tried, to be tried again in this round.
    again: VecDeque<Chain>,
    /// Chains that were taken in this round.
    aside: VecDeque<Chain>,
    chains_read: u32,
    sent: u64,
}

impl Reading {
    fn new(db: &Database, with_empty: bool) -> Reading {
        Reading {
            own_only: db.is_volatile(),
            with_empty,
            chains: Box::new(db.tdb.chains()),
            again: VecDeque::new(),
            aside: VecDeque::new(),
            chains_read: 0,
            sent: 0,
        }
    }

    /// To the end; returns how many records were sent.
    async fn run(&mut self, db: &Rc<Database>, asker: &Asker, pace: &Pace) -> Result<u64, WalkFailed> {
        let d = &asker.d;
        let mut pause = RETRY_MIN;
        let mut last_step = d.rt.now();
        loop {
            usable(d, db).await?;
            let link = asker.check()?;
            if let Some(link) = &link {
                link.drained(AHEAD_MAX).await.map_err(|_| WalkFailed::AskerGone)?;
            }
            pace.kept().await;
            if db.is_frozen() {
                continue; // it was thawed before one of the waits
            }
            let read_before = self.chains_read;
            match self.slice(d, db, asker, link.as_ref())? {
                Slice::Done => return Ok(self.sent),
                Slice::More => {
                    d.rt.yield_now().await;
                    last_step = d.rt.now();
                }
                Slice::Taken => {
                    let stuck = self.chains_read == read_before;
                    pause = if stuck {
                        (pause * 2).min(RETRY_MAX)
                    } else {
                        RETRY_MIN
                    };
                    if !stuck {
                        last_step = d.rt.now();
                    }
                    self.complain(d, db, &mut last_step);
                    d.rt.sleep(pause).await;
                    self.again.append(&mut self.aside);
                }
            }
        }
    }

    fn complain(&self, d: &Daemon, db: &Database, last_step: &mut Instant) {
        let waited = d.rt.now().saturating_since(*last_step);
        if waited >= COMPLAIN_AFTER {
            *last_step = d.rt.now();
            log::warn!(
                "Traverse of database {}: {} chains have been locked by another process for {waited:?}, {:?} the first of them",
                db.name,
                self.aside.len(),
                self.aside.front()
            );
        }
    }

    /// Reads for the time of a slice, or until enough is on the way.
    fn slice(
        &mut self,
        d: &Daemon,
        db: &Database,
        asker: &Asker,
        link: Option<&Sender>,
    ) -> Result<Slice, TdbError> {
        let end = d.rt.now() + SLICE;
        loop {
            for _ in 0..CHAINS_PER_LOOK {
                let Some(chain) = self.again.pop_front().or_else(|| self.chains.next()) else {
                    return Ok(if self.aside.is_empty() {
                        Slice::Done
                    } else {
                        Slice::Taken
                    });
                };
                if !self.read(db, chain, asker)? {
                    self.aside.push_back(chain);
                    if self.aside.len() >= ASIDE_MAX {
                        return Ok(Slice::Taken);
                    }
                }
            }
            if d.rt.now() >= end || link.is_some_and(|link| link.queued_bytes() > AHEAD_MAX) {
                return Ok(Slice::More);
            }
        }
    }

    /// Sends what a chain has; false when its lock is taken.
    fn read(&mut self, db: &Database, chain: Chain, asker: &Asker) -> Result<bool, TdbError> {
        let Some(_lock) = db.tdb.try_lock_chain_read_at(chain)? else {
            return Ok(false);
        };
        db.tdb.traverse_chain(chain, |key, data| {
            if self.wants(asker.d.me(), key, data) {
                asker.send(key, data);
                self.sent += 1;
            }
            ControlFlow::Continue(())
        })?;
        self.chains_read += 1;
        Ok(true)
    }

    fn wants(&self, me: Pnn, key: &[u8], data: &[u8]) -> bool {
        if key.is_empty() && data.is_empty() {
            return false; // it would look like the end
        }
        if !self.own_only {
            return true;
        }
        match LtdbHeader::split(data) {
            Some((header, value)) => header.dmaster == me && (self.with_empty || !value.is_empty()),
            None => false,
        }
    }
}

/// Waits until no recovery has the database.
async fn usable(d: &Rc<Daemon>, db: &Rc<Database>) -> Result<(), WalkFailed> {
    loop {
        if !db.is_frozen() {
            return Ok(());
        }
        if !d.is_active() {
            return Err(WalkFailed::Inactive);
        }
        select2(freeze::changed(d), d.state.changed()).await;
    }
}
