//! Services for clients: who listens, who lives, what is told when they go.

use std::rc::Rc;

use ctdb_protocol::{ClientId, NodeFlags, Pnn, Srvid, TunnelId};
use nix::errno::Errno;

use super::Asked;
use crate::Daemon;
use crate::clients::{self, Client};
use crate::responder::Responder;

/// REGISTER_SRVID. Only a client of this node can listen here.
pub fn register_srvid(d: &Rc<Daemon>, asked: &Asked<'_>, answer: Responder) {
    match asked.client {
        Some(client) => {
            d.services.register_client(asked.srvid, client);
            answer.ok();
        }
        None => refuse_remote(asked, answer),
    }
}

/// DEREGISTER_SRVID: ENOENT in the status when it was not registered.
pub fn deregister_srvid(d: &Rc<Daemon>, asked: &Asked<'_>, answer: Responder) {
    match asked.client {
        Some(client) if d.services.deregister_client(asked.srvid, client) => answer.ok(),
        Some(_) => answer.status(Errno::ENOENT as i32),
        None => refuse_remote(asked, answer),
    }
}

/// TUNNEL_REGISTER: one server for each tunnel.
pub fn tunnel_register(d: &Rc<Daemon>, asked: &Asked<'_>, answer: Responder) {
    let Some(client) = local(d, asked) else {
        return refuse_remote(asked, answer);
    };
    if d.clients.add_tunnel(&client, TunnelId(asked.srvid.0)) {
        answer.ok();
    } else {
        log::info!("Tunnel {:#x} is served by another client already", asked.srvid.0);
        answer.refuse();
    }
}

/// TUNNEL_DEREGISTER.
pub fn tunnel_deregister(d: &Rc<Daemon>, asked: &Asked<'_>, answer: Responder) {
    match local(d, asked) {
        Some(client) if d.clients.remove_tunnel(&client, TunnelId(asked.srvid.0)) => answer.ok(),
        Some(_) => answer.refuse(),
        None => refuse_remote(asked, answer),
    }
}

/// REGISTER_NOTIFY: `data` goes to `srvid` on every connected node when the client goes.
pub fn register_notify(d: &Rc<Daemon>, asked: &Asked<'_>, srvid: Srvid, data: &[u8], answer: Responder) {
    let Some(client) = local(d, asked) else {
        return refuse_remote(asked, answer);
    };
    let mut notifications = client.notifications.borrow_mut();
    if notifications.contains_key(&srvid.0) {
        log::info!("Client {} has a notification for {srvid} already", client.id);
        return answer.refuse();
    }
    notifications.insert(srvid.0, data.to_vec());
    answer.ok();
}

/// DEREGISTER_NOTIFY.
pub fn deregister_notify(d: &Rc<Daemon>, asked: &Asked<'_>, srvid: Srvid, answer: Responder) {
    match local(d, asked) {
        Some(client) if client.notifications.borrow_mut().remove(&srvid.0).is_some() => answer.ok(),
        Some(_) => answer.refuse(),
        None => refuse_remote(asked, answer),
    }
}

/// PROCESS_EXISTS: only processes that are clients of this node count. On an inactive node such a client is
/// sent away instead: it must not go on serving.
pub fn process_exists(d: &Rc<Daemon>, pid: i32, answer: Responder) {
    if d.clients.of_pid(pid).is_empty() {
        return answer.refuse();
    }
    if d.nodes.own_flags().intersects(NodeFlags::INACTIVE) {
        clients::close_pid(d, pid, "this node is inactive");
        return answer.refuse();
    }
    answer.status(if ctdb_runtime::sys::process_exists(pid) {
        0
    } else {
        -1
    });
}

/// CHECK_PID_SRVID: does a client with this pid listen to this srvid?
pub fn check_pid_srvid(d: &Rc<Daemon>, pid: i32, srvid: Srvid, answer: Responder) {
    let listens = d
        .clients
        .of_pid(pid)
        .iter()
        .any(|c| d.services.has_client(srvid, c.id));
    answer.status(if listens { 0 } else { -1 });
}

/// START_PERSISTENT_UPDATE and its CANCEL: obsolete, but a client that goes in between still asks for a recovery.
pub fn persistent_update(d: &Rc<Daemon>, asked: &Asked<'_>, begins: bool, answer: Responder) {
    if let Some(client) = local(d, asked) {
        let open = client.persistent_updates.get();
        client
            .persistent_updates
            .set(if begins { open + 1 } else { open.saturating_sub(1) });
    }
    answer.ok();
}

fn local(d: &Daemon, asked: &Asked<'_>) -> Option<Rc<Client>> {
    d.clients.get(asked.client.unwrap_or(ClientId::DAEMON))
}

fn refuse_remote(asked: &Asked<'_>, answer: Responder) {
    log::error!(
        "{} from {} refused: only a client of this node can ask for it",
        asked.opcode,
        asked.sender()
    );
    answer.refuse();
}

/// ECHO_DATA: the same back.
pub fn echo(data: &[u8], answer: Responder) {
    answer.data(data);
}

/// PING: number of clients in the status.
pub fn ping(d: &Rc<Daemon>, answer: Responder) {
    answer.status(i32::try_from(d.clients.count()).unwrap_or(i32::MAX));
}

/// GET_PNN.
pub fn get_pnn(d: &Rc<Daemon>, answer: Responder) {
    let Pnn(pnn) = d.me();
    answer.status(pnn as i32);
}
