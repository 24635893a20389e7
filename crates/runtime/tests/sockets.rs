//! Streams and listeners of the real back end, over loopback and in a temporary directory.
#![allow(clippy::unwrap_used)] // a test may panic, its helpers too

use std::cell::Cell;
use std::io::{self, IoSlice};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::rc::Rc;
use std::time::Duration;

use ctdb_runtime::sync::join2;
use ctdb_runtime::{Handle, Runtime, Stream};

fn run<F: Future<Output = ()>>(test: impl FnOnce(Handle) -> F) {
    let runtime = Runtime::new().unwrap();
    runtime.block_on(test(runtime.handle()));
}

const ANY_PORT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

async fn echo(stream: Stream) {
    let mut buf = vec![0; 4096];
    while let Ok(n @ 1..) = stream.read(&mut buf).await {
        stream.write_all(&buf[..n]).await.unwrap();
    }
}

#[test]
fn tcp_connects_from_the_given_address_and_carries_bytes_both_ways() {
    run(|h| async move {
        let listener = h.listen_tcp(ANY_PORT).unwrap();
        let at = listener.local_addr().unwrap();
        let from: IpAddr = "127.0.0.7".parse().unwrap();
        let (client, server) = join2(h.connect_tcp(Some(from), at), listener.accept()).await;
        let (client, server) = (client.unwrap(), server.unwrap());
        assert_eq!(server.peer_addr().unwrap().ip(), from);
        assert_eq!(client.peer_addr(), Some(at));
        assert_eq!(server.peer_cred(), None);
        let server = h.spawn(echo(server));
        client.write_all(b"hello").await.unwrap();
        let mut buf = [0; 5];
        client.read_exact(&mut buf).await.unwrap();
        assert_eq!(&buf, b"hello");
        client.shutdown_write();
        server.await;
        assert_eq!(client.read(&mut buf).await.unwrap(), 0);
    });
}

#[test]
fn a_refused_connection_is_told_at_once() {
    run(|h| async move {
        let free = h.listen_tcp(ANY_PORT).unwrap().local_addr().unwrap();
        let error = h.connect_tcp(None, free).await.err().unwrap();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    });
}

#[test]
fn a_unix_socket_has_its_mode_and_tells_who_connected() {
    run(|h| async move {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sock");
        let listener = h.listen_unix(&path, 0o700, 10).unwrap();
        assert_eq!(
            std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o700
        );
        let client = h.connect_unix(&path).await.unwrap();
        let server = listener.accept().await.unwrap();
        let cred = server.peer_cred().unwrap();
        assert_eq!(cred.pid as u32, h.pid());
        assert_eq!(cred.uid, nix::unistd::getuid().as_raw());
        drop(client);
        assert_eq!(server.read(&mut [0; 8]).await.unwrap(), 0);
    });
}

#[test]
fn a_stale_socket_file_is_replaced_and_a_used_one_is_not() {
    run(|h| async move {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sock");
        let first = h.listen_unix(&path, 0o700, 10).unwrap();
        let error = h.listen_unix(&path, 0o700, 10).err().unwrap();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        drop(first);
        let _second = h.listen_unix(&path, 0o700, 10).unwrap();
        h.connect_unix(&path).await.unwrap();
        let plain = dir.path().join("plain");
        std::fs::write(&plain, "data").unwrap();
        assert!(h.listen_unix(&plain, 0o700, 10).is_err());
        assert_eq!(std::fs::read(&plain).unwrap(), b"data");
    });
}

#[test]
fn connecting_waits_while_the_backlog_is_full() {
    run(|h| async move {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sock");
        let listener = h.listen_unix(&path, 0o700, 1).unwrap();
        let clients: Vec<_> = (0..8)
            .map(|_| {
                let (h, path) = (h.clone(), path.clone());
                h.clone()
                    .spawn(async move { h.connect_unix(&path).await.map(drop) })
            })
            .collect();
        for _ in &clients {
            listener.accept().await.unwrap();
        }
        for client in clients {
            client.await.unwrap();
        }
    });
}

#[test]
fn end_of_stream_is_seen_when_it_comes_together_with_the_last_bytes() {
    run(|h| async move {
        for _ in 0..100 {
            let (a, b) = h.stream_pair().unwrap();
            a.write_all(b"last words").await.unwrap();
            drop(a);
            let mut buf = [0; 64];
            assert_eq!(b.read(&mut buf).await.unwrap(), 10);
            let end = h.timeout(Duration::from_secs(5), b.read(&mut buf)).await;
            assert_eq!(end.unwrap().unwrap(), 0);
        }
    });
}

#[test]
fn a_writer_is_held_back_by_a_reader_that_does_not_read() {
    run(|h| async move {
        const TOTAL: usize = 8 << 20;
        let (a, b) = h.stream_pair().unwrap();
        let written = Rc::new(Cell::new(0));
        let count = written.clone();
        let writer = h.spawn(async move {
            let chunk = vec![7; 64 * 1024];
            while count.get() < TOTAL {
                match a.try_write_vectored(&[IoSlice::new(&chunk), IoSlice::new(&chunk)]) {
                    Ok(n) => count.set(count.get() + n),
                    Err(e) if e.kind() == io::ErrorKind::WouldBlock => a.writable().await,
                    Err(e) => panic!("{e}"),
                }
            }
        });
        for _ in 0..5 {
            h.yield_now().await;
        }
        let held = written.get();
        assert!(held > 0 && held < TOTAL / 2, "{held} bytes went out");
        h.yield_now().await;
        assert_eq!(written.get(), held, "nothing more goes until something is read");
        let mut buf = vec![0; 1 << 20];
        let mut got = 0;
        while got < TOTAL {
            got += b.read(&mut buf).await.unwrap();
        }
        writer.await;
        assert_eq!(got, written.get());
    });
}

#[test]
fn writing_to_a_closed_peer_is_an_error_and_not_a_signal() {
    run(|h| async move {
        let (a, b) = h.stream_pair().unwrap();
        drop(b);
        let error = a.write_all(b"anyone?").await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    });
}

#[test]
fn a_plain_file_can_be_read_as_a_stream() {
    run(|h| async move {
        let file = tempfile::tempfile().unwrap();
        io::Write::write_all(&mut &file, b"text").unwrap();
        io::Seek::rewind(&mut &file).unwrap();
        let stream = h.stream_from_fd(file.into()).unwrap();
        assert_eq!(stream.read_to_end(100).await.unwrap(), b"text");
    });
}
