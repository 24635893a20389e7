//! Messages: sent to a service of a node or of all nodes, received by those who registered the service.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

use ctdb_protocol::packet::ReqMessage;
use ctdb_protocol::{Message, Pnn, Request, Srvid};
use ctdb_runtime::sync::Semaphore;

use crate::client::LOCAL_TIMEOUT;
use crate::{Client, ClientError};

type Function = Box<dyn FnMut(Srvid, &[u8])>;

struct Handler {
    function: RefCell<Function>,
    /// Cleared by the drop of the registration, which may happen while a message is delivered.
    registered: Cell<bool>,
}

/// Who gets which message. Lists are shared, so that delivery holds no borrow while functions run.
pub(crate) struct Handlers {
    by_srvid: RefCell<HashMap<Srvid, Rc<Vec<Rc<Handler>>>>>,
    /// One registration at a time: the second one for a service must not overtake the first.
    registering: Semaphore,
}

impl Default for Handlers {
    fn default() -> Self {
        Handlers {
            by_srvid: RefCell::default(),
            registering: Semaphore::new(1),
        }
    }
}

impl Handlers {
    /// Calls the functions of the service, then those that want every message.
    pub(crate) fn deliver(&self, srvid: Srvid, data: &[u8]) {
        self.deliver_to(srvid, srvid, data);
        if srvid != Srvid::ALL {
            self.deliver_to(Srvid::ALL, srvid, data);
        }
    }

    fn deliver_to(&self, registered_as: Srvid, srvid: Srvid, data: &[u8]) {
        let list = self.by_srvid.borrow().get(&registered_as).cloned();
        for handler in list.iter().flat_map(|list| list.iter()) {
            if handler.registered.get() {
                (handler.function.borrow_mut())(srvid, data);
            }
        }
    }

    /// Adds a function; `true` when it is the first of its service.
    fn add(&self, srvid: Srvid, handler: &Rc<Handler>) -> bool {
        let mut by_srvid = self.by_srvid.borrow_mut();
        let list = by_srvid.entry(srvid).or_default();
        Rc::make_mut(list).push(handler.clone());
        list.len() == 1
    }

    /// Removes a function; `true` when it was the last of its service.
    fn remove(&self, srvid: Srvid, handler: &Rc<Handler>) -> bool {
        let mut by_srvid = self.by_srvid.borrow_mut();
        let Some(list) = by_srvid.get_mut(&srvid) else {
            return false;
        };
        Rc::make_mut(list).retain(|other| !Rc::ptr_eq(other, handler));
        let last = list.is_empty();
        if last {
            by_srvid.remove(&srvid);
        }
        last
    }
}

impl Client {
    /// Sends a message. Whether anybody gets it is not known; see [`Client::flush`] and [`Client::drained`].
    ///
    /// # Errors
    /// `Disconnected`, `QueueFull`.
    pub fn send_message(&self, to: Pnn, srvid: Srvid, data: &[u8]) -> Result<(), ClientError> {
        self.send_message_with(to, srvid, |out| out.extend_from_slice(data))
    }

    /// Sends a typed message.
    ///
    /// # Errors
    /// As [`Client::send_message`].
    pub fn send_typed(&self, to: Pnn, srvid: Srvid, message: &Message<'_>) -> Result<(), ClientError> {
        self.send_message_with(to, srvid, |out| message.encode(out))
    }

    /// Sends a message whose data `fill` appends in place.
    ///
    /// # Errors
    /// As [`Client::send_message`].
    pub fn send_message_with(
        &self,
        to: Pnn,
        srvid: Srvid,
        fill: impl FnOnce(&mut Vec<u8>),
    ) -> Result<(), ClientError> {
        let reqid = self.state().requests.next_reqid();
        self.send(to, reqid, |header, out| {
            ReqMessage::encode_packet(header, srvid, out, fill);
        })
    }

    /// Registers a service: from now on `handler` is called in place for each of its messages, until the registration is
    /// dropped. It may use the client, register and deregister others, but must not wait for anything.
    /// [`Srvid::ALL`] gets all messages that come to this daemon.
    ///
    /// # Errors
    /// Those of [`Client::control`].
    pub async fn on_message(
        &self,
        srvid: Srvid,
        handler: impl FnMut(Srvid, &[u8]) + 'static,
    ) -> Result<Registration, ClientError> {
        let handlers = &self.state().handlers;
        let _turn = handlers.registering.acquire().await;
        let handler = Rc::new(Handler {
            function: RefCell::new(Box::new(handler)),
            registered: Cell::new(true),
        });
        // Before the question: messages may come before its answer.
        let first = handlers.add(srvid, &handler);
        // From here on a failure, and the drop of this future, take it back.
        let registration = Registration {
            client: self.clone(),
            srvid,
            handler,
        };
        if first {
            self.control_for(srvid, &Request::RegisterSrvid, LOCAL_TIMEOUT)
                .await?;
        }
        Ok(registration)
    }
}

/// A registered service. Dropping it deregisters.
#[must_use = "dropping the registration ends it"]
pub struct Registration {
    client: Client,
    srvid: Srvid,
    handler: Rc<Handler>,
}

impl Registration {
    /// The service.
    pub fn srvid(&self) -> Srvid {
        self.srvid
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.handler.registered.set(false);
        let last = self.client.state().handlers.remove(self.srvid, &self.handler);
        if last {
            let sent = self
                .client
                .control_noreply_for(Pnn::CURRENT, self.srvid, &Request::DeregisterSrvid);
            if let Err(error) = sent {
                // The daemon forgets the services of a client with the connection.
                log::debug!("service {} was not deregistered: {error}", self.srvid);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn handler(function: impl FnMut(Srvid, &[u8]) + 'static) -> Rc<Handler> {
        Rc::new(Handler {
            function: RefCell::new(Box::new(function)),
            registered: Cell::new(true),
        })
    }

    #[test]
    fn a_message_goes_to_its_service_first_and_then_to_who_wants_all() {
        let handlers = Handlers::default();
        let seen = Rc::new(RefCell::new(Vec::new()));
        for (name, registered_as) in [("all", Srvid::ALL), ("five", Srvid(5)), ("six", Srvid(6))] {
            let seen = seen.clone();
            handlers.add(
                registered_as,
                &handler(move |srvid, data| seen.borrow_mut().push((name, srvid.0, data.to_vec()))),
            );
        }
        handlers.deliver(Srvid(5), b"x");
        assert_eq!(
            *seen.borrow(),
            [("five", 5, b"x".to_vec()), ("all", 5, b"x".to_vec())]
        );
    }

    #[test]
    fn only_the_first_and_the_last_of_a_service_concern_the_daemon() {
        let handlers = Handlers::default();
        let (one, two) = (handler(|_, _| {}), handler(|_, _| {}));
        assert!(handlers.add(Srvid(1), &one));
        assert!(!handlers.add(Srvid(1), &two));
        assert!(!handlers.remove(Srvid(1), &one));
        assert!(handlers.remove(Srvid(1), &two));
        assert!(!handlers.remove(Srvid(1), &two));
        assert!(handlers.add(Srvid(1), &one));
    }

    #[test]
    fn a_handler_dropped_by_one_before_it_is_not_called_any_more() {
        let handlers = Rc::new(Handlers::default());
        let called = Rc::new(Cell::new(false));
        let second = {
            let called = called.clone();
            handler(move |_, _| called.set(true))
        };
        let first = {
            let (handlers, second) = (handlers.clone(), second.clone());
            handler(move |_, _| {
                second.registered.set(false);
                handlers.remove(Srvid(1), &second);
            })
        };
        handlers.add(Srvid(1), &first);
        handlers.add(Srvid(1), &second);
        handlers.deliver(Srvid(1), b"");
        assert!(!called.get());
    }
}
