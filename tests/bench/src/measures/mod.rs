//! What is measured, one file each: what exactly is said at its top.
//!
//! They run in this order on one cluster, which the first of them starts; those that need an empty one make a new one.
//! Next come the read-only fetch loop, vacuuming and traversing 10^6 records, and contention on a g_lock, with what they measure.

mod contention;
mod controls;
mod failover;
mod messages;
mod migration;
mod recovery;
mod recovery_of_records;
mod start;
mod transactions;

use anyhow::Result;

use crate::plan::Plan;
use crate::row::Row;
use crate::subject::Subject;

pub use contention::run_contender;

/// What a measure found, or why it could not.
pub type Rows = Result<Vec<Row>>;

/// One file of this directory.
pub struct Measure {
    /// For `--only`.
    pub name: &'static str,
    /// Measures the daemons.
    pub daemons: fn(&mut Subject) -> Rows,
    /// Measures the floor of the same rows, where there is one.
    pub floor: Option<fn(Plan) -> Rows>,
    /// The quick run has it.
    pub quick: bool,
}

/// All, in the order in which they run.
pub const ALL: &[Measure] = &[
    Measure {
        name: "start",
        daemons: start::daemons,
        floor: None,
        quick: true,
    },
    Measure {
        name: "controls",
        daemons: controls::daemons,
        floor: Some(controls::floor),
        quick: true,
    },
    Measure {
        name: "messages",
        daemons: messages::daemons,
        floor: Some(messages::floor),
        quick: true,
    },
    Measure {
        name: "migration",
        daemons: migration::daemons,
        floor: Some(migration::floor),
        quick: true,
    },
    // While the database of the migrations is the only one.
    Measure {
        name: "recover-1",
        daemons: recovery::of_one_database,
        floor: None,
        quick: false,
    },
    Measure {
        name: "contention",
        daemons: contention::daemons,
        floor: Some(contention::floor),
        quick: true,
    },
    Measure {
        name: "transactions",
        daemons: transactions::daemons,
        floor: Some(transactions::floor),
        quick: true,
    },
    Measure {
        name: "recover-20",
        daemons: recovery::of_twenty_databases,
        floor: None,
        quick: false,
    },
    Measure {
        name: "failover",
        daemons: failover::daemons,
        floor: None,
        quick: true,
    },
    Measure {
        name: "records-1e5",
        daemons: recovery_of_records::small,
        floor: Some(recovery_of_records::floor_of_small),
        quick: true,
    },
    Measure {
        name: "records-1e6",
        daemons: recovery_of_records::big,
        floor: Some(recovery_of_records::floor_of_big),
        quick: false,
    },
];
