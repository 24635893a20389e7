//! Programs on this node that are connected to the unix socket: smbd, the tool, the recovery daemon.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use ctdb_protocol::packet::{Packet, ReqMessage};
use ctdb_protocol::{ClientId, PacketHeader, Pnn, Reqid, Srvid, TunnelId};
use ctdb_runtime::{Class, Listener, Stream};
use ctdb_transport::{Connection, Flow, Limits, LinkKind, Sender};

use crate::{Daemon, calls, commit, dispatch, services, traverse};

/// One connection.
pub struct Client {
    /// Its number on this node; never 0.
    pub id: ClientId,
    /// Its process, as the kernel tells.
    pub pid: i32,
    connection: RefCell<Option<Connection>>,
    /// What to tell to whom when it goes: srvid → data.
    pub notifications: RefCell<BTreeMap<u64, Vec<u8>>>,
    /// Tunnels it serves.
    pub tunnels: RefCell<BTreeSet<TunnelId>>,
    /// START_PERSISTENT_UPDATE without its CANCEL (obsolete, still counted).
    pub persistent_updates: Cell<u32>,
}

impl Client {
    /// Sends a packet under the vnnmap's generation. Goes nowhere when the client is closing.
    pub fn send(&self, d: &Daemon, packet: &Packet<'_>, reqid: Reqid) {
        let header = self.header(d, reqid);
        self.send_encoded(d, |out| packet.encode(&header, out));
    }

    /// A daemon names node 0 as destination of everything it tells a client.
    fn header(&self, d: &Daemon, reqid: Reqid) -> PacketHeader {
        PacketHeader::new(d.state.generation(), d.me(), Pnn(0), reqid)
    }

    fn send_encoded(&self, d: &Daemon, encode: impl FnOnce(&mut Vec<u8>)) {
        if let Some(connection) = &*self.connection.borrow() {
            d.stats.count(|s| s.client_packets_sent += 1);
            if connection.send_with(encode).is_err() {
                // Without this answer it would wait for ever: it has to start over.
                connection.close("it does not read what it is sent");
            }
        }
    }

    /// A message that the client has asked for. One that doesn't read loses its connection, so that
    /// what is kept for it has a bound.
    pub fn deliver_message(&self, d: &Daemon, srvid: Srvid, data: &[u8]) {
        self.deliver_in_place(d, srvid, |out| out.extend_from_slice(data));
    }

    /// The same with data that `fill` writes straight into the output.
    pub fn deliver_in_place(&self, d: &Daemon, srvid: Srvid, fill: impl FnOnce(&mut Vec<u8>)) {
        let queued = self.queued_packets();
        if queued > d.tunables.borrow().max_queue_drop_msg() as usize {
            log::error!(
                "Client {} (pid {}) does not read: {queued} packets wait for it (MaxQueueDropMsg): closed",
                self.id,
                self.pid
            );
            self.close("it does not read its messages");
            return;
        }
        let header = self.header(d, Reqid::NONE);
        self.send_encoded(d, |out| ReqMessage::encode_packet(&header, srvid, out, fill));
    }

    /// Packets that wait to be read by the client.
    pub fn queued_packets(&self) -> usize {
        self.connection
            .borrow()
            .as_ref()
            .map_or(0, |c| c.queued_packets())
    }

    /// For bulk data: what is queued can be waited for.
    pub fn sender(&self) -> Option<Sender> {
        self.connection.borrow().as_ref().map(|c| c.sender())
    }

    /// Ends the connection; the clean-up follows when it is gone.
    pub fn close(&self, why: &'static str) {
        if let Some(connection) = &*self.connection.borrow() {
            connection.close(why);
        }
    }
}

/// All clients by number.
#[derive(Default)]
pub struct Clients {
    by_id: RefCell<BTreeMap<u32, Rc<Client>>>,
    tunnels: RefCell<BTreeMap<TunnelId, ClientId>>,
}

impl Clients {
    /// The client of that number, if it is still there.
    pub fn get(&self, id: ClientId) -> Option<Rc<Client>> {
        self.by_id.borrow().get(&id.0).cloned()
    }

    /// How many are connected (what PING answers).
    pub fn count(&self) -> usize {
        self.by_id.borrow().len()
    }

    /// Every connection of a process.
    pub fn of_pid(&self, pid: i32) -> Vec<Rc<Client>> {
        self.by_id
            .borrow()
            .values()
            .filter(|c| c.pid == pid)
            .cloned()
            .collect()
    }

    /// Registers a tunnel; false when somebody serves it already.
    pub fn add_tunnel(&self, client: &Client, id: TunnelId) -> bool {
        let free = !self.tunnels.borrow().contains_key(&id);
        if free {
            self.tunnels.borrow_mut().insert(id, client.id);
            client.tunnels.borrow_mut().insert(id);
        }
        free
    }

    /// Ends a tunnel; false when the client did not serve it.
    pub fn remove_tunnel(&self, client: &Client, id: TunnelId) -> bool {
        let mine = client.tunnels.borrow_mut().remove(&id);
        if mine {
            self.tunnels.borrow_mut().remove(&id);
        }
        mine
    }

    /// Who serves a tunnel here.
    pub fn tunnel(&self, id: TunnelId) -> Option<Rc<Client>> {
        let client = self.tunnels.borrow().get(&id).copied()?;
        self.get(client)
    }
}

/// Takes connections for the life of the daemon.
pub async fn accept(d: Rc<Daemon>, listener: Listener) {
    loop {
        match listener.accept().await {
            Ok(stream) => start(&d, stream),
            Err(error) => {
                log::error!("Cannot take a connection on the client socket: {error}");
                d.rt.sleep(std::time::Duration::from_millis(100)).await;
            }
        }
    }
}

fn start(d: &Rc<Daemon>, stream: Stream) {
    let pid = stream.peer_cred().map_or(-1, |c| c.pid);
    let id = next_id(d);
    let client = Rc::new(Client {
        id,
        pid,
        connection: RefCell::new(None),
        notifications: RefCell::default(),
        tunnels: RefCell::default(),
        persistent_updates: Cell::new(0),
    });
    d.clients.by_id.borrow_mut().insert(id.0, client.clone());
    log::trace!("Client {id} (pid {pid}) connected");
    let name = format!("client {id} (pid {pid})");
    let (on_packet, on_close) = (d.clone(), d.clone());
    let (reader, closer) = (client.clone(), client.clone());
    // The recovery daemon steers the cluster: it is served before record traffic.
    let class = if d.recoverd.is_pid(pid) {
        Class::Urgent
    } else {
        Class::Normal
    };
    let connection = Connection::start(
        &d.rt,
        stream,
        &name,
        class,
        LinkKind::Client,
        Limits::default(),
        move |packet| {
            on_packet.stats.count(|s| s.client_packets_recv += 1);
            dispatch::on_client_packet(&on_packet, &reader, packet);
            Flow::Continue
        },
        move |closed| gone(&on_close, &closer, &closed.reason.to_string()),
    );
    *client.connection.borrow_mut() = Some(connection);
}

fn next_id(d: &Daemon) -> ClientId {
    loop {
        let id = ClientId(d.asks.next_reqid().0);
        if d.clients.get(id).is_none() {
            return id;
        }
    }
}

/// Clean-up, in the order of `daemon.md` §4.
fn gone(d: &Rc<Daemon>, client: &Rc<Client>, why: &str) {
    log::trace!("Client {} (pid {}) has gone: {why}", client.id, client.pid);
    d.clients.by_id.borrow_mut().remove(&client.id.0);
    client.connection.borrow_mut().take();
    let in_commit = commit::client_gone(d, client.id);
    if in_commit || client.persistent_updates.get() > 0 {
        log::warn!(
            "Client {} (pid {}) went away in the middle of a persistent transaction: a recovery will settle it",
            client.id,
            client.pid
        );
        crate::recovery::mode::want_recovery(d, "a client was lost during a persistent transaction");
    }
    calls::client_gone(d, client.id);
    traverse::client_gone(d, client.id);
    d.deferred_attaches.client_gone(client.id);
    d.services.forget_client(client.id);
    for tunnel in client.tunnels.take() {
        d.clients.tunnels.borrow_mut().remove(&tunnel);
    }
    for (srvid, data) in client.notifications.take() {
        d.send_message(Pnn::BROADCAST_CONNECTED, Srvid(srvid), &data);
    }
}

/// Closes every client connection of a process: what smbd on an inactive node is told to expect.
pub fn close_pid(d: &Rc<Daemon>, pid: i32, why: &'static str) {
    for client in d.clients.of_pid(pid) {
        client.close(why);
    }
}

/// A message sent by a client: to listeners here, to another node, or to several.
pub fn on_message(d: &Rc<Daemon>, to: Pnn, message: &ReqMessage<'_>) {
    if to == Pnn::CURRENT || to == d.me() {
        services::deliver(d, d.me(), message.srvid, message.data);
    } else {
        d.send(to, &Packet::ReqMessage(*message), Reqid::NONE);
    }
}
