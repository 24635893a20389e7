//! Transactions: all changes or none, also when the process or the machine dies.

use crate::ffi;
use crate::{ErrorCode, Tdb, TdbError};

/// A running transaction; it sees its own changes. Drop cancels.
#[derive(Debug)]
#[must_use = "the transaction is cancelled when this is dropped"]
pub struct Transaction {
    tdb: Tdb,
    /// Another process holds the locks: no step of ours may take one.
    nolock: bool,
}

impl Tdb {
    /// Starts a transaction; waits for others and for all chain locks, however long.
    ///
    /// # Errors
    /// [`ErrorCode::Lock`] while we hold locks, [`ErrorCode::Nesting`] in a transaction,
    /// [`ErrorCode::Invalid`] for a database in memory or open for reading.
    pub fn transaction(&self) -> Result<Transaction, TdbError> {
        let raw = self.begin("start a transaction")?;
        // SAFETY: the database is open.
        let ret = unsafe { ffi::tdb_transaction_start(raw) };
        self.result(ret, "start a transaction")?;
        Ok(Transaction {
            tdb: self.clone(),
            nolock: false,
        })
    }

    /// Starts a transaction, or `None` while another one runs. libtdb still waits for write locks of chains.
    ///
    /// # Errors
    /// As [`Tdb::transaction`].
    pub fn transaction_nonblock(&self) -> Result<Option<Transaction>, TdbError> {
        let raw = self.begin("try to start a transaction")?;
        // SAFETY: the database is open.
        let ret = unsafe { ffi::tdb_transaction_start_nonblock(raw) };
        match self.result(ret, "try to start a transaction") {
            Ok(()) => Ok(Some(Transaction {
                tdb: self.clone(),
                nolock: false,
            })),
            Err(TdbError {
                code: ErrorCode::NoLock,
                ..
            }) => Ok(None),
            Err(error) if error.is_busy() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Starts a transaction in a database that another process has locked as a whole for us. Takes no
    /// lock, then or later.
    ///
    /// # Errors
    /// As [`Tdb::transaction`].
    pub fn transaction_nolock(&self) -> Result<Transaction, TdbError> {
        self.begin("start a transaction")?;
        let mut transaction = self.with_nolock(Tdb::transaction)?;
        transaction.nolock = true;
        Ok(transaction)
    }

    /// Whether a transaction runs.
    pub fn transaction_active(&self) -> bool {
        // SAFETY: the database is open.
        unsafe { ffi::tdb_transaction_active(self.raw()) }
    }
}

impl Transaction {
    /// The database, for use in the transaction.
    pub fn tdb(&self) -> &Tdb {
        &self.tdb
    }

    /// Does all of a commit that can fail for want of space or locks. The changes are not yet made.
    ///
    /// # Errors
    /// A full disk, locks still held by us; the transaction is cancelled then.
    pub fn prepare_commit(&mut self) -> Result<(), TdbError> {
        self.step("prepare a commit", ffi::tdb_transaction_prepare_commit)
    }

    /// Makes the changes. Unless the database has NOSYNC, they are on the disk afterwards.
    ///
    /// # Errors
    /// As [`Transaction::prepare_commit`]; nothing has changed then.
    pub fn commit(self) -> Result<(), TdbError> {
        self.step("commit", ffi::tdb_transaction_commit)
    }

    /// Forgets the changes, and tells if that fails.
    ///
    /// # Errors
    /// The marker of a prepared commit could not be removed: the disk fails.
    pub fn cancel(self) -> Result<(), TdbError> {
        self.step("cancel a transaction", ffi::tdb_transaction_cancel)
    }

    fn step(
        &self,
        operation: &'static str,
        function: unsafe extern "C" fn(*mut ffi::TdbContext) -> libc::c_int,
    ) -> Result<(), TdbError> {
        let raw = self.tdb.begin(operation)?;
        let call = |tdb: &Tdb| {
            // SAFETY: the database is open; the functions take nothing else.
            let ret = unsafe { function(raw) };
            tdb.result(ret, operation)
        };
        if self.nolock {
            self.tdb.with_nolock(call)
        } else {
            call(&self.tdb)
        }
    }
}

impl Drop for Transaction {
    fn drop(&mut self) {
        // After a commit, a cancel, or a prepare that failed, there is none any more.
        if !self.tdb.transaction_active() {
            return;
        }
        if let Err(error) = self.step("cancel a transaction", ffi::tdb_transaction_cancel) {
            log::error!("a transaction was given up but could not be cancelled: {error}");
        }
    }
}
