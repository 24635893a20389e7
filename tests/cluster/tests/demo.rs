//! The demonstration, as a test.
#![allow(clippy::unwrap_used)]

use ctdb_cluster_tests::demo;
use ctdb_harness::{Binaries, Cluster};

#[test]
fn the_demonstration_ends_well() {
    let mut lines = 0;
    let nodes = Cluster::builder().nodes(3, &Binaries::ours().unwrap());
    let told = demo::run(nodes, &mut |line| {
        lines += 1;
        println!("{line}");
    });
    if let Err(error) = told {
        panic!("{error:#}");
    }
    assert!(lines > 5);
}
