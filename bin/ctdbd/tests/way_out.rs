//! Ends of the daemon that come at an awkward time.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use ctdb_harness::{Binaries, Cluster};

const LIMIT: Duration = Duration::from_secs(20);

/// The event waits for a file, so that the test decides how long the start takes.
const SLOW_SETUP: &str = "#!/bin/sh\n[ \"$1\" = setup ] || exit 0\n\
    touch \"$CTDB_BASE/in-setup\"\nwhile [ ! -e \"$CTDB_BASE/go-on\" ] ; do sleep 0.05 ; done\n";

/// A node in the middle of its start.
fn starting() -> Cluster {
    let cluster = Cluster::builder()
        .nodes(1, &Binaries::ours().unwrap())
        .event_script("00.slow.script", SLOW_SETUP)
        .build()
        .unwrap();
    let node = cluster.node(0);
    node.start().unwrap();
    wait_for(&node.base().join("in-setup"));
    cluster
}

fn wait_for(file: &std::path::Path) {
    let end = std::time::Instant::now() + LIMIT;
    while !file.exists() {
        assert!(
            std::time::Instant::now() < end,
            "{} does not come",
            file.display()
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_shutdown_during_the_start_ends_it_in_order() {
    let cluster = starting();
    let node = cluster.node(0);
    // Its answer is the end of the connection; the event `shutdown` has its turn after `setup`.
    std::thread::scope(|scope| {
        let asked = scope.spawn(|| node.shutdown(LIMIT));
        node.wait_log("Shutting down", LIMIT).unwrap();
        std::fs::write(node.base().join("go-on"), "").unwrap();
        let status = asked.join().unwrap().unwrap();
        assert_eq!(status.code(), Some(0), "{}", node.log());
    });
    assert!(!node.log().contains("panicked"), "{}", node.log());
    assert!(!node.log().contains("Cannot start"), "{}", node.log());
    assert!(node.log().contains("Shutdown is complete"), "{}", node.log());
}

#[test]
fn a_start_goes_on_after_sigusr1() {
    let cluster = starting();
    let node = cluster.node(0);
    let pid = node.pid().unwrap().to_string();
    let sent = std::process::Command::new("kill").args(["-USR1", &pid]).status();
    assert!(sent.unwrap().success());
    std::fs::write(node.base().join("go-on"), "").unwrap();
    node.wait_running(LIMIT).unwrap();
    assert_eq!(node.shutdown(LIMIT).unwrap().code(), Some(0));
}
