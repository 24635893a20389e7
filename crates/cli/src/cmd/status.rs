//! `status` and `nodestatus`.

use ctdb_protocol::{NodeAndFlags, NodeFlags, Pnn, Runstate};

use crate::args::Args;
use crate::console::out;
use crate::context::{Context, mention};
use crate::failure::{Failure, Outcome};
use crate::numbers::strtoul;
use crate::show::nodes::{self, NodeRow};

pub(crate) async fn status(cx: &Context, args: &Args<'_>) -> Outcome {
    args.want_none()?;
    let nodemap = cx.nodemap().await?;
    let rows = node_rows(cx, &nodemap.nodes).await?;
    if cx.options.machine {
        out(&nodes::table(&rows, cx.node(), &cx.options.separator));
        return Ok(0);
    }
    let vnnmap = cx.client.get_vnnmap(cx.node(), cx.limit()).await?;
    let mode = cx.client.get_recmode(cx.node(), cx.limit()).await?;
    let leader = cx.leader().await?;
    out(&nodes::count(&rows));
    out(&nodes::lines(&rows, cx.node()));
    out(&nodes::cluster(&vnnmap, mode, leader));
    Ok(0)
}

/// The exit code is the union of the nodes' flags: 0 for "all well".
pub(crate) async fn nodestatus(cx: &Context, args: &Args<'_>) -> Outcome {
    args.want(0..=1)?;
    let list = args.get(0);
    let wanted = wanted_nodes(cx, list.as_deref()).await?;
    let rows = node_rows(cx, &wanted).await?;
    if cx.options.machine {
        out(&nodes::table(&rows, cx.node(), &cx.options.separator));
    } else {
        if list.as_deref() == Some("all") {
            out(&nodes::count(&rows));
        }
        out(&nodes::lines(&rows, cx.node()));
    }
    let shown = rows.iter().filter(|row| !row.flags.contains(NodeFlags::DELETED));
    let all = shown.fold(NodeFlags::empty(), |all, row| all | row.flags);
    Ok(all.bits().cast_signed())
}

/// The nodes of a list: `all`, or numbers with commas between them, or no list for the one that the command is about.
async fn wanted_nodes(cx: &Context, list: Option<&str>) -> Result<Vec<NodeAndFlags>, Failure> {
    let nodemap = cx.nodemap().await?;
    let find = |pnn: Pnn| {
        let node = nodemap.get(pnn).copied();
        node.ok_or_else(|| Failure::said(format!("Node {} does not exist", pnn.0)))
    };
    match list {
        None => Ok(vec![find(cx.node())?]),
        Some("all") => Ok(nodemap.nodes.clone()),
        Some(list) => {
            let words = list.split(',').filter(|word| !word.is_empty());
            words
                .map(|word| {
                    let number = strtoul(word, 0);
                    find(Pnn(
                        number.map_err(|_| Failure::said(format!("Invalid node {word}")))?
                    ))
                })
                .collect()
        }
    }
}

/// Other nodes begin as UNHEALTHY in a daemon that has just started; until its first recovery is over it cannot know better.
async fn node_rows(cx: &Context, nodes: &[NodeAndFlags]) -> Result<Vec<NodeRow>, Failure> {
    let runstate = cx
        .client
        .get_runstate(cx.node(), cx.limit())
        .await
        .map_err(|error| {
            // On standard output and without the line's end, as upstream.
            out("Unable to get runstate");
            Failure::from(error).plain()
        })?;
    let mut rows = Vec::with_capacity(nodes.len());
    for node in nodes {
        let hidden = NodeFlags::DELETED | NodeFlags::DISCONNECTED;
        let unknown =
            runstate <= Runstate::FirstRecovery && !node.flags.intersects(hidden) && node.pnn != cx.node();
        let flags = if unknown { NodeFlags::UNKNOWN } else { node.flags };
        rows.push(NodeRow {
            pnn: node.pnn,
            address: node.addr,
            flags,
            partially_online: flags.is_empty() && has_link_down(cx, node.pnn).await,
        });
    }
    Ok(rows)
}

/// Whether an interface of a healthy node has no link. A node that does not tell has none.
async fn has_link_down(cx: &Context, node: Pnn) -> bool {
    match cx.client.get_ifaces(node, cx.limit()).await {
        Ok(list) => list.ifaces.iter().any(|iface| iface.link_state == 0),
        Err(error) => {
            mention(&error.into());
            false
        }
    }
}
