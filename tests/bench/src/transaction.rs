//! Transactions on a persistent database, as the ctdb client library does them: a record of `g_lock.tdb` is the lock,
//! TRANS3_COMMIT the commit.
//!
//! Written here once more, and blocking, so that what is timed is the daemons' work and not that of an executor.

use std::process;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use ctdb_protocol::client::GLock;
use ctdb_protocol::{LtdbHeader, Pnn, RecBufferWriter, Request, Rsn, ServerId, Wire};

use crate::connection::Connection;
use crate::database::{Database, Kind, number};

/// Counts the commits of a database, with its NUL.
pub const SEQNUM_KEY: &[u8] = b"__db_sequence_number__\0";
/// Between two looks at a lock that another one has.
const LOCK_PAUSE: Duration = Duration::from_millis(1);

/// A client on one node that makes transactions on one database.
pub struct Transactions {
    daemon: Connection,
    g_lock: Database,
    database: Database,
    lock_key: Vec<u8>,
    me: ServerId,
}

impl Transactions {
    pub fn open(mut daemon: Connection, name: &str) -> Result<Transactions> {
        let g_lock = Database::open(&mut daemon, "g_lock.tdb", Kind::Volatile)?;
        let database = Database::open(&mut daemon, name, Kind::Persistent)?;
        let pid = u64::from(process::id());
        Ok(Transactions {
            lock_key: format!("transaction_db_{}\0", database.id).into_bytes(),
            me: ServerId {
                pid,
                task_id: database.id.0,
                vnn: database.pnn.0,
                unique_id: u64::from(database.id.0) << 32 | pid,
            },
            daemon,
            g_lock,
            database,
        })
    }

    /// Commits of the database so far, from the node's file.
    pub fn seqnum(&self) -> Result<u64> {
        number(&self.read(SEQNUM_KEY)?.1)
    }

    /// One transaction that stores one record.
    pub fn store(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        self.lock()?;
        let committed = self.commit(key, value);
        self.unlock()?;
        committed
    }

    fn commit(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        let seqnum = self.seqnum()?;
        let mut records = RecBufferWriter::new(self.database.id);
        for (key, value) in [(key, value), (SEQNUM_KEY, &(seqnum + 1).to_le_bytes()[..])] {
            let rsn = self.read(key)?.0.map_or(Rsn(0), |header| header.rsn);
            let header = LtdbHeader::new(Rsn(rsn.0 + 1), self.database.pnn);
            records.push(0, key, &header, value);
        }
        let request = Request::Trans3Commit(records.as_buffer());
        let answer = self.daemon.control(Pnn::CURRENT, &request)?;
        if answer.status != 0 {
            bail!("TRANS3_COMMIT was answered with status {}", answer.status);
        }
        Ok(())
    }

    fn read(&self, key: &[u8]) -> Result<(Option<LtdbHeader>, Vec<u8>)> {
        let data = self.database.tdb.fetch(key)?.unwrap_or_default();
        let split = LtdbHeader::split(&data);
        Ok(split.map_or((None, Vec::new()), |(header, value)| {
            (Some(header), value.to_vec())
        }))
    }

    /// Puts us into the lock's record as the only one.
    fn lock(&mut self) -> Result<()> {
        loop {
            let record = self.g_lock.fetch_lock(&mut self.daemon, &self.lock_key)?;
            let holders = GLock::decode_list(&record.value).context("the record of the lock")?;
            let Some(holder) = holders.first() else {
                let mut value = Vec::new();
                GLock {
                    lock_type: GLock::WRITE,
                    server_id: self.me,
                }
                .encode(&mut value);
                return record.store(&value);
            };
            // As the library: asked with the record locked; nobody dies here.
            let pid = i32::try_from(holder.server_id.pid).context("the holder's process number")?;
            let alive = self
                .daemon
                .control(Pnn(holder.server_id.vnn), &Request::ProcessExists(pid))?;
            if alive.status != 0 {
                bail!("the holder of the lock, {:?}, is gone", holder.server_id);
            }
            drop(record);
            thread::sleep(LOCK_PAUSE);
        }
    }

    /// Empties the lock's record, and has it deleted some time as every client does.
    fn unlock(&mut self) -> Result<()> {
        let record = self.g_lock.fetch_lock(&mut self.daemon, &self.lock_key)?;
        record.store(b"")?;
        let request = Request::ScheduleForDeletion(ctdb_protocol::KeyData {
            db_id: self.g_lock.id,
            header: record.header,
            key: &self.lock_key,
        });
        self.daemon.control_noreply(Pnn::CURRENT, &request)
    }
}
