//! Who listens to which srvid, and the delivery of messages on this node.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use ctdb_protocol::{ClientId, Pnn, Srvid};

use crate::Daemon;

/// A listener inside the daemon: gets the sender's node and the data.
pub type OwnListener = Rc<dyn Fn(&Rc<Daemon>, Pnn, &[u8])>;

/// Names one registration of the daemon itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ListenerId(u64);

#[derive(Clone)]
enum Listener {
    Client(ClientId),
    Own(ListenerId, OwnListener),
}

impl Listener {
    fn is_client(&self, client: ClientId) -> bool {
        matches!(self, Listener::Client(id) if *id == client)
    }
}

/// All registrations of this node.
#[derive(Default)]
pub struct Services {
    by_srvid: RefCell<BTreeMap<u64, Vec<Listener>>>,
    /// What each client has registered: thousands of clients may go at once, and none should look at the
    /// registrations of all others.
    by_client: RefCell<BTreeMap<ClientId, Vec<u64>>>,
    last_id: Cell<u64>,
}

impl Services {
    /// A client listens. Registering twice counts twice, as the C daemon has it.
    pub fn register_client(&self, at: Srvid, client: ClientId) {
        self.by_srvid
            .borrow_mut()
            .entry(at.0)
            .or_default()
            .push(Listener::Client(client));
        self.by_client.borrow_mut().entry(client).or_default().push(at.0);
    }

    /// Ends one registration of the client.
    ///
    /// Returns false when there was none.
    pub fn deregister_client(&self, at: Srvid, client: ClientId) -> bool {
        let was_there = self.remove(at, |l| l.is_client(client));
        if was_there && let Some(own) = self.by_client.borrow_mut().get_mut(&client) {
            let place = own.iter().position(|srvid| *srvid == at.0);
            place.map(|place| own.swap_remove(place));
        }
        was_there
    }

    /// Ends every registration of a client that has gone.
    pub fn forget_client(&self, client: ClientId) {
        for srvid in self.by_client.borrow_mut().remove(&client).unwrap_or_default() {
            self.remove(Srvid(srvid), |l| l.is_client(client));
        }
    }

    /// The daemon itself listens.
    pub fn register_own(&self, at: Srvid, listener: OwnListener) -> ListenerId {
        let id = ListenerId(self.last_id.get() + 1);
        self.last_id.set(id.0);
        self.by_srvid
            .borrow_mut()
            .entry(at.0)
            .or_default()
            .push(Listener::Own(id, listener));
        id
    }

    /// Ends a registration of the daemon.
    pub fn deregister_own(&self, at: Srvid, id: ListenerId) {
        self.remove(at, |l| matches!(l, Listener::Own(own, _) if *own == id));
    }

    /// Whether any client on this node has the srvid (`CHECK_PID_SRVID` asks per client).
    pub fn has_client(&self, at: Srvid, client: ClientId) -> bool {
        let map = self.by_srvid.borrow();
        map.get(&at.0)
            .is_some_and(|ls| ls.iter().any(|l| l.is_client(client)))
    }

    fn remove(&self, at: Srvid, which: impl Fn(&Listener) -> bool) -> bool {
        let mut map = self.by_srvid.borrow_mut();
        let Some(listeners) = map.get_mut(&at.0) else {
            return false;
        };
        let Some(place) = listeners.iter().position(which) else {
            return false;
        };
        listeners.remove(place);
        if listeners.is_empty() {
            map.remove(&at.0);
        }
        true
    }

    /// Those who get a message for `at`: exact registrations first, then those for every srvid.
    fn listeners(&self, at: Srvid) -> Vec<Listener> {
        let map = self.by_srvid.borrow();
        let exact = map.get(&at.0).into_iter().flatten();
        let all = map
            .get(&Srvid::ALL.0)
            .filter(|_| at != Srvid::ALL)
            .into_iter()
            .flatten();
        exact.chain(all).cloned().collect()
    }
}

/// Gives a message, whose data `fill` writes in place, to the clients of this node who listen to `at`.
pub fn deliver_to_clients(d: &Daemon, at: Srvid, fill: impl Fn(&mut Vec<u8>)) {
    for listener in d.services.listeners(at) {
        if let Listener::Client(id) = listener
            && let Some(client) = d.clients.get(id)
        {
            client.deliver_in_place(d, at, &fill);
        }
    }
}

/// Gives a message to everybody on this node who listens to `at`.
pub fn deliver(d: &Rc<Daemon>, from: Pnn, at: Srvid, data: &[u8]) {
    for listener in d.services.listeners(at) {
        match listener {
            Listener::Own(_, listener) => listener(d, from, data),
            Listener::Client(id) => {
                if let Some(client) = d.clients.get(id) {
                    client.deliver_message(d, at, data);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: Srvid = Srvid(1);
    const ONE: ClientId = ClientId(1);
    const OTHER: ClientId = ClientId(2);

    #[test]
    fn a_client_that_registers_twice_is_there_until_it_deregisters_twice() {
        let services = Services::default();
        services.register_client(AT, ONE);
        services.register_client(AT, ONE);
        assert!(services.deregister_client(AT, ONE));
        assert!(services.has_client(AT, ONE));
        assert!(services.deregister_client(AT, ONE));
        assert!(!services.deregister_client(AT, ONE));
        assert!(services.listeners(AT).is_empty());
    }

    #[test]
    fn a_client_that_has_gone_leaves_nothing_and_takes_nobody_with_it() {
        let services = Services::default();
        for at in [AT, AT, Srvid(2), Srvid::ALL] {
            services.register_client(at, ONE);
        }
        services.register_client(AT, OTHER);
        services.deregister_client(Srvid(2), ONE);
        services.forget_client(ONE);
        assert!(!services.has_client(AT, ONE));
        assert_eq!(services.listeners(AT).len(), 1);
        assert!(services.has_client(AT, OTHER));
        assert_eq!(services.by_srvid.borrow().len(), 1);
        services.forget_client(OTHER);
        assert!(services.by_srvid.borrow().is_empty() && services.by_client.borrow().is_empty());
    }
}
