//! Traverse and detach in one cluster of ours and Debian's 4.17.12, asked by either tool on either daemon.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::ensure;
use ctdb_client::Client;
use ctdb_harness::{Binaries, Cluster, Node, require_peer, wait_until};
use ctdb_protocol::{DbId, LtdbHeader, Pnn, RecFlags, Rsn};
use ctdb_runtime::Runtime;
use ctdb_tdb::{OpenOptions, StoreMode, Tdb};

const LIMIT: Duration = Duration::from_secs(60);
const DB: &str = "walked.tdb";
/// Records of the big walk; together on all nodes.
const MANY: u32 = 100_000;

struct Mixed {
    cluster: Cluster,
    tools: [Binaries; 2],
}

/// Two of ours and one of Debian's, or the other way round.
fn mixed(our_nodes: usize) -> Option<Mixed> {
    let debian = require_peer()?;
    let ours = Binaries::ours().unwrap();
    let cluster = Cluster::builder()
        .nodes(our_nodes, &ours)
        .nodes(3 - our_nodes, &debian)
        .build()
        .unwrap();
    cluster.start().unwrap();
    cluster.wait_healthy(LIMIT).unwrap();
    Some(Mixed {
        cluster,
        tools: [ours, debian],
    })
}

fn run(node: &Node, tool: &Binaries, args: &[&str]) -> String {
    node.ctdb_of(tool, args).unwrap().ok().unwrap().text()
}

fn own(node: &Node, args: &[&str]) -> String {
    node.ctdb(args).unwrap().ok().unwrap().text()
}

fn wait_for_map(cluster: &Cluster, what: &str, holds: impl Fn(&str) -> bool) {
    for node in cluster.nodes() {
        wait_until(what, LIMIT, || {
            ensure!(holds(&own(node, &["getdbmap"])), "not on node {}", node.pnn());
            Ok(())
        })
        .unwrap();
    }
}

fn attach_everywhere(cluster: &Cluster, args: &[&str]) {
    own(cluster.node(0), args);
    wait_for_map(cluster, "the database is everywhere", |map| map.contains(args[1]));
}

/// What `catdb` prints of each record, in an order of its own, and the line that counts them.
fn shown(text: &str) -> (Vec<String>, String) {
    let mut records: Vec<String> = text.split("\n\n").map(|part| part.trim().to_owned()).collect();
    let count = records.pop().unwrap();
    records.sort();
    (records, count)
}

fn shows_the_same(our_nodes: usize) {
    let Some(mixed) = mixed(our_nodes) else { return };
    let cluster = &mixed.cluster;
    attach_everywhere(cluster, &["attach", DB]);
    for (n, node) in cluster.nodes().iter().cycle().take(9).enumerate() {
        own(node, &["writekey", DB, &format!("key{n}"), &format!("value {n}")]);
    }
    // One that has moved around, and one that is deleted.
    for node in cluster.nodes() {
        own(
            node,
            &["writekey", DB, "key4", &format!("of node {}", node.pnn())],
        );
    }
    own(cluster.node(1), &["deletekey", DB, "key5"]);
    let mut seen = Vec::new();
    for node in cluster.nodes() {
        for tool in &mixed.tools {
            let (records, count) = shown(&run(node, tool, &["catdb", DB]));
            assert_eq!(
                count,
                "Dumped 8 records",
                "{} on node {}",
                tool.name(),
                node.pnn()
            );
            assert!(records.iter().any(|record| record.contains("of node 2")));
            seen.push((tool.name().to_owned(), node.pnn(), records));
        }
    }
    let (_, _, first) = &seen[0];
    for (tool, pnn, records) in &seen {
        assert_eq!(records, first, "{tool} on node {pnn}");
    }
    persistent_too(&mixed);
    cluster.stop().unwrap();
}

fn persistent_too(mixed: &Mixed) {
    let cluster = &mixed.cluster;
    attach_everywhere(cluster, &["attach", "kept.tdb", "persistent"]);
    for (n, node) in cluster.nodes().iter().enumerate() {
        own(node, &["pstore", "kept.tdb", &format!("key{n}"), "value"]);
    }
    for node in cluster.nodes() {
        for tool in &mixed.tools {
            let (records, count) = shown(&run(node, tool, &["catdb", "kept.tdb"]));
            // With the sequence number.
            assert_eq!(
                count,
                "Dumped 4 records",
                "{} on node {}",
                tool.name(),
                node.pnn()
            );
            assert_eq!(records.len(), 4);
        }
    }
}

#[test]
fn catdb_shows_the_same_on_two_of_ours_and_one_of_theirs() {
    shows_the_same(2);
}

#[test]
fn catdb_shows_the_same_on_one_of_ours_and_two_of_theirs() {
    shows_the_same(1);
}

#[test]
fn either_tool_detaches_on_either_daemon_and_the_database_can_come_back() {
    let Some(mixed) = mixed(2) else { return };
    let cluster = &mixed.cluster;
    for (node, tool) in [(0, 1), (2, 0), (1, 0), (2, 1)] {
        let (node, tool) = (cluster.node(node), &mixed.tools[tool]);
        attach_everywhere(cluster, &["attach", DB]);
        for node in cluster.nodes() {
            own(node, &["writekey", DB, &format!("key{}", node.pnn()), "value"]);
        }
        let refused = node.ctdb_of(tool, &["detach", DB]).unwrap();
        assert!(refused.ok().is_err(), "clients may use it");
        allow_clients(cluster, "0");
        run(node, tool, &["detach", DB]);
        wait_for_map(cluster, "the database is detached", |map| !map.contains(DB));
        allow_clients(cluster, "1");
    }
    attach_everywhere(cluster, &["attach", DB]);
    own(cluster.node(0), &["writekey", DB, "key", "value"]);
    assert!(own(cluster.node(2), &["readkey", DB, "key"]).contains("value"));
    own(cluster.node(1), &["recover"]);
    cluster.wait_healthy(LIMIT).unwrap();
    cluster.stop().unwrap();
}

fn allow_clients(cluster: &Cluster, value: &str) {
    for node in cluster.nodes() {
        own(node, &["setvar", "AllowClientDBAttach", value]);
    }
}

/// Writes a third of the records into the node's file, as its clients would.
fn fill(node: &Node, pnn: u32) {
    let runtime = Runtime::new().unwrap();
    let flags = runtime.block_on(async {
        let client = Client::connect(&runtime.handle(), &node.socket()).await.unwrap();
        let id = DbId::of_name(DB.as_bytes());
        client.db_open_flags(client.pnn(), id, LIMIT).await.unwrap()
    });
    let options = OpenOptions {
        flags: ctdb_tdb::TdbFlags::from_bits_retain(flags.bits()),
        ..OpenOptions::default()
    };
    let tdb = Tdb::open(node.volatile_db(DB), &options).unwrap();
    let header = LtdbHeader {
        rsn: Rsn(1),
        dmaster: Pnn(pnn),
        flags: RecFlags::MIGRATED_WITH_DATA,
    };
    for n in (pnn..MANY).step_by(3) {
        let (key, value) = (n.to_be_bytes(), format!("{n:0100}"));
        let _lock = tdb.lock_chain(&key).unwrap();
        tdb.store_vectored(&key, &[&header.to_bytes(), value.as_bytes()], StoreMode::Replace)
            .unwrap();
    }
}

/// Walks by the client library; how long that took and how often each record came.
fn walk(node: &Node) -> (Duration, BTreeMap<u32, u32>) {
    let runtime = Runtime::new().unwrap();
    let seen = std::rc::Rc::new(std::cell::RefCell::new(BTreeMap::new()));
    let visitor = seen.clone();
    let took = runtime.block_on(async {
        let client = Client::connect(&runtime.handle(), &node.socket()).await.unwrap();
        let began = Instant::now();
        client
            .traverse(DbId::of_name(DB.as_bytes()), false, move |key, header, _| {
                let n = u32::from_be_bytes(key.try_into().unwrap());
                assert_eq!(header.dmaster, Pnn(n % 3));
                *visitor.borrow_mut().entry(n).or_default() += 1;
            })
            .await
            .unwrap();
        began.elapsed()
    });
    (took, seen.take())
}

/// The longest that the daemon left a PING unanswered until `stop`.
fn worst_ping(node: &Node, stop: &AtomicBool) -> Duration {
    let runtime = Runtime::new().unwrap();
    let handle = runtime.handle();
    runtime.block_on(async {
        let client = Client::connect(&handle, &node.socket()).await.unwrap();
        let mut worst = Duration::ZERO;
        while !stop.load(Ordering::Relaxed) {
            let asked = Instant::now();
            client.ping(client.pnn(), LIMIT).await.unwrap();
            worst = worst.max(asked.elapsed());
            handle.sleep(Duration::from_millis(1)).await;
        }
        worst
    })
}

#[test]
fn a_walk_over_many_records_shows_each_once() {
    let Some(mixed) = mixed(2) else { return };
    let cluster = &mixed.cluster;
    attach_everywhere(cluster, &["attach", DB]);
    thread::scope(|scope| {
        for (pnn, node) in (0..).zip(cluster.nodes()) {
            scope.spawn(move || fill(node, pnn));
        }
    });
    for starter in cluster.nodes() {
        let stop = AtomicBool::new(false);
        let (took, seen, worst) = thread::scope(|scope| {
            let pingers: Vec<_> = cluster
                .nodes()
                .iter()
                .map(|node| scope.spawn(|| worst_ping(node, &stop)))
                .collect();
            let (took, seen) = walk(starter);
            stop.store(true, Ordering::Relaxed);
            let worst: Vec<Duration> = pingers.into_iter().map(|p| p.join().unwrap()).collect();
            (took, seen, worst)
        });
        println!(
            "{MANY} records, started on node {} ({}): {took:.2?}, worst pings {worst:.2?}",
            starter.pnn(),
            starter.binaries().name()
        );
        assert_eq!(seen.len(), MANY as usize);
        assert!(seen.values().all(|times| *times == 1));
    }
    let (records, count) = shown(&run(cluster.node(0), &mixed.tools[1], &["catdb", DB]));
    assert_eq!((records.len(), &*count), (MANY as usize, "Dumped 100000 records"));
    cluster.stop().unwrap();
}
