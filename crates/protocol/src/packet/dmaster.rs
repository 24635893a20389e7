//! Migration of a record. The record's flags follow the data, uncounted and unaligned; a packet of an old node
//! ends before them.

use crate::reader::{Reader, WireError, len_u32, put_pad, put_u32, put_u64};
use crate::{DbId, Pnn, RecFlags, Rsn};

/// To the location master. Behind the header:
///
/// | db_id u32 | padding 4 | rsn u64 | dmaster u32 | keylen u32 | datalen u32 | key | data | flags u32 |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReqDmaster<'a> {
    /// Database.
    pub db_id: DbId,
    /// Of the copy that moves.
    pub rsn: Rsn,
    /// Who becomes data master.
    pub dmaster: Pnn,
    /// Key of the record.
    pub key: &'a [u8],
    /// Its data, without header.
    pub data: &'a [u8],
    /// Its flags; empty when the packet ends before them.
    pub flags: RecFlags,
}

impl<'a> ReqDmaster<'a> {
    pub(super) fn decode(r: &mut Reader<'a>) -> Result<Self, WireError> {
        let db_id = DbId(r.u32("db_id")?);
        r.bytes("padding after db_id", 4)?;
        let rsn = Rsn(r.u64("rsn")?);
        let dmaster = Pnn(r.u32("dmaster")?);
        let (key, data) = key_and_data(r)?;
        Ok(ReqDmaster {
            db_id,
            rsn,
            dmaster,
            key,
            data,
            flags: trailing_flags(r)?,
        })
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        put_u32(out, self.db_id.0);
        put_pad(out, 4);
        put_u64(out, self.rsn.0);
        put_u32(out, self.dmaster.0);
        put_record(out, self.key, self.data, self.flags);
    }
}

/// To the new data master. Behind the header:
///
/// | db_id u32 | padding 4 | rsn u64 | keylen u32 | datalen u32 | key | data | flags u32 |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplyDmaster<'a> {
    /// Database.
    pub db_id: DbId,
    /// Of the copy that moves.
    pub rsn: Rsn,
    /// Key of the record.
    pub key: &'a [u8],
    /// Its data, without header.
    pub data: &'a [u8],
    /// Its flags; empty when the packet ends before them.
    pub flags: RecFlags,
}

impl<'a> ReplyDmaster<'a> {
    pub(super) fn decode(r: &mut Reader<'a>) -> Result<Self, WireError> {
        let db_id = DbId(r.u32("db_id")?);
        r.bytes("padding after db_id", 4)?;
        let rsn = Rsn(r.u64("rsn")?);
        let (key, data) = key_and_data(r)?;
        Ok(ReplyDmaster {
            db_id,
            rsn,
            key,
            data,
            flags: trailing_flags(r)?,
        })
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        put_u32(out, self.db_id.0);
        put_pad(out, 4);
        put_u64(out, self.rsn.0);
        put_record(out, self.key, self.data, self.flags);
    }
}

fn key_and_data<'a>(r: &mut Reader<'a>) -> Result<(&'a [u8], &'a [u8]), WireError> {
    let key_len = r.u32("keylen")? as usize;
    let data_len = r.u32("datalen")? as usize;
    Ok((r.bytes("key", key_len)?, r.bytes("data", data_len)?))
}

fn trailing_flags(r: &mut Reader<'_>) -> Result<RecFlags, WireError> {
    if r.left() < 4 {
        return Ok(RecFlags::empty());
    }
    r.u32("record flags").map(RecFlags::from_bits_retain)
}

fn put_record(out: &mut Vec<u8>, key: &[u8], data: &[u8], flags: RecFlags) {
    put_u32(out, len_u32(key.len()));
    put_u32(out, len_u32(data.len()));
    out.extend_from_slice(key);
    out.extend_from_slice(data);
    put_u32(out, flags.bits());
}
