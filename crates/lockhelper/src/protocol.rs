//! What ctdbd and a helper say to each other over their socket pair.
//!
//! A frame is 8 bytes and a body; all numbers are little-endian:
//!
//! | length of the body u32 | version u16 | kind u16 | body |
//!
//! Both programs come from one build; the version is there to find out when they do not. ctdbd sends
//! requests, as many as it likes; the helper answers each with one reply, in their order.
//!
//! A *database* in a body is:
//!
//! | length of the path u32 | path | TDB flags u32 | max dead u32 |
//!
//! and *rules* are those by which ctdbd stores in it (`daemon.md` §5):
//!
//! | database flags u8 | own pnn u32 | size of the vnnmap u32 | pnn u32 each |
//!
//! Records are a `rec_buffer` of the wire protocol, to the end of the body.
//!
//! | kind | request | body |
//! |---|---|---|
//! | 1 | PING | |
//! | 2 | LOCK_RECORD | database, key to the end |
//! | 3 | UNLOCK_RECORD | |
//! | 4 | TRY_LOCK_DB | database |
//! | 5 | LOCK_DB | database |
//! | 6 | UNLOCK_DB | path to the end |
//! | 7 | UPDATE_RECORDS | database, rules, records |
//! | 8 | RECOVER_BEGIN | database, rules, wipe u8 (0, 1) |
//! | 9 | RECOVER_RECORDS | records |
//! | 10 | RECOVER_COMMIT | |
//! | 11 | RECOVER_CANCEL | |
//! | 12 | CHECK | database |
//! | 13 | CLOSE | path to the end |
//! | 14 | SYNC | database |
//!
//! | kind | reply | body |
//! |---|---|---|
//! | 0x8001 | OK | |
//! | 0x8002 | BUSY | |
//! | 0x8003 | FAILED | text to the end |
//! | 0x8004 | CORRUPT | text to the end |

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use ctdb_protocol::{DbFlags, Pnn, Reader, WireError};
use ctdb_tdb::TdbFlags;

/// Version of this protocol.
pub const VERSION: u16 = 1;
/// Bytes in front of a body.
pub const HEAD_LEN: usize = 8;
/// Longest body: a packet of 128 MiB, the most that ctdbd takes from a client or node, and what we put in front.
pub const BODY_LEN_MAX: usize = (128 << 20) + (64 << 10);
/// Longest path, as the kernel's PATH_MAX.
pub const PATH_LEN_MAX: usize = 4096;

/// What is wrong with a frame. Whoever gets it can make no sense of the rest either.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The other side is of another build.
    #[error(
        "lock helper protocol version {0} instead of {VERSION}: ctdbd and ctdb_lock_helper are of different versions"
    )]
    Version(u16),
    /// The body is longer than any.
    #[error("a frame of {0} bytes is longer than the {BODY_LEN_MAX} that are allowed")]
    TooLong(usize),
    /// Not in the table.
    #[error("unknown kind of frame 0x{0:04x}")]
    Kind(u16),
    /// The path is longer than any.
    #[error("a path of {0} bytes is longer than the {PATH_LEN_MAX} that are allowed")]
    PathTooLong(usize),
    /// The body is not what its kind says.
    #[error("frame of kind 0x{kind:04x}: {error}")]
    Body {
        /// Kind of the frame.
        kind: u16,
        /// Which field.
        error: WireError,
    },
}

/// The 8 bytes in front of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Bytes that follow; at most [`BODY_LEN_MAX`].
    pub body_len: usize,
    /// Which request or reply.
    pub kind: u16,
}

impl Head {
    /// # Errors
    /// [`FrameError::Version`], [`FrameError::TooLong`].
    pub fn decode(bytes: [u8; HEAD_LEN]) -> Result<Head, FrameError> {
        let [a, b, c, d, e, f, g, h] = bytes;
        let version = u16::from_le_bytes([e, f]);
        if version != VERSION {
            return Err(FrameError::Version(version));
        }
        let body_len = u32::from_le_bytes([a, b, c, d]) as usize;
        if body_len > BODY_LEN_MAX {
            return Err(FrameError::TooLong(body_len));
        }
        Ok(Head {
            body_len,
            kind: u16::from_le_bytes([g, h]),
        })
    }
}

/// A frame in a receive buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Which request or reply.
    pub head: Head,
    /// What goes with it.
    pub body: &'a [u8],
}

impl<'a> Frame<'a> {
    /// The first frame in `bytes`; `None` when it is not complete.
    ///
    /// # Errors
    /// As [`Head::decode`].
    pub fn first(bytes: &'a [u8]) -> Result<Option<Frame<'a>>, FrameError> {
        let Some((head, rest)) = bytes.split_first_chunk::<HEAD_LEN>() else {
            return Ok(None);
        };
        let head = Head::decode(*head)?;
        Ok(rest.get(..head.body_len).map(|body| Frame { head, body }))
    }

    /// Bytes that it takes in the buffer.
    pub fn total_len(&self) -> usize {
        HEAD_LEN + self.body.len()
    }
}

/// A database file as ctdbd has it open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Database<'a> {
    /// The file. A helper opens it once and keeps it open until CLOSE.
    pub path: &'a Path,
    /// Flags that ctdbd has it open with. CLEAR_IF_FIRST is left out by the helper, which never clears a file.
    pub flags: TdbFlags,
    /// Dead records that are kept in a chain.
    pub max_dead: u32,
}

/// What ctdbd's store rules need to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Kind of the database.
    pub db: DbFlags,
    /// This node.
    pub me: Pnn,
    /// Location masters by hash. May be empty: then no node is lmaster.
    pub vnnmap: Vec<Pnn>,
}

/// What ctdbd asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request<'a> {
    /// Are you there? OK.
    Ping,
    /// Wait for the chain lock of this key and hold it. A helper holds one. OK, FAILED.
    LockRecord {
        /// The database.
        db: Database<'a>,
        /// Key of the record.
        key: &'a [u8],
    },
    /// Let go of it. OK, FAILED.
    UnlockRecord,
    /// Lock the whole database and hold it, unless that means to wait. A helper can hold many. OK, BUSY, FAILED.
    TryLockDb {
        /// The database.
        db: Database<'a>,
    },
    /// Wait for the lock of the whole database and hold it. OK, FAILED.
    LockDb {
        /// The database.
        db: Database<'a>,
    },
    /// Let go of it. OK, FAILED.
    UnlockDb {
        /// Path of the database.
        path: &'a Path,
    },
    /// Store records in one transaction, all or none (UPDATE_RECORD). OK, FAILED.
    UpdateRecords {
        /// The database.
        db: Database<'a>,
        /// How to store.
        rules: Rules,
        /// A `rec_buffer`.
        records: &'a [u8],
    },
    /// Start to replace the records of a database that another helper has locked as a whole. OK, FAILED.
    /// A recovery under way in this helper is cancelled first.
    RecoverBegin {
        /// The database.
        db: Database<'a>,
        /// How to store.
        rules: Rules,
        /// Delete all records first.
        wipe: bool,
    },
    /// Some of the records. OK; FAILED also when an earlier one failed.
    RecoverRecords {
        /// A `rec_buffer`.
        records: &'a [u8],
    },
    /// That was all of them: commit to disk. OK, FAILED: the database is as before.
    RecoverCommit,
    /// Leave the database as before. OK, also when there was nothing to cancel.
    RecoverCancel,
    /// Check the structure of the file. OK, CORRUPT, FAILED.
    Check {
        /// The database.
        db: Database<'a>,
    },
    /// Wait until everything that any process has stored in the database is on the disk. OK, FAILED.
    Sync {
        /// The database.
        db: Database<'a>,
    },
    /// Close the file. OK, also when it is not open; FAILED while something of it is locked.
    Close {
        /// Path of the database.
        path: &'a Path,
    },
}

/// What became of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// Done.
    Ok,
    /// Another process has a lock.
    Busy,
    /// Why not, for the log.
    Failed(String),
    /// What is wrong with the database, for its health record.
    Corrupt(String),
}

mod kind {
    pub(super) const PING: u16 = 1;
    pub(super) const LOCK_RECORD: u16 = 2;
    pub(super) const UNLOCK_RECORD: u16 = 3;
    pub(super) const TRY_LOCK_DB: u16 = 4;
    pub(super) const LOCK_DB: u16 = 5;
    pub(super) const UNLOCK_DB: u16 = 6;
    pub(super) const UPDATE_RECORDS: u16 = 7;
    pub(super) const RECOVER_BEGIN: u16 = 8;
    pub(super) const RECOVER_RECORDS: u16 = 9;
    pub(super) const RECOVER_COMMIT: u16 = 10;
    pub(super) const RECOVER_CANCEL: u16 = 11;
    pub(super) const CHECK: u16 = 12;
    pub(super) const CLOSE: u16 = 13;
    pub(super) const SYNC: u16 = 14;

    pub(super) const OK: u16 = 0x8001;
    pub(super) const BUSY: u16 = 0x8002;
    pub(super) const FAILED: u16 = 0x8003;
    pub(super) const CORRUPT: u16 = 0x8004;
}

impl<'a> Request<'a> {
    /// Appends the frame of this request.
    ///
    /// # Errors
    /// [`FrameError::TooLong`], [`FrameError::PathTooLong`]; nothing has been appended then.
    pub fn encode(&self, out: &mut Vec<u8>) -> Result<(), FrameError> {
        encode_frame(out, self.kind(), |out| {
            match self {
                Request::Ping | Request::UnlockRecord | Request::RecoverCommit | Request::RecoverCancel => {}
                Request::LockRecord { db, key } => {
                    db.encode(out)?;
                    out.extend_from_slice(key);
                }
                Request::TryLockDb { db }
                | Request::LockDb { db }
                | Request::Check { db }
                | Request::Sync { db } => db.encode(out)?,
                Request::UnlockDb { path } | Request::Close { path } => {
                    out.extend_from_slice(path_bytes(path)?);
                }
                Request::UpdateRecords { db, rules, records } => {
                    db.encode(out)?;
                    rules.encode(out);
                    out.extend_from_slice(records);
                }
                Request::RecoverBegin { db, rules, wipe } => {
                    db.encode(out)?;
                    rules.encode(out);
                    out.push(u8::from(*wipe));
                }
                Request::RecoverRecords { records } => out.extend_from_slice(records),
            }
            Ok(())
        })
    }

    /// # Errors
    /// [`FrameError::Kind`], [`FrameError::Body`], [`FrameError::PathTooLong`]. Records are not looked into.
    pub fn decode(frame: Frame<'a>) -> Result<Self, FrameError> {
        let Frame { head, body } = frame;
        let mut r = Reader::new(body);
        let request = Self::decode_body(head.kind, &mut r)?;
        r.finish("request").map_err(|error| FrameError::Body {
            kind: head.kind,
            error,
        })?;
        Ok(request)
    }

    fn decode_body(kind: u16, r: &mut Reader<'a>) -> Result<Self, FrameError> {
        let body_error = |error| FrameError::Body { kind, error };
        Ok(match kind {
            kind::PING => Request::Ping,
            kind::LOCK_RECORD => Request::LockRecord {
                db: Database::decode(kind, r)?,
                key: r.rest(),
            },
            kind::UNLOCK_RECORD => Request::UnlockRecord,
            kind::TRY_LOCK_DB => Request::TryLockDb {
                db: Database::decode(kind, r)?,
            },
            kind::LOCK_DB => Request::LockDb {
                db: Database::decode(kind, r)?,
            },
            kind::UNLOCK_DB => Request::UnlockDb {
                path: path_from(r.rest())?,
            },
            kind::UPDATE_RECORDS => Request::UpdateRecords {
                db: Database::decode(kind, r)?,
                rules: Rules::decode(r).map_err(body_error)?,
                records: r.rest(),
            },
            kind::RECOVER_BEGIN => Request::RecoverBegin {
                db: Database::decode(kind, r)?,
                rules: Rules::decode(r).map_err(body_error)?,
                wipe: r.bool("wipe").map_err(body_error)?,
            },
            kind::RECOVER_RECORDS => Request::RecoverRecords { records: r.rest() },
            kind::RECOVER_COMMIT => Request::RecoverCommit,
            kind::RECOVER_CANCEL => Request::RecoverCancel,
            kind::CHECK => Request::Check {
                db: Database::decode(kind, r)?,
            },
            kind::SYNC => Request::Sync {
                db: Database::decode(kind, r)?,
            },
            kind::CLOSE => Request::Close {
                path: path_from(r.rest())?,
            },
            other => return Err(FrameError::Kind(other)),
        })
    }

    fn kind(&self) -> u16 {
        match self {
            Request::Ping => kind::PING,
            Request::LockRecord { .. } => kind::LOCK_RECORD,
            Request::UnlockRecord => kind::UNLOCK_RECORD,
            Request::TryLockDb { .. } => kind::TRY_LOCK_DB,
            Request::LockDb { .. } => kind::LOCK_DB,
            Request::UnlockDb { .. } => kind::UNLOCK_DB,
            Request::UpdateRecords { .. } => kind::UPDATE_RECORDS,
            Request::RecoverBegin { .. } => kind::RECOVER_BEGIN,
            Request::RecoverRecords { .. } => kind::RECOVER_RECORDS,
            Request::RecoverCommit => kind::RECOVER_COMMIT,
            Request::RecoverCancel => kind::RECOVER_CANCEL,
            Request::Check { .. } => kind::CHECK,
            Request::Close { .. } => kind::CLOSE,
            Request::Sync { .. } => kind::SYNC,
        }
    }
}

/// Longest text of a reply; what is behind it is left out.
const TEXT_LEN_MAX: usize = 4096;

impl Reply {
    /// Appends the frame of this reply.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let (kind, text) = match self {
            Reply::Ok => (kind::OK, ""),
            Reply::Busy => (kind::BUSY, ""),
            Reply::Failed(text) => (kind::FAILED, text.as_str()),
            Reply::Corrupt(text) => (kind::CORRUPT, text.as_str()),
        };
        let text = &text.as_bytes()[..text.len().min(TEXT_LEN_MAX)];
        encode_frame(out, kind, |out| {
            out.extend_from_slice(text);
            Ok(())
        })
        .expect("a text of 4096 bytes at most fits a frame");
    }

    /// # Errors
    /// [`FrameError::Kind`], [`FrameError::Body`] when something follows OK or BUSY.
    pub fn decode(frame: Frame<'_>) -> Result<Reply, FrameError> {
        let Frame { head, body } = frame;
        let mut r = Reader::new(body);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let reply = match head.kind {
            kind::OK => Reply::Ok,
            kind::BUSY => Reply::Busy,
            kind::FAILED => Reply::Failed(text(r.rest())),
            kind::CORRUPT => Reply::Corrupt(text(r.rest())),
            other => return Err(FrameError::Kind(other)),
        };
        r.finish("reply").map_err(|error| FrameError::Body {
            kind: head.kind,
            error,
        })?;
        Ok(reply)
    }
}

fn encode_frame(
    out: &mut Vec<u8>,
    kind: u16,
    body: impl FnOnce(&mut Vec<u8>) -> Result<(), FrameError>,
) -> Result<(), FrameError> {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&VERSION.to_le_bytes());
    out.extend_from_slice(&kind.to_le_bytes());
    let result = body(out).and_then(|()| {
        let len = out.len() - start - HEAD_LEN;
        if len > BODY_LEN_MAX {
            Err(FrameError::TooLong(len))
        } else {
            Ok(len as u32)
        }
    });
    match result {
        Ok(len) => out[start..start + 4].copy_from_slice(&len.to_le_bytes()),
        Err(error) => {
            out.truncate(start);
            return Err(error);
        }
    }
    Ok(())
}

impl<'a> Database<'a> {
    fn encode(&self, out: &mut Vec<u8>) -> Result<(), FrameError> {
        let path = path_bytes(self.path)?;
        out.extend_from_slice(&(path.len() as u32).to_le_bytes());
        out.extend_from_slice(path);
        out.extend_from_slice(&self.flags.bits().to_le_bytes());
        out.extend_from_slice(&self.max_dead.to_le_bytes());
        Ok(())
    }

    fn decode(kind: u16, r: &mut Reader<'a>) -> Result<Self, FrameError> {
        let body_error = |error| FrameError::Body { kind, error };
        let path = path_from(r.datan("path").map_err(body_error)?)?;
        let flags = TdbFlags::from_bits_retain(r.u32("TDB flags").map_err(body_error)?);
        let max_dead = r.u32("max dead").map_err(body_error)?;
        Ok(Database {
            path,
            flags,
            max_dead,
        })
    }
}

impl Rules {
    fn encode(&self, out: &mut Vec<u8>) {
        out.push(self.db.bits());
        out.extend_from_slice(&self.me.0.to_le_bytes());
        out.extend_from_slice(&(self.vnnmap.len() as u32).to_le_bytes());
        for pnn in &self.vnnmap {
            out.extend_from_slice(&pnn.0.to_le_bytes());
        }
    }

    fn decode(r: &mut Reader<'_>) -> Result<Self, WireError> {
        let db = DbFlags::from_bits_retain(r.u8("database flags")?);
        let me = Pnn(r.u32("own pnn")?);
        let size = r.count("size of the vnnmap", 4)?;
        let vnnmap = (0..size)
            .map(|_| r.u32("vnnmap").map(Pnn))
            .collect::<Result<_, _>>()?;
        Ok(Rules { db, me, vnnmap })
    }
}

fn path_bytes(path: &Path) -> Result<&[u8], FrameError> {
    let bytes = path.as_os_str().as_bytes();
    if bytes.len() > PATH_LEN_MAX {
        Err(FrameError::PathTooLong(bytes.len()))
    } else {
        Ok(bytes)
    }
}

fn path_from(bytes: &[u8]) -> Result<&Path, FrameError> {
    if bytes.len() > PATH_LEN_MAX {
        return Err(FrameError::PathTooLong(bytes.len()));
    }
    Ok(Path::new(OsStr::from_bytes(bytes)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn requests<'a>(path: &'a Path, bytes: &'a [u8], number: u32) -> Vec<Request<'a>> {
        let db = Database {
            path,
            flags: TdbFlags::from_bits_retain(number),
            max_dead: number,
        };
        let vnnmap = (0..number % 5).map(Pnn).collect();
        let rules = Rules {
            db: DbFlags::from_bits_retain(number as u8),
            me: Pnn(number),
            vnnmap,
        };
        vec![
            Request::Ping,
            Request::LockRecord { db, key: bytes },
            Request::UnlockRecord,
            Request::TryLockDb { db },
            Request::LockDb { db },
            Request::UnlockDb { path },
            Request::UpdateRecords {
                db,
                rules: rules.clone(),
                records: bytes,
            },
            Request::RecoverBegin {
                db,
                rules,
                wipe: number.is_multiple_of(2),
            },
            Request::RecoverRecords { records: bytes },
            Request::RecoverCommit,
            Request::RecoverCancel,
            Request::Check { db },
            Request::Close { path },
            Request::Sync { db },
        ]
    }

    #[test]
    fn a_lock_request_is_these_bytes() {
        let db = Database {
            path: Path::new("/a"),
            flags: TdbFlags::MUTEX_LOCKING,
            max_dead: 5,
        };
        let mut bytes = Vec::new();
        Request::LockRecord { db, key: b"key" }
            .encode(&mut bytes)
            .unwrap();
        assert_eq!(
            bytes,
            *b"\x11\0\0\0\x01\0\x02\0\x02\0\0\0/a\0\x10\0\0\x05\0\0\0key"
        );
    }

    #[test]
    fn a_frame_of_another_version_or_without_end_is_refused() {
        assert_eq!(Frame::first(b"\0\0\0\0\x02\0\x01\0"), Err(FrameError::Version(2)));
        assert_eq!(
            Frame::first(b"\xff\xff\xff\xff\x01\0\x01\0"),
            Err(FrameError::TooLong(0xffff_ffff))
        );
        let head = Head {
            body_len: 0,
            kind: 77,
        };
        assert_eq!(
            Request::decode(Frame { head, body: &[] }),
            Err(FrameError::Kind(77))
        );
        assert_eq!(
            Reply::decode(Frame { head, body: &[] }),
            Err(FrameError::Kind(77))
        );
        let long = vec![b'x'; PATH_LEN_MAX + 1];
        let head = Head {
            body_len: long.len(),
            kind: kind::CLOSE,
        };
        assert_eq!(
            Request::decode(Frame { head, body: &long }),
            Err(FrameError::PathTooLong(PATH_LEN_MAX + 1))
        );
    }

    #[test]
    fn a_request_that_is_too_long_leaves_the_output_as_it_was() {
        let records = vec![0; BODY_LEN_MAX + 1];
        let mut out = b"before".to_vec();
        let result = Request::RecoverRecords { records: &records }.encode(&mut out);
        assert_eq!(result, Err(FrameError::TooLong(BODY_LEN_MAX + 1)));
        assert_eq!(out, b"before");
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded_and_no_cut_of_it_is_a_frame(
            path in "[a-z/.]{0,40}", bytes in prop::collection::vec(any::<u8>(), 0..60), number: u32,
        ) {
            for request in requests(Path::new(&path), &bytes, number) {
                let mut out = Vec::new();
                request.encode(&mut out).unwrap();
                let frame = Frame::first(&out).unwrap().unwrap();
                prop_assert_eq!(frame.total_len(), out.len());
                prop_assert_eq!(Request::decode(frame).unwrap(), request);
                for cut in 0..out.len() {
                    prop_assert_eq!(Frame::first(&out[..cut]).unwrap(), None);
                }
            }
            let text = String::from_utf8_lossy(&bytes).into_owned();
            for reply in [Reply::Ok, Reply::Busy, Reply::Failed(text.clone()), Reply::Corrupt(text)] {
                let mut out = Vec::new();
                reply.encode(&mut out);
                let frame = Frame::first(&out).unwrap().unwrap();
                prop_assert_eq!(Reply::decode(frame).unwrap(), reply);
            }
        }

        #[test]
        fn decoding_any_body_never_panics(kind in 0_u16..20, body in prop::collection::vec(any::<u8>(), 0..100)) {
            let head = Head { body_len: body.len(), kind };
            let _ = Request::decode(Frame { head, body: &body });
            let head = Head { kind: kind | 0x8000, ..head };
            let _ = Reply::decode(Frame { head, body: &body });
        }
    }
}
