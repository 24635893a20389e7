//! The conversation with a daemon: the connection, the node that the command is about, what is known of the cluster.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::net::UdpSocket;
use std::rc::Rc;
use std::time::Duration;

use ctdb_client::{Client, ClientError};
use ctdb_conf::Paths;
use ctdb_protocol::{Message, NodeFlags, NodeMap, Pnn, Srvid, SrvidRange};
use ctdb_runtime::Handle;
use ctdb_runtime::sync::Notify;

use crate::cmd::nodes_file;
use crate::console;
use crate::failure::{Failure, OrSay};
use crate::options::Options;

/// A command's view of its daemon.
pub struct Context {
    /// The connection to the daemon of this machine.
    pub client: Client,
    /// What the line says.
    pub options: Options,
    /// Where files are.
    pub paths: Paths,
    node: Pnn,
    nodemap: RefCell<Option<Rc<NodeMap>>>,
    next_srvid: Cell<u64>,
}

impl Context {
    /// Connects, and settles which node the command is about.
    ///
    /// # Errors
    /// No daemon; `-n` names a node that does not exist or is not connected.
    pub async fn connect(handle: &Handle, options: Options, paths: Paths) -> Result<Context, Failure> {
        let socket = paths.socket("ctdbd");
        let client = match Client::connect(handle, &socket).await {
            Ok(client) => client,
            Err(error) => {
                let failure = Failure::from(error)
                    .plain()
                    .and(format!("Failed to connect to CTDB daemon ({})", socket.display()));
                return Err(with_own_place(failure, &paths));
            }
        };
        // Answers to several tools on one node must not meet.
        let tool = Srvid::range_base(SrvidRange::Tool).map_or(0, |srvid| srvid.0);
        let first_srvid = tool | 1 << 48 | u64::from(handle.pid() & 0xFFFF) << 16;
        let context = Context {
            node: options.node.unwrap_or(client.pnn()),
            client,
            options,
            paths,
            nodemap: RefCell::new(None),
            next_srvid: Cell::new(first_srvid),
        };
        if context.options.node.is_some() {
            context.check_node().await?;
        }
        Ok(context)
    }

    /// The node that the command is about.
    pub fn node(&self) -> Pnn {
        self.node
    }

    /// Whether the command is about the node of this machine.
    pub fn is_own_node(&self) -> bool {
        self.node == self.client.pnn()
    }

    /// How long to wait for an answer.
    pub fn limit(&self) -> Duration {
        self.options.time_limit()
    }

    /// The runtime.
    pub fn handle(&self) -> &Handle {
        self.client.handle()
    }

    /// A service of our own for an answer.
    pub fn new_srvid(&self) -> Srvid {
        self.next_srvid.set(self.next_srvid.get() + 1);
        Srvid(self.next_srvid.get())
    }

    /// What has no limit of its own, within the one of a control.
    ///
    /// # Errors
    /// That of the future; error number ETIMEDOUT.
    pub async fn within<T>(
        &self,
        what: &str,
        future: impl Future<Output = Result<T, ClientError>>,
    ) -> Result<T, Failure> {
        match self.handle().timeout(self.limit(), future).await {
            Ok(result) => Ok(result?),
            Err(_) => {
                let seconds = self.options.time_limit_s;
                Err(Failure::coded(
                    libc::ETIMEDOUT,
                    format!("{what} took longer than {seconds} s"),
                ))
            }
        }
    }

    /// The nodes, as this node knows them; a banned node knows little, and the next connected one is asked.
    /// Asked once.
    ///
    /// # Errors
    /// No answer; all nodes are banned.
    pub async fn nodemap(&self) -> Result<Rc<NodeMap>, Failure> {
        let known = self.nodemap.borrow().clone();
        match known {
            Some(nodemap) => Ok(nodemap),
            None => self.fresh_nodemap().await,
        }
    }

    /// As [`Context::nodemap`], asked now.
    ///
    /// # Errors
    /// As there.
    pub async fn fresh_nodemap(&self) -> Result<Rc<NodeMap>, Failure> {
        let own = self.client.pnn();
        let mut asked = own;
        loop {
            let answer = self.client.get_nodemap(asked, self.limit()).await;
            let nodemap = answer
                .or_say(|| format!("Failed to get nodemap from node {}", asked.0))
                .map_err(Failure::plain)?;
            let banned = nodemap
                .get(asked)
                .is_some_and(|node| node.flags.contains(NodeFlags::BANNED));
            if !banned {
                let nodemap = Rc::new(nodemap);
                self.nodemap.replace(Some(nodemap.clone()));
                return Ok(nodemap);
            }
            asked = match next_connected(&nodemap, asked, own) {
                Some(next) => next,
                None => return Err(Failure::said("Warning: All nodes are banned.")),
            };
        }
    }

    /// Whether `-n` names a node that can be asked.
    async fn check_node(&self) -> Result<(), Failure> {
        let nodemap = self.nodemap().await?;
        let Some(node) = nodemap.get(self.node) else {
            return Err(Failure::said(format!("Node {} does not exist", self.node.0)));
        };
        if node.flags.is_connected() {
            Ok(())
        } else {
            Err(Failure::said(format!(
                "Node {} has status {}",
                self.node.0, node.flags
            )))
        }
    }

    /// The leader: the next that says it is, `UNKNOWN` if none does in time.
    ///
    /// # Errors
    /// The daemon does not let us listen.
    pub async fn leader(&self) -> Result<Pnn, Failure> {
        let leader = Rc::new(Cell::new(Pnn::UNKNOWN));
        let heard = Notify::new();
        let (hear, tell) = (leader.clone(), heard.clone());
        let listening = self.client.on_message(Srvid::LEADER, move |srvid, data| {
            if let Ok(Message::Pnn(pnn)) = Message::decode(srvid, data)
                && pnn != Pnn::UNKNOWN
            {
                hear.set(pnn);
                tell.notify_one();
            }
        });
        let _listening = listening
            .await
            .or_say(|| "Failed to setup leader handler".to_owned())
            .map_err(Failure::plain)?;
        // No leader is an answer, too.
        let _ = self.handle().timeout(self.limit(), heard.notified()).await;
        Ok(leader.get())
    }

    /// Connected nodes of a map.
    pub fn connected(nodemap: &NodeMap) -> Vec<Pnn> {
        let nodes = nodemap.nodes.iter().filter(|node| node.flags.is_connected());
        nodes.map(|node| node.pnn).collect()
    }

    /// Active nodes of a map.
    pub fn active(nodemap: &NodeMap) -> Vec<Pnn> {
        let nodes = nodemap.nodes.iter().filter(|node| node.flags.is_active());
        nodes.map(|node| node.pnn).collect()
    }
}

/// The node after `from` that is connected, until the round comes to `own`.
fn next_connected(nodemap: &NodeMap, from: Pnn, own: Pnn) -> Option<Pnn> {
    let count = nodemap.nodes.len();
    let start = from.index()?;
    (1..=count)
        .map(|step| (start + step) % count)
        .take_while(|&place| Some(place) != own.index())
        .map(|place| &nodemap.nodes[place])
        .find(|node| node.flags.is_connected())
        .map(|node| node.pnn)
}

/// Whether this machine is a node at all is the first question when no daemon answers.
fn with_own_place(failure: Failure, paths: &Paths) -> Failure {
    let mut failure = failure;
    match nodes_file::read(paths) {
        Ok(file) => {
            let here = |address: &std::net::SocketAddr| UdpSocket::bind((address.ip(), 0)).is_ok();
            if file
                .nodes
                .iter()
                .filter_map(|node| node.address())
                .any(|address| here(&address))
            {
                return failure;
            }
            failure = failure.and("Failed to detect PNN of the current node.");
        }
        Err(unread) => failure.lines.extend(unread.lines),
    }
    failure.and("Is this node part of CTDB cluster?")
}

/// Lines about something that failed but does not end the command.
pub(crate) fn mention(failure: &Failure) {
    failure.lines.iter().for_each(|line| console::err(line));
}

#[cfg(test)]
mod tests {
    use ctdb_protocol::{NodeAndFlags, SockAddr};

    use super::*;

    fn map(flags: &[NodeFlags]) -> NodeMap {
        let node = |(pnn, &flags)| NodeAndFlags {
            pnn: Pnn(pnn),
            flags,
            addr: SockAddr::NONE,
        };
        NodeMap {
            nodes: (0..).zip(flags).map(node).collect(),
        }
    }

    #[test]
    fn the_next_node_is_asked_round_until_the_own_one() {
        let (ok, gone) = (NodeFlags::empty(), NodeFlags::DISCONNECTED);
        let nodes = map(&[ok, gone, NodeFlags::BANNED, NodeFlags::DELETED]);
        assert_eq!(next_connected(&nodes, Pnn(0), Pnn(0)), Some(Pnn(2)));
        assert_eq!(next_connected(&nodes, Pnn(2), Pnn(0)), None);
        assert_eq!(next_connected(&nodes, Pnn(2), Pnn(1)), Some(Pnn(0)));
        assert_eq!(next_connected(&map(&[ok]), Pnn(0), Pnn(0)), None);
        assert_eq!(next_connected(&map(&[]), Pnn(0), Pnn(0)), None);
    }
}
