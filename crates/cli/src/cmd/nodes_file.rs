//! The nodes file: what it says, and having all nodes read it again.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::process::{Command, Stdio};
use std::rc::Rc;

use ctdb_conf::{Config, ConfigError, NodesFile, NodesSource, Paths, cluster_port};
use ctdb_protocol::{DisableRequest, Message, NodeFlags, NodeMap, Pnn, Request, Srvid};
use ctdb_runtime::sync::Notify;
use libc::ETIME;

use crate::args::Args;
use crate::commands::Alone;
use crate::console::out;
use crate::context::{Context, mention};
use crate::failure::{Failure, OrSay, Outcome};
use crate::show::nodes;

/// Reads the list of nodes from where the configuration says it is.
pub(crate) fn read(paths: &Paths) -> Result<NodesFile, Failure> {
    let config = Config::load(paths).map_err(|error| config_failure(&error))?;
    let source = NodesSource::from_config(&config, paths);
    let unread = |line: Option<String>| {
        let last = format!("Failed to read nodes file \"{}\"", source.label().display());
        match line {
            Some(line) => Failure::said(line).and(last),
            None => Failure::said(last),
        }
    };
    match &source {
        NodesSource::File(path) => NodesFile::load(path).map_err(|error| match error {
            ConfigError::Read { .. } => unread(None),
            invalid @ ConfigError::Invalid(_) => unread(Some(invalid.to_string())),
        }),
        NodesSource::Command(words) => {
            let printed = run(words).map_err(|why| unread(Some(why)))?;
            NodesFile::parse(&source.label(), &printed, cluster_port())
                .map_err(|findings| unread(Some(ConfigError::Invalid(findings).to_string())))
        }
    }
}

fn config_failure(error: &ConfigError) -> Failure {
    Failure::said(error.to_string()).and("Failed to load configuration")
}

/// What a program that knows the nodes prints.
fn run(words: &[String]) -> Result<Vec<u8>, String> {
    let (program, args) = words
        .split_first()
        .ok_or("the nodes list is \"!\" without a program")?;
    let output = Command::new(program)
        .args(args)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output();
    let output = output.map_err(|error| format!("cannot run {program}: {error}"))?;
    if output.status.success() {
        Ok(output.stdout)
    } else {
        Err(format!("{program} ended with {}", output.status))
    }
}

pub(crate) fn listnodes(alone: &Alone, args: &Args<'_>) -> Outcome {
    args.want_none()?;
    let list = addresses(&read(&alone.paths)?);
    let separator = alone.options.machine.then_some(alone.options.separator.as_str());
    out(&nodes::file(&list, separator));
    Ok(0)
}

/// `None` for a deleted node.
fn addresses(file: &NodesFile) -> Vec<Option<IpAddr>> {
    file.nodes
        .iter()
        .map(|line| line.address().map(|address| address.ip()))
        .collect()
}

/// Tells all nodes to read their nodes files, once these are seen to be the same and to be a change that can be made.
pub(crate) async fn reloadnodes(cx: &Context, args: &Args<'_>) -> Outcome {
    args.want_none()?;
    let nodemap = cx.nodemap().await?;
    let file = addresses(&read(&cx.paths)?);
    for node in nodemap
        .nodes
        .iter()
        .filter(|node| !node.flags.contains(NodeFlags::DISCONNECTED))
    {
        let theirs = cx.client.get_nodes_file(node.pnn, cx.limit()).await;
        let theirs = theirs.or_say(|| format!("ERROR: Failed to get nodes file from node {}", node.pnn.0))?;
        if file_of(&theirs) != file {
            return Err(Failure::said(format!(
                "ERROR: Nodes file on node {} differs from current node ({})",
                node.pnn.0,
                cx.client.pnn().0
            )));
        }
    }
    let changes = compare(&nodemap, &file);
    out(&changes.news);
    if changes.impossible {
        let lines = changes.lines.into_iter();
        let last = "ERROR: Nodes will not be reloaded due to previous error".to_owned();
        let lines = lines.chain([last]).collect();
        return Err(Failure {
            lines,
            ..Failure::quiet(1)
        });
    }
    let mut said = Failure {
        lines: changes.lines,
        ..Failure::quiet(0)
    };
    if changes.news.is_empty() {
        said = said.and("No change in nodes file, skipping unnecessary reload");
        return Err(said);
    }
    mention(&said);
    reload(cx, &Context::connected(&nodemap)).await
}

/// A nodes file as a daemon tells it.
fn file_of(map: &NodeMap) -> Vec<Option<IpAddr>> {
    let address = |node: &ctdb_protocol::NodeAndFlags| {
        let deleted = node.flags.contains(NodeFlags::DELETED);
        node.addr.ip().filter(|_| !deleted)
    };
    map.nodes.iter().map(address).collect()
}

/// What a new nodes file means.
#[derive(Debug, Default, PartialEq, Eq)]
struct Changes {
    /// Nodes that come and go, for standard output.
    news: String,
    /// For standard error.
    lines: Vec<String>,
    /// It cannot be done.
    impossible: bool,
}

/// Numbers must stay what they are: lines may become comments and comments nodes, and nodes may be added at the end.
fn compare(nodemap: &NodeMap, file: &[Option<IpAddr>]) -> Changes {
    let mut changes = Changes::default();
    for (place, node) in nodemap.nodes.iter().enumerate() {
        let pnn = node.pnn.0;
        let was = node
            .addr
            .ip()
            .filter(|_| !node.flags.contains(NodeFlags::DELETED));
        let disconnected = node.flags.contains(NodeFlags::DISCONNECTED);
        let mut wrong = |line: String| {
            changes.lines.push(line);
            changes.impossible = true;
        };
        match (was, file.get(place)) {
            (_, None) => wrong(format!(
                "Node {pnn} ({}) missing from nodes file",
                nodes::address(node.addr)
            )),
            (None, Some(None)) => {}
            (Some(was), Some(Some(now))) if was != *now => {
                wrong(format!(
                    "Node {pnn} has changed IP address (was {was}, now {now})"
                ));
            }
            (Some(_), Some(Some(_))) if disconnected => changes.lines.push(format!(
                "WARNING: Node {pnn} is disconnected. You MUST fix this node manually!"
            )),
            (Some(_), Some(Some(_))) => {}
            (Some(_), Some(None)) => {
                if !disconnected {
                    wrong(format!("ERROR: Node {pnn} is still connected"));
                }
                changes.news += &format!("Node {pnn} is DELETED\n");
            }
            (None, Some(Some(_))) => changes.news += &format!("Node {pnn} is UNDELETED\n"),
        }
    }
    if !changes.impossible {
        for pnn in nodemap.nodes.len()..file.len() {
            changes.news += &format!("Node {pnn} is NEW\n");
        }
    }
    changes
}

/// Without recoveries meanwhile: they would see nodes that disagree.
async fn reload(cx: &Context, nodes: &[Pnn]) -> Outcome {
    // If this process dies, recoveries are not off for ever.
    let seconds = u32::try_from(cx.options.time_limit_s)
        .unwrap_or(0)
        .saturating_mul(2);
    disable_recoveries(cx, nodes, seconds)
        .await
        .or_say(|| "Failed to disable recoveries".to_owned())?;
    let mut failed = false;
    for (pnn, result) in cx
        .client
        .control_all(nodes, &Request::ReloadNodesFile, cx.limit())
        .await
    {
        if result.is_err() {
            mention(&Failure::said(format!("Node {} failed to reload nodes", pnn.0)));
            failed = true;
        }
    }
    if failed {
        mention(&Failure::said("You MUST fix failed nodes manually!"));
    }
    disable_recoveries(cx, nodes, 0)
        .await
        .or_say(|| "Failed to enable recoveries".to_owned())?;
    Ok(0)
}

/// Asks the recovery daemons of all these nodes; each answers with its node's number, or a negative one.
async fn disable_recoveries(cx: &Context, nodes: &[Pnn], timeout_s: u32) -> Result<(), Failure> {
    let srvid = cx.new_srvid();
    let missing: Rc<RefCell<BTreeSet<Pnn>>> = Rc::new(RefCell::new(nodes.iter().copied().collect()));
    let (refused, settled) = (Rc::new(Cell::new(false)), Notify::new());
    let (open, no, tell) = (missing.clone(), refused.clone(), settled.clone());
    let _listening = cx
        .client
        .on_message(srvid, move |_, data| {
            let Ok(bytes) = <[u8; 4]>::try_from(data) else {
                return;
            };
            let answer = i32::from_le_bytes(bytes);
            let mut open = open.borrow_mut();
            if answer < 0 {
                no.set(true);
            } else {
                open.remove(&Pnn(answer.cast_unsigned()));
            }
            if answer < 0 || open.is_empty() {
                tell.notify_one();
            }
        })
        .await?;
    let request = Message::Disable(DisableRequest {
        pnn: cx.client.pnn().0,
        srvid,
        timeout_s,
    });
    for &node in nodes {
        cx.client.send_typed(node, Srvid::DISABLE_RECOVERIES, &request)?;
    }
    if cx.handle().timeout(cx.limit(), settled.notified()).await.is_err() {
        return Err(Failure::coded(ETIME, "Timed out waiting to disable recoveries"));
    }
    if refused.get() {
        Err(Failure::quiet(1))
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use ctdb_protocol::NodeAndFlags;

    use super::*;

    fn ip(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    fn map(nodes: &[(u8, NodeFlags)]) -> NodeMap {
        let node = |(pnn, (last, flags)): (u32, &(u8, NodeFlags))| NodeAndFlags {
            pnn: Pnn(pnn),
            flags: *flags,
            addr: ip(*last).into(),
        };
        NodeMap {
            nodes: (0..).zip(nodes).map(node).collect(),
        }
    }

    #[test]
    fn the_same_file_is_no_news() {
        let nodes = map(&[
            (0, NodeFlags::empty()),
            (1, NodeFlags::DELETED | NodeFlags::DISCONNECTED),
        ]);
        assert_eq!(compare(&nodes, &[Some(ip(0)), None]), Changes::default());
    }

    #[test]
    fn nodes_come_and_go_at_their_places() {
        let gone = NodeFlags::DISCONNECTED;
        let nodes = map(&[(0, NodeFlags::empty()), (1, gone), (2, NodeFlags::DELETED | gone)]);
        let changes = compare(&nodes, &[Some(ip(0)), None, Some(ip(2)), Some(ip(3))]);
        assert_eq!(
            changes.news,
            "Node 1 is DELETED\nNode 2 is UNDELETED\nNode 3 is NEW\n"
        );
        assert!(!changes.impossible && changes.lines.is_empty(), "{changes:?}");
    }

    #[test]
    fn a_number_that_would_mean_another_node_is_refused() {
        let nodes = map(&[
            (0, NodeFlags::empty()),
            (1, NodeFlags::empty()),
            (2, NodeFlags::empty()),
        ]);
        let changes = compare(&nodes, &[Some(ip(9)), None]);
        assert!(changes.impossible);
        assert_eq!(
            changes.lines,
            [
                "Node 0 has changed IP address (was 10.0.0.0, now 10.0.0.9)",
                "ERROR: Node 1 is still connected",
                "Node 2 (10.0.0.2) missing from nodes file",
            ]
        );
    }
}
