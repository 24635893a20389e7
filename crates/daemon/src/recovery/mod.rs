//! This node's part in a recovery: what the recovery helper asks of it, database by database.
//!
//! ```text
//! mode         NORMAL or ACTIVE, and what has to hold before NORMAL
//! ends         START_RECOVERY and END_RECOVERY: events, cluster lock text, counters
//! freeze       the lock on whole databases, held by a helper process
//! transaction  wipe and pushed records, kept aside until the commit
//! staged       where they are kept: memory up to a bound, then a file
//! pull push    records out, records in
//! ```
//!
//! A frozen database is locked by a helper process; this process works in it under libtdb's mark
//! ([`ctdb_tdb::Tdb::mark_all`]) in slices of about [`SLICE`], so that heartbeats and controls of a node with a
//! million records are served as if nothing happened. Nothing of a pushed database is stored before its commit.

pub mod ends;
pub mod freeze;
pub mod mode;
pub mod pull;
pub mod push;
mod staged;
pub mod transaction;

use std::rc::Rc;
use std::time::Duration;

use ctdb_protocol::DbId;

use crate::Daemon;
use crate::databases::{Database, FreezeState};

/// Time after which work in a database lets the loop turn.
const SLICE: Duration = Duration::from_millis(2);
/// The clock is read once for so many records.
const RECORDS_PER_LOOK: usize = 16;

/// The state of all rooms of this directory.
#[derive(Default)]
pub struct Recovery {
    freezers: freeze::Freezers,
    transactions: transaction::Transactions,
    pulls: pull::Pulls,
    pushes: push::Pushes,
    mode: mode::Mode,
}

/// The database of a control that works on frozen ones only. Says in the log why there is none.
fn frozen(d: &Rc<Daemon>, id: DbId, control: &str) -> Option<Rc<Database>> {
    let Some(db) = d.databases.get(id) else {
        log::error!("{control} for database {id} refused: it is not attached on this node");
        return None;
    };
    if db.freeze.get() != FreezeState::Frozen {
        log::error!(
            "{control} for database {} refused: it is not frozen (DB_FREEZE comes first)",
            db.name
        );
        return None;
    }
    Some(db)
}
