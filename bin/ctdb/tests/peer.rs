//! Our tool beside Debian's (4.17.12), on Debian's daemons: the same words, the same output to the byte, the same exit code.
//!
//! One cluster serves all of it, as a start takes ten seconds; the order is: questions, errors, databases, changes of
//! state. What cannot be the same twice is masked, by name ([`Mask`]).

use std::fmt::Write as _;
use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use ctdb_harness::{Binaries, Cluster, Node, ToolRun, require_peer, run_limited};

const LIMIT: Duration = Duration::from_secs(60);

/// What may differ between two runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mask {
    /// Nothing.
    Nothing,
    /// Times and counters: numbers, and the blanks before them that make columns.
    Numbers,
    /// The sentences of the usage, which are our own.
    Sentences,
}

impl Mask {
    fn apply(self, text: &str) -> String {
        match self {
            Mask::Nothing => text.to_owned(),
            Mask::Numbers => without_numbers(text),
            Mask::Sentences => text.lines().map(|line| without_sentence(line) + "\n").collect(),
        }
    }
}

fn without_numbers(text: &str) -> String {
    let mut masked = String::new();
    for byte in text.chars() {
        if byte.is_ascii_digit() {
            if masked.ends_with('#') {
                continue;
            }
            masked.truncate(masked.trim_end_matches(' ').len());
            masked.push('#');
        } else {
            masked.push(byte);
        }
    }
    masked
}

/// `  name            arguments                    sentence`, and options likewise, without the sentence.
fn without_sentence(line: &str) -> String {
    let is_listed = line.starts_with("  ") && !line.starts_with("        ");
    let column = if line.starts_with("  -") || line.starts_with("      --") {
        25
    } else {
        45
    };
    if !is_listed && !line.starts_with("      --") {
        return line.to_owned();
    }
    // Long arguments move their sentence; it begins after two blanks then, too.
    let end = line
        .get(column..)
        .and_then(|rest| rest.find("  ").map(|at| column + at));
    let fits = line.get(column.saturating_sub(2)..column) == Some("  ");
    match (fits, end) {
        (false, Some(end)) => line[..end].to_owned(),
        _ => line.get(..column).unwrap_or(line).trim_end().to_owned(),
    }
}

/// The cluster and both tools.
struct Bench {
    cluster: Cluster,
    debian: Binaries,
    differences: String,
    runs: usize,
}

impl Bench {
    fn theirs(&self, node: usize, words: &[&str]) -> Result<ToolRun> {
        self.cluster.node(node).ctdb_of(&self.debian, words)
    }

    fn ours(&self, node: usize, words: &[&str]) -> Result<ToolRun> {
        run_ours(self.cluster.node(node), &self.debian, words)
    }

    /// Runs both tools with the same words on the same node.
    fn same(&mut self, node: usize, words: &[&str], mask: Mask) -> Result<()> {
        let theirs = self.theirs(node, words)?;
        let ours = self.ours(node, words)?;
        self.compare(&format!("{words:?} on node {node}"), &theirs, &ours, |text| {
            mask.apply(text)
        });
        Ok(())
    }

    fn compare(&mut self, what: &str, theirs: &ToolRun, ours: &ToolRun, mask: impl Fn(&str) -> String) {
        self.runs += 1;
        let parts = [
            ("output", theirs.text(), ours.text()),
            ("errors", theirs.errors(), ours.errors()),
            (
                "exit code",
                format!("{:?}", theirs.code),
                format!("{:?}", ours.code),
            ),
        ];
        for (part, one, other) in parts {
            if mask(&one) != mask(&other) {
                let _ = writeln!(
                    self.differences,
                    "--- {what}: {part}\nDebian's:\n{one}\nours:\n{other}"
                );
                if part == "exit code" {
                    let _ = writeln!(self.differences, "ours said: {}{}", ours.text(), ours.errors());
                }
            }
        }
    }

    fn finish(self) -> Result<()> {
        ensure!(
            self.differences.is_empty(),
            "of {} runs:\n{}",
            self.runs,
            self.differences
        );
        ensure!(self.runs > 100, "only {} runs were compared", self.runs);
        Ok(())
    }
}

/// Our tool with the environment that Debian's has.
fn run_ours(node: &Node, debian: &Binaries, words: &[&str]) -> Result<ToolRun> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ctdb"));
    for (name, value) in debian.tool_command().get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    // Our own program needs none of its libraries, but the helpers that it runs do.
    run_limited(node.in_this_node(&mut command).args(words), LIMIT)
}

type Part = fn(&mut Bench) -> Result<()>;

#[test]
fn our_tool_says_what_debians_says() -> Result<()> {
    let Some(debian) = require_peer() else {
        return Ok(());
    };
    let address = "10.99.88.77/24 lo\n";
    let cluster = Cluster::builder()
        .nodes(3, &debian)
        .public_addresses(0, address)
        // Between two recoveries C's recovery daemon waits ten seconds.
        .tunable("RerecoveryTimeout", 1)
        .build()?;
    cluster.start()?;
    cluster.wait_healthy(LIMIT)?;
    let mut bench = Bench {
        cluster,
        debian,
        differences: String::new(),
        runs: 0,
    };
    let parts: [(&str, Part); 13] = [
        ("questions", questions),
        ("errors", errors),
        ("usages", usages),
        ("databases", databases),
        ("records", records),
        ("transactions", transactions),
        ("backups", backups),
        ("settings", settings),
        ("changes of state", changes_of_state),
        ("recoveries", recoveries),
        ("nodes files", nodes_files),
        ("silent daemons", silent_daemons),
        ("nodes down", other_nodes_down),
    ];
    for (name, part) in parts {
        // What differs elsewhere is to be seen as well.
        let begun = Instant::now();
        if let Err(error) = part(&mut bench) {
            let _ = writeln!(bench.differences, "--- {name}: {error}");
        }
        println!("{name}: {:.1?}", begun.elapsed());
    }
    bench.finish()
}

/// Each in the forms for people and for scripts.
fn questions(bench: &mut Bench) -> Result<()> {
    for (question, mask) in [
        ("status", Mask::Nothing),
        ("nodestatus", Mask::Nothing),
        ("listnodes", Mask::Nothing),
        ("getcapabilities", Mask::Nothing),
        ("ip", Mask::Nothing),
        ("ifaces", Mask::Nothing),
        ("getdbmap", Mask::Nothing),
        ("statistics", Mask::Numbers),
        ("pnn", Mask::Nothing),
        ("leader", Mask::Nothing),
        ("getpid", Mask::Nothing),
        ("runstate", Mask::Nothing),
        ("uptime", Mask::Numbers),
        ("ping", Mask::Numbers),
        ("getreclock", Mask::Nothing),
        ("getdebug", Mask::Nothing),
        ("listvars", Mask::Nothing),
    ] {
        bench.same(0, &[question], mask)?;
        bench.same(0, &["-Y", question], mask)?;
        bench.same(0, &[question, "-X"], mask)?;
        bench.same(0, &["-x", "%", question, "-X", "-v"], mask)?;
        bench.same(1, &["-n", "2", question], mask)?;
    }
    for words in [
        &["nodestatus", "all"][..],
        &["nodestatus", "1,2"],
        &["nodestatus", "0x1,", "-X"],
        &["nodestatus", "9"],
        &["nodestatus", "zz"],
        &["runstate", "setup", "RUNNING"],
        &["runstate", "setup"],
        &["runstate", "foo"],
        &["runstate", "unknown"],
        &["getvar", "controlTIMEOUT"],
        &["getvar", "nope"],
        &["getvar", "MaxRedirectCount"],
        &["process-exists", "1"],
        &["process-exists", "abc", "0x12"],
        &["process-exists", "1", "zz"],
        &["ip", "all"],
        &["ip", "all", "-v"],
        &["ip", "all", "-vX"],
        &["ip", "-v"],
        &["ip", "-v", "-n", "1"],
        &["ipinfo", "10.99.88.77"],
        &["ipinfo", "10.99.88.77", "-n", "1"],
        &["ipinfo", "1.2.3.4"],
        &["ipinfo", "::1"],
        &["ipinfo", "foo"],
        &["ifaces", "-n", "1"],
        &["gettickles", "10.99.88.77"],
        &["gettickles", "10.99.88.77", "445", "-X"],
        &["gettickles", "1.2.3.4"],
        &["gettickles", "foo"],
        &["setifacelink", "nope", "up"],
        &["setifacelink", "a-name-that-is-too-long", "up"],
        &["event", "status", "legacy", "monitor"],
        &["event", "nonsense"],
        &["scriptstatus"],
        &["scriptstatus", "nope"],
        &["checktcpport", "0"],
        &["checktcpport", "abc"],
        &["version", "1"],
    ] {
        let mask = if words[0] == "version" {
            Mask::Numbers
        } else {
            Mask::Nothing
        };
        if mask == Mask::Nothing {
            bench.same(0, words, mask)?;
        } else {
            ensure!(bench.ours(0, words)?.ok()?.text().lines().count() == 1);
        }
    }
    // The tool itself is no client that the daemon looks for; its port is one that is taken.
    bench.same(0, &["stats", "2"], Mask::Numbers)?;
    bench.same(0, &["stats", "2", "-X"], Mask::Numbers)?;
    ensure!(bench.ours(0, &["recmaster"])?.text() == bench.theirs(0, &["leader"])?.text());
    Ok(())
}

/// Mistakes in the line.
fn errors(bench: &mut Bench) -> Result<()> {
    for words in [
        &["nope"][..],
        &["-"],
        &["-n", "1", "pnn"],
        &["-n", "7", "pnn"],
        &["-n", "7", "status"],
        &["-n", "-2", "status"],
        &["-n", "-1", "pnn"],
        &["-n", "", "pnn"],
        &["-n", "0x1", "getcapabilities"],
        &["-n", "abc", "status"],
        &["-n", "99999999999", "status"],
        &["-n", "0", "version"],
        &["-n", "0", "listnodes"],
        &["-n", "1", "attach", "a.tdb"],
        &["--foo", "status"],
        &["status", "-z"],
        &["-t"],
        &["-t", "x", "ping"],
        &["--timelimit=x", "ping"],
        &["--timelimit", "3", "pnn"],
        &["--node=0", "pnn"],
        &["--node", "pnn"],
        &["-v=1", "pnn"],
        &["--verbose=1", "pnn"],
        &["--verbose=", "pnn"],
        &["-verbose", "pnn"],
        &["-debug", "pnn"],
        &["-d", "nonsense", "pnn"],
        &["-timelimit", "3", "pnn"],
        &["--sep", "%", "pnn"],
        &["--Y", "pnn"],
        &["-Yx:", "getcapabilities"],
        &["-x=%", "-Y", "getcapabilities"],
        &["-x", "", "-Y", "getcapabilities"],
        &["--separator=", "-Y", "getcapabilities"],
        &["-T", "x", "pnn"],
        &["-T", "5", "pnn"],
        &["-T", "-1", "pnn"],
        &["-T", "0", "pnn"],
        &["getdbstatus", "none"],
        &["getdbstatus", "0x123"],
        &["getdbstatus", "0xzz"],
        &["catdb", "none"],
        &["pstore", "none", "a", "b"],
        &["readkey", "none", "a"],
        &["setvar", "nope", "1"],
        &["setvar", "ControlTimeout", "abc"],
        &["setvar", "ControlTimeout", "-3"],
        &["setdebug", "nonsense"],
        &["setdebug", "11"],
        &["ban", "0"],
        &["ban", "x"],
        &["ban", "-1"],
        &["unban"],
        &["enable"],
        &["continue"],
        &["reloadnodes"],
        &["restoredb", "/nonexistent"],
        &["dumpdbbackup", "/nonexistent"],
        &["tfetch", "/nonexistent", "a"],
        &["tstore", "/nonexistent", "a", "b"],
    ] {
        bench.same(0, words, Mask::Nothing)?;
    }
    Ok(())
}

/// The layout is popt's; the sentences are ours.
fn usages(bench: &mut Bench) -> Result<()> {
    for words in [
        &["-?"][..],
        &["--help"],
        &["status", "--usage"],
        &["getdbmap", "x"],
        &["--", "getdbmap", "-Y"],
        &["getvar"],
        &["setvar", "a"],
        &["ban"],
        &["sync", "x"],
        &["attach"],
        &["attach", "a", "nonsense"],
        &["readkey", "a", "b", "nonsense"],
        &["setlmasterrole", "maybe"],
        &["setifacelink", "lo", "sideways"],
        &["natgw"],
        &["lvs"],
        &["ip", "some"],
        &["nodestatus", "a", "b"],
        &["pfetch", "a"],
        &["runstate", "-?"],
        &["scriptstatus", "a", "b"],
        &["tstore", "a", "b", "c", "d", "e", "f"],
    ] {
        bench.same(0, words, Mask::Sentences)?;
    }
    for words in [&[][..], &["checktcpport"], &["dumpdbbackup"]] {
        let theirs = bench.theirs(0, words)?;
        let ours = bench.ours(0, words)?;
        ensure!(ours.code == theirs.code && ours.errors() == theirs.errors());
        // Commands that we do not have yet are missing from our list; the others stand in the same order.
        let masked = Mask::Sentences.apply(&theirs.text());
        let mut their_lines = masked.lines();
        for line in Mask::Sentences.apply(&ours.text()).lines() {
            ensure!(
                their_lines.any(|theirs| theirs == line),
                "{words:?}: only ours: {line:?}\n{masked}"
            );
        }
    }
    Ok(())
}

/// One of ours and one of theirs of each kind, with the same length of name; then everybody looks at all.
fn databases(bench: &mut Bench) -> Result<()> {
    for kind in [
        &[][..],
        &["persistent"],
        &["replicated"],
        &["readonly"],
        &["sticky"],
    ] {
        let kind_name = kind.first().unwrap_or(&"volatile");
        for tool in ["a", "b"] {
            let name = format!("{tool}-{kind_name}.tdb");
            let words: Vec<&str> = ["attach", &name].iter().chain(kind).copied().collect();
            let run = if tool == "a" {
                bench.theirs(0, &words)?
            } else {
                bench.ours(0, &words)?
            };
            ensure!(
                run.code == Some(0) && run.stdout.is_empty() && run.stderr.is_empty(),
                "{run:?}"
            );
        }
    }
    bench.same(0, &["getdbmap"], Mask::Nothing)?;
    bench.same(1, &["getdbmap", "-X"], Mask::Nothing)?;
    bench.same(1, &["getdbmap", "-n", "2"], Mask::Nothing)?;
    for name in ["a-volatile.tdb", "b-sticky.tdb", "a-readonly.tdb"] {
        look_at(bench, name)?;
    }
    // Of these kinds both: a question for the sequence number makes the C daemon store an empty record.
    for name in [
        "a-persistent.tdb",
        "b-persistent.tdb",
        "a-replicated.tdb",
        "b-replicated.tdb",
    ] {
        look_at(bench, name)?;
    }
    let id = bench.theirs(0, &["getdbmap"])?.text();
    let id = id
        .lines()
        .nth(1)
        .and_then(|line| line.get(5..15))
        .context("no database")?
        .to_owned();
    bench.same(0, &["getdbstatus", &id], Mask::Nothing)?;
    bench.same(0, &["dbstatistics", &id, "-n", "1"], Mask::Nothing)
}

fn look_at(bench: &mut Bench, name: &str) -> Result<()> {
    for command in ["getdbstatus", "getdbseqnum", "dbstatistics", "cattdb", "catdb"] {
        bench.same(0, &[command, name], Mask::Nothing)?;
    }
    bench.same(1, &["getdbstatus", name, "-n", "2"], Mask::Nothing)?;
    for command in ["setdbsticky", "setdbreadonly", "detach"] {
        bench.same(0, &[command, name], Mask::Nothing)?;
    }
    Ok(())
}

/// The same conversation about a database of their own with each tool.
fn flow(bench: &mut Bench, pair: [&str; 2], lines: &[(usize, &[&str])]) -> Result<()> {
    for (node, words) in lines {
        let with = |db: &str| -> Vec<String> { words.iter().map(|word| word.replace("DB", db)).collect() };
        let (a, b) = (with(pair[0]), with(pair[1]));
        let theirs = bench.theirs(*node, &a.iter().map(String::as_str).collect::<Vec<_>>())?;
        let ours = bench.ours(*node, &b.iter().map(String::as_str).collect::<Vec<_>>())?;
        bench.compare(&format!("{words:?} on node {node}"), &theirs, &ours, |text| {
            text.replace(pair[0], "DB").replace(pair[1], "DB")
        });
    }
    Ok(())
}

fn records(bench: &mut Bench) -> Result<()> {
    flow(
        bench,
        ["a-volatile.tdb", "b-volatile.tdb"],
        &[
            (0, &["writekey", "DB", "k", "value \"1\""]),
            (0, &["cattdb", "DB"]),
            (0, &["readkey", "DB", "k"]),
            (0, &["readkey", "DB", "k", "readonly"]),
            (1, &["readkey", "DB", "0x6b"]),
            (1, &["writekey", "DB", "0x00ff5c", "0x0022"]),
            (1, &["readkey", "DB", "0x00ff5c"]),
            (0, &["cattdb", "DB"]),
            (1, &["cattdb", "DB"]),
            (2, &["cattdb", "DB"]),
            (0, &["catdb", "DB"]),
            (1, &["writekey", "DB", "k", ""]),
            (1, &["deletekey", "DB", "0x00ff5c"]),
            (1, &["cattdb", "DB"]),
            (2, &["catdb", "DB"]),
            (0, &["readkey", "DB", "missing"]),
            (0, &["deletekey", "DB", "missing2"]),
            (0, &["writekey", "DB", "0x123", "v"]),
            (0, &["writekey", "DB", "k", "0xzz"]),
            (0, &["readkey", "DB", "0x123"]),
            (0, &["deletekey", "DB", "0xgg"]),
            (0, &["pstore", "DB", "k", "v"]),
            (0, &["pfetch", "DB", "k"]),
            (0, &["pdelete", "DB", "k"]),
            (0, &["ptrans", "DB"]),
        ],
    )
}

fn transactions(bench: &mut Bench) -> Result<()> {
    let lines = "\"ka\" \"va\"\nignored\n\"kb\"\"0x7662\" rest\n\"k\" \"\"\n\"open\n\"\" \"v\"\n";
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("lines");
    fs::write(&file, lines)?;
    let file = file.to_str().context("the temporary directory's name")?;
    for pair in [
        ["a-persistent.tdb", "b-persistent.tdb"],
        ["a-replicated.tdb", "b-replicated.tdb"],
    ] {
        flow(
            bench,
            pair,
            &[
                (0, &["pstore", "DB", "k", "v"]),
                (1, &["pfetch", "DB", "k"]),
                (1, &["pstore", "DB", "0x6b32", "0x76007a"]),
                (0, &["pfetch", "DB", "k2"]),
                (0, &["pfetch", "DB", "missing"]),
                (0, &["cattdb", "DB"]),
                (2, &["catdb", "DB"]),
                (1, &["pdelete", "DB", "k2"]),
                (1, &["pdelete", "DB", "missing"]),
                (0, &["cattdb", "DB"]),
                (0, &["ptrans", "DB", file]),
                (2, &["cattdb", "DB"]),
                (0, &["getdbseqnum", "DB"]),
                (0, &["ptrans", "DB", "/nonexistent"]),
                (0, &["pstore", "DB", "0x123", "a"]),
                (0, &["pstore", "DB", "k", "0xzz"]),
                (0, &["pfetch", "DB", "0xzz"]),
                (0, &["writekey", "DB", "k", "v"]),
                (0, &["readkey", "DB", "k"]),
                (0, &["deletekey", "DB", "k"]),
                (0, &["setdbsticky", "DB"]),
            ],
        )?;
    }
    Ok(())
}

/// A backup of each tool is restored by the other.
fn backups(bench: &mut Bench) -> Result<()> {
    let dir = tempfile::tempdir()?;
    let path = |name: &str| dir.path().join(name).display().to_string();
    let (theirs, ours) = (path("one"), path("two"));
    // Without empty records, of deleted ones or of those that are elsewhere: C's daemon fails to store them on some nodes.
    bench.ours(0, &["attach", "whole.tdb"])?.ok()?;
    bench.ours(0, &["writekey", "whole.tdb", "k0", "v0"])?.ok()?;
    bench.ours(0, &["writekey", "whole.tdb", "k1", "v1"])?.ok()?;
    for db in ["a-persistent.tdb", "whole.tdb"] {
        let said = bench.theirs(0, &["backupdb", db, &theirs])?;
        let mine = bench.ours(0, &["backupdb", db, &ours])?;
        bench.compare("backupdb", &said, &mine, |text| {
            text.replace(&theirs, "F").replace(&ours, "F")
        });
        let (mut one, mut two) = (fs::read(&theirs)?, fs::read(&ours)?);
        // The time of the backup, and the number of the database in the one buffer, which C's tool leaves to chance.
        for bytes in [&mut one, &mut two] {
            bytes[8..16].fill(0);
            bytes[104..108].fill(0);
        }
        ensure!(
            one == two,
            "{db}: the backups differ: {} and {} bytes",
            one.len(),
            two.len()
        );
        bench.same(0, &["dumpdbbackup", &ours], Mask::Nothing)?;
        bench.same(0, &["restoredb", &ours], Mask::Nothing)?;
        bench.same(0, &["restoredb", &theirs], Mask::Nothing)?;
        bench.same(0, &["cattdb", db], Mask::Nothing)?;
        // C's tool would not cut what was there before.
        fs::remove_file(&theirs)?;
    }
    let file = fs::read(&ours)?;
    fs::write(&ours, [&[2][..], &file[1..]].concat())?;
    bench.same(0, &["dumpdbbackup", &ours], Mask::Nothing)?;
    bench.same(0, &["restoredb", &ours], Mask::Nothing)?;
    bench.same(0, &["wipedb", "a-persistent.tdb"], Mask::Nothing)?;
    bench.same(0, &["cattdb", "a-persistent.tdb"], Mask::Nothing)?;
    bench.same(0, &["wipedb", "nope"], Mask::Nothing)?;
    let database = bench
        .cluster
        .node(0)
        .persistent_db("b-persistent.tdb")
        .display()
        .to_string();
    bench.same(0, &["tstore", &database, "raw", "v", "77", "2"], Mask::Nothing)?;
    bench.same(0, &["tfetch", &database, "raw"], Mask::Nothing)?;
    bench.same(0, &["tfetch", &database, "raw", &ours], Mask::Nothing)?;
    bench.same(0, &["tfetch", &database, "none"], Mask::Nothing)
}

fn settings(bench: &mut Bench) -> Result<()> {
    for words in [
        &["setvar", "controltimeout", "0x3d"][..],
        &["getvar", "ControlTimeout"],
        &["setvar", "ControlTimeout", "60"],
        &["setdebug", "not", "-n", "1"],
        &["getdebug", "-n", "1"],
        &["setdebug", "9", "-n", "1"],
        &["getdebug", "-n", "1"],
        &["statisticsreset"],
        &["setifacelink", "lo", "down"],
        &["status"],
        &["status", "-X"],
        &["ifaces"],
        &["ifaces", "-X"],
        &["setifacelink", "lo", "up"],
        // Some time after these there are recoveries.
        &["setlmasterrole", "off", "-n", "1"],
        &["getcapabilities", "-n", "1"],
        &["setlmasterrole", "on", "-n", "1"],
        &["setleaderrole", "off", "-n", "1"],
        &["getcapabilities", "-n", "1", "-X"],
        &["setleaderrole", "on", "-n", "1"],
    ] {
        bench.same(0, words, Mask::Nothing)?;
    }
    Ok(())
}

/// Each change by our tool; what it has come to, and that it is there already, both tools say.
fn changes_of_state(bench: &mut Bench) -> Result<()> {
    for words in [
        &["disable"][..],
        &["enable"],
        &["stop"],
        &["continue"],
        &["ban", "600"],
        &["unban"],
    ] {
        let words: Vec<&str> = ["-n", "1"].iter().chain(words).copied().collect();
        let run = bench.ours(0, &words)?;
        ensure!(
            run.code == Some(0) && run.stdout.is_empty() && run.stderr.is_empty(),
            "{words:?}: {run:?}"
        );
        bench.same(0, &words, Mask::Nothing)?;
        bench.same(0, &["nodestatus", "all"], Mask::Nothing)?;
        bench.same(0, &["nodestatus", "1", "-X"], Mask::Nothing)?;
        bench.same(1, &["nodestatus"], Mask::Nothing)?;
    }
    bench.cluster.wait_healthy(LIMIT)?;
    bench.same(0, &["ipreallocate"], Mask::Nothing)?;
    bench.same(0, &["sync"], Mask::Nothing)
}

/// Ours comes back as soon as there is a new generation.
fn recoveries(bench: &mut Bench) -> Result<()> {
    let generation = |bench: &Bench| -> Result<String> {
        let status = bench.theirs(0, &["status"])?.ok()?.text();
        let line = status.lines().find(|line| line.starts_with("Generation:"));
        Ok(line.context("no generation")?.to_owned())
    };
    let before = generation(bench)?;
    bench.same(0, &["recover"], Mask::Nothing)?;
    let between = generation(bench)?;
    ensure!(before != between, "the generation is still {before}");
    let begun = Instant::now();
    let run = bench.ours(1, &["recover", "-n", "2"])?;
    ensure!(run.code == Some(0), "{run:?} after {:?}", begun.elapsed());
    ensure!(generation(bench)? != between, "the generation is still {between}");
    Ok(())
}

fn nodes_files(bench: &mut Bench) -> Result<()> {
    let path = bench.cluster.node(0).base().join("nodes");
    let good = fs::read_to_string(&path)?;
    let first = good.lines().next().context("an empty nodes file")?.to_owned();
    let changed = [
        ("no comment", good.replace(&first, "# gone")),
        ("another address", good.replace(&first, "127.1.1.1")),
        (
            "a line less",
            good.lines().take(2).map(|line| format!("{line}\n")).collect(),
        ),
    ];
    for (what, text) in changed {
        // On one node first, then on all: the same and wrong.
        fs::write(&path, &text)?;
        bench.same(0, &["reloadnodes"], Mask::Nothing).context(what)?;
        bench.same(1, &["reloadnodes"], Mask::Nothing).context(what)?;
        for node in bench.cluster.nodes() {
            fs::write(node.base().join("nodes"), &text)?;
        }
        bench.same(0, &["reloadnodes"], Mask::Nothing).context(what)?;
        bench.same(0, &["listnodes"], Mask::Nothing).context(what)?;
        for node in bench.cluster.nodes() {
            fs::write(node.base().join("nodes"), &good)?;
        }
    }
    fs::remove_file(&path)?;
    bench.same(0, &["listnodes"], Mask::Nothing)?;
    bench.same(0, &["reloadnodes"], Mask::Nothing)?;
    fs::write(&path, good)?;
    Ok(())
}

/// A daemon that does not answer: the limits of an answer and of the whole run.
fn silent_daemons(bench: &mut Bench) -> Result<()> {
    bench.cluster.node(1).pause()?;
    bench.same(0, &["-t", "1", "-n", "1", "ping"], Mask::Nothing)?;
    bench.same(
        0,
        &["-t", "1", "-n", "1", "getvar", "ControlTimeout"],
        Mask::Nothing,
    )?;
    bench.same(1, &["-T", "1", "ping"], Mask::Nothing)?;
    bench.cluster.node(1).resume()?;
    bench.cluster.wait_healthy(LIMIT)?;
    Ok(())
}

/// What is said about nodes that are gone, and by a tool without a daemon.
fn other_nodes_down(bench: &mut Bench) -> Result<()> {
    let run = bench.ours(0, &["shutdown", "-n", "2"])?;
    ensure!(run.code == Some(0) && run.stdout.is_empty(), "{run:?}");
    bench.cluster.node(2).wait_end(LIMIT)?;
    bench.cluster.wait_healthy(LIMIT)?;
    for words in [
        &["status"][..],
        &["status", "-X"],
        &["nodestatus", "all"],
        &["nodestatus", "2"],
        &["-n", "2", "ping"],
        &["reloadnodes"],
        &["ip", "all"],
    ] {
        bench.same(0, words, Mask::Nothing)?;
    }
    let run = bench.ours(1, &["shutdown"])?;
    ensure!(run.code == Some(0) && run.stdout.is_empty(), "{run:?}");
    bench.cluster.node(1).wait_end(LIMIT)?;
    for words in [
        &["status"][..],
        &["pnn"],
        &["version", "-n", "1"],
        &["listnodes"],
        &["nope"],
        &["scriptstatus"],
    ] {
        bench.same(1, words, Mask::Nothing)?;
    }
    let nodes = bench.cluster.node(1).base().join("nodes");
    fs::write(&nodes, "1.2.3.4\n")?;
    bench.same(1, &["status"], Mask::Nothing)?;
    fs::remove_file(&nodes)?;
    bench.same(1, &["status"], Mask::Nothing)
}
