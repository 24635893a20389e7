//! One value from one task to another.

use std::cell::RefCell;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

struct State<T> {
    value: Option<T>,
    sender_gone: bool,
    receiver_gone: bool,
    waiting: Option<Waker>,
}

/// A channel for one value.
pub fn oneshot<T>() -> (OneshotSender<T>, OneshotReceiver<T>) {
    let state = Rc::new(RefCell::new(State {
        value: None,
        sender_gone: false,
        receiver_gone: false,
        waiting: None,
    }));
    (OneshotSender(state.clone()), OneshotReceiver(state))
}

/// The sending end.
pub struct OneshotSender<T>(Rc<RefCell<State<T>>>);

impl<T> OneshotSender<T> {
    /// Sends the value.
    ///
    /// # Errors
    /// Gives it back when the receiver is gone.
    pub fn send(self, value: T) -> Result<(), T> {
        let mut state = self.0.borrow_mut();
        if state.receiver_gone {
            return Err(value);
        }
        state.value = Some(value);
        Ok(()) // the drop of self wakes the receiver
    }

    /// Whether nobody waits for the value any more.
    pub fn is_closed(&self) -> bool {
        self.0.borrow().receiver_gone
    }
}

impl<T> Drop for OneshotSender<T> {
    fn drop(&mut self) {
        let mut state = self.0.borrow_mut();
        state.sender_gone = true;
        let waker = state.waiting.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// The receiving end, a future of the value.
pub struct OneshotReceiver<T>(Rc<RefCell<State<T>>>);

/// The sender was dropped without sending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SenderGone;

impl fmt::Display for SenderGone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the sender has gone without an answer")
    }
}

impl std::error::Error for SenderGone {}

impl<T> Future for OneshotReceiver<T> {
    type Output = Result<T, SenderGone>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.0.borrow_mut();
        if let Some(value) = state.value.take() {
            return Poll::Ready(Ok(value));
        }
        if state.sender_gone {
            return Poll::Ready(Err(SenderGone));
        }
        state.waiting = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl<T> Drop for OneshotReceiver<T> {
    fn drop(&mut self) {
        let mut state = self.0.borrow_mut();
        state.receiver_gone = true;
        let value = state.value.take();
        drop(state);
        drop(value); // outside the borrow: it may be anything
    }
}
