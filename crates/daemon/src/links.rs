//! Links between daemons: two one-way TCP connections for each pair. We connect and write on ours; we
//! read only from the one that the peer made. A closed link is knowledge: the node is dead at once.

use std::rc::Rc;
use std::time::Duration;

use ctdb_protocol::{NodeFlags, Pnn};
use ctdb_runtime::sync::select2;
use ctdb_runtime::{Class, Listener, Stream};
use ctdb_transport::{CloseReason, Closed, Connection, Flow, Limits, LinkKind};

use crate::nodes::Node;
use crate::notice::{self, Change};
use crate::{Daemon, asks, calls, commit, dispatch, keepalive, traverse};

/// First pause before connecting again; doubles up to [`RETRY_MAX`]. Upstream always waits a second,
/// which is most of the time that a restarted node needs to come back.
const RETRY_MIN: Duration = Duration::from_millis(50);
const RETRY_MAX: Duration = Duration::from_secs(1);
/// A connect that hangs (host without power) is given up after this time.
const CONNECT_LIMIT: Duration = Duration::from_secs(1);
/// Packets that are kept for a node whose link is about to be up.
const EARLY_MAX: usize = 64;

/// Starts connecting to every other node.
pub fn connect_all(d: &Rc<Daemon>) {
    for node in d.nodes.all() {
        if node.pnn != d.me() && !node.is_deleted() && node.connector.borrow().is_none() {
            start_connector(d, &node);
        }
    }
}

fn start_connector(d: &Rc<Daemon>, node: &Rc<Node>) {
    let task = d.rt.spawn_urgent(connect(d.clone(), node.clone()));
    *node.connector.borrow_mut() = Some(task);
}

/// Until the outgoing link is up.
async fn connect(d: Rc<Daemon>, node: Rc<Node>) {
    let mut pause = RETRY_MIN;
    loop {
        let attempt = d.rt.connect_tcp(Some(d.settings.ip()), node.address);
        match d.rt.timeout(CONNECT_LIMIT, attempt).await {
            Ok(Ok(stream)) => return outgoing_up(&d, &node, stream),
            Ok(Err(error)) => log::trace!(
                "Node {} at {} is not to be reached: {error}",
                node.pnn,
                node.address
            ),
            Err(_) => log::trace!("Node {} at {} does not answer", node.pnn, node.address),
        }
        select2(d.rt.sleep(pause), node.heard_from.notified()).await;
        pause = (pause * 2).min(RETRY_MAX);
    }
}

fn outgoing_up(d: &Rc<Daemon>, node: &Rc<Node>, stream: Stream) {
    let (on_close, at) = (d.clone(), node.clone());
    let connection = Connection::start(
        &d.rt,
        stream,
        &format!("link to node {}", node.pnn),
        Class::Urgent,
        LinkKind::Node,
        Limits::default(),
        |_| Flow::Close("data came on a link that is only written to".into()),
        move |closed| {
            complain(&closed);
            node_dead(&on_close, &at, &closed.to_string());
        },
    );
    send_early(node, &connection);
    *node.outgoing.borrow_mut() = Some(connection);
    if let Some(this) = node.connector.borrow_mut().take() {
        this.detach(); // it ends by itself, with this call
    }
    check_connected(d, node);
}

/// A node learns that its two links are up, and asks us something, perhaps a moment before we learn that our connection
/// to it is made. An answer given in that moment must not be lost: who asked would wait for it in vain.
pub fn keep_early(node: &Node, encode: impl FnOnce(&mut Vec<u8>)) {
    let mut early = node.early.borrow_mut();
    if node.incoming.borrow().is_some() && early.len() < EARLY_MAX {
        let mut packet = Vec::new();
        encode(&mut packet);
        early.push(packet);
    }
}

fn send_early(node: &Node, link: &Connection) {
    for packet in node.early.take() {
        if let Err(error) = link.send(&packet) {
            log::error!("A packet for node {} dropped: {error}", node.pnn);
            link.close("it does not take what it is sent");
        }
    }
}

/// Takes connections of other daemons for the life of the daemon.
pub async fn accept(d: Rc<Daemon>, listener: Listener) {
    loop {
        match listener.accept().await {
            Ok(stream) => incoming(&d, stream),
            Err(error) => {
                log::error!("Cannot take a connection of another node: {error}");
                d.rt.sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

fn incoming(d: &Rc<Daemon>, stream: Stream) {
    let Some(from) = stream.peer_addr().map(|a| a.ip()) else {
        return;
    };
    let Some(node) = d.nodes.by_address(from).filter(|n| n.pnn != d.me()) else {
        log::error!("Connection from {from} refused: no node of the nodes file has this address");
        return;
    };
    if node.incoming.borrow().is_some() {
        // Closing it makes the peer start over; by then the old link's end has been seen.
        log::debug!(
            "Second connection from node {} refused: the first is still open",
            node.pnn
        );
        return;
    }
    let (on_packet, on_close) = (d.clone(), d.clone());
    let (reader, closer) = (node.clone(), node.clone());
    let connection = Connection::start(
        &d.rt,
        stream,
        &format!("link from node {}", node.pnn),
        Class::Urgent,
        LinkKind::Node,
        Limits::default(),
        move |packet| {
            on_packet.stats.count(|s| s.node_packets_recv += 1);
            match dispatch::on_node_packet(&on_packet, &reader, packet) {
                Ok(()) => Flow::Continue,
                Err(error) => Flow::Close(format!("malformed packet: {error}").into()),
            }
        },
        move |closed| {
            complain(&closed);
            node_dead(&on_close, &closer, &closed.to_string());
        },
    );
    *node.incoming.borrow_mut() = Some(connection);
    // It is up: no need to wait for the end of the pause before the next attempt.
    node.heard_from.notify_all();
    check_connected(d, &node);
}

/// A peer that goes is ordinary, one that sends what is no packet is not: an operator has to know, whether the
/// node was connected or not.
fn complain(closed: &Closed) {
    if matches!(closed.reason, CloseReason::Frame(_) | CloseReason::Asked(_)) {
        log::error!("The link is closed, {closed}. If this repeats, look what runs at that address");
    }
}

/// Both links make a connected node. It stays UNHEALTHY until its flags are pushed.
fn check_connected(d: &Rc<Daemon>, node: &Rc<Node>) {
    let both = node.outgoing.borrow().is_some() && node.incoming.borrow().is_some();
    if !both || !node.flags.get().contains(NodeFlags::DISCONNECTED) {
        return;
    }
    node.flags
        .set((node.flags.get() - NodeFlags::DISCONNECTED) | NodeFlags::UNHEALTHY);
    node.silent_ticks.set(0);
    log::info!("Node {} ({}) is connected", node.pnn, node.address);
    keepalive::send(d, node);
    notice::poke(d, Change::Nodes);
}

/// The node can't be talked to any more: drop both links, tell who waits for it, connect again.
pub fn node_dead(d: &Rc<Daemon>, node: &Rc<Node>, why: &str) {
    let links = [node.outgoing.take(), node.incoming.take()];
    for link in links.iter().flatten() {
        link.close(why.to_owned());
    }
    node.early.take();
    node.heard.set(0);
    node.silent_ticks.set(0);
    node.version.set(None);
    if node.is_connected() {
        log::warn!("Node {} ({}) is dead: {why}", node.pnn, node.address);
        node.flags
            .set(node.flags.get() | NodeFlags::DISCONNECTED | NodeFlags::UNHEALTHY);
        tell_who_waits(d, node.pnn);
    } else {
        log::trace!("Link with node {} broke before both were up: {why}", node.pnn);
    }
    if !node.is_deleted() && links.iter().any(Option::is_some) && !d.shutdown.is_begun() {
        start_connector(d, node);
    }
}

fn tell_who_waits(d: &Rc<Daemon>, gone: Pnn) {
    asks::fail_node(d, gone);
    calls::node_gone(d, gone);
    commit::node_gone(d, gone);
    traverse::node_gone(d, gone);
    notice::poke(d, Change::Nodes);
}

/// A node whose line in the nodes file was changed or removed: it is deleted, and no link to it is kept.
pub fn forget(d: &Rc<Daemon>, node: &Node) {
    let was_connected = node.is_connected();
    node.flags
        .set(node.flags.get() | NodeFlags::DELETED | NodeFlags::DISCONNECTED);
    close(node, "its line in the nodes file was changed or removed");
    if was_connected {
        log::info!(
            "Node {} ({}) is no longer in the nodes file: its links are closed",
            node.pnn,
            node.address
        );
        tell_who_waits(d, node.pnn);
    }
}

/// Drops every link (shutdown, deleted node).
pub fn close(node: &Node, why: &'static str) {
    node.connector.borrow_mut().take();
    for link in [node.outgoing.take(), node.incoming.take()].iter().flatten() {
        link.close(why);
    }
}
