//! Configuration: `ctdb.conf`, tunables, nodes, public_addresses, home_nodes and the paths of all files.
//!
//! This crate reads and judges; it never logs and never ends a process. What a file says wrongly comes back as
//! [`Finding`]s, each with file, line, what was found and what would be right. The caller decides: `ctdbd` does not
//! start on an error in `ctdb.conf` or `nodes`, but logs and goes on after a bad line in a tunables file.
//!
//! | file | reader |
//! |---|---|
//! | `ctdb.conf` | [`Config::load`] |
//! | `ctdb.tunables`, `tunables.d/*.tunables` | [`Tunables::load`] |
//! | `nodes` | [`NodesFile`] |
//! | `public_addresses` | [`PublicAddresses`] |
//! | `home_nodes` | [`HomeNodes`] |
//! | where all of them are | [`Paths`] |

pub mod command_line;
mod config;
mod finding;
mod home_nodes;
pub mod ini;
mod nodes;
mod number;
mod options;
mod paths;
mod public_addresses;
pub mod tool;
mod tunables;

pub use config::{
    Cluster, Config, ConfigError, Database, Event, Failover, IgnoredChange, Legacy, Logging, UnknownOption,
};
pub use finding::{Finding, FindingKind};
pub use home_nodes::{HomeNode, HomeNodes};
pub use nodes::{DEFAULT_PORT, NodeLine, NodesFile, NodesSource, cluster_port};
pub use paths::{Paths, PathsError};
pub use public_addresses::{PublicAddress, PublicAddresses};
pub use tunables::{SetTunable, TUNABLES, TUNABLES_COUNT, TunableSpec, Tunables, UnknownTunable};
