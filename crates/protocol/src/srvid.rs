//! Message services: who a message is for, by number.

use std::fmt;

use crate::Srvid;
use crate::reader::newtype_field;

newtype_field! { Srvid(u64), "srvid"; }

/// Who owns the numbers of a range; the top byte says which.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SrvidRange {
    /// 0x00: the process id of a client.
    Pid,
    /// 0x9E: daemons and helpers, for answers to themselves.
    Server,
    /// 0xAE: test programs.
    Test,
    /// 0xBE: the client library.
    Client,
    /// 0xCE: the tool, for answers to itself.
    Tool,
    /// 0xDE: iSCSI.
    Iscsid,
    /// 0xEE: NFS.
    Nfsd,
    /// 0xFE: Samba.
    Samba,
    /// 0xF0 to 0xFC: ctdb itself.
    Ctdb,
    /// Anything else; smbd makes some up for its traverses.
    Other,
}

impl fmt::Display for SrvidRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            SrvidRange::Pid => "pid range",
            SrvidRange::Server => "server range",
            SrvidRange::Test => "test range",
            SrvidRange::Client => "client range",
            SrvidRange::Tool => "tool range",
            SrvidRange::Iscsid => "iscsid range",
            SrvidRange::Nfsd => "nfsd range",
            SrvidRange::Samba => "samba range",
            SrvidRange::Ctdb => "ctdb range",
            SrvidRange::Other => "other",
        })
    }
}

/// One line per service: constant, number, what it is for.
macro_rules! services {
    ($($konst:ident = $number:literal, $doc:literal;)*) => {
        impl Srvid {
            $(#[doc = $doc] pub const $konst: Srvid = Srvid($number);)*

            /// Upstream's name, without `CTDB_SRVID_`; all of the recovery services are `RECOVERY`.
            /// `None` for a number of a range.
            pub fn name(self) -> Option<&'static str> {
                match self {
                    $(Srvid::$konst => Some(stringify!($konst)),)*
                    _ if self.recovery_number().is_some() => Some("RECOVERY"),
                    _ => None,
                }
            }
        }
    };
}

services! {
    ALL = 0xFFFF_FFFF_FFFF_FFFF, "A registration for every message.";
    RECOVERY = 0xF001_0000_0000_0000, "First of the services at which records arrive in a recovery.";
    BANNING = 0xF002_0000_0000_0000, "Gives a node ban credits.";
    ELECTION = 0xF100_0000_0000_0000, "A candidate's qualities.";
    LEADER = 0xF101_0000_0000_0000, "Who leads; every second.";
    RECONFIGURE = 0xF200_0000_0000_0000, "The cluster was reconfigured.";
    RELEASE_IP = 0xF300_0000_0000_0000, "This node gave up an address.";
    TAKE_IP = 0xF301_0000_0000_0000, "This node took an address.";
    IPREALLOCATED = 0xF302_0000_0000_0000, "A takeover run is over. Not in 4.17.";
    START_IPREALLOCATE = 0xF303_0000_0000_0000, "A takeover run begins. Not in 4.17.";
    SET_NODE_FLAGS = 0xF400_0000_0000_0000, "Obsolete.";
    RECD_UPDATE_IP = 0xF500_0000_0000_0000, "Obsolete.";
    VACUUM_FETCH = 0xF700_0000_0000_0000, "Obsolete: control VACUUM_FETCH.";
    DETACH_DATABASE = 0xF701_0000_0000_0000, "Obsolete.";
    MEM_DUMP = 0xF800_0000_0000_0000, "The recovery daemon reports its memory.";
    GETLOG = 0xF801_0000_0000_0000, "Obsolete.";
    CLEARLOG = 0xF802_0000_0000_0000, "Obsolete.";
    PUSH_NODE_FLAGS = 0xF900_0000_0000_0000, "The recovery daemon tells all nodes of changed flags.";
    POKE = 0xF903_0000_0000_0000, "Ours: something changed, look now. To recovery daemons; no other implementation listens.";
    CONCEDE = 0xF904_0000_0000_0000, "Ours: your ELECTION beats mine. Between recovery daemons; no other implementation listens.";
    TRAVERSE_PACE = 0xF905_0000_0000_0000, "Ours: the reader of a traverse can't keep up, pause; or go on. Between daemons; no other implementation listens.";
    RELOAD_NODES = 0xFA00_0000_0000_0000, "The recovery daemon reads the nodes file again.";
    TAKEOVER_RUN = 0xFB00_0000_0000_0000, "The leader allocates addresses.";
    REBALANCE_NODE = 0xFB01_0000_0000_0000, "The next takeover run gives this node addresses.";
    DISABLE_TAKEOVER_RUNS = 0xFB03_0000_0000_0000, "No takeover runs for a time.";
    DISABLE_RECOVERIES = 0xFB04_0000_0000_0000, "No recoveries for a time.";
    DISABLE_IP_CHECK = 0xFC00_0000_0000_0000, "Older form of DISABLE_TAKEOVER_RUNS.";
    SAMBA_NOTIFY = 0xFE00_0000_0000_0000, "Private to smbd.";
    SAMBA_NOTIFY_PROXY = 0xFE00_0000_0000_0001, "Private to smbd.";
    SAMBA_PROCESS = 0xFE00_0000_0000_0002, "Private to smbd.";
}

impl Srvid {
    /// The service of one recovery of one database; the helper counts from 1.
    pub fn recovery(number: u32) -> Srvid {
        Srvid(Srvid::RECOVERY.0 + u64::from(number))
    }

    /// Signs of leadership: they must not wait behind record traffic.
    pub fn is_leadership(self) -> bool {
        matches!(self, Srvid::LEADER | Srvid::ELECTION | Srvid::CONCEDE)
    }

    /// Which one of [`Srvid::recovery`] this is.
    pub fn recovery_number(self) -> Option<u64> {
        (self.0 >> 48 == Srvid::RECOVERY.0 >> 48).then_some(self.0 & 0xFFFF_FFFF_FFFF)
    }

    /// Owner of the number, by its top byte.
    pub fn range(self) -> SrvidRange {
        match (self.0 >> 56) as u8 {
            0x00 => SrvidRange::Pid,
            0x9E => SrvidRange::Server,
            0xAE => SrvidRange::Test,
            0xBE => SrvidRange::Client,
            0xCE => SrvidRange::Tool,
            0xDE => SrvidRange::Iscsid,
            0xEE => SrvidRange::Nfsd,
            0xFE => SrvidRange::Samba,
            0xF0..=0xFC => SrvidRange::Ctdb,
            _ => SrvidRange::Other,
        }
    }

    /// The first number of a range; `None` for `Ctdb` and `Other`, which have no single top byte.
    pub fn range_base(range: SrvidRange) -> Option<Srvid> {
        let top = match range {
            SrvidRange::Pid => 0x00,
            SrvidRange::Server => 0x9E,
            SrvidRange::Test => 0xAE,
            SrvidRange::Client => 0xBE,
            SrvidRange::Tool => 0xCE,
            SrvidRange::Iscsid => 0xDE,
            SrvidRange::Nfsd => 0xEE,
            SrvidRange::Samba => 0xFE,
            SrvidRange::Ctdb | SrvidRange::Other => return None,
        };
        Some(Srvid(top << 56))
    }
}

/// A service by name, `RECOVERY+n`, or the number with its range.
impl fmt::Display for Srvid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.recovery_number(), self.name()) {
            (Some(number), _) => write!(f, "RECOVERY+{number}"),
            (None, Some(name)) => f.pad(name),
            (None, None) => write!(f, "0x{:016x} ({})", self.0, self.range()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_print_by_name_and_numbers_of_ranges_as_numbers() {
        assert_eq!(Srvid::LEADER.to_string(), "LEADER");
        assert_eq!(Srvid::recovery(3).to_string(), "RECOVERY+3");
        assert_eq!(
            Srvid(0xce01_0000_0346_0001).to_string(),
            "0xce01000003460001 (tool range)"
        );
        assert_eq!(Srvid(0xe7a2_9f09_93f5_881e).range(), SrvidRange::Other);
    }

    #[test]
    fn a_range_begins_with_its_top_byte() {
        let tool = Srvid::range_base(SrvidRange::Tool).unwrap();
        assert_eq!(tool, Srvid(0xCE00_0000_0000_0000));
        assert_eq!(tool.range(), SrvidRange::Tool);
    }
}
