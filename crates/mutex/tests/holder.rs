//! Taking and losing the lock with helpers of every kind, real ones and simulated ones.
#![allow(clippy::unwrap_used)] // In the helpers of the tests, as in the tests: a failure shows its line.

use std::cell::Cell;
use std::net::Ipv4Addr;
use std::rc::Rc;
use std::time::Duration;

use ctdb_mutex::{ClusterLock, LockAttempt, LockCommand, LockHeld};
use ctdb_runtime::{Handle, Runtime, Signal, Sim, sys};

const LIMIT: Duration = Duration::from_secs(20);

fn run<F: Future<Output = ()>>(test: impl FnOnce(Handle) -> F) {
    let runtime = Runtime::new().unwrap();
    runtime.block_on(test(runtime.handle()));
}

/// A helper that does what the script says.
fn helper(script: &str) -> LockCommand {
    LockCommand {
        program: "/bin/sh".into(),
        args: vec!["-c".into(), script.into()],
    }
}

async fn take(h: &Handle, script: &str) -> LockHeld {
    match ClusterLock::try_take(h, &helper(script), LIMIT).await {
        LockAttempt::Taken(held) => held,
        LockAttempt::Contended => panic!("contended"),
        LockAttempt::Timeout => panic!("timeout"),
        LockAttempt::Failed(reason) => panic!("{reason}"),
    }
}

async fn failure(h: &Handle, command: &LockCommand) -> String {
    match ClusterLock::try_take(h, command, LIMIT).await {
        LockAttempt::Failed(reason) => reason,
        _ => panic!("it did not fail"),
    }
}

#[test]
fn contention_and_timeout_are_told_apart() {
    run(|h| async move {
        let contended = ClusterLock::try_take(&h, &helper("printf 1"), LIMIT).await;
        assert!(matches!(contended, LockAttempt::Contended));
        let timeout = ClusterLock::try_take(&h, &helper("printf 2"), LIMIT).await;
        assert!(matches!(timeout, LockAttempt::Timeout));
    });
}

#[test]
fn a_failure_brings_what_the_helper_said() {
    run(|h| async move {
        assert_eq!(
            failure(&h, &helper("echo first >&2; echo no such disk >&2; printf 3")).await,
            "no such disk"
        );
        assert_eq!(
            failure(&h, &helper("printf x")).await,
            "the lock helper gave no reason"
        );
        assert_eq!(
            failure(&h, &helper("exit 0")).await,
            "the lock helper gave no reason"
        );
        let missing = LockCommand {
            program: "/nonexistent/lock".into(),
            args: Vec::new(),
        };
        assert!(failure(&h, &missing).await.contains("/nonexistent/lock"));
    });
}

#[test]
fn a_silent_helper_is_a_timeout_and_is_told_to_end() {
    run(|h| async move {
        let dir = tempfile::tempdir().unwrap();
        let mark = dir.path().join("ended");
        let script = format!(
            "trap 'touch {}; exit' TERM; while :; do sleep 0.01; done",
            mark.display()
        );
        // Long enough for the shell to set its trap on a busy machine.
        let attempt = ClusterLock::try_take(&h, &helper(&script), Duration::from_secs(1)).await;
        assert!(matches!(attempt, LockAttempt::Timeout));
        let gone = async {
            while !mark.exists() {
                h.sleep(Duration::from_millis(5)).await;
            }
        };
        h.timeout(LIMIT, gone).await.unwrap();
    });
}

#[test]
fn dropping_the_lock_ends_its_helper() {
    run(|h| async move {
        let held = take(&h, "printf 0; exec sleep 100").await;
        let pid = held.helper_pid() as i32;
        assert!(sys::process_exists(pid));
        drop(held);
        let gone = async {
            while sys::process_exists(pid) {
                h.sleep(Duration::from_millis(5)).await;
            }
        };
        h.timeout(LIMIT, gone).await.unwrap();
    });
}

#[test]
fn the_end_of_the_helper_is_the_loss_of_the_lock_with_its_last_words() {
    run(|h| async move {
        // Everything behind the first byte means nothing.
        let held = take(&h, "printf 0111; echo the file was replaced >&2").await;
        let reason = h.timeout(LIMIT, held.lost()).await.unwrap();
        assert_eq!(reason, "the file was replaced");
    });
}

#[test]
fn a_lock_that_is_held_is_not_lost_until_its_helper_is_killed() {
    run(|h| async move {
        let held = take(&h, "printf 0; exec sleep 100").await;
        assert!(h.timeout(Duration::from_millis(50), held.lost()).await.is_err());
        let pid = nix::unistd::Pid::from_raw(held.helper_pid() as i32);
        nix::sys::signal::kill(pid, Signal::SIGKILL).unwrap();
        assert!(h.timeout(LIMIT, held.lost()).await.is_ok());
    });
}

#[test]
fn a_talkative_helper_is_never_stopped_by_a_full_pipe() {
    run(|h| async move {
        // More than a pipe holds, before it answers.
        let script = "i=0; while [ $i -lt 3000 ]; do echo 'a line of some length, again and again' >&2; i=$((i+1)); \
                      done; printf 0; exec sleep 100";
        take(&h, script).await;
    });
}

#[test]
fn two_simulated_contenders_hold_the_lock_in_turn() {
    /// Held by the helper's task, which goes when the helper is ended.
    struct Held(Rc<Cell<bool>>);
    impl Drop for Held {
        fn drop(&mut self) {
            self.0.set(false);
        }
    }

    let mut sim = Sim::new(1);
    let h = sim.host("node0", Ipv4Addr::new(10, 0, 0, 1).into());
    let lock = Rc::new(Cell::new(false));
    let shared = lock.clone();
    sim.register_program("node0", "lock", move |launch| {
        let lock = shared.clone();
        async move {
            let stdout = launch.stdout.unwrap();
            if lock.replace(true) {
                stdout.write_all(b"1").await.unwrap();
                return 0;
            }
            let _held = Held(lock);
            stdout.write_all(b"0").await.unwrap();
            std::future::pending().await
        }
    });

    let command = LockCommand {
        program: "/clusterfs/lock".into(),
        args: Vec::new(),
    };
    let test = async {
        let LockAttempt::Taken(held) = ClusterLock::try_take(&h, &command, LIMIT).await else {
            panic!()
        };
        let second = ClusterLock::try_take(&h, &command, LIMIT).await;
        assert!(matches!(second, LockAttempt::Contended));
        drop(held);
        while lock.get() {
            h.yield_now().await;
        }
        assert!(matches!(
            ClusterLock::try_take(&h, &command, LIMIT).await,
            LockAttempt::Taken(_)
        ));
    };
    sim.run_until(LIMIT, test).unwrap();
}
