//! The value that ties the rooms together.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

use ctdb_client::{Client, ClientError};
use ctdb_cluster::Node;
use ctdb_cluster::credits::{Credits, Evidence, View};
use ctdb_cluster::election::{Event, Standing};
use ctdb_cluster::operations::{Cause, Recoveries};
use ctdb_cluster::vnnmap::CapabilitiesOf;
use ctdb_conf::Tunables;
use ctdb_protocol::{Capabilities, NodeFlags, NodeMap, Pnn};
use ctdb_runtime::Handle;
use ctdb_runtime::sync::{Notify, Semaphore};

use crate::addresses::Interfaces;
use crate::leadership::Leadership;
use crate::settings::Settings;
use crate::takeover::Takeovers;

/// One recovery daemon.
pub struct Recoverd {
    /// Tasks, clock, children.
    pub rt: Handle,
    /// The connection to ctdbd.
    pub client: Client,
    /// Fixed.
    pub settings: Settings,
    /// Fetched in each round.
    pub tunables: RefCell<Tunables>,
    /// Elections, the cluster lock, timers of both.
    pub leadership: Leadership,
    /// All nodes, as ctdbd said last.
    pub nodes: RefCell<Vec<Node>>,
    /// What connected nodes can do.
    pub capabilities: RefCell<CapabilitiesOf>,
    /// One look at the node map at a time, so that an older answer is never taken for the newer one.
    pub looking: Semaphore,
    /// Look at the node map, also while a round is busy.
    pub look: Notify,
    /// Begin a round now.
    pub wake: Notify,
    /// A daemon has told that it was set into recovery mode.
    pub asked_for: Cell<bool>,
    /// Ban credits.
    pub credits: RefCell<Credits>,
    /// Whether a recovery may begin.
    pub recoveries: RefCell<Recoveries>,
    /// The recovery that failed and is to be tried again.
    pub pending: RefCell<Option<Pending>>,
    /// Who took part in the last recovery that this node led.
    pub took_part: RefCell<Option<BTreeSet<Pnn>>>,
    /// The reason that had to wait when it was logged last.
    pub waiting_reason: RefCell<String>,
    /// Takeover runs.
    pub takeovers: Takeovers,
    /// Network interfaces, as seen last.
    pub interfaces: RefCell<Option<Interfaces>>,
    /// This node is inactive and was frozen because of that.
    pub frozen_on_inactive: Cell<bool>,
    /// Decisions by their reason.
    pub counts: RefCell<BTreeMap<String, u64>>,
}

/// A recovery that failed.
#[derive(Clone, Debug)]
pub struct Pending {
    /// How.
    pub why: String,
    /// Of the attempt.
    pub cause: Cause,
}

/// What a daemon needs to exist: the first look at its ctdbd.
pub struct FirstLook {
    /// GET_NODEMAP.
    pub nodes: Vec<Node>,
    /// GET_CAPABILITIES.
    pub capabilities: Capabilities,
    /// GET_ALL_TUNABLES.
    pub tunables: Tunables,
}

impl Recoverd {
    /// One that knows nothing but its own node yet.
    pub fn new(client: Client, settings: Settings, leadership: Leadership, first: FirstLook) -> Rc<Recoverd> {
        let me = client.pnn();
        Rc::new(Recoverd {
            rt: client.handle().clone(),
            client,
            settings,
            tunables: RefCell::new(first.tunables),
            leadership,
            nodes: RefCell::new(first.nodes),
            capabilities: RefCell::new([(me, first.capabilities)].into()),
            looking: Semaphore::new(1),
            look: Notify::new(),
            wake: Notify::new(),
            asked_for: Cell::new(false),
            credits: RefCell::default(),
            recoveries: RefCell::default(),
            pending: RefCell::default(),
            took_part: RefCell::default(),
            waiting_reason: RefCell::default(),
            takeovers: Takeovers::default(),
            interfaces: RefCell::default(),
            frozen_on_inactive: Cell::new(false),
            counts: RefCell::default(),
        })
    }

    /// This node.
    pub fn me(&self) -> Pnn {
        self.client.pnn()
    }

    /// Since the start of the program.
    pub fn now(&self) -> Duration {
        self.rt.now().since_start()
    }

    /// RecoverTimeout: for all controls.
    pub fn timeout(&self) -> Duration {
        self.tunables.borrow().recover_timeout()
    }

    /// This node's flags.
    pub fn own_flags(&self) -> NodeFlags {
        self.flags_of(self.me()).unwrap_or(NodeFlags::empty())
    }

    /// A node's flags, as ctdbd said last.
    pub fn flags_of(&self, pnn: Pnn) -> Option<NodeFlags> {
        self.nodes
            .borrow()
            .iter()
            .find(|node| node.pnn == pnn)
            .map(|node| node.flags)
    }

    /// All connected nodes, this one among them.
    pub fn connected(&self) -> Vec<Pnn> {
        connected(&self.nodes.borrow())
    }

    /// Asks ctdbd for the node map, and takes what it says.
    ///
    /// # Errors
    /// ctdbd does not answer.
    pub async fn look_at_nodes(self: &Rc<Self>) -> Result<(), ClientError> {
        let _one_at_a_time = self.looking.acquire().await;
        let map = self.client.get_nodemap(Pnn::CURRENT, self.timeout()).await?;
        self.take_nodes(&map);
        Ok(())
    }

    /// A new node map: the election hears of it at once.
    pub fn take_nodes(self: &Rc<Self>, map: &NodeMap) {
        let nodes = Node::list(map);
        for node in &nodes {
            let before = self.flags_of(node.pnn);
            if before != Some(node.flags) {
                let before = before.map_or("unknown".to_owned(), |flags| format!("{flags}"));
                log::debug!("Node {}: {before} -> {}", node.pnn, node.flags);
            }
        }
        *self.nodes.borrow_mut() = nodes;
        self.tell_election();
    }

    /// Tells the election what all nodes are.
    pub fn tell_election(self: &Rc<Self>) {
        let me = self.me();
        let mut nodes: Vec<(Pnn, Standing)> = Vec::new();
        for node in self.nodes.borrow().iter() {
            let caps = self.capabilities.borrow().get(&node.pnn).copied();
            let recmaster = caps.is_none_or(|caps| caps.contains(Capabilities::RECMASTER));
            nodes.push((
                node.pnn,
                Standing {
                    flags: node.flags,
                    recmaster,
                },
            ));
        }
        if let Some(&(_, own)) = nodes.iter().find(|(pnn, _)| *pnn == me) {
            self.election_event(Event::Standing(own));
        }
        self.election_event(Event::Nodes(nodes));
    }

    /// Notes ban credits. A node whose link is closed is not to blame for its silence.
    pub fn blame(&self, culprit: Pnn, count: u32, what: &str) {
        let nodes = self.nodes.borrow();
        let connected = nodes
            .iter()
            .any(|node| node.pnn == culprit && node.flags.is_connected());
        if !connected || count == 0 {
            return;
        }
        let grace = self.tunables.borrow().recovery_grace_period();
        let view = View {
            me: self.me(),
            nodes: &nodes,
        };
        let evidence = Evidence::Failed(what.to_owned());
        let noted = self
            .credits
            .borrow_mut()
            .blame(culprit, count, evidence, self.now(), grace, &view);
        if noted {
            log::info!("Node {culprit} gets {count} ban credits: {what}");
        }
    }

    /// Counts a decision.
    pub fn count(&self, decision: impl Into<String>) {
        *self.counts.borrow_mut().entry(decision.into()).or_default() += 1;
    }
}

/// The connected nodes of a list.
pub fn connected(nodes: &[Node]) -> Vec<Pnn> {
    nodes
        .iter()
        .filter(|node| node.flags.is_connected())
        .map(|node| node.pnn)
        .collect()
}
