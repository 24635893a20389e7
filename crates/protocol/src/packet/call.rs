//! Calls: a client or a node wants a record here, or its content.

use crate::reader::{Reader, WireError, len_u32, newtype_field, put_u32};
use crate::{CallFlags, DbId, Text};

/// Function that a call runs on a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CallId(pub u32);

impl CallId {
    /// Nothing; used with IMMEDIATE_MIGRATION. No data in the reply.
    pub const NULL: CallId = CallId(0xff00_0001);
    /// Replies with the record's data.
    pub const FETCH: CallId = CallId(0xff00_0002);
    /// Replies with the record's header and data.
    pub const FETCH_WITH_HEADER: CallId = CallId(0xff00_0003);
}

newtype_field! { CallId(u32), "callid"; }

impl std::fmt::Display for CallId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match *self {
            CallId::NULL => f.pad("NULL_FUNC"),
            CallId::FETCH => f.pad("FETCH_FUNC"),
            CallId::FETCH_WITH_HEADER => f.pad("FETCH_WITH_HEADER_FUNC"),
            CallId(other) => write!(f, "0x{other:08x}"),
        }
    }
}

/// Behind the header: `flags, db_id, callid, hopcount, keylen, calldatalen` (u32 each), key, calldata.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReqCall<'a> {
    /// What else is wanted than the function.
    pub flags: CallFlags,
    /// Database.
    pub db_id: DbId,
    /// Function.
    pub callid: CallId,
    /// Nodes that passed the call on.
    pub hopcount: u32,
    /// Key of the record.
    pub key: &'a [u8],
    /// Argument of the function.
    pub calldata: &'a [u8],
}

impl<'a> ReqCall<'a> {
    pub(super) fn decode(r: &mut Reader<'a>) -> Result<Self, WireError> {
        let flags = CallFlags::from_bits_retain(r.u32("flags")?);
        let db_id = DbId(r.u32("db_id")?);
        let callid = CallId(r.u32("callid")?);
        let hopcount = r.u32("hopcount")?;
        let key_len = r.u32("keylen")? as usize;
        let calldata_len = r.u32("calldatalen")? as usize;
        let key = r.bytes("key", key_len)?;
        let calldata = r.bytes("calldata", calldata_len)?;
        Ok(ReqCall {
            flags,
            db_id,
            callid,
            hopcount,
            key,
            calldata,
        })
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        put_u32(out, self.flags.bits());
        put_u32(out, self.db_id.0);
        put_u32(out, self.callid.0);
        put_u32(out, self.hopcount);
        put_u32(out, len_u32(self.key.len()));
        put_u32(out, len_u32(self.calldata.len()));
        out.extend_from_slice(self.key);
        out.extend_from_slice(self.calldata);
    }
}

/// Behind the header: `status (i32), datalen`, data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplyCall<'a> {
    /// 0, or why not.
    pub status: i32,
    /// What the function returned.
    pub data: &'a [u8],
}

impl<'a> ReplyCall<'a> {
    pub(super) fn decode(r: &mut Reader<'a>) -> Result<Self, WireError> {
        Ok(ReplyCall {
            status: r.i32("status")?,
            data: r.datan("datalen")?,
        })
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.status.to_le_bytes());
        crate::reader::put_datan(out, self.data);
    }
}

/// Behind the header: `status (i32), msglen`, message with its NUL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplyError<'a> {
    /// -1 in everything recorded.
    pub status: i32,
    /// As it is on the wire, NUL included.
    pub message: &'a [u8],
}

impl<'a> ReplyError<'a> {
    pub(super) fn decode(r: &mut Reader<'a>) -> Result<Self, WireError> {
        Ok(ReplyError {
            status: r.i32("status")?,
            message: r.datan("msglen")?,
        })
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.status.to_le_bytes());
        crate::reader::put_datan(out, self.message);
    }

    /// The message without its NUL.
    pub fn text(&self) -> Text<'a> {
        Text::until_nul(self.message)
    }
}
