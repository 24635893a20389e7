//! Locked records of volatile databases.
//!
//! The one who may change a record is the node that is its data master. So: lock the chain in the local file and look. If we are not the data
//! master, let go, ask the daemon to bring the record here, and look again, as often as it takes: another node may
//! have called it away before we had the lock.

use ctdb_protocol::packet::CallId;
use ctdb_protocol::{CallFlags, LtdbHeader, Pnn, RecFlags};
use ctdb_tdb::{StoreMode, TdbError};

use crate::control::NO_TIMEOUT;
use crate::local_file::Locked;
use crate::{ClientError, Database, DbKind};

/// What a record is wanted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// To change it.
    Write,
    /// To look at it: a read-only copy will do.
    ReadOnly,
}

/// Marks of read-only copies, here or elsewhere.
const COPIES: RecFlags = RecFlags::RO_HAVE_READONLY.union(RecFlags::RO_HAVE_DELEGATIONS);

/// Whether the local copy of a record is good for this.
fn usable(header: &LtdbHeader, me: Pnn, access: Access) -> bool {
    match access {
        Access::Write => header.dmaster == me && !header.flags.contains(RecFlags::RO_HAVE_DELEGATIONS),
        Access::ReadOnly => header.dmaster == me || header.flags.intersects(COPIES),
    }
}

/// A record of a volatile database on this node, its chain locked. Drop unlocks.
///
/// The lock is that of the whole chain: a task that waits for a second record while it has one may wait for itself. And the record
/// cannot leave the node meanwhile, so be quick.
#[must_use = "the record is unlocked when this is dropped"]
pub struct RecordHandle {
    db: Database,
    key: Box<[u8]>,
    header: LtdbHeader,
    data: Vec<u8>,
    lock: Locked,
}

impl Database {
    /// Brings a record to this node and locks it. A record that is not there is made, with empty data; deleted ones have empty data
    /// too. There is no deadline: see [`Client::call`](crate::Client::call).
    ///
    /// # Errors
    /// `InvalidUse` for databases that are not volatile and for an empty key; `NotMigrated`; `Tdb`; those of
    /// [`Client::call`](crate::Client::call).
    pub async fn fetch_lock(&self, key: &[u8], access: Access) -> Result<RecordHandle, ClientError> {
        if self.kind() != DbKind::Volatile {
            return Err(ClientError::InvalidUse(
                "locking a record of a database that is changed by transactions",
            ));
        }
        loop {
            let lock = self.file().lock(self.client().handle(), key).await?;
            let data = self.file().tdb().fetch(key)?;
            if let Some((header, value)) = data.as_deref().and_then(LtdbHeader::split)
                && usable(&header, self.client().pnn(), access)
            {
                return Ok(RecordHandle {
                    db: self.clone(),
                    key: key.into(),
                    header,
                    data: value.to_vec(),
                    lock,
                });
            }
            drop(lock);
            self.migrate(key, access).await?;
        }
    }

    async fn migrate(&self, key: &[u8], access: Access) -> Result<(), ClientError> {
        let flags = match access {
            Access::Write => CallFlags::IMMEDIATE_MIGRATION,
            Access::ReadOnly => CallFlags::IMMEDIATE_MIGRATION | CallFlags::WANT_READONLY,
        };
        let (status, _) = self
            .client()
            .call(self.id(), key, CallId::NULL.0, flags, b"")
            .await?;
        if status == 0 {
            return Ok(());
        }
        Err(ClientError::NotMigrated {
            database: self.name().to_owned(),
            key: key.escape_ascii().to_string(),
            status,
        })
    }
}

impl RecordHandle {
    /// Its key.
    pub fn key(&self) -> &[u8] {
        &self.key
    }

    /// Its header. Only daemons change it.
    pub fn header(&self) -> &LtdbHeader {
        &self.header
    }

    /// Its data; empty for one that is new or deleted.
    pub fn data(&self) -> &[u8] {
        &self.data
    }

    /// Changes the data.
    ///
    /// # Errors
    /// `InvalidUse` when there are or this is a read-only copy; `Tdb`.
    pub fn store(&mut self, data: &[u8]) -> Result<(), ClientError> {
        self.check_changeable()?;
        if self.data == data {
            return Ok(());
        }
        self.write(data)?;
        self.data.clear();
        self.data.extend_from_slice(data);
        Ok(())
    }

    /// Deletes the record: empties it, and tells the daemon, which cleans up later.
    ///
    /// # Errors
    /// As [`RecordHandle::store`]; those of [`Client::control`](crate::Client::control), with the record emptied.
    pub async fn delete(self) -> Result<(), ClientError> {
        self.check_changeable()?;
        self.write(b"")?;
        let client = self.db.client();
        let told = client
            .schedule_for_deletion(client.pnn(), self.db.id(), self.header, &self.key, NO_TIMEOUT)
            .await;
        // The daemon looks at the record when it is told; nobody may use it again before.
        drop(self.lock);
        told
    }

    fn check_changeable(&self) -> Result<(), ClientError> {
        if self.header.flags.intersects(COPIES) {
            return Err(ClientError::InvalidUse(
                "changing a record of which there are read-only copies",
            ));
        }
        Ok(())
    }

    fn write(&self, data: &[u8]) -> Result<(), TdbError> {
        let parts = [&self.header.to_bytes()[..], data];
        self.db
            .file()
            .tdb()
            .store_vectored(&self.key, &parts, StoreMode::Replace)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ctdb_protocol::Rsn;

    fn header(dmaster: u32, flags: RecFlags) -> LtdbHeader {
        LtdbHeader {
            flags,
            ..LtdbHeader::new(Rsn(1), Pnn(dmaster))
        }
    }

    #[test]
    fn only_the_data_master_writes_and_not_while_copies_are_out() {
        let me = Pnn(1);
        assert!(usable(&header(1, RecFlags::empty()), me, Access::Write));
        assert!(!usable(&header(2, RecFlags::empty()), me, Access::Write));
        assert!(!usable(
            &header(1, RecFlags::RO_HAVE_DELEGATIONS),
            me,
            Access::Write
        ));
        assert!(!usable(&header(2, RecFlags::RO_HAVE_READONLY), me, Access::Write));
    }

    #[test]
    fn to_look_at_a_record_a_copy_will_do() {
        let me = Pnn(1);
        for flags in [RecFlags::RO_HAVE_READONLY, RecFlags::RO_HAVE_DELEGATIONS] {
            assert!(usable(&header(2, flags), me, Access::ReadOnly));
            assert!(usable(&header(1, flags), me, Access::ReadOnly));
        }
        assert!(usable(&header(1, RecFlags::empty()), me, Access::ReadOnly));
        assert!(!usable(
            &header(2, RecFlags::MIGRATED_WITH_DATA),
            me,
            Access::ReadOnly
        ));
    }
}
