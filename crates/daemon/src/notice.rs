//! Tells the local recovery daemon that something changed, so that it looks at once instead of at
//! its next one-second round. A private message that the C implementation does not know.

use std::rc::Rc;

use ctdb_protocol::Srvid;

use crate::{Daemon, services};

/// What changed; one bit each, so that several can go in one message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Change {
    /// Flags of a node, or a link came or went.
    Nodes = 1,
    /// Recovery mode became ACTIVE.
    Recovery = 2,
    /// This node's own flags.
    OwnFlags = 4,
    /// vnnmap or databases.
    Databases = 8,
    /// This node's run state.
    Runstate = 16,
}

/// Pokes the recovery daemon of this node; nothing happens when none is connected.
pub fn poke(d: &Rc<Daemon>, change: Change) {
    services::deliver(d, d.me(), Srvid::POKE, &(change as u32).to_le_bytes());
}
