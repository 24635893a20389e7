//! Pure decisions of the cluster: flags, elections, ban credits, whether a recovery is needed and why, vnnmap.
//!
//! Everything here takes what was seen and says what to do; nothing here asks, sends, waits, logs or looks at a
//! clock. Times come in as arguments: a duration since the program's start, or, in elections, since the epoch.
//!
//! | module | question |
//! |---|---|
//! | [`election`] | who leads? |
//! | [`checks`] | is a recovery needed, and why? |
//! | [`vnnmap`] | who are the location masters? |
//! | [`credits`] | who has to be banned, and on what evidence? |
//! | [`operations`] | may a recovery or a takeover run begin now? |
//! | [`flags`] | what do node flags become, and what follows? |
//! | [`version`] | which version is announced, and who leaves if versions differ? |

pub mod checks;
pub mod credits;
pub mod election;
pub mod flags;
pub mod operations;
pub mod version;
pub mod vnnmap;

use ctdb_protocol::{NodeAndFlags, NodeFlags, NodeMap, Pnn};

/// A node as one node sees it, without its address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Node {
    /// Number.
    pub pnn: Pnn,
    /// State.
    pub flags: NodeFlags,
}

impl Node {
    /// The nodes of a map, in its order.
    pub fn list(map: &NodeMap) -> Vec<Node> {
        map.nodes.iter().map(Node::from).collect()
    }
}

impl From<&NodeAndFlags> for Node {
    fn from(node: &NodeAndFlags) -> Node {
        Node {
            pnn: node.pnn,
            flags: node.flags,
        }
    }
}
