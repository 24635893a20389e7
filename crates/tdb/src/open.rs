//! Opening and closing a database, and what is known about an open one.

use std::cell::Cell;
use std::ffi::CString;
use std::io;
use std::path::Path;
use std::ptr::{self, NonNull};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use libc::c_int;

use crate::error::{clear_errno, errno};
use crate::ffi::{self, TdbContext};
use crate::hash::{Chain, HashKind};
use crate::log_callback::LogSource;
use crate::{ErrorCode, TdbError, TdbFlags};

/// libtdb keeps a list of what the process has open and does not guard it; a [`Tdb`] stays on its thread, but
/// several threads may have some.
static OPENING: Mutex<()> = Mutex::new(());

fn opening() -> MutexGuard<'static, ()> {
    OPENING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether chain locks can be robust mutexes on this machine, as [`TdbFlags::MUTEX_LOCKING`] wants.
///
/// libtdb finds out once, with a child process. Meanwhile it has a handler of SIGCHLD of its own, and puts back
/// the old one without its flags; so that is done again here.
pub fn mutexes_supported() -> bool {
    static SUPPORTED: OnceLock<bool> = OnceLock::new();
    *SUPPORTED.get_or_init(|| {
        let _opening = opening();
        // SAFETY: plain data, for which zeroes are a valid value.
        let mut handler: libc::sigaction = unsafe { std::mem::zeroed() };
        // SAFETY: a null pointer asks for the action without a change; `handler` is valid for writing.
        let saved = unsafe { libc::sigaction(libc::SIGCHLD, ptr::null(), &mut handler) } == 0;
        // SAFETY: no arguments; nobody else is in libtdb's check or open now.
        let supported = unsafe { ffi::tdb_runtime_check_for_robust_mutexes() };
        if saved {
            // SAFETY: sets what was set before.
            unsafe { libc::sigaction(libc::SIGCHLD, &handler, ptr::null_mut()) };
        }
        supported
    })
}

/// What may be done with the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Look only; takes no locks at all.
    ReadOnly,
    /// Read and change.
    ReadWrite,
}

/// How to open a database. The default opens an existing file for reading and writing.
#[derive(Clone, Debug)]
pub struct OpenOptions {
    /// Number of chains of a new file; 0 is libtdb's default, 131. An existing file keeps its own.
    pub hash_size: u32,
    /// Dead records kept in a chain for reuse; `None` is libtdb's default.
    pub max_dead: Option<u32>,
    /// libtdb's flags.
    pub flags: TdbFlags,
    /// Reading or writing.
    pub access: Access,
    /// Create the file when it is not there.
    pub create: bool,
    /// With `create`: the file must not be there.
    pub exclusive: bool,
    /// Permissions of a new file.
    pub mode: u32,
}

impl Default for OpenOptions {
    fn default() -> Self {
        OpenOptions {
            hash_size: 0,
            max_dead: None,
            flags: TdbFlags::empty(),
            access: Access::ReadWrite,
            create: false,
            exclusive: false,
            mode: 0o600,
        }
    }
}

impl OpenOptions {
    fn open_flags(&self) -> c_int {
        let access = match self.access {
            Access::ReadOnly => libc::O_RDONLY,
            Access::ReadWrite => libc::O_RDWR,
        };
        let create = if self.create { libc::O_CREAT } else { 0 };
        let exclusive = if self.exclusive { libc::O_EXCL } else { 0 };
        access | create | exclusive | libc::O_CLOEXEC
    }
}

/// An open database. Clones are the same database; it is closed with the last of them and of the locks.
#[derive(Clone)]
pub struct Tdb(Rc<Opened>);

struct Opened {
    raw: NonNull<TdbContext>,
    hash: HashKind,
    hash_size: u32,
    /// Set while a callback has a slice of the mapped file.
    looking: Cell<bool>,
    /// libtdb has a pointer to it.
    log: Rc<LogSource>,
}

impl Drop for Opened {
    fn drop(&mut self) {
        let _opening = opening();
        // SAFETY: opened once, closed once: nobody else has the pointer any more.
        if unsafe { ffi::tdb_close(self.raw.as_ptr()) } != 0 {
            log::warn!(
                "database {}: closing the file failed: {}",
                self.log.database,
                io::Error::last_os_error()
            );
        }
    }
}

impl std::fmt::Debug for Tdb {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Tdb").field(&self.0.log.database).finish()
    }
}

impl Tdb {
    /// Opens or creates a database.
    ///
    /// # Errors
    /// [`ErrorCode::Open`] with errno: EBUSY when this process has the file open already, EINVAL for
    /// flags that do not go together or not with the file, EIO when it is no TDB file, and those of open(2).
    pub fn open(path: impl AsRef<Path>, options: &OpenOptions) -> Result<Tdb, TdbError> {
        let path = path.as_ref();
        let log = Rc::new(LogSource {
            database: path.to_string_lossy().into(),
        });
        let failed = |errno| TdbError {
            code: ErrorCode::Open,
            errno,
            database: Arc::clone(&log.database),
            operation: "open",
        };
        let name = CString::new(path.as_os_str().as_encoded_bytes()).map_err(|_| failed(libc::EINVAL))?;
        let hash_size = c_int::try_from(options.hash_size).map_err(|_| failed(libc::EINVAL))?;

        if options.flags.contains(TdbFlags::MUTEX_LOCKING) {
            mutexes_supported(); // libtdb would ask itself, and spoil the handler of SIGCHLD
        }
        let guard = opening();
        clear_errno();
        // SAFETY: `name` and the log context are valid for the call; libtdb copies both. `log` stays where
        // it is until the database is closed.
        let raw = unsafe {
            ffi::tdb_open_ex(
                name.as_ptr(),
                hash_size,
                options.flags.bits().cast_signed(),
                options.open_flags(),
                options.mode,
                &log.context(),
                ptr::null(),
            )
        };
        let raw = NonNull::new(raw).ok_or_else(|| failed(errno()))?;
        drop(guard);
        // SAFETY: `raw` is open.
        let hash_size = unsafe { ffi::tdb_hash_size(raw.as_ptr()) }.cast_unsigned();
        let mut opened = Opened {
            raw,
            hash: HashKind::Old,
            hash_size,
            looking: Cell::new(false),
            log,
        };
        opened.hash = opened.read_hash_kind();
        if let Some(max_dead) = options.max_dead {
            let max_dead = c_int::try_from(max_dead).unwrap_or(c_int::MAX);
            // SAFETY: `raw` is open.
            unsafe { ffi::tdb_set_max_dead(raw.as_ptr(), max_dead) };
        }
        Ok(Tdb(Rc::new(opened)))
    }

    /// Path of the file, as given to [`Tdb::open`].
    pub fn name(&self) -> &str {
        &self.0.log.database
    }

    /// Number of chains.
    pub fn hash_size(&self) -> u32 {
        self.0.hash_size
    }

    /// Unreduced hash of a key, by the function that this file was created with.
    pub fn hash(&self, key: &[u8]) -> u32 {
        self.0.hash.hash(key)
    }

    /// The chain that holds the record of this key.
    pub fn chain_of(&self, key: &[u8]) -> Chain {
        Chain(self.hash(key) % self.0.hash_size)
    }

    /// All chains, in order.
    pub fn chains(&self) -> impl Iterator<Item = Chain> + use<> {
        (0..self.0.hash_size).map(Chain)
    }

    /// The flags now: those of open with what libtdb made of them.
    pub fn flags(&self) -> TdbFlags {
        // SAFETY: the database is open.
        TdbFlags::from_bits_retain(unsafe { ffi::tdb_get_flags(self.raw()) }.cast_unsigned())
    }

    /// Sets flags of the open database.
    pub fn add_flags(&self, flags: TdbFlags) {
        // SAFETY: the database is open.
        unsafe { ffi::tdb_add_flags(self.raw(), flags.bits()) }
    }

    /// Clears flags of the open database.
    pub fn remove_flags(&self, flags: TdbFlags) {
        // SAFETY: the database is open.
        unsafe { ffi::tdb_remove_flags(self.raw(), flags.bits()) }
    }

    /// Does something without taking locks, because another process holds them for us. Guards that are
    /// made inside must not leave it.
    pub fn with_nolock<T>(&self, f: impl FnOnce(&Tdb) -> T) -> T {
        struct Restore<'a>(&'a Tdb);
        impl Drop for Restore<'_> {
            fn drop(&mut self) {
                self.0.remove_flags(TdbFlags::NOLOCK);
            }
        }
        if self.flags().contains(TdbFlags::NOLOCK) {
            return f(self);
        }
        self.add_flags(TdbFlags::NOLOCK);
        let _restore = Restore(self);
        f(self)
    }

    /// Bytes of the file that are mapped; without the mutexes.
    pub fn map_size(&self) -> u64 {
        // SAFETY: the database is open.
        unsafe { ffi::tdb_map_size(self.raw()) as u64 }
    }

    /// Bytes of the file; 0 for a database in memory.
    ///
    /// # Errors
    /// That of fstat(2).
    pub fn file_size(&self) -> Result<u64, TdbError> {
        let Some(fd) = self.0.fd() else { return Ok(0) };
        // SAFETY: `stat` is plain data, for which zeroes are a valid value.
        let mut stat: libc::stat = unsafe { std::mem::zeroed() };
        clear_errno();
        // SAFETY: the descriptor is open and `stat` is valid for writing.
        let ret = unsafe { libc::fstat(fd, &mut stat) };
        self.io_result(ret, "file size")?;
        Ok(stat.st_size.cast_unsigned())
    }

    /// Waits until what was written is on the disk (fdatasync).
    ///
    /// # Errors
    /// That of fdatasync(2).
    pub fn sync_data(&self) -> Result<(), TdbError> {
        let Some(fd) = self.0.fd() else { return Ok(()) };
        clear_errno();
        // SAFETY: the descriptor is open.
        let ret = unsafe { libc::fdatasync(fd) };
        self.io_result(ret, "sync")
    }

    /// The pointer for libtdb. Valid while `self` lives.
    pub(crate) fn raw(&self) -> *mut TdbContext {
        self.0.raw.as_ptr()
    }

    /// Starts an operation: refused while a record is looked at in place. Clears errno.
    pub(crate) fn begin(&self, operation: &'static str) -> Result<*mut TdbContext, TdbError> {
        if self.0.looking.get() {
            return Err(self.error(ErrorCode::InUse, 0, operation));
        }
        clear_errno();
        Ok(self.raw())
    }

    /// Runs `f` with every other operation on this database refused.
    pub(crate) fn while_looking<T>(&self, f: impl FnOnce() -> T) -> T {
        self.0.looking.set(true);
        // No guard: nothing in `f` unwinds, panics of callbacks are caught before they reach C.
        let result = f();
        self.0.looking.set(false);
        result
    }

    /// The error of the call that just failed.
    pub(crate) fn last_error(&self, operation: &'static str) -> TdbError {
        let errno = errno();
        // SAFETY: the database is open.
        let code = ErrorCode::from_number(unsafe { ffi::tdb_error(self.raw()) });
        self.error(code, errno, operation)
    }

    pub(crate) fn error(&self, code: ErrorCode, errno: i32, operation: &'static str) -> TdbError {
        TdbError {
            code,
            errno,
            database: Arc::clone(&self.0.log.database),
            operation,
        }
    }

    /// For functions that return 0, or -1 on failure.
    pub(crate) fn result(&self, ret: c_int, operation: &'static str) -> Result<(), TdbError> {
        if ret == 0 {
            Ok(())
        } else {
            Err(self.last_error(operation))
        }
    }

    fn io_result(&self, ret: c_int, operation: &'static str) -> Result<(), TdbError> {
        if ret == 0 {
            Ok(())
        } else {
            Err(self.error(ErrorCode::Io, errno(), operation))
        }
    }
}

impl Opened {
    /// `None` for a database in memory. Never to be closed or duplicated, see the crate's documentation.
    fn fd(&self) -> Option<c_int> {
        // SAFETY: the database is open.
        let fd = unsafe { ffi::tdb_fd(self.raw.as_ptr()) };
        (fd >= 0).then_some(fd)
    }

    /// libtdb takes the hash function that the header tells, whatever the flags of open say, and does
    /// not tell which. So look at the same place (`tdb.md` §1, magic1_hash).
    fn read_hash_kind(&self) -> HashKind {
        const MAGIC1_HASH_AT: i64 = 52;
        // A database in memory always has the Jenkins hash.
        let Some(fd) = self.fd() else {
            return HashKind::Jenkins;
        };
        let mut magic1 = [0_u8; 4];
        // SAFETY: the descriptor is open and the buffer is valid for its length.
        let n = unsafe { libc::pread(fd, magic1.as_mut_ptr().cast(), magic1.len(), MAGIC1_HASH_AT) };
        let jenkins = HashKind::Jenkins.hash(b"TDB file\n\0");
        let magic1 = u32::from_ne_bytes(magic1);
        if n == 4 && (magic1 == jenkins || magic1 == jenkins.swap_bytes()) {
            HashKind::Jenkins
        } else {
            HashKind::Old
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sigchld() -> (libc::sighandler_t, c_int) {
        // SAFETY: as in `mutexes_supported`.
        let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
        // SAFETY: as in `mutexes_supported`.
        let ret = unsafe { libc::sigaction(libc::SIGCHLD, ptr::null(), &mut action) };
        assert_eq!(ret, 0);
        (action.sa_sigaction, action.sa_flags)
    }

    extern "C" fn on_child(_: c_int, _: *mut libc::siginfo_t, _: *mut libc::c_void) {}

    #[test]
    fn the_check_for_mutexes_leaves_the_handler_of_sigchld_as_it_was() {
        let function: extern "C" fn(c_int, *mut libc::siginfo_t, *mut libc::c_void) = on_child;
        // SAFETY: plain data, for which zeroes are a valid value.
        let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
        action.sa_sigaction = function as libc::sighandler_t;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_NOCLDSTOP;
        // SAFETY: the handler does nothing.
        let ret = unsafe { libc::sigaction(libc::SIGCHLD, &action, ptr::null_mut()) };
        assert_eq!(ret, 0);
        let before = sigchld();
        assert!(mutexes_supported());
        assert_eq!(sigchld(), before);
        assert_ne!(before.1 & libc::SA_SIGINFO, 0);
    }
}
