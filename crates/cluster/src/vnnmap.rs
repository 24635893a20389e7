//! The list of location masters that a recovery makes.

use crate::Node;
use ctdb_protocol::{Capabilities, Generation, Pnn, VnnMap};
use std::collections::BTreeMap;

/// What each connected node can do.
pub type CapabilitiesOf = BTreeMap<Pnn, Capabilities>;

/// All active nodes that can be location master, by number; the leader alone if there is none.
pub fn build_vnnmap(nodes: &[Node], caps: &CapabilitiesOf, leader: Pnn, generation: Generation) -> VnnMap {
    let mut map = active_lmasters(nodes, caps);
    if map.is_empty() {
        map.push(leader);
    }
    VnnMap { generation, map }
}

/// Active nodes that can be location master, by number.
pub fn active_lmasters(nodes: &[Node], caps: &CapabilitiesOf) -> Vec<Pnn> {
    let can = |node: &&Node| {
        let caps = caps.get(&node.pnn).copied().unwrap_or_default();
        node.flags.is_active() && caps.contains(Capabilities::LMASTER)
    };
    let mut lmasters: Vec<Pnn> = nodes.iter().filter(can).map(|node| node.pnn).collect();
    lmasters.sort();
    lmasters
}

#[cfg(test)]
mod tests {
    use super::*;
    use ctdb_protocol::NodeFlags;

    #[test]
    fn location_masters_are_the_active_nodes_that_can_or_else_the_leader() {
        let flags = [
            NodeFlags::empty(),
            NodeFlags::BANNED,
            NodeFlags::UNHEALTHY,
            NodeFlags::empty(),
        ];
        let nodes: Vec<Node> = flags
            .into_iter()
            .zip(0..4)
            .map(|(flags, n)| Node { pnn: Pnn(n), flags })
            .rev()
            .collect();
        let can = Capabilities::LMASTER | Capabilities::RECMASTER;
        let all: CapabilitiesOf = (0..4).map(|n| (Pnn(n), can)).collect();
        let map = build_vnnmap(&nodes, &all, Pnn(3), Generation(5));
        assert_eq!(
            map,
            VnnMap {
                generation: Generation(5),
                map: vec![Pnn(0), Pnn(2), Pnn(3)]
            }
        );
        let none = (0..4).map(|n| (Pnn(n), Capabilities::RECMASTER)).collect();
        assert_eq!(build_vnnmap(&nodes, &none, Pnn(3), Generation(5)).map, [Pnn(3)]);
        assert_eq!(
            build_vnnmap(&nodes, &BTreeMap::new(), Pnn(0), Generation(5)).map,
            [Pnn(0)]
        );
    }
}
