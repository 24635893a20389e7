//! One way to start, kill, stop and look into an N-node cluster of given binaries.
//!
//! The demo, the tests and the benchmark use it, with our programs, with those of Debian's package, and with both
//! in one cluster. It is blocking and knows nothing of our own crates: what it says about a daemon it has from
//! the daemon's socket, from its tool, from its log or from `/proc`.
//!
//! ```no_run
//! # fn main() -> anyhow::Result<()> {
//! use std::time::Duration;
//! use ctdb_harness::{Binaries, Cluster};
//!
//! let cluster = Cluster::builder().nodes(3, &Binaries::ours()?).build()?;
//! cluster.start()?;
//! cluster.wait_healthy(Duration::from_secs(30))?;
//! let leader = cluster.leader()?;
//! cluster.node(leader).kill()?;
//! let took = cluster.wait_healthy(Duration::from_secs(30))?; // the others, without the dead one
//! println!("{}", cluster.node((leader + 1) % 3).ctdb(&["status"])?.text());
//! # Ok(())
//! # }
//! ```
//!
//! Layout, as upstream's local test daemons have it (`CTDB_TEST_MODE`): `node.N/` is the `CTDB_BASE` of node N with
//! `ctdb.conf`, `nodes`, `events/legacy/`, `run/`, `var/`, `share/`, `db/{volatile,persistent,state}/` and
//! `log.ctdb`; `shared/cluster.lock` is the cluster lock. Nodes listen on port 4379 of loopback addresses that no
//! other cluster of the harness uses at the time.
//!
//! Nothing sleeps for a fixed time: waits poll every few milliseconds, have a limit, and fail with what was seen
//! last and the ends of the logs. Dropping a [`Cluster`] ends what it started, process by process, and removes its
//! directory, unless `CTDB_TEST_KEEP` is set.

mod addresses;
mod binaries;
mod builder;
mod cluster;
mod node;
mod processes;
mod skip;
mod state;
mod tool;
mod wait;

pub use binaries::{Binaries, Helper};
pub use builder::{ClusterBuilder, ClusterLock};
pub use cluster::Cluster;
pub use node::Node;
pub use processes::Process;
pub use skip::{peer, require_peer, skip};
pub use state::{NodeState, RunState, flags};
pub use tool::{StatusRow, ToolRun, run_limited};
pub use wait::wait_until;
