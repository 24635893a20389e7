//! Pure decisions about records: store rules, calls, migration, merging copies in a recovery.
//!
//! A record of a volatile database has one *dmaster*, the only node that may change it, and a *location
//! master* (lmaster), the node that its key's hash points to and that knows, or can find out, who the dmaster
//! is. Everybody else may hold an old copy. The record sequence number (rsn) in a copy's header tells how new
//! the copy is; recovery keeps the newest.
//!
//! Every function here takes what was found under the record's chain lock and says what to store and what to
//! send. Nothing here locks, stores, sends, waits or logs; that is the daemon's part:
//!
//! | module | question |
//! |---|---|
//! | [`store`] | does this copy stay in the file, and with which header? |
//! | [`call`] | a client, or another node, calls for the record: run, send on, hand over, or wait? |
//! | [`dmaster`] | the record itself comes by: keep it or pass it on? |
//! | [`readonly`] | lending read-only copies and calling them back |
//! | [`merge`] | which of several copies survives a recovery, and what is pushed |
//! | [`update`] | records that come in by control: transactions, pushes, deletions by vacuuming |
//! | [`hops`] | how far calls travel: statistics, stickiness |

pub mod call;
pub mod dmaster;
pub mod hops;
pub mod merge;
pub mod readonly;
pub mod store;
pub mod update;

#[cfg(test)]
mod model;

pub use ctdb_protocol::LtdbHeader;
use ctdb_protocol::{DbFlags, Pnn};

/// Where a decision is made: this node, its view of the record's location master, the kind of database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// This node.
    pub me: Pnn,
    /// Location master of the record by this node's vnnmap.
    pub lmaster: Pnn,
    /// Kind and abilities of the database.
    pub db: DbFlags,
}

impl Place {
    /// This node is the record's location master.
    pub fn is_lmaster(&self) -> bool {
        self.me == self.lmaster
    }

    /// Neither persistent nor replicated: each record has one dmaster.
    pub fn is_volatile(&self) -> bool {
        is_volatile(self.db)
    }
}

/// Neither persistent nor replicated: each record has one dmaster and migrates.
pub fn is_volatile(db: DbFlags) -> bool {
    !db.intersects(DbFlags::PERSISTENT.union(DbFlags::REPLICATED))
}
