//! A whole packet: header, one of ten bodies, padding. Payloads are borrowed from the receive buffer;
//! encoding appends to an output buffer and allocates nothing else.

mod call;
mod control;
mod dmaster;
mod keepalive;
mod message;
mod tunnel;

pub use call::{CallId, ReplyCall, ReplyError, ReqCall};
pub use control::{ControlHead, ReplyControl, ReqControl};
pub use dmaster::{ReplyDmaster, ReqDmaster};
pub use keepalive::{Keepalive, Version};
pub use message::ReqMessage;
pub use tunnel::ReqTunnel;

use crate::header::{Ending, finish_packet};
use crate::reader::{Reader, WireError};
use crate::{Header, Operation, PacketHeader};

/// What stands behind a header. Source: `ctdb/protocol/protocol_call.c`, `protocol_control.c` and following.
#[derive(Clone, Debug, PartialEq)]
pub enum Packet<'a> {
    /// 0
    ReqCall(ReqCall<'a>),
    /// 1
    ReplyCall(ReplyCall<'a>),
    /// 2
    ReqDmaster(ReqDmaster<'a>),
    /// 3
    ReplyDmaster(ReplyDmaster<'a>),
    /// 4
    ReplyError(ReplyError<'a>),
    /// 5
    ReqMessage(ReqMessage<'a>),
    /// 7
    ReqControl(ReqControl<'a>),
    /// 8
    ReplyControl(ReplyControl<'a>),
    /// 9. `None` is the bare header of ancient nodes.
    Keepalive(Option<Keepalive>),
    /// 10
    Tunnel(ReqTunnel<'a>),
}

impl<'a> Packet<'a> {
    /// Decodes the packet at the start of `bytes`; its header says how long it is. Padding is not looked at.
    ///
    /// # Errors
    /// Those of [`Header::decode`]; `Short` when `bytes` end before the packet does or a length in it goes
    /// beyond its end; `BadValue` for an operation that does not exist.
    pub fn decode(bytes: &'a [u8]) -> Result<(Header, Packet<'a>), WireError> {
        let mut r = Reader::new(bytes);
        let header = Header::decode(&mut r)?;
        let mut r = Reader::new(r.bytes("packet", header.length as usize - Header::LEN)?);
        Ok((header, Packet::decode_body(header.operation, &mut r)?))
    }

    fn decode_body(operation: Operation, r: &mut Reader<'a>) -> Result<Packet<'a>, WireError> {
        Ok(match operation {
            Operation::REQ_CALL => Packet::ReqCall(ReqCall::decode(r)?),
            Operation::REPLY_CALL => Packet::ReplyCall(ReplyCall::decode(r)?),
            Operation::REQ_DMASTER => Packet::ReqDmaster(ReqDmaster::decode(r)?),
            Operation::REPLY_DMASTER => Packet::ReplyDmaster(ReplyDmaster::decode(r)?),
            Operation::REPLY_ERROR => Packet::ReplyError(ReplyError::decode(r)?),
            Operation::REQ_MESSAGE => Packet::ReqMessage(ReqMessage::decode(r)?),
            Operation::REQ_CONTROL => Packet::ReqControl(ReqControl::decode(r)?),
            Operation::REPLY_CONTROL => Packet::ReplyControl(ReplyControl::decode(r)?),
            Operation::REQ_KEEPALIVE => Packet::Keepalive(Keepalive::decode(r)?),
            Operation::REQ_TUNNEL => Packet::Tunnel(ReqTunnel::decode(r)?),
            Operation(other) => {
                return Err(WireError::BadValue {
                    field: "operation",
                    value: other.into(),
                });
            }
        })
    }

    /// The number in the header.
    pub fn operation(&self) -> Operation {
        match self {
            Packet::ReqCall(_) => Operation::REQ_CALL,
            Packet::ReplyCall(_) => Operation::REPLY_CALL,
            Packet::ReqDmaster(_) => Operation::REQ_DMASTER,
            Packet::ReplyDmaster(_) => Operation::REPLY_DMASTER,
            Packet::ReplyError(_) => Operation::REPLY_ERROR,
            Packet::ReqMessage(_) => Operation::REQ_MESSAGE,
            Packet::ReqControl(_) => Operation::REQ_CONTROL,
            Packet::ReplyControl(_) => Operation::REPLY_CONTROL,
            Packet::Keepalive(_) => Operation::REQ_KEEPALIVE,
            Packet::Tunnel(_) => Operation::REQ_TUNNEL,
        }
    }

    /// Appends the packet as ctdb's own programs write it: padded.
    pub fn encode(&self, head: &PacketHeader, out: &mut Vec<u8>) {
        self.encode_ending(head, Ending::Padded, out);
    }

    /// Appends the packet as smbd writes it: ending with its last byte of data.
    pub fn encode_exact(&self, head: &PacketHeader, out: &mut Vec<u8>) {
        self.encode_ending(head, Ending::Exact, out);
    }

    fn encode_ending(&self, head: &PacketHeader, ending: Ending, out: &mut Vec<u8>) {
        write_packet(head, self.operation(), ending, out, |out| match self {
            Packet::ReqCall(body) => body.encode(out),
            Packet::ReplyCall(body) => body.encode(out),
            Packet::ReqDmaster(body) => body.encode(out),
            Packet::ReplyDmaster(body) => body.encode(out),
            Packet::ReplyError(body) => body.encode(out),
            Packet::ReqMessage(body) => body.encode(out),
            Packet::ReqControl(body) => body.encode(out),
            Packet::ReplyControl(body) => body.encode(out),
            Packet::Keepalive(body) => Keepalive::encode(body.as_ref(), out),
            Packet::Tunnel(body) => body.encode(out),
        });
    }
}

/// Writes header, body and ending.
fn write_packet(
    head: &PacketHeader,
    operation: Operation,
    ending: Ending,
    out: &mut Vec<u8>,
    body: impl FnOnce(&mut Vec<u8>),
) {
    let start = out.len();
    head.encode(operation, out);
    body(out);
    finish_packet(out, start, struct_len(operation), ending);
}

/// Size of the C structure with its one-byte tail: no padded packet is shorter. Source: wire.md §2 (compiled).
fn struct_len(operation: Operation) -> usize {
    match operation {
        Operation::REQ_CALL => 60,
        Operation::REPLY_CALL | Operation::REPLY_ERROR => 44,
        Operation::REQ_DMASTER | Operation::REPLY_DMASTER | Operation::REQ_CONTROL => 64,
        Operation::REQ_MESSAGE | Operation::REPLY_CONTROL => 48,
        Operation::REQ_TUNNEL => 56,
        // A keepalive has no tail; the bare one is a header.
        _ => Header::LEN,
    }
}

/// Appends data that `fill` writes in place and sets the u32 at `len_at` to its length.
fn fill_and_set_len(out: &mut Vec<u8>, len_at: usize, fill: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    fill(out);
    let len = crate::reader::len_u32(out.len() - start);
    out[len_at..len_at + 4].copy_from_slice(&len.to_le_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ClientId, ControlFlags, DbId, Generation, Opcode, Pnn, RecFlags, Reqid, Rsn, Srvid};

    fn head() -> PacketHeader {
        PacketHeader::new(Generation(3), Pnn(0), Pnn(1), Reqid(5))
    }

    fn encoded(packet: &Packet<'_>) -> Vec<u8> {
        let mut out = Vec::new();
        packet.encode(&head(), &mut out);
        out
    }

    #[test]
    fn an_empty_reply_has_the_size_of_its_structure_rounded_to_8() {
        assert_eq!(
            encoded(&Packet::ReplyCall(ReplyCall { status: 0, data: b"" })).len(),
            48
        );
        let reply = ReplyControl {
            status: 0,
            data: b"",
            error: b"",
        };
        assert_eq!(encoded(&Packet::ReplyControl(reply)).len(), 48);
        let message = ReqMessage {
            srvid: Srvid::RECONFIGURE,
            data: b"",
        };
        assert_eq!(encoded(&Packet::ReqMessage(message)).len(), 48);
    }

    #[test]
    fn record_flags_of_a_migration_follow_the_data_uncounted() {
        let packet = Packet::ReqDmaster(ReqDmaster {
            db_id: DbId(1),
            rsn: Rsn(2),
            dmaster: Pnn(1),
            key: b"key",
            data: b"data",
            flags: RecFlags::MIGRATED_WITH_DATA,
        });
        let bytes = encoded(&packet);
        assert_eq!(bytes[60 + 7..60 + 11], 0x0001_0000u32.to_le_bytes());
        assert_eq!(Packet::decode(&bytes).unwrap().1, packet);
    }

    #[test]
    fn a_migration_without_record_flags_has_none() {
        let packet = Packet::ReplyDmaster(ReplyDmaster {
            db_id: DbId(1),
            rsn: Rsn(2),
            key: b"key",
            data: b"data",
            flags: RecFlags::empty(),
        });
        let mut bytes = Vec::new();
        packet.encode_exact(&head(), &mut bytes);
        let cut = bytes.len() - 4;
        bytes.truncate(cut);
        bytes[..4].copy_from_slice(&(cut as u32).to_le_bytes());
        assert_eq!(Packet::decode(&bytes).unwrap().1, packet);
    }

    #[test]
    fn a_bare_keepalive_is_known_and_written_again() {
        let bytes = encoded(&Packet::Keepalive(None));
        assert_eq!(bytes.len(), Header::LEN);
        assert_eq!(Packet::decode(&bytes).unwrap().1, Packet::Keepalive(None));
    }

    #[test]
    fn a_packet_longer_than_the_bytes_there_is_short() {
        let bytes = encoded(&Packet::ReplyCall(ReplyCall {
            status: 0,
            data: b"abc",
        }));
        assert_eq!(
            Packet::decode(&bytes[..40]),
            Err(WireError::Short {
                field: "packet",
                need: 16,
                have: 8
            })
        );
    }

    #[test]
    fn an_inner_length_beyond_the_packet_is_short() {
        let mut bytes = encoded(&Packet::ReplyCall(ReplyCall {
            status: 0,
            data: b"abc",
        }));
        bytes[36] = 200;
        assert_eq!(
            Packet::decode(&bytes),
            Err(WireError::Short {
                field: "datalen",
                need: 200,
                have: 8
            })
        );
    }

    #[test]
    fn the_removed_operation_6_is_refused() {
        let mut bytes = encoded(&Packet::Keepalive(None));
        bytes[16] = 6;
        assert_eq!(
            Packet::decode(&bytes),
            Err(WireError::BadValue {
                field: "operation",
                value: 6
            })
        );
    }

    #[test]
    fn writing_in_place_gives_the_same_bytes_as_writing_a_copy() {
        let control = ControlHead {
            opcode: Opcode::ECHO_DATA,
            srvid: Srvid(0),
            client_id: ClientId(7),
            flags: ControlFlags::NOREPLY,
        };
        let mut in_place = Vec::new();
        control.encode_packet(&head(), &mut in_place, |out| out.extend_from_slice(b"hello"));
        assert_eq!(
            in_place,
            encoded(&Packet::ReqControl(control.with_data(b"hello")))
        );

        let mut in_place = Vec::new();
        ReplyControl::encode_packet(&head(), -1, b"error", &mut in_place, |out| {
            out.extend_from_slice(b"data");
        });
        let reply = ReplyControl {
            status: -1,
            data: b"data",
            error: b"error",
        };
        assert_eq!(in_place, encoded(&Packet::ReplyControl(reply)));

        let mut in_place = Vec::new();
        ReqMessage::encode_packet(&head(), Srvid(9), &mut in_place, |out| {
            out.extend_from_slice(b"m")
        });
        assert_eq!(
            in_place,
            encoded(&Packet::ReqMessage(ReqMessage {
                srvid: Srvid(9),
                data: b"m"
            }))
        );
    }
}
