//! The functions of libtdb that are used, as declared in `tdb.h` of version 1.4.8.

use libc::{c_char, c_int, c_uint, c_void, mode_t, size_t};

/// `struct tdb_context`: only libtdb looks inside.
#[repr(C)]
pub(crate) struct TdbContext {
    _opaque: [u8; 0],
}

/// `TDB_DATA`: a key or the data of a record. libtdb writes to none that it is given.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct TdbData {
    pub dptr: *mut u8,
    pub dsize: size_t,
}

impl TdbData {
    pub fn from_slice(bytes: &[u8]) -> TdbData {
        TdbData {
            dptr: bytes.as_ptr().cast_mut(),
            dsize: bytes.len(),
        }
    }

    /// # Safety
    /// The memory must stay valid and unchanged for `'a`, which the caller chooses.
    pub unsafe fn as_slice<'a>(self) -> &'a [u8] {
        if self.dptr.is_null() || self.dsize == 0 {
            return &[];
        }
        // SAFETY: not null; the rest is the caller's promise.
        unsafe { std::slice::from_raw_parts(self.dptr, self.dsize) }
    }
}

pub(crate) type RecordFn = unsafe extern "C" fn(TdbData, TdbData, *mut c_void) -> c_int;
pub(crate) type TraverseFn = unsafe extern "C" fn(*mut TdbContext, TdbData, TdbData, *mut c_void) -> c_int;

/// A machine word of the variable arguments of [`LogFn`].
pub(crate) type LogWord = usize;

/// `tdb_log_func`, which in C ends in `...`. Stable Rust cannot define such a function, but on the
/// machines named in `log_callback.rs` the variable arguments arrive where these words do.
pub(crate) type LogFn = unsafe extern "C" fn(
    *mut TdbContext,
    c_int,
    *const c_char,
    LogWord,
    LogWord,
    LogWord,
    LogWord,
    LogWord,
    LogWord,
    LogWord,
    LogWord,
    LogWord,
    LogWord,
);

#[repr(C)]
pub(crate) struct LoggingContext {
    pub log_fn: LogFn,
    pub log_private: *mut c_void,
}

unsafe extern "C" {
    pub(crate) fn tdb_open_ex(
        name: *const c_char,
        hash_size: c_int,
        tdb_flags: c_int,
        open_flags: c_int,
        mode: mode_t,
        log_ctx: *const LoggingContext,
        hash_fn: *const c_void,
    ) -> *mut TdbContext;
    pub(crate) fn tdb_close(tdb: *mut TdbContext) -> c_int;
    pub(crate) fn tdb_set_max_dead(tdb: *mut TdbContext, max_dead: c_int);
    pub(crate) fn tdb_error(tdb: *mut TdbContext) -> c_int;
    pub(crate) fn tdb_get_logging_private(tdb: *mut TdbContext) -> *mut c_void;
    pub(crate) fn tdb_fd(tdb: *mut TdbContext) -> c_int;
    pub(crate) fn tdb_hash_size(tdb: *mut TdbContext) -> c_int;
    pub(crate) fn tdb_map_size(tdb: *mut TdbContext) -> size_t;
    pub(crate) fn tdb_get_flags(tdb: *mut TdbContext) -> c_int;
    pub(crate) fn tdb_add_flags(tdb: *mut TdbContext, flags: c_uint);
    pub(crate) fn tdb_remove_flags(tdb: *mut TdbContext, flags: c_uint);
    pub(crate) fn tdb_runtime_check_for_robust_mutexes() -> bool;
    pub(crate) fn tdb_jenkins_hash(key: *mut TdbData) -> c_uint;

    pub(crate) fn tdb_parse_record(
        tdb: *mut TdbContext,
        key: TdbData,
        parser: RecordFn,
        private: *mut c_void,
    ) -> c_int;
    pub(crate) fn tdb_store(tdb: *mut TdbContext, key: TdbData, data: TdbData, mode: c_int) -> c_int;
    pub(crate) fn tdb_storev(
        tdb: *mut TdbContext,
        key: TdbData,
        parts: *const TdbData,
        count: c_int,
        mode: c_int,
    ) -> c_int;
    pub(crate) fn tdb_delete(tdb: *mut TdbContext, key: TdbData) -> c_int;
    pub(crate) fn tdb_exists(tdb: *mut TdbContext, key: TdbData) -> c_int;

    pub(crate) fn tdb_traverse(tdb: *mut TdbContext, visit: TraverseFn, private: *mut c_void) -> c_int;
    pub(crate) fn tdb_traverse_read(tdb: *mut TdbContext, visit: TraverseFn, private: *mut c_void) -> c_int;
    pub(crate) fn tdb_traverse_chain(
        tdb: *mut TdbContext,
        chain: c_uint,
        visit: TraverseFn,
        private: *mut c_void,
    ) -> c_int;

    pub(crate) fn tdb_chainlock(tdb: *mut TdbContext, key: TdbData) -> c_int;
    pub(crate) fn tdb_chainlock_read(tdb: *mut TdbContext, key: TdbData) -> c_int;
    pub(crate) fn tdb_chainlock_mark(tdb: *mut TdbContext, key: TdbData) -> c_int;
    pub(crate) fn tdb_chainlock_unmark(tdb: *mut TdbContext, key: TdbData) -> c_int;
    // The two that take a chain number are in the library's ABI list since 1.2.1 though not in its header.
    pub(crate) fn tdb_lock_nonblock(tdb: *mut TdbContext, list: c_int, ltype: c_int) -> c_int;
    pub(crate) fn tdb_unlock(tdb: *mut TdbContext, list: c_int, ltype: c_int) -> c_int;

    pub(crate) fn tdb_lockall(tdb: *mut TdbContext) -> c_int;
    pub(crate) fn tdb_lockall_nonblock(tdb: *mut TdbContext) -> c_int;
    pub(crate) fn tdb_unlockall(tdb: *mut TdbContext) -> c_int;
    pub(crate) fn tdb_lockall_read(tdb: *mut TdbContext) -> c_int;
    pub(crate) fn tdb_lockall_read_nonblock(tdb: *mut TdbContext) -> c_int;
    pub(crate) fn tdb_unlockall_read(tdb: *mut TdbContext) -> c_int;
    pub(crate) fn tdb_lockall_mark(tdb: *mut TdbContext) -> c_int;
    pub(crate) fn tdb_lockall_unmark(tdb: *mut TdbContext) -> c_int;
    // Made for ctdb, in the ABI list since 1.2.10, not in the header either.
    pub(crate) fn tdb_transaction_write_lock_mark(tdb: *mut TdbContext) -> c_int;
    pub(crate) fn tdb_transaction_write_lock_unmark(tdb: *mut TdbContext) -> c_int;

    pub(crate) fn tdb_transaction_active(tdb: *mut TdbContext) -> bool;
    pub(crate) fn tdb_transaction_start(tdb: *mut TdbContext) -> c_int;
    pub(crate) fn tdb_transaction_start_nonblock(tdb: *mut TdbContext) -> c_int;
    pub(crate) fn tdb_transaction_prepare_commit(tdb: *mut TdbContext) -> c_int;
    pub(crate) fn tdb_transaction_commit(tdb: *mut TdbContext) -> c_int;
    pub(crate) fn tdb_transaction_cancel(tdb: *mut TdbContext) -> c_int;

    pub(crate) fn tdb_get_seqnum(tdb: *mut TdbContext) -> c_int;
    pub(crate) fn tdb_enable_seqnum(tdb: *mut TdbContext);
    pub(crate) fn tdb_increment_seqnum_nonblock(tdb: *mut TdbContext);
    pub(crate) fn tdb_wipe_all(tdb: *mut TdbContext) -> c_int;
    pub(crate) fn tdb_repack(tdb: *mut TdbContext) -> c_int;
    pub(crate) fn tdb_freelist_size(tdb: *mut TdbContext) -> c_int;
    pub(crate) fn tdb_check(tdb: *mut TdbContext, check: Option<RecordFn>, private: *mut c_void) -> c_int;
    pub(crate) fn tdb_summary(tdb: *mut TdbContext) -> *mut c_char;
}
