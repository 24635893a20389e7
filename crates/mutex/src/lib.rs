//! The cluster lock: the helper protocol, its fcntl helper, and the client side used by ctdbd and recoverd.
//!
//! The cluster lock says which node may lead. A node takes it by starting a helper process whose standard output
//! is a pipe: the first byte tells the [`Outcome`], and while the helper lives the lock is held. The end of the
//! pipe after a taken lock means that the lock is lost; SIGTERM to the helper gives it back.
//!
//! - [`spec`]: what the `cluster lock` line of `ctdb.conf` asks to run, and what the first byte means.
//! - [`ClusterLock`]: the daemons' side of it, on their runtime.
//! - [`fcntl_helper`]: the helper that comes with CTDB, which locks a byte of a file on the cluster file system.
//! - [`recheck`]: its second process, which finds out when that file was replaced or its file system hangs.

/// A line on standard error, whose reader may have gone: then nobody is to be told, and nothing else is wrong.
macro_rules! tell {
    ($($text:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stderr(), $($text)*);
    }};
}

pub mod fcntl_helper;
mod file_lock;
mod holder;
pub mod recheck;
pub mod spec;

pub use holder::{ClusterLock, LockAttempt, LockHeld};
pub use spec::{LockCommand, Outcome, SpecError};
