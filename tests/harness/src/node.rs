//! One node: its directory and its processes.

use std::fs::{self, File};
use std::io;
use std::net::Ipv4Addr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::Signal;

use crate::processes::{self, Process};
use crate::state::{NodeState, Probe};
use crate::tool::{StatusRow, ToolRun, run_limited};
use crate::wait::wait_until;
use crate::{Binaries, RunState};

/// For an answer of a daemon that is not stuck.
const ANSWER_LIMIT: Duration = Duration::from_secs(2);
/// For a run of the tool, whose own limit is twice as long.
const TOOL_LIMIT: Duration = Duration::from_secs(60);
/// Leaders broadcast every second.
const LEADER_LIMIT: Duration = Duration::from_secs(5);

/// One node of a cluster.
#[derive(Debug)]
pub struct Node {
    pub(crate) pnn: usize,
    pub(crate) address: Ipv4Addr,
    pub(crate) base: PathBuf,
    pub(crate) binaries: Binaries,
    pub(crate) lmaster: bool,
    pub(crate) environment: Vec<(String, String)>,
    pub(crate) daemon: Mutex<Daemon>,
}

/// What became of the daemon.
#[derive(Debug, Default)]
pub(crate) enum Daemon {
    #[default]
    NotStarted,
    /// Its standard input stays open in the child: the end of that pipe, should this process die, ends a daemon
    /// in test mode.
    Running(Child),
    Paused(Child),
    Ended(ExitStatus),
}

impl Node {
    /// Its number.
    pub fn pnn(&self) -> usize {
        self.pnn
    }

    /// Where it listens, at port 4379.
    pub fn address(&self) -> Ipv4Addr {
        self.address
    }

    /// Its directory, `CTDB_BASE`.
    pub fn base(&self) -> &Path {
        &self.base
    }

    /// The programs it runs.
    pub fn binaries(&self) -> &Binaries {
        &self.binaries
    }

    /// Its clients connect here.
    pub fn socket(&self) -> PathBuf {
        self.base.join("run/ctdbd.socket")
    }

    /// The file of a volatile or replicated database.
    pub fn volatile_db(&self, name: &str) -> PathBuf {
        self.base.join(format!("db/volatile/{name}.{}", self.pnn))
    }

    /// The file of a persistent database.
    pub fn persistent_db(&self, name: &str) -> PathBuf {
        self.base.join(format!("db/persistent/{name}.{}", self.pnn))
    }

    /// The output of the daemon and its children over all starts of this node.
    pub fn log_file(&self) -> PathBuf {
        self.base.join("log.ctdb")
    }

    /// What the log says so far.
    pub fn log(&self) -> String {
        fs::read(self.log_file())
            .map(|text| String::from_utf8_lossy(&text).into_owned())
            .unwrap_or_default()
    }

    /// Whether a line of the log contains `text`.
    pub fn log_contains(&self, text: &str) -> bool {
        self.log().lines().any(|line| line.contains(text))
    }

    /// The last lines of the log.
    pub fn log_tail(&self, lines: usize) -> String {
        let log = self.log();
        let all: Vec<&str> = log.lines().collect();
        all[all.len().saturating_sub(lines)..].join("\n")
    }

    /// Waits for a line of the log that contains `text`.
    ///
    /// # Errors
    /// None came within `limit`.
    pub fn wait_log(&self, text: &str, limit: Duration) -> Result<Duration> {
        let what = format!("{text:?} in the log of node {}", self.pnn);
        let look = || {
            ensure!(self.log_contains(text), "{}", self.log_tail(3));
            Ok(())
        };
        Ok(wait_until(&what, limit, look)?.1)
    }

    /// Starts the daemon and returns without waiting for anything.
    ///
    /// # Errors
    /// It runs already, or cannot be started.
    pub fn start(&self) -> Result<()> {
        let mut daemon = self.daemon();
        if let Daemon::Running(child) | Daemon::Paused(child) = &mut *daemon {
            ensure!(child.try_wait()?.is_some(), "node {} runs already", self.pnn);
        }
        let log = File::options().append(true).create(true).open(self.log_file())?;
        let mut command = self.binaries.daemon_command();
        self.in_this_node(&mut command)
            .arg("--interactive")
            .stdin(Stdio::piped())
            .stdout(log.try_clone()?)
            .stderr(log)
            // The keyboard's signals are for us; the daemons go when their standard input ends.
            .process_group(0);
        let child = command
            .spawn()
            .with_context(|| format!("cannot start {command:?}"))?;
        *daemon = Daemon::Running(child);
        Ok(())
    }

    /// Waits until the daemon answers.
    ///
    /// # Errors
    /// It has ended, or does not answer within `limit`.
    pub fn wait_ready(&self, limit: Duration) -> Result<Duration> {
        self.wait_state("its answer", limit, |_| true)
    }

    /// Waits for a state of the daemon.
    ///
    /// # Errors
    /// It has ended, or the state does not come within `limit`.
    pub fn wait_state(
        &self,
        what: &str,
        limit: Duration,
        is_it: impl Fn(&NodeState) -> bool,
    ) -> Result<Duration> {
        let mut ended = None;
        let found = wait_until(&format!("node {}: {what}", self.pnn), limit, || {
            ended = self.exit_status();
            if ended.is_some() {
                return Ok(());
            }
            let state = self.state()?;
            ensure!(is_it(&state), "{state:?}");
            Ok(())
        });
        if let Some(status) = ended {
            bail!(
                "node {} has ended with {status}, its log:\n{}",
                self.pnn,
                self.log_tail(15)
            );
        }
        found
            .map(|(_, took)| took)
            .with_context(|| format!("its log:\n{}", self.log_tail(15)))
    }

    /// Waits until its start is complete.
    ///
    /// # Errors
    /// It has ended, or the start is not complete within `limit`.
    pub fn wait_running(&self, limit: Duration) -> Result<Duration> {
        self.wait_state("run state RUNNING", limit, |state| {
            state.runstate == RunState::Running
        })
    }

    /// What the daemon says of itself now.
    ///
    /// # Errors
    /// It does not answer.
    pub fn state(&self) -> Result<NodeState> {
        Probe::connect(&self.socket(), ANSWER_LIMIT)?.node_state()
    }

    /// The next leader that names itself to this node.
    ///
    /// # Errors
    /// None has for five seconds.
    pub fn leader(&self) -> Result<usize> {
        let leader = Probe::connect(&self.socket(), LEADER_LIMIT)?.leader(LEADER_LIMIT)?;
        Ok(leader as usize)
    }

    /// Kills the daemon (signal 9) and nothing else: its children have to notice. Returns when it is gone.
    ///
    /// # Errors
    /// It does not run.
    pub fn kill(&self) -> Result<ExitStatus> {
        let mut daemon = self.daemon();
        let (Daemon::Running(child) | Daemon::Paused(child)) = &mut *daemon else {
            bail!("node {} does not run", self.pnn)
        };
        child.kill()?;
        let status = child.wait()?;
        *daemon = Daemon::Ended(status);
        Ok(status)
    }

    /// Kills every process of the node at once, as a loss of power does.
    pub fn kill_all(&self) {
        // A process can start another between the look and its end.
        for _ in 0..1000 {
            let left = self.processes();
            left.iter().for_each(|process| process.signal(Signal::SIGKILL));
            // An error says that it has ended already.
            let _ = self.kill();
            if left.is_empty() {
                return;
            }
            std::thread::yield_now();
        }
    }

    /// Shuts down as `ctdb shutdown` does, and waits for the end.
    ///
    /// # Errors
    /// It does not run, or not end within `limit`.
    pub fn shutdown(&self, limit: Duration) -> Result<ExitStatus> {
        Probe::connect(&self.socket(), ANSWER_LIMIT)?.shutdown(self.pnn as u32)?;
        self.wait_end(limit)
    }

    /// Waits for the daemon's end.
    ///
    /// # Errors
    /// It was never started, or does not end within `limit`.
    pub fn wait_end(&self, limit: Duration) -> Result<ExitStatus> {
        let what = format!("the end of node {}", self.pnn);
        let ended = wait_until(&what, limit, || {
            self.exit_status().with_context(|| self.log_tail(5))
        });
        Ok(ended?.0)
    }

    /// Stops all processes of the node where they are (SIGSTOP).
    ///
    /// # Errors
    /// It does not run.
    pub fn pause(&self) -> Result<()> {
        let mut daemon = self.daemon();
        match std::mem::take(&mut *daemon) {
            Daemon::Running(child) => *daemon = Daemon::Paused(child),
            other => {
                *daemon = other;
                bail!("node {} does not run", self.pnn)
            }
        }
        self.processes()
            .iter()
            .for_each(|process| process.signal(Signal::SIGSTOP));
        Ok(())
    }

    /// Lets a stopped node go on (SIGCONT).
    ///
    /// # Errors
    /// It was not paused.
    pub fn resume(&self) -> Result<()> {
        let mut daemon = self.daemon();
        match std::mem::take(&mut *daemon) {
            Daemon::Paused(child) => *daemon = Daemon::Running(child),
            other => {
                *daemon = other;
                bail!("node {} is not paused", self.pnn)
            }
        }
        self.processes()
            .iter()
            .for_each(|process| process.signal(Signal::SIGCONT));
        Ok(())
    }

    /// The daemon's process number while it runs.
    pub fn pid(&self) -> Option<u32> {
        match &*self.daemon() {
            Daemon::Running(child) | Daemon::Paused(child) => Some(child.id()),
            Daemon::NotStarted | Daemon::Ended(_) => None,
        }
    }

    /// Whether the daemon was started, has not ended, and is not paused.
    pub fn is_running(&self) -> bool {
        self.reap();
        matches!(*self.daemon(), Daemon::Running(_))
    }

    /// How the daemon ended, if it did.
    pub fn exit_status(&self) -> Option<ExitStatus> {
        self.reap();
        match *self.daemon() {
            Daemon::Ended(status) => Some(status),
            _ => None,
        }
    }

    /// All living processes of the node, orphans of earlier starts included.
    pub fn processes(&self) -> Vec<Process> {
        processes::below(&self.base)
    }

    /// Those that run a program: `node.processes_of("ctdb_recoverd")`.
    pub fn processes_of(&self, program: &str) -> Vec<Process> {
        self.processes()
            .into_iter()
            .filter(|process| process.is(program))
            .collect()
    }

    /// Waits for a process of a program, a recovery helper for instance.
    ///
    /// # Errors
    /// None came within `limit`.
    pub fn wait_process(&self, program: &str, limit: Duration) -> Result<Process> {
        let what = format!("a process {program} on node {}", self.pnn);
        let look = || {
            self.processes_of(program)
                .into_iter()
                .next()
                .context("there is none")
        };
        Ok(wait_until(&what, limit, look)?.0)
    }

    /// Runs the node's own tool on it.
    ///
    /// # Errors
    /// The tool cannot be run, or does not end within a minute. An exit status other than 0 is none: see
    /// [`ToolRun::ok`].
    pub fn ctdb(&self, args: &[&str]) -> Result<ToolRun> {
        self.ctdb_of(&self.binaries, args)
    }

    /// Runs the tool of another set of programs on this node.
    ///
    /// # Errors
    /// As [`Node::ctdb`].
    pub fn ctdb_of(&self, binaries: &Binaries, args: &[&str]) -> Result<ToolRun> {
        let mut command = binaries.tool_command();
        run_limited(self.in_this_node(&mut command).args(args), TOOL_LIMIT)
    }

    /// The table of `ctdb -X status`, as the node's own tool prints it.
    ///
    /// # Errors
    /// The tool failed, or printed something else.
    pub fn status(&self) -> Result<Vec<StatusRow>> {
        StatusRow::parse_table(&self.ctdb(&["-X", "status"])?.ok()?.text())
    }

    /// Lets a command run with the environment of this node.
    pub fn in_this_node<'c>(&self, command: &'c mut Command) -> &'c mut Command {
        command
            .env("CTDB_BASE", &self.base)
            .env("CTDB_SOCKET", self.socket())
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .current_dir(&self.base)
    }

    /// Takes note of an end that nobody waited for.
    fn reap(&self) {
        let mut daemon = self.daemon();
        if let Daemon::Running(child) | Daemon::Paused(child) = &mut *daemon
            && let Ok(Some(status)) = child.try_wait()
        {
            *daemon = Daemon::Ended(status);
        }
    }

    /// A test that failed with the lock held has left nothing half done.
    fn daemon(&self) -> MutexGuard<'_, Daemon> {
        self.daemon.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Appends a mark to the log, to find the place again.
    ///
    /// # Errors
    /// The log cannot be written.
    pub fn mark_log(&self, text: &str) -> io::Result<()> {
        use std::io::Write;
        File::options()
            .append(true)
            .create(true)
            .open(self.log_file())?
            .write_all(format!("{text}\n").as_bytes())
    }
}
