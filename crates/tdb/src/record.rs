//! Records: look, fetch, store, delete.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use libc::{c_int, c_void};

use crate::ffi::{self, TdbData};
use crate::{ErrorCode, StoreMode, Tdb, TdbError};

/// Most parts of one [`Tdb::store_vectored`].
const STORE_PARTS_MAX: usize = 8;

impl Tdb {
    /// Looks at the data of a record in place, under libtdb's read lock of its chain. `None` when there
    /// is no such record. The record must be left alone meanwhile: every operation on this database in
    /// `f` fails with [`ErrorCode::InUse`].
    ///
    /// # Errors
    /// A lock that cannot be taken, a corrupt file.
    pub fn parse<T>(&self, key: &[u8], f: impl FnOnce(&[u8]) -> T) -> Result<Option<T>, TdbError> {
        struct Look<F, T> {
            f: Option<F>,
            seen: Option<Result<T, Box<dyn Any + Send>>>,
        }
        unsafe extern "C" fn look<F: FnOnce(&[u8]) -> T, T>(
            _key: TdbData,
            data: TdbData,
            private: *mut c_void,
        ) -> c_int {
            // SAFETY: `private` is the `Look` below, which outlives the call and is used by nobody else.
            let look = unsafe { &mut *private.cast::<Look<F, T>>() };
            // SAFETY: libtdb's data stay until this function returns.
            let data = unsafe { data.as_slice() };
            if let Some(f) = look.f.take() {
                look.seen = Some(catch_unwind(AssertUnwindSafe(|| f(data))));
            }
            0
        }
        fn function_for<F: FnOnce(&[u8]) -> T, T>(_: &F) -> ffi::RecordFn {
            look::<F, T>
        }

        let raw = self.begin("fetch")?;
        let function = function_for(&f);
        let mut state = Look {
            f: Some(f),
            seen: None,
        };
        // SAFETY: the database is open, the key is valid for the call, and `state` is what `function` expects.
        let ret = self.while_looking(|| unsafe {
            ffi::tdb_parse_record(raw, TdbData::from_slice(key), function, (&raw mut state).cast())
        });
        match state.seen {
            Some(Ok(seen)) => Ok(Some(seen)),
            Some(Err(panic)) => resume_unwind(panic),
            None if ret == 0 => Ok(None),
            None => match self.last_error("fetch") {
                TdbError {
                    code: ErrorCode::NoExist,
                    ..
                } => Ok(None),
                error => Err(error),
            },
        }
    }

    /// A copy of the data of a record; `None` when there is no such record.
    ///
    /// # Errors
    /// As [`Tdb::parse`].
    pub fn fetch(&self, key: &[u8]) -> Result<Option<Vec<u8>>, TdbError> {
        self.parse(key, <[u8]>::to_vec)
    }

    /// Whether there is a record of this key.
    ///
    /// # Errors
    /// As [`Tdb::parse`].
    pub fn exists(&self, key: &[u8]) -> Result<bool, TdbError> {
        let raw = self.begin("look for a record")?;
        // SAFETY: the database is open and the key is valid for the call.
        if unsafe { ffi::tdb_exists(raw, TdbData::from_slice(key)) } != 0 {
            return Ok(true);
        }
        match self.last_error("look for a record") {
            TdbError {
                code: ErrorCode::NoExist,
                ..
            } => Ok(false),
            error => Err(error),
        }
    }

    /// Stores a record.
    ///
    /// # Errors
    /// See [`StoreMode`]; a lock that cannot be taken, a full disk, a file of 4 GiB.
    pub fn store(&self, key: &[u8], data: &[u8], mode: StoreMode) -> Result<(), TdbError> {
        let raw = self.begin("store")?;
        // SAFETY: the database is open; key and data are valid for the call, which only reads them.
        let ret = unsafe {
            ffi::tdb_store(
                raw,
                TdbData::from_slice(key),
                TdbData::from_slice(data),
                mode.number(),
            )
        };
        self.store_result(ret, mode)
    }

    /// Stores a record whose data are these parts one after the other, such as a header and a value.
    ///
    /// # Errors
    /// As [`Tdb::store`]; [`ErrorCode::Invalid`] for more than 8 parts.
    pub fn store_vectored(&self, key: &[u8], parts: &[&[u8]], mode: StoreMode) -> Result<(), TdbError> {
        let raw = self.begin("store")?;
        let mut data = [TdbData::from_slice(&[]); STORE_PARTS_MAX];
        let count = parts.len();
        let Some(data) = data.get_mut(..count) else {
            return Err(self.error(ErrorCode::Invalid, 0, "store"));
        };
        for (to, part) in data.iter_mut().zip(parts) {
            *to = TdbData::from_slice(part);
        }
        // SAFETY: the database is open; key and parts are valid for the call, which only reads them.
        let ret = unsafe {
            ffi::tdb_storev(
                raw,
                TdbData::from_slice(key),
                data.as_ptr(),
                count as c_int,
                mode.number(),
            )
        };
        self.store_result(ret, mode)
    }

    /// When the file cannot grow because the disk is full, libtdb leaves the code of its search for the record and sets no
    /// errno (its `tdb_expand_file`, after `posix_fallocate`).
    fn store_result(&self, ret: c_int, mode: StoreMode) -> Result<(), TdbError> {
        self.result(ret, "store").map_err(|error| match error.code {
            ErrorCode::NoExist if mode != StoreMode::Modify => {
                self.error(ErrorCode::Io, libc::ENOSPC, "store")
            }
            _ => error,
        })
    }

    /// Deletes a record; `false` when there was none.
    ///
    /// # Errors
    /// A lock that cannot be taken, a corrupt file, a database open for reading only.
    pub fn delete(&self, key: &[u8]) -> Result<bool, TdbError> {
        let raw = self.begin("delete")?;
        // SAFETY: the database is open and the key is valid for the call.
        if unsafe { ffi::tdb_delete(raw, TdbData::from_slice(key)) } == 0 {
            return Ok(true);
        }
        match self.last_error("delete") {
            TdbError {
                code: ErrorCode::NoExist,
                ..
            } => Ok(false),
            error => Err(error),
        }
    }
}
