//! Locks and marks as values.
//!
//! A *lock* is the real thing: nobody else gets it until it is let go. A *mark* says to this process'
//! libtdb only that it is held: by a lock helper, another process, for as long as we say so. Under
//! a mark, libtdb reads and writes the chain or the database without taking the lock.
//!
//! A mark and a lock of the same chain at the same time are counted as one, so let go in reverse order.

use libc::c_int;

use crate::ffi::{self, TdbData};
use crate::hash::Chain;
use crate::{Tdb, TdbError};

/// libtdb's number for the list of free space, which is locked as a chain is.
const FREE_LIST: Chain = Chain(u32::MAX);

/// For writing nobody else can have the lock; for reading other readers can (not with mutexes).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Read,
    Write,
}

impl Kind {
    fn number(self) -> c_int {
        match self {
            Kind::Read => libc::F_RDLCK,
            Kind::Write => libc::F_WRLCK,
        }
    }
}

/// Says so when a lock cannot be let go on drop: others may wait for it for ever.
fn log_failure(result: Result<(), TdbError>) {
    if let Err(error) = result {
        log::error!("a lock stays held that should have been let go: {error}");
    }
}

/// The lock of one chain. Drop lets go.
#[derive(Debug)]
#[must_use = "the chain is unlocked when this is dropped"]
pub struct ChainLock {
    tdb: Tdb,
    chain: Chain,
    kind: Kind,
    held: bool,
}

impl Tdb {
    /// Waits for the write lock of the chain of this key, however long. For helpers and clients.
    ///
    /// # Errors
    /// [`crate::ErrorCode::Lock`]: a deadlock among processes, a whole-database read lock of our own.
    pub fn lock_chain(&self, key: &[u8]) -> Result<ChainLock, TdbError> {
        let raw = self.begin("lock a chain")?;
        // SAFETY: the database is open and the key is valid for the call.
        let ret = unsafe { ffi::tdb_chainlock(raw, TdbData::from_slice(key)) };
        self.result(ret, "lock a chain")?;
        Ok(self.chain_lock(self.chain_of(key), Kind::Write))
    }

    /// Waits for the read lock of the chain of this key, however long.
    ///
    /// # Errors
    /// As [`Tdb::lock_chain`].
    pub fn lock_chain_read(&self, key: &[u8]) -> Result<ChainLock, TdbError> {
        let raw = self.begin("lock a chain for reading")?;
        // SAFETY: the database is open and the key is valid for the call.
        let ret = unsafe { ffi::tdb_chainlock_read(raw, TdbData::from_slice(key)) };
        self.result(ret, "lock a chain for reading")?;
        Ok(self.chain_lock(self.chain_of(key), Kind::Read))
    }

    /// The write lock of the chain of this key, or `None` when another process has it.
    ///
    /// # Errors
    /// As [`Tdb::lock_chain`].
    pub fn try_lock_chain(&self, key: &[u8]) -> Result<Option<ChainLock>, TdbError> {
        self.try_lock(self.chain_of(key), Kind::Write, "try to lock a chain")
    }

    /// The read lock of the chain of this key, or `None` when another process is in the way.
    ///
    /// # Errors
    /// As [`Tdb::lock_chain`].
    pub fn try_lock_chain_read(&self, key: &[u8]) -> Result<Option<ChainLock>, TdbError> {
        self.try_lock(self.chain_of(key), Kind::Read, "try to lock a chain for reading")
    }

    /// As [`Tdb::try_lock_chain`], for walking a database by [`Tdb::chains`].
    ///
    /// # Errors
    /// As [`Tdb::lock_chain`]; also for a chain beyond [`Tdb::hash_size`].
    pub fn try_lock_chain_at(&self, chain: Chain) -> Result<Option<ChainLock>, TdbError> {
        self.try_lock(chain, Kind::Write, "try to lock a chain")
    }

    /// As [`Tdb::try_lock_chain_read`], for walking a database by [`Tdb::chains`].
    ///
    /// # Errors
    /// As [`Tdb::lock_chain`]; also for a chain beyond [`Tdb::hash_size`].
    pub fn try_lock_chain_read_at(&self, chain: Chain) -> Result<Option<ChainLock>, TdbError> {
        self.try_lock(chain, Kind::Read, "try to lock a chain for reading")
    }

    /// The lock of the list of free space, or `None` when another process has it. A record can then be
    /// deleted without waiting.
    ///
    /// # Errors
    /// As [`Tdb::lock_chain`].
    pub fn try_lock_free_list(&self) -> Result<Option<ChainLock>, TdbError> {
        const OPERATION: &str = "try to lock the free list";
        let raw = self.begin(OPERATION)?;
        // SAFETY: the database is open.
        let ret = unsafe { ffi::tdb_lock_nonblock(raw, FREE_LIST.0.cast_signed(), Kind::Write.number()) };
        match self.result(ret, OPERATION) {
            Ok(()) => Ok(Some(self.chain_lock(FREE_LIST, Kind::Write))),
            Err(error) if error.is_busy() => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn try_lock(
        &self,
        chain: Chain,
        kind: Kind,
        operation: &'static str,
    ) -> Result<Option<ChainLock>, TdbError> {
        let raw = self.begin(operation)?;
        let list = self.list(chain, operation)?;
        // SAFETY: the database is open.
        let ret = unsafe { ffi::tdb_lock_nonblock(raw, list, kind.number()) };
        match self.result(ret, operation) {
            Ok(()) => Ok(Some(self.chain_lock(chain, kind))),
            Err(error) if error.is_busy() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// libtdb's number of a chain; an offset beyond the chains would lock something else.
    fn list(&self, chain: Chain, operation: &'static str) -> Result<c_int, TdbError> {
        match c_int::try_from(chain.0) {
            Ok(list) if chain.0 < self.hash_size() => Ok(list),
            _ => Err(self.error(crate::ErrorCode::Invalid, 0, operation)),
        }
    }

    fn chain_lock(&self, chain: Chain, kind: Kind) -> ChainLock {
        ChainLock {
            tdb: self.clone(),
            chain,
            kind,
            held: true,
        }
    }
}

impl ChainLock {
    /// Which chain it is.
    pub fn chain(&self) -> Chain {
        self.chain
    }

    /// Lets go, and tells if that fails.
    ///
    /// # Errors
    /// [`crate::ErrorCode::Lock`] when libtdb knows no such lock: let go in the wrong order.
    pub fn unlock(mut self) -> Result<(), TdbError> {
        self.release()
    }

    fn release(&mut self) -> Result<(), TdbError> {
        self.held = false;
        crate::error::clear_errno();
        // SAFETY: the database is open while `self` has it; the number was in range when it was locked.
        let ret = unsafe { ffi::tdb_unlock(self.tdb.raw(), self.chain.0.cast_signed(), self.kind.number()) };
        self.tdb.result(ret, "unlock a chain")
    }
}

impl Drop for ChainLock {
    fn drop(&mut self) {
        if self.held {
            log_failure(self.release());
        }
    }
}

/// A chain that a lock helper holds for us. Drop removes the mark; the helper is told afterwards.
#[derive(Debug)]
#[must_use = "the mark is removed when this is dropped"]
pub struct ChainMark {
    tdb: Tdb,
    /// libtdb marks by key, not by chain.
    key: Box<[u8]>,
}

impl Tdb {
    /// Marks the chain of this key as locked by us, while a helper has the lock.
    ///
    /// # Errors
    /// [`crate::ErrorCode::OutOfMemory`]
    pub fn mark_chain(&self, key: &[u8]) -> Result<ChainMark, TdbError> {
        let raw = self.begin("mark a chain")?;
        // SAFETY: the database is open and the key is valid for the call.
        let ret = unsafe { ffi::tdb_chainlock_mark(raw, TdbData::from_slice(key)) };
        self.result(ret, "mark a chain")?;
        Ok(ChainMark {
            tdb: self.clone(),
            key: key.into(),
        })
    }
}

impl Drop for ChainMark {
    fn drop(&mut self) {
        crate::error::clear_errno();
        // SAFETY: the database is open while `self` has it; the key is the one that was marked.
        let ret = unsafe { ffi::tdb_chainlock_unmark(self.tdb.raw(), TdbData::from_slice(&self.key)) };
        log_failure(self.tdb.result(ret, "remove the mark of a chain"));
    }
}

/// The lock of all chains and records. Drop lets go.
#[derive(Debug)]
#[must_use = "the database is unlocked when this is dropped"]
pub struct AllRecordLock {
    tdb: Tdb,
    kind: Kind,
    held: bool,
}

impl Tdb {
    /// Waits for the write lock of the whole database, however long.
    ///
    /// # Errors
    /// [`crate::ErrorCode::Lock`]: we hold other locks of it, a deadlock among processes.
    pub fn lock_all(&self) -> Result<AllRecordLock, TdbError> {
        let raw = self.begin("lock the database")?;
        // SAFETY: the database is open.
        let ret = unsafe { ffi::tdb_lockall(raw) };
        self.result(ret, "lock the database")?;
        Ok(self.all_record_lock(Kind::Write))
    }

    /// Waits for the read lock of the whole database, however long.
    ///
    /// # Errors
    /// As [`Tdb::lock_all`].
    pub fn lock_all_read(&self) -> Result<AllRecordLock, TdbError> {
        let raw = self.begin("lock the database for reading")?;
        // SAFETY: the database is open.
        let ret = unsafe { ffi::tdb_lockall_read(raw) };
        self.result(ret, "lock the database for reading")?;
        Ok(self.all_record_lock(Kind::Read))
    }

    /// The write lock of the whole database, or `None` when another process has a lock in it.
    ///
    /// # Errors
    /// As [`Tdb::lock_all`].
    pub fn try_lock_all(&self) -> Result<Option<AllRecordLock>, TdbError> {
        let raw = self.begin("try to lock the database")?;
        // SAFETY: the database is open.
        let ret = unsafe { ffi::tdb_lockall_nonblock(raw) };
        self.all_record_lock_unless_busy(ret, Kind::Write, "try to lock the database")
    }

    /// The read lock of the whole database, or `None` when another process is in the way.
    ///
    /// # Errors
    /// As [`Tdb::lock_all`].
    pub fn try_lock_all_read(&self) -> Result<Option<AllRecordLock>, TdbError> {
        let raw = self.begin("try to lock the database for reading")?;
        // SAFETY: the database is open.
        let ret = unsafe { ffi::tdb_lockall_read_nonblock(raw) };
        self.all_record_lock_unless_busy(ret, Kind::Read, "try to lock the database for reading")
    }

    fn all_record_lock_unless_busy(
        &self,
        ret: c_int,
        kind: Kind,
        operation: &'static str,
    ) -> Result<Option<AllRecordLock>, TdbError> {
        match self.result(ret, operation) {
            Ok(()) => Ok(Some(self.all_record_lock(kind))),
            Err(error) if error.is_busy() => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn all_record_lock(&self, kind: Kind) -> AllRecordLock {
        AllRecordLock {
            tdb: self.clone(),
            kind,
            held: true,
        }
    }
}

impl AllRecordLock {
    /// Lets go, and tells if that fails.
    ///
    /// # Errors
    /// [`crate::ErrorCode::Lock`] when libtdb knows no such lock.
    pub fn unlock(mut self) -> Result<(), TdbError> {
        self.release()
    }

    fn release(&mut self) -> Result<(), TdbError> {
        self.held = false;
        crate::error::clear_errno();
        let raw = self.tdb.raw();
        // SAFETY: the database is open while `self` has it.
        let ret = unsafe {
            match self.kind {
                Kind::Write => ffi::tdb_unlockall(raw),
                Kind::Read => ffi::tdb_unlockall_read(raw),
            }
        };
        self.tdb.result(ret, "unlock the database")
    }
}

impl Drop for AllRecordLock {
    fn drop(&mut self) {
        if self.held {
            log_failure(self.release());
        }
    }
}

/// A whole database that a lock helper holds for us. Drop removes the mark.
#[derive(Debug)]
#[must_use = "the mark is removed when this is dropped"]
pub struct AllRecordMark {
    tdb: Tdb,
}

impl Tdb {
    /// Marks the whole database as locked by us, while a helper has the lock.
    ///
    /// # Errors
    /// [`crate::ErrorCode::Lock`]: we hold locks or marks of chains, or a commit of a process that died
    /// waits to be undone (open the file again for that).
    pub fn mark_all(&self) -> Result<AllRecordMark, TdbError> {
        let raw = self.begin("mark the database")?;
        // SAFETY: the database is open.
        let ret = unsafe { ffi::tdb_lockall_mark(raw) };
        self.result(ret, "mark the database")?;
        Ok(AllRecordMark { tdb: self.clone() })
    }
}

impl Drop for AllRecordMark {
    fn drop(&mut self) {
        crate::error::clear_errno();
        // SAFETY: the database is open while `self` has it.
        let ret = unsafe { ffi::tdb_lockall_unmark(self.tdb.raw()) };
        log_failure(self.tdb.result(ret, "remove the mark of the database"));
    }
}

/// Marks the transaction lock as ours; a traverse under [`AllRecordMark`] wants it. Drop removes the mark.
#[derive(Debug)]
#[must_use = "the mark is removed when this is dropped"]
pub struct TransactionLockMark {
    tdb: Tdb,
}

impl Tdb {
    /// Marks the transaction lock as held by us. To be done after [`Tdb::mark_all`], which refuses other
    /// locks and marks unless a transaction runs.
    ///
    /// # Errors
    /// [`crate::ErrorCode::OutOfMemory`]
    pub fn mark_transaction_lock(&self) -> Result<TransactionLockMark, TdbError> {
        let raw = self.begin("mark the transaction lock")?;
        // SAFETY: the database is open.
        let ret = unsafe { ffi::tdb_transaction_write_lock_mark(raw) };
        self.result(ret, "mark the transaction lock")?;
        Ok(TransactionLockMark { tdb: self.clone() })
    }
}

impl Drop for TransactionLockMark {
    fn drop(&mut self) {
        crate::error::clear_errno();
        // SAFETY: the database is open while `self` has it.
        let ret = unsafe { ffi::tdb_transaction_write_lock_unmark(self.tdb.raw()) };
        log_failure(self.tdb.result(ret, "remove the mark of the transaction lock"));
    }
}
