//! Our daemon with Debian's tool and our tool with Debian's daemon, where the package is unpacked (`CTDB_PEER`, default /tmp/peer).
//! What differs between 4.17 and today's upstream is kept out of the scripts here: today's tool shows the output of scripts
//! that succeeded, and today's daemon takes a missing interpreter for "disabled".

use std::env;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use ctdb_conf::{Config, Paths};
use ctdb_events::server::{Options, serve};
use ctdb_events::tool::{self, Said};
use ctdb_runtime::{Handle, Io, Program, Runtime};

const BODY: &str = "#!/bin/sh\n\
    case $1 in\n\
    silent|monitor) exit 0 ;;\n\
    one) echo one line; exit 1 ;;\n\
    args) echo \"$0 $*\" | sed 's,[^ ]*/,,'; exit 255 ;;\n\
    errno) exit 70 ;;\n\
    killed) kill -9 $$ ;;\n\
    hang) sleep 3 ;;\n\
    esac\n";

/// What is asked, in this order, by each tool of each daemon. Not the status of `late`: upstream starts scripts that have no time,
/// and which of them still ends in time is chance.
const COMMANDS: [&[&str]; 29] = [
    &["run", "10", "legacy", "silent"],
    &["status", "legacy", "silent"],
    &["run", "10", "legacy", "one"],
    &["run", "10", "legacy", "args", "a", "b  c", "d"],
    &["status", "legacy", "args"],
    &["run", "10", "legacy", "errno"],
    &["status", "legacy", "errno"],
    &["run", "10", "legacy", "killed"],
    &["status", "legacy", "killed"],
    &["run", "1", "legacy", "hang"],
    &["status", "legacy", "hang"],
    &["run", "0", "legacy", "late"],
    &["run", "10", "nosuch", "e"],
    &["status", "nosuch", "e"],
    &["status", "legacy", "never"],
    &["script", "list", "legacy"],
    &["script", "enable", "legacy", "10.shipped"],
    &["script", "list", "legacy"],
    &["run", "10", "legacy", "silent"],
    &["status", "legacy", "silent"],
    &["script", "disable", "legacy", "10.shipped"],
    &["script", "enable", "legacy", "xx"],
    &["script", "enable", "legacy", "99.nosuch"],
    &["script"],
    &["run", "1", "legacy"],
    &["status"],
    &["nosuch"],
    &["-h"],
    &[],
];

struct Peer {
    programs: PathBuf,
    libraries: String,
    base: tempfile::TempDir,
}

impl Peer {
    /// The unpacked package and a fresh node, or a line that says why the test does nothing.
    fn find(test: &str) -> Option<Peer> {
        let root = PathBuf::from(env::var_os("CTDB_PEER").unwrap_or_else(|| "/tmp/peer".into()));
        let programs = root.join("usr/libexec/ctdb");
        if !programs.join("ctdb-event").exists() || !programs.join("ctdb-eventd").exists() {
            println!(
                "skipped {test}: no ctdb-event and ctdb-eventd in {}",
                programs.display()
            );
            return None;
        }
        let mut libraries = Vec::new();
        directories(&root.join("usr/lib"), &mut libraries);
        let base = tempfile::tempdir().expect("a temporary directory");
        let peer = Peer {
            programs,
            libraries: libraries.join(":"),
            base,
        };
        peer.make_node();
        Some(peer)
    }

    fn paths(&self) -> Paths {
        Paths::in_base(self.base.path())
    }

    fn make_node(&self) {
        let paths = self.paths();
        let (etc, shipped) = (
            paths.event_scripts("legacy"),
            paths.shipped_event_scripts("legacy"),
        );
        for dir in [&etc, &shipped, &paths.socket_dir] {
            fs::create_dir_all(dir).expect("directories in the temporary one");
        }
        let files = [
            (etc.join("01.silent.script"), "#!/bin/sh\n", 0o755),
            (etc.join("02.various.script"), BODY, 0o755),
            (etc.join("03.off.script"), BODY, 0o644),
            (etc.join("04.noshebang.script"), "exit 1\n", 0o755),
            (etc.join("xx.script"), BODY, 0o755),
            (shipped.join("10.shipped.script"), "#!/bin/sh\n", 0o755),
            (shipped.join("11.linked.script"), "#!/bin/sh\n", 0o755),
        ];
        for (path, text, mode) in files {
            fs::write(&path, text).expect("a script");
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("its mode");
        }
        let linked = fs::canonicalize(shipped.join("11.linked.script")).expect("a path");
        symlink(linked, etc.join("11.linked.script")).expect("a link");
    }

    fn environment(&self) -> [(&'static str, String); 4] {
        let base = self.base.path().display().to_string();
        [
            ("LD_LIBRARY_PATH", self.libraries.clone()),
            ("CTDB_TEST_MODE", "yes".to_owned()),
            ("CTDB_BASE", base),
            ("CTDB_INTERACTIVE", "true".to_owned()),
        ]
    }

    /// Debian's daemon; ended when dropped.
    fn daemon(&self) -> PeerDaemon {
        let child = Command::new(self.programs.join("ctdb-eventd"))
            .envs(self.environment())
            .stderr(Stdio::null())
            .spawn()
            .expect("the peer's daemon can run");
        let begin = Instant::now();
        while std::os::unix::net::UnixStream::connect(self.paths().socket("eventd")).is_err() {
            assert!(
                begin.elapsed() < Duration::from_secs(20),
                "the peer's daemon does not listen"
            );
            std::thread::yield_now();
        }
        PeerDaemon(child)
    }

    /// Debian's tool on the runtime, beside whatever else runs there.
    async fn tool(&self, handle: &Handle, args: &[&str]) -> Said {
        let mut program = Program::new(self.programs.join("ctdb-event"))
            .args(args)
            .stdout(Io::Pipe)
            .stderr(Io::Null);
        for (name, value) in self.environment() {
            program = program.env(name, value);
        }
        let mut child = handle.spawn_program(program).expect("the peer's tool can run");
        let out = child
            .stdout()
            .expect("a pipe was asked for")
            .read_to_end(1 << 20)
            .await
            .expect("its output");
        let code = child.wait().await.code().expect("it exits");
        let out = String::from_utf8(out).expect("text");
        Said {
            out,
            err: String::new(),
            code: u8::try_from(code).expect("an exit code"),
        }
    }

    fn our_tool(&self, args: &[&str]) -> Said {
        let args: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
        let said = tool::run(&args, Ok(self.paths()));
        Said {
            err: String::new(),
            ..said
        }
    }
}

struct PeerDaemon(Child);

impl Drop for PeerDaemon {
    fn drop(&mut self) {
        // It is ours and not waited for yet, so the id is still its own.
        let _ = self.0.kill();
        let _ = self.0.wait();
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

/// Times and durations as one word each; the empty line that 4.17 leaves behind a script's output removed.
fn without_times(said: Said) -> Said {
    let mut lines: Vec<String> = Vec::new();
    for line in said.out.lines() {
        let after_output = lines.last().is_some_and(|last| last.starts_with("  OUTPUT: "));
        if line.is_empty() && after_output {
            continue;
        }
        let word = |word: &str| match word {
            _ if word.len() == 5 && word.as_bytes()[1] == b'.' && word.parse::<f64>().is_ok() => {
                "SECS".to_owned()
            }
            _ if word.len() == 8 && word.matches(':').count() == 2 => "TIME".to_owned(),
            _ => word.to_owned(),
        };
        lines.push(line.split(' ').map(word).collect::<Vec<_>>().join(" "));
    }
    Said {
        out: lines.join("\n"),
        ..said
    }
}

#[test]
fn debians_tool_says_the_same_of_both_daemons() {
    let Some(peer) = Peer::find("debians_tool_says_the_same_of_both_daemons") else {
        return;
    };
    let runtime = Runtime::new().unwrap();
    let handle = runtime.handle();
    let ask_all = async || {
        let mut answers = Vec::new();
        for args in COMMANDS {
            answers.push((args, without_times(peer.tool(&handle, args).await)));
        }
        answers
    };
    let theirs = {
        let _daemon = peer.daemon();
        runtime.block_on(ask_all())
    };
    let _ = fs::remove_file(peer.paths().socket("eventd"));
    let ours = runtime.block_on(async {
        let (daemon_handle, paths) = (handle.clone(), peer.paths());
        let (ready, its) = handle.stream_pair().unwrap();
        let config = Config::load(&paths).unwrap();
        let options = Options {
            pid: None,
            startup: Some(its),
        };
        let _daemon = handle.spawn(async move { serve(&daemon_handle, &paths, config, options).await });
        ready.read_exact(&mut [0; 4]).await.unwrap();
        ask_all().await
    });
    for (ours, theirs) in ours.iter().zip(&theirs) {
        assert_eq!(ours, theirs);
    }
}

#[test]
fn both_tools_say_the_same_of_debians_daemon() {
    let Some(peer) = Peer::find("both_tools_say_the_same_of_debians_daemon") else {
        return;
    };
    let _daemon = peer.daemon();
    let runtime = Runtime::new().unwrap();
    let handle = runtime.handle();
    let theirs = runtime.block_on(async {
        let mut answers = Vec::new();
        for args in COMMANDS {
            answers.push(without_times(peer.tool(&handle, args).await));
        }
        answers
    });
    for (args, theirs) in COMMANDS.iter().zip(theirs) {
        assert_eq!(without_times(peer.our_tool(args)), theirs, "{args:?}");
    }
}
