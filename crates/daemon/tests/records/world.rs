//! Daemons in this process, linked by TCP on loopback addresses, with clients on unix sockets and lock helpers
//! that are this very program, started again.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use ctdb_conf::{Config, NodesFile, Paths, Tunables};
use ctdb_daemon::databases::{Database, DbKind};
use ctdb_daemon::start::{Prepared, build};
use ctdb_daemon::{Daemon, attach, clients, health, links};
use ctdb_lockhelper::protocol::{Frame, HEAD_LEN, Head, Reply, Request as LockRequest};
use ctdb_protocol::control::Request;
use ctdb_protocol::packet::{Packet, ReqCall};
use ctdb_protocol::{
    CallFlags, CallId, ControlHead, DbId, Generation, Header, LtdbHeader, PacketHeader, Pnn, RecMode, Reqid,
    Rsn, Runstate, Srvid, TunnelId, VnnMap,
};
use ctdb_runtime::{Child, Handle, Program, Runtime, Stream};
use ctdb_tdb::StoreMode;

/// Longest time that anything here may take.
pub const LIMIT: Duration = Duration::from_secs(20);
/// The generation that all daemons are in.
pub const GENERATION: Generation = Generation(1000);

/// Each world has its own addresses, so that tests of several runs don't meet.
static WORLDS: AtomicU8 = AtomicU8::new(0);

/// Some daemons.
pub struct World {
    runtime: Runtime,
    pub daemons: Vec<Rc<Daemon>>,
    _dir: tempfile::TempDir,
}

impl World {
    /// `n` daemons that are up, linked, in one generation and without databases.
    pub fn new(n: u8) -> World {
        let dir = tempfile::tempdir().unwrap();
        let runtime = Runtime::new().unwrap();
        let (pid, world) = (std::process::id(), WORLDS.fetch_add(1, Ordering::Relaxed));
        let ip = |i: u8| Ipv4Addr::new(127, 64 + (pid >> 8) as u8 % 64, pid as u8, world % 60 * 4 + i + 1);
        let nodes: String = (0..n).map(|i| format!("{}\n", ip(i))).collect();
        let daemons = (0..n).map(|i| daemon(&runtime.handle(), &dir.path().join(i.to_string()), &nodes, i));
        let world = World {
            daemons: daemons.collect(),
            runtime,
            _dir: dir,
        };
        world.run(async {
            for d in &world.daemons {
                links::connect_all(d);
            }
            world
                .until("all are linked", || {
                    world
                        .daemons
                        .iter()
                        .all(|d| d.nodes.connected().len() == n.into())
                })
                .await;
        });
        world
    }

    /// Runs `future` with all daemons.
    pub fn run<T>(&self, future: impl Future<Output = T>) -> T {
        let rt = self.rt();
        self.runtime
            .block_on(async { rt.timeout(LIMIT, future).await.expect("the test takes too long") })
    }

    pub fn rt(&self) -> Handle {
        self.runtime.handle()
    }

    /// Waits until something holds.
    pub async fn until(&self, what: &str, mut holds: impl FnMut() -> bool) {
        let rt = self.rt();
        let end = rt.now() + LIMIT;
        while !holds() {
            assert!(rt.now() < end, "does not come about: {what}");
            rt.sleep(Duration::from_millis(1)).await;
        }
    }

    /// Attaches a database on every node.
    pub async fn attach(&self, name: &str, kind: DbKind) -> DbId {
        for d in &self.daemons {
            attach::open(d, name, kind).await.unwrap();
        }
        DbId::of_name(name.as_bytes())
    }

    pub fn db(&self, node: usize, id: DbId) -> Rc<Database> {
        self.daemons[node].databases.get(id).expect("it was attached")
    }

    /// A key whose location master is this node.
    pub fn key_of(&self, lmaster: u32) -> Vec<u8> {
        self.keys_of(lmaster).next().expect("there are many keys")
    }

    /// Keys whose location master is this node.
    pub fn keys_of(&self, lmaster: u32) -> impl Iterator<Item = Vec<u8>> {
        let keys = (0..).map(|n: u32| format!("key {n}").into_bytes());
        keys.filter(move |key| self.daemons[0].state.lmaster(key) == Pnn(lmaster))
    }

    /// What a node has of a record.
    pub fn record(&self, node: usize, id: DbId, key: &[u8]) -> Option<(LtdbHeader, Vec<u8>)> {
        let data = self.db(node, id).tdb.fetch(key).unwrap()?;
        LtdbHeader::split(&data).map(|(header, data)| (header, data.to_vec()))
    }

    /// Writes a record as smbd does: header unchanged.
    pub fn write(&self, node: usize, id: DbId, key: &[u8], data: &[u8]) {
        let db = self.db(node, id);
        let (header, _) = self
            .record(node, id, key)
            .expect("smbd writes only records that are here");
        db.tdb
            .store_vectored(key, &[&header.to_bytes(), data], StoreMode::Replace)
            .unwrap();
    }

    pub async fn client(&self, node: usize) -> Client {
        let d = &self.daemons[node];
        let stream =
            d.rt.connect_unix(&d.settings.paths.socket("ctdbd"))
                .await
                .unwrap();
        Client {
            stream,
            last: 0,
            came: VecDeque::new(),
        }
    }

    /// A process that holds the chain of a key, as a stopped smbd would.
    pub async fn hold_chain(&self, node: usize, id: DbId, key: &[u8]) -> Holder {
        let db = self.db(node, id);
        let mut holder = Holder::start(&self.rt());
        holder
            .order(&LockRequest::LockRecord {
                db: db.for_helper(&self.daemons[node]),
                key,
            })
            .await;
        holder
    }
}

fn daemon(rt: &Handle, base: &Path, nodes: &str, i: u8) -> Rc<Daemon> {
    for directory in ["run", "var", "volatile", "persistent", "state", "helpers"] {
        std::fs::create_dir_all(base.join(directory)).unwrap();
    }
    symlink(
        std::env::current_exe().unwrap(),
        base.join("helpers/ctdb_lock_helper"),
    )
    .unwrap();
    let mut paths = Paths::in_base(base);
    paths.helper_dir = base.join("helpers");
    let text = format!(
        "[database]\nvolatile database directory = {0}/volatile\npersistent database directory = {0}/persistent\n\
         state database directory = {0}/state\n",
        base.display()
    );
    let config = Config::parse(Path::new("test"), text.as_bytes(), &paths).unwrap();
    let nodes = NodesFile::parse(Path::new("nodes"), nodes.as_bytes(), 4379)
        .unwrap()
        .nodes;
    let address: SocketAddr = nodes[usize::from(i)].address().unwrap();
    let socket = paths.socket("ctdbd");
    let prepared = Prepared {
        paths,
        config,
        tunables: Tunables::default(),
        cluster_lock: None,
        nodes,
        interactive: true,
        fixed_version: None,
    };
    let d = build(rt.clone(), prepared, Pnn(i.into()), address).unwrap();
    let map = d.state.vnnmap().map;
    d.state.set_vnnmap(VnnMap {
        generation: GENERATION,
        map,
    });
    d.state.set_recmode(RecMode::Normal);
    d.state.set_runstate(Runstate::Running);
    let (to_clients, to_nodes) = (
        rt.listen_unix(&socket, 0o700, 100).unwrap(),
        rt.listen_tcp(address).unwrap(),
    );
    d.spawn_urgent(|d| clients::accept(d, to_clients));
    d.spawn_urgent(|d| links::accept(d, to_nodes));
    d.spawn_urgent(|d| async move { health::open(&d).await.unwrap() });
    d
}

/// A program on the unix socket of a daemon.
pub struct Client {
    stream: Stream,
    last: u32,
    /// Messages and tunnel packets that came while an answer was waited for.
    came: VecDeque<Told>,
}

/// What a daemon tells a client unasked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// Service and data.
    Message(Srvid, Vec<u8>),
    /// Id, flags and data.
    Tunnel(TunnelId, u32, Vec<u8>),
}

impl Client {
    /// Sends a call; the number to await its answer by.
    pub async fn send_call(&mut self, db_id: DbId, key: &[u8], callid: CallId) -> Reqid {
        let flags = if callid == CallId::NULL {
            CallFlags::IMMEDIATE_MIGRATION
        } else {
            CallFlags::empty()
        };
        self.send(&Packet::ReqCall(ReqCall {
            flags,
            db_id,
            callid,
            hopcount: 0,
            key,
            calldata: b"",
        }))
        .await
    }

    /// Asks for a copy to read from, as smbd does.
    pub async fn send_read(&mut self, db_id: DbId, key: &[u8]) -> Reqid {
        self.send(&Packet::ReqCall(ReqCall {
            flags: CallFlags::WANT_READONLY,
            db_id,
            callid: CallId::FETCH,
            hopcount: 0,
            key,
            calldata: b"",
        }))
        .await
    }

    /// Gets a copy to read from: status and data.
    pub async fn read_copy(&mut self, db: DbId, key: &[u8]) -> (i32, Vec<u8>) {
        let reqid = self.send_read(db, key).await;
        self.answer_to(reqid).await
    }

    /// Calls and waits for the answer: status and data.
    pub async fn call(&mut self, db: DbId, key: &[u8], callid: CallId) -> (i32, Vec<u8>) {
        let reqid = self.send_call(db, key, callid).await;
        self.answer_to(reqid).await
    }

    pub async fn send_control(&mut self, request: &Request<'_>) -> Reqid {
        self.send_control_to(Pnn::CURRENT, Srvid(0), request).await
    }

    async fn send_control_to(&mut self, to: Pnn, srvid: Srvid, request: &Request<'_>) -> Reqid {
        let mut data = Vec::new();
        request.encode(&mut data);
        let head = ControlHead::new(request.opcode()).with_srvid(srvid);
        self.send_to(to, &Packet::ReqControl(head.with_data(&data))).await
    }

    /// A control to any node: the status.
    pub async fn control_to(&mut self, to: Pnn, request: &Request<'_>) -> i32 {
        let reqid = self.send_control_to(to, Srvid(0), request).await;
        self.answer_to(reqid).await.0
    }

    /// A control about a service or tunnel: the status.
    pub async fn control_about(&mut self, srvid: Srvid, request: &Request<'_>) -> i32 {
        let reqid = self.send_control_to(Pnn::CURRENT, srvid, request).await;
        self.answer_to(reqid).await.0
    }

    pub async fn listen(&mut self, at: Srvid) {
        assert_eq!(self.control_about(at, &Request::RegisterSrvid).await, 0);
    }

    /// A control to the own node: status and data.
    pub async fn control(&mut self, request: &Request<'_>) -> (i32, Vec<u8>) {
        let reqid = self.send_control(request).await;
        self.answer_to(reqid).await
    }

    async fn send(&mut self, packet: &Packet<'_>) -> Reqid {
        self.send_to(Pnn::CURRENT, packet).await
    }

    pub async fn send_to(&mut self, to: Pnn, packet: &Packet<'_>) -> Reqid {
        self.last += 1;
        let mut out = Vec::new();
        packet.encode(
            &PacketHeader::new(Generation(0), Pnn(0), to, Reqid(self.last)),
            &mut out,
        );
        self.stream.write_all(&out).await.unwrap();
        Reqid(self.last)
    }

    /// The next answer, which must be that one. Messages that come before are kept.
    pub async fn answer_to(&mut self, reqid: Reqid) -> (i32, Vec<u8>) {
        loop {
            let bytes = self.read().await;
            let (header, packet) = Packet::decode(&bytes).unwrap();
            let (status, data) = match packet {
                Packet::ReplyCall(reply) => (reply.status, reply.data),
                Packet::ReplyControl(reply) => (reply.status, reply.data),
                other => {
                    self.came.push_back(told(&other));
                    continue;
                }
            };
            assert_eq!(
                header.reqid, reqid,
                "answers come in the order of what the test waits for"
            );
            return (status, data.to_vec());
        }
    }

    /// The next message or tunnel packet.
    pub async fn told(&mut self) -> Told {
        if let Some(first) = self.came.pop_front() {
            return first;
        }
        let bytes = self.read().await;
        told(&Packet::decode(&bytes).unwrap().1)
    }

    /// Waits for the end of the connection; what comes before is dropped.
    pub async fn closed(&mut self) {
        let mut bytes = [0; 1024];
        while !matches!(self.stream.read(&mut bytes).await, Ok(0) | Err(_)) {}
    }

    async fn read(&mut self) -> Vec<u8> {
        let mut bytes = vec![0; 4];
        self.stream.read_exact(&mut bytes).await.unwrap();
        let length = Header::peek_length(&bytes).unwrap() as usize;
        bytes.resize(length, 0);
        self.stream.read_exact(&mut bytes[4..]).await.unwrap();
        bytes
    }
}

fn told(packet: &Packet<'_>) -> Told {
    match packet {
        Packet::ReqMessage(message) => Told::Message(message.srvid, message.data.to_vec()),
        Packet::Tunnel(tunnel) => Told::Tunnel(tunnel.tunnel_id, tunnel.flags.bits(), tunnel.data.to_vec()),
        other => panic!("nothing that a client is told: {other:?}"),
    }
}

/// Another process that has database files open.
pub struct Holder {
    stream: Stream,
    _child: Child,
}

impl Holder {
    fn start(rt: &Handle) -> Holder {
        let mut program = Program::new(std::env::current_exe().unwrap());
        let socket = program.socket_to_child();
        let program = program.arg("--pool").arg_pipe(socket).arg(rt.pid().to_string());
        let mut child = rt.spawn_program(program).unwrap();
        let stream = child.take_pipe(socket).unwrap();
        Holder {
            stream,
            _child: child,
        }
    }

    async fn order(&mut self, request: &LockRequest<'_>) {
        let mut out = Vec::new();
        request.encode(&mut out).unwrap();
        self.stream.write_all(&out).await.unwrap();
        let mut head = [0; HEAD_LEN];
        self.stream.read_exact(&mut head).await.unwrap();
        let head = Head::decode(head).unwrap();
        let mut body = vec![0; head.body_len];
        self.stream.read_exact(&mut body).await.unwrap();
        assert_eq!(Reply::decode(Frame { head, body: &body }).unwrap(), Reply::Ok);
    }

    /// Lets go of the chain.
    pub async fn release(mut self) {
        self.order(&LockRequest::UnlockRecord).await;
    }
}

/// A header as tests compare it.
pub fn header(rsn: u64, dmaster: u32) -> (Rsn, Pnn) {
    (Rsn(rsn), Pnn(dmaster))
}

/// Where a persistent file of a node is.
pub fn persistent_file(d: &Daemon, name: &str) -> PathBuf {
    d.settings
        .config
        .database
        .persistent_dir
        .join(format!("{name}.{}", d.me()))
}
