//! Safe wrapper of the system libtdb: the only crate that calls it.
//!
//! smbd, the `tdb*` tools and other versions of ctdb have the same files open, so their locks are
//! the ones of libtdb, taken by libtdb. What this crate adds:
//!
//! * A lock, a mark and a transaction are values ([`ChainLock`], [`ChainMark`], [`AllRecordLock`],
//!   [`Transaction`], …): dropping one lets go, a method does the same and tells what went wrong.
//! * An error is a [`TdbError`], which keeps libtdb's code, errno, the database and the operation.
//!   "Not there" and "busy" are no errors but `None` and `false`.
//! * What libtdb logs goes to the `log` crate with the name of the database.
//! * Nothing may be done with a database while one of its records is looked at in place: the callback
//!   of [`Tdb::parse`], [`Tdb::traverse_chain`] and [`Tdb::check_records`] gets a slice of the mapped
//!   file, which any call may unmap. Such a call fails with [`ErrorCode::InUse`].
//!
//! Facts of life with libtdb:
//!
//! * A process can open a file once; a second open fails with EBUSY. Any descriptor of the file that
//!   the process closes drops all its POSIX locks, so nothing else may open a database file.
//! * Locks belong to the process (and with mutexes to the thread), therefore a [`Tdb`] stays on its thread.
//! * A lock taken twice is counted; in a database locked as a whole, chain locks are not taken at all.
//!   So let go in the reverse order.
//! * Non-blocking calls wait in one case: when another process died during a commit, the first lock
//!   runs the recovery of the file.

mod error;
mod ffi;
mod flags;
mod hash;
mod lock;
mod log_callback;
mod open;
mod record;
mod transaction;
mod traverse;
mod upkeep;

pub use error::{ErrorCode, TdbError};
pub use flags::{StoreMode, TdbFlags};
pub use hash::{Chain, jenkins_hash, old_hash};
pub use lock::{AllRecordLock, AllRecordMark, ChainLock, ChainMark, TransactionLockMark};
pub use open::{Access, OpenOptions, Tdb, mutexes_supported};
pub use transaction::Transaction;
