//! Signs of life: one to each connected node every KeepaliveInterval; a node that stays silent for
//! KeepaliveLimit intervals is dead. Also the version check that travels with them.

use std::rc::Rc;
use std::time::Duration;

use ctdb_cluster::version::{self, Verdict};
use ctdb_protocol::packet::{Keepalive, Packet};
use ctdb_protocol::{Pnn, Reqid};

use crate::nodes::Node;
use crate::{Daemon, links, shutdown};

/// However KeepaliveInterval is set.
const INTERVAL_MIN: Duration = Duration::from_secs(1);

/// Runs for the life of the daemon.
pub async fn run(d: Rc<Daemon>) {
    loop {
        // Without a pause (KeepaliveInterval=0) nothing else would ever have its turn.
        let interval = d.tunables.borrow().keepalive_interval().max(INTERVAL_MIN);
        d.rt.sleep(interval).await;
        tick(&d);
    }
}

/// One interval is over.
fn tick(d: &Rc<Daemon>) {
    let limit = d.tunables.borrow().keepalive_limit();
    for node in d.nodes.all() {
        if node.pnn == d.me() || node.is_deleted() {
            continue;
        }
        let heard = node.heard.replace(0);
        if !node.is_connected() {
            continue;
        }
        node.silent_ticks.set(if heard == 0 {
            node.silent_ticks.get() + 1
        } else {
            0
        });
        send(d, &node);
        if node.silent_ticks.get() >= limit {
            let waited = d.tunables.borrow().keepalive_interval().max(INTERVAL_MIN) * limit;
            links::node_dead(
                d,
                &node,
                &format!("nothing heard for {waited:?} (KeepaliveInterval x KeepaliveLimit)"),
            );
        }
    }
}

/// One sign of life. Announces what the peer announces, so that mixed clusters pass its check.
pub fn send(d: &Rc<Daemon>, node: &Node) {
    let (version, uptime_s) = version::announced(node.version.get(), uptime_s(d), d.settings.fixed_version);
    let packet = Packet::Keepalive(Some(Keepalive { version, uptime_s }));
    d.stats.count(|s| s.keepalive_packets_sent += 1);
    d.send(node.pnn, &packet, Reqid::NONE);
}

/// Whole seconds since the daemon started.
fn uptime_s(d: &Daemon) -> u32 {
    u32::try_from(d.state.uptime(d.rt.now()).as_secs()).unwrap_or(u32::MAX)
}

/// A sign of life came.
pub fn on_keepalive(d: &Rc<Daemon>, from: Pnn, keepalive: Option<Keepalive>) {
    d.stats.count(|s| s.keepalive_packets_recv += 1);
    let Some(node) = d.nodes.get(from) else { return };
    if let Some(k) = keepalive
        && node.version.replace(Some(k.version)) != Some(k.version)
    {
        send(d, &node); // at once in its own terms
    }
    let allow_mixed = d.tunables.borrow().allow_mixed_versions();
    let heard = keepalive.map(|k| (k.version, k.uptime_s));
    match version::judge(heard, uptime_s(d), d.settings.fixed_version, allow_mixed) {
        Verdict::Stay => {}
        Verdict::PeerLeaves => {
            log::error!(
                "Node {from} announces version {:?}, which does not go with ours: it will leave",
                heard
            );
        }
        Verdict::Leave | Verdict::LeaveAncientPeer => {
            log::error!(
                "Node {from} announces version {heard:?}, which does not go with ours: this node, started later, shuts \
                 down. Install the same version everywhere, or set AllowMixedVersions=1 in ctdb.tunables"
            );
            shutdown::begin(d, 0);
        }
    }
}
