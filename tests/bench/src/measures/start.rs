//! **start**: three daemons of an empty cluster are started at the same time; until each one is RUNNING, in recovery
//! mode NORMAL, sees all three as OK and has the vnn map of the first recovery. Seen by questions every 5 ms.
//!
//! **idle memory**: what is resident of `ctdbd` and of `ctdb_recoverd` of such a node one second later, the most of the
//! three nodes; and how much of `ctdbd` is its own, neither libraries nor other files. No database is attached.

use std::thread;
use std::time::Duration;

use anyhow::Result;

use crate::memory;
use crate::row::Row;
use crate::subject::Subject;

/// For helpers of the start to be gone.
const SETTLING: Duration = Duration::from_secs(1);

pub fn daemons(subject: &mut Subject) -> Result<Vec<Row>> {
    let took = subject.fresh_cluster()?;
    thread::sleep(SETTLING);
    let nodes = subject.cluster()?.nodes();
    let daemon = memory::of_ctdbd(nodes)?;
    let recoverd = memory::of_recoverd(nodes)?.resident;
    Ok(vec![
        Row::time("start", "start of three nodes to all OK", took),
        Row::memory("idle_ctdbd", "resident memory of an idle ctdbd", daemon.resident),
        Row::memory("idle_own", "  of this its own", daemon.own),
        Row::memory(
            "idle_recoverd",
            "resident memory of an idle ctdb_recoverd",
            recoverd,
        ),
    ])
}
