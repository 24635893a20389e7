//! What clients get from each other: messages, tunnels, news of a client's end, and who is there.

use ctdb_daemon::inactive;
use ctdb_protocol::control::Request;
use ctdb_protocol::packet::{Packet, ReqMessage, ReqTunnel};
use ctdb_protocol::{NotifyData, PidSrvid, Pnn, Srvid, TunnelFlags, TunnelId};

use crate::Test;
use crate::world::{Client, Told, World};

pub const TESTS: &[Test] = &[
    (
        "a tunnel packet reaches the node's server of the tunnel, from who serves it, too",
        tunnels,
    ),
    (
        "the end of a client is told on every node to who listens",
        notifications,
    ),
    (
        "a notification can be taken back, and is there once",
        notification_rules,
    ),
    (
        "a process exists while it is a client of an active node",
        process_exists,
    ),
    ("a process has the services that it has registered", pid_and_srvid),
    (
        "a message goes to all listeners of its service and of every service",
        messages,
    ),
];

const AT: Srvid = Srvid(0xAE00_0000_0000_0001);
const TUNNEL: TunnelId = TunnelId(0xFFFF_FFFF_0000_0000);

async fn register_tunnel(client: &mut Client) -> i32 {
    client
        .control_about(Srvid(TUNNEL.0), &Request::TunnelRegister)
        .await
}

fn packet(data: &[u8]) -> Packet<'_> {
    Packet::Tunnel(ReqTunnel {
        tunnel_id: TUNNEL,
        flags: TunnelFlags::REQUEST | TunnelFlags::NOREPLY,
        data,
    })
}

fn came(data: &[u8]) -> Told {
    Told::Tunnel(
        TUNNEL,
        (TunnelFlags::REQUEST | TunnelFlags::NOREPLY).bits(),
        data.to_vec(),
    )
}

fn tunnels() {
    let world = World::new(2);
    world.run(async {
        let (mut here, mut there) = (world.client(0).await, world.client(1).await);
        let mut second = world.client(1).await;
        assert_eq!(register_tunnel(&mut there).await, 0);
        assert_eq!(register_tunnel(&mut second).await, -1, "one server on a node");
        here.send_to(Pnn(1), &packet(b"not registered here")).await;
        assert_eq!(register_tunnel(&mut here).await, 0);
        here.send_to(Pnn(99), &packet(b"no such node")).await;
        here.send_to(Pnn::CURRENT, &packet(b"the wire has no such node"))
            .await;
        here.send_to(Pnn(1), &packet(b"hello")).await;
        assert_eq!(there.told().await, came(b"hello"));
        there.send_to(Pnn(0), &packet(b"and back")).await;
        assert_eq!(here.told().await, came(b"and back"));
        here.send_to(Pnn(0), &packet(b"to myself")).await;
        assert_eq!(here.told().await, came(b"to myself"));
        drop(there);
        // Free again when its server has gone.
        let second = &mut second;
        while register_tunnel(second).await != 0 {
            world.rt().yield_now().await;
        }
        here.send_to(Pnn(1), &packet(b"hello, second")).await;
        assert_eq!(second.told().await, came(b"hello, second"));
        let deregister = Request::TunnelDeregister;
        assert_eq!(second.control_about(Srvid(TUNNEL.0), &deregister).await, 0);
        assert_eq!(second.control_about(Srvid(TUNNEL.0), &deregister).await, -1);
    });
}

fn notify(srvid: Srvid, data: &[u8]) -> Request<'_> {
    Request::RegisterNotify(NotifyData { srvid, data })
}

fn notifications() {
    let world = World::new(2);
    world.run(async {
        let (mut here, mut there) = (world.client(0).await, world.client(1).await);
        here.listen(AT).await;
        there.listen(AT).await;
        let mut client = world.client(0).await;
        assert_eq!(client.control(&notify(AT, b"I am gone")).await.0, 0);
        assert_eq!(client.control_to(Pnn(1), &notify(AT, b"from afar")).await, -1);
        drop(client);
        let gone = Told::Message(AT, b"I am gone".to_vec());
        assert_eq!(here.told().await, gone);
        assert_eq!(there.told().await, gone);
    });
}

fn notification_rules() {
    let world = World::new(1);
    world.run(async {
        let other = Srvid(AT.0 + 1);
        let mut listener = world.client(0).await;
        listener.listen(AT).await;
        listener.listen(other).await;
        let mut client = world.client(0).await;
        assert_eq!(client.control(&notify(AT, b"first")).await.0, 0);
        assert_eq!(client.control(&notify(AT, b"second")).await.0, -1);
        assert_eq!(client.control(&notify(other, b"stays")).await.0, 0);
        assert_eq!(client.control(&Request::DeregisterNotify(AT)).await.0, 0);
        assert_eq!(client.control(&Request::DeregisterNotify(AT)).await.0, -1);
        drop(client);
        assert_eq!(listener.told().await, Told::Message(other, b"stays".to_vec()));
    });
}

fn process_exists() {
    let world = World::new(2);
    world.run(async {
        let (mut client, mut there) = (world.client(0).await, world.client(1).await);
        let own = std::process::id() as i32;
        assert_eq!(client.control(&Request::ProcessExists(own)).await.0, 0);
        assert_eq!(client.control_to(Pnn(1), &Request::ProcessExists(own)).await, 0);
        assert_eq!(
            client.control(&Request::ProcessExists(1)).await.0,
            -1,
            "it runs, but is no client"
        );
        inactive::stop(&world.daemons[1]);
        assert_eq!(client.control_to(Pnn(1), &Request::ProcessExists(own)).await, -1);
        there.closed().await; // it must not go on serving there
        assert_eq!(client.control_to(Pnn(1), &Request::ProcessExists(own)).await, -1);
    });
}

fn pid_and_srvid() {
    let world = World::new(2);
    world.run(async {
        let (mut client, mut other) = (world.client(0).await, world.client(0).await);
        other.listen(AT).await;
        let check = |pid, srvid| Request::CheckPidSrvid(PidSrvid { pid, srvid });
        let own = std::process::id() as i32;
        assert_eq!(
            client.control(&check(own, AT)).await.0,
            0,
            "any connection of the process"
        );
        assert_eq!(client.control(&check(own, Srvid(AT.0 + 1))).await.0, -1);
        assert_eq!(client.control(&check(1, AT)).await.0, -1);
        assert_eq!(
            client.control_to(Pnn(1), &check(own, AT)).await,
            -1,
            "not on that node"
        );
        assert_eq!(other.control_about(AT, &Request::DeregisterSrvid).await, 0);
        assert_eq!(client.control(&check(own, AT)).await.0, -1);
    });
}

fn messages() {
    let world = World::new(2);
    world.run(async {
        let (mut exact, mut every) = (world.client(1).await, world.client(1).await);
        exact.listen(AT).await;
        every.listen(Srvid::ALL).await;
        let mut sender = world.client(0).await;
        let message = |srvid, data| Packet::ReqMessage(ReqMessage { srvid, data });
        for to in [Pnn(1), Pnn::BROADCAST_CONNECTED, Pnn::BROADCAST_ALL] {
            sender.send_to(to, &message(Srvid(3), b"other")).await;
            sender.send_to(to, &message(AT, b"hello")).await;
            assert_eq!(exact.told().await, Told::Message(AT, b"hello".to_vec()));
            assert_eq!(every.told().await, Told::Message(Srvid(3), b"other".to_vec()));
            assert_eq!(every.told().await, Told::Message(AT, b"hello".to_vec()));
        }
    });
}
