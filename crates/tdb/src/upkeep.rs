//! Care of a whole database: wiping, packing, checking, its sequence number.

use std::ffi::CStr;
use std::ptr;

use crate::ffi;
use crate::{Tdb, TdbError};

impl Tdb {
    /// Deletes all records, quickly. The file keeps its size.
    ///
    /// # Errors
    /// A lock that cannot be taken; it waits for the lock of the whole database.
    pub fn wipe_all(&self) -> Result<(), TdbError> {
        let raw = self.begin("wipe")?;
        // SAFETY: the database is open.
        let ret = unsafe { ffi::tdb_wipe_all(raw) };
        self.result(ret, "wipe")
    }

    /// Copies all records together, in a transaction, so that the free space is in one piece.
    ///
    /// # Errors
    /// Those of a transaction.
    pub fn repack(&self) -> Result<(), TdbError> {
        let raw = self.begin("repack")?;
        // SAFETY: the database is open.
        let ret = unsafe { ffi::tdb_repack(raw) };
        self.result(ret, "repack")
    }

    /// Number of pieces of free space.
    ///
    /// # Errors
    /// A lock that cannot be taken, a corrupt file.
    pub fn freelist_size(&self) -> Result<usize, TdbError> {
        let raw = self.begin("count free space")?;
        // SAFETY: the database is open.
        let ret = unsafe { ffi::tdb_freelist_size(raw) };
        usize::try_from(ret).map_err(|_| self.last_error("count free space"))
    }

    /// Whether the structure of the file is sound; what is wrong is logged by libtdb. Holds a read lock
    /// of the whole database meanwhile.
    ///
    /// # Errors
    /// [`crate::ErrorCode::Corrupt`] and others.
    pub fn check(&self) -> Result<(), TdbError> {
        let raw = self.begin("check")?;
        // SAFETY: the database is open; no function to call means no data for it.
        let ret = unsafe { ffi::tdb_check(raw, None, ptr::null_mut()) };
        self.result(ret, "check")
    }

    /// Sequence number in the header. Grows with every change under [`crate::TdbFlags::SEQNUM`].
    ///
    /// # Errors
    /// As any operation, while a record is looked at.
    pub fn seqnum(&self) -> Result<u32, TdbError> {
        let raw = self.begin("read the sequence number")?;
        // SAFETY: the database is open.
        Ok(unsafe { ffi::tdb_get_seqnum(raw) }.cast_unsigned())
    }

    /// Lets changes of this process count the sequence number up from now on.
    pub fn enable_seqnum(&self) {
        // SAFETY: the database is open.
        unsafe { ffi::tdb_enable_seqnum(self.raw()) }
    }

    /// Counts the sequence number up without a lock. Nothing happens unless it is enabled.
    ///
    /// # Errors
    /// As any operation, while a record is looked at.
    pub fn increment_seqnum_nonblock(&self) -> Result<(), TdbError> {
        let raw = self.begin("count the sequence number")?;
        // SAFETY: the database is open.
        unsafe { ffi::tdb_increment_seqnum_nonblock(raw) };
        Ok(())
    }

    /// libtdb's description of the file: sizes, records, free space, lengths of chains.
    ///
    /// # Errors
    /// A lock that cannot be taken, a corrupt file.
    pub fn summary(&self) -> Result<String, TdbError> {
        let raw = self.begin("summary")?;
        // SAFETY: the database is open; the text is ours to free.
        let text = unsafe { ffi::tdb_summary(raw) };
        if text.is_null() {
            return Err(self.last_error("summary"));
        }
        // SAFETY: not null, and ended by a NUL.
        let summary = unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned();
        // SAFETY: made by malloc in libtdb, freed once.
        unsafe { libc::free(text.cast()) };
        Ok(summary)
    }
}
