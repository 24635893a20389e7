//! The cluster under the tests, and clients of it.

use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use anyhow::Result;
use ctdb_client::{Client, ClientError};
use ctdb_harness::{Cluster, require_peer};
use ctdb_runtime::{Handle, Runtime};

pub const LIMIT: Duration = Duration::from_secs(10);

/// Started by the first test, ended after the last one that runs or waits.
static SHARED: Mutex<Weak<Cluster>> = Mutex::new(Weak::new());
/// libtdb opens a file once per process, so one test at a time.
static TURN: Mutex<()> = Mutex::new(());

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn shared() -> Option<Arc<Cluster>> {
    let binaries = require_peer()?;
    let mut shared = lock(&SHARED);
    if let Some(cluster) = shared.upgrade() {
        return Some(cluster);
    }
    let cluster = Cluster::builder().nodes(3, &binaries).build().unwrap();
    cluster.start().unwrap();
    cluster.wait_healthy(Duration::from_secs(60)).unwrap();
    let cluster = Arc::new(cluster);
    *shared = Arc::downgrade(&cluster);
    Some(cluster)
}

/// Runs a test in the cluster, within the limit.
pub fn in_cluster<F: Future<Output = Result<()>>>(test: impl FnOnce(Handle, Arc<Cluster>) -> F) {
    let Some(cluster) = shared() else { return };
    let _turn = lock(&TURN);
    let runtime = Runtime::new().unwrap();
    let handle = runtime.handle();
    let test = test(handle.clone(), cluster);
    let result = runtime.block_on(handle.timeout(Duration::from_secs(60), test));
    result.expect("the test takes less than a minute").unwrap();
}

/// A client of one node.
pub async fn client(handle: &Handle, cluster: &Cluster, node: usize) -> Result<Client, ClientError> {
    Client::connect(handle, &cluster.node(node).socket()).await
}
