//! LCP2: neighbours repel each other.
//!
//! For each address and each node a running sum is kept: what the address costs there, beside the addresses that the
//! node has now. An assignment changes one column of these sums, and a decision reads them; so 1000 addresses
//! on 32 nodes take some ten million steps; adding up anew for each comparison, as upstream does, takes a thousand times that.
//!
//! Sums are u32 and wrap, as upstream's do: a node with more than 720 IPv4 addresses gets there.
//! Balancing still ends, for the cost of a single address can't wrap below 262144 addresses, and each move goes to where the
//! address costs less.

use ctdb_protocol::Pnn;

use crate::Address;
use crate::table::{Table, index};

/// Assigns, and unless `no_ip_failback` moves addresses to nodes that have none or are to be rebalanced.
pub(crate) fn allocate(table: &mut Table, no_ip_failback: bool, rebalance: &[Pnn]) {
    table.unassign_unsuitable();
    let targets = targets(table, rebalance);
    let mut board = Board::new(table);
    while let Some((at, node)) = board.cheapest_assignment() {
        board.assign(at, node);
    }
    if no_ip_failback || targets.is_empty() {
        return;
    }
    while let Some((at, node)) = board.best_move(&targets) {
        board.relocate(at, node);
    }
}

/// Imbalance of each of the first `nodes` nodes: the squared common prefixes of all pairs of its addresses, summed.
pub fn imbalances(addresses: &[Address], nodes: usize) -> Vec<u32> {
    let mut imbalance = vec![0u32; nodes];
    for (at, address) in addresses.iter().enumerate() {
        for other in &addresses[..at] {
            if let Some(owner) = address.owner.filter(|owner| other.owner == Some(*owner)) {
                let sum = &mut imbalance[index(owner)];
                *sum = sum.wrapping_add(distance_squared(address.key(), other.key()));
            }
        }
    }
    imbalance
}

/// Nodes that addresses may be moved to. One that has addresses was healthy before; to move more there would be a
/// failover for the sake of beauty.
fn targets(table: &Table, rebalance: &[Pnn]) -> Vec<Pnn> {
    let nodes = (0..table.node_count() as u32).map(Pnn);
    nodes
        .filter(|node| table.count(*node) == 0 || rebalance.contains(node))
        .collect()
}

/// The table with its costs.
struct Board<'a> {
    table: &'a mut Table,
    keys: Vec<u128>,
    /// By address, then node: what the address costs the node if it has it, or would cost it.
    cost: Vec<Vec<u32>>,
    imbalance: Vec<u32>,
}

impl Board<'_> {
    fn new(table: &mut Table) -> Board<'_> {
        let nodes = table.node_count();
        let keys: Vec<u128> = table.addresses().iter().map(Address::key).collect();
        let owners: Vec<Option<Pnn>> = table.addresses().iter().map(|a| a.owner).collect();
        let mut board = Board {
            cost: vec![vec![0; nodes]; keys.len()],
            imbalance: vec![0; nodes],
            keys,
            table,
        };
        for (at, owner) in owners.into_iter().enumerate() {
            if let Some(node) = owner {
                board.count_in(at, node);
            }
        }
        board
    }

    /// Of all addresses without owner and all nodes that may get them, the pair that costs least; the first of equals.
    fn cheapest_assignment(&self) -> Option<(usize, Pnn)> {
        let unassigned = (0..self.keys.len()).filter(|&at| self.table.owner(at).is_none());
        unassigned
            .flat_map(|at| self.table.takers(at).iter().map(move |&node| (at, node)))
            .min_by_key(|&(at, node)| self.cost[at][index(node)])
    }

    /// The best move away from the most imbalanced node, or from the next one if that has none.
    fn best_move(&self, targets: &[Pnn]) -> Option<(usize, Pnn)> {
        let mut sources: Vec<Pnn> = (0..self.imbalance.len() as u32).map(Pnn).collect();
        sources.sort_by_key(|&node| std::cmp::Reverse(self.imbalance[index(node)]));
        sources
            .into_iter()
            // Nodes without imbalance have at most one address.
            .take_while(|&node| self.imbalance[index(node)] != 0)
            .find_map(|source| self.best_move_from(source, targets))
    }

    /// The move after which source and target together are the least imbalanced; the first of equals.
    fn best_move_from(&self, source: Pnn, targets: &[Pnn]) -> Option<(usize, Pnn)> {
        let from = index(source);
        let mut best: Option<(u32, usize, Pnn)> = None;
        for at in (0..self.keys.len()).filter(|&at| self.table.owner(at) == Some(source)) {
            let cost_there = self.cost[at][from];
            let source_after = self.imbalance[from].wrapping_sub(cost_there);
            for &target in self.table.takers(at).iter().filter(|node| targets.contains(node)) {
                let to = index(target);
                let cost = self.cost[at][to];
                let target_after = self.imbalance[to].wrapping_add(cost);
                let after = source_after.wrapping_add(target_after);
                let improves = target_after < self.imbalance[from] && cost < cost_there;
                if improves && best.is_none_or(|(least, ..)| after < least) {
                    best = Some((after, at, target));
                }
            }
        }
        best.map(|(_, at, target)| (at, target))
    }

    fn assign(&mut self, at: usize, node: Pnn) {
        self.table.set_owner(at, Some(node));
        self.count_in(at, node);
    }

    fn relocate(&mut self, at: usize, node: Pnn) {
        if let Some(source) = self.table.owner(at) {
            self.count_out(at, source);
        }
        self.assign(at, node);
    }

    fn count_in(&mut self, at: usize, node: Pnn) {
        let to = index(node);
        self.imbalance[to] = self.imbalance[to].wrapping_add(self.cost[at][to]);
        self.change_costs(at, to, u32::wrapping_add);
    }

    fn count_out(&mut self, at: usize, node: Pnn) {
        let from = index(node);
        self.imbalance[from] = self.imbalance[from].wrapping_sub(self.cost[at][from]);
        self.change_costs(at, from, u32::wrapping_sub);
    }

    /// An address has come to a node or left it: all others cost more there, or less. It does not cost itself anything.
    fn change_costs(&mut self, at: usize, node: usize, change: fn(u32, u32) -> u32) {
        let key = self.keys[at];
        for (other, costs) in self.cost.iter_mut().enumerate() {
            if other != at {
                costs[node] = change(costs[node], distance_squared(key, self.keys[other]));
            }
        }
    }
}

/// Leading bits that are equal, counted in each of the four words and added up, squared. For IPv4 that is 96 and the
/// length of the common prefix; for IPv6 it is not a prefix, for words behind the first difference count as well.
fn distance_squared(a: u128, b: u128) -> u32 {
    let differing = a ^ b;
    let words = (0..4).map(|word| (differing >> (32 * word)) as u32);
    let distance: u32 = words.map(u32::leading_zeros).sum();
    distance * distance
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, Ipv6Addr};

    fn v4(ip: &str) -> u128 {
        u128::from(ip.parse::<Ipv4Addr>().unwrap().to_bits())
    }

    fn v6(ip: &str) -> u128 {
        ip.parse::<Ipv6Addr>().unwrap().to_bits()
    }

    #[test]
    fn distance_of_ipv4_is_96_and_the_common_prefix() {
        assert_eq!(
            distance_squared(v4("10.0.0.1"), v4("10.0.0.2")),
            (96 + 30) * (96 + 30)
        );
        assert_eq!(distance_squared(v4("10.0.0.1"), v4("10.0.0.1")), 128 * 128);
        assert_eq!(distance_squared(v4("10.0.0.1"), v4("192.0.0.1")), 96 * 96);
    }

    #[test]
    fn distance_of_ipv6_counts_words_behind_the_first_difference() {
        assert_eq!(distance_squared(v6("fd00::1"), v6("7d00::1")), 96 * 96);
        assert_eq!(
            distance_squared(v6("fd00:1::1"), v6("fd00::1")),
            (31 + 96) * (31 + 96)
        );
    }
}
