use std::path::Path;
use std::time::Instant;

use ctdb_lockhelper::protocol::{Database, Reply, Request};
use ctdb_tdb::{StoreMode, TdbFlags};

use crate::databases::{Db, PERSISTENT, VOLATILE};
use crate::pool::{Helper, failure};

#[test]
fn a_contended_record_is_waited_for_and_used_under_a_mark() {
    for flags in [PERSISTENT, VOLATILE] {
        let db = Db::create(flags);
        let (mut smbd, mut helper) = (Helper::start(), Helper::start());
        assert_eq!(smbd.lock_record(db.db(), b"key"), Reply::Ok);
        assert!(db.tdb.try_lock_chain(b"key").unwrap().is_none());

        helper.tell(&Request::LockRecord {
            db: db.db(),
            key: b"key",
        });
        assert_eq!(smbd.ask(&Request::UnlockRecord), Reply::Ok);
        assert_eq!(helper.reply(), Reply::Ok);

        assert!(db.tdb.try_lock_chain(b"key").unwrap().is_none());
        let mark = db.tdb.mark_chain(b"key").unwrap();
        db.tdb.store(b"key", b"data", StoreMode::Replace).unwrap();
        drop(mark);
        assert_eq!(helper.ask(&Request::UnlockRecord), Reply::Ok);
        assert!(db.tdb.try_lock_chain(b"key").unwrap().is_some());
    }
}

#[test]
fn a_helper_holds_one_record_and_says_so() {
    let db = Db::create(VOLATILE);
    let mut helper = Helper::start();
    assert!(failure(helper.ask(&Request::UnlockRecord)).contains("no record is locked"));
    assert_eq!(helper.lock_record(db.db(), b"a"), Reply::Ok);
    assert!(failure(helper.lock_record(db.db(), b"b")).contains("still locked"));
    assert!(failure(helper.ask(&Request::Close { path: &db.path })).contains("still locked"));
    assert_eq!(helper.ask(&Request::UnlockRecord), Reply::Ok);
    assert_eq!(helper.ask(&Request::Close { path: &db.path }), Reply::Ok);
    assert_eq!(helper.ask(&Request::Close { path: &db.path }), Reply::Ok);
}

#[test]
fn a_file_that_cannot_be_opened_is_a_failure_that_names_it() {
    let mut helper = Helper::start();
    let path = Path::new("/nowhere/a.tdb.1");
    let db = Database {
        path,
        flags: TdbFlags::empty(),
        max_dead: 0,
    };
    for request in [
        Request::LockRecord { db, key: b"" },
        Request::TryLockDb { db },
        Request::LockDb { db },
        Request::Check { db },
    ] {
        let text = failure(helper.ask(&request));
        assert!(
            text.contains("/nowhere/a.tdb.1: open") && text.contains("No such file"),
            "{text}"
        );
    }
    assert_eq!(helper.ask(&Request::Ping), Reply::Ok);
}

#[test]
fn a_keeper_holds_fifty_databases() {
    let dbs: Vec<Db> = (0..50)
        .map(|i| Db::create(if i % 2 == 0 { PERSISTENT } else { VOLATILE }))
        .collect();
    let mut keeper = Helper::start();
    for db in &dbs {
        assert_eq!(keeper.ask(&Request::TryLockDb { db: db.db() }), Reply::Ok);
    }
    for db in &dbs {
        assert!(db.tdb.try_lock_chain(b"any").unwrap().is_none());
        assert!(failure(keeper.ask(&Request::TryLockDb { db: db.db() })).contains("already locked"));
        let _mark = db.tdb.mark_all().unwrap();
        db.tdb.store(b"key", b"data", StoreMode::Replace).unwrap();
    }
    for db in &dbs[..25] {
        assert_eq!(keeper.ask(&Request::UnlockDb { path: &db.path }), Reply::Ok);
        assert!(db.tdb.try_lock_all().unwrap().is_some());
        assert!(failure(keeper.ask(&Request::UnlockDb { path: &db.path })).contains("not locked"));
    }
    keeper.kill();
    for db in &dbs {
        assert!(db.tdb.try_lock_all().unwrap().is_some());
    }
}

#[test]
fn a_busy_database_is_told_at_once_and_waited_for_by_another_helper() {
    for flags in [PERSISTENT, VOLATILE] {
        let db = Db::create(flags);
        let (mut keeper, mut fresh) = (Helper::start(), Helper::start());
        let chain = db.tdb.lock_chain(b"key").unwrap();
        assert_eq!(keeper.ask(&Request::TryLockDb { db: db.db() }), Reply::Busy);
        fresh.tell(&Request::LockDb { db: db.db() });
        drop(chain);
        assert_eq!(fresh.reply(), Reply::Ok);
        assert_eq!(keeper.ask(&Request::TryLockDb { db: db.db() }), Reply::Busy);
        assert!(db.tdb.try_lock_chain(b"key").unwrap().is_none());
        assert_eq!(fresh.ask(&Request::UnlockDb { path: &db.path }), Reply::Ok);
        assert!(db.tdb.try_lock_chain(b"key").unwrap().is_some());
    }
}

#[test]
fn the_locks_of_a_helper_that_dies_are_free() {
    for flags in [PERSISTENT, VOLATILE] {
        let db = Db::create(flags);
        let mut helper = Helper::start();
        assert_eq!(helper.lock_record(db.db(), b"key"), Reply::Ok);
        assert!(db.tdb.try_lock_chain(b"key").unwrap().is_none());
        helper.kill();
        assert!(db.tdb.try_lock_chain(b"key").unwrap().is_some());
    }
}

#[test]
fn a_lock_by_a_helper_takes_microseconds() {
    let db = Db::create(VOLATILE);
    let mut helper = Helper::start();
    assert_eq!(helper.lock_record(db.db(), b"key"), Reply::Ok);
    assert_eq!(helper.ask(&Request::UnlockRecord), Reply::Ok);
    let rounds = 2000;
    let start = Instant::now();
    for _ in 0..rounds {
        assert_eq!(helper.lock_record(db.db(), b"key"), Reply::Ok);
        helper.tell(&Request::UnlockRecord);
        assert_eq!(helper.reply(), Reply::Ok);
    }
    println!(
        "lock and unlock by a helper: {:?} a pair",
        start.elapsed() / rounds
    );
}
