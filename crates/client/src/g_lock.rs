//! Locks across the cluster, kept as records of the volatile database `g_lock.tdb`.
//!
//! A record lists its holders. Whoever wants the lock has the record brought to its node, finds the holders that conflict, and asks their
//! nodes whether they are still alive: a dead one is taken off the list, a live one is waited for. This is the format of upstream's
//! library and tool. smbd keeps another one in the same database: upstream's tool takes such a record for one of dead holders and
//! overwrites it; here it is an error.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use ctdb_protocol::{DbFlags, GLock, Pnn, ServerId};

use crate::control::NO_TIMEOUT;
use crate::record::{Access, RecordHandle};
use crate::{Client, ClientError, Database, DbKind};

/// Name of the database.
pub const DATABASE: &str = "g_lock.tdb";

/// Pause before a held lock is tried again; upstream's, for there is no queue, and who pauses longer loses.
const RETRY: Duration = Duration::from_millis(1);

/// What a lock allows others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockType {
    /// Other readers.
    Read,
    /// Nobody.
    Write,
}

impl LockType {
    fn number(self) -> u32 {
        match self {
            LockType::Read => GLock::READ,
            LockType::Write => GLock::WRITE,
        }
    }
}

/// Attaches the database of the locks.
///
/// # Errors
/// Those of [`Database::attach`].
pub async fn attach(client: &Client) -> Result<Database, ClientError> {
    Database::attach(client, DATABASE, DbKind::Volatile, DbFlags::empty()).await
}

/// An owner on this node, for work on `task_id` (upstream: the database of a transaction). The first one of a process is
/// what upstream's library makes; further ones differ in bits that it leaves 0, so that two tasks of one are two owners.
pub fn new_owner(client: &Client, task_id: u32) -> ServerId {
    static OWNERS: AtomicU32 = AtomicU32::new(0);
    /// Process ids have at most 22 bits.
    const COUNTER_SHIFT: u32 = 22;

    let count = OWNERS.fetch_add(1, Ordering::Relaxed);
    let pid = client.handle().pid();
    ServerId {
        pid: pid.into(),
        task_id,
        vnn: client.pnn().0,
        unique_id: u64::from(task_id) << 32 | u64::from(count << COUNTER_SHIFT | pid),
    }
}

/// A held lock. Call [`Held::unlock`]; a drop unlocks too, in a task of its own, if the runtime still runs it. If it does not, the
/// process ends, and the next who wants the lock finds that out.
#[must_use = "dropping the lock gives it up"]
pub struct Held {
    db: Database,
    key: Vec<u8>,
    owner: ServerId,
    held: bool,
}

/// Waits for a lock, however long: its holders are waited for as long as they live. `name` goes into the key with a NUL.
///
/// # Errors
/// `LockedBySelf` when `owner` holds it already, in whatever way; `BadRecord` when the record is not ours to read;
/// those of [`Database::fetch_lock`] and [`Client::control`].
pub async fn lock(
    db: &Database,
    name: &str,
    owner: ServerId,
    lock_type: LockType,
) -> Result<Held, ClientError> {
    let mut key = name.as_bytes().to_vec();
    key.push(0);
    loop {
        let mut record = db.fetch_lock(&key, Access::Write).await?;
        if try_lock(db, &mut record, owner, lock_type).await? {
            return Ok(Held {
                db: db.clone(),
                key,
                owner,
                held: true,
            });
        }
        drop(record);
        db.client().handle().sleep(RETRY).await;
    }
}

/// `false` when a living holder is in the way.
async fn try_lock(
    db: &Database,
    record: &mut RecordHandle,
    owner: ServerId,
    lock_type: LockType,
) -> Result<bool, ClientError> {
    let mut holders = decode(db, record)?;
    let mut index = 0;
    while let Some(holder) = holders.get(index) {
        if holder.server_id == owner {
            return Err(ClientError::LockedBySelf(record.key().escape_ascii().to_string()));
        }
        if holder.lock_type == GLock::READ && lock_type == LockType::Read {
            index += 1;
        } else if is_alive(db.client(), &holder.server_id).await? {
            return Ok(false);
        } else {
            log::info!(
                "{}: took a dead holder off the lock: {}",
                db.name(),
                describe(holder)
            );
            holders.swap_remove(index);
            store(record, &holders)?;
        }
    }
    holders.push(GLock {
        lock_type: lock_type.number(),
        server_id: owner,
    });
    store(record, &holders)?;
    Ok(true)
}

/// Gives a lock up.
async fn unlock(db: &Database, key: &[u8], owner: ServerId) -> Result<(), ClientError> {
    let mut record = db.fetch_lock(key, Access::Write).await?;
    let mut holders = decode(db, &record)?;
    let Some(index) = holders.iter().position(|holder| holder.server_id == owner) else {
        return Ok(());
    };
    holders.swap_remove(index);
    if holders.is_empty() {
        return record.delete().await;
    }
    store(&mut record, &holders)
}

/// Who holds a lock now, dead ones included.
///
/// # Errors
/// As [`lock`].
pub async fn holders(db: &Database, name: &str) -> Result<Vec<GLock>, ClientError> {
    let mut key = name.as_bytes().to_vec();
    key.push(0);
    let record = db.fetch_lock(&key, Access::Write).await?;
    decode(db, &record)
}

/// Asks the holder's node. A node that cannot be asked has no living holders: they end with their daemon's connection.
async fn is_alive(client: &Client, holder: &ServerId) -> Result<bool, ClientError> {
    // No process has such a number.
    let Ok(pid) = i32::try_from(holder.pid) else {
        return Ok(false);
    };
    client.process_exists(Pnn(holder.vnn), pid, NO_TIMEOUT).await
}

fn decode(db: &Database, record: &RecordHandle) -> Result<Vec<GLock>, ClientError> {
    let bad = |reason| db.bad_record(record.key(), reason);
    let len = record.data().len();
    // smbd's records are never of such a length: 52 + 32 n + 24 m bytes.
    if !len.is_multiple_of(GLock::LEN) {
        return Err(bad(format!(
            "{len} bytes are no list of holders: smbd locks by this name"
        )));
    }
    let holders = GLock::decode_list(record.data()).map_err(|error| bad(error.to_string()))?;
    let strange = holders
        .iter()
        .find(|holder| holder.lock_type != GLock::READ && holder.lock_type != GLock::WRITE);
    match strange {
        Some(holder) => Err(bad(format!(
            "a lock of type {}, known are 0 and 1",
            holder.lock_type
        ))),
        None => Ok(holders),
    }
}

fn store(record: &mut RecordHandle, holders: &[GLock]) -> Result<(), ClientError> {
    let mut data = Vec::with_capacity(holders.len() * GLock::LEN);
    GLock::encode_list(holders, &mut data);
    record.store(&data)
}

fn describe(holder: &GLock) -> String {
    let id = &holder.server_id;
    format!("process {} of node {}", id.pid, id.vnn)
}

impl Held {
    /// Who holds it.
    pub fn owner(&self) -> ServerId {
        self.owner
    }

    /// Gives the lock up.
    ///
    /// # Errors
    /// As [`lock`]. The lock is then held until this process ends.
    pub async fn unlock(mut self) -> Result<(), ClientError> {
        let result = unlock(&self.db, &self.key, self.owner).await;
        // A drop before this line, in the middle of it, tries again: no harm, our entry is there once at most.
        self.held = false;
        result
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if !self.held || self.db.client().is_disconnected() {
            return;
        }
        let (db, key, owner) = (self.db.clone(), std::mem::take(&mut self.key), self.owner);
        let task = self.db.client().handle().spawn(async move {
            if let Err(error) = unlock(&db, &key, owner).await {
                log::warn!(
                    "the lock {} stays held until this process ends: {error}",
                    key.escape_ascii()
                );
            }
        });
        task.detach();
    }
}
