//! The demonstration, as a test.
#![allow(clippy::unwrap_used)]

use ctdb_cluster_tests::demo;
use ctdb_harness::Binaries;

#[test]
fn the_demonstration_ends_well() {
    let mut lines = 0;
    let told = demo::run(&Binaries::ours().unwrap(), &mut |line| {
        lines += 1;
        println!("{line}");
    });
    if let Err(error) = told {
        panic!("{error:#}");
    }
    assert!(lines > 5);
}
