//! The daemons under test: a cluster of three nodes, and what the measures need to know of it.

use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use ctdb_harness::{Binaries, Cluster, Node, wait_until};

use crate::connection::Connection;
use crate::plan::{Plan, RERECOVERY_PAUSE};

/// Nodes of each cluster.
pub const NODES: usize = 3;
/// For a cluster to become what is waited for.
pub const HEALTHY_LIMIT: Duration = Duration::from_secs(120);

/// One kind of daemons.
pub struct Subject {
    pub plan: Plan,
    binaries: Binaries,
    cluster: Option<Cluster>,
    last_recovery: Instant,
}

impl Subject {
    pub fn new(binaries: Binaries, plan: Plan) -> Subject {
        Subject {
            plan,
            binaries,
            cluster: None,
            last_recovery: Instant::now(),
        }
    }

    /// A cluster that runs, started now if there is none.
    pub fn cluster(&mut self) -> Result<&Cluster> {
        if self.cluster.is_none() {
            self.fresh_cluster()?;
        }
        self.cluster.as_ref().context("the cluster did not start")
    }

    /// A cluster without any database, and how long its start took.
    pub fn fresh_cluster(&mut self) -> Result<Duration> {
        self.end();
        let cluster = Cluster::builder().nodes(NODES, &self.binaries).build()?;
        let before = Instant::now();
        cluster.start()?;
        cluster.wait_healthy(HEALTHY_LIMIT)?;
        let took = before.elapsed();
        self.cluster = Some(cluster);
        self.recovered();
        Ok(took)
    }

    /// Ends the cluster, if there is one.
    pub fn end(&mut self) {
        self.cluster = None;
    }

    /// The ends of the logs, for a measure that failed.
    pub fn log_tails(&self) -> String {
        self.cluster
            .as_ref()
            .map(|cluster| cluster.log_tails(8))
            .unwrap_or_default()
    }

    /// Takes note of the end of a recovery.
    pub fn recovered(&mut self) {
        self.last_recovery = Instant::now();
    }

    /// Waits until the daemons may recover again.
    pub fn pause_before_recovery(&self) {
        thread::sleep(RERECOVERY_PAUSE.saturating_sub(self.last_recovery.elapsed()));
    }
}

/// The leader, once there is one: on a busy machine C's nodes may be in an election.
pub fn leader(cluster: &Cluster) -> Result<usize> {
    let (leader, _) = wait_until("a leader", HEALTHY_LIMIT, || cluster.leader())?;
    Ok(leader)
}

/// A new connection to each node.
pub fn connect_all(cluster: &Cluster) -> Result<Vec<Connection>> {
    let nodes = cluster.nodes().iter();
    nodes.map(|node| Connection::open(&node.socket())).collect()
}

/// The nodes' sockets.
pub fn sockets(cluster: &Cluster) -> Vec<PathBuf> {
    cluster.nodes().iter().map(Node::socket).collect()
}
