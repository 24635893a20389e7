//! Deleted records vanish from the files of all nodes, ours and Debian's 4.17.12, with Debian's tool.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use anyhow::ensure;
use ctdb_harness::{Binaries, Cluster, Node, require_peer, wait_until};

const LIMIT: Duration = Duration::from_secs(60);
const DB: &str = "vacuumed.tdb";
const KEYS: usize = 12;

fn ours(debian: &Binaries) -> Binaries {
    Binaries::ours().unwrap().with_tool_of(debian)
}

fn ctdb(node: &Node, args: &[&str]) -> String {
    node.ctdb(args).unwrap().ok().unwrap().text()
}

/// Records in a node's own file, empty ones included.
fn records(node: &Node) -> usize {
    let text = ctdb(node, &["cattdb", DB]);
    text.lines().filter(|line| line.starts_with("key(")).count()
}

/// Each record is written on every node and deleted on the last of them; a few stay.
fn vanish(cluster: &Cluster) {
    cluster.start().unwrap();
    cluster.wait_healthy(LIMIT).unwrap();
    let nodes = cluster.nodes();
    ctdb(&nodes[0], &["attach", DB]);
    for node in nodes {
        wait_until("the database is everywhere", LIMIT, || {
            ensure!(ctdb(node, &["getdbmap"]).contains(DB), "not yet");
            Ok(())
        })
        .unwrap();
    }
    for key in 0..KEYS {
        let name = format!("key{key}");
        for step in 0..nodes.len() {
            ctdb(
                &nodes[(key + step) % nodes.len()],
                &["writekey", DB, &name, "data"],
            );
        }
        if key % 4 != 0 {
            ctdb(&nodes[(key + 2) % nodes.len()], &["deletekey", DB, &name]);
        }
    }
    let stay = KEYS.div_ceil(4);
    for node in nodes {
        wait_until("deleted records have left the file", LIMIT, || {
            let left = records(node);
            ensure!(left <= stay, "{left} records");
            Ok(())
        })
        .unwrap_or_else(|error| panic!("node {}: {error:#}", node.pnn()));
    }
    for key in (0..KEYS).step_by(4) {
        let read = ctdb(&nodes[1], &["readkey", DB, &format!("key{key}")]);
        assert!(read.contains("data"), "a record in use stays: {read}");
    }
}

#[test]
fn records_deleted_on_our_nodes_vanish() {
    let Some(debian) = require_peer() else { return };
    let nodes = Cluster::builder()
        .tunable("VacuumInterval", 1)
        .nodes(3, &ours(&debian));
    vanish(&nodes.build().unwrap());
}

#[test]
fn records_deleted_in_a_mixed_cluster_vanish_on_all_nodes() {
    let Some(debian) = require_peer() else { return };
    let nodes = Cluster::builder()
        .tunable("VacuumInterval", 1)
        .nodes(2, &ours(&debian))
        .nodes(1, &debian);
    vanish(&nodes.build().unwrap());
}
