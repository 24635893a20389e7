//! Read-only copies lent and called back between nodes of ours and of Debian's 4.17.12, asked for with Debian's tool.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use anyhow::ensure;
use ctdb_harness::{Binaries, Cluster, Node, require_peer, wait_until};

const LIMIT: Duration = Duration::from_secs(60);
const DB: &str = "readonly.tdb";

fn ours(debian: &Binaries) -> Binaries {
    Binaries::ours().unwrap().with_tool_of(debian)
}

fn ctdb(node: &Node, args: &[&str]) -> String {
    node.ctdb(args).unwrap().ok().unwrap().text()
}

fn number(node: &Node, name: &str) -> u32 {
    let text = ctdb(node, &["dbstatistics", DB]);
    let line = text.lines().find(|line| line.trim_start().starts_with(name));
    let value = line.and_then(|line| line.split_whitespace().last());
    value
        .unwrap_or_else(|| panic!("no {name} in {text}"))
        .parse()
        .unwrap()
}

/// Every node writes a value, then all read copies of it; each new writer calls the copies back.
fn lend_and_call_back(cluster: &Cluster) {
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
        ctdb(node, &["setdbreadonly", DB]);
        assert!(ctdb(node, &["getdbmap"]).contains("READONLY"));
    }
    for round in 0..2 {
        for writer in nodes {
            let value = format!("value {round} of {}", writer.pnn());
            ctdb(writer, &["writekey", DB, "key", &value]);
            for _ in 0..2 {
                for reader in nodes {
                    let read = ctdb(reader, &["readkey", DB, "key", "readonly"]);
                    assert!(read.contains(&value), "node {} reads {read}", reader.pnn());
                }
            }
        }
    }
    let sum = |name| nodes.iter().map(|node| number(node, name)).sum::<u32>();
    assert!(sum("db_ro_delegations") >= 6, "copies were lent");
    assert!(sum("db_ro_revokes") >= 3, "and called back");
}

#[test]
fn our_nodes_lend_copies_to_each_other() {
    let Some(debian) = require_peer() else { return };
    lend_and_call_back(&Cluster::builder().nodes(3, &ours(&debian)).build().unwrap());
}

#[test]
fn our_nodes_and_theirs_lend_copies_to_each_other() {
    let Some(debian) = require_peer() else { return };
    let nodes = Cluster::builder()
        .nodes(1, &ours(&debian))
        .nodes(1, &debian)
        .nodes(1, &ours(&debian));
    lend_and_call_back(&nodes.build().unwrap());
}
