//! The recovery daemon as ctdbd's child: started after `setup`, started again when it dies or goes silent.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use ctdb_runtime::sync::{Either, select2};
use ctdb_runtime::{Child, ExitStatus, Instant, Signal};

use crate::Daemon;

/// Pause before a restart: short, since without it nobody leads, but growing, so that a program that can't
/// start doesn't take the machine.
const RESTART_MIN: Duration = Duration::from_millis(100);
const RESTART_MAX: Duration = Duration::from_secs(10);
/// A child that lived this long was not failing at its start.
const LIVED: Duration = Duration::from_secs(30);
/// How often the pings are looked at.
const LOOK: Duration = Duration::from_secs(5);

/// Time for an orderly end, in which the cluster lock is given back.
const TERM_LIMIT: Duration = Duration::from_secs(1);

/// What is known of the recovery daemon.
#[derive(Default)]
pub struct RecoverdChild {
    pid: Cell<Option<u32>>,
    last_ping: Cell<Option<Instant>>,
    stopping: Cell<bool>,
    /// Seconds it took to get the cluster lock, as it reports.
    pub lock_latency: RefCell<Option<f64>>,
}

impl RecoverdChild {
    /// Whether `pid` is the recovery daemon.
    pub fn is_pid(&self, pid: i32) -> bool {
        self.pid.get().is_some_and(|own| i64::from(own) == i64::from(pid))
    }

    /// RECD_PING came.
    pub fn pinged(&self, now: Instant) {
        self.last_ping.set(Some(now));
    }

    /// Whether one runs.
    pub fn is_running(&self) -> bool {
        self.pid.get().is_some()
    }
}

/// Keeps a recovery daemon running for the life of this one.
pub async fn run(d: Rc<Daemon>) {
    let mut pause = RESTART_MIN;
    while !d.recoverd.stopping.get() {
        let started = d.rt.now();
        match start(&d) {
            Ok(mut child) => {
                d.recoverd.pid.set(Some(child.pid()));
                d.recoverd.pinged(started);
                let pid = child.pid();
                let status = match select2(child.wait(), silent(&d)).await {
                    Either::Left(status) => status,
                    Either::Right(()) => end(&d, &mut child).await,
                };
                d.recoverd.pid.set(None);
                if d.recoverd.stopping.get() {
                    return;
                }
                log::error!("The recovery daemon (pid {pid}) ended ({status}); it is started again");
            }
            Err(error) => log::error!("The recovery daemon cannot be started: {error}"),
        }
        let lived = d.rt.now().saturating_since(started);
        pause = if lived >= LIVED {
            RESTART_MIN
        } else {
            (pause * 2).min(RESTART_MAX)
        };
        d.rt.sleep(pause).await;
    }
}

fn start(d: &Rc<Daemon>) -> std::io::Result<ctdb_runtime::Child> {
    let path = d.settings.paths.helper("ctdb_recoverd");
    let program = d
        .program(&path)
        .arg("--ctdbd-pid")
        .arg(d.rt.pid().to_string())
        .arg("--socket")
        .arg(d.settings.paths.socket("ctdbd"))
        .die_with_parent();
    d.rt.spawn_program(program)
}

/// Ends one that went silent. A process that was stopped, or that hangs, does not heed SIGTERM.
async fn end(d: &Daemon, child: &mut Child) -> ExitStatus {
    ctdb_runtime::sys::signal_process(child.pid(), Signal::SIGTERM);
    if let Ok(status) = d.rt.timeout(TERM_LIMIT, child.wait()).await {
        return status;
    }
    ctdb_runtime::sys::signal_process(child.pid(), Signal::SIGKILL);
    child.wait().await
}

/// Resolves when there was no ping for (RecdFailCount + 1) times RecdPingTimeout.
async fn silent(d: &Rc<Daemon>) {
    loop {
        d.rt.sleep(LOOK).await;
        let (timeout, count) = {
            let tunables = d.tunables.borrow();
            (tunables.recd_ping_timeout(), tunables.recd_fail_count())
        };
        if timeout.is_zero() {
            continue;
        }
        let limit = timeout * (count.saturating_add(1));
        let last = d.recoverd.last_ping.get().unwrap_or(Instant::START);
        let quiet = d.rt.now().saturating_since(last);
        if quiet > limit {
            log::error!(
                "The recovery daemon gave no sign of life for {quiet:?}: it is stopped and started again"
            );
            return;
        }
    }
}

/// For shutdown: it gives the cluster lock back when it gets SIGTERM.
pub fn stop(d: &Daemon) {
    d.recoverd.stopping.set(true);
    signal(d, Signal::SIGTERM);
}

/// SIGHUP: reopen the log.
pub fn reopen_logs(d: &Daemon) {
    signal(d, Signal::SIGHUP);
}

fn signal(d: &Daemon, signal: Signal) {
    if let Some(pid) = d.recoverd.pid.get() {
        ctdb_runtime::sys::signal_process(pid, signal);
    }
}
