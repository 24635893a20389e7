//! Locks in database files that somebody else holds, and other work in libtdb that can wait: all of it is
//! done by helper processes (`ctdb-lockhelper`), so that this daemon never waits for a lock or a disk.
//!
//! ```text
//! helper    one helper process: a request, an answer        pool     helpers that are kept for the next job
//! chains    packets that wait for a chain                   watch    who holds it? said every 10 s
//! whole     the lock of a whole database (freeze)           writer   transactions of persistent databases
//! ```

mod chains;
mod helper;
mod pool;
mod watch;
mod whole;
mod writer;

pub use chains::{database_gone, is_contended, wait_chain};
pub use watch::hex;
pub use whole::{DbLock, LockFailed, close_file, lock_db};
pub use writer::{Checked, RecoverWriter, cancel_updates, check, sync_file, update_records};

/// State of the room.
#[derive(Default)]
pub struct Locks {
    pool: pool::Pool,
    chains: chains::Chains,
    whole: whole::Whole,
    updates: writer::Updates,
    syncs: writer::Syncs,
}

impl Locks {
    /// Helpers that wait for work.
    pub fn idle_helpers(&self) -> usize {
        self.pool.idle()
    }
}
