//! Virtual processes: an executor with a process id, sockets, signals and an end.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::future::Future;
use std::io;
use std::os::fd::RawFd;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll};

use nix::errno::Errno;
use nix::sys::signal::Signal;

use super::socket::{Half, VirtualListener, VirtualSocket, pair};
use super::world::{Host, World};
use crate::core::{Clock, Core};
use crate::handle::{BackEnd, Handle};
use crate::program::{Arg, ChildStreams, ExitStatus, Io, PipeKind, Program};
use crate::stream::Stream;
use crate::wakers::WakerSet;

/// What a started program is given.
pub struct Launch {
    /// Its own process.
    pub handle: Handle,
    /// Its arguments, its name first.
    pub args: Vec<OsString>,
    /// What its parent put into its environment (the parent's own is not inherited).
    pub env: BTreeMap<OsString, OsString>,
    /// Standard input, when it is a pipe.
    pub stdin: Option<Stream>,
    /// Standard output, when it is a pipe.
    pub stdout: Option<Stream>,
    /// Standard error, when it is a pipe.
    pub stderr: Option<Stream>,
}

pub(super) type Main = Rc<dyn Fn(Launch) -> Pin<Box<dyn Future<Output = i32>>>>;

impl Host {
    pub fn register<F>(&self, program: &str, main: impl Fn(Launch) -> F + 'static)
    where
        F: Future<Output = i32> + 'static,
    {
        let main: Main = Rc::new(move |launch| Box::pin(main(launch)));
        self.programs.borrow_mut().insert(program.to_owned(), main);
    }

    fn program(&self, path: &std::path::Path) -> Option<Main> {
        let programs = self.programs.borrow();
        let whole = path.to_str().and_then(|p| programs.get(p));
        whole
            .or_else(|| programs.get(path.file_name()?.to_str()?))
            .cloned()
    }
}

pub(crate) struct Process {
    pub pid: u32,
    pub(super) host: Rc<Host>,
    pub(super) world: Rc<World>,
    pub core: Rc<Core>,
    /// This process's end is ours.
    pub(super) dies_with: Option<u32>,
    group: Cell<u32>,
    stopped: Cell<bool>,
    ended: Cell<Option<ExitStatus>>,
    waiting: WakerSet,
    listening: RefCell<Vec<Weak<VirtualSignals>>>,
    /// Streams passed by the parent.
    inherited: RefCell<BTreeMap<RawFd, Stream>>,
    /// All that has to be closed at the end, whoever forgot to drop it.
    sockets: RefCell<Vec<Weak<Half>>>,
    listeners: RefCell<Vec<Weak<VirtualListener>>>,
}

/// Starts a process that does nothing yet. `dies_with`: the parent whose end it shares.
pub(super) fn start_process(world: &Rc<World>, host: &Rc<Host>, dies_with: Option<u32>) -> Handle {
    let core = Core::new(Clock::Virtual(world.clock()), world.random.clone());
    let pid = world.next_pid();
    let process = Rc::new(Process {
        pid,
        host: host.clone(),
        world: world.clone(),
        core: core.clone(),
        dies_with,
        group: Cell::new(pid),
        stopped: Cell::new(false),
        ended: Cell::new(None),
        waiting: WakerSet::default(),
        listening: RefCell::default(),
        inherited: RefCell::default(),
        sockets: RefCell::default(),
        listeners: RefCell::default(),
    });
    world.add_process(process.clone());
    world.say(|| format!("{} starts", process.name()));
    Handle {
        core,
        back: BackEnd::Virtual(process),
    }
}

impl Process {
    pub fn name(&self) -> String {
        format!("{}/{}", self.host.name, self.pid)
    }

    pub fn is_running(&self) -> bool {
        self.ended.get().is_none() && !self.stopped.get() && !self.host.paused.get()
    }

    pub(super) fn owns_socket(&self, half: &Rc<Half>) {
        let mut sockets = self.sockets.borrow_mut();
        // The closed ones are swept out when the list would grow.
        if sockets.len() == sockets.capacity() {
            sockets.retain(|s| s.strong_count() > 0);
        }
        sockets.push(Rc::downgrade(half));
    }

    pub(super) fn owns_listener(&self, listener: &Rc<VirtualListener>) {
        self.listeners.borrow_mut().push(Rc::downgrade(listener));
    }

    /// Takes a stream that the parent passed.
    pub fn take_inherited(&self, number: RawFd) -> io::Result<Stream> {
        self.inherited
            .borrow_mut()
            .remove(&number)
            .ok_or_else(|| Errno::EBADF.into())
    }

    /// Drops all tasks, closes all sockets, tells those who wait. Called between turns.
    pub(super) fn end(&self, status: ExitStatus, host_failed: bool) {
        self.ended.set(Some(status));
        let sockets = std::mem::take(&mut *self.sockets.borrow_mut());
        if host_failed {
            sockets
                .iter()
                .filter_map(Weak::upgrade)
                .for_each(|s| s.close(true));
        }
        self.core.close();
        let inherited = std::mem::take(&mut *self.inherited.borrow_mut());
        drop(inherited);
        sockets
            .iter()
            .filter_map(Weak::upgrade)
            .for_each(|s| s.close(false));
        for listener in self.listeners.take().iter().filter_map(Weak::upgrade) {
            listener.close();
        }
        self.waiting.wake_all();
    }

    pub fn status(&self) -> Option<ExitStatus> {
        self.ended.get()
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

    pub fn kill(&self, signal: Signal) -> io::Result<()> {
        if self.ended.get().is_some() {
            return Err(Errno::ESRCH.into());
        }
        self.world.say(|| format!("{} gets {signal}", self.name()));
        match signal {
            Signal::SIGSTOP => self.stopped.set(true),
            Signal::SIGCONT => self.stopped.set(false),
            _ if signal != Signal::SIGKILL && self.is_listened_to(signal) => {}
            Signal::SIGCHLD | Signal::SIGURG | Signal::SIGWINCH => {}
            _ => self
                .world
                .end_soon(self.pid, ExitStatus::Killed(signal as i32), false),
        }
        Ok(())
    }

    pub fn kill_group(&self, signal: Signal) -> io::Result<()> {
        let members = self.world.group(self.group.get());
        if members.is_empty() {
            return Err(Errno::ESRCH.into());
        }
        members.iter().try_for_each(|p| p.kill(signal))
    }

    fn is_listened_to(&self, signal: Signal) -> bool {
        let listening = self.listening.borrow();
        let mut heard = false;
        for signals in listening.iter().filter_map(Weak::upgrade) {
            heard |= signals.deliver(signal);
        }
        heard
    }
}

impl World {
    fn group(&self, group: u32) -> Vec<Rc<Process>> {
        self.all_processes()
            .into_iter()
            .filter(|p| p.group.get() == group)
            .collect()
    }
}

/// Signals that a virtual process listens to.
pub(crate) struct VirtualSignals {
    which: Vec<Signal>,
    /// By number.
    arrived: RefCell<BTreeSet<i32>>,
    waiting: WakerSet,
}

impl VirtualSignals {
    pub fn new(process: &Process, which: &[Signal]) -> io::Result<Rc<VirtualSignals>> {
        if which
            .iter()
            .any(|s| signal_hook::consts::FORBIDDEN.contains(&(*s as i32)))
        {
            return Err(Errno::EINVAL.into());
        }
        let signals = Rc::new(VirtualSignals {
            which: which.to_vec(),
            arrived: RefCell::default(),
            waiting: WakerSet::default(),
        });
        process.listening.borrow_mut().push(Rc::downgrade(&signals));
        Ok(signals)
    }

    fn deliver(&self, signal: Signal) -> bool {
        let wanted = self.which.contains(&signal);
        if wanted {
            self.arrived.borrow_mut().insert(signal as i32);
            self.waiting.wake_all();
        }
        wanted
    }

    pub fn poll_recv(&self, cx: &Context<'_>) -> Poll<Signal> {
        let first = self.arrived.borrow_mut().pop_first();
        match first.and_then(|number| Signal::try_from(number).ok()) {
            Some(signal) => Poll::Ready(signal),
            None => {
                self.waiting.add(cx);
                Poll::Pending
            }
        }
    }
}

pub(crate) fn spawn_program(
    parent: &Rc<Process>,
    program: Program,
) -> io::Result<(Rc<Process>, ChildStreams)> {
    let world = &parent.world;
    let main = parent
        .host
        .program(&program.path)
        .ok_or(io::ErrorKind::NotFound)?;
    if !program.fds.is_empty() {
        return Err(io::ErrorKind::Unsupported.into());
    }
    let dies_with = program.die_with_parent.then_some(parent.pid);
    let handle = start_process(world, &parent.host, dies_with);
    let BackEnd::Virtual(child) = &handle.back else {
        unreachable!("start_process makes virtual ones")
    };
    if !program.new_process_group {
        child.group.set(parent.group.get());
    }
    let (stdin, child_stdin) = stdio(parent, child, &program.stdin)?;
    let (stdout, child_stdout) = stdio(parent, child, &program.stdout)?;
    let (stderr, child_stderr) = stdio(parent, child, &program.stderr)?;
    let pipes = pass_pipes(parent, child, &program.pipes);
    let text = |arg: &Arg| match arg {
        Arg::Text(text) => text.clone(),
        Arg::Pipe(id) => OsString::from((FIRST_PASSED + id.0 as RawFd).to_string()),
    };
    let name = program.arg0.as_deref().unwrap_or(program.path.as_os_str());
    let launch = Launch {
        handle: handle.clone(),
        args: std::iter::once(<OsStr>::to_owned(name))
            .chain(program.args.iter().map(text))
            .collect(),
        env: program
            .env
            .iter()
            .filter_map(|(k, v)| Some((k.clone(), text(v.as_ref()?))))
            .collect(),
        stdin: child_stdin,
        stdout: child_stdout,
        stderr: child_stderr,
    };
    world.say(|| format!("{} is {}", child.name(), program.path.display()));
    let main = main(launch);
    let process = child.clone();
    handle
        .spawn(async move {
            let code = main.await;
            process
                .world
                .end_soon(process.pid, ExitStatus::Exited(code & 0xff), false);
        })
        .detach();
    Ok((
        child.clone(),
        ChildStreams {
            stdin,
            stdout,
            stderr,
            pipes,
        },
    ))
}

/// Number under which the first extra pipe is passed.
const FIRST_PASSED: RawFd = 10;

fn pass_pipes(parent: &Rc<Process>, child: &Rc<Process>, kinds: &[PipeKind]) -> Vec<Option<Stream>> {
    let mut ours = Vec::new();
    for (number, _) in (FIRST_PASSED..).zip(kinds) {
        let (near, far) = pair(parent, child);
        child.inherited.borrow_mut().insert(number, virtual_stream(far));
        ours.push(Some(virtual_stream(near)));
    }
    ours
}

fn stdio(parent: &Rc<Process>, child: &Rc<Process>, io: &Io) -> io::Result<(Option<Stream>, Option<Stream>)> {
    match io {
        Io::Inherit | Io::Null => Ok((None, None)),
        Io::Pipe => {
            let (near, far) = pair(parent, child);
            Ok((Some(virtual_stream(near)), Some(virtual_stream(far))))
        }
        Io::Fd(_) => Err(io::ErrorKind::Unsupported.into()),
    }
}

fn virtual_stream(half: Rc<Half>) -> Stream {
    Stream::simulated(VirtualSocket::new(half))
}
