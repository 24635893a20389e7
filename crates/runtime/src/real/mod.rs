//! The real back end: this process, on epoll through mio.

mod child;
mod reactor;
mod signals;
mod socket;

use std::cell::RefCell;
use std::future::Future;
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

pub(crate) use child::{RealChild, spawn_program};
pub(crate) use reactor::Reactor;
pub(crate) use signals::RealSignals;
pub(crate) use socket::{
    RealListener, Socket, connect_tcp, connect_unix, listen_tcp, listen_unix, socket_pair,
};

use crate::core::{Clock, Core};
use crate::handle::{BackEnd, Handle};

/// The runtime of this process. One per thread that needs one; nothing in it may leave its thread.
pub struct Runtime {
    handle: Handle,
    reactor: Rc<Reactor>,
}

impl Runtime {
    /// Makes the reactor. After [`crate::sys::daemonise`], never before.
    ///
    /// # Errors
    /// The system refuses the descriptors.
    pub fn new() -> io::Result<Runtime> {
        let reactor = Rc::new(Reactor::new()?);
        let random = Rc::new(RefCell::new(fastrand::Rng::new()));
        let core = Core::new(Clock::System(std::time::Instant::now()), random);
        let handle = Handle {
            core,
            back: BackEnd::Real(reactor.clone()),
        };
        Ok(Runtime { handle, reactor })
    }

    /// The handle through which all parts of the program use this runtime.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Turns the loop until `future` is ready. Tasks still alive then stay, and go on in the next `block_on`.
    ///
    /// # Panics
    /// When the kernel refuses to poll, which it has no reason to.
    pub fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        let core = &self.handle.core;
        let woken = Arc::new(MainWoken(AtomicBool::new(true)));
        let waker = Waker::from(woken.clone());
        let mut cx = Context::from_waker(&waker);
        let mut future = pin!(future);
        loop {
            let mut result = Poll::Pending;
            core.run_turn(|| {
                if woken.0.swap(false, Ordering::Relaxed) {
                    result = future.as_mut().poll(&mut cx);
                }
            });
            if let Poll::Ready(value) = result {
                return value;
            }
            let busy = woken.0.load(Ordering::Relaxed) || core.has_work();
            let wait = if busy {
                Some(Duration::ZERO)
            } else {
                self.until_next_timer()
            };
            if let Err(error) = self.reactor.poll(wait) {
                panic!("polling for events failed, which nothing can mend: {error}");
            }
            core.fire_timers();
            core.executor.wake_yielded();
        }
    }

    fn until_next_timer(&self) -> Option<Duration> {
        let next = self.handle.core.timers.borrow().next()?;
        Some(next - self.handle.core.now())
    }
}

/// Every task is dropped, detached ones too.
impl Drop for Runtime {
    fn drop(&mut self) {
        self.handle.core.close();
    }
}

struct MainWoken(AtomicBool);

impl Wake for MainWoken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}
