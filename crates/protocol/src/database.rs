//! What controls say about whole databases and single records.

use crate::reader::{Reader, Wire, WireError, layout, put_datan, put_list, put_pad, put_u32};
use crate::{DbFlags, DbId, Generation, LtdbHeader, Pnn, Srvid};

/// A database of a node. `db_id u32, flags u8`, padding 3.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DbIdEntry {
    /// Database.
    pub db_id: DbId,
    /// Its properties.
    pub flags: DbFlags,
}

impl Wire<'_> for DbIdEntry {
    fn decode(r: &mut Reader<'_>) -> Result<Self, WireError> {
        let db_id = DbId(r.u32("db_id")?);
        let flags = DbFlags::from_bits_retain(r.u8("flags")?);
        r.bytes("padding after flags", 3)?;
        Ok(DbIdEntry { db_id, flags })
    }

    fn encode(&self, out: &mut Vec<u8>) {
        put_u32(out, self.db_id.0);
        out.push(self.flags.bits());
        put_pad(out, 3);
    }
}

/// The databases of a node, the newest attached first. `num u32`, entries of 8 bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DbIdMap {
    /// One for each database.
    pub databases: Vec<DbIdEntry>,
}

impl Wire<'_> for DbIdMap {
    fn decode(r: &mut Reader<'_>) -> Result<Self, WireError> {
        Ok(DbIdMap {
            databases: r.list("num", 8)?,
        })
    }

    fn encode(&self, out: &mut Vec<u8>) {
        put_list(out, &self.databases);
    }
}

layout! {
    /// Where records of a recovery go to (DB_PULL) or come from (DB_PUSH_START).
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct PullDbExt [16] {
        /// Database.
        db_id: DbId;
        /// `0xffffffff` in DB_PULL; the C helper's DB_PUSH_START has garbage here. Of no meaning.
        lmaster: u32;
        /// Service at which the records arrive.
        srvid: Srvid;
    }
}

impl PullDbExt {
    /// What ctdb's own DB_PULL has in `lmaster`.
    pub const LMASTER_ANY: u32 = 0xFFFF_FFFF;

    /// All records of a database.
    pub fn new(db_id: DbId, srvid: Srvid) -> Self {
        PullDbExt {
            db_id,
            lmaster: PullDbExt::LMASTER_ANY,
            srvid,
        }
    }
}

layout! {
    /// A transaction of a recovery.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct TransDb [8] {
        /// Database.
        db_id: DbId;
        /// Id of the transaction: the recovery's new generation.
        tid: u32;
    }
}

layout! {
    /// GET_DB_SEQNUM: the C daemon wants 8 bytes and looks at the first 4.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct SeqnumOf [8] {
        /// Database.
        db_id: DbId, pad 4;
    }
}

/// DB_VACUUM: `db_id u32, full u8`. 5 bytes, no padding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DbVacuum {
    /// Database.
    pub db_id: DbId,
    /// Look at all records instead of those that are known as deleted.
    pub full: bool,
}

impl Wire<'_> for DbVacuum {
    fn decode(r: &mut Reader<'_>) -> Result<Self, WireError> {
        Ok(DbVacuum {
            db_id: DbId(r.u32("db_id")?),
            full: r.bool("full")?,
        })
    }

    fn encode(&self, out: &mut Vec<u8>) {
        put_u32(out, self.db_id.0);
        out.push(self.full.into());
    }
}

/// SCHEDULE_FOR_DELETION: `db_id u32`, padding 4, header, `keylen u32`, key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyData<'a> {
    /// Database.
    pub db_id: DbId,
    /// The record's header when it was deleted.
    pub header: LtdbHeader,
    /// Its key.
    pub key: &'a [u8],
}

impl<'a> Wire<'a> for KeyData<'a> {
    fn decode(r: &mut Reader<'a>) -> Result<Self, WireError> {
        let db_id = DbId(r.u32("db_id")?);
        r.bytes("padding after db_id", 4)?;
        let header = LtdbHeader::decode(r)?;
        Ok(KeyData {
            db_id,
            header,
            key: r.datan("key")?,
        })
    }

    fn encode(&self, out: &mut Vec<u8>) {
        put_u32(out, self.db_id.0);
        put_pad(out, 4);
        self.header.encode(out);
        put_datan(out, self.key);
    }
}

/// PUSH_RECORD: `generation u32, db_id u32`, header, `keylen u32`, key, `datalen u32`, value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PushRecordData<'a> {
    /// Of the sender; another one's is not stored.
    pub generation: Generation,
    /// Database.
    pub db_id: DbId,
    /// The record's header.
    pub header: LtdbHeader,
    /// Its key.
    pub key: &'a [u8],
    /// Its value, without header.
    pub value: &'a [u8],
}

impl<'a> Wire<'a> for PushRecordData<'a> {
    fn decode(r: &mut Reader<'a>) -> Result<Self, WireError> {
        Ok(PushRecordData {
            generation: Generation(r.u32("generation")?),
            db_id: DbId(r.u32("db_id")?),
            header: LtdbHeader::decode(r)?,
            key: r.datan("key")?,
            value: r.datan("value")?,
        })
    }

    fn encode(&self, out: &mut Vec<u8>) {
        put_u32(out, self.generation.0);
        put_u32(out, self.db_id.0);
        self.header.encode(out);
        put_datan(out, self.key);
        put_datan(out, self.value);
    }
}

layout! {
    /// TRAVERSE_START and TRAVERSE_KILL.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct TraverseStart [16] {
        /// Database.
        db_id: DbId;
        /// The client's number for it, in every record that comes.
        reqid: u32;
        /// Where the records go to.
        srvid: Srvid;
    }
}

layout! {
    /// TRAVERSE_ALL: from the client's daemon to all.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct TraverseAll [24] {
        /// Database.
        db_id: DbId;
        /// The daemon's number for it.
        reqid: u32;
        /// Node of the client.
        pnn: Pnn;
        /// The client's number for it.
        client_reqid: u32;
        /// Where the client wants the records.
        srvid: Srvid;
    }
}

/// TRAVERSE_START_EXT: [`TraverseStart`], `withemptyrecords u8`, padding 7.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraverseStartExt {
    /// As without the extension.
    pub start: TraverseStart,
    /// Deleted records too.
    pub with_empty_records: bool,
}

impl Wire<'_> for TraverseStartExt {
    fn decode(r: &mut Reader<'_>) -> Result<Self, WireError> {
        let start = TraverseStart::decode(r)?;
        Ok(TraverseStartExt {
            start,
            with_empty_records: bool_and_padding(r)?,
        })
    }

    fn encode(&self, out: &mut Vec<u8>) {
        self.start.encode(out);
        out.push(self.with_empty_records.into());
        put_pad(out, 7);
    }
}

/// TRAVERSE_ALL_EXT: [`TraverseAll`], `withemptyrecords u8`, padding 7 (with garbage in it, from C).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraverseAllExt {
    /// As without the extension.
    pub all: TraverseAll,
    /// Deleted records too.
    pub with_empty_records: bool,
}

impl Wire<'_> for TraverseAllExt {
    fn decode(r: &mut Reader<'_>) -> Result<Self, WireError> {
        let all = TraverseAll::decode(r)?;
        Ok(TraverseAllExt {
            all,
            with_empty_records: bool_and_padding(r)?,
        })
    }

    fn encode(&self, out: &mut Vec<u8>) {
        self.all.encode(out);
        out.push(self.with_empty_records.into());
        put_pad(out, 7);
    }
}

fn bool_and_padding(r: &mut Reader<'_>) -> Result<bool, WireError> {
    let value = r.bool("withemptyrecords")?;
    r.bytes("padding after withemptyrecords", 7)?;
    Ok(value)
}
