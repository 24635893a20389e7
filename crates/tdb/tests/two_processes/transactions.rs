use ctdb_tdb::{ErrorCode, OpenOptions, StoreMode, Tdb, TdbFlags};
use tempfile::TempDir;

use crate::agent::Agent;

fn persistent() -> (TempDir, Tdb, Agent) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("p.tdb");
    let flags = TdbFlags::DISALLOW_NESTING;
    let options = OpenOptions {
        hash_size: 7,
        flags,
        create: true,
        ..OpenOptions::default()
    };
    let tdb = Tdb::open(&path, &options).unwrap();
    tdb.store(b"key", b"old", StoreMode::Replace).unwrap();
    let agent = Agent::start(&path, flags);
    (dir, tdb, agent)
}

#[test]
fn the_changes_of_a_transaction_are_seen_by_others_when_it_commits() {
    let (_dir, tdb, mut agent) = persistent();
    let mut transaction = tdb.transaction().unwrap();
    assert!(tdb.transaction_active());
    transaction
        .tdb()
        .store(b"key", b"new", StoreMode::Replace)
        .unwrap();
    assert_eq!(tdb.fetch(b"key").unwrap().unwrap(), b"new");
    assert_eq!(agent.ask("fetch key"), "old");
    assert_eq!(agent.ask("try-start"), "busy");
    transaction.prepare_commit().unwrap();
    transaction.commit().unwrap();
    assert!(!tdb.transaction_active());
    assert_eq!(agent.ask("fetch key"), "new");
    assert_eq!(agent.ask("try-start"), "ok");
}

#[test]
fn a_cancelled_or_dropped_transaction_changes_nothing() {
    let (_dir, tdb, mut agent) = persistent();
    let transaction = tdb.transaction().unwrap();
    tdb.store(b"key", b"new", StoreMode::Replace).unwrap();
    transaction.cancel().unwrap();
    assert_eq!(agent.ask("fetch key"), "old");

    let mut transaction = tdb.transaction().unwrap();
    tdb.wipe_all().unwrap();
    transaction.prepare_commit().unwrap();
    drop(transaction);
    assert!(!tdb.transaction_active());
    assert_eq!(tdb.fetch(b"key").unwrap().unwrap(), b"old");
    assert_eq!(agent.ask("fetch key"), "old");
    tdb.check().unwrap();
}

#[test]
fn a_second_transaction_of_the_same_process_is_refused() {
    let (_dir, tdb, mut agent) = persistent();
    let transaction = tdb.transaction().unwrap();
    assert_eq!(tdb.transaction().unwrap_err().code, ErrorCode::Nesting);
    transaction.cancel().unwrap();
    assert_eq!(agent.ask("start"), "ok");
    assert!(tdb.transaction_nonblock().unwrap().is_none());
}

#[test]
fn the_transaction_of_a_process_that_dies_is_undone() {
    for last_step in ["store key new", "prepare"] {
        let (_dir, tdb, mut agent) = persistent();
        assert_eq!(agent.ask("start"), "ok");
        assert_eq!(agent.ask("store key new"), "ok");
        assert_eq!(agent.ask(last_step), "ok");
        agent.kill();
        assert_eq!(tdb.fetch(b"key").unwrap().unwrap(), b"old", "after {last_step}");
        tdb.check().unwrap();
        let transaction = tdb.transaction().unwrap();
        tdb.store(b"key", b"newer", StoreMode::Replace).unwrap();
        transaction.commit().unwrap();
        assert_eq!(tdb.fetch(b"key").unwrap().unwrap(), b"newer");
    }
}

#[test]
fn a_commit_of_the_other_process_is_read_here() {
    let (_dir, tdb, mut agent) = persistent();
    for command in ["start", "store key new", "store more data", "commit"] {
        assert_eq!(agent.ask(command), "ok");
    }
    assert_eq!(tdb.fetch(b"key").unwrap().unwrap(), b"new");
    assert_eq!(tdb.fetch(b"more").unwrap().unwrap(), b"data");
}
