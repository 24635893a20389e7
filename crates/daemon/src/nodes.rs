//! The other daemons: address, flags as this node sees them, and the two links to each.

use std::cell::{Cell, RefCell};
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;

use ctdb_protocol::packet::Version;
use ctdb_protocol::{NodeAndFlags, NodeFlags, NodeMap, Pnn};
use ctdb_runtime::Task;
use ctdb_runtime::sync::Notify;
use ctdb_transport::Connection;

/// One line of the nodes file.
pub struct Node {
    /// Its number.
    pub pnn: Pnn,
    /// Where it listens; 0.0.0.0 for a deleted one.
    pub address: SocketAddr,
    /// As this node sees it.
    pub flags: Cell<NodeFlags>,
    /// We write on it.
    pub outgoing: RefCell<Option<Connection>>,
    /// We read from it.
    pub incoming: RefCell<Option<Connection>>,
    /// Packets for it while only `incoming` is up, see [`crate::links::keep_early`].
    pub early: RefCell<Vec<Vec<u8>>>,
    /// Packets from it since the last keepalive tick.
    pub heard: Cell<u32>,
    /// Ticks in a row without any.
    pub silent_ticks: Cell<u32>,
    /// What its keepalives announce; `None` until the first.
    pub version: Cell<Option<Version>>,
    /// It has connected to us.
    pub heard_from: Notify,
    /// Connects, and connects again.
    pub connector: RefCell<Option<Task<()>>>,
}

impl Node {
    /// As every node starts: not connected, not known to be healthy.
    pub fn new(pnn: Pnn, address: SocketAddr, deleted: bool) -> Rc<Node> {
        let mut flags = NodeFlags::DISCONNECTED | NodeFlags::UNHEALTHY;
        if deleted {
            flags = NodeFlags::DELETED | NodeFlags::DISCONNECTED;
        }
        Rc::new(Node {
            pnn,
            address,
            flags: Cell::new(flags),
            outgoing: RefCell::new(None),
            incoming: RefCell::new(None),
            early: RefCell::default(),
            heard: Cell::new(0),
            silent_ticks: Cell::new(0),
            version: Cell::new(None),
            heard_from: Notify::new(),
            connector: RefCell::new(None),
        })
    }

    /// Whether both links are up and the flags say so.
    pub fn is_connected(&self) -> bool {
        self.flags.get().is_connected()
    }

    /// Commented out in the nodes file.
    pub fn is_deleted(&self) -> bool {
        self.flags.get().contains(NodeFlags::DELETED)
    }
}

/// All nodes, by pnn.
pub struct Nodes {
    list: RefCell<Vec<Rc<Node>>>,
    me: Pnn,
}

impl Nodes {
    /// From the addresses of the nodes file; own entry is connected to itself.
    pub fn new(me: Pnn, list: Vec<Rc<Node>>) -> Nodes {
        let nodes = Nodes {
            list: RefCell::new(list),
            me,
        };
        if let Some(own) = nodes.get(me) {
            own.flags.set(own.flags.get() - NodeFlags::DISCONNECTED);
        }
        nodes
    }

    /// The node of that number.
    pub fn get(&self, pnn: Pnn) -> Option<Rc<Node>> {
        self.list.borrow().get(pnn.index()?).cloned()
    }

    /// This node's own entry.
    ///
    /// # Panics
    /// Never while the list holds this node, which start-up and reload both check.
    pub fn own(&self) -> Rc<Node> {
        self.get(self.me)
            .expect("the nodes list holds this node: checked at start and at each reload")
    }

    /// This node's flags.
    pub fn own_flags(&self) -> NodeFlags {
        self.own().flags.get()
    }

    /// A snapshot of the list.
    pub fn all(&self) -> Vec<Rc<Node>> {
        self.list.borrow().clone()
    }

    /// Replaces the list (reload of the nodes file).
    pub fn replace(&self, list: Vec<Rc<Node>>) {
        *self.list.borrow_mut() = list;
    }

    /// By address: who may connect to us.
    pub fn by_address(&self, address: IpAddr) -> Option<Rc<Node>> {
        self.list
            .borrow()
            .iter()
            .find(|n| !n.is_deleted() && n.address.ip() == address)
            .cloned()
    }

    /// Those for which `wanted` holds, in order of pnn.
    pub fn pnns_where(&self, wanted: impl Fn(&Node) -> bool) -> Vec<Pnn> {
        self.list
            .borrow()
            .iter()
            .filter(|n| wanted(n))
            .map(|n| n.pnn)
            .collect()
    }

    /// Connected ones, this node included.
    pub fn connected(&self) -> Vec<Pnn> {
        self.pnns_where(Node::is_connected)
    }

    /// Active ones, this node included.
    pub fn active(&self) -> Vec<Pnn> {
        self.pnns_where(|n| n.flags.get().is_active())
    }

    /// As GET_NODEMAP answers.
    pub fn map(&self) -> NodeMap {
        let entry = |n: &Rc<Node>| NodeAndFlags {
            pnn: n.pnn,
            flags: n.flags.get(),
            addr: n.address.into(),
        };
        NodeMap {
            nodes: self.list.borrow().iter().map(entry).collect(),
        }
    }
}
