//! A takeover run from start to end.

use std::cell::RefCell;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use ctdb_client::Client;
use ctdb_cluster::Node;
use ctdb_conf::HomeNodes;
use ctdb_ipalloc::{Address, Algorithm, NodeAddresses, Policy, allocate, can_host};
use ctdb_protocol::{
    ControlFlags, Message, NodeMap, Pnn, PublicIp, PublicIpList, Reply, Request, Srvid, TunableList,
};
use ctdb_runtime::Instant;

use crate::ask::{Ask, Asker, Failed};
use crate::blame::{Blame, Verdict};

/// For the controls before the tunable TakeoverTimeout is known: its default.
const FIRST_LIMIT: Duration = Duration::from_secs(9);

/// What the recovery daemon and the environment say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Nodes that get addresses of others although they have some.
    pub rebalance: Vec<Pnn>,
    /// Addresses stay where they are (`[failover] disabled`); the nodes get their event only.
    pub failover_disabled: bool,
    /// The file `home_nodes`, read for the deterministic algorithm.
    pub home_nodes: Option<PathBuf>,
}

/// Finds out where each public address belongs and has the nodes release and take them. The numbers are those of
/// `recovery.md` §7.1.
///
/// # Errors
/// The phase that failed; later ones did not take place, also not the event at the end. The recovery daemon has
/// been told which node is to blame, if one is.
pub async fn run(client: Client, options: &Options) -> Result<(), Failed> {
    let me = client.pnn();
    let tunables = client.get_all_tunables(me, FIRST_LIMIT).await?; // 1
    let limit = Duration::from_secs(tunables.takeover_timeout.into());
    let nodemap = client.get_nodemap(me, limit).await?;
    let takeover = Takeover::new(client, nodemap, *tunables, limit);
    if takeover.active.is_empty() {
        return Err(Failed::NobodyActive);
    }
    let done = takeover.phases(options).await;
    if done.is_err() && takeover.tunables.enable_bans != 0 {
        takeover.tell_on_the_worst().await;
    }
    done
}

struct Takeover {
    asker: Asker,
    nodemap: NodeMap,
    connected: Vec<Pnn>,
    active: Vec<Pnn>,
    tunables: TunableList,
    /// Of a question; the changes have three times that, all together.
    limit: Duration,
}

impl Takeover {
    fn new(client: Client, nodemap: NodeMap, tunables: TunableList, limit: Duration) -> Takeover {
        // Lists are by node number: one that stands outside of the map has no place there.
        let usable = nodemap
            .nodes
            .iter()
            .filter(|node| (node.pnn.0 as usize) < nodemap.nodes.len());
        let connected: Vec<_> = usable.filter(|node| node.flags.is_connected()).collect();
        let active = connected.iter().filter(|node| node.flags.is_active());
        Takeover {
            asker: Asker {
                client,
                blame: RefCell::new(Blame::default()),
            },
            active: active.map(|node| node.pnn).collect(),
            connected: connected.iter().map(|node| node.pnn).collect(),
            nodemap,
            tunables,
            limit,
        }
    }

    async fn phases(&self, options: &Options) -> Result<(), Failed> {
        if options.failover_disabled {
            log::debug!("Failover is disabled: public addresses stay where they are"); // 2
            return self.ipreallocated(self.deadline()).await;
        }
        let nodes = self.addresses_of_nodes().await?; // 3
        if !can_host(&nodes) {
            if nodes.iter().any(|node| !node.known.is_empty()) {
                log::info!("No node can host public addresses at the moment");
            }
            return self.ipreallocated(self.deadline()).await; // 4
        }
        let addresses = allocate(&nodes, &self.policy(options)); // 5
        report(&addresses);
        let deadline = self.deadline();
        self.start_ipreallocate(deadline).await?; // 6a
        self.release(&addresses, deadline).await?; // 6b
        self.take(&addresses, deadline).await?; // 7
        self.ipreallocated(deadline).await // 8
    }

    /// The phases that change something share one: releasing, where connections are killed, may need most of it. A
    /// longer one would keep clients waiting for longer than their own patience.
    fn deadline(&self) -> Instant {
        self.now() + 3 * self.limit
    }

    fn now(&self) -> Instant {
        self.asker.client.handle().now()
    }

    async fn ask(&self, asks: Vec<Ask>, deadline: Instant) -> Result<(), Failed> {
        self.asker.ask(asks, deadline - self.now()).await.map(drop)
    }

    /// What each node says, by number; of nodes that are not connected: nothing.
    async fn addresses_of_nodes(&self) -> Result<Vec<NodeAddresses>, Failed> {
        let known = self.public_ips(&self.connected, ControlFlags::empty()).await?;
        let with_some = |node: &&Pnn| !known[index(**node)].ips.is_empty();
        let candidates: Vec<Pnn> = self.active.iter().filter(with_some).copied().collect();
        let available = self
            .public_ips(&candidates, ControlFlags::PUBLIC_IP_ONLY_AVAILABLE)
            .await?;
        let lists = (0..).map(Pnn).zip(known.iter().zip(&available));
        Ok(lists
            .map(|(pnn, (known, available))| NodeAddresses::new(pnn, known, available))
            .collect())
    }

    /// Lists of some nodes, by number; the others' are empty.
    async fn public_ips(&self, nodes: &[Pnn], flags: ControlFlags) -> Result<Vec<PublicIpList>, Failed> {
        let mut lists = vec![PublicIpList::default(); self.nodemap.nodes.len()];
        let question = || Ask {
            flags,
            ..Ask::new(nodes, Request::GetPublicIps)
        };
        let mut unreadable = Vec::new();
        for answer in self.asker.ask(vec![question()], self.limit).await? {
            match answer.reply() {
                Ok(Reply::GetPublicIps(list)) => lists[index(answer.node)] = list,
                Ok(_) => {}
                Err(error) => {
                    self.asker.blame(answer.node, &question(), &error);
                    unreadable.push(error);
                }
            }
        }
        let count = unreadable.len();
        match unreadable.into_iter().next() {
            None => Ok(lists),
            Some(first) => Err(Failed::Nodes {
                opcode: Request::GetPublicIps.opcode(),
                count,
                first,
            }),
        }
    }

    fn policy(&self, options: &Options) -> Policy {
        let algorithm = Algorithm::from_tunable(self.tunables.ip_alloc_algorithm);
        let no_ip_failback = self.tunables.no_ip_failback != 0;
        let mut home_nodes = Vec::new();
        if algorithm == Algorithm::Deterministic {
            home_nodes = options
                .home_nodes
                .as_deref()
                .map(read_home_nodes)
                .unwrap_or_default();
            if no_ip_failback {
                log::warn!("NoIPFailback has no effect while IPAllocAlgorithm is 0 (deterministic)");
            }
        }
        Policy {
            algorithm,
            no_ip_takeover: self.tunables.no_ip_takeover != 0,
            no_ip_failback,
            rebalance: options.rebalance.clone(),
            home_nodes,
        }
    }

    async fn start_ipreallocate(&self, deadline: Instant) -> Result<(), Failed> {
        let ask = Ask::new(&self.connected, Request::StartIpreallocate);
        self.ask(vec![ask], deadline).await
    }

    /// Every node that knows an address and is not to have it releases it. Most have not got it; they
    /// learn from this who has.
    async fn release(&self, addresses: &[Address], deadline: Instant) -> Result<(), Failed> {
        let asks = addresses.iter().map(|address| {
            let known_on = address.known_on.iter().copied();
            let others: Vec<Pnn> = known_on.filter(|&node| address.owner != Some(node)).collect();
            Ask::new(&others, Request::ReleaseIp(placed(address))).about(address.ip)
        });
        let asks = asks.filter(|ask| !ask.nodes.is_empty()).collect();
        self.ask(asks, deadline).await
    }

    /// Also addresses that have not moved are taken: that puts right what got lost on the way.
    async fn take(&self, addresses: &[Address], deadline: Instant) -> Result<(), Failed> {
        let asks = addresses.iter().filter_map(|address| {
            let owner = address.owner?;
            Some(Ask::new(&[owner], Request::TakeoverIp(placed(address))).about(address.ip))
        });
        self.ask(asks.collect(), deadline).await
    }

    async fn ipreallocated(&self, deadline: Instant) -> Result<(), Failed> {
        let ask = Ask::new(&self.connected, Request::Ipreallocated);
        self.ask(vec![ask], deadline).await
    }

    /// Tells the recovery daemon which node failed most, unless nobody else could serve.
    async fn tell_on_the_worst(&self) {
        let client = &self.asker.client;
        // A node that was lost during the run is not to blame for its silence; ctdbd knows by now.
        let now = client.get_nodemap(client.pnn(), self.limit).await;
        let nodes = Node::list(now.as_ref().unwrap_or(&self.nodemap));
        match self.asker.blame.borrow().verdict(&nodes) {
            Verdict::Nobody => {}
            Verdict::Spared(node, note) => log::error!(
                "Node {node} gets no ban credits although it failed {} times: nobody else could serve",
                note.count
            ),
            Verdict::Credits(node, note) => {
                log::warn!(
                    "Node {node} gets ban credits: it failed {} times in this takeover run, first {}",
                    note.count,
                    note.evidence
                );
                let sent = client.send_typed(client.pnn(), Srvid::BANNING, &Message::Pnn(node));
                if let Err(error) = sent {
                    log::error!("The recovery daemon cannot be told about node {node}: {error}");
                }
            }
        }
        if let Err(error) = client.flush().await {
            log::debug!("{error}");
        }
    }
}

/// For RELEASE_IP and TAKEOVER_IP: the address and its owner to be.
fn placed(address: &Address) -> PublicIp {
    PublicIp {
        pnn: address.owner.unwrap_or(Pnn::UNKNOWN),
        addr: address.ip.into(),
    }
}

/// Place in lists by node number; nodes outside of the node map are not asked.
fn index(node: Pnn) -> usize {
    node.0 as usize
}

/// Nothing after an error, as upstream; the log says which line.
fn read_home_nodes(path: &std::path::Path) -> Vec<(IpAddr, Pnn)> {
    match HomeNodes::load(path) {
        Ok(file) => file
            .homes
            .iter()
            .map(|home| (home.address, Pnn(home.pnn)))
            .collect(),
        Err(error) => {
            log::warn!("No address has a home of its own: {error}");
            Vec::new()
        }
    }
}

/// Says what is going to change and why, or that nothing is.
fn report(addresses: &[Address]) {
    let mut moves = 0;
    for address in addresses {
        let reason = match address.before {
            None => "nobody had it",
            Some(before) if address.is_available_on(before) => "to balance",
            Some(_) => "it can't stay",
        };
        match (address.before, address.owner) {
            (before, Some(owner)) if before == Some(owner) => continue,
            (_, None) => log::warn!("No node can host {}", address.ip),
            (Some(before), Some(owner)) => {
                log::debug!("{} goes from node {before} to node {owner}: {reason}", address.ip);
            }
            (None, Some(owner)) => log::debug!("{} goes to node {owner}: {reason}", address.ip),
        }
        moves += usize::from(address.before != address.owner);
    }
    if moves > 0 {
        log::info!(
            "{moves} of {} public addresses change their node",
            addresses.len()
        );
    }
}
