//! The TDB files of this node: which there are, and what each is.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::rc::Rc;

use ctdb_lockhelper::protocol as helper;
use ctdb_protocol::{DbFlags, DbId, DbIdEntry, DbIdMap, Generation};
use ctdb_records::Place;
use ctdb_runtime::Task;
use ctdb_runtime::sync::Notify;
use ctdb_tdb::{Tdb, TdbFlags};

use crate::Daemon;
use crate::deletions::Deletions;
use crate::health::Health;
use crate::hot_keys::HotKeys;
use crate::stats::DbStats;
use crate::waiting::Load;

/// Three kinds, which differ in where records live and what survives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DbKind {
    /// Records move to who uses them; emptied at start.
    Volatile,
    /// Every node has all records, changed by transactions; survives.
    Persistent,
    /// Like persistent, but emptied at start.
    Replicated,
}

impl std::fmt::Display for DbKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            DbKind::Volatile => "volatile",
            DbKind::Persistent => "persistent",
            DbKind::Replicated => "replicated",
        })
    }
}

impl DbKind {
    /// From the flags of a database list.
    pub fn of(flags: DbFlags) -> DbKind {
        if flags.contains(DbFlags::PERSISTENT) {
            DbKind::Persistent
        } else if flags.contains(DbFlags::REPLICATED) {
            DbKind::Replicated
        } else {
            DbKind::Volatile
        }
    }

    /// How the file is opened, `daemon.md` §7.
    pub fn tdb_flags(self, mutexes: bool) -> TdbFlags {
        let flags = match self {
            DbKind::Persistent => TdbFlags::empty(),
            DbKind::Replicated => TdbFlags::NOSYNC | TdbFlags::CLEAR_IF_FIRST | TdbFlags::INCOMPATIBLE_HASH,
            DbKind::Volatile if mutexes => {
                TdbFlags::NOSYNC
                    | TdbFlags::CLEAR_IF_FIRST
                    | TdbFlags::INCOMPATIBLE_HASH
                    | TdbFlags::MUTEX_LOCKING
            }
            DbKind::Volatile => TdbFlags::NOSYNC | TdbFlags::CLEAR_IF_FIRST | TdbFlags::INCOMPATIBLE_HASH,
        };
        flags | TdbFlags::DISALLOW_NESTING
    }

    /// The type bit in database lists.
    pub fn flag(self) -> DbFlags {
        match self {
            DbKind::Volatile => DbFlags::empty(),
            DbKind::Persistent => DbFlags::PERSISTENT,
            DbKind::Replicated => DbFlags::REPLICATED,
        }
    }
}

/// Who may touch a database.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FreezeState {
    /// Everybody.
    #[default]
    Thawed,
    /// A helper is taking the lock on the whole database.
    Freezing,
    /// A helper holds it: only the recovery works here.
    Frozen,
}

/// One attached database.
pub struct Database {
    /// Hash of its name.
    pub id: DbId,
    /// Without the node's suffix.
    pub name: String,
    /// The file.
    pub path: PathBuf,
    /// What it is.
    pub kind: DbKind,
    /// READONLY and STICKY can be added later; the type bits are fixed.
    pub flags: Cell<DbFlags>,
    /// The only handle of this file in this process.
    pub tdb: Tdb,
    /// Of the last recovery that committed it; record traffic carries it.
    pub generation: Cell<Generation>,
    /// See [`FreezeState`]; changed by `recovery::freeze` only.
    pub freeze: Cell<FreezeState>,
    /// This node was inactive: what its volatile databases hold counts for nothing in the next recovery.
    pub invalid_records: Cell<bool>,
    /// Why it must not be used; `None` when healthy.
    pub unhealthy: RefCell<Option<String>>,
    /// Counters.
    pub stats: DbStats,
    /// Records that migrate most often.
    pub hot_keys: HotKeys,
    /// Empty records that vacuuming is to look at.
    pub deletions: Deletions,
    /// How much waits for locks and thaws of it.
    pub load: Rc<Load>,
    /// Who is lent read-only copies; `Some` once the database may have them (SET_DB_READONLY).
    pub tracking: RefCell<Option<Tdb>>,
    /// Tells the other nodes of changes of the sequence number, once somebody wants that (ENABLE_SEQNUM).
    pub seqnum_watch: RefCell<Option<Task<()>>>,
    /// The sequence number that the other nodes know of.
    pub seqnum_told: Cell<u32>,
    /// It was detached: work on it that takes long has to end.
    pub gone: Gone,
}

/// See [`Database::gone`].
#[derive(Default)]
pub struct Gone {
    is: Cell<bool>,
    now: Notify,
}

impl Gone {
    /// It is.
    pub fn set(&self) {
        self.is.set(true);
        self.now.notify_all();
    }

    /// Whether it is.
    pub fn get(&self) -> bool {
        self.is.get()
    }

    /// Resolves when it is.
    pub async fn reached(&self) {
        if !self.is.get() {
            self.now.notified().await;
        }
    }
}

impl Database {
    /// A database that was just opened.
    pub fn new(name: &str, path: PathBuf, kind: DbKind, tdb: Tdb, generation: Generation) -> Database {
        Database {
            id: DbId::of_name(name.as_bytes()),
            name: name.to_owned(),
            path,
            kind,
            flags: Cell::new(kind.flag()),
            tdb,
            generation: Cell::new(generation),
            freeze: Cell::default(),
            invalid_records: Cell::default(),
            unhealthy: RefCell::default(),
            stats: DbStats::default(),
            hot_keys: HotKeys::default(),
            deletions: Deletions::default(),
            load: Rc::default(),
            tracking: RefCell::default(),
            seqnum_watch: RefCell::default(),
            seqnum_told: Cell::default(),
            gone: Gone::default(),
        }
    }

    /// Where decisions about a record of this database are made, `ctdb_records`.
    pub fn place(&self, d: &Daemon, key: &[u8]) -> Place {
        Place {
            me: d.me(),
            lmaster: d.state.lmaster(key),
            db: self.flags.get(),
        }
    }

    /// As a lock helper opens it.
    pub fn for_helper(&self, d: &Daemon) -> helper::Database<'_> {
        helper::Database {
            path: &self.path,
            flags: self.tdb.flags(),
            max_dead: d.tunables.borrow().database_max_dead(),
        }
    }

    /// Whether a recovery has it, or is taking it: record traffic has to wait.
    pub fn is_frozen(&self) -> bool {
        self.freeze.get() != FreezeState::Thawed
    }

    /// Records migrate (volatile), or every node has all of them.
    pub fn is_volatile(&self) -> bool {
        self.kind == DbKind::Volatile
    }
}

/// All attached databases.
#[derive(Default)]
pub struct Databases {
    /// Why persistent ones must not be used.
    pub health: Health,
    by_id: RefCell<BTreeMap<u32, Rc<Database>>>,
    /// Newest first: the order in which GET_DBMAP answers.
    order: RefCell<Vec<DbId>>,
    /// Names of those that were detached and whose files are not closed yet, and news of the end of that.
    leaving: RefCell<BTreeSet<String>>,
    left: Notify,
}

impl Databases {
    /// By id.
    pub fn get(&self, id: DbId) -> Option<Rc<Database>> {
        self.by_id.borrow().get(&id.0).cloned()
    }

    /// By name.
    pub fn by_name(&self, name: &str) -> Option<Rc<Database>> {
        self.by_id.borrow().values().find(|db| db.name == name).cloned()
    }

    /// Newest attached first.
    pub fn all(&self) -> Vec<Rc<Database>> {
        self.order
            .borrow()
            .iter()
            .filter_map(|id| self.get(*id))
            .collect()
    }

    /// Takes a new one in.
    pub fn add(&self, db: Rc<Database>) {
        self.order.borrow_mut().insert(0, db.id);
        self.by_id.borrow_mut().insert(db.id.0, db);
    }

    /// Forgets one.
    pub fn remove(&self, id: DbId) -> Option<Rc<Database>> {
        self.order.borrow_mut().retain(|other| *other != id);
        self.by_id.borrow_mut().remove(&id.0)
    }

    /// Forgets one that is detached; its name stays taken until [`Databases::end_leaving`].
    pub fn begin_leaving(&self, db: &Database) {
        self.remove(db.id);
        self.leaving.borrow_mut().insert(db.name.clone());
    }

    /// Its file is closed.
    pub fn end_leaving(&self, name: &str) {
        self.leaving.borrow_mut().remove(name);
        self.left.notify_all();
    }

    /// Whether a database of this name was detached and its file is not closed yet.
    pub fn is_leaving(&self, name: &str) -> bool {
        self.leaving.borrow().contains(name)
    }

    /// Waits for the end of that.
    pub async fn has_left(&self, name: &str) {
        while self.is_leaving(name) {
            self.left.notified().await;
        }
    }

    /// As GET_DBMAP answers.
    pub fn map(&self) -> DbIdMap {
        let entry = |db: Rc<Database>| DbIdEntry {
            db_id: db.id,
            flags: db.flags.get(),
        };
        DbIdMap {
            databases: self.all().into_iter().map(entry).collect(),
        }
    }
}
