//! Clients at work while something happens to the cluster: each writes through the tool, as an operator's script
//! would, and remembers what it was told is done.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use ctdb_harness::{Cluster, Node, wait_until};

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

/// For a write that waits for a recovery, even on a busy machine.
const LIMIT: Duration = Duration::from_secs(60);

/// Name of the persistent database that writers use.
pub const DATABASE: &str = "load.tdb";

/// Key of the writer on a node.
pub fn key(pnn: usize) -> String {
    format!("writer-{pnn}")
}

impl Drop for Load<'_> {
    /// The threads' scope waits for them, also when a test fails.
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
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

    /// Waits for that many writes, by all writers together.
    ///
    /// # Errors
    /// They do not come.
    pub fn wait_for(&self, wanted: u32) -> Result<()> {
        wait_until("clients' writes", LIMIT, || {
            let now = self.acknowledged();
            ensure!(now >= wanted, "{now} of {wanted} writes");
            Ok(())
        })?;
        Ok(())
    }

    /// Ends the writers; what each did, by node.
    pub fn stop(mut self) -> Vec<(usize, Written)> {
        self.stop.store(true, Ordering::Relaxed);
        let join =
            |(pnn, writer): (usize, thread::ScopedJoinHandle<'scope, Written>)| (pnn, joined(writer.join()));
        std::mem::take(&mut self.writers).into_iter().map(join).collect()
    }
}

/// Checks that each of `pnns` has every write that its writer was told is done.
///
/// # Errors
/// Which one has not.
pub fn check(cluster: &Cluster, pnns: &[usize], written: &[(usize, Written)]) -> Result<()> {
    for (writer, written) in written {
        for pnn in pnns {
            let value = cluster
                .node(*pnn)
                .ctdb(&["pfetch", DATABASE, &key(*writer)])?
                .ok()?
                .text();
            let found: u32 = value
                .trim_end()
                .parse()
                .with_context(|| format!("value \"{}\"", value.trim_end()))?;
            ensure!(
                found == written.acknowledged || found == written.acknowledged + 1,
                "node {pnn} has {found} of writer {writer}, which was told that {} is written",
                written.acknowledged
            );
        }
    }
    Ok(())
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
