//! Debian's `ctdb` 4.17.12 as the tool of our daemons.
#![allow(clippy::unwrap_used)]

use ctdb_cluster_tests::demo;
use ctdb_harness::{Binaries, Cluster, require_peer};

#[test]
fn the_demonstration_ends_well_with_debians_tool() {
    let Some(debian) = require_peer() else { return };
    let ours = Binaries::ours().unwrap().with_tool_of(&debian);
    let nodes = Cluster::builder().nodes(3, &ours);
    if let Err(error) = demo::run(nodes, &mut |line| println!("{line}")) {
        panic!("{error:#}");
    }
}
