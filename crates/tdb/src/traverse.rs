//! Walking over records.
//!
//! Each record that is there from start to end is seen once; others may be seen or not.

use std::any::Any;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use libc::{c_int, c_void};

use crate::ffi::{self, TdbContext, TdbData, TraverseFn};
use crate::hash::Chain;
use crate::{ErrorCode, Tdb, TdbError};

/// A closure behind libtdb's pointer, and how it ended.
struct Visitor<F> {
    f: F,
    panic: Option<Box<dyn Any + Send>>,
}

unsafe extern "C" fn visit<F: FnMut(&[u8], &[u8]) -> ControlFlow<()>>(
    _tdb: *mut TdbContext,
    key: TdbData,
    data: TdbData,
    private: *mut c_void,
) -> c_int {
    // SAFETY: `private` is the `Visitor` of `walk`, which outlives the traverse and is used by nobody else.
    let visitor = unsafe { &mut *private.cast::<Visitor<F>>() };
    // SAFETY: libtdb's key and data stay until this function returns.
    let (key, data) = unsafe { (key.as_slice(), data.as_slice()) };
    match catch_unwind(AssertUnwindSafe(|| (visitor.f)(key, data))) {
        Ok(ControlFlow::Continue(())) => 0,
        Ok(ControlFlow::Break(())) => 1,
        Err(panic) => {
            visitor.panic = Some(panic);
            1
        }
    }
}

impl Tdb {
    /// Visits all records, waiting for each chain in turn. The visitor gets copies and may use the
    /// database. Returns how many were visited.
    ///
    /// # Errors
    /// A lock that cannot be taken, a corrupt file.
    pub fn traverse_read(&self, f: impl FnMut(&[u8], &[u8]) -> ControlFlow<()>) -> Result<usize, TdbError> {
        let raw = self.begin("traverse")?;
        self.walk(f, "traverse", |visit, private| {
            // SAFETY: the database is open; `visit` and `private` belong together.
            unsafe { ffi::tdb_traverse_read(raw, visit, private) }
        })
    }

    /// As [`Tdb::traverse_read`]; the visitor may also store and delete. Waits for the transaction lock first.
    ///
    /// # Errors
    /// A lock that cannot be taken, a corrupt file.
    pub fn traverse(&self, f: impl FnMut(&[u8], &[u8]) -> ControlFlow<()>) -> Result<usize, TdbError> {
        let raw = self.begin("traverse")?;
        self.walk(f, "traverse", |visit, private| {
            // SAFETY: the database is open; `visit` and `private` belong together.
            unsafe { ffi::tdb_traverse(raw, visit, private) }
        })
    }

    /// Visits the records of one chain in place, under its read lock, for which it waits unless the
    /// caller has the chain. The visitor cannot use the database ([`ErrorCode::InUse`]).
    ///
    /// # Errors
    /// [`ErrorCode::Invalid`] for a chain beyond [`Tdb::hash_size`]; as [`Tdb::traverse_read`].
    pub fn traverse_chain(
        &self,
        chain: Chain,
        f: impl FnMut(&[u8], &[u8]) -> ControlFlow<()>,
    ) -> Result<usize, TdbError> {
        let raw = self.begin("traverse a chain")?;
        self.walk(f, "traverse a chain", |visit, private| {
            self.while_looking(|| {
                // SAFETY: the database is open; `visit` and `private` belong together; libtdb checks the
                // chain. The slices that the visitor gets are in the mapped file, which stays as it is
                // because every other call is refused meanwhile.
                unsafe { ffi::tdb_traverse_chain(raw, chain.0, visit, private) }
            })
        })
    }

    /// As [`Tdb::check`], and shows each sound record to `f`, which refuses one by `false`.
    /// `f` cannot use the database ([`ErrorCode::InUse`]).
    ///
    /// # Errors
    /// [`ErrorCode::Corrupt`] also when `f` refuses a record.
    pub fn check_records(&self, f: impl FnMut(&[u8], &[u8]) -> bool) -> Result<(), TdbError> {
        struct Checker<F> {
            f: F,
            panic: Option<Box<dyn Any + Send>>,
            refused: bool,
        }
        unsafe extern "C" fn check<F: FnMut(&[u8], &[u8]) -> bool>(
            key: TdbData,
            data: TdbData,
            private: *mut c_void,
        ) -> c_int {
            // SAFETY: `private` is the `Checker` below, which outlives the call and is used by nobody else.
            let checker = unsafe { &mut *private.cast::<Checker<F>>() };
            // SAFETY: libtdb's key and data stay until this function returns.
            let (key, data) = unsafe { (key.as_slice(), data.as_slice()) };
            match catch_unwind(AssertUnwindSafe(|| (checker.f)(key, data))) {
                Ok(true) => return 0,
                Ok(false) => checker.refused = true,
                Err(panic) => checker.panic = Some(panic),
            }
            -1
        }
        fn function_for<F: FnMut(&[u8], &[u8]) -> bool>(_: &F) -> ffi::RecordFn {
            check::<F>
        }

        let raw = self.begin("check")?;
        let function = function_for(&f);
        let mut checker = Checker {
            f,
            panic: None,
            refused: false,
        };
        let ret = self.while_looking(|| {
            // SAFETY: the database is open and `checker` is what `function` expects.
            unsafe { ffi::tdb_check(raw, Some(function), (&raw mut checker).cast()) }
        });
        if let Some(panic) = checker.panic {
            resume_unwind(panic);
        }
        if checker.refused {
            return Err(self.error(ErrorCode::Corrupt, 0, "check"));
        }
        self.result(ret, "check")
    }

    fn walk<F: FnMut(&[u8], &[u8]) -> ControlFlow<()>>(
        &self,
        f: F,
        operation: &'static str,
        traverse: impl FnOnce(TraverseFn, *mut c_void) -> c_int,
    ) -> Result<usize, TdbError> {
        let mut visitor = Visitor { f, panic: None };
        let ret = traverse(visit::<F>, (&raw mut visitor).cast());
        if let Some(panic) = visitor.panic {
            resume_unwind(panic);
        }
        usize::try_from(ret).map_err(|_| self.last_error(operation))
    }
}
