//! Our reading of `ctdb.conf` and of paths against Debian's own tools, where they are unpacked (`CTDB_PEER`, default /tmp/peer).

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use ctdb_conf::command_line::Said;
use ctdb_conf::{Config, Paths, tool};

/// What 4.17 does not have yet, or where its default differs (its tool says ERROR, its daemon uses NOTICE).
const NEWER_LINES: [&str; 4] = [
    "\t# nodes list = ",
    "\t# shutdown extra timeout = 0",
    "\t# shutdown failover timeout = 10",
    "\t# log level = NOTICE",
];

struct Peer {
    tools: PathBuf,
    libraries: String,
    base: tempfile::TempDir,
}

impl Peer {
    /// The unpacked package, or a line that says why the test does nothing.
    fn find(test: &str) -> Option<Peer> {
        let root = PathBuf::from(env::var_os("CTDB_PEER").unwrap_or_else(|| "/tmp/peer".into()));
        let tools = root.join("usr/libexec/ctdb");
        if !tools.join("ctdb-config").exists() || !tools.join("ctdb-path").exists() {
            println!(
                "skipped {test}: no ctdb-config and ctdb-path in {}",
                tools.display()
            );
            return None;
        }
        let mut libraries = Vec::new();
        directories(&root.join("usr/lib"), &mut libraries);
        Some(Peer {
            tools,
            libraries: libraries.join(":"),
            base: tempfile::tempdir().expect("a temporary directory"),
        })
    }

    fn run(&self, tool: &str, args: &[&str]) -> Output {
        Command::new(self.tools.join(tool))
            .args(args)
            .env("LD_LIBRARY_PATH", &self.libraries)
            .env("CTDB_TEST_MODE", "1")
            .env("CTDB_BASE", self.base.path())
            .env_remove("CTDB_SOCKET")
            .output()
            .expect("the tool is there and can run")
    }

    fn paths(&self) -> Paths {
        Paths::in_base(self.base.path())
    }
}

fn directories(at: &Path, found: &mut Vec<String>) {
    found.push(at.display().to_string());
    for entry in fs::read_dir(at).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            directories(&entry.path(), found);
        }
    }
}

#[test]
fn the_dump_is_that_of_debians_tool() {
    let Some(peer) = Peer::find("the_dump_is_that_of_debians_tool") else {
        return;
    };
    let texts = [
        "",
        "[cluster]\n leader timeout = 0x7\n cluster lock = !a   b\t\tc \\\n d\n[LEGACY]\n start as stopped = YES\n",
        "[cluster]\n leader timeout = 9 # s\n words\n[nosuch]\n a = b\n[legacy] x = y\n script log level = info\n",
        "[database]\n volatile database directory = /tmp\n[cluster]\n node address = fd00::1\n transport = tcp\n",
    ];
    for text in texts {
        fs::write(peer.paths().config(), text).unwrap();
        let theirs = peer.run("ctdb-config", &["dump"]);
        let theirs = String::from_utf8(theirs.stdout).unwrap();
        let theirs: Vec<&str> = theirs
            .lines()
            .filter(|line| *line != "\t# log level = ERROR")
            .collect();
        let ours = Config::load(&peer.paths()).unwrap().dump();
        let ours: Vec<&str> = ours.lines().filter(|line| !NEWER_LINES.contains(line)).collect();
        assert_eq!(ours, theirs, "{text}");
    }
}

#[test]
fn a_file_is_valid_here_when_it_is_valid_there() {
    let Some(peer) = Peer::find("a_file_is_valid_here_when_it_is_valid_there") else {
        return;
    };
    let bodies = [
        "[cluster]\n leader timeout = 0\n",
        "[cluster]\n leader timeout = 5x\n",
        "[cluster]\n leader timeout = \n",
        "[cluster]\n LEADER timeout = 9\n",
        "leader timeout = 3\n",
        "[ cluster ]\n leader timeout = 3\n",
        "[cluster]\n transport = ib\n",
        "[cluster]\n recovery lock = /x\n",
        "[database]\n tdb mutexes = on\n",
        "[database]\n state database directory = /nonexistent\n",
        "[logging]\n location = syslog:foo\n",
        "[logging]\n location = file:/nonexistent/foo\n",
        "[logging]\n location = file:\n log level = 5\n",
        "[logging]\n log level = e\n",
        "[event]\n debug script = foo\n",
        "[legacy]\n script log level = x\n",
    ];
    for text in bodies {
        fs::write(peer.paths().config(), text).unwrap();
        let theirs = peer.run("ctdb-config", &["validate"]).status.code();
        let ours = match Config::load(&peer.paths()) {
            Ok(config) if config.is_strictly_valid() => 0,
            Ok(_) => 22,
            Err(error) => error.errno(),
        };
        assert_eq!(Some(ours), theirs, "{text}");
    }
}

#[test]
fn paths_are_those_of_debians_tool() {
    let Some(peer) = Peer::find("paths_are_those_of_debians_tool") else {
        return;
    };
    let theirs = |args: &[&str]| {
        PathBuf::from(
            String::from_utf8(peer.run("ctdb-path", args).stdout)
                .unwrap()
                .trim_end(),
        )
    };
    let ours = peer.paths();
    assert_eq!(ours.config(), theirs(&["config"]));
    assert_eq!(ours.pid_file("eventd"), theirs(&["pidfile", "eventd"]));
    assert_eq!(ours.socket("ctdbd"), theirs(&["socket", "ctdbd"]));
    assert_eq!(ours.data_dir, theirs(&["datadir"]));
    assert_eq!(ours.etc("x/y"), theirs(&["etcdir", "append", "x/y"]));
    assert_eq!(ours.var_dir, theirs(&["vardir"]));
    assert_eq!(ours.lock_dir, theirs(&["rundir"]));
}

#[test]
fn the_tools_say_what_debians_tools_say() {
    let Some(peer) = Peer::find("the_tools_say_what_debians_tools_say") else {
        return;
    };
    fs::write(peer.paths().config(), "[cluster]\n leader timeout = 8\n").unwrap();
    let config: [&[&str]; 9] = [
        &["get", "cluster", "leader timeout"],
        &["get", "CLUSTER", "cluster lock"],
        &["get", "cluster", "nosuch"],
        &["get", "a"],
        &["dump", "x"],
        &["validate"],
        &["nosuch"],
        &["-x"],
        &[],
    ];
    for args in config {
        compare(
            "ctdb-config",
            args,
            tool::config(&strings(args), Ok(peer.paths())),
            peer.run("ctdb-config", args),
        );
    }
    let path: [&[&str]; 8] = [
        &["config"],
        &["config", "x"],
        &["socket"],
        &["socket", "ctdbd"],
        &["etcdir", "append"],
        &["etcdir", "append", "a//b/"],
        &["vardir"],
        &["rundir", "append", "x"],
    ];
    for args in path {
        compare(
            "ctdb-path",
            args,
            tool::path(&strings(args), Ok(peer.paths())),
            peer.run("ctdb-path", args),
        );
    }
}

fn strings(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

fn compare(tool: &str, args: &[&str], ours: Said, theirs: Output) {
    let out = String::from_utf8(theirs.stdout).expect("text");
    assert_eq!(
        (ours.out, Some(i32::from(ours.code))),
        (out, theirs.status.code()),
        "{tool} {args:?}"
    );
}
