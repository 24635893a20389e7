//! The three kinds of databases.

use std::fmt;

use ctdb_protocol::{DbFlags, Request, Text};

/// How a database keeps its records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DbKind {
    /// Records move to the node that works on them, and are lost with the cluster.
    Volatile,
    /// Every node has all records, on disk; changed by transactions.
    Persistent,
    /// Every node has all records; changed by transactions; emptied at the daemon's start.
    Replicated,
}

impl DbKind {
    /// From the flags in the list of databases.
    pub fn from_flags(flags: DbFlags) -> DbKind {
        if flags.contains(DbFlags::PERSISTENT) {
            DbKind::Persistent
        } else if flags.contains(DbFlags::REPLICATED) {
            DbKind::Replicated
        } else {
            DbKind::Volatile
        }
    }

    /// The control that attaches a database of this kind.
    pub fn attach_request(self, name: &str) -> Request<'_> {
        let name = Text::from(name);
        match self {
            DbKind::Volatile => Request::DbAttach(name),
            DbKind::Persistent => Request::DbAttachPersistent(name),
            DbKind::Replicated => Request::DbAttachReplicated(name),
        }
    }
}

/// As operators see it in `ctdb getdbmap`.
impl fmt::Display for DbKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            DbKind::Volatile => "VOLATILE",
            DbKind::Persistent => "PERSISTENT",
            DbKind::Replicated => "REPLICATED",
        })
    }
}
