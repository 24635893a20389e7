//! How a helper ends.

use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::Stdio;
use std::thread;

use ctdb_lockhelper::protocol::{Reply, Request};

use crate::databases::{Db, PERSISTENT, VOLATILE};
use crate::pool::Helper;

#[test]
fn a_helper_ends_when_the_socket_closes_idle_or_waiting() {
    for flags in [PERSISTENT, VOLATILE] {
        let db = Db::create(flags);
        let mut idle = Helper::start();
        assert_eq!(idle.ask(&Request::TryLockDb { db: db.db() }), Reply::Ok);
        assert_eq!(idle.close().code(), Some(0));

        let _chain = db.tdb.lock_chain(b"key").expect("the lock went with the helper");
        let mut waiting = Helper::start();
        waiting.tell(&Request::Ping);
        assert_eq!(waiting.reply(), Reply::Ok);
        waiting.tell(&Request::LockRecord {
            db: db.db(),
            key: b"key",
        });
        assert_eq!(waiting.close().code(), Some(0));
    }
}

#[test]
fn a_helper_is_killed_with_its_parent() {
    // The kernel's signal is for the end of the thread that started the child.
    let mut helper = thread::spawn(|| {
        let mut helper = Helper::start();
        assert_eq!(helper.ask(&Request::Ping), Reply::Ok);
        helper
    })
    .join()
    .unwrap();
    assert_eq!(helper.child.wait().unwrap().signal(), Some(9));
}

#[test]
fn a_helper_whose_parent_is_already_gone_ends_at_once() {
    let mut helper = Helper::start_for(1, Stdio::null());
    assert_eq!(helper.child.wait().unwrap().code(), Some(0));
}

#[test]
fn nonsense_ends_a_helper_with_a_message() {
    for (bytes, message) in [
        (&b"\0\0\0\0\x07\0\x01\0"[..], "protocol version 7"),
        (b"\xff\xff\xff\x7f\x01\0\x01\0", "2147483647 bytes is longer than"),
        (b"\0\0\0\0\x01\0\x63\0", "unknown kind of frame 0x0063"),
        (b"\x02\0\0\0\x01\0\x02\0xx", "path: needs 4 bytes, 2 are left"),
        (b"\x01\0\0\0\x01\0\x01\0x", "1 bytes too many"),
    ] {
        let mut helper = Helper::start_for(std::process::id(), Stdio::piped());
        helper.socket.write_all(bytes).unwrap();
        assert_eq!(helper.child.wait().unwrap().code(), Some(1));
        let mut text = String::new();
        helper
            .child
            .stderr
            .take()
            .unwrap()
            .read_to_string(&mut text)
            .unwrap();
        assert!(text.contains(message), "{text}");
    }
}

#[test]
fn replies_come_in_the_order_of_requests() {
    let db = Db::create(VOLATILE);
    let mut helper = Helper::start();
    helper.tell(&Request::TryLockDb { db: db.db() });
    helper.tell(&Request::UnlockRecord);
    helper.tell(&Request::UnlockDb { path: &db.path });
    helper.tell(&Request::Check { db: db.db() });
    assert_eq!(helper.reply(), Reply::Ok);
    assert!(matches!(helper.reply(), Reply::Failed(_)));
    assert_eq!(helper.reply(), Reply::Ok);
    assert_eq!(helper.reply(), Reply::Ok);
}
