//! The program by itself: what it says to a wrong command line, and when nobody wants its result any more.

use std::io::Read;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::UnixListener;
use std::process::{Command, Stdio};

use nix::fcntl::{FcntlArg, FdFlag, fcntl};

fn helper() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ctdb_recovery_helper"));
    command.env_remove("CTDB_LOGGING").env_remove("CTDB_DEBUGLEVEL");
    command
}

fn pass_on(fd: impl AsFd) {
    fcntl(fd, FcntlArg::F_SETFD(FdFlag::empty())).expect("the descriptor is open: the caller has it");
}

#[test]
fn a_wrong_command_line_is_explained_and_ends_with_1() {
    for (args, says) in [
        (&["1"][..], "Usage: ctdb_recovery_helper"),
        (&["9", "/nowhere", "x"], "generation is \"x\""),
        (&["99", "/nowhere", "7"], "Descriptor 99"),
    ] {
        let output = helper().args(args).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{args:?}: {stderr}");
        assert!(stderr.contains(says), "{args:?}: {stderr}");
        assert!(output.stdout.is_empty());
    }
}

#[test]
fn without_ctdbd_nothing_is_written_and_the_log_descriptor_tells_why() {
    let (mut log, log_end) = std::io::pipe().unwrap();
    let (mut result, result_end) = std::io::pipe().unwrap();
    pass_on(&log_end);
    pass_on(&result_end);
    let args = [
        log_end.as_raw_fd().to_string(),
        result_end.as_raw_fd().to_string(),
    ];
    let status = helper()
        .args(args)
        .args(["/nowhere/ctdbd.socket", "7"])
        .status()
        .unwrap();
    drop((log_end, result_end));
    assert_eq!(status.code(), Some(1));
    let (mut text, mut bytes) = (String::new(), Vec::new());
    log.read_to_string(&mut text).unwrap();
    result.read_to_end(&mut bytes).unwrap();
    assert!(text.contains("/nowhere/ctdbd.socket"), "{text}");
    assert!(bytes.is_empty());
}

#[test]
fn it_gives_up_when_the_recovery_daemon_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("ctdbd.socket");
    // Takes the connection and never answers.
    let daemon = UnixListener::bind(&socket).unwrap();
    let (result, result_end) = std::io::pipe().unwrap();
    pass_on(&result_end);
    let mut child = helper()
        .arg(result_end.as_raw_fd().to_string())
        .arg(&socket)
        .arg("7")
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(result_end);
    let (_connection, _) = daemon.accept().unwrap();
    assert!(child.try_wait().unwrap().is_none(), "it waits for its daemon");
    drop(result);
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("is gone"), "{stderr}");
}
