//! One recovery on request, timed.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use ctdb_harness::Cluster;
use ctdb_protocol::{Generation, Pnn, RecMode, Reply, Request};

use crate::connection::Connection;
use crate::subject::{HEALTHY_LIMIT, connect_all, leader};

/// Between two questions.
const LOOK: Duration = Duration::from_millis(2);

/// Asks for a recovery as `ctdb recover` does, at the leader (SET_RECMODE), and waits until every node has a new
/// generation and is in recovery mode NORMAL. The tool is not used: C's looks once a second.
pub fn recover(cluster: &Cluster) -> Result<Duration> {
    let leading = leader(cluster)?;
    let mut nodes = connect_all(cluster)?;
    let before = generation(&mut nodes[leading])?;
    let start = Instant::now();
    nodes[leading].expect(Pnn::CURRENT, &Request::SetRecmode(RecMode::Active))?;
    for (pnn, node) in nodes.iter_mut().enumerate() {
        while generation(node)? == before || !is_normal(node)? {
            ensure!(
                start.elapsed() < HEALTHY_LIMIT,
                "node {pnn} has not recovered within {HEALTHY_LIMIT:?}"
            );
            thread::sleep(LOOK);
        }
    }
    Ok(start.elapsed())
}

fn generation(node: &mut Connection) -> Result<Generation> {
    let answer = node.expect(Pnn::CURRENT, &Request::GetVnnmap)?;
    match answer.reply()? {
        Reply::GetVnnmap(vnnmap) => Ok(vnnmap.generation),
        other => bail!("GETVNNMAP was answered by {other:?}"),
    }
}

fn is_normal(node: &mut Connection) -> Result<bool> {
    // The status is the answer.
    Ok(node.control(Pnn::CURRENT, &Request::GetRecmode)?.status == 0)
}
