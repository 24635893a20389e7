//! A network namespace with a mount namespace, alive as long as its value.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;

use anyhow::{Context, Result, bail, ensure};
use nix::sched::{CloneFlags, setns};

/// It has no name and no file: it goes when its one process does, and that one ends when its standard input is
/// closed, be it that the test ends it or that the test is killed.
#[derive(Debug)]
pub struct Namespace {
    keeper: Child,
}

impl Namespace {
    /// Makes one with a loopback interface that is up. `iproute2` takes the place of `/etc/iproute2` in it.
    ///
    /// # Errors
    /// Not permitted here, or `unshare` or `ip` is missing.
    pub fn new(iproute2: &Path) -> Result<Namespace> {
        let mut keeper = Command::new("unshare")
            .args(["--net", "--mount", "sh", "-ec"])
            .arg("PATH=$PATH:/usr/sbin:/sbin; mount --bind \"$1\" /etc/iproute2; ip link set lo up; echo ready; read -r _")
            .arg("keeper")
            .arg(iproute2)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .context("starting unshare")?;
        let mut line = String::new();
        if let Some(stdout) = keeper.stdout.take() {
            BufReader::new(stdout).read_line(&mut line)?;
        }
        let namespace = Namespace { keeper };
        ensure!(line == "ready\n", "network namespaces are not permitted");
        Ok(namespace)
    }

    /// A command that runs `program` in it.
    pub fn command(&self, program: &Path) -> Command {
        let mut command = Command::new("nsenter");
        command
            .args(["--net", "--mount", "--target"])
            .arg(self.keeper.id().to_string())
            .arg("--")
            .arg(program);
        command
    }

    /// Runs shell commands in it, with the real programs; gives their output.
    ///
    /// # Errors
    /// One of them failed.
    pub fn sh(&self, commands: &str) -> Result<String> {
        let run = self
            .command(Path::new("sh"))
            .args(["-ec", &format!("PATH=$PATH:/usr/sbin:/sbin; {commands}")])
            .stdin(Stdio::null())
            .output()
            .context("starting nsenter")?;
        let said = String::from_utf8_lossy(&run.stdout).into_owned();
        if !run.status.success() {
            bail!(
                "{commands}: {} {said}{}",
                run.status,
                String::from_utf8_lossy(&run.stderr)
            );
        }
        Ok(said)
    }

    /// Runs `work` on a thread of its own whose sockets are in the namespace.
    ///
    /// # Errors
    /// The namespace cannot be entered, or those of `work`.
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        let path = format!("/proc/{}/ns/net", self.keeper.id());
        let file = File::open(&path).with_context(|| path.clone())?;
        thread::scope(|scope| {
            let thread = scope.spawn(move || {
                setns(&file, CloneFlags::CLONE_NEWNET).context("entering the namespace")?;
                work()
            });
            thread
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        let _ = self.keeper.wait();
    }
}
