//! Records as they travel and as they lie in files: the header, single records, buffers of many.

use byteorder::{ByteOrder, LE};

use crate::reader::{Reader, Wire, WireError, layout, len_u32, put_u32};
use crate::{DbId, Pnn, RecFlags, Rsn};

layout! {
    /// In front of the data of every record in a database file. 24 bytes:
    ///
    /// | rsn u64 | dmaster u32 | reserved u32 | flags u32 | padding 4 |
    ///
    /// Source: `ctdb/protocol/protocol_types.c`, `ctdb_ltdb_header_push` and `_pull`.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct LtdbHeader [24] {
        /// Which copy of the record is newer.
        rsn: Rsn;
        /// The node that may change the record.
        dmaster: Pnn, pad 4;
        /// What happened to the record.
        flags: RecFlags, pad 4;
    }
}

impl LtdbHeader {
    /// A header without flags.
    pub fn new(rsn: Rsn, dmaster: Pnn) -> Self {
        LtdbHeader {
            rsn,
            dmaster,
            flags: RecFlags::empty(),
        }
    }

    /// Header and value of what a database file holds for a key; `None` for less than a header.
    pub fn split(data: &[u8]) -> Option<(LtdbHeader, &[u8])> {
        let mut r = Reader::new(data);
        let header = LtdbHeader::decode(&mut r).ok()?;
        Some((header, r.rest()))
    }

    /// The 24 bytes.
    pub fn to_bytes(&self) -> [u8; LtdbHeader::LEN] {
        let mut bytes = [0; LtdbHeader::LEN];
        LE::write_u64(&mut bytes[0..8], self.rsn.0);
        LE::write_u32(&mut bytes[8..12], self.dmaster.0);
        LE::write_u32(&mut bytes[16..20], self.flags.bits());
        bytes
    }
}

/// One record: `length u32` (of all this), `reqid u32, keylen u32, datalen u32`, key, data.
/// Source: `ctdb/protocol/protocol_types.c`, `ctdb_rec_data_push`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecData<'a> {
    /// Depends on who sends it: a traverse's id, a node number when vacuuming, else 0.
    pub reqid: u32,
    /// Key.
    pub key: &'a [u8],
    /// In most uses a [`LtdbHeader`] and the value.
    pub data: &'a [u8],
}

impl<'a> RecData<'a> {
    /// Bytes on the wire of a record with empty key and data.
    pub const LEN_MIN: usize = 16;

    /// The record that ends a traverse.
    pub fn end(reqid: u32) -> Self {
        RecData {
            reqid,
            key: b"",
            data: b"",
        }
    }

    /// Whether this ends a traverse.
    pub fn is_end(&self) -> bool {
        self.key.is_empty() && self.data.is_empty()
    }

    /// Header and value; `None` when the data is too short for a header.
    pub fn header_and_value(&self) -> Option<(LtdbHeader, &'a [u8])> {
        LtdbHeader::split(self.data)
    }
}

impl<'a> Wire<'a> for RecData<'a> {
    fn decode(r: &mut Reader<'a>) -> Result<Self, WireError> {
        let length = r.u32("record length")?;
        let reqid = r.u32("reqid")?;
        let key_len = r.u32("keylen")? as usize;
        let data_len = r.u32("datalen")? as usize;
        let key = r.bytes("key", key_len)?;
        let data = r.bytes("data", data_len)?;
        if length as usize != RecData::LEN_MIN + key_len + data_len {
            return Err(WireError::BadValue {
                field: "record length",
                value: length.into(),
            });
        }
        Ok(RecData { reqid, key, data })
    }

    fn encode(&self, out: &mut Vec<u8>) {
        put_record(out, self.reqid, self.key, &[self.data]);
    }
}

/// Writes one record whose data is in parts.
fn put_record(out: &mut Vec<u8>, reqid: u32, key: &[u8], data: &[&[u8]]) {
    let data_len: usize = data.iter().map(|part| part.len()).sum();
    put_u32(out, len_u32(RecData::LEN_MIN + key.len() + data_len));
    put_u32(out, reqid);
    put_u32(out, len_u32(key.len()));
    put_u32(out, len_u32(data_len));
    out.extend_from_slice(key);
    for part in data {
        out.extend_from_slice(part);
    }
}

/// Many records of one database, upstream's marshall buffer: `db_id u32, count u32`, records without padding.
/// Every record was checked when this was decoded; iterating allocates nothing and can't fail.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct RecBuffer<'a> {
    db_id: DbId,
    count: u32,
    records: &'a [u8],
}

impl<'a> RecBuffer<'a> {
    /// A buffer without records.
    pub fn empty(db_id: DbId) -> Self {
        RecBuffer {
            db_id,
            count: 0,
            records: b"",
        }
    }

    /// Database. Of no meaning in the files of `ctdb backupdb`.
    pub fn db_id(&self) -> DbId {
        self.db_id
    }

    /// Number of records.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// The records' bytes, one after the other.
    pub fn record_bytes(&self) -> &'a [u8] {
        self.records
    }

    /// The records in order.
    pub fn iter(&self) -> Records<'a> {
        Records {
            r: Reader::new(self.records),
            left: self.count,
        }
    }

    /// Takes `count` records from the front of the cursor, which may have bytes behind them.
    ///
    /// # Errors
    /// Those of the first record that is wrong; `Short` when there are fewer.
    pub fn from_records(db_id: DbId, count: u32, r: &mut Reader<'a>) -> Result<Self, WireError> {
        let mut walk = r.clone();
        for _ in 0..count {
            RecData::decode(&mut walk)?;
        }
        let records = r.bytes("records", r.left() - walk.left())?;
        Ok(RecBuffer {
            db_id,
            count,
            records,
        })
    }
}

impl std::fmt::Debug for RecBuffer<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RecBuffer {{ db_id: {}, count: {}, ", self.db_id, self.count)?;
        write!(f, "records: {:?} }}", self.iter().collect::<Vec<_>>())
    }
}

impl<'a> IntoIterator for &RecBuffer<'a> {
    type Item = RecData<'a>;
    type IntoIter = Records<'a>;

    fn into_iter(self) -> Records<'a> {
        self.iter()
    }
}

impl<'a> Wire<'a> for RecBuffer<'a> {
    fn decode(r: &mut Reader<'a>) -> Result<Self, WireError> {
        let db_id = DbId(r.u32("db_id")?);
        let count = r.count("count", RecData::LEN_MIN)?;
        RecBuffer::from_records(db_id, len_u32(count), r)
    }

    fn encode(&self, out: &mut Vec<u8>) {
        put_u32(out, self.db_id.0);
        put_u32(out, self.count);
        out.extend_from_slice(self.records);
    }
}

/// The records of a [`RecBuffer`].
#[derive(Clone, Debug)]
pub struct Records<'a> {
    r: Reader<'a>,
    left: u32,
}

impl<'a> Iterator for Records<'a> {
    type Item = RecData<'a>;

    fn next(&mut self) -> Option<RecData<'a>> {
        self.left = self.left.checked_sub(1)?;
        Some(RecData::decode(&mut self.r).expect("each record was decoded when the buffer was made"))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left as usize, Some(self.left as usize))
    }
}

impl ExactSizeIterator for Records<'_> {}

/// Collects records into the bytes of a [`RecBuffer`]. The count in them is right after each record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecBufferWriter {
    bytes: Vec<u8>,
    db_id: DbId,
    count: u32,
}

impl RecBufferWriter {
    /// No records yet.
    pub fn new(db_id: DbId) -> Self {
        let mut bytes = Vec::new();
        RecBuffer::empty(db_id).encode(&mut bytes);
        RecBufferWriter {
            bytes,
            db_id,
            count: 0,
        }
    }

    /// Adds a record whose data is header and value.
    pub fn push(&mut self, reqid: u32, key: &[u8], header: &LtdbHeader, value: &[u8]) {
        put_record(&mut self.bytes, reqid, key, &[&header.to_bytes(), value]);
        self.count_one();
    }

    /// Adds a record with data as it is: with its header from a file, or none.
    pub fn push_raw(&mut self, reqid: u32, key: &[u8], data: &[u8]) {
        put_record(&mut self.bytes, reqid, key, &[data]);
        self.count_one();
    }

    fn count_one(&mut self) {
        self.count += 1;
        LE::write_u32(&mut self.bytes[4..8], self.count);
    }

    /// Number of records.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// Whether there are no records.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Length of [`RecBufferWriter::as_bytes`].
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// The bytes so far, complete: a control's or message's data.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The records so far.
    pub fn as_buffer(&self) -> RecBuffer<'_> {
        RecBuffer {
            db_id: self.db_id,
            count: self.count,
            records: &self.bytes[8..],
        }
    }

    /// The bytes, complete.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// Forgets the records, keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.count = 0;
        RecBuffer::empty(self.db_id).encode(&mut self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_keeps_its_padding_empty() {
        let header = LtdbHeader {
            rsn: Rsn(7),
            dmaster: Pnn(2),
            flags: RecFlags::MIGRATED_WITH_DATA,
        };
        let mut bytes = Vec::new();
        header.encode(&mut bytes);
        assert_eq!(bytes, b"\x07\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0\0\0\x01\0\0\0\0\0");
        assert_eq!(bytes, header.to_bytes());
        assert_eq!(LtdbHeader::decode(&mut Reader::new(&bytes)), Ok(header));
        for cut in 0..LtdbHeader::LEN {
            assert!(
                LtdbHeader::decode(&mut Reader::new(&bytes[..cut])).is_err(),
                "cut at {cut}"
            );
        }
    }

    #[test]
    fn records_come_back_as_written() {
        let header = LtdbHeader::new(Rsn(1), Pnn(0));
        let mut writer = RecBufferWriter::new(DbId(5));
        writer.push(0, b"k", &header, b"value");
        writer.push_raw(3, b"key2", b"");
        let buffer = RecBuffer::decode_all(writer.as_bytes(), "records").unwrap();
        assert_eq!(buffer, writer.as_buffer());
        let records: Vec<_> = buffer.iter().collect();
        assert_eq!(records[0].header_and_value(), Some((header, &b"value"[..])));
        assert_eq!(
            records[1],
            RecData {
                reqid: 3,
                key: b"key2",
                data: b""
            }
        );
        writer.clear();
        assert!(writer.is_empty());
        assert_eq!(writer.as_bytes(), RecBufferWriter::new(DbId(5)).as_bytes());
    }

    #[test]
    fn a_record_whose_length_disagrees_with_its_parts_is_refused() {
        let mut writer = RecBufferWriter::new(DbId(5));
        writer.push_raw(0, b"key", b"data");
        let mut bytes = writer.into_bytes();
        bytes[8] += 1;
        bytes.push(0);
        let error = RecBuffer::decode_all(&bytes, "records");
        assert_eq!(
            error,
            Err(WireError::BadValue {
                field: "record length",
                value: 24
            })
        );
    }

    #[test]
    fn a_buffer_that_claims_more_records_than_fit_is_refused() {
        let error = RecBuffer::decode_all(b"\x01\0\0\0\xff\xff\xff\xff", "records");
        assert!(matches!(error, Err(WireError::Short { field: "count", .. })));
    }
}
