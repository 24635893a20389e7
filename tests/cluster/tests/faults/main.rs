//! Faults: each test breaks something in a real cluster, under load where that matters, and wants a healthy cluster
//! back: nobody banned, no acknowledged write lost, every database file sound, and the lines in the logs that tell an
//! operator what happened.
#![allow(clippy::unwrap_used)]

mod chain_locks;
mod copies;
mod disk;
mod kills;
mod pauses;
mod phases;

use ctdb_cluster_tests::scene::Scene;
use ctdb_harness::{Binaries, Cluster, ClusterBuilder};

fn three() -> ClusterBuilder {
    Cluster::builder().nodes(3, &Binaries::ours().unwrap())
}

fn scene() -> Scene {
    Scene::begin(three()).unwrap()
}

/// Keepalives by which a silent node is dead after two to three seconds.
fn quick_keepalives(nodes: ClusterBuilder) -> ClusterBuilder {
    nodes.tunable("KeepaliveInterval", 1).tunable("KeepaliveLimit", 2)
}

/// For a test that breaks things again and again: with the usual pause of ten seconds the fourth recovery within that
/// time waits.
fn often(nodes: ClusterBuilder) -> ClusterBuilder {
    nodes.tunable("RerecoveryTimeout", 1)
}

fn all_but(pnn: usize) -> Vec<usize> {
    (0..3).filter(|other| *other != pnn).collect()
}
