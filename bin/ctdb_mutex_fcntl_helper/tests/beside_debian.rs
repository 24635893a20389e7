//! Our helper and Debian's contend for one lock, as in a cluster whose nodes run either.
#![allow(clippy::unwrap_used)] // In the helpers of the tests, as in the tests: a failure shows its line.

use std::io::Read;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

use ctdb_harness::{Helper, require_peer};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

struct Holder {
    process: Child,
    stdout: ChildStdout,
}

impl Holder {
    fn start(mut helper: Command, file: &Path) -> Holder {
        let mut process = helper
            .arg(file)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let stdout = process.stdout.take().unwrap();
        Holder { process, stdout }
    }

    fn first_byte(&mut self) -> u8 {
        let mut byte = [0];
        self.stdout.read_exact(&mut byte).unwrap();
        byte[0]
    }

    fn let_go(mut self) {
        kill(Pid::from_raw(self.process.id() as i32), Signal::SIGTERM).unwrap();
        self.process.wait().unwrap();
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn either_helper_keeps_the_other_out_and_lets_it_in_afterwards() {
    let Some(debian) = require_peer() else { return };
    let ours = || Command::new(env!("CARGO_BIN_EXE_ctdb_mutex_fcntl_helper"));
    let theirs = || debian.helper_command(Helper::ClusterMutex);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("cluster.lock");

    let mut first = Holder::start(ours(), &file);
    assert_eq!(first.first_byte(), b'0');
    assert_eq!(Holder::start(theirs(), &file).first_byte(), b'1');
    first.let_go();

    let mut second = Holder::start(theirs(), &file);
    assert_eq!(second.first_byte(), b'0');
    assert_eq!(Holder::start(ours(), &file).first_byte(), b'1');
    second.let_go();

    assert_eq!(Holder::start(ours(), &file).first_byte(), b'0');
}

#[test]
fn the_same_command_lines_are_refused() {
    let Some(debian) = require_peer() else { return };
    for args in [&[][..], &["f", "x"], &["f", "1", "x"], &["f", "1", "1", "1"]] {
        let run = |mut helper: Command| helper.args(args).output().unwrap();
        let ours = run(Command::new(env!("CARGO_BIN_EXE_ctdb_mutex_fcntl_helper")));
        let theirs = run(debian.helper_command(Helper::ClusterMutex));
        assert_eq!(
            (ours.status.code(), &ours.stdout),
            (theirs.status.code(), &theirs.stdout),
            "{args:?}"
        );
    }
}
