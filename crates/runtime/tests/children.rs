//! Child processes and signals of the real back end.
#![allow(clippy::unwrap_used)] // a test may panic, its helpers too

use std::time::Duration;

use ctdb_runtime::{ExitStatus, Handle, Io, Program, Runtime, Signal, sys};

fn run<F: Future<Output = ()>>(test: impl FnOnce(Handle) -> F) {
    let runtime = Runtime::new().unwrap();
    runtime.block_on(test(runtime.handle()));
}

fn sh(script: &str) -> Program {
    Program::new("/bin/sh").arg("-c").arg(script)
}

#[test]
fn the_end_of_a_child_is_noticed_at_once_with_its_status() {
    run(|h| async move {
        let start = h.now();
        let mut child = h.spawn_program(sh("exit 7")).unwrap();
        assert_eq!(child.wait().await, ExitStatus::Exited(7));
        assert_eq!(child.status(), Some(ExitStatus::Exited(7)));
        assert!(
            h.now() - start < Duration::from_secs(2),
            "it took {:?}",
            h.now() - start
        );
        assert!(
            child.kill(Signal::SIGTERM).is_err(),
            "its id may belong to another process by now"
        );
    });
}

#[test]
fn a_child_whose_handle_was_dropped_is_reaped() {
    run(|h| async move {
        let child = h.spawn_program(sh("exit 0")).unwrap();
        let pid = child.pid() as i32;
        drop(child);
        while sys::process_exists(pid) {
            h.sleep(Duration::from_millis(1)).await;
        }
    });
}

#[test]
fn a_killed_child_tells_the_signal() {
    run(|h| async move {
        let mut child = h.spawn_program(sh("exec sleep 100")).unwrap();
        child.kill(Signal::SIGTERM).unwrap();
        let status = child.wait().await;
        assert_eq!(status, ExitStatus::Killed(15));
        assert_eq!(status.to_string(), "killed by SIGTERM");
    });
}

#[test]
fn a_group_is_killed_as_a_whole() {
    run(|h| async move {
        let mut child = h
            .spawn_program(
                sh("sleep 100 & echo $!; wait")
                    .stdout(Io::Pipe)
                    .new_process_group(),
            )
            .unwrap();
        let out = child.stdout().unwrap();
        let mut line = [0; 16];
        let n = out.read(&mut line).await.unwrap();
        let grandchild: i32 = std::str::from_utf8(&line[..n]).unwrap().trim().parse().unwrap();
        assert!(sys::process_exists(grandchild));
        child.kill_group(Signal::SIGKILL).unwrap();
        assert_eq!(child.wait().await, ExitStatus::Killed(9));
        // The grandchild holds the pipe: its end is the end of the stream.
        assert_eq!(out.read(&mut line).await.unwrap(), 0);
    });
}

#[test]
fn standard_streams_arguments_and_environment_reach_the_child() {
    run(|h| async move {
        let program = Program::new("/bin/sh")
            .arg0("my-shell")
            .args(["-c", "cat; echo $0-$1-$COLOUR; echo oops >&2", "zero", "one"])
            .env("COLOUR", "blue")
            .stdin(Io::Pipe)
            .stdout(Io::Pipe)
            .stderr(Io::Pipe);
        let mut child = h.spawn_program(program).unwrap();
        let stdin = child.stdin().unwrap();
        stdin.write_all(b"through\n").await.unwrap();
        drop(stdin);
        assert_eq!(
            child.stdout().unwrap().read_to_end(1000).await.unwrap(),
            b"through\nzero-one-blue\n"
        );
        assert_eq!(
            child.stderr().unwrap().read_to_end(1000).await.unwrap(),
            b"oops\n"
        );
        assert!(child.wait().await.success());
        assert!(child.stdout().is_none());
    });
}

#[test]
fn extra_pipes_are_passed_by_number_and_nothing_else_is() {
    run(|h| async move {
        // Not sh: Debian's knows only descriptors of one digit.
        let script = "read x <&$2; echo got $x >&$1; read y <&$3; echo $y >&$3; ls /proc/self/fd | wc -w";
        let mut program = Program::new("/bin/bash")
            .args(["-c", script, "zero"])
            .stdout(Io::Pipe);
        let from = program.pipe_from_child();
        let to = program.pipe_to_child();
        let both = program.socket_to_child();
        program = program.arg_pipe(from).arg_pipe(to).arg_pipe(both);
        // Something without close-on-exec, as a library may leave it.
        let (_leak, leaked) = nix::unistd::pipe().unwrap();
        let mut child = h.spawn_program(program).unwrap();
        child.take_pipe(to).unwrap().write_all(b"word\n").await.unwrap();
        let both = child.take_pipe(both).unwrap();
        both.write_all(b"echo\n").await.unwrap();
        assert_eq!(both.read_to_end(100).await.unwrap(), b"echo\n");
        assert_eq!(
            child.take_pipe(from).unwrap().read_to_end(100).await.unwrap(),
            b"got word\n"
        );
        assert!(child.take_pipe(from).is_none());
        // 0, 1, 2, the three pipes and the directory that ls reads.
        assert_eq!(child.stdout().unwrap().read_to_end(100).await.unwrap(), b"7\n");
        assert!(child.wait().await.success());
        drop(leaked);
    });
}

#[test]
fn a_program_that_is_not_there_is_an_error_of_the_start() {
    run(|h| async move {
        let error = h
            .spawn_program(Program::new("/nonexistent/program"))
            .err()
            .unwrap();
        assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
    });
}

#[test]
fn a_signal_is_received_and_not_fatal() {
    run(|h| async move {
        let signals = h.signals(&[Signal::SIGUSR1, Signal::SIGHUP]).unwrap();
        nix::sys::signal::raise(Signal::SIGHUP).unwrap();
        assert_eq!(signals.recv().await, Signal::SIGHUP);
        nix::sys::signal::raise(Signal::SIGUSR1).unwrap();
        assert_eq!(signals.recv().await, Signal::SIGUSR1);
        assert!(h.timeout(Duration::from_millis(2), signals.recv()).await.is_err());
        assert!(h.signals(&[Signal::SIGKILL]).is_err());
    });
}

#[test]
fn a_child_of_a_killed_parent_dies_with_it() {
    // The parent is this test program again, in the test below.
    run(|h| async move {
        let program = Program::new(std::env::current_exe().unwrap())
            .args(["--exact", "the_parent_that_is_killed", "--nocapture"])
            .env("CTDB_TEST_BE_THE_PARENT", "1")
            .stdout(Io::Pipe);
        let mut parent = h.spawn_program(program).unwrap();
        let out = parent.stdout().unwrap();
        let mut text = String::new();
        let mut buf = [0; 256];
        let grandchild: i32 = loop {
            let n = out.read(&mut buf).await.unwrap();
            assert!(n > 0, "the parent said only {text:?}");
            text.push_str(std::str::from_utf8(&buf[..n]).unwrap());
            if let Some((_, rest)) = text.split_once("grandchild ")
                && let Some((pid, _)) = rest.split_once('\n')
            {
                break pid.parse().unwrap();
            }
        };
        assert!(sys::process_exists(grandchild));
        parent.kill(Signal::SIGKILL).unwrap();
        parent.wait().await;
        // The grandchild has the pipe too, so its death ends the stream (a zombie may stay if nobody here reaps).
        let end = h.timeout(Duration::from_secs(5), out.read(&mut buf)).await;
        assert_eq!(end.unwrap().unwrap(), 0);
    });
}

#[test]
fn the_parent_that_is_killed() {
    if std::env::var_os("CTDB_TEST_BE_THE_PARENT").is_none() {
        return; // only a part of the test above
    }
    // The test harness runs this in a thread of its own, and the death signal goes by thread: block here, never return.
    run(|h| async move {
        let child = h
            .spawn_program(Program::new("/bin/sleep").arg("100").die_with_parent())
            .unwrap();
        println!("grandchild {}", child.pid());
        std::future::pending::<()>().await;
    });
}

#[test]
fn a_second_process_cannot_take_a_locked_pid_file() {
    if let Some(path) = std::env::var_os("CTDB_TEST_PID_FILE") {
        let error = sys::lock_pid_file(path.as_ref()).unwrap_err();
        println!("refused: {error}");
        return;
    }
    run(|h| async move {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pid");
        let _held = sys::lock_pid_file(&path).unwrap();
        let program = Program::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "a_second_process_cannot_take_a_locked_pid_file",
                "--nocapture",
            ])
            .env("CTDB_TEST_PID_FILE", &path)
            .stdout(Io::Pipe);
        let mut second = h.spawn_program(program).unwrap();
        let said = second.stdout().unwrap().read_to_end(10_000).await.unwrap();
        let said = String::from_utf8(said).unwrap();
        assert!(
            said.contains(&format!("locked by process {}", std::process::id())),
            "{said}"
        );
        assert!(second.wait().await.success());
        assert!(path.exists(), "the refused one leaves the file alone");
    });
}
