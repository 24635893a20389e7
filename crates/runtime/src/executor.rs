//! Ready queues and tasks.
//!
//! Two first-in-first-out queues. A *batch* runs what was ready when it began: all urgent tasks, then each normal
//! one, and before every further normal task the urgent ones that became ready meanwhile. So an urgent task waits
//! for at most one step of a normal one, and a normal task is never starved by tasks that wake each other.
//!
//! The queues are in an `Arc<Mutex>` only because a `Waker` has to be `Send`: with that, no `unsafe` is needed.
//! The lock is never contended and never held while a task runs.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use async_task::{FallibleTask, Runnable};
use slab::Slab;

/// Which ready queue a task waits in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Heartbeats, leader broadcasts, controls: run before everything else that is ready.
    Urgent,
    /// Everything else.
    Normal,
}

/// A spawned task: a future of what the task returns. Dropping it cancels the task: the task's future is dropped
/// when the ready queue next comes to it, not within the drop.
#[must_use = "dropping a Task cancels it; call detach() to let it run"]
pub struct Task<T>(FallibleTask<T>);

impl<T> Task<T> {
    /// Lets the task run to its end with nobody waiting.
    pub fn detach(self) {
        self.0.detach();
    }

    /// Whether the task has ended (or was cancelled by the end of its runtime).
    pub fn is_finished(&self) -> bool {
        self.0.is_finished()
    }
}

impl<T> Future for Task<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        match Pin::new(&mut self.0).poll(cx) {
            Poll::Ready(Some(value)) => Poll::Ready(value),
            // The runtime (or the virtual process) of the task has ended: there will be no value.
            Poll::Ready(None) | Poll::Pending => Poll::Pending,
        }
    }
}

#[derive(Default)]
struct Ready {
    urgent: VecDeque<Runnable>,
    normal: VecDeque<Runnable>,
    closed: bool,
}

#[derive(Clone, Default)]
struct ReadyQueues(Arc<Mutex<Ready>>);

impl ReadyQueues {
    fn lock(&self) -> MutexGuard<'_, Ready> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, class: Class, runnable: Runnable) {
        let mut ready = self.lock();
        if ready.closed {
            // Dropped without the lock: the task's future goes with it, and may wake others.
            drop(ready);
            drop(runnable);
            return;
        }
        match class {
            Class::Urgent => ready.urgent.push_back(runnable),
            Class::Normal => ready.normal.push_back(runnable),
        }
    }

    fn pop(&self, class: Class) -> Option<Runnable> {
        let mut ready = self.lock();
        match class {
            Class::Urgent => ready.urgent.pop_front(),
            Class::Normal => ready.normal.pop_front(),
        }
    }

    fn len(&self, class: Class) -> usize {
        let ready = self.lock();
        match class {
            Class::Urgent => ready.urgent.len(),
            Class::Normal => ready.normal.len(),
        }
    }
}

/// The executor of one runtime (or of one virtual process).
#[derive(Default)]
pub(crate) struct Executor {
    ready: ReadyQueues,
    /// One waker per living task: the way to reach all of them at the end.
    alive: Rc<RefCell<Slab<Waker>>>,
    /// Tasks that gave way; they go to the end of the ready queue after the reactor was polled.
    yielded: RefCell<Vec<Waker>>,
}

impl Executor {
    pub fn spawn<T: 'static>(&self, class: Class, future: impl Future<Output = T> + 'static) -> Task<T> {
        let key = self.alive.borrow_mut().insert(Waker::noop().clone());
        let tracked = Tracked {
            future: Some(Box::pin(future)),
            key,
            alive: self.alive.clone(),
        };
        let ready = self.ready.clone();
        let (runnable, task) = async_task::spawn_local(tracked, move |runnable| ready.push(class, runnable));
        self.alive.borrow_mut()[key] = runnable.waker();
        runnable.schedule();
        Task(task.fallible())
    }

    /// Runs one batch. `out_of_time` is asked after each normal task; when it says yes the rest waits for the
    /// next turn, in its order.
    pub fn run_batch(&self, out_of_time: impl Fn() -> bool) {
        self.run_urgent();
        for _ in 0..self.ready.len(Class::Normal) {
            let Some(runnable) = self.ready.pop(Class::Normal) else {
                break;
            };
            runnable.run();
            if out_of_time() {
                break;
            }
            self.run_urgent();
        }
    }

    fn run_urgent(&self) {
        for _ in 0..self.ready.len(Class::Urgent) {
            let Some(runnable) = self.ready.pop(Class::Urgent) else {
                break;
            };
            runnable.run();
        }
    }

    /// Whether a batch would run something or a task has given way.
    pub fn has_ready(&self) -> bool {
        let ready = self.ready.lock();
        !ready.urgent.is_empty() || !ready.normal.is_empty() || !self.yielded.borrow().is_empty()
    }

    /// Parks the task of `cx` until [`Executor::wake_yielded`].
    pub fn give_way(&self, cx: &Context<'_>) {
        self.yielded.borrow_mut().push(cx.waker().clone());
    }

    /// Puts the tasks that gave way to the end of the ready queue.
    pub fn wake_yielded(&self) {
        if self.yielded.borrow().is_empty() {
            return;
        }
        let mut woken = std::mem::take(&mut *self.yielded.borrow_mut());
        for waker in woken.drain(..) {
            waker.wake();
        }
        let mut yielded = self.yielded.borrow_mut();
        if yielded.is_empty() {
            *yielded = woken; // the list's memory, for the next turn
        }
    }

    /// Drops every task, in the order of their slots, and accepts no more. A task that is running right now (it ended
    /// its own process) is dropped when it next gives up the thread.
    pub fn close(&self) {
        let wakers: Vec<Waker> = self.alive.borrow().iter().map(|(_, w)| w.clone()).collect();
        for waker in wakers {
            waker.wake();
        }
        let yielded = std::mem::take(&mut *self.yielded.borrow_mut());
        drop(yielded);
        self.ready.lock().closed = true;
        while let Some(runnable) = self
            .ready
            .pop(Class::Urgent)
            .or_else(|| self.ready.pop(Class::Normal))
        {
            drop(runnable);
        }
    }
}

impl Drop for Executor {
    fn drop(&mut self) {
        self.close();
    }
}

/// The future of a task with its entry in the list of the living.
struct Tracked<F> {
    future: Option<Pin<Box<F>>>,
    key: usize,
    alive: Rc<RefCell<Slab<Waker>>>,
}

impl<F: Future> Future for Tracked<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        match &mut self.future {
            Some(future) => future.as_mut().poll(cx),
            None => Poll::Pending,
        }
    }
}

impl<F> Drop for Tracked<F> {
    fn drop(&mut self) {
        // The future first: what it owns may look at the runtime while it goes.
        self.future = None;
        let waker = self.alive.borrow_mut().try_remove(self.key);
        drop(waker);
    }
}
