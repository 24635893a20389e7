//! Collecting the records of one database from the nodes.

use std::cell::RefCell;
use std::path::PathBuf;
use std::rc::Rc;

use ctdb_client::ClientError;
use ctdb_protocol::control::{Reply, Request};
use ctdb_protocol::{DbId, Opcode, Pnn, PullDbExt, Reader, RecBuffer, SeqnumOf, Wire};
use ctdb_records::merge;
use ctdb_runtime::sync::join_all;

use crate::cluster::{Cluster, Failed};
use crate::collection::{Collection, Merged};
use crate::database::Database;
use crate::spill::{Spill, SpillError};

/// Pulls a database: a volatile one from all nodes at once, the best copy of each record wins; any other one from the
/// node whose history is longest.
///
/// # Errors
/// A node did not send its records, or they can't be kept. The node that failed has been blamed.
pub async fn collect(cluster: &Cluster, db: &Database, directories: &[PathBuf]) -> Result<Merged, Failed> {
    let spill = Spill::new(format!("recdb.{}", db.name), directories);
    let into = Rc::new(RefCell::new(Collecting {
        records: Some(Collection::new(cluster.me(), spill, &cluster.budget)),
        failed: None,
        short: 0,
    }));
    let sources = sources(cluster, db).await?;
    let pulled = join_all(sources.iter().map(|node| pull_from(cluster, db.id, *node, &into))).await;
    for one in pulled {
        one.inspect_err(|failed| cluster.blame(failed))?;
    }
    let mut into = into.borrow_mut();
    if into.short > 0 {
        log::warn!(
            "Database {}: {} records have no header; they are left out",
            db.name,
            into.short
        );
    }
    let records = into.records.take().expect("taken once, here");
    let merged = records.finish(db.id, db.flags, cluster.buffer_len)?;
    if merged.has_spilled() {
        log::info!(
            "Database {}: the records do not fit into memory, they went through a file",
            db.name
        );
    }
    Ok(merged)
}

/// From which nodes.
async fn sources(cluster: &Cluster, db: &Database) -> Result<Vec<Pnn>, Failed> {
    if merge::merges_record_by_record(db.flags) {
        return Ok(cluster.nodes.clone());
    }
    let mut seqnums = Vec::new();
    for answer in cluster
        .ask_all(&Request::GetDbSeqnum(SeqnumOf { db_id: db.id }))
        .await?
    {
        if let Reply::GetDbSeqnum(seqnum) = answer.reply()? {
            seqnums.push((answer.node, seqnum));
        }
    }
    log::debug!(
        "Database {}: sequence numbers (node, number) {seqnums:?}",
        db.name
    );
    Ok(merge::furthest_node(&seqnums).into_iter().collect())
}

/// What the message handlers of all pulls of a database share.
struct Collecting {
    records: Option<Collection>,
    failed: Option<SpillError>,
    short: u32,
}

impl Collecting {
    fn add(&mut self, order: u32, buffer: &RecBuffer<'_>) {
        let Some(records) = self.records.as_mut().filter(|_| self.failed.is_none()) else {
            return;
        };
        for record in buffer {
            match record.header_and_value() {
                None => self.short += 1,
                Some((header, data)) => {
                    if let Err(error) = records.add(order, record.key, &header, data) {
                        self.failed = Some(error);
                        return;
                    }
                }
            }
        }
    }
}

async fn pull_from(
    cluster: &Cluster,
    db: DbId,
    node: Pnn,
    into: &Rc<RefCell<Collecting>>,
) -> Result<(), Failed> {
    let at = cluster.services.next();
    let received = Rc::new(RefCell::new(Ok(0u32)));
    let (count, collecting, order) = (received.clone(), into.clone(), cluster.order(node));
    let _registration = cluster
        .client
        .on_message(at, move |_, data| {
            let mut count = count.borrow_mut();
            let Ok(so_far) = &mut *count else { return };
            match RecBuffer::decode(&mut Reader::new(data)) {
                Ok(buffer) => {
                    *so_far += buffer.count();
                    collecting.borrow_mut().add(order, &buffer);
                }
                Err(error) => *count = Err(error),
            }
        })
        .await?;
    let request = Request::DbPull(PullDbExt::new(db, at));
    let answer = cluster.client.control(node, &request, cluster.limit).await?;
    if let Some(error) = into.borrow_mut().failed.take() {
        return Err(error.into());
    }
    // The node sends the records before the answer, on the same way.
    let expected = received.replace(Ok(0)).map_err(|error| ClientError::BadAnswer {
        node,
        opcode: Opcode::DB_PULL,
        reason: error.to_string(),
    })?;
    match answer.reply()? {
        Reply::DbPull(counted) if counted != expected => Err(Failed::Count {
            node,
            verb: "sent",
            counted,
            expected,
            done: "received",
        }),
        _ => Ok(()),
    }
}
