//! Clients at work while something happens to the cluster: each writes through the tool, as an operator's script
//! would, and remembers what it was told is done.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;

use ctdb_harness::{Cluster, Node};

/// What one writer did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// Number of its last write that was acknowledged; its value in the database must not be older.
    pub acknowledged: u32,
    /// Writes that failed: the daemon was gone, or in recovery for too long.
    pub failed: u32,
}

/// Writers, one for each node, in threads of a scope.
pub struct Load<'scope> {
    stop: Arc<AtomicBool>,
    acknowledged: Arc<AtomicU32>,
    writers: Vec<(usize, thread::ScopedJoinHandle<'scope, Written>)>,
}

/// Name of the persistent database that writers use.
pub const DATABASE: &str = "load.tdb";

/// Key of the writer on a node.
pub fn key(pnn: usize) -> String {
    format!("writer-{pnn}")
}

impl<'scope> Load<'scope> {
    /// Starts a writer on each of `pnns`: it stores 1, 2, 3, … under its key, each in a transaction of its own.
    pub fn start<'env: 'scope>(
        scope: &'scope thread::Scope<'scope, 'env>,
        cluster: &'env Cluster,
        pnns: &[usize],
    ) -> Load<'scope> {
        let stop = Arc::new(AtomicBool::new(false));
        let acknowledged = Arc::new(AtomicU32::new(0));
        let writer = |&pnn: &usize| {
            let (stop, acknowledged) = (stop.clone(), acknowledged.clone());
            let node = cluster.node(pnn);
            (pnn, scope.spawn(move || write(node, pnn, &stop, &acknowledged)))
        };
        let writers = pnns.iter().map(writer).collect();
        Load {
            stop,
            acknowledged,
            writers,
        }
    }

    /// Writes acknowledged so far, by all writers together.
    pub fn acknowledged(&self) -> u32 {
        self.acknowledged.load(Ordering::Relaxed)
    }

    /// Ends the writers; what each did, by node.
    pub fn stop(self) -> Vec<(usize, Written)> {
        self.stop.store(true, Ordering::Relaxed);
        let join =
            |(pnn, writer): (usize, thread::ScopedJoinHandle<'scope, Written>)| (pnn, joined(writer.join()));
        self.writers.into_iter().map(join).collect()
    }
}

fn joined(result: thread::Result<Written>) -> Written {
    result.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

fn write(node: &Node, pnn: usize, stop: &AtomicBool, acknowledged: &AtomicU32) -> Written {
    let mut written = Written::default();
    let key = key(pnn);
    let mut next = 1;
    while !stop.load(Ordering::Relaxed) {
        let value = next.to_string();
        let done = node
            .ctdb(&["-T", "20", "pstore", DATABASE, &key, &value])
            .is_ok_and(|run| run.code == Some(0));
        if done {
            written.acknowledged = next;
            next += 1;
            acknowledged.fetch_add(1, Ordering::Relaxed);
        } else {
            written.failed += 1;
            if !node.is_running() {
                break;
            }
        }
    }
    written
}
