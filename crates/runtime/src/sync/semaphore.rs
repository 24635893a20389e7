//! At most so many at once.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

struct State {
    free: Cell<usize>,
    /// By the order in which they began to wait; `None`: has been given a permit and not yet run.
    waiting: RefCell<BTreeMap<u64, Option<Waker>>>,
    next_id: Cell<u64>,
}

impl State {
    fn release(&self) {
        // A permit goes straight to the one who waited longest, so that nobody overtakes.
        let first = self.waiting.borrow_mut().values_mut().find_map(Option::take);
        match first {
            Some(waker) => waker.wake(),
            None => self.free.set(self.free.get() + 1),
        }
    }

    fn nobody_waits(&self) -> bool {
        !self.waiting.borrow().values().any(Option::is_some)
    }
}

/// A number of permits, given out first come, first served. Clones are the same semaphore.
#[derive(Clone)]
pub struct Semaphore(Rc<State>);

impl Semaphore {
    /// With this many permits.
    pub fn new(permits: usize) -> Semaphore {
        Semaphore(Rc::new(State {
            free: Cell::new(permits),
            waiting: RefCell::default(),
            next_id: Cell::new(0),
        }))
    }

    /// Waits for a permit.
    pub fn acquire(&self) -> Acquire {
        Acquire {
            state: self.0.clone(),
            id: None,
        }
    }

    /// A permit if one is free and nobody waits.
    pub fn try_acquire(&self) -> Option<Permit> {
        let free = self.0.free.get();
        (free > 0 && self.0.nobody_waits()).then(|| {
            self.0.free.set(free - 1);
            Permit(self.0.clone())
        })
    }

    /// Permits that are free.
    pub fn free(&self) -> usize {
        self.0.free.get()
    }
}

/// A permit; dropping it gives it back.
pub struct Permit(Rc<State>);

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.release();
    }
}

/// The future of [`Semaphore::acquire`].
#[must_use = "futures do nothing unless awaited"]
pub struct Acquire {
    state: Rc<State>,
    id: Option<u64>,
}

impl Future for Acquire {
    type Output = Permit;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Permit> {
        let state = self.state.clone();
        if let Some(id) = self.id {
            let mut waiting = state.waiting.borrow_mut();
            if let Some(Some(waker)) = waiting.get_mut(&id) {
                waker.clone_from(cx.waker());
                return Poll::Pending;
            }
            waiting.remove(&id);
            drop(waiting);
            self.id = None;
            return Poll::Ready(Permit(state));
        }
        if let Some(permit) = Semaphore(state.clone()).try_acquire() {
            return Poll::Ready(permit);
        }
        let id = state.next_id.replace(state.next_id.get() + 1);
        state.waiting.borrow_mut().insert(id, Some(cx.waker().clone()));
        self.id = Some(id);
        Poll::Pending
    }
}

impl Drop for Acquire {
    fn drop(&mut self) {
        let Some(id) = self.id else { return };
        let entry = self.state.waiting.borrow_mut().remove(&id);
        // Was given a permit that it will not use.
        if let Some(None) = entry {
            self.state.release();
        }
    }
}
