//! Requests that wait for an answer, by number.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

use ctdb_protocol::Reqid;
use ctdb_runtime::sync::{OneshotReceiver, OneshotSender, oneshot};

/// First number of a connection, as upstream's library counts. From [`LAST`] on it goes over to small numbers.
const FIRST: u32 = 0x7fff_ff38;
/// Numbers are positive in C's `int`.
const LAST: u32 = 0x7fff_ffff;

/// What came back for a request.
pub(crate) enum Answer {
    Control {
        status: i32,
        data: Vec<u8>,
        text: String,
    },
    Call {
        status: i32,
        data: Vec<u8>,
    },
}

/// The requests of one connection. Bounded by [`Requests::MAX`].
pub(crate) struct Requests {
    waiting: RefCell<HashMap<u32, OneshotSender<Answer>>>,
    next: Cell<u32>,
}

impl Requests {
    /// Most requests that wait at a time.
    pub(crate) const MAX: usize = 1 << 16;

    pub(crate) fn new() -> Requests {
        Requests {
            waiting: RefCell::default(),
            next: Cell::new(FIRST),
        }
    }

    /// A number that no waiting request has. Zero is that of messages from a daemon and not given out.
    pub(crate) fn next_reqid(&self) -> Reqid {
        let waiting = self.waiting.borrow();
        loop {
            let id = self.next.get();
            self.next.set(if id == LAST { 1 } else { id + 1 });
            if !waiting.contains_key(&id) {
                return Reqid(id);
            }
        }
    }

    /// Begins to wait; `None` when too many do.
    pub(crate) fn wait(self: &Rc<Requests>) -> Option<Pending> {
        if self.waiting.borrow().len() >= Requests::MAX {
            return None;
        }
        let reqid = self.next_reqid();
        let (sender, receiver) = oneshot();
        self.waiting.borrow_mut().insert(reqid.0, sender);
        Some(Pending {
            requests: self.clone(),
            reqid,
            receiver,
        })
    }

    /// Gives an answer to who waits for it; `false` when nobody does.
    pub(crate) fn answered(&self, reqid: Reqid, answer: Answer) -> bool {
        let sender = self.waiting.borrow_mut().remove(&reqid.0);
        sender.is_some_and(|sender| sender.send(answer).is_ok())
    }

    /// No more answers will come.
    pub(crate) fn give_up(&self) {
        let waiting = std::mem::take(&mut *self.waiting.borrow_mut());
        drop(waiting);
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.waiting.borrow().len()
    }
}

/// A request under way. Dropping it forgets its number.
pub(crate) struct Pending {
    requests: Rc<Requests>,
    pub(crate) reqid: Reqid,
    receiver: OneshotReceiver<Answer>,
}

impl Pending {
    /// The answer; `None` when the connection ended before.
    pub(crate) async fn answer(&mut self) -> Option<Answer> {
        (&mut self.receiver).await.ok()
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        let sender = self.requests.waiting.borrow_mut().remove(&self.reqid.0);
        drop(sender);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(status: i32) -> Answer {
        Answer::Call {
            status,
            data: Vec::new(),
        }
    }

    #[test]
    fn numbers_begin_as_upstreams_and_go_on_below_the_sign_bit_without_zero() {
        let requests = Requests::new();
        assert_eq!(requests.next_reqid(), Reqid(0x7fff_ff38));
        requests.next.set(LAST);
        assert_eq!(requests.next_reqid(), Reqid(LAST));
        assert_eq!(requests.next_reqid(), Reqid(1));
    }

    #[test]
    fn a_number_in_use_is_passed_over() {
        let requests = Rc::new(Requests::new());
        let first = requests.wait().unwrap();
        requests.next.set(first.reqid.0);
        let second = requests.wait().unwrap();
        assert_eq!(second.reqid.0, first.reqid.0 + 1);
    }

    #[test]
    fn a_dropped_request_is_forgotten_and_its_answer_goes_nowhere() {
        let requests = Rc::new(Requests::new());
        let pending = requests.wait().unwrap();
        let reqid = pending.reqid;
        assert_eq!(requests.len(), 1);
        drop(pending);
        assert_eq!(requests.len(), 0);
        assert!(!requests.answered(reqid, call(0)));
    }

    #[test]
    fn there_is_a_most() {
        let requests = Rc::new(Requests::new());
        let all: Vec<_> = (0..Requests::MAX).map(|_| requests.wait().unwrap()).collect();
        assert!(requests.wait().is_none());
        drop(all);
        assert!(requests.wait().is_some());
    }
}
