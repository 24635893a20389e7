//! Our daemons under the leadership of Debian's, with its recovery helper and with ours.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use ctdb_harness::{Binaries, Cluster, Helper, require_peer, wait_until};

const LIMIT: Duration = Duration::from_secs(30);

fn tool(cluster: &Cluster, pnn: usize, args: &[&str]) -> Result<String> {
    let run = cluster.node(pnn).ctdb(args)?.ok();
    let run = run.with_context(|| format!("node {pnn}: ctdb {args:?}"))?;
    Ok(run.text().trim().to_owned())
}

fn value_shown(value: &str) -> String {
    format!("Data: size:{} ptr:[{value}]", value.len())
}

fn recover(cluster: &Cluster) -> Result<()> {
    let before = cluster.generation()?;
    tool(cluster, 0, &["recover"])?;
    wait_until("a new generation", LIMIT, || {
        ensure!(cluster.generation()? != before, "still {before}");
        Ok(())
    })?;
    cluster.wait_healthy(LIMIT)?;
    Ok(())
}

fn check(debian: Binaries) -> Result<()> {
    let ours = Binaries::ours()?.with_tool_of(&debian);
    let cluster = Cluster::builder()
        .nodes(1, &debian)
        .nodes(2, &ours)
        .node_conf(1, "cluster", "leader capability", "false")
        .node_conf(2, "cluster", "leader capability", "false")
        .tunable("AllowMixedVersions", 1)
        .tunable("RerecoveryTimeout", 1)
        .build()?;
    cluster.start()?;
    cluster.wait_healthy(LIMIT)?;
    tool(&cluster, 0, &["attach", "volatile.tdb"])?;
    tool(&cluster, 1, &["attach", "persistent.tdb", "persistent"])?;
    tool(&cluster, 2, &["attach", "replicated.tdb", "replicated"])?;
    for n in 0..6 {
        let (key, value) = (format!("key{n}"), format!("value{n}"));
        tool(&cluster, n % 3, &["writekey", "volatile.tdb", &key, "old"])?;
        tool(&cluster, (n + 1) % 3, &["writekey", "volatile.tdb", &key, &value])?;
    }
    tool(&cluster, 0, &["pstore", "persistent.tdb", "p", "kept"])?;
    tool(&cluster, 1, &["pstore", "persistent.tdb", "gone", "deleted"])?;
    tool(&cluster, 2, &["pdelete", "persistent.tdb", "gone"])?;
    tool(&cluster, 2, &["pstore", "replicated.tdb", "r", "kept too"])?;
    for round in 0..2 {
        recover(&cluster)?;
        for n in 0..6 {
            let (key, value) = (format!("key{n}"), format!("value{n}"));
            let shown = tool(&cluster, (n + round) % 3, &["readkey", "volatile.tdb", &key])?;
            ensure!(
                shown.contains(&value_shown(&value)),
                "round {round}, {key}: {shown}"
            );
        }
        for pnn in 0..3 {
            ensure!(tool(&cluster, pnn, &["pfetch", "persistent.tdb", "p"])? == "kept");
            ensure!(tool(&cluster, pnn, &["pfetch", "replicated.tdb", "r"])? == "kept too");
        }
    }
    Ok(())
}

#[test]
fn our_daemons_recover_under_a_c_leader_with_its_helper() -> Result<()> {
    let Some(debian) = require_peer() else {
        return Ok(());
    };
    check(debian)
}

#[test]
fn our_daemons_recover_under_a_c_leader_with_our_helper() -> Result<()> {
    let Some(debian) = require_peer() else {
        return Ok(());
    };
    check(debian.with_helper(
        Helper::Recovery,
        Path::new(env!("CARGO_BIN_EXE_ctdb_recovery_helper")),
    ))
}
