//! The recovery of one database, step by step.

use std::path::{Path, PathBuf};

use ctdb_protocol::control::{Reply, Request};
use ctdb_protocol::{ControlFlags, DbFlags, DbId, Pnn, Text, TransDb};

use crate::cluster::{ATTEMPTS, Cluster, Failed, List};
use crate::{pull, push};

/// A database as the nodes' lists have it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Hash of its name.
    pub id: DbId,
    /// What kind it is: READONLY and STICKY, which nodes may disagree on, are left out.
    pub flags: DbFlags,
    /// Nodes that have it, in their order.
    pub nodes: Vec<Pnn>,
}

/// A database whose name is known.
#[derive(Clone, Debug)]
pub struct Database {
    /// Hash of its name.
    pub id: DbId,
    /// Its kind.
    pub flags: DbFlags,
    /// The same on all nodes.
    pub name: String,
}

/// Recovers one database on all nodes; tries again a few times. Tells whether it succeeded, and logs why not.
pub async fn recover(cluster: &Cluster, found: &Found, state_dir: Option<&Path>) -> bool {
    for attempt in 1..=ATTEMPTS {
        match recover_once(cluster, found, state_dir).await {
            Ok(()) => return true,
            Err(failed) => log::error!(
                "Recovery of database {} failed, attempt {attempt} of {ATTEMPTS}: {failed}",
                found.id
            ),
        }
    }
    false
}

/// The steps. A node that fails where it should not is blamed on the spot.
/// Source: `ctdb/server/ctdb_recovery_helper.c`, `recover_db_send` and its callbacks.
async fn recover_once(cluster: &Cluster, found: &Found, state_dir: Option<&Path>) -> Result<(), Failed> {
    let db = agree_on_name(cluster, found).await?;
    attach_missing(cluster, found, &db).await?;
    let directories = directories(cluster, &db, state_dir).await?;
    let holds = &cluster.holds;
    holds.at("freeze").await;
    freeze(cluster, &db).await?;
    let transaction = TransDb {
        db_id: db.id,
        tid: cluster.generation.0,
    };
    holds.at("transaction-start").await;
    cluster.ask_all(&Request::DbTransactionStart(transaction)).await?;
    holds.at("pull").await;
    let records = pull::collect(cluster, &db, &directories).await?;
    holds.at("wipe").await;
    cluster.ask_all(&Request::WipeDatabase(transaction)).await?;
    holds.at("push").await;
    push::push(cluster, &db, records).await?;
    holds.at("commit").await;
    cluster
        .ask_all(&Request::DbTransactionCommit(transaction))
        .await?;
    holds.at("thaw").await;
    cluster.ask_all(&Request::DbThaw(db.id)).await?;
    Ok(())
}

/// Two names may have one hash; records of different databases must not be mixed.
async fn agree_on_name(cluster: &Cluster, found: &Found) -> Result<Database, Failed> {
    let answers = cluster
        .ask(&found.nodes, &Request::GetDbName(found.id), ControlFlags::empty())
        .await?;
    let mut agreed: Option<(Pnn, String)> = None;
    for answer in &answers {
        let Reply::GetDbName(name) = answer.reply()? else {
            continue;
        };
        let name = name.to_str_lossy().into_owned();
        match &agreed {
            None => agreed = Some((answer.node, name)),
            Some((_, first)) if *first == name => {}
            Some((first_node, first)) => {
                let failed = Failed::NameCollision {
                    id: found.id,
                    first: first.clone(),
                    first_node: *first_node,
                    other: name,
                    other_node: answer.node,
                };
                cluster.blame(&failed);
                return Err(failed);
            }
        }
    }
    let name = agreed.map(|(_, name)| name).unwrap_or_default();
    Ok(Database {
        id: found.id,
        flags: found.flags,
        name,
    })
}

async fn attach_missing(cluster: &Cluster, found: &Found, db: &Database) -> Result<(), Failed> {
    let missing: Vec<Pnn> = cluster
        .nodes
        .iter()
        .copied()
        .filter(|node| !found.nodes.contains(node))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    log::info!(
        "Database {} is attached on nodes {}, which lack it",
        db.name,
        List(&missing)
    );
    let name = Text::from(db.name.as_str());
    let request = if db.flags.contains(DbFlags::PERSISTENT) {
        Request::DbAttachPersistent(name)
    } else if db.flags.contains(DbFlags::REPLICATED) {
        Request::DbAttachReplicated(name)
    } else {
        Request::DbAttach(name)
    };
    let attached = cluster
        .ask(&missing, &request, ControlFlags::ATTACH_RECOVERY)
        .await;
    attached.map(|_| ()).inspect_err(|failed| cluster.blame(failed))
}

/// Where records may be kept that do not fit into memory: the state directory, else beside the database.
async fn directories(
    cluster: &Cluster,
    db: &Database,
    state_dir: Option<&Path>,
) -> Result<Vec<PathBuf>, Failed> {
    let answers = cluster
        .ask(&[cluster.me()], &Request::GetDbPath(db.id), ControlFlags::empty())
        .await?;
    let mut directories: Vec<PathBuf> = state_dir.map(Path::to_owned).into_iter().collect();
    for answer in &answers {
        if let Reply::GetDbPath(path) = answer.reply()? {
            let path = PathBuf::from(path.to_str_lossy().into_owned());
            directories.extend(path.parent().map(Path::to_owned));
        }
    }
    Ok(directories)
}

async fn freeze(cluster: &Cluster, db: &Database) -> Result<(), Failed> {
    let frozen = cluster.ask_all(&Request::DbFreeze(db.id)).await;
    frozen.map(|_| ()).inspect_err(|failed| cluster.blame(failed))
}
