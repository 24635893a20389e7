//! Files of `ctdb backupdb`: a header of 104 bytes, then buffers of records. Little-endian, as the C tool leaves it in memory.
//!
//! | header | version u64 = 3, time i64, flags u64, buffers u64, records u64, name 64 bytes with NUL |
//! |---|---|
//! | buffer | db_id u32, count u32, length u64, records of that length |

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write};

use byteorder::{ByteOrder, LE};
use ctdb_protocol::{DbFlags, DbId, LtdbHeader, Reader, RecBuffer, RecBufferWriter};
use libc::EINVAL;

use crate::failure::Failure;

const VERSION: u64 = 3;
const HEADER_LEN: usize = 104;
const NAME_LEN: usize = 64;
const BUFFER_HEADER_LEN: usize = 16;
/// A buffer that has grown to so many bytes is written.
const BUFFER_FULL: usize = 100_000;

/// The head of a backup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    /// When it was made, seconds since 1970.
    pub(crate) time_s: i64,
    /// Kind of the database.
    pub(crate) flags: DbFlags,
    /// Buffers in the file.
    pub(crate) buffers: u64,
    /// Records in all of them.
    pub(crate) records: u64,
    /// Name of the database, as bytes.
    pub(crate) name: Vec<u8>,
}

impl Header {
    fn to_bytes(&self) -> [u8; HEADER_LEN] {
        let mut bytes = [0; HEADER_LEN];
        LE::write_u64(&mut bytes[0..8], VERSION);
        LE::write_i64(&mut bytes[8..16], self.time_s);
        LE::write_u64(&mut bytes[16..24], self.flags.bits().into());
        LE::write_u64(&mut bytes[24..32], self.buffers);
        LE::write_u64(&mut bytes[32..40], self.records);
        // The last byte stays NUL.
        let len = self.name.len().min(NAME_LEN - 1);
        bytes[40..40 + len].copy_from_slice(&self.name[..len]);
        bytes
    }

    /// Reads the head; an older or newer version is refused.
    fn from_bytes(bytes: &[u8; HEADER_LEN]) -> Result<Header, Failure> {
        let version = LE::read_u64(&bytes[0..8]);
        if version != VERSION {
            let line = format!("Wrong version of backup file, expected {VERSION}, got {version}");
            return Err(Failure::coded(EINVAL, line));
        }
        let name = &bytes[40..40 + NAME_LEN - 1];
        Ok(Header {
            time_s: LE::read_i64(&bytes[8..16]),
            flags: DbFlags::from_bits_retain(bytes[16]),
            buffers: LE::read_u64(&bytes[24..32]),
            records: LE::read_u64(&bytes[32..40]),
            name: name.split(|&byte| byte == 0).next().unwrap_or_default().to_vec(),
        })
    }
}

/// A backup that is being read.
pub(crate) struct BackupReader {
    file: BufReader<File>,
    /// Bytes that are left: no buffer can be longer.
    left: u64,
    pub(crate) header: Header,
}

impl BackupReader {
    /// Reads the head.
    pub(crate) fn open(path: &std::path::Path) -> Result<BackupReader, Failure> {
        let shown = path.display();
        let errno = |error: &io::Error| error.raw_os_error().unwrap_or(EINVAL);
        let file = File::open(path).map_err(|error| {
            Failure::coded(errno(&error), format!("Failed to open file {shown} for reading"))
        })?;
        let unread = |error: io::Error| {
            Failure::coded(
                errno(&error),
                format!("Failed to read db header from file {shown}"),
            )
        };
        let len = file.metadata().map_err(unread)?.len();
        let mut file = BufReader::new(file);
        let mut bytes = [0; HEADER_LEN];
        file.read_exact(&mut bytes).map_err(unread)?;
        Ok(BackupReader {
            file,
            left: len.saturating_sub(HEADER_LEN as u64),
            header: Header::from_bytes(&bytes)?,
        })
    }

    /// The bytes of the next buffer's records and how many they are.
    pub(crate) fn next_buffer(&mut self) -> io::Result<StoredBuffer> {
        let mut head = [0; BUFFER_HEADER_LEN];
        self.file.read_exact(&mut head)?;
        self.left = self.left.saturating_sub(BUFFER_HEADER_LEN as u64);
        let len = LE::read_u64(&head[8..16]);
        if len > self.left {
            let text = format!("a buffer of {len} bytes, of which {} are in the file", self.left);
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, text));
        }
        self.left -= len;
        let mut records = vec![0; len as usize];
        self.file.read_exact(&mut records)?;
        Ok(StoredBuffer {
            count: LE::read_u32(&head[4..8]),
            records,
        })
    }
}

/// Records of a file.
pub(crate) struct StoredBuffer {
    count: u32,
    records: Vec<u8>,
}

impl StoredBuffer {
    /// The records, of this database: the number in the file has no meaning.
    pub(crate) fn records(&self, db: DbId) -> io::Result<RecBuffer<'_>> {
        let mut reader = Reader::new(&self.records);
        let buffer = RecBuffer::from_records(db, self.count, &mut reader);
        let buffer = buffer.and_then(|buffer| reader.finish("records").map(|()| buffer));
        buffer.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
    }
}

/// A backup that is being written. Its head is written last, so that half a backup is none.
pub(crate) struct BackupWriter {
    file: BufWriter<File>,
    pending: RecBufferWriter,
    db: DbId,
    buffers: u64,
    records: u64,
}

impl BackupWriter {
    pub(crate) fn new(file: File, db: DbId) -> io::Result<BackupWriter> {
        let mut file = BufWriter::new(file);
        file.write_all(&[0; HEADER_LEN])?;
        Ok(BackupWriter {
            file,
            pending: RecBufferWriter::new(db),
            db,
            buffers: 0,
            records: 0,
        })
    }

    /// Adds a record.
    pub(crate) fn add(&mut self, key: &[u8], header: &LtdbHeader, value: &[u8]) -> io::Result<()> {
        self.pending.push(0, key, header, value);
        if self.pending.len() < BUFFER_FULL {
            Ok(())
        } else {
            self.flush()
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        let buffer = self.pending.as_buffer();
        let bytes = buffer.record_bytes();
        let mut head = [0; BUFFER_HEADER_LEN];
        LE::write_u32(&mut head[0..4], self.db.0);
        LE::write_u32(&mut head[4..8], buffer.count());
        LE::write_u64(&mut head[8..16], bytes.len() as u64);
        self.file.write_all(&head)?;
        self.file.write_all(bytes)?;
        self.buffers += 1;
        self.records += u64::from(buffer.count());
        self.pending.clear();
        Ok(())
    }

    /// Writes the rest and the head.
    pub(crate) fn finish(mut self, name: &str, flags: DbFlags, time_s: i64) -> io::Result<()> {
        if !self.pending.is_empty() {
            self.flush()?;
        }
        let header = Header {
            time_s,
            flags,
            buffers: self.buffers,
            records: self.records,
            name: name.as_bytes().to_vec(),
        };
        let mut file = self.file.into_inner().map_err(|error| error.into_error())?;
        file.seek(SeekFrom::Start(0))?;
        file.write_all(&header.to_bytes())?;
        file.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use ctdb_protocol::{Pnn, Rsn};

    use super::*;

    #[test]
    fn a_backup_comes_back_as_written() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("backup");
        let mut writer = BackupWriter::new(File::create(&path).unwrap(), DbId(7)).unwrap();
        let header = LtdbHeader::new(Rsn(3), Pnn(1));
        let big = vec![b'x'; BUFFER_FULL];
        for value in [&b"v"[..], &big, b"w"] {
            writer.add(b"k", &header, value).unwrap();
        }
        writer.finish("a.tdb", DbFlags::PERSISTENT, 12345).unwrap();

        let mut reader = BackupReader::open(&path).unwrap();
        assert_eq!(
            reader.header,
            Header {
                time_s: 12345,
                flags: DbFlags::PERSISTENT,
                buffers: 2,
                records: 3,
                name: b"a.tdb".to_vec(),
            }
        );
        let first = reader.next_buffer().unwrap();
        let lens: Vec<_> = first
            .records(DbId(9))
            .unwrap()
            .iter()
            .map(|record| record.data.len())
            .collect();
        assert_eq!(lens, [25, 24 + BUFFER_FULL]);
        assert_eq!(reader.next_buffer().unwrap().records(DbId(9)).unwrap().count(), 1);
        assert!(reader.next_buffer().is_err());
    }

    #[test]
    fn another_version_is_refused_with_what_it_is() {
        let mut bytes = [0; HEADER_LEN];
        bytes[0] = 2;
        assert_eq!(
            Header::from_bytes(&bytes),
            Err(Failure::coded(
                22,
                "Wrong version of backup file, expected 3, got 2"
            ))
        );
    }

    #[test]
    fn a_buffer_longer_than_its_file_is_refused_before_memory_is_taken_for_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("backup");
        let mut bytes = vec![0; HEADER_LEN + BUFFER_HEADER_LEN];
        bytes[0] = 3;
        bytes[HEADER_LEN + 8..].fill(0xff);
        std::fs::write(&path, bytes).unwrap();
        let mut reader = BackupReader::open(&path).unwrap();
        assert_eq!(
            reader.next_buffer().err().unwrap().kind(),
            io::ErrorKind::UnexpectedEof
        );
    }
}
