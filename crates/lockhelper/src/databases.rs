//! The database files that a helper has open, and what it has locked in them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ctdb_tdb::{AllRecordLock, ChainLock, OpenOptions, Tdb, TdbError, TdbFlags};

use crate::priority::Priority;
use crate::protocol::{Database, Reply};

/// All open files. A file opens once in a process, so there is one of these.
#[derive(Debug, Default)]
pub(crate) struct Databases {
    open: BTreeMap<PathBuf, Open>,
    record: Option<(PathBuf, ChainLock)>,
    priority: Priority,
}

#[derive(Debug)]
struct Open {
    tdb: Tdb,
    all: Option<AllRecordLock>,
}

impl Databases {
    /// The database, opened on its first use.
    pub fn get(&mut self, db: &Database<'_>) -> Result<Tdb, TdbError> {
        self.entry(db).map(|open| open.tdb.clone())
    }

    fn entry(&mut self, db: &Database<'_>) -> Result<&mut Open, TdbError> {
        if !self.open.contains_key(db.path) {
            let tdb = open(db)?;
            self.open.insert(db.path.to_path_buf(), Open { tdb, all: None });
        }
        let open = self
            .open
            .get_mut(db.path)
            .expect("inserted above if it was not there");
        // The only flag that ctdbd turns on later and that changes what we write.
        if db.flags.contains(TdbFlags::SEQNUM) && !open.tdb.flags().contains(TdbFlags::SEQNUM) {
            open.tdb.enable_seqnum();
        }
        Ok(open)
    }

    pub fn lock_record(&mut self, db: &Database<'_>, key: &[u8]) -> Reply {
        if let Some((path, _)) = &self.record {
            return Reply::Failed(format!(
                "a record of {} is still locked by this helper",
                path.display()
            ));
        }
        let lock = self
            .get(db)
            .and_then(|tdb| self.priority.raised(|| tdb.lock_chain(key)));
        match lock {
            Ok(lock) => {
                self.record = Some((db.path.to_path_buf(), lock));
                Reply::Ok
            }
            Err(error) => failed(&error),
        }
    }

    pub fn unlock_record(&mut self) -> Reply {
        match self.record.take() {
            Some((_, lock)) => reply(lock.unlock()),
            None => Reply::Failed("no record is locked by this helper".to_string()),
        }
    }

    pub fn try_lock_db(&mut self, db: &Database<'_>) -> Reply {
        self.lock_db_with(db, |_, tdb| tdb.try_lock_all())
    }

    pub fn lock_db(&mut self, db: &Database<'_>) -> Reply {
        self.lock_db_with(db, |priority, tdb| priority.raised(|| tdb.lock_all()).map(Some))
    }

    fn lock_db_with(
        &mut self,
        db: &Database<'_>,
        lock: impl FnOnce(&mut Priority, &Tdb) -> Result<Option<AllRecordLock>, TdbError>,
    ) -> Reply {
        let tdb = match self.entry(db) {
            Ok(open) if open.all.is_some() => {
                return Reply::Failed(format!("{} is already locked by this helper", db.path.display()));
            }
            Ok(open) => open.tdb.clone(),
            Err(error) => return failed(&error),
        };
        match lock(&mut self.priority, &tdb) {
            Ok(None) => Reply::Busy,
            Ok(all) => {
                self.open.get_mut(db.path).expect("opened above").all = all;
                Reply::Ok
            }
            Err(error) => failed(&error),
        }
    }

    pub fn unlock_db(&mut self, path: &Path) -> Reply {
        match self.open.get_mut(path).and_then(|open| open.all.take()) {
            Some(all) => reply(all.unlock()),
            None => Reply::Failed(format!("{} is not locked by this helper", path.display())),
        }
    }

    pub fn close(&mut self, path: &Path) -> Reply {
        let record = self.record.as_ref().is_some_and(|(locked, _)| locked == path);
        if record || self.open.get(path).is_some_and(|open| open.all.is_some()) {
            return Reply::Failed(format!("{} is still locked by this helper", path.display()));
        }
        self.open.remove(path);
        Reply::Ok
    }
}

/// Opens a file that ctdbd has open. Without CLEAR_IF_FIRST: the helper is never the first, and if ctdbd died
/// in this moment, the file is none of the helper's business any more. Never creates one.
fn open(db: &Database<'_>) -> Result<Tdb, TdbError> {
    let options = OpenOptions {
        flags: db.flags - TdbFlags::CLEAR_IF_FIRST,
        max_dead: Some(db.max_dead),
        ..OpenOptions::default()
    };
    Tdb::open(db.path, &options)
}

pub(crate) fn failed(error: &TdbError) -> Reply {
    Reply::Failed(error.to_string())
}

fn reply(result: Result<(), TdbError>) -> Reply {
    result.map_or_else(|error| failed(&error), |()| Reply::Ok)
}
