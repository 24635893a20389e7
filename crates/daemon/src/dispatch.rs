//! Packets in: from another node, from a client, from this node itself. Decoded in place, handled by
//! plain functions.

use std::rc::Rc;

use ctdb_protocol::packet::{Packet, ReqCall, ReqControl, ReqTunnel};
use ctdb_protocol::{Header, NodeFlags, Operation, Pnn, Reqid, WireError};

use crate::asks::{self, Forward};
use crate::clients::{self, Client};
use crate::control::{self, Asked};
use crate::nodes::Node;
use crate::responder::Responder;
use crate::{Daemon, calls, keepalive, services};

/// A packet on the incoming link of `node`.
///
/// # Errors
/// It is malformed; the link has to be closed.
pub fn on_node_packet(d: &Rc<Daemon>, node: &Rc<Node>, bytes: &[u8]) -> Result<(), WireError> {
    let (header, packet) = Packet::decode(bytes)?;
    let Some(sender) = d.nodes.get(header.srcnode) else {
        // An answer would go to a node that isn't there, or to all of them.
        log::error!(
            "{} from node {} dropped: it names node {} as its sender, which is not in the nodes file",
            header.operation,
            node.pnn,
            header.srcnode
        );
        return Ok(());
    };
    // A call that only passes through this peer is no sign of life of its sender.
    let passes_through = matches!(&packet, Packet::ReqCall(call) if call.hopcount > 0);
    if !passes_through {
        sender.heard.set(sender.heard.get().saturating_add(1));
    }
    if header.destnode != d.me() {
        log::error!(
            "Packet from node {} is meant for node {}: dropped",
            node.pnn,
            header.destnode
        );
        return Ok(());
    }
    handle(d, &header, packet, bytes);
    Ok(())
}

/// A packet of this node to itself, or one that is looked at again after a wait.
pub fn on_packet(d: &Rc<Daemon>, bytes: &[u8]) {
    match Packet::decode(bytes) {
        Ok((header, packet)) => handle(d, &header, packet, bytes),
        Err(error) => {
            log::error!("Packet of this node to itself is malformed (a defect of this program): {error}")
        }
    }
}

fn handle(d: &Rc<Daemon>, header: &Header, packet: Packet<'_>, bytes: &[u8]) {
    count(d, header.operation);
    if belongs_to_a_generation(header.operation) && !in_our_generation(d, header) {
        return;
    }
    match packet {
        Packet::ReqCall(call) => calls::on_req_call(d, header, &call, bytes),
        Packet::ReplyCall(reply) => calls::on_reply_call(d, header, &reply, bytes),
        Packet::ReqDmaster(req) => calls::on_req_dmaster(d, header, &req, bytes),
        Packet::ReplyDmaster(reply) => calls::on_reply_dmaster(d, header, &reply, bytes),
        Packet::ReplyError(error) => calls::on_reply_error(d, header, &error),
        Packet::ReqMessage(m) => services::deliver(d, header.srcnode, m.srvid, m.data),
        Packet::ReqControl(control) => on_node_control(d, header, &control),
        Packet::ReplyControl(reply) => asks::on_reply(d, header.srcnode, header.reqid, &reply),
        Packet::Keepalive(k) => keepalive::on_keepalive(d, header.srcnode, k),
        Packet::Tunnel(tunnel) => on_tunnel(d, &tunnel),
    }
}

fn on_node_control(d: &Rc<Daemon>, header: &Header, control: &ReqControl<'_>) {
    let answer = if control.wants_reply() {
        Responder::to_node(d, header.srcnode, header.reqid)
    } else {
        Responder::to_nobody(d)
    };
    control::dispatch(d, &Asked::from_node(header, control), answer);
}

fn on_tunnel(d: &Rc<Daemon>, tunnel: &ReqTunnel<'_>) {
    match d.clients.tunnel(tunnel.tunnel_id) {
        Some(client) => client.send(d, &Packet::Tunnel(*tunnel), Reqid::NONE),
        None => log::debug!(
            "Packet for tunnel {:#x} dropped: nobody here serves it",
            tunnel.tunnel_id.0
        ),
    }
}

/// Calls and migrations carry the generation that they belong to; all else ignores it.
fn belongs_to_a_generation(operation: Operation) -> bool {
    matches!(
        operation,
        Operation::REQ_CALL | Operation::REPLY_CALL | Operation::REQ_DMASTER | Operation::REPLY_DMASTER
    )
}

fn in_our_generation(d: &Daemon, header: &Header) -> bool {
    if d.nodes.own_flags().contains(NodeFlags::BANNED) {
        log::debug!(
            "{} from node {} dropped: this node is banned",
            header.operation,
            header.srcnode
        );
        return false;
    }
    let ours = d.state.generation();
    if header.generation != ours {
        log::trace!(
            "{} from node {} dropped: its generation is {}, ours {ours}",
            header.operation,
            header.srcnode,
            header.generation
        );
        return false;
    }
    true
}

/// A packet on a client's connection. A malformed one is dropped, the client stays: what C's clients rely on.
pub fn on_client_packet(d: &Rc<Daemon>, client: &Rc<Client>, bytes: &[u8]) {
    let (header, packet) = match Packet::decode(bytes) {
        Ok(decoded) => decoded,
        Err(error) => {
            log::error!(
                "Packet of client {} (pid {}) dropped: {error}",
                client.id,
                client.pid
            );
            return;
        }
    };
    match packet {
        Packet::ReqCall(call) => on_client_call(d, client, header.reqid, &call, bytes),
        Packet::ReqMessage(message) => {
            d.stats.count(|s| s.client.req_message += 1);
            clients::on_message(d, header.destnode, &message);
        }
        Packet::ReqControl(control) => {
            d.stats.count(|s| s.client.req_control += 1);
            on_client_control(d, client, &header, &control);
        }
        Packet::Tunnel(tunnel) => {
            d.stats.count(|s| s.client.req_tunnel += 1);
            on_client_tunnel(d, header.destnode, tunnel);
        }
        _ => log::error!(
            "{} from client {} (pid {}) dropped: clients don't send these",
            header.operation,
            client.id,
            client.pid
        ),
    }
}

fn on_client_call(d: &Rc<Daemon>, client: &Rc<Client>, reqid: Reqid, call: &ReqCall<'_>, bytes: &[u8]) {
    d.stats.count(|s| s.client.req_call += 1);
    calls::on_client_call(d, client, reqid, call, bytes);
}

fn on_client_control(d: &Rc<Daemon>, client: &Rc<Client>, header: &Header, control: &ReqControl<'_>) {
    let to = if header.destnode == Pnn::CURRENT {
        d.me()
    } else {
        header.destnode
    };
    if to.is_broadcast() {
        if control.wants_reply() {
            log::error!(
                "{} from client {} (pid {}) to {to} dropped: only a control without reply can go to several nodes",
                control.head.opcode,
                client.id,
                client.pid
            );
            return;
        }
        d.send(
            to,
            &Packet::ReqControl(control.on_behalf_of(client.id)),
            header.reqid,
        );
        return;
    }
    if to != d.me() && d.nodes.get(to).is_some_and(|n| n.is_connected()) {
        asks::forward(
            d,
            &Forward {
                to,
                client: client.id,
                reqid: header.reqid,
                control,
            },
        );
        return;
    }
    let answer = if control.wants_reply() {
        Responder::to_client(d, client.id, header.reqid)
    } else {
        Responder::to_nobody(d)
    };
    if to == d.me() {
        control::dispatch(d, &Asked::from_client(d.me(), client, control), answer);
    } else {
        answer.fail(-1, "ctdb_control to disconnected node");
    }
}

fn on_client_tunnel(d: &Rc<Daemon>, to: Pnn, tunnel: ReqTunnel<'_>) {
    let known = to.index().is_some() && d.nodes.get(to).is_some();
    if known && d.clients.tunnel(tunnel.tunnel_id).is_some() {
        d.send(to, &Packet::Tunnel(tunnel), Reqid::NONE);
    } else {
        log::debug!("Tunnel packet to node {to} dropped: no such node, or tunnel not registered here");
    }
}

fn count(d: &Daemon, operation: Operation) {
    d.stats.count(|s| match operation {
        Operation::REQ_CALL => s.node.req_call += 1,
        Operation::REPLY_CALL => s.node.reply_call += 1,
        Operation::REQ_DMASTER => s.node.req_dmaster += 1,
        Operation::REPLY_DMASTER => s.node.reply_dmaster += 1,
        Operation::REPLY_ERROR => s.node.reply_error += 1,
        Operation::REQ_MESSAGE => s.node.req_message += 1,
        Operation::REQ_CONTROL => s.node.req_control += 1,
        Operation::REPLY_CONTROL => s.node.reply_control += 1,
        Operation::REQ_TUNNEL => s.node.req_tunnel += 1,
        _ => {}
    });
}
