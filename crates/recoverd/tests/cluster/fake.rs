//! Daemons that are no more than a socket and a shared idea of the cluster: what a recovery daemon asks is answered from
//! it, messages reach the other nodes' recovery daemons. The runtime is the virtual one, so that a test says "within
//! 100 ms" and means it.

use std::cell::{Cell, RefCell};
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use ctdb_conf::{Config, Paths, Tunables};
use ctdb_protocol::{
    Capabilities, DebugLevel, Generation, IfaceList, NodeAndFlags, NodeFlags, NodeMap, Opcode, Packet,
    PacketHeader, Pnn, PublicIpList, RecMode, Reply, ReplyControl, ReqControl, ReqMessage, Reqid, Request,
    Runstate, SockAddr, Srvid, VnnMap,
};
use ctdb_recoverd::Settings;
use ctdb_runtime::sync::{self, Receiver};
use ctdb_runtime::{Child, Class, Handle, Launch, Program, Sim, Task};
use ctdb_transport::{Connection, Flow, Limits, LinkKind};

const SOCKET: &str = "/run/ctdbd.socket";
/// What a recovery takes.
const HELPER_TIME: Duration = Duration::from_millis(5);

type Inbox = sync::Sender<(Srvid, Vec<u8>)>;

pub struct Node {
    pub alive: bool,
    /// Of all nodes, as this one sees them; its own entry is what it is.
    pub flags: Vec<NodeFlags>,
    pub recmode: RecMode,
    pub vnnmap: VnnMap,
    pub frozen: bool,
    inbox: Option<Inbox>,
    recoverd: Option<Child>,
    tasks: Vec<Task<()>>,
}

pub struct World {
    pub nodes: RefCell<Vec<Node>>,
    /// So many recoveries fail from now on.
    pub failures: Cell<u32>,
    /// Nodes that took part in each recovery.
    pub recoveries: RefCell<Vec<Vec<u32>>>,
    /// Messages to services of nobody: answers to a test.
    pub answers: RefCell<Vec<(Srvid, Vec<u8>)>>,
    /// The last LEADER heard on each node.
    pub leader: RefCell<Vec<Pnn>>,
    /// Controls of interest, in order.
    pub asked: RefCell<Vec<(Opcode, u32)>>,
}

pub struct Cluster {
    pub sim: Sim,
    pub world: Rc<World>,
    hosts: Vec<Handle>,
}

impl Cluster {
    /// Daemons that run, are connected and have been in no recovery yet; no recovery daemons.
    pub fn new(count: usize, seed: u64) -> Cluster {
        let mut sim = Sim::new(seed);
        let nodes = (0..count)
            .map(|_| Node {
                alive: true,
                flags: vec![NodeFlags::empty(); count],
                recmode: RecMode::Active,
                vnnmap: VnnMap {
                    generation: Generation::INVALID,
                    map: (0..count as u32).map(Pnn).collect(),
                },
                frozen: false,
                inbox: None,
                recoverd: None,
                tasks: Vec::new(),
            })
            .collect();
        let world = Rc::new(World {
            nodes: RefCell::new(nodes),
            failures: Cell::new(0),
            recoveries: RefCell::default(),
            answers: RefCell::default(),
            leader: RefCell::new(vec![Pnn::UNKNOWN; count]),
            asked: RefCell::default(),
        });
        let hosts = (0..count)
            .map(|n| {
                let host = sim.host(&format!("node{n}"), [10, 0, 0, n as u8 + 1].into());
                let name = format!("node{n}");
                sim.register_program(&name, "ctdb_recoverd", recovery_daemon);
                let helper = world.clone();
                sim.register_program(&name, "ctdb_recovery_helper", move |launch| {
                    recovery_helper(helper.clone(), launch)
                });
                serve(&world, &host, n);
                host
            })
            .collect();
        Cluster { sim, world, hosts }
    }

    /// Starts the recovery daemons of all nodes.
    pub fn start_all(&self) {
        (0..self.hosts.len()).for_each(|n| self.start(n));
    }

    pub fn start(&self, n: usize) {
        let child = self.hosts[n]
            .spawn_program(Program::new("ctdb_recoverd"))
            .unwrap();
        self.world.nodes.borrow_mut()[n].recoverd = Some(child);
    }

    /// The node, all at once, and what the others see of it.
    pub fn kill(&mut self, n: usize) {
        self.sim.crash(&format!("node{n}"));
        let mut nodes = self.world.nodes.borrow_mut();
        nodes[n].alive = false;
        for node in nodes.iter_mut() {
            node.flags[n] |= NodeFlags::DISCONNECTED;
        }
        drop(nodes);
        self.poke_all(1);
    }

    pub fn kill_recoverd(&self, n: usize) {
        let nodes = self.world.nodes.borrow();
        let child = nodes[n].recoverd.as_ref().unwrap();
        child.kill(ctdb_runtime::Signal::SIGKILL).unwrap();
    }

    /// The exit status of a recovery daemon after SIGTERM.
    pub fn terminate(&mut self, n: usize) -> Option<i32> {
        let child = self.world.nodes.borrow_mut()[n].recoverd.take().unwrap();
        child.kill(ctdb_runtime::Signal::SIGTERM).unwrap();
        self.sim
            .run_while_not(Duration::from_secs(1), || child.status().is_some());
        child.status().and_then(|status| status.code())
    }

    pub fn change_flags(&self, n: usize, flags: NodeFlags) {
        self.world.nodes.borrow_mut()[n].flags[n] = flags;
        self.world.deliver(n, Srvid::POKE, &4u32.to_le_bytes());
    }

    /// As `ctdb recover` on that node.
    pub fn ask_for_recovery(&self, n: usize) {
        self.world.set_recmode(n, RecMode::Active);
    }

    pub fn poke_all(&self, reasons: u32) {
        for n in 0..self.hosts.len() {
            self.world.deliver(n, Srvid::POKE, &reasons.to_le_bytes());
        }
    }

    /// Lets time pass until the condition holds; how long that was.
    #[track_caller]
    pub fn wait(&mut self, what: &str, within: Duration, condition: impl Fn(&World) -> bool) -> Duration {
        let (began, world) = (self.sim.now(), self.world.clone());
        let held = self.sim.run_while_not(within, || condition(&world));
        assert!(
            held,
            "not within {within:?}: {what}; leaders {:?}",
            world.leader.borrow()
        );
        self.sim.now() - began
    }

    pub fn run(&mut self, time: Duration) {
        self.sim.run_for(time);
    }
}

impl World {
    /// All active nodes work in one generation, and all nodes alive know the same leader.
    pub fn healthy(&self) -> bool {
        let nodes = self.nodes.borrow();
        let leaders = self.leader.borrow();
        let alive = || nodes.iter().enumerate().filter(|(_, node)| node.alive);
        let active: Vec<u32> = alive()
            .filter(|(n, node)| node.flags[*n].is_active())
            .map(|(n, _)| n as u32)
            .collect();
        let in_order = |n: &u32| {
            let node = &nodes[*n as usize];
            let map: Vec<u32> = node.vnnmap.map.iter().map(|pnn| pnn.0).collect();
            node.recmode == RecMode::Normal && map == active
        };
        let first = leaders[active[0] as usize];
        active.iter().all(in_order) && active.contains(&first.0) && alive().all(|(n, _)| leaders[n] == first)
    }

    pub fn leader(&self) -> usize {
        let alive = self.nodes.borrow().iter().position(|node| node.alive).unwrap();
        self.leader.borrow()[alive].0 as usize
    }

    /// A message for all who listen on the node.
    pub fn deliver(&self, n: usize, srvid: Srvid, data: &[u8]) {
        if srvid == Srvid::LEADER {
            let leader = Pnn(u32::from_le_bytes(data.try_into().unwrap()));
            self.leader.borrow_mut()[n] = leader;
        }
        if srvid.0 >> 56 == 0xCE {
            self.answers.borrow_mut().push((srvid, data.to_vec()));
        }
        let nodes = self.nodes.borrow();
        if let Some(inbox) = nodes[n].inbox.as_ref().filter(|_| nodes[n].alive) {
            // A node without a recovery daemon hears nothing.
            let _ = inbox.try_send((srvid, data.to_vec()));
        }
    }

    fn set_recmode(&self, n: usize, mode: RecMode) {
        let before = std::mem::replace(&mut self.nodes.borrow_mut()[n].recmode, mode);
        if before != mode && mode == RecMode::Active {
            self.deliver(n, Srvid::POKE, &2u32.to_le_bytes());
        }
    }

    fn send(&self, from: usize, to: Pnn, srvid: Srvid, data: &[u8]) {
        let targets: Vec<usize> = match to {
            Pnn::BROADCAST_ALL | Pnn::BROADCAST_CONNECTED | Pnn::BROADCAST_ACTIVE => {
                (0..self.nodes.borrow().len()).collect()
            }
            Pnn::CURRENT => vec![from],
            Pnn(n) => vec![n as usize],
        };
        let exists = |n: &usize| *n < self.nodes.borrow().len();
        targets
            .into_iter()
            .filter(exists)
            .for_each(|n| self.deliver(n, srvid, data));
    }

    fn control(&self, from: usize, to: Pnn, request: &Request<'_>) -> (i32, Vec<u8>) {
        let n = if to == Pnn::CURRENT { from } else { to.0 as usize };
        if !self.nodes.borrow().get(n).is_some_and(|node| node.alive) {
            return (-1, Vec::new());
        }
        let reply = |reply: Reply<'_>| {
            let mut data = Vec::new();
            reply.encode(&mut data);
            (0, data)
        };
        match request {
            Request::GetPnn => return (n as i32, Vec::new()),
            Request::GetRecmode => return (self.nodes.borrow()[n].recmode as i32, Vec::new()),
            Request::GetDebug => return reply(Reply::GetDebug(DebugLevel::DEBUG)),
            Request::GetAllTunables => {
                return reply(Reply::GetAllTunables(Box::new(Tunables::default().to_list())));
            }
            Request::GetRunstate => return reply(Reply::GetRunstate(Runstate::Running)),
            Request::GetCapabilities => {
                return reply(Reply::GetCapabilities(
                    Capabilities::RECMASTER | Capabilities::LMASTER,
                ));
            }
            Request::GetNodemap => return reply(Reply::GetNodemap(self.nodemap(n))),
            Request::GetVnnmap => return reply(Reply::GetVnnmap(self.nodes.borrow()[n].vnnmap.clone())),
            Request::GetReclockFile => return reply(Reply::GetReclockFile(None)),
            Request::GetIfaces => return reply(Reply::GetIfaces(IfaceList::default())),
            Request::GetPublicIps => return reply(Reply::GetPublicIps(PublicIpList::default())),
            Request::SetRecmode(mode) => self.set_recmode(n, *mode),
            Request::Freeze => self.nodes.borrow_mut()[n].frozen = true,
            Request::ModifyFlags(change) => {
                let place = change.pnn.0 as usize;
                if place != n {
                    self.nodes.borrow_mut()[n].flags[place] = change.new_flags;
                }
            }
            Request::SetBanState(state) if state.time_s > 0 => {
                self.nodes.borrow_mut()[n].flags[n] |= NodeFlags::BANNED;
            }
            _ => {}
        }
        self.asked.borrow_mut().push((request.opcode(), n as u32));
        (0, Vec::new())
    }

    fn nodemap(&self, n: usize) -> NodeMap {
        let flags = self.nodes.borrow()[n].flags.clone();
        let node = |(n, flags)| NodeAndFlags {
            pnn: Pnn(n),
            flags,
            addr: SockAddr::NONE,
        };
        NodeMap {
            nodes: (0..).zip(flags).map(node).collect(),
        }
    }
}

/// The socket of one daemon.
fn serve(world: &Rc<World>, host: &Handle, n: usize) {
    let listener = host.listen_unix(Path::new(SOCKET), 0o700, 10).unwrap();
    let (world, rt) = (world.clone(), host.clone());
    let accept = async move {
        while let Ok(stream) = listener.accept().await {
            let (inbox, messages) = sync::unbounded();
            let connection = Connection::new(&rt, stream, "recoverd", Limits::default());
            let (answers, seen) = (connection.sender(), world.clone());
            let on_packet = move |bytes: &[u8]| {
                packet(&seen, n, bytes, &answers);
                Flow::Continue
            };
            let mut connection = connection;
            connection.receive(Class::Normal, LinkKind::Client, on_packet, |_| {});
            let deliver = rt.spawn(deliver(connection, messages, n));
            let mut nodes = world.nodes.borrow_mut();
            nodes[n].inbox = Some(inbox);
            nodes[n].tasks.push(deliver);
        }
    };
    host.spawn(accept).detach();
}

async fn deliver(connection: Connection, mut messages: Receiver<(Srvid, Vec<u8>)>, n: usize) {
    while let Some((srvid, data)) = messages.recv().await {
        let head = PacketHeader::new(Generation(0), Pnn(n as u32), Pnn(n as u32), Reqid::NONE);
        let message = Packet::ReqMessage(ReqMessage { srvid, data: &data });
        // Its recovery daemon may be gone.
        let _ = connection.send_with(|out| message.encode(&head, out));
    }
}

fn packet(world: &World, n: usize, bytes: &[u8], answers: &ctdb_transport::Sender) {
    let (header, packet) = Packet::decode(bytes).unwrap();
    let to = header.destnode;
    match packet {
        Packet::ReqMessage(message) => world.send(n, to, message.srvid, message.data),
        Packet::ReqControl(control) => answer(world, n, &header, &control, answers),
        other => panic!("a recovery daemon sends no {}", other.operation()),
    }
}

fn answer(
    world: &World,
    n: usize,
    header: &ctdb_protocol::Header,
    control: &ReqControl<'_>,
    answers: &ctdb_transport::Sender,
) {
    let request = Request::decode(control.head.opcode, control.data).unwrap();
    let (status, data) = world.control(n, header.destnode, &request);
    if control.wants_reply() {
        let head = PacketHeader::new(Generation(0), header.destnode, Pnn(n as u32), header.reqid);
        let reply = Packet::ReplyControl(ReplyControl {
            status,
            data: &data,
            error: b"",
        });
        answers.send_with(|out| reply.encode(&head, out)).unwrap();
    }
}

async fn recovery_daemon(launch: Launch) -> i32 {
    let paths = Paths::in_base(Path::new("/nonexistent"));
    let config = Config::parse(Path::new("ctdb.conf"), b"", &paths).unwrap();
    let settings = Settings::new(paths, &config, None, Some(SOCKET.into()), |_| None);
    match ctdb_recoverd::run(&launch.handle, settings).await {
        Ok(code) => code.into(),
        Err(_) => 1,
    }
}

/// Recovers at once what there is to recover.
async fn recovery_helper(world: Rc<World>, launch: Launch) -> i32 {
    let argument = |n: usize| launch.args[n].to_str().unwrap().parse().unwrap();
    let generation = Generation(argument(4) as u32);
    launch.handle.sleep(HELPER_TIME).await;
    if world.failures.get() > 0 {
        world.failures.set(world.failures.get() - 1);
        return 1;
    }
    let active: Vec<u32> = {
        let nodes = world.nodes.borrow();
        (0..nodes.len())
            .filter(|&n| nodes[n].alive && nodes[n].flags[n].is_active())
            .map(|n| n as u32)
            .collect()
    };
    for &n in &active {
        world.set_recmode(n as usize, RecMode::Active);
    }
    for &n in &active {
        let mut nodes = world.nodes.borrow_mut();
        let node = &mut nodes[n as usize];
        node.recmode = RecMode::Normal;
        node.vnnmap = VnnMap {
            generation,
            map: active.iter().copied().map(Pnn).collect(),
        };
    }
    world.recoveries.borrow_mut().push(active);
    let output = launch.handle.inherited_stream(argument(2)).unwrap();
    output.write_all(&0i32.to_le_bytes()).await.unwrap();
    0
}
