//! Each address has a home: the nodes in turn, in the order of the addresses, or what the operator wrote.

use std::collections::HashMap;
use std::net::IpAddr;

use ctdb_protocol::Pnn;

use crate::table::Table;

/// An address whose home can't host it goes to the node with the fewest. All nodes take their turn, also those that are
/// down, so that homes do not change with the state of the cluster.
pub(crate) fn allocate(table: &mut Table, home_nodes: &[(IpAddr, Pnn)]) {
    let nodes = table.node_count() as u32;
    let homes = first_lines(home_nodes);
    for at in 0..table.addresses().len() {
        let turn = Pnn(at as u32 % nodes);
        let home = homes.get(&table.addresses()[at].ip).copied();
        table.set_owner(at, Some(home.filter(|home| home.0 < nodes).unwrap_or(turn)));
    }
    table.unassign_unsuitable();
    table.assign_to_least_loaded();
}

fn first_lines(home_nodes: &[(IpAddr, Pnn)]) -> HashMap<IpAddr, Pnn> {
    home_nodes.iter().rev().copied().collect()
}
