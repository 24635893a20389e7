//! Numbers that name things. Each is a type of its own, so that a node number can't be taken for a
//! generation; each prints as operators know it from `ctdb` and the log.

use std::fmt;

/// Physical node number: the line of a node in the `nodes` file, counted from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pnn(pub u32);

impl Pnn {
    /// "The node you are connected to"; only on the unix socket.
    pub const CURRENT: Pnn = Pnn(0xF000_0001);
    /// Every node that is not deleted, the sender included.
    pub const BROADCAST_ALL: Pnn = Pnn(0xF000_0002);
    /// Every node without an inactive flag, the sender included.
    pub const BROADCAST_ACTIVE: Pnn = Pnn(0xF000_0003);
    /// Every node that is neither deleted nor disconnected, the sender included.
    pub const BROADCAST_CONNECTED: Pnn = Pnn(0xF000_0004);
    /// Used inside the C client library only; never seen on a socket.
    pub const MULTICAST: Pnn = Pnn(0xF000_0005);
    /// No node, or not known which.
    pub const UNKNOWN: Pnn = Pnn(0xFFFF_FFFF);

    /// Place in the node map; `None` for the special values above.
    pub fn index(self) -> Option<usize> {
        (self.0 < 0xF000_0000).then_some(self.0 as usize)
    }

    /// One of the four destinations that mean several nodes.
    pub fn is_broadcast(self) -> bool {
        (Pnn::BROADCAST_ALL.0..=Pnn::MULTICAST.0).contains(&self.0)
    }
}

impl fmt::Display for Pnn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Pnn::CURRENT => f.write_str("CURRENT"),
            Pnn::BROADCAST_ALL => f.write_str("BROADCAST_ALL"),
            Pnn::BROADCAST_ACTIVE => f.write_str("BROADCAST_ACTIVE"),
            Pnn::BROADCAST_CONNECTED => f.write_str("BROADCAST_CONNECTED"),
            Pnn::MULTICAST => f.write_str("MULTICAST"),
            Pnn::UNKNOWN => f.write_str("UNKNOWN"),
            Pnn(n) => write!(f, "{n}"),
        }
    }
}

/// Number of a recovery. Packets of another one are dropped, see `wire.md` §1.2.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Generation(pub u32);

impl Generation {
    /// Before the first recovery, and on inactive nodes.
    pub const INVALID: Generation = Generation(1);

    /// Whether this node takes part in any generation.
    pub fn is_valid(self) -> bool {
        self != Generation::INVALID
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_valid() {
            write!(f, "{}", self.0)
        } else {
            f.write_str("INVALID")
        }
    }
}

/// A database: Jenkins hash of its name with the final NUL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DbId(pub u32);

impl fmt::Display for DbId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{:08x}", self.0)
    }
}

/// Chosen by who asks, echoed in the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reqid(pub u32);

impl Reqid {
    /// Belongs to no request.
    pub const INVALID: Reqid = Reqid(0xFFFF_FFFF);
    /// What messages delivered by a daemon carry.
    pub const NONE: Reqid = Reqid(0);
}

impl fmt::Display for Reqid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// Who sent a control: a client's number on its own node, or 0 for a daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientId(pub u32);

impl ClientId {
    /// The control comes from a daemon, not from a client.
    pub const DAEMON: ClientId = ClientId(0);
}

impl fmt::Display for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// Record sequence number: which copy of a record is the newer one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rsn(pub u64);

impl Rsn {
    /// `n` changes later; stops at the largest number instead of starting over.
    pub fn plus(self, n: u64) -> Rsn {
        Rsn(self.0.saturating_add(n))
    }

    /// `n` changes earlier; stops at 0.
    pub fn minus(self, n: u64) -> Rsn {
        Rsn(self.0.saturating_sub(n))
    }
}

impl fmt::Display for Rsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// Address of a message service. Names and ranges are in [`crate::srvid`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Srvid(pub u64);

/// A tunnel; shares the shape, not the number space, of [`Srvid`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TunnelId(pub u64);
