//! Nodes: their flags, bans, roles, the nodes file.

use std::rc::Rc;
use std::time::Duration;

use ctdb_cluster::flags::{self, Modified};
use ctdb_conf::{NodesFile, NodesSource};
use ctdb_protocol::control::Reply;
use ctdb_protocol::{
    BanState, Capabilities, NodeAndFlags, NodeFlagChange, NodeFlags, NodeMap, Pnn, Runstate, SockAddr, Srvid,
};

use super::Asked;
use crate::notice::{self, Change};
use crate::responder::Responder;
use crate::{Daemon, inactive, recovery, shutdown, start};

/// Text that a nodes list command may print: a thousand nodes fit many times.
const NODES_OUTPUT_MAX: usize = 1 << 20;
/// Time that it may take.
const NODES_COMMAND_LIMIT: Duration = Duration::from_secs(10);

/// GET_NODEMAP.
pub fn get_nodemap(d: &Rc<Daemon>, answer: Responder) {
    answer.reply(&Reply::GetNodemap(d.nodes.map()));
}

/// GET_CAPABILITIES.
pub fn get_capabilities(d: &Rc<Daemon>, answer: Responder) {
    answer.data(&d.state.capabilities.get().bits().to_le_bytes());
}

/// SET_RECMASTERROLE and SET_LMASTERROLE.
pub fn set_role(d: &Rc<Daemon>, role: Capabilities, on: bool, answer: Responder) {
    let mut capabilities = d.state.capabilities.get();
    capabilities.set(role, on);
    log::info!("Capabilities of this node: {:#x}", capabilities.bits());
    d.state.capabilities.set(capabilities);
    notice::poke(d, Change::OwnFlags);
    answer.ok();
}

/// MODIFY_FLAGS: what the leader knows of a node's flags.
pub fn modify_flags(d: &Rc<Daemon>, change: &NodeFlagChange, answer: Responder) {
    let node = d.nodes.get(change.pnn);
    let seen = node.as_ref().map(|n| n.flags.get());
    let starting = d.state.runstate() <= Runstate::Startup;
    match (
        flags::modify_flags(d.me(), change.pnn, change.new_flags, seen, starting),
        node,
    ) {
        (
            Modified::Changed {
                flags,
                became_healthy,
            },
            Some(node),
        ) => {
            log::info!("Flags of node {}: {} -> {flags}", node.pnn, node.flags.get());
            node.flags.set(flags);
            notice::poke(d, Change::Nodes);
            if became_healthy {
                recovery::mode::want_recovery(
                    d,
                    &format!("node {} became healthy while this node starts", node.pnn),
                );
            }
            answer.ok();
        }
        (Modified::UnknownNode, _) => {
            log::error!(
                "Flags of node {} cannot be changed: no such node in the nodes file",
                change.pnn
            );
            answer.refuse();
        }
        _ => answer.ok(),
    }
}

/// SET_BAN_STATE; only for this node.
pub fn set_ban_state(d: &Rc<Daemon>, ban: &BanState, answer: Responder) {
    if ban.pnn != d.me() {
        log::error!("A ban for node {} came to this node: refused", ban.pnn);
        return answer.refuse();
    }
    inactive::set_ban(d, Duration::from_secs(ban.time_s.into()));
    answer.ok();
}

/// GET_BAN_STATE.
pub fn get_ban_state(d: &Rc<Daemon>, answer: Responder) {
    let banned = d.nodes.own_flags().contains(NodeFlags::BANNED);
    let time_s = if banned { d.bans.length_s() } else { 0 };
    answer.reply(&Reply::GetBanState(BanState { pnn: d.me(), time_s }));
}

/// STOP_NODE.
pub fn stop(d: &Rc<Daemon>, answer: Responder) {
    inactive::stop(d);
    answer.ok();
}

/// CONTINUE_NODE.
pub fn continue_node(d: &Rc<Daemon>, answer: Responder) {
    inactive::continue_node(d);
    answer.ok();
}

/// DISABLE_NODE.
pub fn disable(d: &Rc<Daemon>, answer: Responder) {
    inactive::disable(d);
    answer.ok();
}

/// ENABLE_NODE.
pub fn enable(d: &Rc<Daemon>, answer: Responder) {
    inactive::enable(d);
    answer.ok();
}

/// SHUTDOWN: the connection that asked just ends.
pub fn shutdown_node(d: &Rc<Daemon>, asked: &Asked<'_>, answer: Responder) {
    log::error!("Shutdown was asked for by {}", asked.sender());
    answer.forget();
    shutdown::begin(d, 0);
}

/// RELOAD_NODES_FILE.
pub fn reload_nodes(d: &Rc<Daemon>, answer: Responder) {
    d.spawn(|d| async move {
        match read_nodes(&d).await {
            Ok(file)
                if file.nodes.get(d.me().0 as usize).and_then(|l| l.address())
                    != Some(d.settings.address) =>
            {
                log::error!(
                    "The nodes file no longer has this node ({}) as its line {}: this node ends",
                    d.settings.address,
                    d.me()
                );
                shutdown::exit(&d, 1);
            }
            Ok(file) => {
                log::info!("The nodes file is read again: {} nodes", file.nodes.len());
                start::apply_nodes(&d, &file.nodes);
                d.send_message(d.me(), Srvid::RELOAD_NODES, &[]);
                answer.ok();
            }
            Err(why) => {
                log::error!("The nodes file cannot be read again: {why}: this node ends");
                shutdown::exit(&d, 1);
            }
        }
    });
}

/// GET_NODES_FILE: the list as it is on disk now, without looking at who is there.
pub fn get_nodes_file(d: &Rc<Daemon>, answer: Responder) {
    d.spawn(|d| async move {
        match read_nodes(&d).await {
            Ok(file) => answer.reply(&Reply::GetNodesFile(as_map(&file))),
            Err(why) => {
                log::error!("The nodes file cannot be read: {why}");
                answer.refuse();
            }
        }
    });
}

fn as_map(file: &NodesFile) -> NodeMap {
    let entry = |(i, line): (usize, &ctdb_conf::NodeLine)| NodeAndFlags {
        pnn: Pnn(i as u32),
        flags: if line.address().is_some() {
            NodeFlags::empty()
        } else {
            NodeFlags::DELETED
        },
        addr: SockAddr::from(line.address().unwrap_or(([0, 0, 0, 0], 0).into())),
    };
    NodeMap {
        nodes: file.nodes.iter().enumerate().map(entry).collect(),
    }
}

/// Reads the file, or runs the command that prints the list.
async fn read_nodes(d: &Rc<Daemon>) -> Result<NodesFile, String> {
    match NodesSource::from_config(&d.settings.config, &d.settings.paths) {
        NodesSource::File(path) => NodesFile::load(&path).map_err(|e| e.to_string()),
        NodesSource::Command(words) => {
            let text = command_output(d, &words).await?;
            let label = std::path::PathBuf::from(format!("output of {}", words.join(" ")));
            NodesFile::parse(&label, &text, ctdb_conf::cluster_port()).map_err(|findings| {
                findings
                    .iter()
                    .map(ToString::to_string)
                    .collect::<Vec<_>>()
                    .join("; ")
            })
        }
    }
}

/// One limit for all of it: a command may close its output and still not end.
async fn command_output(d: &Rc<Daemon>, words: &[String]) -> Result<Vec<u8>, String> {
    let Some((program, args)) = words.split_first() else {
        return Err("the nodes list command is empty".into());
    };
    let program = d.program(program).args(args).stdout(ctdb_runtime::Io::Pipe);
    let mut child = d.rt.spawn_program(program).map_err(|e| e.to_string())?;
    let result = match d.rt.timeout(NODES_COMMAND_LIMIT, output_of(&mut child)).await {
        Ok(result) => result,
        Err(_) => Err(format!(
            "the nodes list command took longer than {NODES_COMMAND_LIMIT:?}"
        )),
    };
    if result.is_err() {
        // It may have ended by itself.
        let _ = child.kill(ctdb_runtime::Signal::SIGKILL);
    }
    result
}

async fn output_of(child: &mut ctdb_runtime::Child) -> Result<Vec<u8>, String> {
    let out = child.stdout().ok_or("the nodes list command has no output")?;
    let text = out
        .read_to_end(NODES_OUTPUT_MAX)
        .await
        .map_err(|error| format!("reading from the nodes list command: {error}"))?;
    let status = child.wait().await;
    if status.success() {
        Ok(text)
    } else {
        Err(format!("the nodes list command ended with {status}"))
    }
}
