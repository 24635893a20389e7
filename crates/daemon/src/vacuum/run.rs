//! One run over one database, a slice at a time: nothing is locked but the chain of the record in hand, and that
//! only if it is free at that moment. What is passed over is found again by a later full run.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::rc::Rc;
use std::time::Duration;

use ctdb_protocol::control::Request;
use ctdb_protocol::{Generation, LtdbHeader, Pnn, Reader, RecBuffer, RecBufferWriter, Wire};
use ctdb_runtime::Instant;
use ctdb_runtime::sync::join_all;
use ctdb_tdb::{Chain, TdbError};

use super::rules::{self, Fate};
use crate::databases::Database;
use crate::deletions::Deletion;
use crate::{Daemon, calls};

/// Longest time before others get their turn.
const SLICE: Duration = Duration::from_millis(2);
/// Records in one control, and calls under way at once.
const TOGETHER: usize = 500;
/// Empty records that a full run gathers before it deals with them.
const GATHERED: usize = 5_000;

/// Why a run did not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum Stopped {
    /// The records are a recovery's now.
    #[error("a recovery has come")]
    Recovery,
    /// The database was detached.
    #[error("the database was detached")]
    Detached,
    /// The file failed.
    #[error(transparent)]
    Tdb(#[from] TdbError),
}

/// What a run has done.
#[derive(Clone, Copy, Debug, Default)]
pub struct Done {
    /// Records brought here.
    pub fetched: usize,
    /// Records that their location masters are to fetch.
    pub sent_for: usize,
    /// Records deleted here.
    pub deleted: usize,
    /// Records that are still in use, on this node or another.
    pub left: usize,
}

/// See the module.
pub struct Run {
    d: Rc<Daemon>,
    db: Rc<Database>,
    /// Of the database at the start: after a recovery everything may be different.
    generation: Generation,
    slice_end: Instant,
    /// So far.
    pub done: Done,
}

impl Run {
    /// Begins.
    pub fn new(d: &Rc<Daemon>, db: &Rc<Database>) -> Run {
        Run {
            d: d.clone(),
            db: db.clone(),
            generation: db.generation.get(),
            slice_end: d.rt.now() + SLICE,
            done: Done::default(),
        }
    }

    /// Deals with all records that are known as empty; a full run looks for more.
    ///
    /// # Errors
    /// See [`Stopped`]. What was not done is left to a full run.
    pub async fn all(&mut self, full: bool) -> Result<(), Stopped> {
        let deletions = self.db.deletions.take();
        self.fetch(self.db.deletions.take_fetches()).await?;
        self.delete(deletions).await?;
        if full {
            let mut chains = self.db.tdb.chains();
            while let Some(found) = self.find_empty(&mut chains).await? {
                self.delete(found).await?;
            }
        }
        Ok(())
    }

    /// Lets others have their turn when the slice is over.
    async fn breathe(&mut self) -> Result<(), Stopped> {
        if self.d.rt.now() >= self.slice_end {
            self.d.rt.yield_now().await;
            self.slice_end = self.d.rt.now() + SLICE;
        }
        self.may_go_on()
    }

    fn may_go_on(&self) -> Result<(), Stopped> {
        if self.d.databases.get(self.db.id).is_none() {
            Err(Stopped::Detached)
        } else if self.db.is_frozen() || self.db.generation.get() != self.generation {
            Err(Stopped::Recovery)
        } else {
            Ok(())
        }
    }

    /// Looks at the record under its chain lock; `None` if somebody else has the chain.
    fn look<T>(
        &self,
        key: &[u8],
        then: impl FnOnce(Option<(LtdbHeader, usize)>) -> Result<T, TdbError>,
    ) -> Result<Option<T>, TdbError> {
        let Some(_lock) = self.db.tdb.try_lock_chain(key)? else {
            return Ok(None);
        };
        let found = self.db.tdb.parse(key, |data| {
            LtdbHeader::split(data).map(|(header, data)| (header, data.len()))
        })?;
        then(found.flatten()).map(Some)
    }

    /// Brings records here that other nodes have emptied. Stored on arrival, they go in the next run.
    async fn fetch(&mut self, keys: Vec<Box<[u8]>>) -> Result<(), Stopped> {
        for some in keys.chunks(TOGETHER) {
            let mut under_way = Vec::new();
            for key in some {
                self.breathe().await?;
                let me = self.d.me();
                let at = self.look(key, |found| Ok(found.map(|(header, _)| header.dmaster)))?;
                let Some(to) = at.flatten().filter(|dmaster| *dmaster != me) else {
                    continue;
                };
                under_way.extend(calls::fetch_for_vacuum(&self.d, &self.db, key, to));
            }
            self.done.fetched += under_way.len();
            join_all(under_way).await;
        }
        self.may_go_on()
    }

    async fn delete(&mut self, records: Vec<Deletion>) -> Result<(), Stopped> {
        let mut for_others: BTreeMap<Pnn, Vec<Box<[u8]>>> = BTreeMap::new();
        let mut everywhere = Vec::new();
        for Deletion { key, header } in records {
            self.breathe().await?;
            let place = self.db.place(&self.d, &key);
            let fate = self.look(&key, |found| {
                let fate = rules::fate(&place, &header, found);
                if fate == Fate::DeleteHere {
                    self.db.tdb.delete(&key)?;
                }
                Ok(fate)
            })?;
            match fate {
                Some(Fate::DeleteHere) => self.done.deleted += 1,
                Some(Fate::FetchBy(lmaster)) => for_others.entry(lmaster).or_default().push(key),
                Some(Fate::DeleteEverywhere(header)) => everywhere.push(Deletion { key, header }),
                Some(Fate::Leave) | None => self.done.left += 1,
            }
        }
        for (lmaster, keys) in for_others {
            self.send_for(lmaster, &keys).await?;
        }
        for some in everywhere.chunks(TOGETHER) {
            self.delete_everywhere(some).await?;
        }
        Ok(())
    }

    /// Asks the location master to bring records to itself.
    async fn send_for(&mut self, lmaster: Pnn, keys: &[Box<[u8]>]) -> Result<(), Stopped> {
        for some in keys.chunks(TOGETHER) {
            let mut records = RecBufferWriter::new(self.db.id);
            some.iter().for_each(|key| records.push_raw(0, key, b""));
            let request = Request::VacuumFetch(records.as_buffer());
            if self.ask(lmaster, &request).await.is_some() {
                self.done.sent_for += some.len();
            }
            self.breathe().await?;
        }
        Ok(())
    }

    /// Deletes records whose old copies other nodes may have: there first, then here. A node that can't be asked
    /// keeps them all.
    async fn delete_everywhere(&mut self, records: &[Deletion]) -> Result<(), Stopped> {
        let mut buffer = RecBufferWriter::new(self.db.id);
        for Deletion { key, header } in records {
            buffer.push(0, key, header, b"");
        }
        let request = Request::TryDeleteRecords(buffer.as_buffer());
        let me = self.d.me();
        let others: Vec<Pnn> = self
            .d
            .nodes
            .active()
            .into_iter()
            .filter(|pnn| *pnn != me)
            .collect();
        let asked = others.iter().map(|pnn| self.ask(*pnn, &request));
        let answers = join_all(asked).await;
        self.may_go_on()?;
        let mut kept = BTreeSet::new();
        for answer in &answers {
            let decoded = answer
                .as_ref()
                .and_then(|bytes| RecBuffer::decode(&mut Reader::new(bytes)).ok());
            let Some(refused) = decoded else {
                self.done.left += records.len();
                return Ok(());
            };
            kept.extend(refused.iter().map(|record| record.key.to_vec()));
        }
        for Deletion { key, header } in records {
            self.breathe().await?;
            if !kept.contains(&key[..]) && self.delete_at_last(key, header)? {
                self.done.deleted += 1;
            } else {
                self.done.left += 1;
            }
        }
        Ok(())
    }

    /// It may have been used again while the others were asked.
    fn delete_at_last(&self, key: &[u8], header: &LtdbHeader) -> Result<bool, TdbError> {
        let place = self.db.place(&self.d, key);
        let deleted = self.look(key, |found| {
            if !rules::may_delete(&place, header, found) {
                return Ok(false);
            }
            self.db.tdb.delete(key)
        })?;
        Ok(deleted.unwrap_or(false))
    }

    /// The data of a node's answer if that was success.
    async fn ask(&self, node: Pnn, request: &Request<'_>) -> Option<Vec<u8>> {
        let limit = self.d.tunables.borrow().vacuum_max_run_time();
        let answered = self.d.ask(node, request, limit.max(Duration::from_secs(1))).await;
        if answered.status != 0 {
            log::warn!(
                "Database {}: vacuuming asked node {node} in vain ({}): status {} {}",
                self.db.name,
                request.opcode(),
                answered.status,
                answered.text
            );
        }
        (answered.status == 0).then_some(answered.data)
    }

    /// Looks through chains that are free until enough empty records are gathered. `None` after the last chain.
    async fn find_empty(
        &mut self,
        chains: &mut impl Iterator<Item = Chain>,
    ) -> Result<Option<Vec<Deletion>>, Stopped> {
        let mut found = Vec::new();
        let me = self.d.me();
        for chain in chains {
            if let Some(_lock) = self.db.tdb.try_lock_chain_read_at(chain)? {
                self.db.tdb.traverse_chain(chain, |key, data| {
                    if let Some((header, b"")) = LtdbHeader::split(data)
                        && header.dmaster == me
                    {
                        found.push(Deletion {
                            key: key.into(),
                            header,
                        });
                    }
                    ControlFlow::Continue(())
                })?;
            }
            if found.len() >= GATHERED {
                return Ok(Some(found));
            }
            self.breathe().await?;
        }
        Ok((!found.is_empty()).then_some(found))
    }
}
