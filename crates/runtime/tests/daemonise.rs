//! A process becomes a daemon. Without the usual test harness, which has threads.

#![allow(clippy::unwrap_used)] // a test may panic, its helpers too

use std::path::Path;
use std::time::{Duration, Instant};

use ctdb_runtime::sys::{DaemoniseError, daemonise, inherited_fd, lock_pid_file, set_umask};

/// Becomes a daemon and writes what it then is: its session, its standard streams.
fn be_the_daemon(dir: &Path) {
    set_umask(0o022);
    daemonise().unwrap();
    let _pid_file = lock_pid_file(&dir.join("pid")).unwrap();
    let session = nix::unistd::getsid(None).unwrap().as_raw() as u32;
    let streams = (0..3).map(|n| std::fs::read_link(format!("/proc/self/fd/{n}")).unwrap());
    let streams: Vec<String> = streams.map(|p| p.display().to_string()).collect();
    let leads = session == std::process::id();
    std::fs::write(dir.join("new"), format!("{leads} {}", streams.join(" "))).unwrap();
    std::fs::rename(dir.join("new"), dir.join("told")).unwrap();
}

fn main() {
    if let Some(dir) = std::env::var_os("CTDB_TEST_BE_THE_DAEMON") {
        return be_the_daemon(dir.as_ref());
    }
    let dir = tempfile::tempdir().unwrap();
    let started = std::process::Command::new(std::env::current_exe().unwrap())
        .env("CTDB_TEST_BE_THE_DAEMON", dir.path())
        .status()
        .unwrap();
    assert!(started.success(), "the one who started it goes with status 0");
    let patience = Instant::now() + Duration::from_secs(20);
    let told = loop {
        match std::fs::read_to_string(dir.path().join("told")) {
            Ok(told) => break told,
            Err(_) if Instant::now() < patience => std::thread::yield_now(),
            Err(e) => panic!("the daemon says nothing: {e}"),
        }
    };
    assert_eq!(told, "true /dev/null /dev/null /dev/null");

    let refused = std::thread::spawn(daemonise).join().unwrap().unwrap_err();
    assert!(matches!(refused, DaemoniseError::Threads(2)), "{refused}");
    assert!(inherited_fd(999).is_err());
    println!("a daemon leads its session, has no terminal, and is not made of a process with threads: ok");
}
