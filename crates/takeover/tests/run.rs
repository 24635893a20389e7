//! Takeover runs against a daemon that answers as it is told, in virtual time.
#![allow(clippy::unwrap_used)] // In the helpers of the tests, as in the tests: a failure shows its line.

use std::cell::RefCell;
use std::net::IpAddr;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use ctdb_client::Client;
use ctdb_protocol::{
    ControlFlags, Generation, Header, Message, NodeAndFlags, NodeFlags, NodeMap, Packet, PacketHeader, Pnn,
    PublicIp, PublicIpList, Reply, ReplyControl, ReqControl, Request, SockAddr, TunableList,
};
use ctdb_runtime::{Class, Handle, Listener, Sim};
use ctdb_takeover::Failed;
use ctdb_takeover::run::{Options, run};
use ctdb_transport::{Connection, Flow, Limits, LinkKind};

const SOCKET: &str = "/run/ctdbd.socket";

/// What a node does when it is asked.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Does {
    Status(i32),
    Nothing,
    Garbage,
    /// It is banned at that moment, and does not answer any more.
    GetsBanned,
}

/// A cluster as the daemon of node 0 tells it.
struct World {
    flags: Vec<NodeFlags>,
    tunables: TunableList,
    /// Who hosts each address; all nodes know all, and active ones could have all.
    addresses: Vec<(IpAddr, Option<u32>)>,
    /// `RELEASE_IP 1`: what node 1 does when it is to release.
    exceptions: Vec<(String, Does)>,
    /// Everything that was asked and told: `RELEASE_IP 1: 10.0.0.1 0` is node 1 being told that node 0 is to have it.
    heard: Vec<String>,
}

impl World {
    fn new(nodes: usize) -> World {
        let tunables = TunableList {
            takeover_timeout: 9,
            enable_bans: 1,
            ip_alloc_algorithm: 2,
            ..TunableList::default()
        };
        World {
            flags: vec![NodeFlags::empty(); nodes],
            tunables,
            addresses: Vec::new(),
            exceptions: Vec::new(),
            heard: Vec::new(),
        }
    }

    fn address(mut self, ip: &str, host: Option<u32>) -> World {
        self.addresses.push((ip.parse().unwrap(), host));
        self
    }

    fn flags(mut self, node: usize, flags: NodeFlags) -> World {
        self.flags[node] = flags;
        self
    }

    fn when(mut self, what: &str, does: Does) -> World {
        self.exceptions.push((what.to_owned(), does));
        self
    }

    /// Status and data of the answer, if there is one.
    fn control(&mut self, to: Pnn, control: &ReqControl<'_>) -> Option<(i32, Vec<u8>)> {
        let request = control.request().unwrap();
        let what = format!("{} {to}", control.head.opcode);
        let about = match &request {
            Request::ReleaseIp(ip) | Request::TakeoverIp(ip) => {
                let owner = if ip.pnn == Pnn::UNKNOWN {
                    "nobody".to_owned()
                } else {
                    ip.pnn.to_string()
                };
                format!(": {} {owner}", ip.addr.ip().unwrap())
            }
            Request::GetPublicIps if only_available(control) => " available".to_owned(),
            _ => String::new(),
        };
        self.heard.push(format!("{what}{about}"));
        let exception = self.exceptions.iter().find(|(exception, _)| *exception == what);
        match exception.map(|(_, does)| *does) {
            Some(Does::Status(status)) => return Some((status, Vec::new())),
            Some(Does::Nothing) => return None,
            Some(Does::Garbage) => return Some((0, vec![1])),
            Some(Does::GetsBanned) => {
                self.flags[to.0 as usize] |= NodeFlags::BANNED;
                return None;
            }
            None => {}
        }
        let (status, reply) = match request {
            Request::GetPnn => (0, Reply::Empty),
            Request::GetAllTunables => (0, Reply::GetAllTunables(Box::new(self.tunables))),
            Request::GetNodemap => (0, Reply::GetNodemap(self.nodemap())),
            Request::GetPublicIps => (
                0,
                Reply::GetPublicIps(self.public_ips(to, only_available(control))),
            ),
            _ => (0, Reply::Empty),
        };
        let mut data = Vec::new();
        reply.encode(&mut data);
        Some((status, data))
    }

    fn nodemap(&self) -> NodeMap {
        let nodes = (0..).map(Pnn).zip(&self.flags);
        let node = |(pnn, &flags)| NodeAndFlags {
            pnn,
            flags,
            addr: SockAddr::NONE,
        };
        NodeMap {
            nodes: nodes.map(node).collect(),
        }
    }

    fn public_ips(&self, of: Pnn, only_available: bool) -> PublicIpList {
        let serves = self.flags[of.0 as usize].is_empty();
        let ips = self.addresses.iter().map(|&(ip, host)| PublicIp {
            pnn: host.map_or(Pnn::UNKNOWN, Pnn),
            addr: ip.into(),
        });
        PublicIpList {
            ips: ips.filter(|_| serves || !only_available).collect(),
        }
    }
}

fn only_available(control: &ReqControl<'_>) -> bool {
    control
        .head
        .flags
        .contains(ControlFlags::PUBLIC_IP_ONLY_AVAILABLE)
}

/// The daemon of node 0: one connection, until it is closed.
async fn serve(handle: Handle, listener: Listener, world: Rc<RefCell<World>>) {
    let stream = listener.accept().await.unwrap();
    let mut connection = Connection::new(&handle, stream, "helper", Limits::default());
    let sender = connection.sender();
    let on_packet = move |bytes: &[u8]| {
        let (header, packet) = Packet::decode(bytes).unwrap();
        match packet {
            Packet::ReqControl(control) => {
                let to = if header.destnode == Pnn::CURRENT {
                    Pnn(0)
                } else {
                    header.destnode
                };
                if let Some((status, data)) = world.borrow_mut().control(to, &control) {
                    let head = answer_head(&header, to);
                    let encode = |out: &mut Vec<u8>| {
                        ReplyControl::encode_packet(&head, status, b"", out, |out| out.extend(&data));
                    };
                    sender.send_with(encode).unwrap();
                }
            }
            Packet::ReqMessage(message) => {
                let said = Message::decode(message.srvid, message.data).unwrap();
                world
                    .borrow_mut()
                    .heard
                    .push(format!("message to {}: {said:?}", header.destnode));
            }
            other => panic!("{}", other.operation()),
        }
        Flow::Continue
    };
    connection.receive(Class::Normal, LinkKind::Client, on_packet, |_| {});
    std::future::pending::<()>().await;
}

fn answer_head(asked: &Header, from: Pnn) -> PacketHeader {
    PacketHeader::new(Generation(0), from, asked.srcnode, asked.reqid)
}

/// Runs once; returns the result, what was heard after the first two questions, and how long it took.
fn takeover(world: World, options: &Options) -> (Result<(), Failed>, Vec<String>, Duration) {
    let mut sim = Sim::new(1);
    let host = sim.host("node0", IpAddr::from([10, 0, 0, 1]));
    let world = Rc::new(RefCell::new(world));
    let listener = host.listen_unix(Path::new(SOCKET), 0o700, 1).unwrap();
    let daemon = host.spawn(serve(host.clone(), listener, world.clone()));
    let start = sim.now();
    let done = sim.run_until(Duration::from_secs(600), async {
        let client = Client::connect(&host, Path::new(SOCKET)).await?;
        run(client, options).await
    });
    let took = sim.now() - start;
    // What is on its way to the daemon when the helper ends gets there.
    sim.run_for(Duration::from_secs(1));
    drop(daemon);
    let mut heard = std::mem::take(&mut world.borrow_mut().heard);
    let rest = heard.split_off(3);
    assert_eq!(heard, ["GET_PNN 0", "GET_ALL_TUNABLES 0", "GET_NODEMAP 0"]);
    (done.unwrap(), rest, took)
}

fn plain(world: World) -> (Result<(), Failed>, Vec<String>, Duration) {
    takeover(world, &Options::default())
}

const BOTH_HAVE_ALL: [&str; 4] = [
    "GET_PUBLIC_IPS 0",
    "GET_PUBLIC_IPS 1",
    "GET_PUBLIC_IPS 0 available",
    "GET_PUBLIC_IPS 1 available",
];

fn after_both_have_all(heard: &[String]) -> &[String] {
    let (questions, rest) = heard.split_at(4);
    assert_eq!(questions, BOTH_HAVE_ALL);
    rest
}

fn two_addresses() -> World {
    World::new(2)
        .address("10.9.0.1", Some(0))
        .address("10.9.0.2", Some(0))
}

#[test]
fn addresses_are_released_everywhere_else_before_they_are_taken() {
    let (done, heard, _) = plain(two_addresses());
    done.unwrap();
    let expected = [
        "START_IPREALLOCATE 0",
        "START_IPREALLOCATE 1",
        "RELEASE_IP 0: 10.9.0.2 1",
        "RELEASE_IP 1: 10.9.0.1 0",
        "TAKEOVER_IP 1: 10.9.0.2 1",
        "TAKEOVER_IP 0: 10.9.0.1 0",
        "IPREALLOCATED 0",
        "IPREALLOCATED 1",
    ];
    assert_eq!(after_both_have_all(&heard), expected);
}

#[test]
fn without_public_addresses_the_nodes_get_their_event_and_nothing_else() {
    let world = World::new(3)
        .flags(1, NodeFlags::DISCONNECTED)
        .flags(2, NodeFlags::BANNED);
    let (done, heard, took) = plain(world);
    done.unwrap();
    assert_eq!(
        heard,
        [
            "GET_PUBLIC_IPS 0",
            "GET_PUBLIC_IPS 2",
            "IPREALLOCATED 0",
            "IPREALLOCATED 2"
        ]
    );
    assert!(took < Duration::from_millis(100), "{took:?}");
}

#[test]
fn with_failover_disabled_nobody_is_asked_for_addresses() {
    let options = Options {
        failover_disabled: true,
        ..Options::default()
    };
    let (done, heard, _) = takeover(two_addresses(), &options);
    done.unwrap();
    assert_eq!(heard, ["IPREALLOCATED 0", "IPREALLOCATED 1"]);
}

#[test]
fn a_banned_node_releases_and_an_address_that_nobody_can_host_is_released_by_all() {
    let world = World::new(2)
        .address("10.9.0.1", Some(1))
        .flags(1, NodeFlags::BANNED);
    let (done, heard, _) = plain(world);
    done.unwrap();
    let released = heard.iter().any(|line| line == "RELEASE_IP 1: 10.9.0.1 0");
    assert!(
        released && !heard.contains(&"GET_PUBLIC_IPS 1 available".to_owned()),
        "{heard:?}"
    );

    let unhealthy = NodeFlags::UNHEALTHY;
    let world = World::new(2).address("10.9.0.1", Some(1));
    let (done, heard, _) = plain(world.flags(0, unhealthy).flags(1, unhealthy));
    done.unwrap();
    let released: Vec<&String> = heard
        .iter()
        .filter(|line| line.starts_with("RELEASE_IP"))
        .collect();
    assert_eq!(
        released,
        ["RELEASE_IP 0: 10.9.0.1 nobody", "RELEASE_IP 1: 10.9.0.1 nobody"]
    );
    assert!(!heard.iter().any(|line| line.starts_with("TAKEOVER_IP")));
}

#[test]
fn addresses_that_nobody_hosts_or_could_host_are_left_alone() {
    let world = World::new(1)
        .address("10.9.0.1", None)
        .flags(0, NodeFlags::UNHEALTHY);
    let (done, heard, _) = plain(world);
    done.unwrap();
    assert_eq!(
        heard,
        [
            "GET_PUBLIC_IPS 0",
            "GET_PUBLIC_IPS 0 available",
            "IPREALLOCATED 0"
        ]
    );
}

#[test]
fn a_node_of_an_older_version_is_served_without_start_ipreallocate() {
    let (done, heard, _) = plain(two_addresses().when("START_IPREALLOCATE 1", Does::Status(-1)));
    done.unwrap();
    assert_eq!(heard.last().unwrap(), "IPREALLOCATED 1");
    assert!(!heard.iter().any(|line| line.starts_with("message")));
}

#[test]
fn a_failure_ends_the_run_after_its_phase_and_the_node_is_told_on() {
    for (what, last_phase) in [
        ("GET_PUBLIC_IPS 1", "GET_PUBLIC_IPS"),
        ("START_IPREALLOCATE 1", "START_IPREALLOCATE"),
        ("RELEASE_IP 1", "RELEASE_IP"),
        ("TAKEOVER_IP 1", "TAKEOVER_IP"),
        ("IPREALLOCATED 1", "IPREALLOCATED"),
    ] {
        let (done, mut heard, _) = plain(two_addresses().when(what, Does::Status(5)));
        let failed = done.unwrap_err();
        assert_eq!(failed.errno(), 5, "{failed}");
        assert_eq!(heard.pop().unwrap(), "message to 0: Pnn(Pnn(1))", "{what}");
        assert_eq!(heard.pop().unwrap(), "GET_NODEMAP 0", "{what}");
        assert!(heard.last().unwrap().starts_with(last_phase), "{what}: {heard:?}");
    }
}

#[test]
fn an_answer_that_is_none_counts_against_its_node() {
    let (done, heard, _) = plain(two_addresses().when("GET_PUBLIC_IPS 1", Does::Garbage));
    done.unwrap_err();
    assert_eq!(heard.last().unwrap(), "message to 0: Pnn(Pnn(1))");
}

#[test]
fn a_silent_node_holds_a_question_up_for_takeover_timeout_and_a_change_for_three_times_that() {
    for (what, limit_s) in [
        ("GET_PUBLIC_IPS 1", 9),
        ("RELEASE_IP 1", 27),
        ("IPREALLOCATED 1", 27),
    ] {
        let (done, _, took) = plain(two_addresses().when(what, Does::Nothing));
        assert!(done.is_err());
        assert_eq!(took.as_secs(), limit_s, "{what}: {took:?}");
    }
}

#[test]
fn a_refusal_is_blamed_before_silence() {
    let world = World::new(3).when("IPREALLOCATED 1", Does::Nothing);
    let (_, heard, _) = plain(world.when("IPREALLOCATED 2", Does::Status(1)));
    assert_eq!(heard.last().unwrap(), "message to 0: Pnn(Pnn(2))");
}

#[test]
fn the_node_that_fails_most_is_told_on() {
    let world = World::new(4)
        .when("TAKEOVER_IP 1", Does::Status(1))
        .when("TAKEOVER_IP 2", Does::Status(1));
    // Nothing is balanced, so that node 1 goes on to have two addresses and node 2 one.
    let world = world
        .address("10.9.0.1", Some(1))
        .address("10.9.0.2", Some(1))
        .address("10.9.0.3", Some(2));
    let world = World {
        tunables: TunableList {
            no_ip_failback: 1,
            ..world.tunables
        },
        ..world
    };
    let (done, heard, _) = plain(world);
    assert!(matches!(done.unwrap_err(), Failed::Nodes { count: 3, .. }));
    assert_eq!(heard.last().unwrap(), "message to 0: Pnn(Pnn(1))");
}

#[test]
fn nobody_is_told_on_when_bans_are_off_or_nobody_else_could_serve_or_the_node_was_lost_meanwhile() {
    let failing = || two_addresses().when("TAKEOVER_IP 1", Does::Status(1));
    let without_bans = World {
        tunables: TunableList {
            enable_bans: 0,
            ..failing().tunables
        },
        ..failing()
    };
    let last_healthy = failing().flags(0, NodeFlags::UNHEALTHY);
    let lost = two_addresses().when("TAKEOVER_IP 1", Does::GetsBanned);
    for world in [without_bans, last_healthy, lost] {
        let (done, heard, _) = plain(world);
        done.unwrap_err();
        assert!(heard.iter().any(|line| line.starts_with("TAKEOVER_IP 1")));
        assert!(!heard.iter().any(|line| line.starts_with("message")), "{heard:?}");
    }
}

#[test]
fn a_node_that_is_to_be_rebalanced_gets_addresses_although_it_has_one() {
    let mut world = World::new(2).address("10.9.0.1", Some(1));
    for host in 2..6 {
        world = world.address(&format!("10.9.0.{host}"), Some(0));
    }
    let options = Options {
        rebalance: vec![Pnn(1)],
        ..Options::default()
    };
    let (done, heard, _) = takeover(world, &options);
    done.unwrap();
    let taken = heard.iter().filter(|line| line.starts_with("TAKEOVER_IP 1"));
    assert!(taken.count() > 1, "{heard:?}");
}

#[test]
fn a_thousand_addresses_on_32_nodes_are_all_dealt_with() {
    let mut world = World::new(32);
    for host in 0..1000u32 {
        let ip = format!("10.9.{}.{}", host / 100, host % 100);
        world = world.address(&ip, Some(host % 32));
    }
    let (done, heard, _) = plain(world);
    done.unwrap();
    let count = |what: &str| heard.iter().filter(|line| line.starts_with(what)).count();
    assert_eq!((count("RELEASE_IP"), count("TAKEOVER_IP")), (31_000, 1000));
}
