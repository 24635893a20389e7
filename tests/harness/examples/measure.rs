//! Times what a cluster of three nodes does, with the programs that the arguments name: `ours`, `debian`, or a
//! directory that holds them.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use ctdb_harness::{Binaries, Cluster, peer};

const LIMIT: Duration = Duration::from_secs(60);

/// After a recovery the C daemons wait that long before the next one.
const RERECOVERY_TIMEOUT: Duration = Duration::from_secs(11);

fn main() -> Result<()> {
    let names: Vec<String> = std::env::args().skip(1).collect();
    if names.is_empty() {
        bail!("say whose programs to measure: ours, debian, or a directory");
    }
    for name in names {
        let binaries = match name.as_str() {
            "ours" => Binaries::ours()?,
            "debian" => peer()?,
            dir => Binaries::in_dir(dir, Path::new(dir))?,
        };
        measure(&binaries)?;
    }
    Ok(())
}

fn measure(binaries: &Binaries) -> Result<()> {
    let report = |what: &str, took: Duration| println!("{:10} {what:46} {took:8.3?}", binaries.name());
    let cluster = Cluster::builder().nodes(3, binaries).build()?;
    cluster.start()?;
    report("start to all OK", cluster.wait_healthy(LIMIT)?);

    report(
        "ctdb recover right after that",
        cluster.node(0).ctdb(&["recover"])?.ok()?.elapsed,
    );
    thread::sleep(RERECOVERY_TIMEOUT);
    report(
        "ctdb recover in a quiet cluster",
        cluster.node(0).ctdb(&["recover"])?.ok()?.elapsed,
    );
    cluster.wait_healthy(LIMIT)?;
    thread::sleep(RERECOVERY_TIMEOUT);

    let leader = cluster.leader()?;
    let before = Instant::now();
    cluster.node(leader).kill()?;
    cluster.wait_healthy(LIMIT)?;
    report("kill -9 of the leader to the others OK", before.elapsed());
    ensure!(cluster.leader()? != leader, "the dead node still leads");

    cluster.node(leader).start()?;
    report("rejoin of the killed node", cluster.wait_healthy(LIMIT)?);

    let before = Instant::now();
    cluster.stop()?;
    report("orderly stop of all", before.elapsed());
    Ok(())
}
