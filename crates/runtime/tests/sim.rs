//! The virtual back end.
#![allow(clippy::unwrap_used)] // a test may panic, its helpers too

use std::cell::{Cell, RefCell};
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use ctdb_runtime::sync::join2;
use ctdb_runtime::{ExitStatus, Handle, Instant, Io, Program, Signal, Sim, Stream};

const MINUTE: Duration = Duration::from_secs(60);

fn ip(last: u8) -> IpAddr {
    IpAddr::from([10, 0, 0, last])
}

fn at(last: u8) -> SocketAddr {
    SocketAddr::new(ip(last), 4379)
}

fn two_hosts(seed: u64) -> (Sim, Handle, Handle) {
    let mut sim = Sim::new(seed);
    let a = sim.host("a", ip(1));
    let b = sim.host("b", ip(2));
    (sim, a, b)
}

async fn echo(h: Handle) -> io::Result<()> {
    let listener = h.listen_tcp(at(2))?;
    loop {
        let stream = listener.accept().await?;
        h.spawn(async move {
            let mut buf = [0; 1024];
            while let Ok(n @ 1..) = stream.read(&mut buf).await {
                if stream.write_all(&buf[..n]).await.is_err() {
                    break;
                }
            }
        })
        .detach();
    }
}

async fn ping(stream: &Stream, count: u32) -> io::Result<()> {
    for i in 0..count {
        stream.write_all(&i.to_le_bytes()).await?;
        let mut back = [0; 4];
        stream.read_exact(&mut back).await?;
        assert_eq!(u32::from_le_bytes(back), i);
    }
    Ok(())
}

/// A connection from host a to the echo service on host b.
fn connected(seed: u64) -> (Sim, Handle, Handle, Stream) {
    let (mut sim, a, b) = two_hosts(seed);
    b.spawn(echo(b.clone())).detach();
    sim.run_for(Duration::from_millis(1));
    let stream = sim
        .run_until(MINUTE, a.connect_tcp(None, at(2)))
        .unwrap()
        .unwrap();
    (sim, a, b, stream)
}

fn lossy_ping_pong(seed: u64) -> (Vec<String>, u64, Duration) {
    let (mut sim, a, b) = two_hosts(seed);
    sim.set_loss("a", "b", 0.2);
    sim.set_loss("b", "a", 0.2);
    sim.set_losses_max(100);
    b.spawn(echo(b.clone())).detach();
    let start = sim.now();
    let client = async {
        let stream = a.connect_tcp(None, at(2)).await?;
        ping(&stream, 100).await
    };
    sim.run_until(60 * MINUTE, client).unwrap().unwrap();
    (sim.trace(), sim.trace_hash(), sim.now() - start)
}

#[test]
fn a_lossy_ping_pong_replays_from_its_seed_and_another_seed_gives_another_run() {
    let (trace, hash, took) = lossy_ping_pong(7);
    assert!(
        trace.iter().any(|line| line.contains("loses")),
        "{}",
        trace.join("\n")
    );
    assert!(
        took > Duration::from_secs(1),
        "retransmissions take time: {took:?}"
    );
    assert_eq!(lossy_ping_pong(7), (trace, hash, took));
    assert_ne!(lossy_ping_pong(8).1, hash);
}

#[test]
fn the_clock_jumps_to_the_next_timer() {
    let (mut sim, a, _) = two_hosts(1);
    let real = std::time::Instant::now();
    sim.run_until(1000 * MINUTE, a.sleep(500 * MINUTE)).unwrap();
    assert!(sim.now() >= Instant::START + 500 * MINUTE);
    assert!(real.elapsed() < Duration::from_secs(5));
    assert!(sim.run_until(MINUTE, a.sleep(2 * MINUTE)).is_err());
}

#[test]
fn time_goes_on_while_a_task_never_rests() {
    let (mut sim, a, _) = two_hosts(1);
    let h = a.clone();
    a.spawn(async move {
        loop {
            h.yield_now().await;
        }
    })
    .detach();
    sim.run_until(MINUTE, a.sleep(Duration::from_millis(1))).unwrap();
}

#[test]
fn bytes_arrive_in_order_despite_losses_and_a_slow_reader_holds_the_writer_back() {
    const TOTAL: usize = 3 << 20;
    let (mut sim, a, b) = two_hosts(3);
    sim.set_loss("a", "b", 0.05);
    sim.set_losses_max(50);
    let listener = b.listen_tcp(at(2)).unwrap();
    let sent = Rc::new(Cell::new(0));
    let count = sent.clone();
    let writer = a.clone();
    a.spawn(async move {
        let stream = writer.connect_tcp(None, at(2)).await.unwrap();
        let bytes: Vec<u8> = (0..TOTAL).map(|i| (i % 251) as u8).collect();
        for chunk in bytes.chunks(10_000) {
            stream.write_all(chunk).await.unwrap();
            count.set(count.get() + chunk.len());
        }
    })
    .detach();
    let stream = sim.run_until(MINUTE, listener.accept()).unwrap().unwrap();
    sim.run_for(10 * MINUTE);
    assert!(sent.get() < TOTAL / 2, "{} bytes went out unread", sent.get());
    let got = sim
        .run_until(60 * MINUTE, stream.read_to_end(TOTAL))
        .unwrap()
        .unwrap();
    assert_eq!(got.len(), TOTAL);
    assert!(got.iter().enumerate().all(|(i, b)| *b == (i % 251) as u8));
}

#[test]
fn a_short_partition_delays_and_a_long_one_breaks_the_connection() {
    let (mut sim, _, _, stream) = connected(4);
    sim.partition("a", "b");
    assert!(sim.run_until(Duration::from_secs(1), ping(&stream, 1)).is_err());
    sim.heal("a", "b");
    let mut back = [0; 4];
    sim.run_until(MINUTE, stream.read_exact(&mut back))
        .unwrap()
        .unwrap();
    sim.run_until(MINUTE, ping(&stream, 10)).unwrap().unwrap();

    sim.partition("a", "b");
    let error = sim.run_until(10 * MINUTE, ping(&stream, 1)).unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TimedOut);
}

#[test]
fn connecting_across_a_partition_times_out_and_to_nobody_is_refused() {
    let (mut sim, a, _) = two_hosts(5);
    let refused = sim.run_until(MINUTE, a.connect_tcp(None, at(2))).unwrap();
    assert_eq!(refused.err().unwrap().kind(), ErrorKind::ConnectionRefused);
    sim.partition("a", "b");
    let timed_out = sim.run_until(10 * MINUTE, a.connect_tcp(None, at(2))).unwrap();
    assert_eq!(timed_out.err().unwrap().kind(), ErrorKind::TimedOut);
}

#[test]
fn a_crash_drops_all_tasks_resets_connections_and_the_host_can_start_again() {
    let (mut sim, a, b, stream) = connected(6);
    let token = Rc::new(());
    let (held, h) = (token.clone(), b.clone());
    b.spawn(async move {
        let _held = held;
        h.sleep(1000 * MINUTE).await;
    })
    .detach();
    sim.run_until(MINUTE, ping(&stream, 3)).unwrap().unwrap();
    sim.crash("b");
    let error = sim
        .run_until(MINUTE, stream.read(&mut [0; 8]))
        .unwrap()
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    assert_eq!(Rc::strong_count(&token), 1);
    // What is started on the dead process never runs.
    drop(b.spawn(async { panic!("a task of a dead process ran") }));
    let refused = sim.run_until(MINUTE, a.connect_tcp(None, at(2))).unwrap();
    assert_eq!(refused.err().unwrap().kind(), ErrorKind::ConnectionRefused);
    let b = sim.restart("b");
    b.spawn(echo(b.clone())).detach();
    sim.run_for(Duration::from_millis(1));
    let stream = sim
        .run_until(MINUTE, a.connect_tcp(None, at(2)))
        .unwrap()
        .unwrap();
    sim.run_until(MINUTE, ping(&stream, 3)).unwrap().unwrap();
}

#[test]
fn a_paused_host_answers_when_it_goes_on() {
    let (mut sim, _, _, stream) = connected(7);
    sim.pause("b");
    assert!(sim.run_until(MINUTE, ping(&stream, 1)).is_err());
    sim.resume("b");
    let mut back = [0; 4];
    sim.run_until(MINUTE, stream.read_exact(&mut back))
        .unwrap()
        .unwrap();
}

#[test]
fn unix_sockets_belong_to_a_host_and_tell_the_peer() {
    let (mut sim, a, b) = two_hosts(8);
    let path = Path::new("/run/ctdb/ctdbd.socket");
    let not_found = sim.run_until(MINUTE, a.connect_unix(path)).unwrap();
    assert_eq!(not_found.err().unwrap().kind(), ErrorKind::NotFound);
    let listener = a.listen_unix(path, 0o700, 10).unwrap();
    assert_eq!(
        a.listen_unix(path, 0o700, 10).err().unwrap().kind(),
        ErrorKind::AddrInUse
    );
    let elsewhere = sim.run_until(MINUTE, b.connect_unix(path)).unwrap();
    assert_eq!(elsewhere.err().unwrap().kind(), ErrorKind::NotFound);
    let (client, server) = sim
        .run_until(MINUTE, join2(a.connect_unix(path), listener.accept()))
        .unwrap();
    let (client, server) = (client.unwrap(), server.unwrap());
    assert_eq!(server.peer_cred().unwrap().pid as u32, a.pid());
    sim.run_until(MINUTE, client.write_all(b"hi")).unwrap().unwrap();
    drop(client);
    assert_eq!(
        sim.run_until(MINUTE, server.read_to_end(9)).unwrap().unwrap(),
        b"hi"
    );
    drop(listener);
    let refused = sim.run_until(MINUTE, a.connect_unix(path)).unwrap();
    assert_eq!(refused.err().unwrap().kind(), ErrorKind::ConnectionRefused);
}

#[test]
fn a_program_runs_as_a_process_with_arguments_pipes_and_an_exit_status() {
    let (mut sim, a, _) = two_hosts(9);
    sim.register_program("a", "helper", |launch| async move {
        let number: i32 = launch.args[2].to_str().unwrap().parse().unwrap();
        let pipe = launch.handle.inherited_stream(number).unwrap();
        assert!(launch.handle.inherited_stream(number).is_err());
        let said = launch.stdin.unwrap().read_to_end(100).await.unwrap();
        pipe.write_all(&said).await.unwrap();
        launch.handle.sleep(MINUTE).await;
        assert_eq!(launch.args[0], "the-helper");
        launch
            .env
            .get(std::ffi::OsStr::new("STATUS"))
            .unwrap()
            .to_str()
            .unwrap()
            .parse()
            .unwrap()
    });
    let mut program = Program::new("/usr/libexec/ctdb/helper")
        .arg0("the-helper")
        .arg("x")
        .env("STATUS", "3")
        .stdin(Io::Pipe);
    let pipe = program.pipe_from_child();
    let mut child = a.spawn_program(program.arg_pipe(pipe)).unwrap();
    assert_ne!(child.pid(), a.pid());
    let stdin = child.stdin().unwrap();
    sim.run_until(MINUTE, stdin.write_all(b"words")).unwrap().unwrap();
    drop(stdin);
    let pipe = child.take_pipe(pipe).unwrap();
    assert_eq!(
        sim.run_until(2 * MINUTE, pipe.read_to_end(100)).unwrap().unwrap(),
        b"words"
    );
    assert_eq!(
        sim.run_until(MINUTE, child.wait()).unwrap(),
        ExitStatus::Exited(3)
    );
    let missing = a.spawn_program(Program::new("/usr/bin/other")).err().unwrap();
    assert_eq!(missing.kind(), ErrorKind::NotFound);
}

#[test]
fn signals_reach_those_who_listen_and_end_the_others() {
    let (mut sim, a, _) = two_hosts(10);
    let log = Rc::new(RefCell::new(Vec::new()));
    let heard = log.clone();
    sim.register_program("a", "listens", move |launch| {
        let heard = heard.clone();
        async move {
            let signals = launch.handle.signals(&[Signal::SIGTERM]).unwrap();
            let signal = signals.recv().await;
            heard.borrow_mut().push(signal);
            0
        }
    });
    sim.register_program("a", "sleeps", |launch| async move {
        launch.handle.sleep(100 * MINUTE).await;
        0
    });
    let mut listens = a.spawn_program(Program::new("listens")).unwrap();
    let mut sleeps = a.spawn_program(Program::new("sleeps")).unwrap();
    sim.run_for(Duration::from_millis(1));
    listens.kill(Signal::SIGTERM).unwrap();
    sleeps.kill(Signal::SIGTERM).unwrap();
    assert_eq!(
        sim.run_until(MINUTE, listens.wait()).unwrap(),
        ExitStatus::Exited(0)
    );
    assert_eq!(
        sim.run_until(MINUTE, sleeps.wait()).unwrap(),
        ExitStatus::Killed(15)
    );
    assert_eq!(*log.borrow(), [Signal::SIGTERM]);
    assert!(sleeps.kill(Signal::SIGTERM).is_err());
}

#[test]
fn a_stopped_process_waits_and_a_child_can_die_with_its_parent() {
    let (mut sim, a, _) = two_hosts(11);
    let beats = Rc::new(Cell::new(0));
    let count = beats.clone();
    sim.register_program("a", "beats", move |launch| {
        let count = count.clone();
        async move {
            loop {
                count.set(count.get() + 1);
                launch.handle.sleep(Duration::from_secs(1)).await;
            }
        }
    });
    sim.register_program("a", "parent", |launch| async move {
        let mut child = launch
            .handle
            .spawn_program(Program::new("beats").die_with_parent())
            .unwrap();
        child.wait().await;
        0
    });
    let parent = a.spawn_program(Program::new("parent")).unwrap();
    sim.run_for(Duration::from_millis(4500));
    assert_eq!(beats.get(), 5);
    sim.pause("a");
    sim.run_for(MINUTE);
    sim.resume("a");
    sim.run_for(Duration::from_millis(1500));
    assert_eq!(beats.get(), 7, "one beat was due, one came after it");
    parent.kill(Signal::SIGKILL).unwrap();
    sim.run_for(MINUTE);
    assert_eq!(beats.get(), 7);
}

#[test]
fn a_process_that_ends_closes_its_connections() {
    let (mut sim, a, b) = two_hosts(12);
    let listener = b.listen_tcp(at(2)).unwrap();
    sim.register_program("a", "client", |launch| async move {
        let stream = launch.handle.connect_tcp(None, at(2)).await.unwrap();
        stream.write_all(b"bye").await.unwrap();
        std::mem::forget(stream); // a leak is closed all the same
        0
    });
    a.spawn_program(Program::new("client")).unwrap();
    let server = sim.run_until(MINUTE, listener.accept()).unwrap().unwrap();
    assert_eq!(server.peer_addr().unwrap().ip(), ip(1));
    assert_eq!(
        sim.run_until(MINUTE, server.read_to_end(9)).unwrap().unwrap(),
        b"bye"
    );
    // Nobody is there: what is written comes back as a reset.
    sim.run_until(MINUTE, server.write_all(b"hello?"))
        .unwrap()
        .unwrap();
    let error = sim.run_until(MINUTE, async {
        loop {
            if let Err(e) = server.write_all(b"hello?").await {
                break e;
            }
            b.sleep(Duration::from_millis(1)).await;
        }
    });
    assert_eq!(error.unwrap().kind(), ErrorKind::ConnectionReset);
}

#[test]
fn descriptors_of_the_real_system_are_refused() {
    let (_sim, a, _) = two_hosts(13);
    let file = std::fs::File::open("/dev/null").unwrap();
    assert_eq!(
        a.stream_from_fd(file.into()).err().unwrap().kind(),
        ErrorKind::Unsupported
    );
}
