//! The other daemons: what is taken from them, and how they are left.

use std::time::Duration;

use ctdb_conf::NodesFile;
use ctdb_daemon::databases::DbKind;
use ctdb_daemon::{asks, dispatch, keepalive, start};
use ctdb_protocol::control::Request;
use ctdb_protocol::packet::{ControlHead, Packet, ReplyControl};
use ctdb_protocol::{Generation, Opcode, PacketHeader, Pnn, Reqid};

use crate::Test;
use crate::world::World;

pub const TESTS: &[Test] = &[
    (
        "a packet that names no node as its sender is not answered",
        no_sender,
    ),
    ("an answer counts only from the node that was asked", wrong_answer),
    (
        "who waits for a node that leaves the nodes file hears of it",
        deleted,
    ),
    ("a keepalive interval of 0 leaves time for all else", no_interval),
];

fn no_sender() {
    let world = World::new(2);
    world.run(async {
        let d = &world.daemons[0];
        let peer = d.nodes.get(Pnn(1)).unwrap();
        let ping = |from| {
            let control = ControlHead::new(Opcode::PING).with_data(&[]);
            let mut bytes = Vec::new();
            Packet::ReqControl(control).encode(
                &PacketHeader::new(Generation::INVALID, from, d.me(), Reqid(7)),
                &mut bytes,
            );
            bytes
        };
        let sent = || d.stats.total().node_packets_sent;
        let before = sent();
        for nobody in [Pnn(2), Pnn::BROADCAST_ALL, Pnn::UNKNOWN] {
            dispatch::on_node_packet(d, &peer, &ping(nobody)).unwrap();
        }
        assert_eq!(sent(), before);
        dispatch::on_node_packet(d, &peer, &ping(Pnn(1))).unwrap();
        assert_eq!(sent(), before + 1);
    });
}

/// Node 1 does not answer this before somebody lets the chain go.
async fn long_control(world: &World) -> (Request<'static>, crate::world::Holder) {
    let id = world.attach("held.tdb", DbKind::Volatile).await;
    let holder = world.hold_chain(1, id, b"key").await;
    (Request::DbFreeze(id), holder)
}

fn wrong_answer() {
    let world = World::new(2);
    world.run(async {
        let d = &world.daemons[0];
        let (request, holder) = long_control(&world).await;
        let mut client = world.client(0).await;
        let asked = client.control_to(Pnn(1), &request);
        let lie = async {
            world
                .until("the control is under way", || d.asks.pending() == 1)
                .await;
            let reply = ReplyControl {
                status: 5,
                data: &[],
                error: b"",
            };
            for reqid in 0..1000 {
                asks::on_reply(d, d.me(), Reqid(reqid), &reply);
            }
            assert_eq!(d.asks.pending(), 1);
            holder.release().await;
        };
        let (status, ()) = both(asked, lie).await;
        assert_eq!(status, 0);
    });
}

fn deleted() {
    let world = World::new(2);
    world.run(async {
        let d = &world.daemons[0];
        let (request, _holder) = long_control(&world).await;
        let mut client = world.client(0).await;
        let asked = client.control_to(Pnn(1), &request);
        let reload = async {
            world
                .until("the control is under way", || d.asks.pending() == 1)
                .await;
            let text = format!("{}\n#{}\n", d.settings.ip(), world.daemons[1].settings.ip());
            let file = NodesFile::parse("nodes".as_ref(), text.as_bytes(), 4379).unwrap();
            start::apply_nodes(d, &file.nodes);
        };
        let (status, ()) = both(asked, reload).await;
        assert_eq!(status, -1);
        assert_eq!(d.nodes.connected(), [d.me()]);
        let other = &world.daemons[1];
        world
            .until("the other node sees its links closed", || {
                other.nodes.connected() == [other.me()]
            })
            .await;
    });
}

async fn both<A, B>(a: impl Future<Output = A>, b: impl Future<Output = B>) -> (A, B) {
    let (mut a, mut b) = (std::pin::pin!(a), std::pin::pin!(b));
    use ctdb_runtime::sync::{Either, select2};
    match select2(&mut a, &mut b).await {
        Either::Left(first) => (first, b.await),
        Either::Right(second) => (a.await, second),
    }
}

fn no_interval() {
    let world = World::new(1);
    world.run(async {
        let d = &world.daemons[0];
        d.tunables.borrow_mut().set("KeepaliveInterval", 0).unwrap();
        d.spawn_urgent(keepalive::run);
        world.rt().sleep(Duration::from_millis(1)).await;
    });
}
