//! Packets out: one destination or several, another node or this one.

use std::rc::Rc;

use ctdb_protocol::packet::{Packet, ReqMessage};
use ctdb_protocol::{Generation, PacketHeader, Pnn, Reqid, Srvid};
use ctdb_transport::Lane;

use crate::nodes::Node;
use crate::{Daemon, loopback, services};

impl Daemon {
    /// Sends under the vnnmap's generation; a broadcast is unfolded into a packet for each node.
    pub fn send(self: &Rc<Self>, to: Pnn, packet: &Packet<'_>, reqid: Reqid) {
        self.send_in(self.state.generation(), to, packet, reqid);
    }

    /// The same under another generation: record traffic carries its database's.
    pub fn send_in(self: &Rc<Self>, generation: Generation, to: Pnn, packet: &Packet<'_>, reqid: Reqid) {
        match to {
            Pnn::BROADCAST_ALL => self.send_each(generation, packet, reqid, |n| !n.is_deleted()),
            Pnn::BROADCAST_ACTIVE => self.send_each(generation, packet, reqid, |n| n.flags.get().is_active()),
            Pnn::BROADCAST_CONNECTED => self.send_each(generation, packet, reqid, Node::is_connected),
            one => self.send_one(generation, one, packet, reqid),
        }
    }

    fn send_each(
        self: &Rc<Self>,
        generation: Generation,
        packet: &Packet<'_>,
        reqid: Reqid,
        wanted: fn(&Node) -> bool,
    ) {
        for pnn in self.nodes.pnns_where(wanted) {
            self.send_one(generation, pnn, packet, reqid);
        }
    }

    fn send_one(self: &Rc<Self>, generation: Generation, to: Pnn, packet: &Packet<'_>, reqid: Reqid) {
        let header = PacketHeader::new(generation, self.me(), to, reqid);
        self.stats.count(|s| s.node_packets_sent += 1);
        if to == self.me() {
            loopback::queue(self, |out| packet.encode(&header, out));
            return;
        }
        let Some(node) = self.nodes.get(to).filter(|n| !n.is_deleted()) else {
            log::error!("Packet for node {to} dropped: no such node in the nodes file, or deleted there");
            return;
        };
        if let Some(link) = &*node.outgoing.borrow() {
            link.send_with(lane(packet), |out| packet.encode(&header, out));
        }
    }

    /// A message from this node: to one node or several, or straight to the listeners here.
    pub fn send_message(self: &Rc<Self>, to: Pnn, srvid: Srvid, data: &[u8]) {
        if to == self.me() || to == Pnn::CURRENT {
            services::deliver(self, self.me(), srvid, data);
        } else {
            self.send(to, &Packet::ReqMessage(ReqMessage { srvid, data }), Reqid::NONE);
        }
    }
}

/// What must not wait behind record traffic: signs of life and of leadership. They have no order
/// relative to anything else.
fn lane(packet: &Packet<'_>) -> Lane {
    match packet {
        Packet::Keepalive(_) => Lane::Urgent,
        Packet::ReqMessage(m) if m.srvid.is_leadership() => Lane::Urgent,
        _ => Lane::Ordinary,
    }
}
