//! Pushing the surviving records of one database to all nodes at once.
//!
//! Messages have no answer, so a fast sender would fill the queues on the way to a slow node without end. After each
//! [`STRETCH`] of bytes the nodes are asked something small: on each link the answer comes behind the records. Only
//! [`STRETCHES_IN_FLIGHT`] stretches, of all databases together, may be without that answer.

use std::rc::Rc;

use ctdb_client::Client;
use ctdb_protocol::control::{Reply, Request};
use ctdb_protocol::{ControlFlags, Pnn, PullDbExt};
use ctdb_runtime::Task;
use ctdb_runtime::sync::Permit;

use crate::cluster::{self, Cluster, Failed};
use crate::collection::Merged;
use crate::database::Database;

/// Bytes to each node after which it is asked whether it has got them.
const STRETCH: usize = 4 << 20;
/// Stretches that may be on their way.
pub const STRETCHES_IN_FLIGHT: usize = 4;

/// Sends all records to all nodes; each must have counted them all in the end.
///
/// # Errors
/// A node failed, or counts other records than were sent.
pub async fn push(cluster: &Cluster, db: &Database, mut records: Merged) -> Result<(), Failed> {
    let at = cluster.services.next();
    cluster
        .ask_all(&Request::DbPushStart(PullDbExt::new(db.id, at)))
        .await?;
    let mut sent = 0;
    let mut on_the_way: Vec<Task<Result<(), Failed>>> = Vec::new();
    let mut stretch = Stretch::begin(cluster).await;
    while let Some(buffer) = records.next_buffer().map_err(Failed::ReadBack)? {
        for node in &cluster.nodes {
            cluster.client.send_message(*node, at, buffer.as_bytes())?;
        }
        sent += buffer.count();
        stretch.bytes += buffer.len();
        if stretch.bytes >= STRETCH {
            on_the_way.push(stretch.confirm(cluster));
            stretch = Stretch::begin(cluster).await;
        }
    }
    for confirmed in on_the_way {
        confirmed.await?;
    }
    for answer in cluster.ask_all(&Request::DbPushConfirm(db.id)).await? {
        match answer.reply()? {
            Reply::DbPushConfirm(counted) if counted != sent => {
                return Err(Failed::Count {
                    node: answer.node,
                    verb: "took",
                    counted,
                    expected: sent,
                    done: "pushed",
                });
            }
            _ => {}
        }
    }
    log::debug!(
        "Database {}: {sent} records pushed to {} nodes",
        db.name,
        cluster.nodes.len()
    );
    Ok(())
}

/// Bytes that are sent before the nodes are asked.
struct Stretch {
    bytes: usize,
    permit: Permit,
}

impl Stretch {
    async fn begin(cluster: &Cluster) -> Stretch {
        Stretch {
            bytes: 0,
            permit: cluster.in_flight.acquire().await,
        }
    }

    /// Asks the nodes; the permit is back when they have answered.
    fn confirm(self, cluster: &Cluster) -> Task<Result<(), Failed>> {
        let (client, nodes, limit) = (
            cluster.client.clone(),
            Rc::from(cluster.nodes.as_slice()),
            cluster.limit,
        );
        let ask = async move |client: Client, nodes: Rc<[Pnn]>| {
            let answers = cluster::ask(&client, &nodes, &Request::Ping, ControlFlags::empty(), limit).await;
            drop(self.permit);
            answers.map(|_| ())
        };
        let handle = cluster.client.handle().clone();
        handle.spawn(ask(client, nodes))
    }
}
