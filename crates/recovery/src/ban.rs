//! After a failed recovery: whether a node is to be banned.

use ctdb_cluster::Node;
use ctdb_cluster::credits::is_last;
use ctdb_protocol::control::{Reply, Request};
use ctdb_protocol::{BanState, NodeMap, Pnn};

use crate::cluster::{Cluster, Failed};

/// Bans the node that failed most, if it failed often enough, says itself that it is still active, and leaves somebody
/// behind who can serve.
pub async fn ban_the_worst(cluster: &Cluster, period_s: u32) {
    while let Some((node, count)) = cluster.credits.worst() {
        let map = match nodemap_of(cluster, node).await {
            Ok(map) => map,
            Err(failed) => {
                return log::error!("Node {node} failed {count} times and can't be asked: {failed}");
            }
        };
        if map.get(node).is_none_or(|own| !own.flags.is_active()) {
            // It was banned or stopped meanwhile, which may be why it failed.
            log::info!("Node {node} failed {count} times, but is inactive now: not banned");
            cluster.credits.forgive(node);
            continue;
        }
        if is_last(&Node::list(&map), node) {
            return log::error!("Node {node} failed {count} times, but nobody else could serve: not banned");
        }
        log::error!(
            "Banning node {node} for {period_s} s: it failed {count} times in this recovery (see above)"
        );
        let ban = Request::SetBanState(BanState {
            pnn: node,
            time_s: period_s,
        });
        if let Err(failed) = cluster.ask(&[node], &ban, Default::default()).await {
            log::error!("Node {node} could not be banned: {failed}");
        }
        return;
    }
}

async fn nodemap_of(cluster: &Cluster, node: Pnn) -> Result<NodeMap, Failed> {
    let answers = cluster
        .ask(&[node], &Request::GetNodemap, Default::default())
        .await?;
    for answer in &answers {
        if let Reply::GetNodemap(map) = answer.reply()? {
            return Ok(map);
        }
    }
    Ok(NodeMap::default())
}
