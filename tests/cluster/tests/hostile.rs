//! Whatever comes on the sockets: that connection is closed or that packet dropped, with a reason in the log, memory
//! stays bounded, and everybody else is served.
#![allow(clippy::unwrap_used)]

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use ctdb_harness::{Binaries, Cluster, Node};

const LIMIT: Duration = Duration::from_secs(10);

/// A daemon that answers; nothing more is needed of it.
fn one_daemon() -> Cluster {
    let cluster = Cluster::builder()
        .nodes(1, &Binaries::ours().unwrap())
        .build()
        .unwrap();
    cluster.start().unwrap();
    cluster.node(0).wait_ready(LIMIT).unwrap();
    cluster
}

/// Header of a control for the connected node, with `payload` behind the header.
fn packet(operation: u32, payload: &[u8]) -> Vec<u8> {
    let mut packet = Vec::new();
    let length = 32 + payload.len() as u32;
    for word in [length, 0x4354_4442, 1, 0, operation, 0xF000_0001, 0, 7] {
        packet.extend_from_slice(&word.to_le_bytes());
    }
    packet.extend_from_slice(payload);
    packet
}

/// A REQ_CONTROL whose data length says `claimed` whatever is there.
fn control(opcode: u32, claimed: u32, data: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    for word in [opcode, 0, 0, 0, 0, 0, claimed] {
        body.extend_from_slice(&word.to_le_bytes());
    }
    body.extend_from_slice(data);
    packet(7, &body)
}

fn connect(node: &Node) -> UnixStream {
    let stream = UnixStream::connect(node.socket()).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    stream
}

/// GET_PNN on this connection; `None` when it is closed.
fn pnn_on(stream: &mut UnixStream) -> Option<i32> {
    stream.write_all(&control(35, 0, &[])).ok()?;
    let mut length = [0; 4];
    stream.read_exact(&mut length).ok()?;
    let mut rest = vec![0; u32::from_le_bytes(length) as usize - 4];
    stream.read_exact(&mut rest).ok()?;
    Some(i32::from_le_bytes(rest[28..32].try_into().unwrap()))
}

/// Whether the other end closes, at the latest after [`LIMIT`].
fn is_closed(stream: &mut impl Read) -> bool {
    let mut buffer = [0; 4096];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return true,
            Err(_) => return false,
        }
    }
}

/// The daemon is the same process and answers a new client.
fn assert_serves(node: &Node) {
    assert!(node.is_running(), "{}", node.log_tail(40));
    assert_eq!(pnn_on(&mut connect(node)), Some(0), "{}", node.log_tail(40));
}

fn resident_kb(node: &Node) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", node.pid().unwrap())).unwrap();
    let line = status.lines().find(|l| l.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn a_client_with_packets_that_are_none_keeps_its_connection_and_is_answered_afterwards() {
    let cluster = one_daemon();
    let node = cluster.node(0);
    let mut stream = connect(node);
    let mut bad_magic = control(35, 0, &[]);
    bad_magic[4] ^= 0xFF;
    let mut bad_version = control(35, 0, &[]);
    bad_version[8] = 9;
    for hostile in [
        bad_magic,
        bad_version,
        packet(99, &[0; 32]),
        packet(7, &[1; 3]),
        packet(0, &[0xFF; 24]),
    ] {
        stream.write_all(&hostile).unwrap();
    }
    stream.write_all(&[12, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8]).unwrap(); // shorter than a header
    assert_eq!(pnn_on(&mut stream), Some(0), "{}", node.log_tail(40));
    assert!(node.log_contains("dropped"), "{}", node.log_tail(40));
}

#[test]
fn a_client_that_sends_a_length_of_zero_is_closed_with_a_reason() {
    let cluster = one_daemon();
    let node = cluster.node(0);
    let mut stream = connect(node);
    stream.write_all(&[0; 64]).unwrap();
    assert!(is_closed(&mut stream));
    assert_serves(node);
}

#[test]
fn a_client_that_announces_gigabytes_is_closed_and_costs_no_memory() {
    let cluster = one_daemon();
    let node = cluster.node(0);
    let before = resident_kb(node);
    let mut streams: Vec<UnixStream> = (0..50).map(|_| connect(node)).collect();
    for stream in &mut streams {
        stream.write_all(&0xFFFF_FFF8u32.to_le_bytes()).unwrap();
        stream.write_all(&[0; 60]).unwrap();
    }
    for stream in &mut streams {
        assert!(is_closed(stream));
    }
    assert!(
        resident_kb(node) < before + 20_000,
        "{before} kB before, {} kB now",
        resident_kb(node)
    );
    assert_serves(node);
}

#[test]
fn controls_with_absurd_lengths_and_counts_are_refused() {
    let cluster = one_daemon();
    let node = cluster.node(0);
    let before = resident_kb(node);
    let count = [0xFF; 64];
    for opcode in 0..200 {
        // What ends or changes the node is not asked for.
        if [36, 101, 109, 72].contains(&opcode) {
            continue;
        }
        let mut stream = connect(node);
        stream.write_all(&control(opcode, 0xFFFF_FFF0, &count)).unwrap();
        stream.write_all(&control(opcode, 64, &count)).unwrap();
        stream.write_all(&control(opcode, 7, &[1; 7])).unwrap();
        assert_eq!(
            connect_again_answers(node),
            Some(0),
            "control {opcode}: {}",
            node.log_tail(20)
        );
    }
    assert!(
        resident_kb(node) < before + 30_000,
        "{before} kB before, {} kB now",
        resident_kb(node)
    );
    assert_serves(node);
}

fn connect_again_answers(node: &Node) -> Option<i32> {
    pnn_on(&mut connect(node))
}

#[test]
fn random_bytes_from_many_clients_disturb_nobody() {
    let cluster = one_daemon();
    let node = cluster.node(0);
    let mut good = connect(node);
    let mut random = fastrand::Rng::with_seed(42);
    for _ in 0..200 {
        let mut stream = connect(node);
        let length = random.usize(1..5000);
        let bytes: Vec<u8> = std::iter::repeat_with(|| random.u8(..)).take(length).collect();
        let _ = stream.write_all(&bytes); // it may be closed already
        let begun = Instant::now();
        assert_eq!(pnn_on(&mut good), Some(0), "{}", node.log_tail(20));
        assert!(begun.elapsed() < LIMIT);
    }
    assert_serves(node);
}

#[test]
fn a_packet_that_stops_in_the_middle_keeps_nobody_waiting() {
    let cluster = one_daemon();
    let node = cluster.node(0);
    let half = &control(35, 0, &[])[..40];
    let _open: Vec<UnixStream> = (0..20)
        .map(|_| {
            let mut stream = connect(node);
            stream.write_all(half).unwrap();
            stream
        })
        .collect();
    assert_serves(node);
}

#[test]
fn a_client_that_never_reads_is_closed_and_costs_bounded_memory() {
    let cluster = one_daemon();
    let node = cluster.node(0);
    let stream = connect(node);
    stream
        .set_write_timeout(Some(Duration::from_millis(500)))
        .unwrap();
    let ask = control(1, 0, &[]).repeat(1000); // STATISTICS: half a kilobyte for each
    let mut writer = &stream;
    for _ in 0..500 {
        if writer.write_all(&ask).is_err() {
            break;
        }
    }
    assert_serves(node);
    assert!(resident_kb(node) < 400_000, "{} kB", resident_kb(node));
}

/// A connection to node 0 from the address of node 1, which itself doesn't run.
fn as_node_1(cluster: &Cluster) -> TcpStream {
    let local = SocketAddr::from((cluster.node(1).address(), 0));
    let remote = SocketAddr::from((cluster.node(0).address(), 4379));
    let stream = ctdb_cluster_tests::raw::connect_from(local, remote).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    stream
}

/// Two nodes of which only node 0 runs, so that the test can be node 1.
fn one_of_two() -> Cluster {
    let cluster = Cluster::builder()
        .nodes(2, &Binaries::ours().unwrap())
        .build()
        .unwrap();
    cluster.node(0).start().unwrap();
    cluster.node(0).wait_ready(LIMIT).unwrap();
    cluster
}

#[test]
fn a_node_that_sends_what_is_no_packet_loses_its_link_with_a_reason() {
    let cluster = one_of_two();
    let node = cluster.node(0);
    let mut bad_magic = packet(9, &[0; 8]);
    bad_magic[4] ^= 0xFF;
    let mut bad_version = packet(9, &[0; 8]);
    bad_version[8] = 2;
    let unpadded = packet(9, &[0; 9]);
    let absurd = [0xF8, 0xFF, 0xFF, 0xFF].repeat(16);
    let truncated_call = packet(0, &[0xFF; 24]);
    for (what, bytes) in [
        ("magic", bad_magic),
        ("version", bad_version),
        ("multiple of 8", unpadded),
        ("allowed are", absurd),
        ("malformed packet", truncated_call),
        ("length 0", vec![0; 64]),
    ] {
        let mut stream = as_node_1(&cluster);
        stream.write_all(&bytes).unwrap();
        assert!(is_closed(&mut stream), "{what}: {}", node.log_tail(20));
        node.wait_log(what, LIMIT).unwrap();
        assert_serves(node);
    }
}

#[test]
fn random_packets_from_a_node_end_at_most_its_own_link() {
    let cluster = one_of_two();
    let node = cluster.node(0);
    let before = resident_kb(node);
    let mut random = fastrand::Rng::with_seed(7);
    for round in 0..300 {
        let mut stream = as_node_1(&cluster);
        let operation = random.u32(0..11);
        let length = random.usize(0..40) * 8;
        let mut bytes = packet(
            operation,
            &std::iter::repeat_with(|| random.u8(..))
                .take(length)
                .collect::<Vec<u8>>(),
        );
        bytes[20..24].copy_from_slice(&0u32.to_le_bytes()); // meant for node 0
        bytes[24..28].copy_from_slice(&1u32.to_le_bytes()); // of node 1
        // What would end the node by right: SHUTDOWN, and a keepalive of an incompatible version.
        if operation == 7 || operation == 9 {
            continue;
        }
        let _ = stream.write_all(&bytes);
        drop(stream);
        assert_eq!(
            connect_again_answers(node),
            Some(0),
            "round {round}: {}",
            node.log_tail(20)
        );
    }
    assert!(
        resident_kb(node) < before + 30_000,
        "{before} kB before, {} kB now",
        resident_kb(node)
    );
    assert_serves(node);
}

#[test]
fn a_stranger_on_the_node_port_is_refused() {
    let cluster = one_daemon();
    let node = cluster.node(0);
    let mut stream = TcpStream::connect(SocketAddr::from((node.address(), 4379))).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    assert!(is_closed(&mut stream));
    node.wait_log("no node of the nodes file has this address", LIMIT)
        .unwrap();
    assert_serves(node);
}
