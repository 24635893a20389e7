//! A cluster with data that must survive, before and after a fault.

use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use ctdb_harness::{Cluster, ClusterBuilder, Node, ToolRun, skip, wait_until};

use crate::files;
use crate::load::{self, Load};

/// Long beside everything that should happen, even on a busy machine, but shorter than RecoverTimeout: a lost answer
/// that the cluster recovers from only then is a failure.
pub const LIMIT: Duration = Duration::from_secs(25);

/// A persistent database with one record, written at the start.
pub const KEPT: &str = "kept.tdb";
/// A volatile database with one record, which is on all nodes after any recovery.
pub const MOVING: &str = "moving.tdb";
/// Key of both records.
pub const KEY: &str = "promise";

/// A healthy cluster in which both records are written.
pub struct Scene {
    /// The cluster. It goes with the scene.
    pub cluster: Cluster,
}

impl Scene {
    /// Starts the nodes of `nodes` and writes the records.
    ///
    /// # Errors
    /// It does not become healthy.
    pub fn begin(nodes: ClusterBuilder) -> Result<Scene> {
        let cluster = nodes.build()?;
        Scene::prepare(&cluster).with_context(|| format!("the logs:\n{}", cluster.log_tails(40)))?;
        Ok(Scene { cluster })
    }

    fn prepare(cluster: &Cluster) -> Result<()> {
        cluster.start()?;
        cluster.wait_healthy(LIMIT)?;
        let first = cluster.node(0);
        first.ctdb(&["attach", KEPT, "persistent"])?.ok()?;
        first.ctdb(&["attach", load::DATABASE, "persistent"])?.ok()?;
        first.ctdb(&["attach", MOVING])?.ok()?;
        first.ctdb(&["pstore", KEPT, KEY, "kept"])?.ok()?;
        first.ctdb(&["writekey", MOVING, KEY, "moved"])?.ok()?;
        // Until the next recovery a volatile record is on one node only, and may well die with it.
        first.ctdb(&["recover"])?.ok()?;
        cluster.wait_healthy(LIMIT)?;
        Ok(())
    }

    /// One node.
    pub fn node(&self, pnn: usize) -> &Node {
        self.cluster.node(pnn)
    }

    /// The leader and the two (or so) others.
    ///
    /// # Errors
    /// Nobody leads.
    pub fn roles(&self) -> Result<(usize, Vec<usize>)> {
        let leader = self.cluster.leader()?;
        let others = self.cluster.running().into_iter().filter(|pnn| *pnn != leader);
        Ok((leader, others.collect()))
    }

    /// Waits until these nodes are healthy without the others.
    ///
    /// # Errors
    /// They are not.
    pub fn healthy(&self, pnns: &[usize]) -> Result<Duration> {
        self.cluster.wait_healthy_among(pnns, LIMIT)
    }

    /// Waits until all nodes are healthy, and checks what must hold after any fault: nobody was banned, both records
    /// are on all nodes, every file is sound. Then shuts the cluster down in order.
    ///
    /// # Errors
    /// What does not hold.
    pub fn ends_well(&self) -> Result<()> {
        self.ends_with_persistent_data()?;
        for node in self.cluster.nodes() {
            ensure!(
                read(node, MOVING, KEY)?.contains("moved"),
                "node {}: the volatile record is lost",
                node.pnn()
            );
        }
        self.is_sound()
    }

    /// The same for a fault after which volatile data may be gone: of all nodes at once.
    ///
    /// # Errors
    /// What does not hold.
    pub fn ends_well_without_volatile_data(&self) -> Result<()> {
        self.ends_with_persistent_data()?;
        self.is_sound()
    }

    fn ends_with_persistent_data(&self) -> Result<()> {
        let all: Vec<usize> = self.cluster.nodes().iter().map(Node::pnn).collect();
        self.healthy(&all)?;
        for node in self.cluster.nodes() {
            let value = node.ctdb(&["pfetch", KEPT, KEY])?.ok()?.text();
            ensure!(value.trim_end() == "kept", "node {} has \"{value}\"", node.pnn());
        }
        self.nobody_was_banned()
    }

    fn is_sound(&self) -> Result<()> {
        self.cluster.stop()?;
        if files::check_all(&self.cluster)?.is_none() {
            skip("tdbtool is not installed: the database files were not checked");
        }
        Ok(())
    }

    /// # Errors
    /// The line of the log that says otherwise.
    pub fn nobody_was_banned(&self) -> Result<()> {
        for node in self.cluster.nodes() {
            let log = node.log();
            let said = |line: &&str| line.contains("is banned for") || line.contains("bans itself");
            if let Some(line) = log.lines().find(said) {
                bail!("node {}: {line}", node.pnn());
            }
        }
        Ok(())
    }

    /// Lets clients on `writers` write while `fault` happens, and for a while afterwards. When it is over every
    /// write that they were told is done is on all of `readers`.
    ///
    /// # Errors
    /// Of the fault; a lost write; clients that can't go on.
    pub fn under_load(
        &self,
        writers: &[usize],
        readers: &[usize],
        fault: impl FnOnce() -> Result<()>,
    ) -> Result<()> {
        thread::scope(|scope| {
            let load = Load::start(scope, &self.cluster, writers);
            load.wait_for(5)?;
            fault()?;
            load.wait_for(load.acknowledged() + 5)?;
            let written = load.stop();
            load::check(&self.cluster, readers, &written)
        })
    }
}

/// `ctdb readkey`: what it prints.
///
/// # Errors
/// The tool failed.
pub fn read(node: &Node, database: &str, key: &str) -> Result<String> {
    Ok(node.ctdb(&["readkey", database, key])?.ok()?.text())
}

/// Waits until something is there.
///
/// # Errors
/// It does not come.
pub fn wait_for_file(path: &Path) -> Result<()> {
    wait_until(&path.display().to_string(), LIMIT, || {
        ensure!(path.exists(), "it is not there");
        Ok(())
    })?;
    Ok(())
}

/// Number in the output of `ctdb statistics`, behind the first line that begins with this name.
///
/// # Errors
/// There is none.
pub fn statistic(node: &Node, name: &str) -> Result<u64> {
    let text = node.ctdb(&["statistics"])?.ok().map(|run: ToolRun| run.text())?;
    let line = text.lines().map(str::trim).find(|line| line.starts_with(name));
    let number = line.and_then(|line| line.split_whitespace().last());
    number
        .with_context(|| format!("no {name} in:\n{text}"))?
        .parse()
        .with_context(|| format!("{name} is no number"))
}
