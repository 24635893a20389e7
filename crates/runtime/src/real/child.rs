//! Child processes of this process.

use std::cell::Cell;
use std::future::poll_fn;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::rc::Rc;
use std::task::{Context, Poll};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::signal::{Signal, kill, killpg};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use super::reactor::Reactor;
use super::socket::{Socket, socket_pair};
use crate::executor::Class;
use crate::handle::Handle;
use crate::program::{Arg, ChildStreams, ExitStatus, Io, PipeKind, Program};
use crate::stream::Stream;
use crate::sys::{self, ChildSetup};
use crate::wakers::WakerSet;

/// A child and how it ended.
pub(crate) struct RealChild {
    pid: Pid,
    ended: Cell<Option<ExitStatus>>,
    waiting: WakerSet,
}

impl RealChild {
    pub fn pid(&self) -> u32 {
        self.pid.as_raw().unsigned_abs()
    }

    /// The id stays the child's until it is reaped, so this never hits another process.
    pub fn kill(&self, signal: Signal) -> io::Result<()> {
        match self.ended.get() {
            Some(_) => Err(Errno::ESRCH.into()),
            None => Ok(kill(self.pid, signal)?),
        }
    }

    /// The group may outlive its leader.
    pub fn kill_group(&self, signal: Signal) -> io::Result<()> {
        Ok(killpg(self.pid, signal)?)
    }

    pub fn poll_wait(&self, cx: &Context<'_>) -> Poll<ExitStatus> {
        match self.ended.get() {
            Some(status) => Poll::Ready(status),
            None => {
                self.waiting.add(cx);
                Poll::Pending
            }
        }
    }

    pub fn status(&self) -> Option<ExitStatus> {
        self.ended.get()
    }

    /// Takes the exit status from the kernel if the child has ended.
    fn reap(&self) -> bool {
        let status = match waitpid(self.pid, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(_, code)) => ExitStatus::Exited(code),
            Ok(WaitStatus::Signaled(_, signal, _)) => ExitStatus::Killed(signal as i32),
            Ok(_) | Err(Errno::EINTR) => return false,
            // Reaped by somebody else: SIGCHLD is ignored in this process.
            Err(_) => ExitStatus::Unknown,
        };
        self.ended.set(Some(status));
        self.waiting.wake_all();
        true
    }
}

pub(crate) fn spawn_program(
    handle: &Handle,
    reactor: &Rc<Reactor>,
    program: Program,
) -> io::Result<(Rc<RealChild>, ChildStreams)> {
    let mut pass: Vec<OwnedFd> = program.fds;
    let mut numbers = Vec::new();
    let mut pipes = Vec::new();
    for kind in &program.pipes {
        let (ours, theirs) = make_pipe(*kind)?;
        numbers.push(theirs.as_raw_fd());
        pass.push(theirs);
        pipes.push(Some(Stream::real(Socket::new(reactor, ours)?)));
    }
    let mut command = Command::new(&program.path);
    if let Some(arg0) = &program.arg0 {
        command.arg0(arg0);
    }
    for arg in &program.args {
        match arg {
            Arg::Text(text) => command.arg(text),
            Arg::Pipe(id) => command.arg(numbers[id.0].to_string()),
        };
    }
    for (key, value) in &program.env {
        match value {
            Some(Arg::Text(text)) => command.env(key, text),
            Some(Arg::Pipe(id)) => command.env(key, numbers[id.0].to_string()),
            None => command.env_remove(key),
        };
    }
    if let Some(dir) = &program.directory {
        command.current_dir(dir);
    }
    command
        .stdin(stdio(program.stdin))
        .stdout(stdio(program.stdout))
        .stderr(stdio(program.stderr));
    let setup = ChildSetup {
        pass: pass.iter().map(AsRawFd::as_raw_fd).collect(),
        new_group: program.new_process_group,
        die_with_parent: program.die_with_parent,
    };
    sys::prepare_child(&mut command, setup);
    let mut started = command.spawn()?;
    let child = Rc::new(RealChild {
        pid: Pid::from_raw(started.id() as i32),
        ended: Cell::new(None),
        waiting: WakerSet::default(),
    });
    // From here on the child has to be reaped, whatever else fails.
    handle
        .spawn_class(
            Class::Urgent,
            reaper(handle.clone(), reactor.clone(), child.clone()),
        )
        .detach();
    drop(pass);
    let stream = |fd: Option<OwnedFd>| {
        fd.map(|fd| Socket::new(reactor, fd).map(Stream::real))
            .transpose()
    };
    let streams = ChildStreams {
        stdin: stream(started.stdin.take().map(OwnedFd::from))?,
        stdout: stream(started.stdout.take().map(OwnedFd::from))?,
        stderr: stream(started.stderr.take().map(OwnedFd::from))?,
        pipes,
    };
    Ok((child, streams))
}

/// Ours, the child's.
fn make_pipe(kind: PipeKind) -> io::Result<(OwnedFd, OwnedFd)> {
    match kind {
        PipeKind::FromChild => Ok(nix::unistd::pipe2(OFlag::O_CLOEXEC)?),
        PipeKind::ToChild => {
            let (read, write) = nix::unistd::pipe2(OFlag::O_CLOEXEC)?;
            Ok((write, read))
        }
        PipeKind::Both => socket_pair(),
    }
}

fn stdio(io: Io) -> Stdio {
    match io {
        Io::Inherit => Stdio::inherit(),
        Io::Null => Stdio::null(),
        Io::Pipe => Stdio::piped(),
        Io::Fd(fd) => fd.into(),
    }
}

/// Waits for the end of the child and reaps it, whether anybody asks or not.
async fn reaper(handle: Handle, reactor: Rc<Reactor>, child: Rc<RealChild>) {
    let watched = sys::pidfd_open(child.pid()).and_then(|fd| {
        let source = reactor.register(fd.as_raw_fd())?;
        Ok((source, fd))
    });
    match watched {
        Ok((source, fd)) => {
            while !child.reap() {
                source.drained();
                poll_fn(|cx| source.poll_readable(cx)).await;
            }
            drop(source);
            drop(fd);
        }
        Err(_) => reap_by_signal(&handle, &child).await,
    }
}

/// Kernels before 5.3, or out of descriptors: SIGCHLD tells that some child has ended.
async fn reap_by_signal(handle: &Handle, child: &RealChild) {
    /// Between looks when not even the signal can be listened to.
    const LOOK: std::time::Duration = std::time::Duration::from_millis(100);
    let signals = handle.signals(&[Signal::SIGCHLD]);
    // Looked at after the handler is in place: an end before it sends no further signal.
    while !child.reap() {
        match &signals {
            Ok(signals) => drop(handle.timeout(LOOK * 10, signals.recv()).await),
            Err(_) => handle.sleep(LOOK).await,
        }
    }
}
