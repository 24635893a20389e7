//! The cluster under the tests, and clients of it.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::Result;
use ctdb_client::{Client, ClientError};
use ctdb_harness::{Binaries, Cluster};
use ctdb_runtime::{Handle, Runtime};

/// For one question.
pub const LIMIT: Duration = Duration::from_secs(10);
/// For a whole test.
const TEST_LIMIT: Duration = Duration::from_secs(60);

pub type Test = fn(Handle, Arc<Cluster>) -> Pin<Box<dyn Future<Output = Result<()>>>>;

pub fn start(binaries: &Binaries) -> Result<Cluster> {
    let cluster = Cluster::builder()
        .nodes(3, binaries)
        // A recovery soon after that of the start is not put off.
        .tunable("RerecoveryTimeout", 1)
        .build()?;
    cluster.start()?;
    cluster.wait_healthy(Duration::from_secs(60))?;
    Ok(cluster)
}

/// Runs a test in a thread of its name; whether it passed. What went wrong is on standard error.
pub fn run(name: &str, test: impl FnOnce() + Send + 'static) -> bool {
    let thread = thread::Builder::new().name(name.to_owned());
    thread.spawn(test).expect("a thread").join().is_ok()
}

/// Runs a test on a runtime of its own.
pub fn within_limit(cluster: Arc<Cluster>, test: Test) {
    let runtime = Runtime::new().expect("a reactor");
    let handle = runtime.handle();
    let result = runtime.block_on(handle.timeout(TEST_LIMIT, test(handle.clone(), cluster)));
    result
        .expect("the test takes less than a minute")
        .expect("every step of the test succeeds");
}

/// A client of one node.
pub async fn client(handle: &Handle, cluster: &Cluster, node: usize) -> Result<Client, ClientError> {
    Client::connect(handle, &cluster.node(node).socket()).await
}
