//! The same for several nodes at the same time.

use std::thread;

use anyhow::{Result, anyhow};

/// Does `one` for 0, 1, ... in a thread each, and waits for all. The first error counts.
pub fn in_parallel<T: Send>(count: usize, one: impl Fn(usize) -> Result<T> + Sync) -> Result<Vec<T>> {
    thread::scope(|scope| {
        let one = &one;
        let threads: Vec<_> = (0..count)
            .map(|number| scope.spawn(move || one(number)))
            .collect();
        let join = |thread: thread::ScopedJoinHandle<'_, Result<T>>| {
            thread
                .join()
                .map_err(|_| anyhow!("a thread of the benchmark panicked"))?
        };
        threads.into_iter().map(join).collect()
    })
}
