//! What nodes say, and what follows for each address.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ctdb_protocol::{Pnn, PublicIpList};

/// What one node says about public addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeAddresses {
    /// Addresses of its configuration, and whether it says that it hosts them. What it thinks of other nodes' addresses
    /// may be old and does not count.
    pub known: BTreeMap<IpAddr, bool>,
    /// Those that it could host now.
    pub available: BTreeSet<IpAddr>,
}

impl NodeAddresses {
    /// From the node's two answers to GET_PUBLIC_IPS, the second with the flag for available ones only. `pnn` is the node
    /// that answered. Entries that are neither IPv4 nor IPv6 are left out.
    pub fn new(pnn: Pnn, known: &PublicIpList, available: &PublicIpList) -> NodeAddresses {
        let mut node = NodeAddresses::default();
        for entry in &known.ips {
            if let Some(ip) = entry.addr.ip() {
                *node.known.entry(ip).or_default() |= entry.pnn == pnn;
            }
        }
        node.available = available.ips.iter().filter_map(|entry| entry.addr.ip()).collect();
        node
    }
}

/// Whether there is anything to allocate: an address that some node hosts, or one that some node could. Otherwise a
/// takeover run leaves addresses alone: the nodes are still starting, or none is healthy.
pub fn can_host(nodes: &[NodeAddresses]) -> bool {
    let hosts = |node: &NodeAddresses| node.known.values().any(|hosted| *hosted);
    let any_known = nodes.iter().any(|node| !node.known.is_empty());
    nodes.iter().any(hosts) || any_known && nodes.iter().any(|node| !node.available.is_empty())
}

/// A public address and its nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// The address.
    pub ip: IpAddr,
    /// The node that said that it hosts it; of several the one with the highest number.
    pub before: Option<Pnn>,
    /// The node that is to host it. `None`: no node can, or none may.
    pub owner: Option<Pnn>,
    /// Nodes that have it in their configuration, by number.
    pub known_on: Vec<Pnn>,
    /// Nodes that could host it now, by number.
    pub available_on: Vec<Pnn>,
}

impl Address {
    /// Whether the node could host the address now.
    pub fn is_available_on(&self, node: Pnn) -> bool {
        self.available_on.binary_search(&node).is_ok()
    }

    /// The address as 128 bits; IPv4 in the last 32.
    pub(crate) fn key(&self) -> u128 {
        match self.ip {
            IpAddr::V4(ip) => u128::from(ip.to_bits()),
            IpAddr::V6(ip) => ip.to_bits(),
        }
    }
}

/// All addresses that any node knows in descending order, still with the owners that they had.
pub(crate) fn merge(nodes: &[NodeAddresses]) -> Vec<Address> {
    let ips: BTreeSet<IpAddr> = nodes.iter().flat_map(|node| node.known.keys().copied()).collect();
    let mut addresses: Vec<Address> = ips.into_iter().map(|ip| gather(ip, nodes)).collect();
    addresses.sort_by_key(|address| std::cmp::Reverse(address.key()));
    addresses
}

fn gather(ip: IpAddr, nodes: &[NodeAddresses]) -> Address {
    let which = |is: &dyn Fn(&NodeAddresses) -> bool| -> Vec<Pnn> {
        let numbered = (0..).map(Pnn).zip(nodes);
        numbered
            .filter(|(_, node)| is(node))
            .map(|(pnn, _)| pnn)
            .collect()
    };
    let hosted_by = which(&|node| node.known.get(&ip) == Some(&true));
    let before = hosted_by.last().copied();
    Address {
        ip,
        before,
        owner: before,
        // The two questions are asked one after the other: an address may have been added in between.
        known_on: which(&|node| node.known.contains_key(&ip) || node.available.contains(&ip)),
        available_on: which(&|node| node.available.contains(&ip)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ctdb_protocol::PublicIp;

    fn list(entries: &[(&str, u32)]) -> PublicIpList {
        let entry = |&(ip, pnn): &(&str, u32)| PublicIp {
            pnn: Pnn(pnn),
            addr: ip.parse::<IpAddr>().unwrap().into(),
        };
        PublicIpList {
            ips: entries.iter().map(entry).collect(),
        }
    }

    #[test]
    fn a_node_speaks_for_itself_only() {
        let known = list(&[("10.0.0.1", 0), ("10.0.0.2", 1)]);
        let nodes = [
            NodeAddresses::new(Pnn(0), &known, &list(&[("10.0.0.1", 0)])),
            NodeAddresses::default(),
        ];
        let merged = merge(&nodes);
        assert_eq!(merged[0].ip.to_string(), "10.0.0.2");
        assert_eq!(merged[0].before, None, "node 1 itself does not say so");
        assert_eq!(merged[1].before, Some(Pnn(0)));
        assert_eq!(merged[1].available_on, [Pnn(0)]);
        assert!(merged[1].is_available_on(Pnn(0)) && !merged[1].is_available_on(Pnn(1)));
    }

    #[test]
    fn ipv4_comes_behind_ipv6_in_descending_order() {
        let known = list(&[("10.0.0.1", 9), ("10.0.0.2", 9), ("fd00::1", 9), ("fd00::2", 9)]);
        let merged = merge(&[NodeAddresses::new(Pnn(0), &known, &known)]);
        let order: Vec<String> = merged.iter().map(|address| address.ip.to_string()).collect();
        assert_eq!(order, ["fd00::2", "fd00::1", "10.0.0.2", "10.0.0.1"]);
    }

    #[test]
    fn nothing_can_be_hosted_while_nobody_hosts_and_nobody_could() {
        let known = list(&[("10.0.0.1", 0)]);
        let none = PublicIpList::default();
        let can = |pnn, available| {
            can_host(&[
                NodeAddresses::default(),
                NodeAddresses::new(Pnn(pnn), &known, available),
            ])
        };
        assert!(!can(1, &none));
        assert!(can(1, &known), "it could");
        assert!(can(0, &none), "it does");
        assert!(!can_host(&[]));
    }
}
