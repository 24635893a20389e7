//! One program (an event script or the debug script) as a child: its own process group, its output collected, a deadline.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use ctdb_runtime::sync::{Either, select2};
use ctdb_runtime::{Child, ExitStatus, Handle, Instant, Io, Program, Signal, Stream, WallTime};
use nix::sys::signal::killpg;
use nix::unistd::Pid;

use crate::output::Output;
use crate::scripts::errno;
use crate::walk::Outcome;

/// Bytes read at once.
const CHUNK_LEN: usize = 64 * 1024;
/// What may still be in the pipe when the program has ended: at most a pipe's default capacity, read with some room.
const CHUNKS_AFTER_END_MAX: usize = 16;

/// The process groups that run on our behalf, to be ended when the daemon ends.
#[derive(Clone, Debug, Default)]
pub struct Groups(Rc<RefCell<BTreeSet<u32>>>);

impl Groups {
    /// Kills all groups.
    pub fn kill_all(&self) {
        for pid in std::mem::take(&mut *self.0.borrow_mut()) {
            kill_group(pid, Signal::SIGKILL);
        }
    }
}

/// What to run.
#[derive(Debug)]
pub struct Job<'a> {
    /// The program.
    pub path: &'a Path,
    /// Its name in the process list.
    pub name: &'a str,
    /// Its arguments.
    pub args: &'a [&'a str],
    /// It must have ended by then.
    pub deadline: Instant,
}

/// How it went.
pub struct ScriptRun {
    /// When it was started.
    pub begin: WallTime,
    /// When it ended or was given up.
    pub end: WallTime,
    /// How it ended.
    pub outcome: Outcome,
    /// What it printed, cut in the middle when it is long.
    pub output: Option<Vec<u8>>,
    /// The process that still runs after a timeout.
    pub hung: Option<Process>,
}

/// A running process group. Dropping this kills the group, unless its leader has ended.
pub struct Process {
    child: Child,
    groups: Groups,
    /// What it prints. Kept open also when nobody listens any more: closing it would kill a program that writes.
    pipe: Stream,
}

impl Process {
    /// Process id of the leader, and of the group.
    pub fn pid(&self) -> u32 {
        self.child.pid()
    }

    /// Asks the group to end.
    pub fn terminate(&self) {
        kill_group(self.pid(), Signal::SIGTERM);
    }

    /// Waits for the end of the leader and collects what is printed. Whoever it leaves behind in the group lives on, as services
    /// that a script starts do; so the end of the output is not waited for.
    pub async fn wait(&mut self, handle: &Handle, output: &mut Output) -> ExitStatus {
        let ended = self.child.wait();
        let status = match select2(ended, read_all(handle, &self.pipe, output)).await {
            Either::Left(status) => status,
            Either::Right(()) => self.child.wait().await,
        };
        // The end may be seen before the last bytes: the reactor is asked once more, then the pipe is emptied.
        handle.yield_now().await;
        let mut chunk = vec![0; CHUNK_LEN];
        for _ in 0..CHUNKS_AFTER_END_MAX {
            match self.pipe.try_read(&mut chunk) {
                Ok(len) if len > 0 => output.push(&chunk[..len]),
                Ok(_) | Err(_) => break,
            }
        }
        self.groups.0.borrow_mut().remove(&self.child.pid());
        status
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.groups.0.borrow_mut().remove(&self.child.pid()) {
            kill_group(self.child.pid(), Signal::SIGKILL);
        }
    }
}

fn kill_group(pid: u32, signal: Signal) {
    // Nobody left in the group is what we want; no other error can happen to a group of our own.
    if let Ok(pid) = i32::try_from(pid) {
        let _ = killpg(Pid::from_raw(pid), signal);
    }
}

/// Runs a program until it ends or the deadline comes. Dropping this future kills it.
/// A program whose deadline is over before it begins is not started at all.
pub async fn run(handle: &Handle, groups: &Groups, job: &Job<'_>) -> ScriptRun {
    let begin = handle.wall_clock();
    let time_left = job.deadline.saturating_since(handle.now());
    let mut output = Output::default();
    let (outcome, hung) = if time_left == Duration::ZERO {
        (Outcome::TimedOut, None)
    } else {
        match start(handle, groups, job) {
            Err(error) => (Outcome::NotStarted(errno(&error)), None),
            Ok(mut process) => match handle.timeout(time_left, process.wait(handle, &mut output)).await {
                Ok(status) => (Outcome::Ended(status), None),
                Err(_) => (Outcome::TimedOut, Some(process)),
            },
        }
    };
    ScriptRun {
        begin,
        end: handle.wall_clock(),
        outcome,
        output: output.finish(),
        hung,
    }
}

fn start(handle: &Handle, groups: &Groups, job: &Job<'_>) -> io::Result<Process> {
    check_startable(job.path)?;
    let (reader, writer) = io::pipe()?;
    let program = Program::new(job.path)
        .arg0(job.name)
        .args(job.args)
        .stdout(Io::Fd(writer.try_clone()?.into()))
        .stderr(Io::Fd(writer.into()))
        .new_process_group();
    let pipe = handle.stream_from_fd(reader.into())?;
    let child = handle.spawn_program(program)?;
    groups.0.borrow_mut().insert(child.pid());
    Ok(Process {
        child,
        groups: groups.clone(),
        pipe,
    })
}

/// Starting a text without `#!` would run it with the shell, as execvp does; upstream (execv) passes over it as disabled.
fn check_startable(path: &Path) -> io::Result<()> {
    let mut magic = [0; 2];
    let read = File::open(path).and_then(|mut file| file.read_exact(&mut magic));
    match read {
        Ok(()) if magic == *b"#!" || magic == *b"\x7fE" => Ok(()),
        // Execute permission without read permission is enough for the kernel.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        Ok(()) => Err(io::Error::from_raw_os_error(libc::ENOEXEC)),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            Err(io::Error::from_raw_os_error(libc::ENOEXEC))
        }
        Err(error) => Err(error),
    }
}

async fn read_all(handle: &Handle, pipe: &Stream, output: &mut Output) {
    let mut chunk = vec![0; CHUNK_LEN];
    while let Ok(len) = pipe.read(&mut chunk).await
        && len > 0
    {
        output.push(&chunk[..len]);
        // A script that prints without end takes turns with everything else.
        handle.yield_now().await;
    }
}
