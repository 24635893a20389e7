//! Addresses, their owners, and how many each node has.

use ctdb_protocol::Pnn;

use crate::address::{Address, NodeAddresses, merge};

/// The only place that changes an owner. Addresses are named by their place in the list.
pub(crate) struct Table {
    addresses: Vec<Address>,
    /// Addresses that each node has.
    counts: Vec<usize>,
    no_ip_takeover: bool,
}

impl Table {
    pub(crate) fn new(nodes: &[NodeAddresses], no_ip_takeover: bool) -> Table {
        let addresses = merge(nodes);
        let mut counts = vec![0; nodes.len()];
        for owner in addresses.iter().filter_map(|address| address.owner) {
            counts[index(owner)] += 1;
        }
        Table {
            addresses,
            counts,
            no_ip_takeover,
        }
    }

    pub(crate) fn into_addresses(self) -> Vec<Address> {
        self.addresses
    }

    pub(crate) fn addresses(&self) -> &[Address] {
        &self.addresses
    }

    pub(crate) fn node_count(&self) -> usize {
        self.counts.len()
    }

    /// Addresses that a node has.
    pub(crate) fn count(&self, node: Pnn) -> usize {
        self.counts[index(node)]
    }

    pub(crate) fn owner(&self, at: usize) -> Option<Pnn> {
        self.addresses[at].owner
    }

    pub(crate) fn set_owner(&mut self, at: usize, owner: Option<Pnn>) {
        let before = std::mem::replace(&mut self.addresses[at].owner, owner);
        if let Some(node) = before {
            self.counts[index(node)] -= 1;
        }
        if let Some(node) = owner {
            self.counts[index(node)] += 1;
        }
    }

    /// Nodes that may get an address which they do not have.
    pub(crate) fn takers(&self, at: usize) -> &[Pnn] {
        if self.no_ip_takeover {
            &[]
        } else {
            &self.addresses[at].available_on
        }
    }

    /// Takes addresses away from nodes that can't host them.
    pub(crate) fn unassign_unsuitable(&mut self) {
        for at in 0..self.addresses.len() {
            let address = &self.addresses[at];
            if address.owner.is_some_and(|owner| !address.is_available_on(owner)) {
                self.set_owner(at, None);
            }
        }
    }

    /// The node with the fewest addresses of those that may get this one, the first of equals.
    pub(crate) fn least_loaded(&self, at: usize) -> Option<Pnn> {
        self.takers(at)
            .iter()
            .copied()
            .min_by_key(|&node| self.count(node))
    }

    /// Gives each address without owner to the node with the fewest.
    pub(crate) fn assign_to_least_loaded(&mut self) {
        for at in 0..self.addresses.len() {
            if self.owner(at).is_none() {
                self.set_owner(at, self.least_loaded(at));
            }
        }
    }
}

/// Owners are nodes of the table: they come from its lists or are checked against its length.
pub(crate) fn index(node: Pnn) -> usize {
    node.0 as usize
}
