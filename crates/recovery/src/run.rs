//! A recovery from start to end.

use std::path::Path;
use std::time::Duration;

use ctdb_client::{Client, ControlAnswer};
use ctdb_cluster::Node;
use ctdb_cluster::vnnmap::{CapabilitiesOf, build_vnnmap};
use ctdb_protocol::{
    ControlFlags, DbFlags, DbIdMap, Generation, NodeFlags, NodeMap, Pnn, RecMode, TunableList,
};
use ctdb_protocol::{Reply, Request};
use ctdb_runtime::sync::{Semaphore, join_all};

use crate::ban::ban_the_worst;
use crate::cluster::{Cluster, Credits, Failed, List, Services, ask};
use crate::collection::{Budget, MEMORY_LIMIT};
use crate::database::{Found, recover};
use crate::hold::Holds;
use crate::push::STRETCHES_IN_FLIGHT;

/// For the controls before the tunable RecoverTimeout is known.
const FIRST_LIMIT: Duration = Duration::from_secs(30);

/// Recovers all databases of the cluster and makes `generation` the current one. The numbers are those of
/// `recovery.md` §5.2.
///
/// # Errors
/// The step that failed. The recovery mode stays ACTIVE; databases that were recovered can be used in the new
/// generation, the others stay frozen.
pub async fn run(client: Client, generation: Generation, state_dir: Option<&Path>) -> Result<(), Failed> {
    let tunables = tunables(&client).await?; // 1
    let nodes = active_nodes(&client).await?; // 2, 3
    let cluster = cluster(client, nodes, generation, &tunables);
    let capabilities = capabilities(&cluster).await?; // 4
    let databases = databases(&cluster).await?; // 5
    cluster.holds.at("recmode-active").await;
    cluster.ask_all(&Request::SetRecmode(RecMode::Active)).await?; // 6
    let vnnmap = build_vnnmap(
        &as_active(&cluster.nodes),
        &capabilities,
        cluster.me(),
        generation,
    ); // 7
    cluster.holds.at("start-recovery").await;
    cluster.ask_all(&Request::StartRecovery).await?; // 8
    cluster.holds.at("vnnmap").await;
    cluster.ask_all(&Request::SetVnnmap(vnnmap)).await?; // 9
    let recovered = join_all(databases.iter().map(|db| recover(&cluster, db, state_dir))).await; // 10
    let failed = recovered.iter().filter(|recovered| !**recovered).count();
    if failed > 0 {
        if tunables.enable_bans != 0 {
            ban_the_worst(&cluster, tunables.recovery_ban_period).await; // 11
        }
        return Err(Failed::Databases {
            failed,
            all: databases.len(),
        });
    }
    cluster.holds.at("recmode-normal").await;
    cluster.ask_all(&Request::SetRecmode(RecMode::Normal)).await?; // 12
    cluster.holds.at("end-recovery").await;
    cluster.ask_all(&Request::EndRecovery).await?; // 13
    cluster.holds.at("result").await;
    log::info!(
        "Generation {generation}: {} databases recovered on nodes {}",
        databases.len(),
        List(&cluster.nodes)
    );
    Ok(())
}

fn cluster(client: Client, nodes: Vec<Pnn>, generation: Generation, tunables: &TunableList) -> Cluster {
    let services = Services::new(client.handle().random_u32());
    Cluster {
        client,
        nodes,
        generation,
        limit: Duration::from_secs(tunables.recover_timeout.into()),
        buffer_len: tunables.rec_buffer_size_limit as usize,
        budget: Budget::new(MEMORY_LIMIT),
        in_flight: Semaphore::new(STRETCHES_IN_FLIGHT),
        credits: Credits::default(),
        services,
        holds: Holds::from_env(),
    }
}

async fn first(client: &Client, nodes: &[Pnn], request: Request<'_>) -> Result<Vec<ControlAnswer>, Failed> {
    ask(client, nodes, &request, ControlFlags::empty(), FIRST_LIMIT).await
}

async fn tunables(client: &Client) -> Result<TunableList, Failed> {
    for answer in first(client, &[client.pnn()], Request::GetAllTunables).await? {
        if let Reply::GetAllTunables(list) = answer.reply()? {
            return Ok(*list);
        }
    }
    Ok(TunableList::default())
}

/// Nodes that this node is connected to and that say of themselves that they are active.
async fn active_nodes(client: &Client) -> Result<Vec<Pnn>, Failed> {
    let mut connected = Vec::new();
    for answer in first(client, &[client.pnn()], Request::GetNodemap).await? {
        let usable = |node: &&ctdb_protocol::NodeAndFlags| node.flags.is_connected();
        connected = nodemap(&answer)?
            .nodes
            .iter()
            .filter(usable)
            .map(|node| node.pnn)
            .collect();
    }
    let mut active = Vec::new();
    for answer in first(client, &connected, Request::GetNodemap).await? {
        let says = nodemap(&answer)?.get(answer.node).map(|own| own.flags);
        match says {
            Some(flags) if flags.is_active() => active.push(answer.node),
            Some(flags) => log::info!("Node {} takes no part: it says that it is {flags}", answer.node),
            None => log::info!("Node {} takes no part: it does not know itself", answer.node),
        }
    }
    if active.contains(&client.pnn()) {
        Ok(active)
    } else {
        Err(Failed::NotActive(client.pnn()))
    }
}

fn nodemap(answer: &ControlAnswer) -> Result<NodeMap, Failed> {
    match answer.reply()? {
        Reply::GetNodemap(map) => Ok(map),
        _ => Ok(NodeMap::default()),
    }
}

async fn capabilities(cluster: &Cluster) -> Result<CapabilitiesOf, Failed> {
    let mut of = CapabilitiesOf::new();
    for answer in cluster.ask_all(&Request::GetCapabilities).await? {
        if let Reply::GetCapabilities(capabilities) = answer.reply()? {
            of.insert(answer.node, capabilities);
        }
    }
    Ok(of)
}

fn as_active(nodes: &[Pnn]) -> Vec<Node> {
    nodes
        .iter()
        .map(|pnn| Node {
            pnn: *pnn,
            flags: NodeFlags::empty(),
        })
        .collect()
}

async fn databases(cluster: &Cluster) -> Result<Vec<Found>, Failed> {
    let mut lists = Vec::new();
    for answer in cluster.ask_all(&Request::GetDbmap).await? {
        if let Reply::GetDbmap(list) = answer.reply()? {
            lists.push((answer.node, list));
        }
    }
    merge_lists(&lists)
}

/// All databases of all nodes, in the order in which they are met.
fn merge_lists(lists: &[(Pnn, DbIdMap)]) -> Result<Vec<Found>, Failed> {
    let mut all: Vec<Found> = Vec::new();
    for (node, list) in lists {
        for entry in &list.databases {
            let flags = entry.flags - (DbFlags::READONLY | DbFlags::STICKY);
            match all.iter_mut().find(|found| found.id == entry.db_id) {
                None => all.push(Found {
                    id: entry.db_id,
                    flags,
                    nodes: vec![*node],
                }),
                Some(found) if found.flags == flags => found.nodes.push(*node),
                Some(found) => return Err(Failed::KindConflict(found.id, *node)),
            }
        }
    }
    Ok(all)
}

/// Runs a recovery as the helper process does: connects, recovers, tells the result.
///
/// # Errors
/// As [`run`]; the recovery daemon finds nothing in its pipe then.
pub async fn connect_and_run(
    handle: &ctdb_runtime::Handle,
    socket: &Path,
    generation: Generation,
    state_dir: Option<&Path>,
) -> Result<(), Failed> {
    let client = Client::connect(handle, socket).await?;
    run(client, generation, state_dir).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use ctdb_protocol::{DbId, DbIdEntry};

    fn list(entries: &[(u32, DbFlags)]) -> DbIdMap {
        let databases = entries
            .iter()
            .map(|&(id, flags)| DbIdEntry {
                db_id: DbId(id),
                flags,
            })
            .collect();
        DbIdMap { databases }
    }

    #[test]
    fn lists_of_nodes_are_merged_without_what_nodes_may_disagree_on() {
        let volatile = DbFlags::empty();
        let merged = merge_lists(&[
            (
                Pnn(0),
                list(&[(1, volatile | DbFlags::READONLY), (2, DbFlags::PERSISTENT)]),
            ),
            (
                Pnn(2),
                list(&[(3, DbFlags::REPLICATED), (1, volatile | DbFlags::STICKY)]),
            ),
        ]);
        let found = |id, flags, nodes: &[u32]| Found {
            id: DbId(id),
            flags,
            nodes: nodes.iter().map(|n| Pnn(*n)).collect(),
        };
        let expected = [
            found(1, volatile, &[0, 2]),
            found(2, DbFlags::PERSISTENT, &[0]),
            found(3, DbFlags::REPLICATED, &[2]),
        ];
        assert_eq!(merged.unwrap(), expected);
    }

    #[test]
    fn a_database_of_two_kinds_stops_the_recovery() {
        let merged = merge_lists(&[
            (Pnn(0), list(&[(1, DbFlags::empty())])),
            (Pnn(1), list(&[(1, DbFlags::PERSISTENT)])),
        ]);
        assert!(matches!(merged, Err(Failed::KindConflict(DbId(1), Pnn(1)))));
    }
}
