//! A condition that tasks wait for.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

#[derive(Default)]
struct State {
    /// By the order in which they began to wait; `None`: chosen by `notify_one`.
    waiting: RefCell<BTreeMap<u64, Option<Waker>>>,
    next_id: Cell<u64>,
    /// `notify_one` came while nobody waited.
    permit: Cell<bool>,
    /// How often all were notified.
    rounds: Cell<u64>,
}

/// Wakes tasks that wait for something to change. Clones are the same condition.
#[derive(Clone, Default)]
pub struct Notify(Rc<State>);

impl Notify {
    /// A new condition.
    pub fn new() -> Notify {
        Notify::default()
    }

    /// Wakes the task that has waited longest. If none waits, the next to wait goes on at once (one only, however often this is called).
    pub fn notify_one(&self) {
        let first = {
            let mut waiting = self.0.waiting.borrow_mut();
            waiting.values_mut().find_map(Option::take)
        };
        match first {
            Some(waker) => waker.wake(),
            None => self.0.permit.set(true),
        }
    }

    /// Wakes all tasks that hold a [`Notified`] made before this call, awaited already or not.
    pub fn notify_all(&self) {
        self.0.rounds.set(self.0.rounds.get() + 1);
        let waiting = std::mem::take(&mut *self.0.waiting.borrow_mut());
        for waker in waiting.into_values().flatten() {
            waker.wake();
        }
    }

    /// A future of the next notification. To miss none: make it, look at the condition, then await it.
    pub fn notified(&self) -> Notified {
        Notified {
            state: self.0.clone(),
            round: self.0.rounds.get(),
            id: None,
        }
    }
}

/// The future of [`Notify::notified`].
#[must_use = "futures do nothing unless awaited"]
pub struct Notified {
    state: Rc<State>,
    round: u64,
    id: Option<u64>,
}

impl Future for Notified {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let state = self.state.clone();
        if state.rounds.get() != self.round {
            self.id = None; // notify_all has emptied the list
            return Poll::Ready(());
        }
        let mut waiting = state.waiting.borrow_mut();
        match self.id {
            None => {
                if state.permit.take() {
                    return Poll::Ready(());
                }
                let id = state.next_id.replace(state.next_id.get() + 1);
                waiting.insert(id, Some(cx.waker().clone()));
                drop(waiting);
                self.id = Some(id);
                Poll::Pending
            }
            Some(id) => match waiting.get_mut(&id) {
                Some(Some(waker)) => {
                    waker.clone_from(cx.waker());
                    Poll::Pending
                }
                // Chosen.
                Some(None) | None => {
                    waiting.remove(&id);
                    drop(waiting);
                    self.id = None;
                    Poll::Ready(())
                }
            },
        }
    }
}

impl Drop for Notified {
    fn drop(&mut self) {
        let Some(id) = self.id else { return };
        let entry = self.state.waiting.borrow_mut().remove(&id);
        // Chosen but gone before it knew: the next one is to be woken instead.
        if let Some(None) = entry {
            Notify(self.state.clone()).notify_one();
        }
    }
}
