//! Every command of both tools against both daemons: four runs, one output. What may differ from run to run or from
//! cluster to cluster (times, process ids, addresses, directories, generations) is masked by name.
#![allow(clippy::unwrap_used)]

use std::fmt::Write as _;
use std::time::Duration;

use ctdb_harness::{Binaries, Cluster, require_peer};

const LIMIT: Duration = Duration::from_secs(60);

/// What is run, in this order: commands change what later ones see, in the same way on both clusters.
const COMMANDS: &[&str] = &[
    // Nodes and state.
    "status",
    "-X status",
    "-Y status",
    "-Y -x , status",
    "status -n 1",
    "nodestatus",
    "nodestatus all",
    "nodestatus 0,2",
    "-X nodestatus all",
    "listnodes",
    "-X listnodes",
    "ping",
    "-n 2 ping",
    "pnn",
    "leader",
    "runstate",
    "runstate running",
    "runstate RUNNING startup",
    "runstate setup",
    "runstate nonsense",
    "uptime",
    "getpid",
    "getcapabilities",
    "-X getcapabilities",
    "getreclock",
    "getdebug",
    "setdebug NOTICE",
    "getdebug",
    "setdebug 9",
    "getdebug",
    "setdebug nonsense",
    "setdebug ERROR",
    // Tunables.
    "getvar ControlTimeout",
    "getvar nosuchtunable",
    "setvar ControlTimeout 61",
    "getvar controltimeout",
    "setvar ControlTimeout 60",
    "setvar VacuumLimit 5",
    "setvar nosuchtunable 5",
    "listvars",
    // Databases.
    "getdbmap",
    "attach volatile.tdb",
    "attach persistent.tdb persistent",
    "attach replicated.tdb replicated",
    "attach bad.tdb nonsense",
    "getdbmap",
    "-X getdbmap",
    "getdbstatus volatile.tdb",
    "getdbstatus persistent.tdb",
    "getdbstatus nosuch.tdb",
    "getdbstatus 0x12345678",
    "writekey volatile.tdb key1 value1",
    "writekey volatile.tdb key2 0x00ff22",
    "writekey volatile.tdb 0x00 zero",
    "-n 1 ping",
    "readkey volatile.tdb key1",
    "readkey volatile.tdb key2",
    "readkey volatile.tdb missing",
    "readkey volatile.tdb 0x123",
    "readkey persistent.tdb key1",
    "cattdb volatile.tdb",
    "deletekey volatile.tdb key1",
    "readkey volatile.tdb key1",
    "cattdb volatile.tdb",
    "pstore persistent.tdb key1 value1",
    "pstore persistent.tdb key2 0x0102",
    "pfetch persistent.tdb key1",
    "pfetch persistent.tdb key2",
    "pfetch persistent.tdb missing",
    "pfetch volatile.tdb key1",
    "pdelete persistent.tdb key1",
    "pfetch persistent.tdb key1",
    "cattdb persistent.tdb",
    "pstore replicated.tdb key1 value1",
    "pfetch replicated.tdb key1",
    "cattdb replicated.tdb",
    "catdb persistent.tdb",
    "catdb replicated.tdb",
    "getdbseqnum persistent.tdb",
    // Processes.
    "process-exists 1",
    "process-exists 1 0x1234",
    // Node administration.
    "disable",
    "disable",
    "nodestatus",
    "-X status",
    "enable",
    "enable",
    "stop -n 2",
    "-n 2 stop",
    // No `status`: when the recovery without the node comes is up to the daemon.
    "nodestatus all",
    "-n 2 continue",
    "-n 2 continue",
    "-n 2 ban 100",
    "-n 2 ban 100",
    "nodestatus all",
    "-n 2 unban",
    "-n 2 unban",
    "ban 0",
    "recover",
    "status",
    "reloadnodes",
    // Misuse.
    "",
    "nonsense",
    "status extra",
    "getvar",
    "setvar ControlTimeout",
    "-n 9 status",
    "-n x status",
    "-n 1 pnn",
    "-n 1 getdbseqnum persistent.tdb",
    "--nonsense",
    "pstore nosuch.tdb k v",
    "attach",
    "ban",
    "-n 2 shutdown",
];

/// Commands whose text is our own: usages (same shape, own sentences).
fn is_usage(command: &str) -> bool {
    let misused = [
        "",
        "status extra",
        "getvar",
        "setvar ControlTimeout",
        "attach",
        "ban",
        "attach bad.tdb nonsense",
    ];
    misused.contains(&command)
}

/// A cluster of three nodes, healthy, of one kind of daemon.
fn cluster_of(daemons: &Binaries) -> Cluster {
    let cluster = Cluster::builder().nodes(3, daemons).build().unwrap();
    cluster.start().unwrap();
    cluster.wait_healthy(LIMIT).unwrap();
    cluster
}

/// Runs all commands with one tool; the masked transcript of each.
fn transcript(cluster: &Cluster, tool: &Binaries) -> Vec<String> {
    COMMANDS
        .iter()
        .map(|command| {
            if settles(command) {
                cluster.wait_healthy(LIMIT).unwrap();
            }
            let args: Vec<&str> = command.split_whitespace().collect();
            let run = cluster.node(0).ctdb_of(tool, &args).unwrap();
            let mut text = format!("$ ctdb {command}\nexit status {:?}\n", run.code);
            if !is_usage(command) {
                let _ = write!(text, "{}--- errors\n{}", run.text(), run.errors());
            }
            if *command == "leader" {
                "$ ctdb leader".to_owned()
            } else {
                mask(cluster, &text)
            }
        })
        .collect()
}

/// Before these the cluster has to be in order again, so that all four runs see the same.
fn settles(command: &str) -> bool {
    ["recover", "reloadnodes"].contains(&command)
}

/// Hides what differs between clusters and runs.
fn mask(cluster: &Cluster, text: &str) -> String {
    let mut text = text.replace(&cluster.dir().display().to_string(), "DIR");
    for node in cluster.nodes() {
        text = text.replace(&node.address().to_string(), &format!("ADDRESS{}", node.pnn()));
    }
    let lines: Vec<String> = text.lines().map(mask_line).collect();
    lines.join("\n")
}

fn mask_line(line: &str) -> String {
    let keep = |prefix: &str| format!("{prefix}...");
    for prefix in [
        "Generation:",
        "Current time of node",
        "Ctdbd start time",
        "Time of last recovery",
        "Duration of last",
    ] {
        if line.starts_with(prefix) {
            return keep(prefix);
        }
    }
    if let Some((before, after)) = line.split_once(" time=") {
        let clients = after.split_once("  (").map_or("", |(_, rest)| rest);
        return format!("{before} time=...  ({clients}");
    }
    // `getpid` and addresses padded to a column.
    if line.chars().all(|c| c.is_ascii_digit()) && line.len() >= 3 {
        return "NUMBER".to_owned();
    }
    if line.starts_with("pnn:") {
        return line.split_whitespace().collect::<Vec<_>>().join(" ");
    }
    if line.starts_with("Leader:") || line.starts_with("rsn:") || line.starts_with("dmaster:") {
        return line.split(':').next().unwrap_or_default().to_owned() + ":...";
    }
    line.to_owned()
}

/// Differences between two transcripts, as an operator would want them.
fn differences(what: &str, a: &[String], b: &[String]) -> String {
    let mut text = String::new();
    for (a, b) in a.iter().zip(b) {
        if a != b {
            let _ = write!(text, "==== {what}\n{a}\n---- but\n{b}\n");
        }
    }
    text
}

#[test]
fn both_tools_say_the_same_of_both_daemons() {
    let Some(debian) = require_peer() else { return };
    let ours = Binaries::ours().unwrap();
    let run = |daemons: &Binaries, tool: &Binaries| {
        let cluster = cluster_of(daemons);
        transcript(&cluster, tool)
    };
    let (reference, their_tool, our_tool, all_ours) = std::thread::scope(|scope| {
        let reference = scope.spawn(|| run(&debian, &debian));
        let their_tool = scope.spawn(|| run(&ours, &debian));
        let our_tool = scope.spawn(|| run(&debian, &ours));
        let all_ours = scope.spawn(|| run(&ours, &ours));
        let joined = |run: std::thread::ScopedJoinHandle<'_, Vec<String>>| run.join().unwrap();
        (
            joined(reference),
            joined(their_tool),
            joined(our_tool),
            joined(all_ours),
        )
    });
    let found = differences("their tool: their daemon, our daemon", &reference, &their_tool)
        + &differences("their daemon: their tool, our tool", &reference, &our_tool)
        + &differences("theirs throughout, ours throughout", &reference, &all_ours);
    assert!(found.is_empty(), "{found}");
}
