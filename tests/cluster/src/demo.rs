//! The story that `make demo` tells: a cluster of three nodes starts, is used, loses its leader under load, recovers,
//! takes the node back. Each chapter checks what it says.

use std::fmt::Display;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use ctdb_harness::{Cluster, ClusterBuilder};

use crate::load::{self, Load};

/// Everything takes a second or two; nodes of the C implementation and a busy machine get more.
const LIMIT: Duration = Duration::from_secs(60);

/// What was measured on the way.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// From the start of the daemons to "all OK".
    pub start: Duration,
    /// From `kill -9` of the leader's daemon until the others are OK under a new leader.
    pub failover: Duration,
    /// From the killed daemon's restart until all are OK.
    pub rejoin: Duration,
    /// `ctdb recover`.
    pub recover: Duration,
}

/// Tells the story of a cluster of three nodes; `say` gets its lines.
///
/// # Errors
/// Something did not turn out as told; the cluster's logs are part of the error.
pub fn run(nodes: ClusterBuilder, say: &mut dyn FnMut(&dyn Display)) -> Result<Times> {
    let cluster = nodes.build()?;
    tell(&cluster, say).with_context(|| format!("the nodes' last words:\n{}", cluster.log_tails(25)))
}

fn tell(cluster: &Cluster, say: &mut dyn FnMut(&dyn Display)) -> Result<Times> {
    let start = start(cluster, say)?;
    use_it(cluster, say)?;
    let (victim, failover) = lose_the_leader(cluster, say)?;
    let rejoin = take_it_back(cluster, victim, say)?;
    let recover = recover(cluster, say)?;
    files_are_sound(cluster, say)?;
    cluster.stop()?;
    say(&"All daemons shut down in order.");
    Ok(Times {
        start,
        failover,
        rejoin,
        recover,
    })
}

fn start(cluster: &Cluster, say: &mut dyn FnMut(&dyn Display)) -> Result<Duration> {
    say(&"Starting three nodes: ctdbd, ctdb_recoverd and ctdb-eventd each, on loopback addresses.");
    let begun = Instant::now();
    cluster.start()?;
    cluster.wait_healthy(LIMIT)?;
    let took = begun.elapsed();
    say(&format!(
        "All nodes are OK after {took:.2?}. `ctdb status` on node 0:\n"
    ));
    say(&indented(&cluster.node(0).ctdb(&["status"])?.ok()?.text()));
    Ok(took)
}

fn use_it(cluster: &Cluster, say: &mut dyn FnMut(&dyn Display)) -> Result<()> {
    for name in [load::DATABASE, "demo.tdb"] {
        cluster.node(0).ctdb(&["attach", name, "persistent"])?.ok()?;
    }
    cluster.node(0).ctdb(&["attach", "demo-volatile.tdb"])?.ok()?;
    cluster
        .node(0)
        .ctdb(&["pstore", "demo.tdb", "promise", "survives"])?
        .ok()?;
    for node in cluster.nodes() {
        let value = node.ctdb(&["pfetch", "demo.tdb", "promise"])?.ok()?.text();
        ensure!(
            value.trim_end() == "survives",
            "node {} reads \"{}\"",
            node.pnn(),
            value.trim_end()
        );
    }
    say(&"A persistent record written on node 0 is read on all nodes.");
    for (node, value) in cluster.nodes().iter().zip(["one", "two", "three"]) {
        node.ctdb(&["writekey", "demo-volatile.tdb", "moves", value])?
            .ok()?;
        let read = node
            .ctdb(&["readkey", "demo-volatile.tdb", "moves"])?
            .ok()?
            .text();
        ensure!(
            read.contains(value),
            "node {} reads \"{}\"",
            node.pnn(),
            read.trim_end()
        );
    }
    say(&"A volatile record moved from node to node to be written: one, two, three.");
    Ok(())
}

/// Kills the leader's daemon while clients on the other nodes write.
fn lose_the_leader(cluster: &Cluster, say: &mut dyn FnMut(&dyn Display)) -> Result<(usize, Duration)> {
    let victim = cluster.leader()?;
    let others: Vec<usize> = (0..3).filter(|pnn| *pnn != victim).collect();
    let generation = cluster.generation()?;
    say(&format!(
        "Node {victim} leads. Clients on nodes {others:?} write; kill -9 of node {victim}'s ctdbd in the middle."
    ));
    thread::scope(|scope| {
        let load = Load::start(scope, cluster, &others);
        load.wait_for(5)?;
        let begun = Instant::now();
        cluster.node(victim).kill()?;
        cluster.wait_healthy_among(&others, LIMIT)?;
        let took = begun.elapsed();
        let leader = cluster.node(others[0]).leader()?;
        ensure!(leader != victim, "node {victim} is dead and still the leader");
        ensure!(cluster.generation()? != generation, "no recovery happened");
        say(&format!(
            "After {took:.2?} the others are OK again: node {leader} leads, a new generation, databases recovered."
        ));
        let before = load.acknowledged();
        load.wait_for(before + 5)?;
        let written = load.stop();
        load::check(cluster, &others, &written)?;
        let sum: u32 = written.iter().map(|(_, w)| w.acknowledged).sum();
        say(&format!(
            "The clients went on writing. All {sum} writes that they were told are done are there, on every node."
        ));
        let value = cluster
            .node(others[0])
            .ctdb(&["pfetch", "demo.tdb", "promise"])?
            .ok()?
            .text();
        ensure!(
            value.trim_end() == "survives",
            "the persistent record reads \"{}\" now",
            value.trim_end()
        );
        Ok((victim, took))
    })
}

fn take_it_back(cluster: &Cluster, victim: usize, say: &mut dyn FnMut(&dyn Display)) -> Result<Duration> {
    // The C event daemon outlives its killed ctdbd for a few seconds, and keeps the next one from starting.
    ctdb_harness::wait_until("the end of the killed daemon's children", LIMIT, || {
        let left = cluster.node(victim).processes();
        ensure!(left.is_empty(), "{} processes are left", left.len());
        Ok(())
    })?;
    let begun = Instant::now();
    cluster.node(victim).start()?;
    cluster.wait_healthy(LIMIT)?;
    let took = begun.elapsed();
    let value = cluster
        .node(victim)
        .ctdb(&["pfetch", "demo.tdb", "promise"])?
        .ok()?
        .text();
    ensure!(
        value.trim_end() == "survives",
        "the restarted node reads \"{}\"",
        value.trim_end()
    );
    say(&format!(
        "Node {victim} was started again and is OK after {took:.2?}, with all persistent data."
    ));
    Ok(took)
}

fn recover(cluster: &Cluster, say: &mut dyn FnMut(&dyn Display)) -> Result<Duration> {
    let before = cluster.generation()?;
    let run = cluster.node(0).ctdb(&["recover"])?.ok()?;
    cluster.wait_healthy(LIMIT)?;
    ensure!(cluster.generation()? != before, "`ctdb recover` changed nothing");
    say(&format!("`ctdb recover` took {:.2?}.", run.elapsed));
    Ok(run.elapsed)
}

/// libtdb's own tool must find nothing wrong with any file.
fn files_are_sound(cluster: &Cluster, say: &mut dyn FnMut(&dyn Display)) -> Result<()> {
    let checked = crate::files::check_all(cluster)?;
    match checked {
        Some(files) => say(&format!(
            "libtdb's tdbtool finds all {files} database files sound."
        )),
        None => say(&"(tdbtool is not installed: the files were not checked.)"),
    }
    Ok(())
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("    {line}\n")).collect()
}
