//! Runs a helper: start it, log what it says, wait for its result, end it. A helper works for the leader; when this node
//! does not lead any more, its helper is killed.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::rc::Rc;

use ctdb_logging::Level;
use ctdb_protocol::Generation;
use ctdb_runtime::sync::{Either, select2};
use ctdb_runtime::{Child, ExitStatus, Io, PipeId, Program, Signal, Stream};

use crate::state::Recoverd;

/// A line of a helper that never ends is cut here.
const LINE_LEN_MAX: usize = 4096;

/// Why a helper's work counts as not done.
#[derive(Debug)]
pub enum HelperFailed {
    /// It could not be started.
    Start {
        /// The program.
        path: PathBuf,
        /// The system's reason.
        error: io::Error,
    },
    /// It said that it failed.
    Result(i32),
    /// It ended without a result.
    NoResult(ExitStatus),
    /// This node does not lead any more.
    NotLeader,
}

impl fmt::Display for HelperFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HelperFailed::Start { path, error } => write!(f, "{} can't be started: {error}", path.display()),
            HelperFailed::Result(result) => write!(f, "its result is {result}"),
            HelperFailed::NoResult(status) => write!(f, "it ended without a result ({status})"),
            HelperFailed::NotLeader => f.write_str("this node does not lead any more"),
        }
    }
}

/// A helper that ends with this value.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // An error says that it has ended already.
        let _ = self.0.kill(Signal::SIGKILL);
    }
}

impl Recoverd {
    /// Recovers all databases.
    ///
    /// # Errors
    /// See [`HelperFailed`]; the helper has logged what went wrong in its work.
    pub async fn run_recovery_helper(self: &Rc<Self>, generation: Generation) -> Result<(), HelperFailed> {
        let mut program = self
            .helper("ctdb_recovery_helper")
            .env("CTDB_DBDIR_STATE", &self.settings.state_dir);
        let log = if self.settings.c_recovery_helper {
            None
        } else {
            let log = program.pipe_from_child();
            program = program.arg_pipe(log);
            Some(log)
        };
        let output = program.pipe_from_child();
        let program = program
            .arg_pipe(output)
            .arg(&self.settings.socket)
            .arg(generation.0.to_string());
        self.run(
            self.settings.paths.helper("ctdb_recovery_helper"),
            program,
            log,
            output,
        )
        .await
    }

    /// Moves public addresses. `rebalance`: nodes that shall get some of them.
    ///
    /// # Errors
    /// As above.
    pub async fn run_takeover_helper(self: &Rc<Self>, rebalance: &[u32]) -> Result<(), HelperFailed> {
        let mut program = self.helper("ctdb_takeover_helper");
        if self.settings.failover_disabled {
            program = program.env("CTDB_DISABLE_IP_FAILOVER", "1");
        }
        let output = program.pipe_from_child();
        let mut program = program.arg_pipe(output).arg(&self.settings.socket);
        if !rebalance.is_empty() {
            let list: Vec<String> = rebalance.iter().map(u32::to_string).collect();
            program = program.arg(list.join(","));
        }
        self.run(
            self.settings.paths.helper("ctdb_takeover_helper"),
            program,
            None,
            output,
        )
        .await
    }

    fn helper(&self, name: &str) -> Program {
        Program::new(self.settings.paths.helper(name))
            .env(ctdb_logging::ENV_LEVEL, Level(ctdb_logging::level()).name())
            .stdin(Io::Null)
            .die_with_parent()
    }

    async fn run(
        self: &Rc<Self>,
        path: PathBuf,
        program: Program,
        log: Option<PipeId>,
        output: PipeId,
    ) -> Result<(), HelperFailed> {
        let mut running = match self.rt.spawn_program(program) {
            Ok(child) => Running(child),
            Err(error) => return Err(HelperFailed::Start { path, error }),
        };
        if let Some(log) = log.and_then(|log| running.0.take_pipe(log)) {
            self.rt.spawn(relay(log)).detach();
        }
        let Some(output) = running.0.take_pipe(output) else {
            unreachable!("the pipe was made for this program and is taken here only")
        };
        let mut result = [0; 4];
        let read = match select2(output.read_exact(&mut result), self.leadership.lost()).await {
            Either::Left(read) => read,
            Either::Right(()) => return Err(HelperFailed::NotLeader),
        };
        match (read, i32::from_le_bytes(result)) {
            (Ok(()), 0) => Ok(()),
            (Ok(()), failed) => Err(HelperFailed::Result(failed)),
            (Err(_), _) => {
                // It has closed the pipe; should it not have ended, it is ended now.
                let _ = running.0.kill(Signal::SIGKILL);
                Err(HelperFailed::NoResult(running.0.wait().await))
            }
        }
    }
}

/// Logs what a helper says, line by line. It has left out what is below the level that it was started with; what it wrote
/// is written.
async fn relay(from: Stream) {
    let mut lines = Lines::default();
    let mut chunk = [0; 4096];
    while let Ok(n @ 1..) = from.read(&mut chunk).await {
        lines.take(&chunk[..n], say);
    }
    lines.end(say);
}

fn say(line: &str) {
    let level = Level(ctdb_logging::level().min(Level::NOTICE.0));
    log::log!(level.to_log(), "{line}");
}

/// Cuts bytes into lines.
#[derive(Default)]
struct Lines {
    pending: Vec<u8>,
}

impl Lines {
    fn take(&mut self, bytes: &[u8], mut say: impl FnMut(&str)) {
        self.pending.extend_from_slice(bytes);
        while let Some(end) = self.pending.iter().position(|&byte| byte == b'\n') {
            let line: Vec<u8> = self.pending.drain(..=end).collect();
            tell(&line, &mut say);
        }
        if self.pending.len() > LINE_LEN_MAX {
            tell(&std::mem::take(&mut self.pending), &mut say);
        }
    }

    fn end(&mut self, mut say: impl FnMut(&str)) {
        tell(&std::mem::take(&mut self.pending), &mut say);
    }
}

fn tell(line: &[u8], say: &mut impl FnMut(&str)) {
    let text = String::from_utf8_lossy(line);
    let text = text.trim_end();
    if !text.is_empty() {
        say(text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn lines_are_the_same_however_they_arrive(
            lines in prop::collection::vec("[a-z ]{0,19}[a-z]", 0..10),
            cuts in prop::collection::vec(1usize..30, 1..40),
        ) {
            let bytes = lines.join("\n").into_bytes();
            let (mut cutter, mut said) = (Lines::default(), Vec::new());
            let (mut rest, mut cuts) = (&bytes[..], cuts.iter().cycle());
            while !rest.is_empty() {
                let n = cuts.next().copied().unwrap_or(1).min(rest.len());
                cutter.take(&rest[..n], |line| said.push(line.to_owned()));
                rest = &rest[n..];
            }
            cutter.end(|line| said.push(line.to_owned()));
            prop_assert_eq!(said, lines);
        }
    }

    #[test]
    fn a_line_without_end_does_not_take_all_memory() {
        let mut lines = Lines::default();
        for _ in 0..1000 {
            lines.take(&[b'x'; 100], |line| assert!(line.len() <= LINE_LEN_MAX + 100));
            assert!(lines.pending.len() <= LINE_LEN_MAX);
        }
    }
}
