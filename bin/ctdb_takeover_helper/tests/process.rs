//! The helper as a process: what it is given, what it gives back.
#![allow(clippy::unwrap_used)] // In the helpers of the tests, as in the tests: a failure shows its line.

use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use ctdb_harness::wait_until;

const HELPER: &str = env!("CARGO_BIN_EXE_ctdb_takeover_helper");
const LIMIT: Duration = Duration::from_secs(30);

/// Descriptor 5 is a pipe that the test reads as standard output, as the recovery daemon would.
fn helper(args: &[&str]) -> Command {
    let mut command = Command::new("sh");
    command
        .args(["-c", "exec \"$0\" \"$@\" 5>&1 1>/dev/null", HELPER])
        .args(args);
    command.env_remove("CTDB_LOGGING").env_remove("CTDB_DEBUGLEVEL");
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

fn ran(args: &[&str]) -> Output {
    helper(args).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn a_command_line_that_makes_no_sense_gets_a_usage_line_and_status_1() {
    for args in [&[][..], &["1"], &["1", "2", "3", "4", "5"]] {
        let output = ran(args);
        assert_eq!(output.status.code(), Some(1));
        assert!(output.stdout.is_empty());
        assert!(
            text(&output.stderr).starts_with("Usage: ctdb_takeover_helper"),
            "{}",
            text(&output.stderr)
        );
    }
}

#[test]
fn without_a_daemon_the_error_number_is_written_and_is_the_exit_status() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("none").display().to_string();
    // With and without a descriptor for the log, with and without nodes to rebalance.
    for args in [
        &["5", &socket][..],
        &["5", &socket, "0,1"],
        &["2", "5", &socket],
        &["2", "5", &socket, "0,1"],
    ] {
        let output = ran(args);
        let enoent = 2;
        assert_eq!(output.stdout, i32::to_le_bytes(enoent), "{args:?}");
        assert_eq!(output.status.code(), Some(enoent), "{args:?}");
        assert!(text(&output.stderr).contains(&socket), "{}", text(&output.stderr));
    }
}

#[test]
fn a_descriptor_that_is_not_open_is_named() {
    let output = ran(&["77", "/nowhere"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("77"), "{}", text(&output.stderr));
}

/// A daemon that takes the connection and answers nothing, so that the run does not end by itself.
fn silent_daemon(dir: &Path) -> (UnixListener, String) {
    let socket = dir.join("socket");
    let listener = UnixListener::bind(&socket).unwrap();
    listener.set_nonblocking(true).unwrap();
    (listener, socket.display().to_string())
}

fn accept(listener: &UnixListener) -> UnixStream {
    let (connection, _) = wait_until("the helper's connection", LIMIT, || Ok(listener.accept()?.0)).unwrap();
    connection
}

#[test]
fn the_helper_gives_up_when_the_reader_of_its_result_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let (listener, socket) = silent_daemon(dir.path());
    let mut child = helper(&["5", &socket]).spawn().unwrap();
    let _connection = accept(&listener);
    drop(child.stdout.take());
    let (status, _) = wait_until("the helper's end", LIMIT, || {
        child.try_wait()?.ok_or_else(|| anyhow::anyhow!("it runs"))
    })
    .unwrap();
    assert_eq!(status.code(), Some(1));
}

#[test]
fn the_signal_to_open_logs_anew_does_not_end_the_helper() {
    let dir = tempfile::tempdir().unwrap();
    let (listener, socket) = silent_daemon(dir.path());
    let child = helper(&["5", &socket]).spawn().unwrap();
    let connection = accept(&listener);
    let hangup = Command::new("kill")
        .args(["-HUP", &child.id().to_string()])
        .status()
        .unwrap();
    assert!(hangup.success());
    // It goes on until the daemon is gone, and says so.
    drop((connection, listener));
    let output = child.wait_with_output().unwrap();
    let enotconn = 107;
    assert_eq!(
        output.stdout,
        i32::to_le_bytes(enotconn),
        "{}",
        text(&output.stderr)
    );
    assert_eq!(output.status.code(), Some(enotconn));
}
