//! Realtime priority while waiting for a lock.

/// ctdbd may run in the realtime class, and whoever holds a contended lock gets more of the machine than an
/// ordinary waiter. So the wait, and only the wait, is done in the realtime class, as upstream does it.
/// `CTDB_NOSETSCHED` in the environment turns that off.
#[derive(Debug)]
pub(crate) struct Priority {
    allowed: bool,
}

impl Default for Priority {
    fn default() -> Self {
        Priority {
            allowed: std::env::var_os("CTDB_NOSETSCHED").is_none(),
        }
    }
}

impl Priority {
    /// Runs `wait` with realtime priority where that is allowed.
    pub fn raised<T>(&mut self, wait: impl FnOnce() -> T) -> T {
        if self.allowed
            && let Err(error) = ctdb_runtime::sys::set_realtime()
        {
            self.allowed = false;
            log::info!("waiting for locks with ordinary priority from now on: {error}");
        }
        let result = wait();
        if self.allowed
            && let Err(error) = ctdb_runtime::sys::reset_scheduler()
        {
            log::warn!("staying in the realtime class after a lock was taken: {error}");
        }
        result
    }
}
