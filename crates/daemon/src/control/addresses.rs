//! Public addresses: the answers of a node that has none configured. The controls are all here, so that other
//! nodes' takeover runs and the tool get what the C daemon without a public_addresses file answers.

use std::rc::Rc;

use ctdb_protocol::control::Reply;
use ctdb_protocol::{Iface, IfaceList, PublicIp, PublicIpList, SockAddr, Srvid};

use super::Asked;
use crate::events::{self, Event};
use crate::responder::Responder;
use crate::{Daemon, services};

/// Whether this node hosts a public address now.
pub fn any_hosted(_d: &Daemon) -> bool {
    false
}

/// Gives up every public address that this node hosts, because it may have been forgotten by the others.
pub fn release_all(d: &Daemon) {
    if !any_hosted(d) {
        log::debug!("No public address is hosted here: there is none to give up");
    }
}

/// GET_PUBLIC_IPS.
pub fn get_public_ips(answer: Responder) {
    answer.reply(&Reply::GetPublicIps(PublicIpList { ips: Vec::new() }));
}

/// GET_IFACES.
pub fn get_ifaces(answer: Responder) {
    answer.reply(&Reply::GetIfaces(IfaceList { ifaces: Vec::new() }));
}

/// TAKEOVER_IP: an address that is not configured here is nothing to do; one meant for another node is refused.
pub fn takeover_ip(d: &Rc<Daemon>, ip: &PublicIp, answer: Responder) {
    if ip.pnn != d.me() {
        log::error!(
            "Takeover of {} for node {} came to this node: refused",
            ip.addr,
            ip.pnn
        );
        return answer.refuse();
    }
    answer.ok();
}

/// RELEASE_IP of an address that is not configured here: nothing to do.
pub fn release_ip(answer: Responder) {
    answer.ok();
}

/// START_IPREALLOCATE: nothing runs before this node is up.
pub fn start_ipreallocate(d: &Rc<Daemon>, answer: Responder) {
    if d.state.runstate() < ctdb_protocol::Runstate::Running {
        return answer.ok();
    }
    around_reallocation(d, Event::StartIpReallocate, Srvid::START_IPREALLOCATE, answer);
}

/// IPREALLOCATED.
pub fn ipreallocated(d: &Rc<Daemon>, answer: Responder) {
    around_reallocation(d, Event::IpReallocated, Srvid::IPREALLOCATED, answer);
}

fn around_reallocation(d: &Rc<Daemon>, event: Event, told: Srvid, answer: Responder) {
    d.spawn(move |d| async move {
        let outcome = events::run(&d, event, "").await;
        services::deliver(&d, d.me(), told, &[]);
        answer.status(outcome.status());
    });
}

/// A control about an address that is not one of this node's public ones.
pub fn not_ours(asked: &Asked<'_>, address: SockAddr, status: i32, answer: Responder) {
    log::debug!(
        "{} from {}: {address} is not a public address of this node",
        asked.opcode,
        asked.sender()
    );
    answer.status(status);
}

/// SET_IFACE_LINK_STATE: no public address uses any interface.
pub fn unknown_iface(iface: &Iface, answer: Responder) {
    log::info!(
        "Link state of {}: no public address of this node uses this interface",
        iface.name.text()
    );
    answer.refuse();
}

/// TCP_CLIENT and its like: a connection to an address that is not public needs no care.
pub fn private_connection(answer: Responder) {
    answer.ok();
}

/// STARTUP: another node is up; it would be sent the tickle lists of the addresses hosted here.
pub fn startup(_d: &Rc<Daemon>, asked: &Asked<'_>, answer: Responder) {
    log::info!("Node {} is up", asked.srcnode);
    answer.ok();
}

/// RELOAD_PUBLIC_IPS: none before, none after.
pub fn reload(answer: Responder) {
    answer.ok();
}
