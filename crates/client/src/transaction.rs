//! Transactions on persistent and replicated databases, of which every node has all records.
//!
//! Changes are collected here and sent to the own daemon at the end, which has all nodes store them, or none. A lock across the cluster
//! keeps transactions on one database apart. A record's deletion is an empty value, until the next recovery drops it.
//!
//! A commit counts the database's sequence number up by one. That is how the client finds out what became of a commit that failed
//! because a recovery came between: the recovery finished it, or it has to be sent again.

use std::collections::HashMap;
use std::time::Duration;

use ctdb_protocol::{LtdbHeader, RecBufferWriter, Request, Rsn};

use crate::control::NO_TIMEOUT;
use crate::g_lock::{self, Held, LockType};
use crate::{ClientError, Database, DbKind};

/// Record with the sequence number: u64.
const SEQUENCE_NUMBER_KEY: &[u8] = b"__db_sequence_number__\0";

/// Pause before a refused commit is sent again, at first and at most: refused means that a recovery is under way.
const RETRY_FIRST: Duration = Duration::from_millis(1);
const RETRY_LAST: Duration = Duration::from_millis(256);

/// A transaction. It ends by [`Transaction::commit`] or [`Transaction::cancel`]; a drop cancels it.
pub struct Transaction {
    db: Database,
    lock: Held,
    read_only: bool,
    /// All changes, in order.
    changes: RecBufferWriter,
    /// The newest version of what was changed.
    newest: HashMap<Vec<u8>, (LtdbHeader, Vec<u8>)>,
}

impl Transaction {
    /// Waits until no other transaction on the database runs; read-only ones run side by side.
    ///
    /// # Errors
    /// `InvalidUse` for a volatile database; those of [`g_lock::lock`].
    pub async fn start(db: &Database, read_only: bool) -> Result<Transaction, ClientError> {
        if db.kind() == DbKind::Volatile {
            return Err(ClientError::InvalidUse("a transaction on a volatile database"));
        }
        let locks = g_lock::attach(db.client()).await?;
        let name = format!("transaction_db_{}", db.id());
        let lock_type = if read_only {
            LockType::Read
        } else {
            LockType::Write
        };
        let owner = g_lock::new_owner(db.client(), db.id().0);
        let lock = g_lock::lock(&locks, &name, owner, lock_type).await?;
        Ok(Transaction {
            db: db.clone(),
            lock,
            read_only,
            changes: RecBufferWriter::new(db.id()),
            newest: HashMap::new(),
        })
    }

    /// Value of a record, with the changes of this transaction; `None` when there is none or it is deleted.
    ///
    /// # Errors
    /// Those of [`Database::fetch_local`].
    pub async fn fetch(&self, key: &[u8]) -> Result<Option<Vec<u8>>, ClientError> {
        let version = self.version(key).await?;
        Ok(version.map(|(_, value)| value).filter(|value| !value.is_empty()))
    }

    /// Changes a record.
    ///
    /// # Errors
    /// `InvalidUse` in a read-only transaction; those of [`Database::fetch_local`].
    pub async fn store(&mut self, key: &[u8], value: &[u8]) -> Result<(), ClientError> {
        if self.read_only {
            return Err(ClientError::InvalidUse("a change in a read-only transaction"));
        }
        let me = self.db.client().pnn();
        let header = match self.version(key).await? {
            Some((_, old)) if old == value => return Ok(()),
            Some((header, _)) => LtdbHeader {
                rsn: header.rsn.plus(1),
                dmaster: me,
                ..header
            },
            None if value.is_empty() => return Ok(()),
            None => LtdbHeader::new(Rsn(1), me),
        };
        self.changes.push(0, key, &header, value);
        self.newest.insert(key.to_vec(), (header, value.to_vec()));
        Ok(())
    }

    /// Deletes a record.
    ///
    /// # Errors
    /// As [`Transaction::store`].
    pub async fn delete(&mut self, key: &[u8]) -> Result<(), ClientError> {
        self.store(key, b"").await
    }

    /// Makes the changes on all nodes. Without changes there is nothing to do. Waits for recoveries to pass, without
    /// a deadline.
    ///
    /// # Errors
    /// `CommitLost` when it cannot be told whether the changes were made; those of [`crate::Client::control`], when nothing is known
    /// about them.
    pub async fn commit(mut self) -> Result<(), ClientError> {
        let committed = if self.changes.is_empty() {
            Ok(())
        } else {
            self.commit_changes().await
        };
        let unlocked = self.lock.unlock().await;
        committed.and(unlocked)
    }

    /// Forgets the changes.
    ///
    /// # Errors
    /// Those of [`Held::unlock`].
    pub async fn cancel(self) -> Result<(), ClientError> {
        self.lock.unlock().await
    }

    async fn commit_changes(&mut self) -> Result<(), ClientError> {
        let before = self.sequence_number().await?;
        let next = before.wrapping_add(1);
        self.store(SEQUENCE_NUMBER_KEY, &next.to_le_bytes()).await?;
        let request = Request::Trans3Commit(self.changes.as_buffer());
        let client = self.db.client();
        let mut pause = RETRY_FIRST;
        loop {
            let answer = client.control_raw(client.pnn(), &request, NO_TIMEOUT).await?;
            if answer.status == 0 {
                return Ok(());
            }
            log::info!(
                "{}: the commit was answered by status {} {}",
                self.db.name(),
                answer.status,
                answer.text
            );
            let after = self.sequence_number().await?;
            if after == next {
                return Ok(()); // by the recovery
            }
            if after != before {
                return Err(ClientError::CommitLost {
                    database: self.db.name().to_owned(),
                    before,
                    after,
                });
            }
            client.handle().sleep(pause).await;
            pause = (pause * 2).min(RETRY_LAST);
        }
    }

    /// The newest version of a record: the transaction's own or the local one.
    async fn version(&self, key: &[u8]) -> Result<Option<(LtdbHeader, Vec<u8>)>, ClientError> {
        match self.newest.get(key) {
            Some(own) => Ok(Some(own.clone())),
            None => self.db.fetch_local(key).await,
        }
    }

    /// The database's own, without this transaction's change.
    async fn sequence_number(&self) -> Result<u64, ClientError> {
        let Some((_, value)) = self.db.fetch_local(SEQUENCE_NUMBER_KEY).await? else {
            return Ok(0);
        };
        if value.is_empty() {
            return Ok(0);
        }
        let number = <[u8; 8]>::try_from(value.as_slice()).map_err(|_| {
            let reason = format!("{} bytes, a sequence number has 8", value.len());
            self.db.bad_record(SEQUENCE_NUMBER_KEY, reason)
        })?;
        Ok(u64::from_le_bytes(number))
    }
}
