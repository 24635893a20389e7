//! Nodes and their states.

use std::net::IpAddr;

use ctdb_protocol::{Generation, NodeFlags, Pnn, RecMode, SockAddr, VnnMap};

use super::{bit, row};

/// A node of `ctdb status`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeRow {
    /// Number.
    pub pnn: Pnn,
    /// Where its daemon listens.
    pub address: SockAddr,
    /// Its state, `UNKNOWN` where it cannot be known yet.
    pub flags: NodeFlags,
    /// All is well but for the link of an interface.
    pub partially_online: bool,
}

impl NodeRow {
    fn is_deleted(&self) -> bool {
        self.flags.contains(NodeFlags::DELETED)
    }
}

/// An address without its port.
pub fn address(address: SockAddr) -> String {
    address
        .ip()
        .map_or_else(|| address.to_string(), |ip| ip.to_string())
}

/// The table for scripts.
pub fn table(nodes: &[NodeRow], this: Pnn, separator: &str) -> String {
    let mut text = row(
        separator,
        &[
            "Node",
            "IP",
            "Disconnected",
            "Unknown",
            "Banned",
            "Disabled",
            "Unhealthy",
            "Stopped",
            "Inactive",
            "PartiallyOnline",
            "ThisNode",
        ],
    );
    for node in nodes.iter().filter(|node| !node.is_deleted()) {
        let has = |flags| bit(node.flags.intersects(flags));
        text += &row(
            separator,
            &[
                &node.pnn.0.to_string(),
                &address(node.address),
                has(NodeFlags::DISCONNECTED),
                has(NodeFlags::UNKNOWN),
                has(NodeFlags::BANNED),
                has(NodeFlags::PERMANENTLY_DISABLED),
                has(NodeFlags::UNHEALTHY),
                has(NodeFlags::STOPPED),
                has(NodeFlags::INACTIVE),
                bit(node.partially_online),
                if node.pnn == this { "Y" } else { "N" },
            ],
        );
    }
    text
}

/// How many nodes there are.
pub fn count(nodes: &[NodeRow]) -> String {
    let deleted = nodes.iter().filter(|node| node.is_deleted()).count();
    match deleted {
        0 => format!("Number of nodes:{}\n", nodes.len()),
        deleted => format!(
            "Number of nodes:{} (including {deleted} deleted nodes)\n",
            nodes.len()
        ),
    }
}

/// One line for each node.
pub fn lines(nodes: &[NodeRow], this: Pnn) -> String {
    let mut text = String::new();
    for node in nodes.iter().filter(|node| !node.is_deleted()) {
        let state = if node.partially_online {
            "PARTIALLYONLINE".to_owned()
        } else {
            node.flags.to_string()
        };
        let mark = if node.pnn == this { " (THIS NODE)" } else { "" };
        text += &format!("pnn:{} {:<16} {state}{mark}\n", node.pnn.0, address(node.address));
    }
    text
}

/// What `ctdb status` says of the whole cluster.
pub fn cluster(vnnmap: &VnnMap, mode: RecMode, leader: Pnn) -> String {
    let mut text = match vnnmap.generation {
        Generation::INVALID => "Generation:INVALID\n".to_owned(),
        generation => format!("Generation:{}\n", generation.0),
    };
    text += &format!("Size:{}\n", vnnmap.map.len());
    for (hash, lmaster) in vnnmap.map.iter().enumerate() {
        // Upstream prints numbers with a sign here.
        text += &format!("hash:{hash} lmaster:{}\n", lmaster.0.cast_signed());
    }
    text += &format!("Recovery mode:{mode} ({})\n", mode.number());
    text += &format!("Leader:{}", pnn(leader));
    text
}

/// A node's number, or `UNKNOWN`, as a line.
pub fn pnn(pnn: Pnn) -> String {
    match pnn {
        Pnn::UNKNOWN => "UNKNOWN\n".to_owned(),
        Pnn(number) => format!("{number}\n"),
    }
}

/// The nodes file as `ctdb listnodes` shows it.
pub fn file(nodes: &[Option<IpAddr>], separator: Option<&str>) -> String {
    let present = (0u32..).zip(nodes).filter_map(|(pnn, ip)| Some((pnn, (*ip)?)));
    match separator {
        None => present.map(|(_, ip)| format!("{ip}\n")).collect(),
        Some(separator) => present
            .map(|(pnn, ip)| row(separator, &[&pnn.to_string(), &ip.to_string()]))
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(pnn: u32, flags: NodeFlags) -> NodeRow {
        NodeRow {
            pnn: Pnn(pnn),
            address: IpAddr::from([10, 0, 0, pnn as u8]).into(),
            flags,
            partially_online: false,
        }
    }

    fn some() -> Vec<NodeRow> {
        vec![
            node(0, NodeFlags::empty()),
            node(1, NodeFlags::DELETED | NodeFlags::DISCONNECTED),
            node(2, NodeFlags::STOPPED | NodeFlags::UNHEALTHY),
            NodeRow {
                partially_online: true,
                ..node(3, NodeFlags::empty())
            },
        ]
    }

    #[test]
    fn deleted_nodes_are_counted_but_not_shown() {
        assert_eq!(count(&some()), "Number of nodes:4 (including 1 deleted nodes)\n");
        assert_eq!(count(&some()[..1]), "Number of nodes:1\n");
        assert_eq!(
            lines(&some(), Pnn(0)),
            "pnn:0 10.0.0.0         OK (THIS NODE)\n\
             pnn:2 10.0.0.2         UNHEALTHY|STOPPED|INACTIVE\n\
             pnn:3 10.0.0.3         PARTIALLYONLINE\n"
        );
    }

    #[test]
    fn the_table_has_a_bit_for_each_flag() {
        let text = table(&some(), Pnn(3), ":");
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[0].split(':').count(), 13);
        assert_eq!(lines[2], ":2:10.0.0.2:0:0:0:0:1:1:1:0:N:");
        assert_eq!(lines[3], ":3:10.0.0.3:0:0:0:0:0:0:0:1:Y:");
    }

    #[test]
    fn a_cluster_without_generation_and_leader_says_so() {
        let map = VnnMap {
            generation: Generation::INVALID,
            map: vec![Pnn(2)],
        };
        assert_eq!(
            cluster(&map, RecMode::Active, Pnn::UNKNOWN),
            "Generation:INVALID\nSize:1\nhash:0 lmaster:2\nRecovery mode:RECOVERY (1)\nLeader:UNKNOWN\n"
        );
    }

    #[test]
    fn deleted_lines_of_the_nodes_file_keep_the_numbers_after_them() {
        let nodes = [None, Some(IpAddr::from([1, 2, 3, 4]))];
        assert_eq!(file(&nodes, None), "1.2.3.4\n");
        assert_eq!(file(&nodes, Some("|")), "|1|1.2.3.4|\n");
    }
}
