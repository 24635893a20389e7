//! `make demo`: watch a cluster of three nodes lose its leader under load and recover.

use std::process::ExitCode;

use ctdb_cluster_tests::demo;
use ctdb_harness::{Binaries, Cluster};

fn main() -> ExitCode {
    let told = Binaries::ours().and_then(|ours| {
        let nodes = Cluster::builder().nodes(3, &ours);
        demo::run(nodes, &mut |line| println!("{line}"))
    });
    match told {
        Ok(times) => {
            println!();
            println!("What this proved, with default tunables, on this machine:");
            println!(
                "  three nodes started and became OK in         {:>8.2?}",
                times.start
            );
            println!("  a killed leader was replaced and all data");
            println!(
                "  recovered, under load, in                    {:>8.2?}",
                times.failover
            );
            println!(
                "  the killed node was back in                  {:>8.2?}",
                times.rejoin
            );
            println!(
                "  a recovery that an operator asked for took   {:>8.2?}",
                times.recover
            );
            println!("  no acknowledged write was lost.");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("The demonstration failed: {error:#}");
            ExitCode::FAILURE
        }
    }
}
