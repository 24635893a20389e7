//! Values from several tasks to one, in order.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use super::notify::Notify;

struct State<T> {
    items: VecDeque<T>,
    cap: usize,
    senders: usize,
    receiver_gone: bool,
    receiver: Option<Waker>,
}

struct Shared<T> {
    state: RefCell<State<T>>,
    room: Notify,
}

/// A queue of at most `cap` items.
///
/// # Panics
/// When `cap` is 0: a queue holds at least one item.
pub fn queue<T>(cap: usize) -> (Sender<T>, Receiver<T>) {
    assert!(cap > 0, "a queue holds at least one item");
    let state = State {
        items: VecDeque::new(),
        cap,
        senders: 1,
        receiver_gone: false,
        receiver: None,
    };
    let shared = Rc::new(Shared {
        state: RefCell::new(state),
        room: Notify::new(),
    });
    (Sender(shared.clone()), Receiver(shared))
}

/// A queue that something else bounds: say at the call what.
pub fn unbounded<T>() -> (Sender<T>, Receiver<T>) {
    queue(usize::MAX)
}

/// A sending end; clones send into the same queue.
pub struct Sender<T>(Rc<Shared<T>>);

/// Why an item was not taken. It is given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendError<T> {
    /// The queue holds as many as it may.
    Full(T),
    /// The receiver is gone.
    Closed(T),
}

impl<T> Sender<T> {
    /// Puts an item in.
    ///
    /// # Errors
    /// `Full` and `Closed`, with the item.
    pub fn try_send(&self, item: T) -> Result<(), SendError<T>> {
        let mut state = self.0.state.borrow_mut();
        if state.receiver_gone {
            return Err(SendError::Closed(item));
        }
        if state.items.len() >= state.cap {
            return Err(SendError::Full(item));
        }
        state.items.push_back(item);
        let waker = state.receiver.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
        Ok(())
    }

    /// Puts an item in, waiting for room.
    ///
    /// # Errors
    /// The item, when the receiver is gone.
    pub async fn send(&self, mut item: T) -> Result<(), T> {
        loop {
            let room = self.0.room.notified();
            match self.try_send(item) {
                Ok(()) => return Ok(()),
                Err(SendError::Closed(item)) => return Err(item),
                Err(SendError::Full(back)) => item = back,
            }
            room.await;
        }
    }

    /// Items that wait.
    pub fn len(&self) -> usize {
        self.0.state.borrow().items.len()
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether the receiver is gone.
    pub fn is_closed(&self) -> bool {
        self.0.state.borrow().receiver_gone
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        self.0.state.borrow_mut().senders += 1;
        Sender(self.0.clone())
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        let mut state = self.0.state.borrow_mut();
        state.senders -= 1;
        let waker = if state.senders == 0 {
            state.receiver.take()
        } else {
            None
        };
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// The receiving end.
pub struct Receiver<T>(Rc<Shared<T>>);

impl<T> Receiver<T> {
    /// The next item; `None` when the queue is empty and all senders are gone.
    pub fn recv(&mut self) -> RecvFuture<'_, T> {
        RecvFuture(self)
    }

    /// The next item if there is one.
    pub fn try_recv(&mut self) -> Option<T> {
        let item = self.0.state.borrow_mut().items.pop_front();
        if item.is_some() {
            self.0.room.notify_one();
        }
        item
    }

    /// As [`Receiver::recv`] for hand-written futures.
    pub fn poll_recv(&mut self, cx: &Context<'_>) -> Poll<Option<T>> {
        if let Some(item) = self.try_recv() {
            return Poll::Ready(Some(item));
        }
        let mut state = self.0.state.borrow_mut();
        if state.senders == 0 {
            return Poll::Ready(None);
        }
        state.receiver = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Items that wait.
    pub fn len(&self) -> usize {
        self.0.state.borrow().items.len()
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Waits for at least one item, then takes all that wait; empty when all senders are gone.
    pub async fn recv_all(&mut self, into: &mut Vec<T>) {
        let first = poll_fn(|cx| self.poll_recv(cx)).await;
        into.extend(first);
        while let Some(item) = self.try_recv() {
            into.push(item);
        }
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        let items = {
            let mut state = self.0.state.borrow_mut();
            state.receiver_gone = true;
            std::mem::take(&mut state.items)
        };
        self.0.room.notify_all();
        drop(items);
    }
}

/// The future of [`Receiver::recv`].
#[must_use = "futures do nothing unless awaited"]
pub struct RecvFuture<'a, T>(&'a mut Receiver<T>);

impl<T> Future for RecvFuture<'_, T> {
    type Output = Option<T>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        self.0.poll_recv(cx)
    }
}
