//! Starting programs: what to start, and the child that runs.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use nix::sys::signal::Signal;

use crate::real::RealChild;
use crate::sim::Process;
use crate::stream::Stream;

/// What a standard stream of the child is.
#[derive(Debug, Default)]
pub enum Io {
    /// The parent's own.
    #[default]
    Inherit,
    /// `/dev/null`.
    Null,
    /// A pipe, the other end of which is taken from the [`Child`].
    Pipe,
    /// This open file (real back end only).
    Fd(OwnedFd),
}

/// Names an extra pipe of a [`Program`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PipeId(pub(crate) usize);

#[derive(Clone, Copy, Debug)]
pub(crate) enum PipeKind {
    FromChild,
    ToChild,
    Both,
}

#[derive(Debug)]
pub(crate) enum Arg {
    Text(OsString),
    /// The number that the child's end of this pipe has in the child.
    Pipe(PipeId),
}

/// A program to start. The child gets default signal dispositions, no descriptors but the standard streams and those passed here, and
/// the parent's environment with the changes given here.
#[derive(Debug)]
pub struct Program {
    pub(crate) path: PathBuf,
    pub(crate) arg0: Option<OsString>,
    pub(crate) args: Vec<Arg>,
    pub(crate) env: Vec<(OsString, Option<Arg>)>,
    pub(crate) directory: Option<PathBuf>,
    pub(crate) stdin: Io,
    pub(crate) stdout: Io,
    pub(crate) stderr: Io,
    pub(crate) pipes: Vec<PipeKind>,
    pub(crate) fds: Vec<OwnedFd>,
    pub(crate) new_process_group: bool,
    pub(crate) die_with_parent: bool,
}

impl Program {
    /// The program at `path`; a name without a slash is looked up in PATH. In the simulator: the registered name, or
    /// the last part of the path.
    pub fn new(path: impl AsRef<Path>) -> Program {
        Program {
            path: path.as_ref().to_path_buf(),
            arg0: None,
            args: Vec::new(),
            env: Vec::new(),
            directory: None,
            stdin: Io::Inherit,
            stdout: Io::Inherit,
            stderr: Io::Inherit,
            pipes: Vec::new(),
            fds: Vec::new(),
            new_process_group: false,
            die_with_parent: false,
        }
    }

    /// What the program is called in `ps`, instead of its path.
    pub fn arg0(mut self, name: impl AsRef<OsStr>) -> Program {
        self.arg0 = Some(name.as_ref().to_owned());
        self
    }

    /// A further argument.
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Program {
        self.args.push(Arg::Text(arg.as_ref().to_owned()));
        self
    }

    /// Further arguments.
    pub fn args<S: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = S>) -> Program {
        self.args
            .extend(args.into_iter().map(|a| Arg::Text(a.as_ref().to_owned())));
        self
    }

    /// A further argument: the descriptor number of the child's end of `pipe`.
    pub fn arg_pipe(mut self, pipe: PipeId) -> Program {
        self.args.push(Arg::Pipe(pipe));
        self
    }

    /// Sets a variable in the child's environment.
    pub fn env(mut self, key: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Program {
        self.env.push((
            key.as_ref().to_owned(),
            Some(Arg::Text(value.as_ref().to_owned())),
        ));
        self
    }

    /// Sets a variable to the descriptor number of the child's end of `pipe`.
    pub fn env_pipe(mut self, key: impl AsRef<OsStr>, pipe: PipeId) -> Program {
        self.env.push((key.as_ref().to_owned(), Some(Arg::Pipe(pipe))));
        self
    }

    /// Takes a variable out of the child's environment.
    pub fn env_remove(mut self, key: impl AsRef<OsStr>) -> Program {
        self.env.push((key.as_ref().to_owned(), None));
        self
    }

    /// The child's working directory.
    pub fn directory(mut self, dir: impl AsRef<Path>) -> Program {
        self.directory = Some(dir.as_ref().to_path_buf());
        self
    }

    /// The child's standard input.
    pub fn stdin(mut self, io: Io) -> Program {
        self.stdin = io;
        self
    }

    /// The child's standard output.
    pub fn stdout(mut self, io: Io) -> Program {
        self.stdout = io;
        self
    }

    /// The child's standard error.
    pub fn stderr(mut self, io: Io) -> Program {
        self.stderr = io;
        self
    }

    /// An extra pipe that the child writes and we read.
    pub fn pipe_from_child(&mut self) -> PipeId {
        self.add_pipe(PipeKind::FromChild)
    }

    /// An extra pipe that we write and the child reads. It also tells the child of our end (end of file).
    pub fn pipe_to_child(&mut self) -> PipeId {
        self.add_pipe(PipeKind::ToChild)
    }

    /// An extra socket pair between the child and us.
    pub fn socket_to_child(&mut self) -> PipeId {
        self.add_pipe(PipeKind::Both)
    }

    fn add_pipe(&mut self, kind: PipeKind) -> PipeId {
        self.pipes.push(kind);
        PipeId(self.pipes.len() - 1)
    }

    /// Passes this descriptor under its own number (real back end only).
    pub fn pass_fd(mut self, fd: OwnedFd) -> Program {
        self.fds.push(fd);
        self
    }

    /// The child leads a new process group, see [`Child::kill_group`].
    pub fn new_process_group(mut self) -> Program {
        self.new_process_group = true;
        self
    }

    /// The kernel kills the child (SIGKILL) when this process ends, however it ends.
    /// (Strictly: when the thread that started it ends, which is the runtime's.)
    pub fn die_with_parent(mut self) -> Program {
        self.die_with_parent = true;
        self
    }
}

/// How a child ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitStatus {
    /// It exited with this status, 0 to 255.
    Exited(i32),
    /// This signal killed it.
    Killed(i32),
    /// Nobody knows: something else in this process reaped it.
    Unknown,
}

impl ExitStatus {
    /// Whether it exited with status 0.
    pub fn success(self) -> bool {
        self == ExitStatus::Exited(0)
    }

    /// The status it exited with; `None` if it was killed.
    pub fn code(self) -> Option<i32> {
        match self {
            ExitStatus::Exited(code) => Some(code),
            ExitStatus::Killed(_) | ExitStatus::Unknown => None,
        }
    }
}

impl fmt::Display for ExitStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ExitStatus::Exited(code) => write!(f, "exit status {code}"),
            ExitStatus::Killed(number) => match Signal::try_from(*number) {
                Ok(signal) => write!(f, "killed by {signal}"),
                Err(_) => write!(f, "killed by signal {number}"),
            },
            ExitStatus::Unknown => f.write_str("exit status not known"),
        }
    }
}

/// Our ends of a child's pipes.
pub(crate) struct ChildStreams {
    pub stdin: Option<Stream>,
    pub stdout: Option<Stream>,
    pub stderr: Option<Stream>,
    pub pipes: Vec<Option<Stream>>,
}

pub(crate) enum ChildKind {
    Real(Rc<RealChild>),
    Virtual(Rc<Process>),
}

/// A running (or ended) program. Dropping this does not end it; it is reaped in any case.
pub struct Child {
    pub(crate) kind: ChildKind,
    pub(crate) streams: ChildStreams,
}

impl Child {
    /// Its process id.
    pub fn pid(&self) -> u32 {
        match &self.kind {
            ChildKind::Real(child) => child.pid(),
            ChildKind::Virtual(child) => child.pid,
        }
    }

    /// Sends it a signal.
    ///
    /// # Errors
    /// ESRCH when it has ended.
    pub fn kill(&self, signal: Signal) -> io::Result<()> {
        match &self.kind {
            ChildKind::Real(child) => child.kill(signal),
            ChildKind::Virtual(child) => child.kill(signal),
        }
    }

    /// Sends a signal to the group that it leads ([`Program::new_process_group`]).
    ///
    /// # Errors
    /// ESRCH when nobody is left in it.
    pub fn kill_group(&self, signal: Signal) -> io::Result<()> {
        match &self.kind {
            ChildKind::Real(child) => child.kill_group(signal),
            ChildKind::Virtual(child) => child.kill_group(signal),
        }
    }

    /// Waits for its end; at once when it has ended.
    pub async fn wait(&mut self) -> ExitStatus {
        poll_fn(|cx| match &self.kind {
            ChildKind::Real(child) => child.poll_wait(cx),
            ChildKind::Virtual(child) => child.poll_wait(cx),
        })
        .await
    }

    /// How it ended, `None` while it runs.
    pub fn status(&self) -> Option<ExitStatus> {
        match &self.kind {
            ChildKind::Real(child) => child.status(),
            ChildKind::Virtual(child) => child.status(),
        }
    }

    /// Our end of its standard input; `Some` once, and only with [`Io::Pipe`].
    pub fn stdin(&mut self) -> Option<Stream> {
        self.streams.stdin.take()
    }

    /// Our end of its standard output.
    pub fn stdout(&mut self) -> Option<Stream> {
        self.streams.stdout.take()
    }

    /// Our end of its standard error.
    pub fn stderr(&mut self) -> Option<Stream> {
        self.streams.stderr.take()
    }

    /// Our end of an extra pipe; `Some` once.
    pub fn take_pipe(&mut self, pipe: PipeId) -> Option<Stream> {
        self.streams.pipes.get_mut(pipe.0)?.take()
    }
}
