//! Database files as ctdbd has them.

use std::collections::BTreeMap;
use std::ops::ControlFlow::Continue;
use std::path::PathBuf;

use ctdb_lockhelper::protocol::{Database, Rules};
use ctdb_protocol::{DbFlags, DbId, LtdbHeader, Pnn, RecBufferWriter, RecFlags, Rsn};
use ctdb_tdb::{OpenOptions, StoreMode, Tdb, TdbFlags};
use tempfile::TempDir;

pub const PERSISTENT: TdbFlags = TdbFlags::DISALLOW_NESTING;
pub const REPLICATED: TdbFlags = PERSISTENT
    .union(TdbFlags::NOSYNC)
    .union(TdbFlags::CLEAR_IF_FIRST)
    .union(TdbFlags::INCOMPATIBLE_HASH);
pub const VOLATILE: TdbFlags = REPLICATED.union(TdbFlags::MUTEX_LOCKING);

/// Our own node in all tests.
pub const ME: Pnn = Pnn(1);

/// A database that this process, in the place of ctdbd, has open.
pub struct Db {
    pub tdb: Tdb,
    pub path: PathBuf,
    flags: TdbFlags,
    _dir: TempDir,
}

impl Db {
    pub fn create(flags: TdbFlags) -> Db {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.tdb.1");
        let options = OpenOptions {
            hash_size: 10_007,
            flags,
            create: true,
            ..OpenOptions::default()
        };
        Db {
            tdb: Tdb::open(&path, &options).unwrap(),
            path,
            flags,
            _dir: dir,
        }
    }

    /// As it is named in requests.
    pub fn db(&self) -> Database<'_> {
        Database {
            path: &self.path,
            flags: self.flags,
            max_dead: 5,
        }
    }

    pub fn rules(&self) -> Rules {
        let db = if self.flags == PERSISTENT {
            DbFlags::PERSISTENT
        } else if self.flags == REPLICATED {
            DbFlags::REPLICATED
        } else {
            DbFlags::empty()
        };
        Rules {
            db,
            me: ME,
            vnnmap: vec![Pnn(0)],
        }
    }

    pub fn store(&self, key: &str, rsn: u64, data: &str) {
        let data = [&header(rsn).to_bytes(), data.as_bytes()].concat();
        self.tdb.store(key.as_bytes(), &data, StoreMode::Replace).unwrap();
    }

    /// Key → rsn and data.
    pub fn records(&self) -> BTreeMap<String, (u64, String)> {
        let mut records = BTreeMap::new();
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        self.tdb
            .traverse_read(|key, bytes| {
                let (header, data) = LtdbHeader::split(bytes).unwrap();
                records.insert(text(key), (header.rsn.0, text(data)));
                Continue(())
            })
            .unwrap();
        records
    }
}

pub fn header(rsn: u64) -> LtdbHeader {
    LtdbHeader {
        rsn: Rsn(rsn),
        dmaster: Pnn(0),
        flags: RecFlags::MIGRATED_WITH_DATA,
    }
}

/// A `rec_buffer` of these records.
pub fn buffer(records: &[(&str, LtdbHeader, &str)]) -> Vec<u8> {
    let mut writer = RecBufferWriter::new(DbId(0x1234));
    for (key, header, data) in records {
        writer.push(0, key.as_bytes(), header, data.as_bytes());
    }
    writer.into_bytes()
}

/// What [`Db::records`] should find.
pub fn expect(records: &[(&str, u64, &str)]) -> BTreeMap<String, (u64, String)> {
    records
        .iter()
        .map(|(key, rsn, data)| (key.to_string(), (*rsn, data.to_string())))
        .collect()
}
