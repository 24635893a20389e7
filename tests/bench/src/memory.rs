//! Memory of processes, from `/proc`.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use ctdb_harness::{Cluster, Node};

/// Between two looks at a cluster. Each costs milliseconds of a processor.
const SAMPLING: Duration = Duration::from_millis(100);
/// For a daemon to start another one.
const START_LIMIT: Duration = Duration::from_secs(5);

/// Memory of one process, or of several, in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Memory {
    /// All that is resident, pages of mapped database files too.
    pub resident: u64,
    /// Its own: neither files nor shared.
    pub own: u64,
}

impl Memory {
    /// Of a process that lives.
    pub fn of(pid: u32) -> Result<Memory> {
        let path = format!("/proc/{pid}/status");
        let status = fs::read_to_string(&path).with_context(|| format!("reading {path}"))?;
        Ok(Memory {
            resident: field(&status, "VmRSS:"),
            own: field(&status, "RssAnon:") + field(&status, "RssShmem:"),
        })
    }
}

/// In kB, as the kernel says; absent for a process that is ending.
fn field(status: &str, name: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let number = line.and_then(|line| line.split_ascii_whitespace().next());
    number.and_then(|number| number.parse::<u64>().ok()).unwrap_or(0) * 1024
}

/// Of the nodes' daemons, the most of each number.
pub fn of_ctdbd(nodes: &[Node]) -> Result<Memory> {
    largest(nodes, |node| node.pid().context("a daemon does not run"))
}

/// Of the nodes' recovery daemons, the most of each number.
pub fn of_recoverd(nodes: &[Node]) -> Result<Memory> {
    largest(nodes, |node| {
        Ok(node.wait_process("ctdb_recoverd", START_LIMIT)?.pid)
    })
}

fn largest(nodes: &[Node], pid: impl Fn(&Node) -> Result<u32>) -> Result<Memory> {
    let mut largest = Memory::default();
    for node in nodes {
        let memory = Memory::of(pid(node)?)?;
        largest.resident = largest.resident.max(memory.resident);
        largest.own = largest.own.max(memory.own);
    }
    Ok(largest)
}

/// The own memory of all processes of the cluster together.
pub fn own_of_all(cluster: &Cluster) -> u64 {
    let processes = cluster.nodes().iter().flat_map(Node::processes);
    // One that has ended meanwhile has none.
    processes
        .map(|process| Memory::of(process.pid).unwrap_or_default().own)
        .sum()
}

/// The most that [`own_of_all`] becomes while `work` is done, and what comes of the work.
pub fn peak_during<T>(cluster: &Cluster, work: impl FnOnce() -> T) -> (u64, T) {
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let sampler = scope.spawn(|| {
            let mut peak = 0;
            while !done.load(Ordering::Relaxed) {
                peak = peak.max(own_of_all(cluster));
                thread::sleep(SAMPLING);
            }
            peak
        });
        let result = work();
        done.store(true, Ordering::Relaxed);
        let peak = sampler.join().unwrap_or_default();
        (peak, result)
    })
}
