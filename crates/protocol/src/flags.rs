//! Bit sets of the wire. Bits that we do not know are kept and passed on.

use std::fmt;

use bitflags::bitflags;

bitflags! {
    /// State of a node as one node sees it. u32.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct NodeFlags: u32 {
        /// No link to it.
        const DISCONNECTED = 0x01;
        /// Its monitor event failed, or never succeeded yet.
        const UNHEALTHY = 0x02;
        /// `ctdb disable`.
        const PERMANENTLY_DISABLED = 0x04;
        /// Banned for a time.
        const BANNED = 0x08;
        /// Commented out in the nodes file.
        const DELETED = 0x10;
        /// `ctdb stop`.
        const STOPPED = 0x20;
        /// Never sent: the tool's mark for a node about which nothing is known.
        const UNKNOWN = 0x40;
        /// Serves no addresses.
        const DISABLED = 0x06;
        /// Takes no part in databases.
        const INACTIVE = 0x39;
        const _ = !0;
    }

    /// Flags in a record's header. u32.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct RecFlags: u32 {
        /// Durable record of a volatile database (today's smbd).
        const PERSISTENT = 0x0000_0001;
        /// Its writer has not finished yet.
        const PERSISTENT_IN_PROGRESS = 0x0000_0002;
        /// Had data when it moved at least once.
        const MIGRATED_WITH_DATA = 0x0001_0000;
        /// Came here by a vacuuming migration; never in a file.
        const VACUUM_MIGRATED = 0x0002_0000;
        /// Made up for a missing record; never in a file.
        const AUTOMATIC = 0x0004_0000;
        /// Read-only copies are out.
        const RO_HAVE_DELEGATIONS = 0x0100_0000;
        /// This is a read-only copy.
        const RO_HAVE_READONLY = 0x0200_0000;
        /// Copies are being called back.
        const RO_REVOKING_READONLY = 0x0400_0000;
        /// All copies were called back.
        const RO_REVOKE_COMPLETE = 0x0800_0000;
        /// Everything about read-only copies.
        const RO_MASK = 0x0F00_0000;
        const _ = !0;
    }

    /// Properties of a database. u8 in lists.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct DbFlags: u8 {
        /// Survives restarts; changed by transactions only.
        const PERSISTENT = 1;
        /// Read-only copies are allowed.
        const READONLY = 2;
        /// Hot records are held back from migrating.
        const STICKY = 4;
        /// Every node has all records; emptied at restart.
        const REPLICATED = 8;
        const _ = !0;
    }

    /// What a node can do. u32.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct Capabilities: u32 {
        /// May lead the cluster.
        const RECMASTER = 0x1;
        /// May be location master of records.
        const LMASTER = 0x2;
        /// Obsolete.
        const LVS = 0x4;
        /// Obsolete.
        const NATGW = 0x8;
        /// Recovers databases in parallel.
        const PARALLEL_RECOVERY = 0x1_0000;
        /// Takes pushes in pieces.
        const FRAGMENTED_CONTROLS = 0x2_0000;
        const _ = !0;
    }

    /// Flags of a REQ_CALL. u32.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct CallFlags: u32 {
        /// The record is wanted here.
        const IMMEDIATE_MIGRATION = 0x1;
        /// Migrates in order to be deleted.
        const VACUUM_MIGRATION = 0x2;
        /// A read-only copy is enough.
        const WANT_READONLY = 0x4;
        const _ = !0;
    }

    /// Flags of a REQ_CONTROL. u32.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct ControlFlags: u32 {
        /// The sender waits for no answer.
        const NOREPLY = 0x1;
        /// GET_PUBLIC_IPS: only those that could be hosted now.
        const PUBLIC_IP_ONLY_AVAILABLE = 0x1_0000;
        /// DB_ATTACH*: by a recovery.
        const ATTACH_RECOVERY = 0x2_0000;
        const _ = !0;
    }

    /// Flags of a REQ_TUNNEL. u32.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct TunnelFlags: u32 {
        /// A question.
        const REQUEST = 0x1;
        /// An answer.
        const REPLY = 0x2;
        /// A question that wants no answer.
        const NOREPLY = 0x10;
        const _ = !0;
    }
}

impl NodeFlags {
    /// Takes part in databases: none of DELETED, DISCONNECTED, BANNED, STOPPED.
    pub fn is_active(self) -> bool {
        !self.intersects(NodeFlags::INACTIVE)
    }

    /// Can be talked to: neither DELETED nor DISCONNECTED.
    pub fn is_connected(self) -> bool {
        !self.intersects(NodeFlags::DELETED.union(NodeFlags::DISCONNECTED))
    }
}

/// `SET|OF|NAMES`, bits without a name as one hexadecimal number.
fn join<'a>(
    f: &mut fmt::Formatter<'_>,
    bits: u32,
    names: impl IntoIterator<Item = (u32, &'a str)>,
    none: &str,
) -> fmt::Result {
    let mut text = String::new();
    let mut known = 0;
    for (mask, name) in names {
        known |= mask;
        if bits & mask != 0 {
            text += if text.is_empty() { "" } else { "|" };
            text += name;
        }
    }
    if bits & !known != 0 {
        let separator = if text.is_empty() { "" } else { "|" };
        text += &format!("{separator}0x{:x}", bits & !known);
    }
    f.pad(if text.is_empty() { none } else { &text })
}

/// As `ctdb status` shows them: `OK`, `BANNED|INACTIVE`. INACTIVE follows from any of its bits.
impl fmt::Display for NodeFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const NAMES: [(u32, &str); 8] = [
            (NodeFlags::DISCONNECTED.bits(), "DISCONNECTED"),
            // The tool's own: it could not ask that node.
            (NodeFlags::UNKNOWN.bits(), "UNKNOWN"),
            (NodeFlags::PERMANENTLY_DISABLED.bits(), "DISABLED"),
            (NodeFlags::BANNED.bits(), "BANNED"),
            (NodeFlags::UNHEALTHY.bits(), "UNHEALTHY"),
            (NodeFlags::DELETED.bits(), "DELETED"),
            (NodeFlags::STOPPED.bits(), "STOPPED"),
            (NodeFlags::INACTIVE.bits(), "INACTIVE"),
        ];
        join(f, self.bits(), NAMES, "OK")
    }
}

impl RecFlags {
    /// Names in the order in which the tool prints them.
    pub const NAMES: &'static [(RecFlags, &'static str)] = &[
        (RecFlags::MIGRATED_WITH_DATA, "MIGRATED_WITH_DATA"),
        (RecFlags::VACUUM_MIGRATED, "VACUUM_MIGRATED"),
        (RecFlags::AUTOMATIC, "AUTOMATIC"),
        (RecFlags::RO_HAVE_DELEGATIONS, "RO_HAVE_DELEGATIONS"),
        (RecFlags::RO_HAVE_READONLY, "RO_HAVE_READONLY"),
        (RecFlags::RO_REVOKING_READONLY, "RO_REVOKING_READONLY"),
        (RecFlags::RO_REVOKE_COMPLETE, "RO_REVOKE_COMPLETE"),
        (RecFlags::PERSISTENT, "PERSISTENT"),
        (RecFlags::PERSISTENT_IN_PROGRESS, "PERSISTENT_IN_PROGRESS"),
    ];

    /// Names of the bits that are set, in the tool's order.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        RecFlags::NAMES
            .iter()
            .filter(move |(flag, _)| self.contains(*flag))
            .map(|(_, name)| *name)
    }
}

/// Names joined by `|`; `0` for none.
impl fmt::Display for RecFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        join(
            f,
            self.bits(),
            RecFlags::NAMES.iter().map(|(flag, name)| (flag.bits(), *name)),
            "0",
        )
    }
}

/// Names joined by `|`; `VOLATILE` for none.
impl fmt::Display for DbFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const NAMES: [(u32, &str); 4] = [
            (1, "PERSISTENT"),
            (4, "STICKY"),
            (2, "READONLY"),
            (8, "REPLICATED"),
        ];
        join(f, self.bits().into(), NAMES, "VOLATILE")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn node_flags_print_as_in_status() {
        assert_eq!(NodeFlags::empty().to_string(), "OK");
        assert_eq!(NodeFlags::STOPPED.to_string(), "STOPPED|INACTIVE");
        let flags = NodeFlags::DISCONNECTED | NodeFlags::UNHEALTHY;
        assert_eq!(flags.to_string(), "DISCONNECTED|UNHEALTHY|INACTIVE");
        assert_eq!(NodeFlags::PERMANENTLY_DISABLED.to_string(), "DISABLED");
        assert_eq!(
            (NodeFlags::UNKNOWN | NodeFlags::from_bits_retain(0x80)).to_string(),
            "UNKNOWN|0x80"
        );
    }

    #[test]
    fn record_flags_print_in_the_order_of_the_tool() {
        let flags = RecFlags::PERSISTENT | RecFlags::AUTOMATIC;
        assert_eq!(flags.to_string(), "AUTOMATIC|PERSISTENT");
        assert_eq!(RecFlags::empty().to_string(), "0");
        assert_eq!(flags.names().collect::<Vec<_>>(), ["AUTOMATIC", "PERSISTENT"]);
    }

    #[test]
    fn a_database_without_flags_is_volatile() {
        assert_eq!(DbFlags::empty().to_string(), "VOLATILE");
        assert_eq!(
            (DbFlags::READONLY | DbFlags::STICKY).to_string(),
            "STICKY|READONLY"
        );
    }
}
