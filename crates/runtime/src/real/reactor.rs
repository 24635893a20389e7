//! Readiness of descriptors, edge-triggered.
//!
//! A source remembers what the kernel last said (`readable`, `writable`) until a read or write finds out otherwise, so that
//! no system call is made to ask. Interest in *writable* is registered only while a writer waits: with it always on,
//! the kernel would wake us each time a peer reads what we wrote.

use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::RawFd;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll as MioPoll, Registry, Token};
use slab::Slab;

use crate::wakers::WakerSet;

/// Events taken from the kernel in one poll.
const EVENTS_PER_POLL: usize = 1024;

pub(crate) struct Reactor {
    poll: RefCell<(MioPoll, Events)>,
    registry: Registry,
    sources: RefCell<Slab<Rc<Readiness>>>,
}

impl Reactor {
    pub fn new() -> io::Result<Reactor> {
        let poll = MioPoll::new()?;
        let registry = poll.registry().try_clone()?;
        let events = Events::with_capacity(EVENTS_PER_POLL);
        Ok(Reactor {
            poll: RefCell::new((poll, events)),
            registry,
            sources: RefCell::default(),
        })
    }

    /// Waits for events at most `timeout` (for ever when `None`) and wakes the tasks concerned.
    pub fn poll(&self, timeout: Option<Duration>) -> io::Result<()> {
        let (poll, events) = &mut *self.poll.borrow_mut();
        match poll.poll(events, timeout) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => return Ok(()),
            other => other?,
        }
        for event in events.iter() {
            let source = self.sources.borrow().get(event.token().0).cloned();
            // Gone: dropped after the kernel had queued the event.
            let Some(source) = source else { continue };
            if event.is_read_closed() || event.is_error() {
                source.hangup.set(true);
            }
            if event.is_readable() || event.is_read_closed() || event.is_error() {
                source.readable.set(true);
                source.readers.wake_all();
            }
            if event.is_writable() || event.is_write_closed() || event.is_error() {
                source.writable.set(true);
                source.writers.wake_all();
                self.want_writable(event.token(), &source, false)?;
            }
        }
        Ok(())
    }

    /// Registers a non-blocking descriptor. It counts as writable and not as readable until events tell.
    ///
    /// # Errors
    /// EPERM for descriptors that cannot be polled (plain files).
    pub fn register(self: &Rc<Self>, fd: RawFd) -> io::Result<Source> {
        let mut sources = self.sources.borrow_mut();
        let entry = sources.vacant_entry();
        let token = Token(entry.key());
        self.registry
            .register(&mut SourceFd(&fd), token, Interest::READABLE)?;
        let ready = Rc::new(Readiness {
            fd,
            readable: Cell::new(false),
            writable: Cell::new(true),
            hangup: Cell::new(false),
            waits_for_writable: Cell::new(false),
            readers: WakerSet::default(),
            writers: WakerSet::default(),
        });
        entry.insert(ready.clone());
        Ok(Source {
            reactor: self.clone(),
            token,
            ready,
        })
    }

    fn want_writable(&self, token: Token, source: &Readiness, want: bool) -> io::Result<()> {
        if source.waits_for_writable.replace(want) == want {
            return Ok(());
        }
        let interest = if want {
            Interest::READABLE | Interest::WRITABLE
        } else {
            Interest::READABLE
        };
        self.registry
            .reregister(&mut SourceFd(&source.fd), token, interest)
    }
}

struct Readiness {
    fd: RawFd,
    readable: Cell<bool>,
    writable: Cell<bool>,
    /// The peer has closed or failed: no further event will come, so a short read proves nothing.
    hangup: Cell<bool>,
    waits_for_writable: Cell<bool>,
    readers: WakerSet,
    writers: WakerSet,
}

/// A registered descriptor. Has to be dropped before the descriptor is closed.
pub(crate) struct Source {
    reactor: Rc<Reactor>,
    token: Token,
    ready: Rc<Readiness>,
}

impl Source {
    pub fn is_readable(&self) -> bool {
        self.ready.readable.get()
    }

    pub fn is_writable(&self) -> bool {
        self.ready.writable.get()
    }

    /// A read found nothing more.
    pub fn drained(&self) {
        self.ready.readable.set(false);
    }

    /// A read got less than it asked for: nothing more is there, unless the end of the stream came with it.
    pub fn drained_unless_closed(&self) {
        if !self.ready.hangup.get() {
            self.ready.readable.set(false);
        }
    }

    /// A write found no room: the kernel is asked to tell when there is.
    pub fn full(&self) -> io::Result<()> {
        self.ready.writable.set(false);
        self.reactor.want_writable(self.token, &self.ready, true)
    }

    pub fn poll_readable(&self, cx: &Context<'_>) -> Poll<()> {
        if self.ready.readable.get() {
            return Poll::Ready(());
        }
        self.ready.readers.add(cx);
        Poll::Pending
    }

    pub fn poll_writable(&self, cx: &Context<'_>) -> Poll<()> {
        if self.ready.writable.get() {
            return Poll::Ready(());
        }
        self.ready.writers.add(cx);
        Poll::Pending
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        // Fails only if the descriptor was closed, and then the kernel has forgotten it already.
        let _ = self.reactor.registry.deregister(&mut SourceFd(&self.ready.fd));
        let entry = self.reactor.sources.borrow_mut().try_remove(self.token.0);
        drop(entry);
    }
}
