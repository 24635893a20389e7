//! The helper as a process: what it says, how long it holds, and why it lets go.
#![allow(clippy::unwrap_used)] // In the helpers of the tests, as in the tests: a failure shows its line.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const HELPER: &str = env!("CARGO_BIN_EXE_ctdb_mutex_fcntl_helper");

/// A helper that was started, and its end of the conversation.
struct Helper {
    process: Child,
    stdout: ChildStdout,
}

impl Helper {
    fn start(file: &Path, more: &[&str]) -> Helper {
        let mut process = Command::new(HELPER)
            .arg(file)
            .args(more)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stdout = process.stdout.take().unwrap();
        Helper { process, stdout }
    }

    fn first_byte(&mut self) -> u8 {
        let mut byte = [0];
        self.stdout.read_exact(&mut byte).unwrap();
        byte[0]
    }

    /// Waits for the pipe to close, as the daemon does to learn of a lost lock, then for the process.
    fn end(mut self) -> (ExitStatus, String) {
        let mut rest = Vec::new();
        self.stdout.read_to_end(&mut rest).unwrap();
        assert_eq!(rest, b"", "nothing follows the first byte");
        let mut said = String::new();
        self.process
            .stderr
            .take()
            .unwrap()
            .read_to_string(&mut said)
            .unwrap();
        (self.process.wait().unwrap(), said)
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.process.id() as i32), signal).unwrap();
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn lock_file() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("cluster.lock");
    (dir, file)
}

/// Who holds the byte, seen from this process.
fn holder(file: &Path, byte: i64) -> Option<i32> {
    let mut lock = write_lock(byte);
    fcntl(
        File::options().write(true).open(file).unwrap(),
        FcntlArg::F_GETLK(&mut lock),
    )
    .unwrap();
    (lock.l_type != libc::F_UNLCK as libc::c_short).then_some(lock.l_pid)
}

fn write_lock(byte: i64) -> libc::flock {
    libc::flock {
        l_type: libc::F_WRLCK as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: byte,
        l_len: 1,
        l_pid: 0,
    }
}

#[test]
fn a_free_lock_is_taken_and_held_on_the_first_byte_until_sigterm() {
    let (_dir, file) = lock_file();
    let mut helper = Helper::start(&file, &[]);
    assert_eq!(helper.first_byte(), b'0');
    assert_eq!(holder(&file, 0), Some(helper.process.id() as i32));
    helper.signal(Signal::SIGTERM);
    let (status, said) = helper.end();
    assert!(status.success(), "{status}");
    assert_eq!(said, "");
    assert_eq!(holder(&file, 0), None);
}

#[test]
fn the_lock_file_is_made_for_its_owner_only() {
    use std::os::unix::fs::PermissionsExt;
    let (_dir, file) = lock_file();
    let mut helper = Helper::start(&file, &["0"]);
    assert_eq!(helper.first_byte(), b'0');
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn the_second_contender_is_told_so_and_gets_the_lock_after_the_first() {
    let (_dir, file) = lock_file();
    let mut first = Helper::start(&file, &[]);
    assert_eq!(first.first_byte(), b'0');

    let mut second = Helper::start(&file, &[]);
    assert_eq!(second.first_byte(), b'1');
    let (status, said) = second.end();
    assert!(status.success() && said.is_empty(), "{status} {said}");

    first.signal(Signal::SIGTERM);
    first.end();
    assert_eq!(Helper::start(&file, &[]).first_byte(), b'0');
}

#[test]
fn a_file_that_cannot_be_made_is_an_error_that_names_it() {
    let (dir, _) = lock_file();
    let file = dir.path().join("missing/cluster.lock");
    let mut helper = Helper::start(&file, &[]);
    assert_eq!(helper.first_byte(), b'3');
    let (status, said) = helper.end();
    assert!(status.success(), "{status}");
    assert!(
        said.contains(file.to_str().unwrap()) && said.contains("No such file"),
        "{said}"
    );
}

#[test]
fn a_wrong_command_line_fails_without_an_outcome() {
    let output = Command::new(HELPER).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(output.stdout, b"");
    assert!(output.stderr.starts_with(b"Usage: "));
}

#[test]
fn the_end_of_the_parent_ends_the_lock_at_once() {
    let (_dir, file) = lock_file();
    // The shell is the parent. Its own standard output is the helper's, so that the pipe stays open on our side:
    // only the death of the parent can tell the helper.
    let script = r#""$0" "$1" 0 & wait"#;
    let mut parent = Command::new("/bin/sh")
        .args([OsStr::new("-c"), script.as_ref(), HELPER.as_ref(), file.as_ref()])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut stdout = parent.stdout.take().unwrap();
    let mut byte = [0];
    stdout.read_exact(&mut byte).unwrap();
    assert_eq!(&byte, b"0");
    assert!(holder(&file, 0).is_some());

    let before = Instant::now();
    parent.kill().unwrap();
    parent.wait().unwrap();
    assert_eq!(stdout.read(&mut byte).unwrap(), 0);
    let took = before.elapsed();
    assert_eq!(holder(&file, 0), None);
    assert!(took < Duration::from_millis(500), "{took:?}");
}

#[test]
fn a_killed_helper_leaves_no_lock_and_no_checking_process() {
    let (_dir, file) = lock_file();
    let mut helper = Helper::start(&file, &["1"]);
    assert_eq!(helper.first_byte(), b'0');
    let checker = wait_for_child(helper.process.id());
    helper.signal(Signal::SIGKILL);
    helper.end();
    assert_eq!(holder(&file, 0), None);
    let limit = Instant::now() + Duration::from_secs(5);
    while is_running(checker) {
        assert!(Instant::now() < limit, "process {checker} outlives the helper");
        std::thread::yield_now();
    }
}

#[test]
fn a_replaced_file_is_a_lost_lock() {
    let (dir, file) = lock_file();
    let mut helper = Helper::start(&file, &["1"]);
    assert_eq!(helper.first_byte(), b'0');
    let other = dir.path().join("other");
    File::create(&other).unwrap();
    fs::rename(&other, &file).unwrap();
    let (status, said) = helper.end();
    assert!(status.success(), "{status}");
    assert!(said.contains("another file"), "{said}");
}

#[test]
fn a_deleted_file_is_a_lost_lock() {
    let (_dir, file) = lock_file();
    let mut helper = Helper::start(&file, &["1"]);
    assert_eq!(helper.first_byte(), b'0');
    fs::remove_file(&file).unwrap();
    let (_, said) = helper.end();
    assert!(said.contains("No such file"), "{said}");
}

#[test]
fn without_the_recheck_a_replaced_file_is_not_noticed() {
    let (_dir, file) = lock_file();
    let mut helper = Helper::start(&file, &["0"]);
    assert_eq!(helper.first_byte(), b'0');
    fs::remove_file(&file).unwrap();
    // Another can take the new file now: this is what the check is for.
    assert_eq!(Helper::start(&file, &["0"]).first_byte(), b'0');
    assert!(helper.process.try_wait().unwrap().is_none());
    helper.signal(Signal::SIGTERM);
    let (_, said) = helper.end();
    assert_eq!(said, "");
}

#[test]
fn a_check_that_is_stuck_is_a_lost_lock_when_pings_are_asked_for() {
    let (_dir, file) = lock_file();
    let mut helper = Helper::start(&file, &["1", "2"]);
    assert_eq!(helper.first_byte(), b'0');
    // As if the file system did not answer: the byte that the check locks is never free.
    let ours = File::options().write(true).open(&file).unwrap();
    fcntl(&ours, FcntlArg::F_SETLK(&write_lock(1))).unwrap();
    let before = Instant::now();
    let (_, said) = helper.end();
    assert!(said.contains("has not pinged"), "{said}");
    // One second to the check, two without a ping.
    assert!(
        (1..6).contains(&before.elapsed().as_secs()),
        "{:?}",
        before.elapsed()
    );
}

#[test]
fn a_file_that_stays_is_held_over_many_checks() {
    let (_dir, file) = lock_file();
    let mut helper = Helper::start(&file, &["1", "1000"]);
    assert_eq!(helper.first_byte(), b'0');
    // Each check shows as a short lock on the second byte. Hold it twice, so that a check has to come.
    for _ in 0..2 {
        let ours = File::options().write(true).open(&file).unwrap();
        fcntl(&ours, FcntlArg::F_SETLKW(&write_lock(1))).unwrap();
        let checker = wait_for_child(helper.process.id());
        let limit = Instant::now() + Duration::from_secs(10);
        while !waits_for_a_lock(checker) {
            assert!(Instant::now() < limit, "no check came");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
    assert_eq!(helper.process.try_wait().unwrap(), None);
    assert_eq!(holder(&file, 0), Some(helper.process.id() as i32));
}

/// The child of a process, once it has one.
fn wait_for_child(pid: u32) -> u32 {
    let limit = Instant::now() + Duration::from_secs(5);
    loop {
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
        if let Some(child) = children.split_whitespace().next() {
            return child.parse().unwrap();
        }
        assert!(Instant::now() < limit, "process {pid} has started no other");
        std::thread::yield_now();
    }
}

fn is_running(pid: u32) -> bool {
    // An orphan that has ended is a zombie until init reaps it.
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

/// A blocked request shows as `->` behind the lock that it waits for.
fn waits_for_a_lock(pid: u32) -> bool {
    let locks = fs::read_to_string("/proc/locks").unwrap();
    locks
        .lines()
        .any(|line| line.contains("->") && line.split_whitespace().any(|word| word == pid.to_string()))
}
