//! Controls and their answers, payloads still opaque. What the payloads are: [`crate::control`].

use super::{fill_and_set_len, write_packet};
use crate::control::{ControlError, Reply, Request};
use crate::header::Ending;
use crate::reader::{Reader, WireError, len_u32, put_pad, put_u32, put_u64};
use crate::{ClientId, ControlFlags, Opcode, Operation, PacketHeader, Srvid, Text};

/// A control without its data. Behind the header:
///
/// | opcode u32 | padding 4 | srvid u64 | client_id u32 | flags u32 | datalen u32 | data |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ControlHead {
    /// Which control.
    pub opcode: Opcode,
    /// Service or tunnel; only the controls that register and deregister look at it.
    pub srvid: Srvid,
    /// The client on the sender's node, or 0.
    pub client_id: ClientId,
    /// NOREPLY and those of one control.
    pub flags: ControlFlags,
}

impl ControlHead {
    /// A control that needs nothing but its number.
    pub fn new(opcode: Opcode) -> Self {
        ControlHead {
            opcode,
            srvid: Srvid(0),
            client_id: ClientId::DAEMON,
            flags: ControlFlags::empty(),
        }
    }

    /// The same with other flags.
    pub fn with_flags(self, flags: ControlFlags) -> Self {
        ControlHead { flags, ..self }
    }

    /// The same for a service.
    pub fn with_srvid(self, srvid: Srvid) -> Self {
        ControlHead { srvid, ..self }
    }

    /// The whole body.
    pub fn with_data(self, data: &[u8]) -> ReqControl<'_> {
        ReqControl { head: self, data }
    }

    fn encode(&self, out: &mut Vec<u8>) {
        put_u32(out, self.opcode.0);
        put_pad(out, 4);
        put_u64(out, self.srvid.0);
        put_u32(out, self.client_id.0);
        put_u32(out, self.flags.bits());
    }

    /// Appends a padded packet whose data `fill` writes in place.
    pub fn encode_packet(&self, head: &PacketHeader, out: &mut Vec<u8>, fill: impl FnOnce(&mut Vec<u8>)) {
        write_packet(head, Operation::REQ_CONTROL, Ending::Padded, out, |out| {
            self.encode(out);
            let len_at = out.len();
            put_u32(out, 0);
            fill_and_set_len(out, len_at, fill);
        });
    }
}

/// A control as it is on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReqControl<'a> {
    /// All but the data.
    pub head: ControlHead,
    /// For [`Request::decode`].
    pub data: &'a [u8],
}

impl<'a> ReqControl<'a> {
    pub(super) fn decode(r: &mut Reader<'a>) -> Result<Self, WireError> {
        let opcode = Opcode(r.u32("opcode")?);
        r.bytes("padding after opcode", 4)?;
        let head = ControlHead {
            opcode,
            srvid: Srvid(r.u64("srvid")?),
            client_id: ClientId(r.u32("client_id")?),
            flags: ControlFlags::from_bits_retain(r.u32("flags")?),
        };
        Ok(ReqControl {
            head,
            data: r.datan("datalen")?,
        })
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        self.head.encode(out);
        crate::reader::put_datan(out, self.data);
    }

    /// The same, sent by a daemon for one of its clients.
    pub fn on_behalf_of(&self, client_id: ClientId) -> ReqControl<'a> {
        ReqControl {
            head: ControlHead {
                client_id,
                ..self.head
            },
            data: self.data,
        }
    }

    /// Whether the sender waits for an answer.
    pub fn wants_reply(&self) -> bool {
        !self.head.flags.contains(ControlFlags::NOREPLY)
    }

    /// The data, typed.
    ///
    /// # Errors
    /// Those of [`Request::decode`].
    pub fn request(&self) -> Result<Request<'a>, ControlError> {
        Request::decode(self.head.opcode, self.data)
    }
}

/// An answer to a control. Behind the header: `status (i32), datalen, errorlen`, data, error.
///
/// The daemon may send data and error together; the client library sends one of them. Both are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplyControl<'a> {
    /// Negative for a failure; for some controls the answer itself.
    pub status: i32,
    /// For [`Reply::decode`], when the status is not negative.
    pub data: &'a [u8],
    /// As on the wire: without NUL from a daemon, with one from the client library.
    pub error: &'a [u8],
}

impl<'a> ReplyControl<'a> {
    pub(super) fn decode(r: &mut Reader<'a>) -> Result<Self, WireError> {
        let status = r.i32("status")?;
        let data_len = r.u32("datalen")? as usize;
        let error_len = r.u32("errorlen")? as usize;
        let data = r.bytes("data", data_len)?;
        Ok(ReplyControl {
            status,
            data,
            error: r.bytes("error text", error_len)?,
        })
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.status.to_le_bytes());
        put_u32(out, len_u32(self.data.len()));
        put_u32(out, len_u32(self.error.len()));
        out.extend_from_slice(self.data);
        out.extend_from_slice(self.error);
    }

    /// Appends a padded packet whose data `fill` writes in place; `error` goes without NUL, as the daemon's.
    pub fn encode_packet(
        head: &PacketHeader,
        status: i32,
        error: &[u8],
        out: &mut Vec<u8>,
        fill: impl FnOnce(&mut Vec<u8>),
    ) {
        write_packet(head, Operation::REPLY_CONTROL, Ending::Padded, out, |out| {
            out.extend_from_slice(&status.to_le_bytes());
            let len_at = out.len();
            put_u32(out, 0);
            put_u32(out, len_u32(error.len()));
            fill_and_set_len(out, len_at, fill);
            out.extend_from_slice(error);
        });
    }

    /// The error text without NUL, if there is one.
    pub fn error_text(&self) -> Option<Text<'a>> {
        (!self.error.is_empty()).then(|| Text::until_nul(self.error))
    }

    /// The data, typed by the opcode of the request.
    ///
    /// # Errors
    /// Those of [`Reply::decode`].
    pub fn reply(&self, opcode: Opcode) -> Result<Reply<'a>, ControlError> {
        Reply::decode(opcode, self.data)
    }
}
