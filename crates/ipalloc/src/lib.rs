//! Which node has which public address.
//!
//! What the nodes say about themselves goes in ([`NodeAddresses`], the answers to GET_PUBLIC_IPS), with what the operator
//! wants ([`Policy`]); where each address belongs comes out ([`allocate`]). Three algorithms:
//!
//! - **LCP2** spreads the addresses of each subnet over the nodes. Addresses of one subnet have a long common prefix;
//!   the cost of an address on a node is the sum, over the node's other addresses, of the squared length of that prefix,
//!   so that neighbours repel each other. Addresses move only when they must, or to a node that has none.
//! - **Deterministic**: each address has a home, the same one whatever happened before. Moves most.
//! - **Non-deterministic**: as few as possible on each node, whatever the subnet.
//!
//! The answers are those of the C implementation, including which of two equally good moves is made, so that a takeover
//! run by a C leader and one by ours do not move addresses to and fro. The recorded cases in
//! `tests/vectors/ipalloc.jsonl` prove it. Facts: `recovery.md` §8.
//!
//! Nothing here reads files or tunables, asks nodes or logs.

mod address;
mod deterministic;
mod lcp2;
mod nondeterministic;
mod table;

use std::net::IpAddr;

use ctdb_protocol::Pnn;

pub use address::{Address, NodeAddresses, can_host};
pub use lcp2::imbalances;
use table::Table;

/// The tunable IPAllocAlgorithm.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Algorithm {
    /// 0
    Deterministic,
    /// 1
    NonDeterministic,
    /// 2, and any other value
    #[default]
    Lcp2,
}

impl Algorithm {
    /// From the tunable's value.
    pub fn from_tunable(value: u32) -> Algorithm {
        match value {
            0 => Algorithm::Deterministic,
            1 => Algorithm::NonDeterministic,
            _ => Algorithm::Lcp2,
        }
    }
}

/// What the operator wants.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// How addresses are spread.
    pub algorithm: Algorithm,
    /// Tunable NoIPTakeover: nodes keep what they have and can host, and get nothing new.
    pub no_ip_takeover: bool,
    /// Tunable NoIPFailback: an address moves only when its node can't host it any more. The deterministic algorithm
    /// takes no notice.
    pub no_ip_failback: bool,
    /// LCP2: nodes that get addresses of others although they have some already. Numbers of no node are ignored.
    pub rebalance: Vec<Pnn>,
    /// Deterministic: addresses with a home of their own; the first line of an address counts, unless there is no such
    /// node.
    pub home_nodes: Vec<(IpAddr, Pnn)>,
}

/// Finds an owner for each address that any node knows. `nodes` are all nodes by number, those that are not
/// connected with empty lists. The result is in the order of the C implementation: descending.
pub fn allocate(nodes: &[NodeAddresses], policy: &Policy) -> Vec<Address> {
    let mut table = Table::new(nodes, policy.no_ip_takeover);
    match policy.algorithm {
        Algorithm::Deterministic => deterministic::allocate(&mut table, &policy.home_nodes),
        Algorithm::NonDeterministic => nondeterministic::allocate(&mut table, policy.no_ip_failback),
        Algorithm::Lcp2 => lcp2::allocate(&mut table, policy.no_ip_failback, &policy.rebalance),
    }
    table.into_addresses()
}
