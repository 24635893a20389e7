//! What messages say, typed by the service they are for.

use crate::reader::{Reader, Wire, WireError};
use crate::text::Rest;
use crate::{
    DbId, DisableRequest, ElectionMessage, NodeFlagChange, Pnn, PublicIp, RecBuffer, Srvid, SrvidRequest,
    Text,
};

/// A message's data.
#[derive(Clone, Debug, PartialEq)]
pub enum Message<'a> {
    /// RECONFIGURE, RELOAD_NODES, IPREALLOCATED, START_IPREALLOCATE.
    Empty,
    /// RECOVERY+n: records; VACUUM_FETCH (obsolete) too.
    Records(RecBuffer<'a>),
    /// BANNING, LEADER, REBALANCE_NODE: a node, `UNKNOWN` for "none" in LEADER.
    Pnn(Pnn),
    /// ELECTION.
    Election(ElectionMessage),
    /// RELEASE_IP, TAKE_IP: an address as text.
    Address(Text<'a>),
    /// PUSH_NODE_FLAGS; SET_NODE_FLAGS (obsolete) too.
    NodeFlags(NodeFlagChange),
    /// RECD_UPDATE_IP (obsolete).
    PublicIp(PublicIp),
    /// DETACH_DATABASE (obsolete).
    Database(DbId),
    /// TAKEOVER_RUN, MEM_DUMP.
    Request(SrvidRequest),
    /// DISABLE_TAKEOVER_RUNS, DISABLE_RECOVERIES.
    Disable(DisableRequest),
    /// DISABLE_IP_CHECK: for so many seconds.
    Timeout(u32),
    /// Anything else: answers, records of a traverse, what Samba's processes tell each other.
    Raw(&'a [u8]),
}

impl<'a> Message<'a> {
    /// Types a message's data. Bytes behind it are not looked at.
    ///
    /// # Errors
    /// The field that is missing or wrong.
    pub fn decode(srvid: Srvid, data: &'a [u8]) -> Result<Message<'a>, WireError> {
        let r = &mut Reader::new(data);
        Ok(match srvid {
            Srvid::RECONFIGURE | Srvid::RELOAD_NODES | Srvid::IPREALLOCATED | Srvid::START_IPREALLOCATE => {
                Message::Empty
            }
            Srvid::VACUUM_FETCH => Message::Records(RecBuffer::decode(r)?),
            _ if srvid.recovery_number().is_some() => Message::Records(RecBuffer::decode(r)?),
            Srvid::BANNING | Srvid::LEADER | Srvid::REBALANCE_NODE => Message::Pnn(Pnn(r.u32("pnn")?)),
            Srvid::ELECTION => Message::Election(ElectionMessage::decode(r)?),
            Srvid::RELEASE_IP | Srvid::TAKE_IP => Message::Address(r.string("address")?),
            Srvid::PUSH_NODE_FLAGS | Srvid::SET_NODE_FLAGS => Message::NodeFlags(NodeFlagChange::decode(r)?),
            Srvid::RECD_UPDATE_IP => Message::PublicIp(PublicIp::decode(r)?),
            Srvid::DETACH_DATABASE => Message::Database(DbId(r.u32("db_id")?)),
            Srvid::TAKEOVER_RUN | Srvid::MEM_DUMP => Message::Request(SrvidRequest::decode(r)?),
            Srvid::DISABLE_TAKEOVER_RUNS | Srvid::DISABLE_RECOVERIES => {
                Message::Disable(DisableRequest::decode(r)?)
            }
            Srvid::DISABLE_IP_CHECK => Message::Timeout(r.u32("timeout")?),
            _ => Message::Raw(r.rest()),
        })
    }

    /// Appends the data.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Message::Empty => {}
            Message::Records(records) => records.encode(out),
            Message::Pnn(pnn) => pnn.encode(out),
            Message::Election(election) => election.encode(out),
            Message::Address(text) => text.encode(out),
            Message::NodeFlags(change) => change.encode(out),
            Message::PublicIp(ip) => ip.encode(out),
            Message::Database(db_id) => db_id.encode(out),
            Message::Request(request) => request.encode(out),
            Message::Disable(request) => request.encode(out),
            Message::Timeout(seconds) => seconds.encode(out),
            Message::Raw(bytes) => Rest(bytes).encode(out),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_without_a_known_service_is_bytes() {
        assert_eq!(
            Message::decode(Srvid(0xce00_0000_0000_0001), b"abc"),
            Ok(Message::Raw(b"abc"))
        );
    }

    #[test]
    fn the_leader_broadcast_is_a_node_and_never_less() {
        let unknown = Message::decode(Srvid::LEADER, &[0xff; 4]);
        assert_eq!(unknown, Ok(Message::Pnn(Pnn::UNKNOWN)));
        assert!(Message::decode(Srvid::LEADER, &[0; 3]).is_err());
    }

    #[test]
    fn recovery_services_carry_records() {
        let data = b"\x01\0\0\0\0\0\0\0";
        assert_eq!(
            Message::decode(Srvid::recovery(4), data),
            Ok(Message::Records(RecBuffer::empty(DbId(1))))
        );
    }
}
