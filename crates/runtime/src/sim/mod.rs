//! The virtual back end: whole clusters of hosts in one process, under one seed.
//!
//! A [`Sim`] has hosts with addresses, and each host has processes: the first from [`Sim::host`], further ones by
//! [`crate::Handle::spawn_program`] from what was registered. Every process has its own executor with the same turns as the real back
//! end's, so the programs' libraries run unchanged. What differs:
//!
//! - The clock is virtual. A round in which processes run takes one microsecond; when nothing is ready the clock jumps to the next timer or packet.
//! - TCP streams carry segments with a latency drawn from the seed. A lost segment is sent again later, as TCP does, and holds up those
//!   behind it; after some losses in a row the connection fails. Streams within a host are immediate.
//! - The order in which processes run within a round, latencies, losses and the processes' own random numbers all come from one generator.
//!   No order of hashing or address reaches an action, so that the same seed gives the same run, which [`Sim::trace_hash`] tells.
//!
//! Faults are injected with [`Faults`], which a `Sim` dereferences to and which can be cloned into tasks.

mod faults;
mod process;
mod socket;
mod trace;
mod world;

use std::future::Future;
use std::net::IpAddr;
use std::ops::Deref;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

pub use faults::Faults;
pub use process::Launch;
pub(crate) use process::{Process, VirtualSignals, spawn_program};
pub(crate) use socket::{
    VirtualListener, VirtualSocket, connect_tcp, connect_unix, listen_tcp, listen_unix, stream_pair,
};

use crate::handle::Handle;
use crate::program::ExitStatus;
use crate::time::{Elapsed, Instant};
use process::start_process;
use world::World;

/// What one round of turns costs: time goes on even while tasks yield for ever.
const ROUND: Duration = Duration::from_micros(1);

/// A simulated network of hosts.
pub struct Sim {
    faults: Faults,
}

impl Deref for Sim {
    type Target = Faults;
    fn deref(&self) -> &Faults {
        &self.faults
    }
}

impl Sim {
    /// A network without hosts, all of whose chances come from `seed`.
    pub fn new(seed: u64) -> Sim {
        Sim {
            faults: Faults::new(World::new(seed)),
        }
    }

    fn world(&self) -> &World {
        &self.faults.world
    }

    /// Adds a host and starts its first process, whose handle this is.
    ///
    /// # Panics
    /// When the name or address is taken: the test is wrong.
    pub fn host(&mut self, name: &str, ip: IpAddr) -> Handle {
        let host = self.world().add_host(name, ip);
        start_process(&self.faults.world, &host, None)
    }

    /// Starts a first process again on a host whose processes have ended ([`Faults::crash`]) or not.
    ///
    /// # Panics
    /// When there is no such host.
    pub fn restart(&mut self, name: &str) -> Handle {
        self.world().reap();
        let host = self.world().host_named(name);
        self.world().say(|| format!("{name} starts again"));
        start_process(&self.faults.world, &host, None)
    }

    /// Says what `spawn_program` starts on this host for `program` (the last part of the path counts). The future is the
    /// program's `main`, its value the exit status.
    ///
    /// # Panics
    /// When there is no such host.
    pub fn register_program<F>(&mut self, host: &str, program: &str, main: impl Fn(Launch) -> F + 'static)
    where
        F: Future<Output = i32> + 'static,
    {
        let host = self.world().host_named(host);
        host.register(program, main);
    }

    /// The virtual time.
    pub fn now(&self) -> Instant {
        self.world().now()
    }

    /// Lets `d` of virtual time pass.
    pub fn run_for(&mut self, d: Duration) {
        let end = self.now() + d;
        while self.step(end, &|| false) {}
    }

    /// Runs until `future` is ready, for at most `within` of virtual time. The future is no process of its own.
    ///
    /// # Errors
    /// `Elapsed` when the time is over, or when nothing would ever happen again.
    pub fn run_until<T>(&mut self, within: Duration, future: impl Future<Output = T>) -> Result<T, Elapsed> {
        let end = self.now() + within;
        let woken = Arc::new(Woken(AtomicBool::new(true)));
        let waker = Waker::from(woken.clone());
        let mut cx = Context::from_waker(&waker);
        let mut future = pin!(future);
        loop {
            if woken.0.swap(false, Ordering::Relaxed)
                && let Poll::Ready(value) = future.as_mut().poll(&mut cx)
            {
                return Ok(value);
            }
            let busy = || woken.0.load(Ordering::Relaxed);
            if !self.step(end, &busy) {
                return Err(Elapsed);
            }
        }
    }

    /// Runs until `condition` holds, looking after every round, for at most `within` of virtual time; false when it never did.
    pub fn run_while_not(&mut self, within: Duration, mut condition: impl FnMut() -> bool) -> bool {
        let end = self.now() + within;
        loop {
            if condition() {
                return true;
            }
            if !self.step(end, &|| false) {
                return condition();
            }
        }
    }

    /// One round of turns, or one jump of the clock. False when `end` is reached.
    fn step(&mut self, end: Instant, outside_work: &dyn Fn() -> bool) -> bool {
        let world = self.world();
        world.reap();
        if world.now() >= end {
            return false;
        }
        if self.round() || outside_work() {
            let next = world.now() + ROUND;
            world.advance(next.min(end));
            return true;
        }
        match world.next_event() {
            Some(at) if at <= end => world.advance(at),
            _ => world.advance(end),
        }
        true
    }

    /// A turn of every process that has something to do, in an order drawn from the seed; whether there was one.
    fn round(&self) -> bool {
        let world = self.world();
        let mut busy = world.running_processes();
        busy.retain(|p| p.core.has_work());
        world.random.borrow_mut().shuffle(&mut busy);
        for process in &busy {
            // An earlier one of this round may have stopped or ended it.
            if process.is_running() {
                process.core.executor.wake_yielded();
                process.core.run_turn(|| {});
                world.reap();
            }
        }
        !busy.is_empty()
    }

    /// What happened, newest last: connections, segments, losses, timers, processes, faults. Only the last 100 000 lines are kept.
    pub fn trace(&self) -> Vec<String> {
        self.world().trace.borrow().lines()
    }

    /// A hash of the whole trace: equal for equal runs.
    pub fn trace_hash(&self) -> u64 {
        self.world().trace.borrow().hash()
    }
}

/// Ends all processes.
impl Drop for Sim {
    fn drop(&mut self) {
        self.world().end_all(ExitStatus::Killed(libc::SIGKILL));
    }
}

struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}
