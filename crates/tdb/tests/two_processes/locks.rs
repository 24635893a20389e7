use std::ops::ControlFlow::Continue;
use std::path::PathBuf;

use ctdb_tdb::{ErrorCode, OpenOptions, StoreMode, Tdb, TdbFlags};
use tempfile::TempDir;

use crate::agent::Agent;

/// One with fcntl locks, one with mutexes, with an agent each.
fn both_kinds() -> Vec<(TempDir, Tdb, Agent)> {
    let mutexes = TdbFlags::MUTEX_LOCKING | TdbFlags::CLEAR_IF_FIRST;
    assert!(ctdb_tdb::mutexes_supported());
    [TdbFlags::empty(), mutexes].into_iter().map(pair).collect()
}

fn pair(flags: TdbFlags) -> (TempDir, Tdb, Agent) {
    let dir = tempfile::tempdir().unwrap();
    let path: PathBuf = dir.path().join("a.tdb");
    let options = OpenOptions {
        hash_size: 7,
        flags,
        create: true,
        ..OpenOptions::default()
    };
    let tdb = Tdb::open(&path, &options).unwrap();
    let agent = Agent::start(&path, flags);
    (dir, tdb, agent)
}

#[test]
fn a_chain_lock_keeps_the_other_process_out_until_it_is_dropped() {
    for (_dir, tdb, mut agent) in both_kinds() {
        let lock = tdb.try_lock_chain(b"key").unwrap().unwrap();
        assert_eq!(lock.chain(), tdb.chain_of(b"key"));
        assert_eq!(agent.ask("try key"), "busy");
        drop(lock);
        assert_eq!(agent.ask("try key"), "ok");

        let lock = tdb.try_lock_chain_at(tdb.chain_of(b"key")).unwrap().unwrap();
        assert_eq!(agent.ask("try key"), "busy");
        lock.unlock().unwrap();
        assert_eq!(agent.ask("try key"), "ok");
    }
}

#[test]
fn a_contended_chain_is_none_and_free_again_when_the_holder_unlocks_or_dies() {
    for (_dir, tdb, mut agent) in both_kinds() {
        assert_eq!(agent.ask("lock key"), "ok");
        assert!(tdb.try_lock_chain(b"key").unwrap().is_none());
        assert!(tdb.try_lock_chain_read(b"key").unwrap().is_none());
        assert_eq!(agent.ask("unlock"), "ok");
        drop(tdb.lock_chain(b"key").unwrap());

        assert_eq!(agent.ask("lock key"), "ok");
        assert!(tdb.try_lock_chain(b"key").unwrap().is_none());
        agent.kill();
        assert!(tdb.try_lock_chain(b"key").unwrap().is_some());
        tdb.check().unwrap();
    }
}

#[test]
fn the_free_list_is_locked_like_a_chain_and_a_record_is_deleted_under_its_lock() {
    for (_dir, tdb, mut agent) in both_kinds() {
        tdb.store(b"key", b"value", StoreMode::Replace).unwrap();
        assert_eq!(agent.ask("lock-free-list"), "ok");
        assert!(tdb.try_lock_free_list().unwrap().is_none());
        assert!(tdb.try_lock_chain(b"key").unwrap().is_some(), "chains are free");
        assert_eq!(agent.ask("unlock"), "ok");

        let lock = tdb.try_lock_free_list().unwrap().unwrap();
        assert_eq!(agent.ask("lock-free-list"), "busy");
        assert!(tdb.delete(b"key").unwrap());
        drop(lock);
        assert_eq!(agent.ask("lock-free-list"), "ok");
        tdb.check().unwrap();
    }
}

#[test]
fn a_blocking_lock_is_got_when_the_holder_lets_go() {
    for (_dir, tdb, mut agent) in both_kinds() {
        let lock = tdb.lock_chain(b"key").unwrap();
        agent.tell("lock key");
        drop(lock);
        assert_eq!(agent.answer(), "ok");
        assert!(tdb.try_lock_chain(b"key").unwrap().is_none());
    }
}

#[test]
fn readers_share_a_chain_in_a_database_without_mutexes() {
    let (_dir, tdb, mut agent) = pair(TdbFlags::empty());
    let lock = tdb.lock_chain_read(b"key").unwrap();
    assert_eq!(agent.ask("try-read key"), "ok");
    assert_eq!(agent.ask("try key"), "busy");
    lock.unlock().unwrap();
    let lock = tdb.try_lock_chain_read(b"key").unwrap().unwrap();
    assert_eq!(agent.ask("try key"), "busy");
    drop(lock);
    assert_eq!(agent.ask("try key"), "ok");
}

#[test]
fn under_a_mark_the_chain_of_the_helper_can_be_used() {
    for (_dir, tdb, mut agent) in both_kinds() {
        assert_eq!(agent.ask("lock key"), "ok");
        assert!(tdb.try_lock_chain(b"key").unwrap().is_none());
        let mark = tdb.mark_chain(b"key").unwrap();
        tdb.store(b"key", b"value", StoreMode::Replace).unwrap();
        assert_eq!(tdb.fetch(b"key").unwrap().unwrap(), b"value");
        drop(
            tdb.try_lock_chain(b"key")
                .unwrap()
                .expect("counted under the mark"),
        );
        drop(mark);
        assert!(
            tdb.try_lock_chain(b"key").unwrap().is_none(),
            "the helper still has it"
        );
        assert_eq!(agent.ask("unlock"), "ok");
        assert!(tdb.try_lock_chain(b"key").unwrap().is_some());
        assert_eq!(agent.ask("fetch key"), "value");
    }
}

#[test]
fn the_lock_of_the_database_keeps_every_chain_and_is_kept_out_by_one() {
    for (_dir, tdb, mut agent) in both_kinds() {
        let all = tdb.try_lock_all().unwrap().unwrap();
        assert_eq!(agent.ask("try a"), "busy");
        assert_eq!(agent.ask("try-all"), "busy");
        all.unlock().unwrap();
        assert_eq!(agent.ask("try-all"), "ok");

        let chain = tdb.lock_chain(b"a").unwrap();
        assert_eq!(agent.ask("try-all"), "busy");
        agent.tell("lock-all");
        drop(chain);
        assert_eq!(agent.answer(), "ok");
        assert!(tdb.try_lock_all().unwrap().is_none());
        assert!(tdb.try_lock_all_read().unwrap().is_none());
        assert!(tdb.try_lock_chain(b"b").unwrap().is_none());
        assert_eq!(agent.ask("unlock-all"), "ok");
        drop(tdb.lock_all_read().unwrap());
        assert_eq!(agent.ask("lock-all"), "ok");
        agent.kill();
        drop(tdb.lock_all().unwrap());
    }
}

#[test]
fn a_frozen_database_is_read_and_replaced_under_marks() {
    for (_dir, tdb, mut agent) in both_kinds() {
        for i in 0..100_u32 {
            tdb.store(&i.to_le_bytes(), b"old", StoreMode::Insert).unwrap();
        }
        assert_eq!(agent.ask("lock-all"), "ok");
        {
            let _all = tdb.mark_all().unwrap();
            let _transaction_lock = tdb.mark_transaction_lock().unwrap();
            let seen = tdb.traverse(|_, _| Continue(())).unwrap();
            assert_eq!(seen, 100);
            tdb.store(b"pushed", b"new", StoreMode::Replace).unwrap();
        }
        let transaction = tdb.transaction_nolock().unwrap();
        {
            // As ctdbd is asked for its records in the middle of a recovery.
            let _all = tdb.mark_all().unwrap();
            let _transaction_lock = tdb.mark_transaction_lock().unwrap();
            assert_eq!(tdb.traverse(|_, _| Continue(())).unwrap(), 101);
        }
        tdb.wipe_all().unwrap();
        tdb.store(b"recovered", b"new", StoreMode::Replace).unwrap();
        transaction.commit().unwrap();
        assert!(!tdb.flags().contains(TdbFlags::NOLOCK));
        assert!(
            tdb.try_lock_chain(b"recovered").unwrap().is_none(),
            "the helper still has it"
        );
        assert_eq!(agent.ask("unlock-all"), "ok");
        assert_eq!(agent.ask("fetch recovered"), "new");
        assert_eq!(agent.ask("fetch pushed"), "none");
        tdb.check().unwrap();
    }
}

#[test]
fn a_lock_of_the_database_is_refused_while_we_hold_a_chain() {
    for (_dir, tdb, _agent) in both_kinds() {
        let _chain = tdb.lock_chain(b"a").unwrap();
        let error = tdb.try_lock_all().unwrap_err();
        assert_eq!((error.code, error.is_busy()), (ErrorCode::Lock, false));
        assert!(tdb.mark_all().is_err());
        assert_eq!(tdb.transaction().unwrap_err().code, ErrorCode::Lock);
    }
}
