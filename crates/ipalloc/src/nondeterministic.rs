//! The same number on each node, whatever the addresses.

use ctdb_protocol::Pnn;

use crate::table::Table;

/// Moves that balance what is there already, on top of one for each address.
const EXTRA_MOVES: usize = 5;

pub(crate) fn allocate(table: &mut Table, no_ip_failback: bool) {
    table.unassign_unsuitable();
    table.assign_to_least_loaded();
    if no_ip_failback {
        return;
    }
    // The bound is upstream's. It is needed: an address that only loaded nodes can host may go round in circles.
    for _ in 0..table.addresses().len() + EXTRA_MOVES {
        let Some(source) = overloaded(table) else {
            return;
        };
        relieve(table, source);
    }
}

/// A node that has at least two addresses more than another one which could host the same address. Upstream asks for
/// each address in turn, and takes the first node with the most.
fn overloaded(table: &Table) -> Option<Pnn> {
    let hosted = (0..table.addresses().len()).filter(|&at| table.owner(at).is_some());
    hosted.into_iter().find_map(|at| {
        let takers = table.takers(at).iter().copied();
        // `max_by_key` finds the last of equals: from behind that is the first.
        let most = takers.clone().rev().max_by_key(|&node| table.count(node))?;
        let least = takers.min_by_key(|&node| table.count(node))?;
        (table.count(most) > table.count(least) + 1).then_some(most)
    })
}

/// Gives the first address of the node to whichever node has the fewest, which may be itself.
fn relieve(table: &mut Table, source: Pnn) {
    let first = (0..table.addresses().len()).find(|&at| table.owner(at) == Some(source));
    if let Some(at) = first
        && let Some(node) = table.least_loaded(at)
    {
        table.set_owner(at, Some(node));
    }
}
