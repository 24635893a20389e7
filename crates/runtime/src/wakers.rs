//! The tasks that wait for one thing.

use std::cell::RefCell;
use std::task::{Context, Waker};

/// Wakers in the order in which their tasks began to wait. A task is in it at most once in practice, so the list
/// stays as short as the number of waiting tasks; its memory is kept between waits.
#[derive(Default)]
pub(crate) struct WakerSet {
    waiting: RefCell<Vec<Waker>>,
}

impl WakerSet {
    /// Adds the task of `cx` unless it waits already.
    pub fn add(&self, cx: &Context<'_>) {
        let mut waiting = self.waiting.borrow_mut();
        if !waiting.iter().any(|w| w.will_wake(cx.waker())) {
            waiting.push(cx.waker().clone());
        }
    }

    /// Wakes and forgets all. A wake only puts the task into a ready queue, it runs nothing.
    pub fn wake_all(&self) {
        let mut woken = std::mem::take(&mut *self.waiting.borrow_mut());
        for waker in woken.drain(..) {
            waker.wake();
        }
        let mut waiting = self.waiting.borrow_mut();
        if waiting.is_empty() {
            *waiting = woken; // the list's memory, for the next wait
        }
    }
}
