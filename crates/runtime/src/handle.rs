//! The handle: all that the rest of the program sees of the runtime.

use std::future::{Future, poll_fn};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{OwnedFd, RawFd};
use std::path::Path;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::core::Core;
use crate::executor::{Class, Task};
use crate::program::{Child, ChildKind, Program};
use crate::real::{self, Reactor, RealSignals, Socket};
use crate::sim::{self, Process, VirtualSignals};
use crate::stream::{Listener, ListenerKind, Stream};
use crate::sync::{Either, select2};
use crate::sys;
use crate::time::{Elapsed, Instant, WallTime};
use crate::timers::TimerKey;
use crate::turn::{TurnEnd, TurnHistogram};

#[derive(Clone)]
pub(crate) enum BackEnd {
    Real(Rc<Reactor>),
    Virtual(Rc<Process>),
}

/// A host's view of the runtime: cheap to clone. On the real back end the host is this process, on the virtual one a process of a
/// simulated host.
#[derive(Clone)]
pub struct Handle {
    pub(crate) core: Rc<Core>,
    pub(crate) back: BackEnd,
}

/// Tasks, time and chance.
impl Handle {
    /// Starts a task. It first runs in the next batch, not within this call.
    pub fn spawn<T: 'static>(&self, future: impl Future<Output = T> + 'static) -> Task<T> {
        self.spawn_class(Class::Normal, future)
    }

    /// Starts a task that runs before all normal ones that are ready.
    pub fn spawn_urgent<T: 'static>(&self, future: impl Future<Output = T> + 'static) -> Task<T> {
        self.spawn_class(Class::Urgent, future)
    }

    /// Starts a task of the given class.
    pub fn spawn_class<T: 'static>(
        &self,
        class: Class,
        future: impl Future<Output = T> + 'static,
    ) -> Task<T> {
        self.core.executor.spawn(class, future)
    }

    /// The runtime's clock.
    pub fn now(&self) -> Instant {
        self.core.now()
    }

    /// The time of day.
    pub fn wall_clock(&self) -> WallTime {
        self.core.wall_clock()
    }

    /// Waits for `d`.
    pub fn sleep(&self, d: Duration) -> Sleep {
        self.sleep_until(self.now() + d)
    }

    /// Waits until `at`. The real back end is at most a millisecond late, plus the turn under way.
    pub fn sleep_until(&self, at: Instant) -> Sleep {
        Sleep {
            core: self.core.clone(),
            at,
            timer: None,
        }
    }

    /// Runs `future` for at most `d`; it is dropped when the time is over.
    ///
    /// # Errors
    /// `Elapsed` when it was not ready in time.
    pub async fn timeout<T>(&self, d: Duration, future: impl Future<Output = T>) -> Result<T, Elapsed> {
        match select2(future, self.sleep(d)).await {
            Either::Left(value) => Ok(value),
            Either::Right(()) => Err(Elapsed),
        }
    }

    /// Goes to the end of the ready queue; the reactor is polled in between.
    pub fn yield_now(&self) -> YieldNow {
        YieldNow {
            core: self.core.clone(),
            given_way: false,
        }
    }

    /// A random number of the runtime's generator (seeded in the simulator).
    pub fn random_u32(&self) -> u32 {
        self.core.random.borrow_mut().u32(..)
    }

    /// A random number.
    pub fn random_u64(&self) -> u64 {
        self.core.random.borrow_mut().u64(..)
    }

    /// A random number below `n`.
    ///
    /// # Panics
    /// When `n` is 0.
    pub fn random_below(&self, n: u64) -> u64 {
        self.core.random.borrow_mut().u64(..n)
    }

    /// Asks for one call of `hook` at the end of this turn; when asked from a hook, of the next. Each call of this
    /// function asks for one, so a hook remembers that it has asked.
    pub fn at_turn_end(&self, hook: Rc<dyn TurnEnd>) {
        self.core.at_turn_end(hook);
    }

    /// How long the turns were since the start.
    pub fn turn_lengths(&self) -> TurnHistogram {
        self.core.turn_lengths()
    }
}

/// Sockets.
impl Handle {
    /// Connects by TCP, from the address `from` if given. No delay and keepalive are set.
    ///
    /// # Errors
    /// The system's. There is no deadline here but the kernel's: see [`Handle::timeout`].
    pub async fn connect_tcp(&self, from: Option<IpAddr>, to: SocketAddr) -> io::Result<Stream> {
        match &self.back {
            BackEnd::Real(reactor) => Ok(Stream::real(real::connect_tcp(reactor, from, to).await?)),
            BackEnd::Virtual(process) => Ok(Stream::simulated(
                sim::connect_tcp(self, process, from, to).await?,
            )),
        }
    }

    /// Listens for TCP connections (address reuse is set).
    ///
    /// # Errors
    /// The system's, EADDRINUSE among them.
    pub fn listen_tcp(&self, at: SocketAddr) -> io::Result<Listener> {
        let kind = match &self.back {
            BackEnd::Real(reactor) => ListenerKind::Real(real::listen_tcp(self, reactor, at)?),
            BackEnd::Virtual(process) => ListenerKind::Virtual(sim::listen_tcp(process, at)?),
        };
        Ok(Listener {
            kind,
            handle: self.clone(),
        })
    }

    /// Connects to a unix socket; waits a while when its backlog is full.
    ///
    /// # Errors
    /// The system's: NotFound, ConnectionRefused.
    pub async fn connect_unix(&self, path: &Path) -> io::Result<Stream> {
        match &self.back {
            BackEnd::Real(reactor) => Ok(Stream::real(real::connect_unix(self, reactor, path).await?)),
            BackEnd::Virtual(process) => Ok(Stream::simulated(sim::connect_unix(self, process, path).await?)),
        }
    }

    /// Listens at `path` with the permission bits `mode`. A socket file left by a dead process is replaced.
    /// The file stays when the listener is dropped.
    ///
    /// # Errors
    /// EADDRINUSE when somebody listens there, or the file is no socket.
    pub fn listen_unix(&self, path: &Path, mode: u32, backlog: i32) -> io::Result<Listener> {
        let kind = match &self.back {
            BackEnd::Real(reactor) => {
                ListenerKind::Real(real::listen_unix(self, reactor, path, mode, backlog)?)
            }
            BackEnd::Virtual(process) => ListenerKind::Virtual(sim::listen_unix(process, path, backlog)?),
        };
        Ok(Listener {
            kind,
            handle: self.clone(),
        })
    }

    /// Takes over a descriptor and makes it non-blocking. Plain files work and count as always ready.
    ///
    /// # Errors
    /// The system's; `Unsupported` in the simulator.
    pub fn stream_from_fd(&self, fd: OwnedFd) -> io::Result<Stream> {
        match &self.back {
            BackEnd::Real(reactor) => Ok(Stream::real(Socket::new(reactor, fd)?)),
            BackEnd::Virtual(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// Takes over a stream that the parent passed by descriptor number, see [`Program::arg_pipe`].
    ///
    /// # Errors
    /// EBADF when nothing was passed under the number.
    pub fn inherited_stream(&self, number: RawFd) -> io::Result<Stream> {
        match &self.back {
            BackEnd::Real(_) => self.stream_from_fd(sys::inherited_fd(number)?),
            BackEnd::Virtual(process) => process.take_inherited(number),
        }
    }

    /// Two connected streams.
    ///
    /// # Errors
    /// No descriptors left.
    pub fn stream_pair(&self) -> io::Result<(Stream, Stream)> {
        match &self.back {
            BackEnd::Real(_) => {
                let (a, b) = real::socket_pair()?;
                Ok((self.stream_from_fd(a)?, self.stream_from_fd(b)?))
            }
            BackEnd::Virtual(process) => {
                let (a, b) = sim::stream_pair(process);
                Ok((Stream::simulated(a), Stream::simulated(b)))
            }
        }
    }
}

/// Processes.
impl Handle {
    /// Starts a program.
    ///
    /// # Errors
    /// The system's: NotFound and PermissionDenied of the program itself are reported here too.
    pub fn spawn_program(&self, program: Program) -> io::Result<Child> {
        match &self.back {
            BackEnd::Real(reactor) => {
                let (child, streams) = real::spawn_program(self, reactor, program)?;
                Ok(Child {
                    kind: ChildKind::Real(child),
                    streams,
                })
            }
            BackEnd::Virtual(process) => {
                let (child, streams) = sim::spawn_program(process, program)?;
                Ok(Child {
                    kind: ChildKind::Virtual(child),
                    streams,
                })
            }
        }
    }

    /// Listens to signals: from now on they do not have their default effect.
    ///
    /// # Errors
    /// Signals that cannot be caught (SIGKILL, SIGSTOP) or must not be (SIGSEGV and its like).
    pub fn signals(&self, which: &[Signal]) -> io::Result<Signals> {
        match &self.back {
            BackEnd::Real(reactor) => Ok(Signals(SignalsKind::Real(RealSignals::new(reactor, which)?))),
            BackEnd::Virtual(process) => Ok(Signals(SignalsKind::Virtual(VirtualSignals::new(
                process, which,
            )?))),
        }
    }

    /// The id of this process.
    pub fn pid(&self) -> u32 {
        match &self.back {
            BackEnd::Real(_) => std::process::id(),
            BackEnd::Virtual(process) => process.pid,
        }
    }
}

enum SignalsKind {
    Real(RealSignals),
    Virtual(Rc<VirtualSignals>),
}

/// Signals that the process listens to.
pub struct Signals(SignalsKind);

impl Signals {
    /// Waits for the next signal. Several arrivals of one signal may count as one.
    pub async fn recv(&self) -> Signal {
        poll_fn(|cx| match &self.0 {
            SignalsKind::Real(signals) => signals.poll_recv(cx),
            SignalsKind::Virtual(signals) => signals.poll_recv(cx),
        })
        .await
    }
}

/// The future of [`Handle::sleep`].
#[must_use = "futures do nothing unless awaited"]
pub struct Sleep {
    core: Rc<Core>,
    at: Instant,
    timer: Option<TimerKey>,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.core.now() >= self.at {
            return Poll::Ready(());
        }
        let mut timers = self.core.timers.borrow_mut();
        let armed = self.timer.is_some_and(|key| timers.rearm(key, cx.waker()));
        if !armed {
            let key = timers.set(self.at, cx.waker().clone());
            drop(timers);
            self.timer = Some(key);
        }
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(key) = self.timer {
            let waker = self.core.timers.borrow_mut().cancel(key);
            drop(waker);
        }
    }
}

/// The future of [`Handle::yield_now`].
#[must_use = "futures do nothing unless awaited"]
pub struct YieldNow {
    core: Rc<Core>,
    given_way: bool,
}

impl Future for YieldNow {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.given_way {
            return Poll::Ready(());
        }
        self.given_way = true;
        self.core.executor.give_way(cx);
        Poll::Pending
    }
}
