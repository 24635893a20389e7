//! DB_PULL: all records of a frozen database go as messages to the node that asked; their number is the answer.
//!
//! Small databases are read in one go. A large one is read chain by chain, so that every slice can end anywhere;
//! the next buffer is filled when the way to the asker has taken most of the earlier ones.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::rc::Rc;

use ctdb_protocol::control::Reply;
use ctdb_protocol::{ClientId, LtdbHeader, Pnn, PullDbExt, RecBufferWriter, Srvid};
use ctdb_runtime::{Instant, Task};
use ctdb_tdb::{Chain, Tdb, TdbError};

use super::{RECORDS_PER_LOOK, SLICE, transaction};
use crate::Daemon;
use crate::control::Asked;
use crate::databases::{Database, FreezeState};
use crate::responder::Responder;

/// Bytes that may wait on the way to the asker before more is read.
const AHEAD_MAX: usize = 4 << 20;
/// Chains without records cost little each, but there are 100001 of them: the clock is read once for so many.
const CHAINS_PER_LOOK: usize = 64;

/// Pulls under way, one for each database: dropping it ends it, and its answer is -1.
#[derive(Default)]
pub struct Pulls {
    by_db: RefCell<BTreeMap<u32, Task<()>>>,
}

/// DB_PULL. An earlier one of the database ends: whoever asked for it has started over.
pub fn start(d: &Rc<Daemon>, asked: &Asked<'_>, what: &PullDbExt, answer: Responder) {
    let asker = Asker {
        node: asked.srcnode,
        client: asked.client,
        at: what.srvid,
    };
    let (daemon, id) = (d.clone(), what.db_id);
    let task = d.rt.spawn(async move {
        let d = &daemon;
        let Some(db) = transaction::ready(d, id, "DB_PULL").await else {
            return answer.refuse();
        };
        match send_records(d, &db, &asker).await {
            Ok(count) => answer.reply(&Reply::DbPull(count)),
            Err(why) => {
                log::error!(
                    "Pull of database {} for node {} failed: {why}",
                    db.name,
                    asker.node
                );
                answer.fail(-1, &why.to_string());
            }
        }
    });
    d.recovery.pulls.by_db.borrow_mut().insert(id.0, task);
}

/// Ends the pull of a database.
pub fn stop(d: &Daemon, db: &Database) {
    drop(d.recovery.pulls.by_db.borrow_mut().remove(&db.id.0));
}

/// Who gets the records.
struct Asker {
    node: Pnn,
    /// When it is a client of this node.
    client: Option<ClientId>,
    at: Srvid,
}

#[derive(Debug, thiserror::Error)]
enum PullFailed {
    #[error("the database was thawed in between")]
    Thawed,
    #[error("node {0} is not connected any more")]
    NodeGone(Pnn),
    #[error("the client that asked is gone")]
    ClientGone,
    #[error(transparent)]
    Tdb(#[from] TdbError),
}

impl Asker {
    /// Sends one buffer, then waits until the way has room for the next.
    async fn send(&self, d: &Rc<Daemon>, buffer: &RecBufferWriter) -> Result<(), PullFailed> {
        d.send_message(self.node, self.at, buffer.as_bytes());
        let (way, gone) = match self.client {
            Some(id) => (d.clients.get(id).and_then(|c| c.sender()), PullFailed::ClientGone),
            None if self.node == d.me() => return Ok(()),
            None => {
                let node = d.nodes.get(self.node);
                let link = node.and_then(|n| n.outgoing.borrow().as_ref().map(|link| link.sender()));
                (link, PullFailed::NodeGone(self.node))
            }
        };
        match way {
            Some(way) if way.drained(AHEAD_MAX).await.is_ok() => Ok(()),
            _ => Err(gone),
        }
    }
}

async fn send_records(d: &Rc<Daemon>, db: &Rc<Database>, asker: &Asker) -> Result<u32, PullFailed> {
    if let Some(why) = &*db.unhealthy.borrow() {
        log::warn!("Database {} is pulled although it is unhealthy: {why}", db.name);
    }
    if db.invalid_records.get() {
        log::info!(
            "Database {}: this node was inactive, so its records count for nothing",
            db.name
        );
        return Ok(0);
    }
    let mut reading = Reading {
        buffer: RecBufferWriter::new(db.id),
        full: Vec::new(),
        buffer_len: d.tunables.borrow().rec_buffer_size_limit_bytes() as usize,
        short: 0,
    };
    let mut sent = 0;
    if !in_slice(d, db, |tdb| reading.read_all(tdb, d)).await? {
        let mut chains = db.tdb.chains();
        while in_slice(d, db, |tdb| reading.read_chains(tdb, &mut chains, d)).await? {
            sent += reading.send_full(d, asker).await?;
        }
    }
    sent += reading.send_full(d, asker).await?;
    if !reading.buffer.is_empty() {
        sent += reading.buffer.count();
        asker.send(d, &reading.buffer).await?;
    }
    if reading.short > 0 {
        log::warn!(
            "Database {}: {} records too short to have a header count as missing",
            db.name,
            reading.short
        );
    }
    Ok(sent)
}

/// Does one slice of reading under the lock that a helper holds.
async fn in_slice<T>(
    d: &Rc<Daemon>,
    db: &Database,
    work: impl FnOnce(&Tdb) -> Result<T, TdbError>,
) -> Result<T, PullFailed> {
    if db.freeze.get() != FreezeState::Frozen {
        return Err(PullFailed::Thawed);
    }
    let done = {
        let _all = db.tdb.mark_all()?;
        let _transaction = db.tdb.mark_transaction_lock()?;
        work(&db.tdb)?
    };
    d.rt.yield_now().await;
    Ok(done)
}

/// Records on their way from the file into buffers.
struct Reading {
    buffer: RecBufferWriter,
    /// Buffers that have reached the limit.
    full: Vec<RecBufferWriter>,
    buffer_len: usize,
    /// Records left out because they have no header.
    short: u32,
}

impl Reading {
    /// Reads everything if that takes no longer than a slice; otherwise nothing, and returns false.
    fn read_all(&mut self, tdb: &Tdb, d: &Daemon) -> Result<bool, TdbError> {
        let end = d.rt.now() + SLICE;
        let mut seen = 0;
        let mut complete = true;
        tdb.traverse_read(|key, data| {
            self.add(key, data);
            seen += 1;
            if seen % RECORDS_PER_LOOK == 0 && d.rt.now() >= end {
                complete = false;
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        })?;
        if !complete {
            self.buffer.clear();
            self.full.clear();
            self.short = 0;
        }
        Ok(complete)
    }

    /// Reads further chains for one slice; false when there are no more.
    fn read_chains(
        &mut self,
        tdb: &Tdb,
        chains: &mut impl Iterator<Item = Chain>,
        d: &Daemon,
    ) -> Result<bool, TdbError> {
        let end: Instant = d.rt.now() + SLICE;
        loop {
            for _ in 0..CHAINS_PER_LOOK {
                let Some(chain) = chains.next() else {
                    return Ok(false);
                };
                tdb.traverse_chain(chain, |key, data| {
                    self.add(key, data);
                    ControlFlow::Continue(())
                })?;
            }
            if !self.full.is_empty() || d.rt.now() >= end {
                return Ok(true);
            }
        }
    }

    fn add(&mut self, key: &[u8], data: &[u8]) {
        if data.len() < LtdbHeader::LEN {
            self.short += 1;
            return;
        }
        self.buffer.push_raw(0, key, data);
        if self.buffer.len() >= self.buffer_len {
            let next = RecBufferWriter::new(self.buffer.as_buffer().db_id());
            self.full.push(std::mem::replace(&mut self.buffer, next));
        }
    }

    async fn send_full(&mut self, d: &Rc<Daemon>, asker: &Asker) -> Result<u32, PullFailed> {
        let mut sent = 0;
        for buffer in self.full.drain(..) {
            sent += buffer.count();
            asker.send(d, &buffer).await?;
        }
        Ok(sent)
    }
}
