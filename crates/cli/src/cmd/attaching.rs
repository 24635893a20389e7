//! `attach` and `detach`.

use ctdb_protocol::{DbFlags, NodeFlags, RecMode};

use crate::args::Args;
use crate::cmd::databases::{attach as attach_database, find};
use crate::context::{Context, mention};
use crate::failure::{Failure, OrSay, Outcome};

pub(crate) async fn attach(cx: &Context, args: &Args<'_>) -> Outcome {
    args.want(1..=2)?;
    let flags = match args.get(1).as_deref() {
        None => DbFlags::empty(),
        Some("persistent") => DbFlags::PERSISTENT,
        Some("readonly") => DbFlags::READONLY,
        Some("sticky") => DbFlags::STICKY,
        Some("replicated") => DbFlags::REPLICATED,
        Some(_) => return Err(args.usage()),
    };
    attach_database(cx, &args.text(0), flags).await?;
    Ok(0)
}

/// Only when nobody can attach again meanwhile: no recovery, all nodes active, clients locked out.
pub(crate) async fn detach(cx: &Context, args: &Args<'_>) -> Outcome {
    args.want(1..=usize::MAX)?;
    if cx.client.get_recmode(cx.node(), cx.limit()).await? == RecMode::Active {
        return Err(Failure::said(
            "Database cannot be detached when recovery is active",
        ));
    }
    clients_are_locked_out(cx).await?;

    let mut code = 0;
    for place in 0..args.len() {
        let db = match find(cx, &args.text(place)).await {
            Ok(db) => db,
            Err(failure) => {
                mention(&failure);
                continue;
            }
        };
        if db.has_transactions() {
            return Err(Failure::said("Only volatile databases can be detached"));
        }
        let detached = cx.client.db_detach(cx.client.pnn(), db.id, cx.limit()).await;
        if let Err(failure) = detached.or_say(|| format!("Database {} detach failed", db.name)) {
            mention(&failure);
            code = failure.code;
        }
    }
    Ok(code)
}

async fn clients_are_locked_out(cx: &Context) -> Result<(), Failure> {
    let nodemap = cx.nodemap().await?;
    for node in nodemap.nodes.iter().filter(|node| node.flags.is_connected()) {
        let pnn = node.pnn.0;
        if node.flags.intersects(NodeFlags::INACTIVE) {
            return Err(Failure::said(format!(
                "Database cannot be detached on inactive (stopped or banned) node {pnn}"
            )));
        }
        let allowed = cx
            .client
            .get_tunable(node.pnn, "AllowClientDBAttach", cx.limit())
            .await;
        let allowed =
            allowed.or_say(|| format!("Unable to get tunable AllowClientDBAttach from node {pnn}"))?;
        if allowed == 1 {
            return Err(Failure::said(format!(
                "Database access is still active on node {pnn}. Set AllowclientDBAttach=0 on all nodes."
            )));
        }
    }
    Ok(())
}
