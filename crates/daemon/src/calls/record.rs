//! One record in hand: its chain is locked from [`Record::open`] until the value is dropped.

use std::rc::Rc;

use ctdb_protocol::{CallId, LtdbHeader, RecFlags};
use ctdb_records::Place;
use ctdb_records::store::{DeleteQueue, StoreInput, decide_store, missing_record};
use ctdb_tdb::{ChainLock, StoreMode, TdbError};

use crate::Daemon;
use crate::databases::Database;

/// What came of trying to get a record.
pub enum Access<'a> {
    /// Here it is.
    Got(Record<'a>),
    /// Somebody else has its chain.
    Busy,
    /// The database can't be used.
    Failed(TdbError),
}

/// A record, or the place where one could be.
///
/// Stores are first made in memory ([`Record::stage`]) and reach the file with [`Record::save`]: the rules
/// often store twice in one step.
pub struct Record<'a> {
    d: &'a Daemon,
    db: &'a Database,
    key: &'a [u8],
    /// Where decisions about it are made.
    pub place: Place,
    /// Its header, as of the last stage.
    pub header: LtdbHeader,
    /// What the file has, or room for a header; then the data follow.
    bytes: Vec<u8>,
    /// Data that came in a packet take the place of those in `bytes`.
    came: Option<&'a [u8]>,
    staged: Option<Staged>,
    /// Last, so that it is let go last.
    _lock: ChainLock,
}

#[derive(Clone, Copy)]
struct Staged {
    keep: bool,
    queue: DeleteQueue,
}

impl<'a> Record<'a> {
    /// Locks the chain of `key` if that is possible at once, and reads the record. A missing record gets the
    /// header of one that never was.
    pub fn open(d: &'a Daemon, db: &'a Rc<Database>, key: &'a [u8]) -> Access<'a> {
        let lock = match db.tdb.try_lock_chain(key) {
            Ok(Some(lock)) => lock,
            Ok(None) => return Access::Busy,
            Err(error) => return Access::Failed(error),
        };
        let mut bytes = d.calls.scratch.take();
        bytes.clear();
        let header = match db.tdb.parse(key, |data| read(data, &mut bytes)) {
            Ok(header) => header.flatten(),
            Err(error) => {
                d.calls.scratch.replace(bytes);
                return Access::Failed(error);
            }
        };
        let place = db.place(d, key);
        let missing = LtdbHeader::new(ctdb_protocol::Rsn(0), place.lmaster);
        let mut record = Record {
            d,
            db,
            key,
            place,
            header: header.unwrap_or(missing),
            bytes,
            came: None,
            staged: None,
            _lock: lock,
        };
        if header.is_none() {
            let (header, store_at_once) = missing_record(&place);
            record.header = header;
            record.bytes.clear();
            record.bytes.resize(LtdbHeader::LEN, 0);
            if store_at_once {
                record.stage(header);
            }
        }
        Access::Got(record)
    }

    /// Its key.
    pub fn key(&self) -> &'a [u8] {
        self.key
    }

    /// Its data, without header.
    pub fn data(&self) -> &[u8] {
        self.came.unwrap_or_else(|| &self.bytes[LtdbHeader::LEN..])
    }

    /// The record came with new data.
    pub fn set_data(&mut self, data: &'a [u8]) {
        self.came = Some(data);
    }

    /// Stores under this header, by the rules; in memory for now.
    pub fn stage(&mut self, header: LtdbHeader) {
        let decision = decide_store(StoreInput::at(&self.place, header, self.data().len()));
        self.header = decision.header;
        let before = self.staged.map_or(DeleteQueue::Leave, |staged| staged.queue);
        let queue = if decision.queue == DeleteQueue::Leave {
            before
        } else {
            decision.queue
        };
        self.staged = Some(Staged {
            keep: decision.keep,
            queue,
        });
    }

    /// Takes off marks of read-only copies that stand for nothing: none are out, or none can be.
    pub fn stage_without_copies(&mut self) {
        self.stage(LtdbHeader {
            flags: self.header.flags - RecFlags::RO_MASK,
            ..self.header
        });
    }

    /// Brings what was staged to the file. Nothing happens if nothing was.
    ///
    /// # Errors
    /// A full disk, mostly; the file has the record as it was.
    pub fn save(&mut self) -> Result<(), TdbError> {
        let Some(staged) = self.staged.take() else {
            return Ok(());
        };
        if staged.keep {
            let header = self.header.to_bytes();
            self.db
                .tdb
                .store_vectored(self.key, &[&header, self.data()], StoreMode::Replace)?;
        } else {
            self.db.tdb.delete(self.key)?;
        }
        match staged.queue {
            DeleteQueue::Schedule => self.db.deletions.schedule(self.key, self.header),
            DeleteQueue::Remove => self.db.deletions.remove(self.key),
            DeleteQueue::Leave => {}
        }
        Ok(())
    }

    /// Runs the function of a call: the record is stored again, and `answer` gets what the function returns.
    ///
    /// # Errors
    /// The store failed, or there is no such function; `answer` was not called.
    pub fn run(&mut self, function: CallId, answer: impl FnOnce(&[u8])) -> Result<(), RunError> {
        let found = self.header;
        if ![CallId::NULL, CallId::FETCH, CallId::FETCH_WITH_HEADER].contains(&function) {
            self.save()?;
            return Err(RunError::NoSuchFunction);
        }
        self.stage(found);
        self.save()?;
        match function {
            CallId::FETCH => answer(self.data()),
            CallId::FETCH_WITH_HEADER => answer(self.with_header(found)),
            _ => answer(b""),
        }
        Ok(())
    }

    /// Header and data in one piece.
    pub(super) fn with_header(&mut self, header: LtdbHeader) -> &[u8] {
        if let Some(came) = self.came.take() {
            self.bytes.truncate(LtdbHeader::LEN);
            self.bytes.extend_from_slice(came);
        }
        self.bytes[..LtdbHeader::LEN].copy_from_slice(&header.to_bytes());
        &self.bytes
    }
}

impl Drop for Record<'_> {
    fn drop(&mut self) {
        /// A larger buffer is not kept.
        const KEPT_MAX: usize = 1 << 20;
        let bytes = std::mem::take(&mut self.bytes);
        if bytes.capacity() <= KEPT_MAX {
            self.d.calls.scratch.replace(bytes);
        }
    }
}

/// Why a call could not run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The record could not be stored.
    #[error(transparent)]
    Store(#[from] TdbError),
    /// Databases have three functions: NULL, FETCH, FETCH_WITH_HEADER.
    #[error("there is no such function")]
    NoSuchFunction,
}

/// Copies a record out of the file. What is shorter than a header is no record.
fn read(data: &[u8], into: &mut Vec<u8>) -> Option<LtdbHeader> {
    let (header, _) = LtdbHeader::split(data)?;
    into.extend_from_slice(data);
    Some(header)
}
