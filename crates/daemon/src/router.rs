//! Packets out: one destination or several, another node or this one.

use std::rc::Rc;

use crate::nodes::Node;
use crate::{Daemon, links, loopback, services};
use ctdb_protocol::packet::{ControlHead, Packet, ReqMessage};
use ctdb_protocol::{ControlFlags, Generation, Header, Opcode, Operation, PacketHeader, Pnn, Reqid, Srvid};

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
        self.send_under(&PacketHeader::new(generation, self.me(), to, reqid), packet);
    }

    fn send_under(self: &Rc<Self>, header: &PacketHeader, packet: &Packet<'_>) {
        self.send_encoded(header, packet.operation(), is_urgent(packet), |out| {
            packet.encode(header, out)
        });
    }

    fn send_encoded(
        self: &Rc<Self>,
        header: &PacketHeader,
        operation: Operation,
        urgent: bool,
        encode: impl FnOnce(&mut Vec<u8>),
    ) {
        let to = header.destnode;
        self.stats.count(|s| s.node_packets_sent += 1);
        if to == self.me() {
            loopback::queue(self, encode);
            return;
        }
        let Some(node) = self.nodes.get(to).filter(|n| !n.is_deleted()) else {
            log::error!("Packet for node {to} dropped: no such node in the nodes file, or deleted there");
            return;
        };
        let outgoing = node.outgoing.borrow();
        if let Some(link) = &*outgoing {
            let sent = if urgent {
                link.send_urgent_with(encode)
            } else {
                link.send_with(encode)
            };
            if let Err(error) = sent {
                log::error!("{operation} for node {to} dropped: {error}");
                // What was lost may be half of a record's move: the node has to start over.
                link.close("it does not take what it is sent");
            }
        } else {
            links::keep_early(&node, encode);
        }
    }

    /// Sends one node a control that wants no answer; `fill` writes its data straight into the output.
    pub fn tell_in_place(self: &Rc<Self>, to: Pnn, opcode: Opcode, fill: impl FnOnce(&mut Vec<u8>)) {
        let header = PacketHeader::new(self.state.generation(), self.me(), to, Reqid::NONE);
        let head = ControlHead::new(opcode).with_flags(ControlFlags::NOREPLY);
        self.send_encoded(&header, Operation::REQ_CONTROL, false, |out| {
            head.encode_packet(&header, out, fill);
        });
    }

    /// Sends a packet on to the next node as it came: source, number and generation stay those of who sent it.
    pub fn pass_on(self: &Rc<Self>, came: &Header, to: Pnn, packet: &Packet<'_>) {
        let header = PacketHeader {
            destnode: to,
            ..came.packet_header()
        };
        self.send_under(&header, packet);
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
fn is_urgent(packet: &Packet<'_>) -> bool {
    match packet {
        Packet::Keepalive(_) => true,
        Packet::ReqMessage(message) => message.srvid.is_leadership(),
        _ => false,
    }
}
