//! All nodes together.

use std::env;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::Signal;
use tempfile::TempDir;

use crate::addresses::LoopbackBlock;
use crate::builder::ClusterBuilder;
use crate::node::Node;
use crate::processes;
use crate::state::{NodeState, RunState};
use crate::wait::wait_until;

/// A generation that no recovery has made.
const INVALID_GENERATION: u32 = 1;
/// An orderly end, with time for a daemon that waits for a lock.
const STOP_LIMIT: Duration = Duration::from_secs(30);

/// A cluster in its own directory. Dropping it ends its processes and removes the directory.
#[derive(Debug)]
pub struct Cluster {
    // Before the directory, so that the addresses are free again when it goes.
    _addresses: LoopbackBlock,
    nodes: Vec<Node>,
    root: PathBuf,
    dir: Option<TempDir>,
}

impl Cluster {
    /// Begins the description of a cluster.
    pub fn builder() -> ClusterBuilder {
        ClusterBuilder::new()
    }

    pub(crate) fn new(dir: TempDir, root: PathBuf, addresses: LoopbackBlock, nodes: Vec<Node>) -> Cluster {
        Cluster {
            _addresses: addresses,
            nodes,
            root,
            dir: Some(dir),
        }
    }

    /// All nodes by number.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// One node.
    ///
    /// # Panics
    /// There is no such node.
    pub fn node(&self, pnn: usize) -> &Node {
        &self.nodes[pnn]
    }

    /// Where everything of this cluster is.
    pub fn dir(&self) -> &Path {
        &self.root
    }

    /// The cluster lock, if it is a file.
    pub fn lock_file(&self) -> PathBuf {
        self.root.join("shared/cluster.lock")
    }

    /// Starts all nodes that do not run, without waiting for them.
    ///
    /// # Errors
    /// A daemon cannot be started.
    pub fn start(&self) -> Result<()> {
        self.nodes
            .iter()
            .filter(|node| !node.is_running())
            .try_for_each(Node::start)
    }

    /// The numbers of the nodes that run.
    pub fn running(&self) -> Vec<usize> {
        self.nodes
            .iter()
            .filter(|node| node.is_running())
            .map(Node::pnn)
            .collect()
    }

    /// Waits until the running nodes are a healthy cluster without the others; see
    /// [`wait_healthy_among`](Cluster::wait_healthy_among).
    ///
    /// # Errors
    /// They are not within `limit`.
    pub fn wait_healthy(&self, limit: Duration) -> Result<Duration> {
        let running = self.running();
        ensure!(!running.is_empty(), "no node runs");
        self.wait_healthy_among(&running, limit)
    }

    /// Waits until the named nodes are a healthy cluster: each one is RUNNING and in recovery mode NORMAL, sees all
    /// of them as OK and all others as not OK, and has the same valid generation and a vnn map of exactly them. So
    /// after the loss of a node this is the state *after* the recovery, not the moments before anyone noticed.
    ///
    /// # Errors
    /// They are not within `limit`, or a named node has ended: what each one said last, and the ends of the logs.
    pub fn wait_healthy_among(&self, pnns: &[usize], limit: Duration) -> Result<Duration> {
        let start = Instant::now();
        let what = format!("nodes {pnns:?} to be OK");
        let look = || {
            let states = pnns.iter().map(|&pnn| {
                let node = self.node(pnn);
                if let Some(status) = node.exit_status() {
                    return Ok(Err(status));
                }
                node.state().map(Ok).with_context(|| format!("node {pnn}"))
            });
            let states: Vec<Result<NodeState, _>> = states.collect::<Result<_>>()?;
            let ended = states.iter().position(Result::is_err);
            let states: Vec<NodeState> = states.into_iter().flatten().collect();
            if ended.is_none() {
                self.check_healthy(pnns, &states)?;
            }
            Ok(ended)
        };
        let failed = match wait_until(&what, limit, look) {
            Ok((None, _)) => return Ok(start.elapsed()),
            Ok((Some(ended), _)) => anyhow::anyhow!("waited for {what}, but node {} has ended", pnns[ended]),
            Err(failed) => failed,
        };
        Err(failed.context(self.log_tails(15)))
    }

    fn check_healthy(&self, pnns: &[usize], states: &[NodeState]) -> Result<()> {
        let lmasters: Vec<u32> = pnns
            .iter()
            .filter(|&&pnn| self.node(pnn).lmaster)
            .map(|&pnn| pnn as u32)
            .collect();
        let generation = states
            .first()
            .map_or(INVALID_GENERATION, |state| state.generation);
        for (pnn, state) in pnns.iter().zip(states) {
            let flags_fit = |(other, flags): (usize, &u32)| pnns.contains(&other) == (*flags == 0);
            let mut vnnmap = state.vnnmap.clone();
            vnnmap.sort_unstable();
            let healthy = state.runstate == RunState::Running
                && !state.recovering
                && state.generation == generation
                && generation != INVALID_GENERATION
                && vnnmap == lmasters
                && state.flags.len() == self.nodes.len()
                && state.flags.iter().enumerate().all(flags_fit);
            ensure!(
                healthy,
                "node {pnn}: {state:?}, the first one has generation {generation}"
            );
        }
        Ok(())
    }

    /// The leader, as the running nodes hear it.
    ///
    /// # Errors
    /// No leader has broadcast for five seconds, or it is not one of the running nodes.
    pub fn leader(&self) -> Result<usize> {
        let running = self.running();
        let first = running.first().context("no node runs")?;
        let leader = self.node(*first).leader()?;
        ensure!(
            running.contains(&leader),
            "node {leader} is said to lead, but it does not run"
        );
        Ok(leader)
    }

    /// The generation of the first running node.
    ///
    /// # Errors
    /// None answers.
    pub fn generation(&self) -> Result<u32> {
        let running = self.running();
        let first = running.first().context("no node runs")?;
        Ok(self.node(*first).state()?.generation)
    }

    /// Shuts all running nodes down in order and waits for their end.
    ///
    /// # Errors
    /// One does not end in time.
    pub fn stop(&self) -> Result<()> {
        let running = self.running();
        thread::scope(|scope| {
            let ends: Vec<_> = running
                .iter()
                .map(|&pnn| scope.spawn(move || self.node(pnn).shutdown(STOP_LIMIT)))
                .collect();
            for (end, pnn) in ends.into_iter().zip(&running) {
                match end.join() {
                    Ok(ended) => ended.map(|_| ()).with_context(|| format!("node {pnn}"))?,
                    Err(_) => bail!("the thread that stops node {pnn} panicked"),
                }
            }
            Ok(())
        })
    }

    /// The last lines of each node's log.
    pub fn log_tails(&self, lines: usize) -> String {
        let tail = |node: &Node| {
            let (pnn, name) = (node.pnn(), node.binaries().name());
            format!(
                "--- the end of the log of node {pnn} ({name})\n{}\n",
                node.log_tail(lines)
            )
        };
        self.nodes.iter().map(tail).collect()
    }

    /// Ends every process of the cluster, orphans included.
    pub fn kill_all(&self) {
        self.nodes.iter().for_each(Node::kill_all);
        // What a test has started by itself in the environment of a node.
        processes::below(&self.root)
            .iter()
            .for_each(|process| process.signal(Signal::SIGKILL));
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("{}", self.log_tails(40));
        }
        self.kill_all();
        if env::var_os("CTDB_TEST_KEEP").is_some() {
            let kept = self.dir.take().map(TempDir::keep).unwrap_or_default();
            eprintln!("kept: {}", kept.display());
        }
    }
}
