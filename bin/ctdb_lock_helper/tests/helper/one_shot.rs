//! One process for one lock, as the C ctdbd starts it.

use std::fs::File;
use std::io::Read;
use std::os::fd::AsRawFd;
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, pipe};

use crate::databases::{Db, PERSISTENT, VOLATILE};
use crate::pool::{PROGRAM, spawn_with};

/// Starts it for this process; the pipe is where the answer comes.
fn start(args: &[&str]) -> (Child, File) {
    let (ours, theirs) = pipe().unwrap();
    let mut command = Command::new(PROGRAM);
    command
        .arg(std::process::id().to_string())
        .arg(theirs.as_raw_fd().to_string())
        .args(args);
    command.env("CTDB_NOSETSCHED", "1").stderr(Stdio::null());
    (spawn_with(theirs, &mut command), File::from(ours))
}

fn answer(pipe: &mut File) -> u8 {
    let mut byte = [77];
    pipe.read_exact(&mut byte).unwrap();
    byte[0]
}

fn end(mut child: Child) {
    kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGTERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn a_record_or_a_database_is_locked_until_sigterm() {
    for flags in [PERSISTENT, VOLATILE] {
        let db = Db::create(flags);
        let path = db.path.to_str().unwrap();
        let flags = format!("0x{:x}", flags.bits());
        let (child, mut pipe) = start(&["RECORD", path, &flags, "6b6579"]);
        assert_eq!(answer(&mut pipe), 0);
        assert!(db.tdb.try_lock_chain(b"key").unwrap().is_none());
        end(child);
        let chain = db.tdb.try_lock_chain(b"key").unwrap().unwrap();

        let (child, mut pipe) = start(&["DB", path, &flags]);
        drop(chain);
        assert_eq!(answer(&mut pipe), 0);
        assert!(db.tdb.try_lock_chain(b"any").unwrap().is_none());
        end(child);
        assert!(db.tdb.try_lock_all().unwrap().is_some());
    }
}

#[test]
fn null_is_the_empty_key() {
    let db = Db::create(VOLATILE);
    let (child, mut pipe) = start(&["RECORD", db.path.to_str().unwrap(), "0x1000", "NULL"]);
    assert_eq!(answer(&mut pipe), 0);
    assert!(db.tdb.try_lock_chain(b"").unwrap().is_none());
    end(child);
}

#[test]
fn a_lock_that_cannot_be_had_is_answered_with_1() {
    let (mut child, mut pipe) = start(&["DB", "/nowhere/a.tdb.1", "0x0"]);
    assert_eq!(answer(&mut pipe), 1);
    assert_eq!(child.wait().unwrap().code(), Some(1));
}

#[test]
fn a_wrong_command_line_is_explained() {
    let output = Command::new(PROGRAM).arg("--help-me").output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(
        text.contains("1 arguments do not fit") && text.contains("Usage: ctdb_lock_helper"),
        "{text}"
    );
}
