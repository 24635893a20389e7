//! The first 32 bytes of every packet.

use byteorder::{ByteOrder, LE};

use crate::reader::{Reader, WireError, put_u32};
use crate::{Generation, Pnn, Reqid};

/// "CTDB" as a number; its bytes stand reversed on a little-endian wire.
pub const MAGIC: u32 = 0x4354_4442;

/// The only version of the protocol.
pub const VERSION: u32 = 1;

/// What a sender says about a packet; length, magic, version and operation follow from the packet itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PacketHeader {
    /// Recovery of the sender, or of the database for calls and migrations; clients send 0 or anything.
    pub generation: Generation,
    /// A node, or one of the special values of [`Pnn`] from a client.
    pub destnode: Pnn,
    /// The sender's node.
    pub srcnode: Pnn,
    /// Chosen by who asks, echoed in the answer.
    pub reqid: Reqid,
}

impl PacketHeader {
    /// A packet that belongs to no request.
    pub fn new(generation: Generation, srcnode: Pnn, destnode: Pnn, reqid: Reqid) -> Self {
        PacketHeader {
            generation,
            destnode,
            srcnode,
            reqid,
        }
    }
}

/// A received header. 32 bytes, all u32:
///
/// | length | magic | version | generation | operation | destnode | srcnode | reqid |
///
/// Source: `ctdb_req_header` in `ctdb/protocol/protocol.h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Bytes of the whole packet with this header and with padding.
    pub length: u32,
    /// See [`PacketHeader::generation`].
    pub generation: Generation,
    /// What the packet is.
    pub operation: Operation,
    /// See [`PacketHeader::destnode`].
    pub destnode: Pnn,
    /// See [`PacketHeader::srcnode`].
    pub srcnode: Pnn,
    /// See [`PacketHeader::reqid`].
    pub reqid: Reqid,
}

impl Header {
    /// Bytes on the wire.
    pub const LEN: usize = 32;

    /// The length a packet claims, as soon as its first 4 bytes are there. Not checked.
    pub fn peek_length(bytes: &[u8]) -> Option<u32> {
        bytes.first_chunk::<4>().map(|b| u32::from_le_bytes(*b))
    }

    /// # Errors
    /// `Short` for less than 32 bytes and for a claimed length below 32; `BadMagic`; `BadVersion`.
    pub fn decode(r: &mut Reader<'_>) -> Result<Self, WireError> {
        let length = r.u32("length")?;
        if (length as usize) < Header::LEN {
            return Err(WireError::BadValue {
                field: "length",
                value: length.into(),
            });
        }
        match r.u32("magic")? {
            MAGIC => {}
            other => return Err(WireError::BadMagic(other)),
        }
        match r.u32("version")? {
            VERSION => {}
            other => return Err(WireError::BadVersion(other)),
        }
        Ok(Header {
            length,
            generation: Generation(r.u32("generation")?),
            operation: Operation(r.u32("operation")?),
            destnode: Pnn(r.u32("destnode")?),
            srcnode: Pnn(r.u32("srcnode")?),
            reqid: Reqid(r.u32("reqid")?),
        })
    }

    /// What a sender would say to write this header again.
    pub fn packet_header(&self) -> PacketHeader {
        PacketHeader {
            generation: self.generation,
            destnode: self.destnode,
            srcnode: self.srcnode,
            reqid: self.reqid,
        }
    }

    /// Changes the destination of an encoded packet: a broadcast is encoded once and sent to each node.
    ///
    /// # Panics
    /// On less than a header.
    pub fn set_destnode(packet: &mut [u8], destnode: Pnn) {
        LE::write_u32(&mut packet[20..24], destnode.0);
    }
}

impl PacketHeader {
    /// Writes a header with length 0, to be set by [`finish_packet`].
    pub(crate) fn encode(&self, operation: Operation, out: &mut Vec<u8>) {
        for value in [
            0,
            MAGIC,
            VERSION,
            self.generation.0,
            operation.0,
            self.destnode.0,
            self.srcnode.0,
        ] {
            put_u32(out, value);
        }
        put_u32(out, self.reqid.0);
    }
}

/// How the end of a packet is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// As ctdb's own programs: at least the C structure's size, then 0 to a multiple of 8.
    Padded,
    /// As smbd: nothing behind the last byte of data.
    Exact,
}

/// Pads the packet that starts at `start` of `out` and sets its length. `struct_len` is the C structure's size.
pub(crate) fn finish_packet(out: &mut Vec<u8>, start: usize, struct_len: usize, ending: Ending) {
    if ending == Ending::Padded {
        let len = (out.len() - start).max(struct_len).next_multiple_of(8);
        out.resize(start + len, 0);
    }
    let len = crate::reader::len_u32(out.len() - start);
    LE::write_u32(&mut out[start..start + 4], len);
}

/// What a packet is: the number of its kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Operation(pub u32);

impl Operation {
    /// A client or node wants a record, or a function run on it.
    pub const REQ_CALL: Operation = Operation(0);
    /// The answer to a call.
    pub const REPLY_CALL: Operation = Operation(1);
    /// A record moves: to its location master.
    pub const REQ_DMASTER: Operation = Operation(2);
    /// A record moves: from its location master to its new data master.
    pub const REPLY_DMASTER: Operation = Operation(3);
    /// A call could not be served.
    pub const REPLY_ERROR: Operation = Operation(4);
    /// A message to whoever registered its service id.
    pub const REQ_MESSAGE: Operation = Operation(5);
    /// A control.
    pub const REQ_CONTROL: Operation = Operation(7);
    /// The answer to a control.
    pub const REPLY_CONTROL: Operation = Operation(8);
    /// A sign of life.
    pub const REQ_KEEPALIVE: Operation = Operation(9);
    /// A packet of a tunnel.
    pub const REQ_TUNNEL: Operation = Operation(10);

    /// As upstream writes it; `None` for a number that it does not know.
    pub fn name(self) -> Option<&'static str> {
        Some(match self {
            Operation::REQ_CALL => "REQ_CALL",
            Operation::REPLY_CALL => "REPLY_CALL",
            Operation::REQ_DMASTER => "REQ_DMASTER",
            Operation::REPLY_DMASTER => "REPLY_DMASTER",
            Operation::REPLY_ERROR => "REPLY_ERROR",
            Operation::REQ_MESSAGE => "REQ_MESSAGE",
            Operation::REQ_CONTROL => "REQ_CONTROL",
            Operation::REPLY_CONTROL => "REPLY_CONTROL",
            Operation::REQ_KEEPALIVE => "REQ_KEEPALIVE",
            Operation::REQ_TUNNEL => "REQ_TUNNEL",
            _ => return None,
        })
    }
}

impl std::fmt::Display for Operation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.name() {
            Some(name) => f.pad(name),
            None => write!(f, "operation {}", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(length: u32) -> Vec<u8> {
        let mut out = Vec::new();
        PacketHeader::new(Generation(7), Pnn(0), Pnn(1), Reqid(9)).encode(Operation::REQ_KEEPALIVE, &mut out);
        out[..4].copy_from_slice(&length.to_le_bytes());
        out
    }

    #[test]
    fn a_header_comes_back_as_written() {
        let bytes = header(32);
        assert_eq!(bytes.len(), Header::LEN);
        assert_eq!(&bytes[4..8], b"BDTC");
        let decoded = Header::decode(&mut Reader::new(&bytes)).unwrap();
        assert_eq!(decoded.operation, Operation::REQ_KEEPALIVE);
        assert_eq!(
            decoded.packet_header(),
            PacketHeader::new(Generation(7), Pnn(0), Pnn(1), Reqid(9))
        );
        assert_eq!(Header::peek_length(&bytes), Some(32));
        assert_eq!(Header::peek_length(&bytes[..3]), None);
    }

    #[test]
    fn a_length_below_the_header_is_refused() {
        let error = Header::decode(&mut Reader::new(&header(31)));
        assert_eq!(
            error,
            Err(WireError::BadValue {
                field: "length",
                value: 31
            })
        );
    }

    #[test]
    fn another_magic_or_version_is_refused() {
        let mut bytes = header(32);
        bytes[8] = 2;
        assert_eq!(
            Header::decode(&mut Reader::new(&bytes)),
            Err(WireError::BadVersion(2))
        );
        bytes[4] = 0;
        assert_eq!(
            Header::decode(&mut Reader::new(&bytes)),
            Err(WireError::BadMagic(0x4354_4400))
        );
    }

    #[test]
    fn the_destination_of_an_encoded_packet_can_be_changed() {
        let mut bytes = header(32);
        Header::set_destnode(&mut bytes, Pnn(5));
        assert_eq!(Header::decode(&mut Reader::new(&bytes)).unwrap().destnode, Pnn(5));
    }
}
