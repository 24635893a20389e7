//! Our helper under Debian's daemons. Addresses are on the loopback interface; in test mode nobody checks whether they are
//! really there.
#![allow(clippy::unwrap_used)] // In the helpers of the tests, as in the tests: a failure shows its line.

use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use ctdb_harness::{Binaries, Cluster, Helper, ToolRun, flags, require_peer, wait_until};

const LIMIT: Duration = Duration::from_secs(60);

/// The one that was built for this test.
const OURS: &str = env!("CARGO_BIN_EXE_ctdb_takeover_helper");

/// Debian's daemons and tool with our helper, and without.
fn both() -> Option<(Binaries, Binaries)> {
    let debian = require_peer()?;
    let ours = debian.clone().with_helper(Helper::Takeover, Path::new(OURS));
    Some((ours, debian))
}

/// Two subnets of IPv4 and one of IPv6 on all nodes, some addresses on two nodes only.
fn public_addresses(pnn: usize) -> String {
    let mut lines = String::new();
    for host in 1..=6 {
        lines += &format!("10.99.1.{host}/24 lo\n10.99.2.{host}/24 lo\nfd00:99::{host}/64 lo\n");
    }
    if pnn != 1 {
        lines += "10.99.3.1/24 lo\n10.99.3.2/24 lo\n";
    }
    lines
}

struct Story {
    cluster: Cluster,
    told: Vec<String>,
}

impl Story {
    fn begin(binaries: &Binaries) -> Result<Story> {
        let mut plan = Cluster::builder()
            .nodes(3, binaries)
            .tunable("RerecoveryTimeout", 1);
        for pnn in 0..3 {
            plan = plan.public_addresses(pnn, &public_addresses(pnn));
        }
        let cluster = plan.build()?;
        cluster.start()?;
        cluster.wait_healthy(LIMIT)?;
        let told = Vec::new();
        Ok(Story { cluster, told })
    }

    fn ctdb(&self, args: &[&str]) -> Result<ToolRun> {
        let node = self.cluster.node(0);
        let what = || format!("{}: ctdb {}", node.binaries().name(), args.join(" "));
        node.ctdb(args)?.ok().with_context(what)
    }

    /// Runs a command and notes where the addresses are when a takeover run after it has ended.
    fn step(&mut self, args: &[&str]) -> Result<()> {
        self.ctdb(args)?;
        self.ctdb(&["ipreallocate"])?;
        let ips = self.ctdb(&["ip", "all"])?.text();
        self.told.push(format!("after {}:\n{ips}", args.join(" ")));
        Ok(())
    }

    fn tunable(&mut self, name: &str, value: &str) -> Result<()> {
        for pnn in ["0", "1", "2"] {
            self.ctdb(&["setvar", name, value, "-n", pnn])?;
        }
        self.step(&["getvar", name])
    }

    /// Begins with all addresses on node 0, whatever the order in which the nodes came up.
    fn tell(mut self) -> Result<Vec<String>> {
        self.ctdb(&["disable", "-n", "1"])?;
        self.step(&["disable", "-n", "2"])?;
        self.step(&["enable", "-n", "1"])?;
        self.step(&["enable", "-n", "2"])?;
        self.step(&["stop", "-n", "1"])?;
        self.tunable("NoIPFailback", "1")?;
        self.step(&["continue", "-n", "1"])?;
        self.tunable("NoIPFailback", "0")?;
        self.step(&["ban", "300", "-n", "2"])?;
        self.tunable("NoIPTakeover", "1")?;
        self.step(&["unban", "-n", "2"])?;
        self.tunable("NoIPTakeover", "0")?;
        self.tunable("IPAllocAlgorithm", "0")?;
        self.step(&["disable", "-n", "0"])?;
        self.tunable("IPAllocAlgorithm", "1")?;
        self.step(&["enable", "-n", "0"])?;
        let has_moved = |node: &ctdb_harness::Node| node.log_contains("public addresses change their node");
        let is_ours = self.cluster.node(0).binaries().helper(Helper::Takeover) == Path::new(OURS);
        assert_eq!(self.cluster.nodes().iter().any(has_moved), is_ours);
        Ok(self.told)
    }
}

#[test]
fn addresses_end_where_debians_own_helper_puts_them() -> Result<()> {
    let Some((ours, debian)) = both() else {
        return Ok(());
    };
    let [ours, theirs] = [ours, debian]
        .map(|binaries| thread::spawn(move || Story::begin(&binaries).and_then(Story::tell)))
        .map(|story| story.join().unwrap());
    for (ours, theirs) in ours?.iter().zip(&theirs?) {
        assert_eq!(ours, theirs);
    }
    Ok(())
}

/// On some nodes addresses can't be taken: `case` is a pattern for their directory.
fn cluster_that_fails_on(nodes: usize, binaries: &Binaries, case: &str) -> Result<Cluster> {
    let script = format!("#!/bin/sh\ncase $1.$CTDB_BASE in takeip.*/{case}) exit 1 ;; esac\nexit 0\n");
    let mut plan = Cluster::builder()
        .nodes(nodes, binaries)
        .tunable("RerecoveryTimeout", 1)
        .event_script("50.test.script", &script);
    for pnn in 0..nodes {
        plan = plan.public_addresses(pnn, "10.99.1.1/24 lo\n10.99.1.2/24 lo\n");
    }
    let cluster = plan.build()?;
    cluster.start()?;
    Ok(cluster)
}

#[test]
fn a_node_that_cannot_take_addresses_is_banned_and_the_other_has_them() -> Result<()> {
    let Some((ours, _)) = both() else { return Ok(()) };
    let cluster = cluster_that_fails_on(2, &ours, "node.1")?;
    let other = cluster.node(0);
    other.wait_state("node 1 banned", LIMIT, |state| {
        state.flags[1] & flags::BANNED != 0
    })?;
    wait_until("both addresses on node 0", LIMIT, || {
        let ips = other.ctdb(&["ip"])?.ok()?.text();
        ensure!(
            ips.contains("10.99.1.1 0\n") && ips.contains("10.99.1.2 0\n"),
            "{ips}"
        );
        Ok(())
    })?;
    let told = cluster
        .nodes()
        .iter()
        .find(|node| node.log_contains("gets ban credits"));
    ensure!(told.is_some(), "nobody says why");
    Ok(())
}

#[test]
fn the_last_node_is_not_banned_for_addresses_that_it_cannot_take() -> Result<()> {
    let Some((ours, _)) = both() else { return Ok(()) };
    let cluster = cluster_that_fails_on(1, &ours, "node.0")?;
    let node = cluster.node(0);
    // Two failed runs ban a node.
    wait_until("three failed runs", LIMIT, || {
        let spared = node.log().matches("gets no ban credits").count();
        ensure!(spared >= 3, "{spared} so far");
        Ok(())
    })?;
    assert_eq!(node.state()?.flags, [0]);
    assert!(!node.log_contains("gets ban credits"));
    Ok(())
}
