//! Connections over real streams of this process and over simulated ones.

#![allow(clippy::unwrap_used)] // a test may panic, its helpers too

use std::cell::{Cell, RefCell};
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use ctdb_runtime::sync::{OneshotReceiver, oneshot};
use ctdb_runtime::{Class, Handle, Runtime, Sim, Stream};
use ctdb_transport::{
    CloseReason, Closed, Connection, Flow, FrameError, Limits, LinkKind, SendError, Sender,
};

fn run<F: Future<Output = ()>>(test: impl FnOnce(Handle) -> F) {
    let runtime = Runtime::new().unwrap();
    runtime.block_on(async {
        let h = runtime.handle();
        h.timeout(Duration::from_secs(60), test(h.clone()))
            .await
            .expect("the test hangs");
    });
}

fn packet(length: usize, fill: u8) -> Vec<u8> {
    let mut bytes = vec![fill; length];
    bytes[..4].copy_from_slice(&(length as u32).to_le_bytes());
    bytes
}

type Packets = Rc<RefCell<Vec<Vec<u8>>>>;

/// A connection that keeps what it receives, and its end.
fn collect(
    h: &Handle,
    stream: Stream,
    kind: LinkKind,
    limits: Limits,
) -> (Connection, Packets, OneshotReceiver<Closed>) {
    let packets = Packets::default();
    let into = packets.clone();
    let (tell, closed) = oneshot();
    let on_packet = move |packet: &[u8]| {
        into.borrow_mut().push(packet.to_vec());
        Flow::Continue
    };
    let on_close = |closed| drop(tell.send(closed));
    let name = "client 1";
    let connection = Connection::start(h, stream, name, Class::Normal, kind, limits, on_packet, on_close);
    (connection, packets, closed)
}

/// A connection that sends back what it receives, from within its own callback.
fn echo(h: &Handle, stream: Stream, limits: Limits) -> Connection {
    let mut connection = Connection::new(h, stream, "echo", limits);
    let sender = connection.sender();
    let on_packet = move |packet: &[u8]| match sender.send_with(|buf| buf.extend_from_slice(packet)) {
        Ok(()) => Flow::Continue,
        Err(e) => Flow::Close(e.to_string().into()),
    };
    connection.receive(Class::Urgent, LinkKind::Client, on_packet, drop);
    connection
}

async fn read_packet(stream: &Stream) -> Vec<u8> {
    let mut packet = vec![0; 4];
    stream.read_exact(&mut packet).await.unwrap();
    packet.resize(u32::from_le_bytes(packet[..4].try_into().unwrap()) as usize, 0);
    stream.read_exact(&mut packet[4..]).await.unwrap();
    packet
}

#[test]
fn packets_that_come_byte_by_byte_are_whole() {
    run(|h| async move {
        let (a, b) = h.stream_pair().unwrap();
        let (_connection, packets, closed) = collect(&h, b, LinkKind::Node, Limits::default());
        let sent = [packet(32, 1), packet(40, 2), packet(48, 3)];
        for byte in sent.concat() {
            a.write_all(&[byte]).await.unwrap();
            h.yield_now().await;
        }
        drop(a);
        let closed = closed.await.unwrap();
        assert!(matches!(closed.reason, CloseReason::Eof), "{closed}");
        assert_eq!(*packets.borrow(), sent);
    });
}

#[test]
fn thousands_of_packets_at_once_are_all_given_on_and_others_have_their_turns_between() {
    run(|h| async move {
        const COUNT: usize = 5000;
        let (a, b) = h.stream_pair().unwrap();
        let seen = Rc::new(Cell::new(0usize));
        let (turns, widest) = (Rc::new(Cell::new(0u32)), Rc::new(Cell::new(0usize)));
        let (count, last, most) = (seen.clone(), Cell::new((0, 0usize)), widest.clone());
        let now = turns.clone();
        let on_packet = move |_: &[u8]| {
            count.set(count.get() + 1);
            let (turn, in_turn) = last.get();
            let in_turn = if turn == now.get() { in_turn + 1 } else { 1 };
            last.set((now.get(), in_turn));
            most.set(most.get().max(in_turn));
            Flow::Continue
        };
        let _connection = Connection::start(
            &h,
            b,
            "c",
            Class::Normal,
            LinkKind::Client,
            Limits::default(),
            on_packet,
            drop,
        );
        let (other, count) = (h.clone(), turns.clone());
        let _ticker = h.spawn(async move {
            loop {
                count.set(count.get() + 1);
                other.yield_now().await;
            }
        });
        a.write_all(&packet(32, 1).repeat(COUNT)).await.unwrap();
        while seen.get() < COUNT {
            h.yield_now().await;
        }
        let share = Limits::default().read_packets_per_turn;
        assert!(
            widest.get() <= 2 * share,
            "{} packets without a turn for others",
            widest.get()
        );
    });
}

#[test]
fn a_packet_above_the_cap_ends_the_connection_with_a_reason_that_names_it() {
    run(|h| async move {
        let (a, b) = h.stream_pair().unwrap();
        let limits = Limits {
            packet_bytes_max: 1000,
            ..Limits::default()
        };
        let (connection, packets, closed) = collect(&h, b, LinkKind::Client, limits);
        a.write_all(&packet(1000, 1)).await.unwrap();
        a.write_all(&packet(1001, 1)[..8]).await.unwrap();
        let closed = closed.await.unwrap();
        assert!(matches!(
            closed.reason,
            CloseReason::Frame(FrameError::TooLong {
                length: 1001,
                cap: 1000
            })
        ));
        assert_eq!(
            closed.to_string(),
            "client 1: received a packet with length 1001, allowed are 1000"
        );
        assert_eq!(packets.borrow().len(), 1);
        assert_eq!(connection.send(b"x"), Err(SendError::Closed));
        assert_eq!(a.read(&mut [0; 8]).await.unwrap_or(0), 0);
    });
}

#[test]
fn short_packets_of_a_client_are_skipped_and_those_of_a_node_end_the_link() {
    run(|h| async move {
        let bytes = [packet(8, 0), packet(36, 1)].concat();
        let (a, b) = h.stream_pair().unwrap();
        let (_client, packets, closed) = collect(&h, b, LinkKind::Client, Limits::default());
        a.write_all(&bytes).await.unwrap();
        drop(a);
        assert!(matches!(closed.await.unwrap().reason, CloseReason::Eof));
        assert_eq!(*packets.borrow(), [packet(36, 1)]);
        let (a, b) = h.stream_pair().unwrap();
        let (_node, _, closed) = collect(&h, b, LinkKind::Node, Limits::default());
        a.write_all(&bytes).await.unwrap();
        assert!(matches!(
            closed.await.unwrap().reason,
            CloseReason::Frame(FrameError::Short(8))
        ));
    });
}

#[test]
fn an_end_within_a_packet_is_told_apart() {
    run(|h| async move {
        let (a, b) = h.stream_pair().unwrap();
        let (_connection, _, closed) = collect(&h, b, LinkKind::Client, Limits::default());
        a.write_all(&packet(40, 1)[..39]).await.unwrap();
        drop(a);
        assert!(matches!(
            closed.await.unwrap().reason,
            CloseReason::EofInPacket(39)
        ));
    });
}

#[test]
fn urgent_packets_overtake_what_a_slow_peer_has_not_taken() {
    run(|h| async move {
        let (a, b) = h.stream_pair().unwrap();
        let (connection, _, _closed) = collect(&h, b, LinkKind::Client, Limits::default());
        for _ in 0..100 {
            connection.send(&packet(100_000, 1)).unwrap();
        }
        h.yield_now().await;
        h.yield_now().await; // the stream is full now
        let waiting = connection.queued_packets();
        assert!(waiting > 50, "{waiting} packets wait");
        connection.send(&packet(32, 2)).unwrap();
        connection
            .send_urgent_with(|buf| buf.extend_from_slice(&packet(32, 3)))
            .unwrap();
        let mut order = Vec::new();
        for _ in 0..102 {
            order.push(read_packet(&a).await[4]);
        }
        let urgent = order.iter().position(|p| *p == 3).unwrap();
        assert!(
            (1..=100 - waiting + 1).contains(&urgent),
            "it came as number {urgent} of {order:?}"
        );
        assert_eq!(order[101], 2);
        assert_eq!(connection.queued_packets(), 0);
    });
}

#[test]
fn a_peer_that_does_not_read_is_not_read_from_and_its_queue_is_bounded() {
    run(|h| async move {
        let (a, b) = h.stream_pair().unwrap();
        let limits = Limits {
            pause_reading_above: 1 << 20,
            queued_bytes_max: 2 << 20,
            ..Limits::default()
        };
        let echo = echo(&h, b, limits);
        let flood = a.clone();
        let writer = h.spawn(async move {
            for _ in 0..5000 {
                flood.write_all(&packet(4096, 7)).await.unwrap();
            }
        });
        h.sleep(Duration::from_millis(50)).await;
        assert!(!writer.is_finished());
        let queued = echo.queued_bytes();
        assert!((1 << 20..2 << 20).contains(&queued), "{queued} bytes are queued");
        for _ in 0..5000 {
            assert_eq!(read_packet(&a).await.len(), 4096);
        }
        writer.await;
        // Without a pause there is still an end.
        let (_peer, b) = h.stream_pair().unwrap();
        let (connection, _, _closed) = collect(&h, b, LinkKind::Client, limits);
        let sent = (0..)
            .take_while(|_| connection.send(&packet(4096, 1)).is_ok())
            .count();
        assert_eq!(sent, (2 << 20) / 4096);
        assert_eq!(connection.send(b""), Err(SendError::Full));
    });
}

#[test]
fn big_packets_go_through_with_bounded_memory_when_the_producer_waits() {
    run(|h| async move {
        const BIG: usize = 40 << 20;
        let (a, b) = h.stream_pair().unwrap();
        let sizes = Rc::new(RefCell::new(Vec::new()));
        let into = sizes.clone();
        let on_packet = move |packet: &[u8]| {
            into.borrow_mut()
                .push((packet.len(), packet[4], packet[packet.len() - 1]));
            Flow::Continue
        };
        let _receiver = Connection::start(
            &h,
            b,
            "big",
            Class::Normal,
            LinkKind::Node,
            Limits::default(),
            on_packet,
            drop,
        );
        let (sender, _, _closed) = collect(&h, a, LinkKind::Node, Limits::default());
        for i in 0..3 {
            sender.drained(1 << 20).await.unwrap();
            assert!(sender.queued_bytes() <= 1 << 20);
            sender.send_owned(packet(BIG, i)).unwrap();
        }
        sender.drained(0).await.unwrap();
        while sizes.borrow().len() < 3 {
            h.yield_now().await;
        }
        assert_eq!(*sizes.borrow(), [(BIG, 0, 0), (BIG, 1, 1), (BIG, 2, 2)]);
        assert_eq!(sender.counters().bytes_out, 3 * BIG as u64);
    });
}

#[test]
fn output_is_still_written_when_the_connection_is_dropped_or_the_peer_has_ended() {
    run(|h| async move {
        let (a, b) = h.stream_pair().unwrap();
        let (connection, _, _closed) = collect(&h, b, LinkKind::Client, Limits::default());
        connection.send(&packet(40, 1)).unwrap();
        drop(connection);
        assert_eq!(read_packet(&a).await, packet(40, 1));
        assert_eq!(a.read(&mut [0; 8]).await.unwrap(), 0);

        let (a, b) = h.stream_pair().unwrap();
        let _echo = echo(&h, b, Limits::default());
        a.write_all(&packet(48, 2)).await.unwrap();
        a.shutdown_write();
        assert_eq!(read_packet(&a).await, packet(48, 2));
        assert_eq!(a.read(&mut [0; 8]).await.unwrap(), 0);
    });
}

#[test]
fn dropping_a_connection_that_writes_frees_all_and_ends_those_who_wait_for_it() {
    run(|h| async move {
        let (a, b) = h.stream_pair().unwrap();
        let (connection, _, closed) = collect(&h, b, LinkKind::Client, Limits::default());
        connection.send_owned(packet(10 << 20, 1)).unwrap();
        let sender = connection.sender();
        let waiting = h.spawn(async move { sender.drained(0).await });
        h.yield_now().await;
        h.yield_now().await;
        assert!(connection.queued_bytes() > 0);
        drop(connection);
        assert_eq!(waiting.await, Err(SendError::Closed));
        assert!(
            closed.await.is_err(),
            "on_close is not called for the one who dropped it"
        );
        drop(a);
    });
}

#[test]
fn a_callback_may_drop_its_own_connection_and_gets_nothing_more() {
    run(|h| async move {
        let (a, b) = h.stream_pair().unwrap();
        a.write_all(&packet(32, 1).repeat(10)).await.unwrap();
        let own: Rc<RefCell<Option<Connection>>> = Rc::default();
        let (seen, slot) = (Rc::new(Cell::new(0)), own.clone());
        let count = seen.clone();
        let on_packet = move |_: &[u8]| {
            count.set(count.get() + 1);
            if count.get() == 3 {
                let connection = slot.borrow_mut().take();
                drop(connection);
            }
            Flow::Continue
        };
        let on_close = |closed| panic!("the owner knows: {closed}");
        let connection = Connection::start(
            &h,
            b,
            "c",
            Class::Normal,
            LinkKind::Client,
            Limits::default(),
            on_packet,
            on_close,
        );
        *own.borrow_mut() = Some(connection);
        assert_eq!(a.read(&mut [0; 8]).await.unwrap_or(0), 0);
        assert_eq!(seen.get(), 3);
    });
}

#[test]
fn a_callback_may_close_its_connection_with_a_reason_after_an_answer() {
    run(|h| async move {
        let (a, b) = h.stream_pair().unwrap();
        a.write_all(&packet(32, 1).repeat(10)).await.unwrap();
        let mut connection = Connection::new(&h, b, "client 5", Limits::default());
        let sender = connection.sender();
        let (tell, closed) = oneshot();
        let on_packet = move |_: &[u8]| {
            sender.send(&packet(32, 9)).unwrap();
            Flow::Close("enough".into())
        };
        connection.receive(Class::Normal, LinkKind::Client, on_packet, |c| drop(tell.send(c)));
        assert_eq!(
            closed.await.unwrap().to_string(),
            "client 5: closed by us: enough"
        );
        assert_eq!(read_packet(&a).await, packet(32, 9));
        assert!(connection.is_closed());
    });
}

#[test]
fn what_a_peer_sent_before_it_went_is_read_although_writing_to_it_fails() {
    run(|h| async move {
        for _ in 0..20 {
            let (a, b) = h.stream_pair().unwrap();
            let (connection, packets, closed) = collect(&h, b, LinkKind::Client, Limits::default());
            a.write_all(&packet(32, 1).repeat(3)).await.unwrap();
            drop(a);
            connection.send(&packet(32, 2)).unwrap();
            let closed = closed.await.unwrap();
            assert!(
                matches!(closed.reason, CloseReason::Write(_) | CloseReason::Eof),
                "{closed}"
            );
            assert_eq!(packets.borrow().len(), 3);
        }
    });
}

#[test]
fn connections_work_across_a_lossy_simulated_network_and_end_with_a_crash() {
    let mut sim = Sim::new(42);
    let ip = |n| IpAddr::from([10, 0, 0, n]);
    let at = SocketAddr::new(ip(2), 4379);
    let (a, b) = (sim.host("a", ip(1)), sim.host("b", ip(2)));
    sim.set_loss("a", "b", 0.1);
    sim.set_loss("b", "a", 0.1);
    sim.set_losses_max(50);
    let listener = b.listen_tcp(at).unwrap();
    let server = b.clone();
    b.spawn(async move {
        let echo = echo(&server, listener.accept().await.unwrap(), Limits::default());
        std::future::pending::<()>().await;
        drop(echo);
    })
    .detach();
    let minute = Duration::from_secs(60);
    let stream = sim.run_until(minute, a.connect_tcp(None, at)).unwrap().unwrap();
    let (connection, packets, closed) = collect(&a, stream, LinkKind::Node, Limits::default());
    let sent: Vec<_> = (1..200).map(|i| packet(32 + i * 8, i as u8)).collect();
    for packet in &sent {
        connection.send(packet).unwrap();
    }
    assert!(sim.run_while_not(10 * minute, || packets.borrow().len() == sent.len()));
    assert_eq!(*packets.borrow(), sent);
    sim.crash("b");
    let closed = sim.run_until(minute, closed).unwrap().unwrap();
    assert!(matches!(closed.reason, CloseReason::Read(_)), "{closed}");
}

#[test]
fn a_sender_does_not_keep_a_connection_open() {
    run(|h| async move {
        let (a, b) = h.stream_pair().unwrap();
        let (connection, _, _closed) = collect(&h, b, LinkKind::Client, Limits::default());
        let sender: Sender = connection.sender();
        drop(connection);
        assert!(sender.is_closed());
        assert_eq!(sender.send(b"x"), Err(SendError::Closed));
        assert_eq!(a.read(&mut [0; 8]).await.unwrap(), 0);
    });
}
