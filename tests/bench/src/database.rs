//! A database as a client has it: attached at the daemon, its file opened here.

use anyhow::{Context, Result, bail, ensure};
use ctdb_protocol::{DbId, LtdbHeader, Pnn, Reply, Request, Text};
use ctdb_tdb::{ChainLock, OpenOptions, StoreMode, Tdb, TdbFlags};

use crate::connection::Connection;

/// How long a database lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Volatile,
    Persistent,
}

/// One node's copy of a database. libtdb lets a process open a file once, so that there is one of these for a
/// database and node at a time.
pub struct Database {
    pub id: DbId,
    pub tdb: Tdb,
    /// The node.
    pub pnn: Pnn,
}

/// A record with its chain locked, on its node.
pub struct Locked<'d> {
    database: &'d Database,
    key: &'d [u8],
    pub header: LtdbHeader,
    pub value: Vec<u8>,
    _lock: ChainLock,
}

/// The daemon's number for a database, which it attaches first.
pub fn attach(daemon: &mut Connection, name: &str, kind: Kind) -> Result<DbId> {
    let request = match kind {
        Kind::Volatile => Request::DbAttach(Text::from(name)),
        Kind::Persistent => Request::DbAttachPersistent(Text::from(name)),
    };
    let answer = daemon
        .expect(Pnn::CURRENT, &request)
        .with_context(|| format!("attaching {name}"))?;
    match answer.reply()? {
        Reply::DbAttach(id) | Reply::DbAttachPersistent(id) => Ok(id),
        other => bail!("attaching {name}: the answer is {other:?}"),
    }
}

impl Database {
    /// Attaches the database and opens the node's file, with the flags that the daemon has.
    pub fn open(daemon: &mut Connection, name: &str, kind: Kind) -> Result<Database> {
        let id = attach(daemon, name, kind)?;
        let answer = daemon.expect(Pnn::CURRENT, &Request::GetDbPath(id))?;
        let Reply::GetDbPath(path) = answer.reply()? else {
            bail!("{name} has no path");
        };
        let path = path.to_str_lossy().into_owned();
        let answer = daemon.expect(Pnn::CURRENT, &Request::DbOpenFlags(id))?;
        let Reply::DbOpenFlags(flags) = answer.reply()? else {
            bail!("{name} has no flags");
        };
        let options = OpenOptions {
            flags: TdbFlags::from_bits_retain(flags.cast_unsigned()),
            ..OpenOptions::default()
        };
        let tdb = Tdb::open(&path, &options)?;
        let pnn = daemon.control(Pnn::CURRENT, &Request::GetPnn)?.status;
        Ok(Database {
            id,
            tdb,
            pnn: Pnn(pnn.cast_unsigned()),
        })
    }

    /// The record, locked, once it is on this node: the loop that every client of volatile databases has.
    pub fn fetch_lock<'d>(&'d self, daemon: &mut Connection, key: &'d [u8]) -> Result<Locked<'d>> {
        loop {
            if let Some(locked) = self.lock_if_here(key)? {
                return Ok(locked);
            }
            daemon.migrate(self.id, key)?;
        }
    }

    /// The record, locked, if it is on this node.
    pub fn lock_if_here<'d>(&'d self, key: &'d [u8]) -> Result<Option<Locked<'d>>> {
        let lock = self.tdb.lock_chain(key)?;
        let here = self.tdb.parse(key, |data| {
            LtdbHeader::split(data)
                .filter(|(header, _)| header.dmaster == self.pnn)
                .map(|(header, value)| (header, value.to_vec()))
        })?;
        Ok(here.flatten().map(|(header, value)| Locked {
            database: self,
            key,
            header,
            value,
            _lock: lock,
        }))
    }
}

impl Locked<'_> {
    /// Stores a value under the header as it was: only the daemon changes headers.
    pub fn store(&self, value: &[u8]) -> Result<()> {
        let header = self.header.to_bytes();
        self.database
            .tdb
            .store_vectored(self.key, &[&header, value], StoreMode::Replace)?;
        Ok(())
    }

    /// Adds one to a record that is a number of 8 bytes, or nothing yet.
    pub fn count(&self) -> Result<()> {
        let before = number(&self.value)?;
        self.store(&(before + 1).to_le_bytes())
    }
}

/// The value of a record that is a number of 8 bytes, or nothing yet.
pub fn number(value: &[u8]) -> Result<u64> {
    if value.is_empty() {
        return Ok(0);
    }
    ensure!(value.len() == 8, "a number of {} bytes", value.len());
    Ok(value
        .iter()
        .rev()
        .fold(0, |number, &byte| number << 8 | u64::from(byte)))
}
