//! Nodes of ours and of Debian's 4.17.12 in one cluster: the demonstration's story with each kind in the majority, with
//! and without a cluster lock, so that either kind leads, recovers, migrates records and commits transactions.
#![allow(clippy::unwrap_used)]

use ctdb_cluster_tests::demo;
use ctdb_harness::{Binaries, Cluster, ClusterBuilder, ClusterLock, require_peer};

/// Our daemon with Debian's tool: the tools are compared elsewhere.
fn ours(debian: &Binaries) -> Binaries {
    Binaries::ours().unwrap().with_tool_of(debian)
}

fn tell(nodes: ClusterBuilder) {
    if let Err(error) = demo::run(nodes, &mut |line| println!("{line}")) {
        panic!("{error:#}");
    }
}

#[test]
fn two_of_ours_and_one_of_theirs_with_a_cluster_lock() {
    let Some(debian) = require_peer() else { return };
    tell(Cluster::builder().nodes(2, &ours(&debian)).nodes(1, &debian));
}

#[test]
fn two_of_theirs_and_one_of_ours_with_a_cluster_lock() {
    let Some(debian) = require_peer() else { return };
    tell(Cluster::builder().nodes(2, &debian).nodes(1, &ours(&debian)));
}

#[test]
fn two_of_ours_and_one_of_theirs_without_a_cluster_lock() {
    let Some(debian) = require_peer() else { return };
    tell(
        Cluster::builder()
            .cluster_lock(ClusterLock::None)
            .nodes(1, &debian)
            .nodes(2, &ours(&debian)),
    );
}
