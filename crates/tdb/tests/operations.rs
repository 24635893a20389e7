//! Records, traverse, flags and upkeep within one process.
#![allow(clippy::unwrap_used)] // in a test, a panic is the report

use std::collections::BTreeMap;
use std::ops::ControlFlow::{Break, Continue};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use ctdb_tdb::{Access, Chain, ErrorCode, OpenOptions, StoreMode, Tdb, TdbFlags};
use proptest::prelude::*;

fn create(flags: TdbFlags) -> (tempfile::TempDir, Tdb) {
    let dir = tempfile::tempdir().unwrap();
    let options = OpenOptions {
        hash_size: 11,
        flags,
        create: true,
        ..OpenOptions::default()
    };
    let tdb = Tdb::open(dir.path().join("a.tdb"), &options).unwrap();
    (dir, tdb)
}

#[test]
fn a_record_is_stored_found_looked_at_and_deleted() {
    let (_dir, tdb) = create(TdbFlags::empty());
    assert_eq!(tdb.fetch(b"key").unwrap(), None);
    assert!(!tdb.exists(b"key").unwrap());
    tdb.store(b"key", b"value", StoreMode::Insert).unwrap();
    assert!(tdb.exists(b"key").unwrap());
    assert_eq!(tdb.parse(b"key", <[u8]>::len).unwrap(), Some(5));
    tdb.store_vectored(b"key", &[b"header", b"", b"data"], StoreMode::Modify)
        .unwrap();
    assert_eq!(tdb.fetch(b"key").unwrap().unwrap(), b"headerdata");
    assert!(tdb.delete(b"key").unwrap());
    assert!(!tdb.delete(b"key").unwrap());
    assert_eq!(tdb.parse(b"key", <[u8]>::len).unwrap(), None);
}

#[test]
fn an_empty_key_and_empty_data_are_a_record() {
    let (_dir, tdb) = create(TdbFlags::empty());
    tdb.store(b"", b"", StoreMode::Insert).unwrap();
    assert_eq!(tdb.fetch(b"").unwrap().unwrap(), b"");
    assert_eq!(
        tdb.traverse_read(|key, data| {
            assert!(key.is_empty() && data.is_empty());
            Continue(())
        })
        .unwrap(),
        1
    );
}

#[test]
fn store_modes_are_kept() {
    let (_dir, tdb) = create(TdbFlags::empty());
    assert_eq!(
        tdb.store(b"k", b"v", StoreMode::Modify).unwrap_err().code,
        ErrorCode::NoExist
    );
    tdb.store(b"k", b"v", StoreMode::Insert).unwrap();
    assert_eq!(
        tdb.store(b"k", b"v", StoreMode::Insert).unwrap_err().code,
        ErrorCode::Exists
    );
    assert_eq!(
        tdb.store_vectored(b"k", &[b"x".as_slice(); 9], StoreMode::Replace)
            .unwrap_err()
            .code,
        ErrorCode::Invalid
    );
}

#[test]
fn a_file_opens_once_in_a_process() {
    let (dir, tdb) = create(TdbFlags::empty());
    let path = dir.path().join("a.tdb");
    let error = Tdb::open(&path, &OpenOptions::default()).unwrap_err();
    assert_eq!((error.code, error.errno), (ErrorCode::Open, libc::EBUSY));
    assert!(error.to_string().starts_with(path.to_str().unwrap()), "{error}");
    // A lock keeps the database open, too.
    let lock = tdb.lock_chain(b"a").unwrap();
    drop(tdb);
    assert!(Tdb::open(&path, &OpenOptions::default()).is_err());
    drop(lock);
    Tdb::open(&path, &OpenOptions::default()).unwrap();
}

#[test]
fn errors_of_open_tell_errno() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("not.tdb");
    let errno = |options: &OpenOptions| Tdb::open(&path, options).unwrap_err().errno;
    assert_eq!(errno(&OpenOptions::default()), libc::ENOENT);
    std::fs::write(&path, b"no database").unwrap();
    assert_eq!(errno(&OpenOptions::default()), libc::EIO);
    let exclusive = OpenOptions {
        create: true,
        exclusive: true,
        ..OpenOptions::default()
    };
    assert_eq!(errno(&exclusive), libc::EEXIST);
    assert_eq!(
        errno(&OpenOptions {
            hash_size: u32::MAX,
            ..OpenOptions::default()
        }),
        libc::EINVAL
    );
    assert_eq!(
        Tdb::open("a\0b", &OpenOptions::default()).unwrap_err().errno,
        libc::EINVAL
    );
}

#[test]
fn a_database_open_for_reading_cannot_be_changed() {
    let (dir, tdb) = create(TdbFlags::MUTEX_LOCKING);
    tdb.store(b"k", b"v", StoreMode::Insert).unwrap();
    drop(tdb);
    let options = OpenOptions {
        access: Access::ReadOnly,
        ..OpenOptions::default()
    };
    let tdb = Tdb::open(dir.path().join("a.tdb"), &options).unwrap();
    assert_eq!(tdb.fetch(b"k").unwrap().unwrap(), b"v");
    assert_eq!(
        tdb.store(b"k", b"w", StoreMode::Replace).unwrap_err().code,
        ErrorCode::ReadOnly
    );
    assert_eq!(tdb.delete(b"k").unwrap_err().code, ErrorCode::ReadOnly);
    assert!(tdb.flags().contains(TdbFlags::NOLOCK));
}

#[test]
fn flags_are_set_and_cleared_and_nolock_ends_with_its_scope() {
    let (_dir, tdb) = create(TdbFlags::NOSYNC | TdbFlags::INCOMPATIBLE_HASH);
    assert!(
        tdb.flags()
            .contains(TdbFlags::NOSYNC | TdbFlags::INCOMPATIBLE_HASH | TdbFlags::ALLOW_NESTING)
    );
    tdb.remove_flags(TdbFlags::NOSYNC);
    assert!(!tdb.flags().contains(TdbFlags::NOSYNC));
    tdb.with_nolock(|tdb| {
        assert!(tdb.flags().contains(TdbFlags::NOLOCK));
        tdb.with_nolock(|tdb| assert!(tdb.flags().contains(TdbFlags::NOLOCK)));
        assert!(tdb.flags().contains(TdbFlags::NOLOCK));
    });
    assert!(!tdb.flags().contains(TdbFlags::NOLOCK));
}

#[test]
fn while_a_record_is_looked_at_the_database_is_not_to_be_used() {
    let (_dir, tdb) = create(TdbFlags::empty());
    tdb.store(b"k", b"v", StoreMode::Insert).unwrap();
    let refused = |error: ctdb_tdb::TdbError| assert_eq!(error.code, ErrorCode::InUse);
    tdb.parse(b"k", |_| {
        refused(tdb.store(b"l", &[0; 100_000], StoreMode::Insert).unwrap_err());
        refused(tdb.fetch(b"k").unwrap_err());
        refused(tdb.lock_chain(b"k").unwrap_err());
        refused(tdb.transaction().unwrap_err());
    })
    .unwrap()
    .unwrap();
    let chain = tdb.chain_of(b"k");
    assert_eq!(
        tdb.traverse_chain(chain, |_, _| {
            refused(tdb.wipe_all().unwrap_err());
            Continue(())
        })
        .unwrap(),
        1
    );
    tdb.check_records(|_, _| {
        refused(tdb.delete(b"k").unwrap_err());
        true
    })
    .unwrap();
    assert!(tdb.exists(b"k").unwrap());
}

#[test]
fn a_panic_in_a_callback_arrives_at_the_caller_and_leaves_no_lock() {
    let (_dir, tdb) = create(TdbFlags::empty());
    tdb.store(b"k", b"v", StoreMode::Insert).unwrap();
    let chain = tdb.chain_of(b"k");
    let calls: [&dyn Fn(); 5] = [
        &|| drop(tdb.parse(b"k", |_| panic!("parse"))),
        &|| drop(tdb.traverse_read(|_, _| panic!("traverse_read"))),
        &|| drop(tdb.traverse(|_, _| panic!("traverse"))),
        &|| drop(tdb.traverse_chain(chain, |_, _| panic!("traverse_chain"))),
        &|| drop(tdb.check_records(|_, _| panic!("check"))),
    ];
    for call in calls {
        assert!(catch_unwind(AssertUnwindSafe(call)).is_err());
        tdb.store(b"k", b"v", StoreMode::Replace).unwrap();
        drop(tdb.lock_all().unwrap());
    }
}

#[test]
fn a_traverse_stops_when_told_and_may_delete() {
    let (_dir, tdb) = create(TdbFlags::empty());
    for i in 0..100_u32 {
        tdb.store(&i.to_le_bytes(), b"v", StoreMode::Insert).unwrap();
    }
    let mut seen = 0;
    let visited = tdb
        .traverse_read(|_, _| {
            seen += 1;
            if seen == 10 { Break(()) } else { Continue(()) }
        })
        .unwrap();
    assert_eq!((seen, visited), (10, 10));
    let visited = tdb
        .traverse(|key, _| {
            assert!(tdb.delete(key).unwrap());
            Continue(())
        })
        .unwrap();
    assert_eq!(visited, 100);
    assert_eq!(tdb.traverse_read(|_, _| Continue(())).unwrap(), 0);
}

#[test]
fn a_chain_beyond_the_last_is_refused() {
    let (_dir, tdb) = create(TdbFlags::empty());
    assert_eq!(
        tdb.traverse_chain(Chain(11), |_, _| Continue(()))
            .unwrap_err()
            .code,
        ErrorCode::Invalid
    );
    assert_eq!(
        tdb.try_lock_chain_at(Chain(11)).unwrap_err().code,
        ErrorCode::Invalid
    );
    assert_eq!(
        tdb.try_lock_chain_at(Chain(u32::MAX)).unwrap_err().code,
        ErrorCode::Invalid
    );
    assert!(tdb.try_lock_chain_at(Chain(10)).unwrap().is_some());
}

#[test]
fn the_sequence_number_counts_changes_once_enabled() {
    let (_dir, tdb) = create(TdbFlags::empty());
    tdb.store(b"a", b"1", StoreMode::Replace).unwrap();
    assert_eq!(tdb.seqnum().unwrap(), 0);
    tdb.enable_seqnum();
    assert!(tdb.flags().contains(TdbFlags::SEQNUM));
    tdb.store(b"a", b"2", StoreMode::Replace).unwrap();
    assert_eq!(tdb.seqnum().unwrap(), 1);
    tdb.increment_seqnum_nonblock().unwrap();
    assert_eq!(tdb.seqnum().unwrap(), 2);
}

#[test]
fn wipe_repack_freelist_check_and_summary_work_on_a_used_file() {
    let (_dir, tdb) = create(TdbFlags::empty());
    for i in 0..200_u32 {
        tdb.store(&i.to_le_bytes(), &[7; 50], StoreMode::Insert).unwrap();
    }
    for i in (0..200_u32).step_by(2) {
        tdb.delete(&i.to_le_bytes()).unwrap();
    }
    assert!(tdb.freelist_size().unwrap() > 50);
    tdb.repack().unwrap();
    assert!(tdb.freelist_size().unwrap() < 10);
    assert!(
        tdb.summary().unwrap().contains("100"),
        "{}",
        tdb.summary().unwrap()
    );
    tdb.check().unwrap();
    tdb.check_records(|key, data| key.len() == 4 && data == [7; 50])
        .unwrap();
    assert_eq!(
        tdb.check_records(|_, _| false).unwrap_err().code,
        ErrorCode::Corrupt
    );
    assert!(tdb.file_size().unwrap() >= tdb.map_size());
    tdb.sync_data().unwrap();
    tdb.wipe_all().unwrap();
    assert!(!tdb.exists(&1_u32.to_le_bytes()).unwrap());
    tdb.check().unwrap();
}

#[test]
fn a_database_in_memory_works() {
    let tdb = Tdb::open(
        "memory",
        &OpenOptions {
            flags: TdbFlags::INTERNAL,
            ..OpenOptions::default()
        },
    )
    .unwrap();
    tdb.store(b"k", b"v", StoreMode::Insert).unwrap();
    assert_eq!(tdb.chain_of(b"k"), Chain(ctdb_tdb::jenkins_hash(b"k") % 131));
    assert_eq!(
        tdb.traverse_chain(tdb.chain_of(b"k"), |_, _| Continue(()))
            .unwrap(),
        1
    );
    assert_eq!((tdb.file_size().unwrap(), tdb.hash_size()), (0, 131));
    tdb.sync_data().unwrap();
}

#[test]
fn a_hundred_thousand_records_are_quick() {
    let dir = tempfile::tempdir().unwrap();
    let flags = TdbFlags::MUTEX_LOCKING | TdbFlags::CLEAR_IF_FIRST | TdbFlags::NOSYNC;
    let options = OpenOptions {
        hash_size: 100_001,
        max_dead: Some(5),
        flags,
        create: true,
        ..OpenOptions::default()
    };
    let tdb = Tdb::open(dir.path().join("big.tdb"), &options).unwrap();
    let start = Instant::now();
    for i in 0..100_000_u32 {
        tdb.store_vectored(&i.to_le_bytes(), &[&[0; 24], &i.to_le_bytes()], StoreMode::Insert)
            .unwrap();
    }
    let stored = start.elapsed();
    let mut sum = 0_u64;
    let mut visited = 0;
    for chain in tdb.chains() {
        let _lock = tdb
            .try_lock_chain_at(chain)
            .unwrap()
            .expect("nobody else is there");
        visited += tdb
            .traverse_chain(chain, |key, data| {
                assert_eq!(key, &data[24..]);
                sum += u64::from(u32::from_le_bytes(key.try_into().unwrap()));
                Continue(())
            })
            .unwrap();
    }
    println!(
        "100000 records: stored in {stored:?}, walked by chain in {:?}",
        start.elapsed() - stored
    );
    assert_eq!((visited, sum), (100_000, 99_999 * 100_000 / 2));
    assert!(start.elapsed().as_secs() < 30, "took {:?}", start.elapsed());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// A database is a map, whatever is done to it and however it is read.
    #[test]
    fn a_database_is_a_map(
        jenkins: bool,
        steps in prop::collection::vec((0_u8..40, prop::option::of(prop::collection::vec(any::<u8>(), 0..200))), 0..150),
    ) {
        let flags = if jenkins { TdbFlags::INCOMPATIBLE_HASH } else { TdbFlags::empty() };
        let (_dir, tdb) = create(flags);
        let mut model = BTreeMap::new();
        for (key, data) in steps {
            let key = vec![key; usize::from(key % 7)+1];
            if let Some(data) = data {
                let cut = data.len() / 3;
                tdb.store_vectored(&key, &[&data[..cut], &data[cut..]], StoreMode::Replace).unwrap();
                model.insert(key, data);
            } else {
                prop_assert_eq!(tdb.delete(&key).unwrap(), model.remove(&key).is_some());
            }
        }
        let mut by_chain = BTreeMap::new();
        for chain in tdb.chains() {
            tdb.traverse_chain(chain, |key, data| {
                assert_eq!(tdb.chain_of(key), chain);
                assert!(by_chain.insert(key.to_vec(), data.to_vec()).is_none(), "seen twice");
                Continue(())
            }).unwrap();
        }
        let mut by_traverse = BTreeMap::new();
        let visited = tdb.traverse_read(|key, data| {
            by_traverse.insert(key.to_vec(), data.to_vec());
            Continue(())
        }).unwrap();
        prop_assert_eq!(visited, model.len());
        prop_assert_eq!(&by_chain, &model);
        prop_assert_eq!(&by_traverse, &model);
        for (key, data) in &model {
            prop_assert_eq!(tdb.fetch(key).unwrap(), Some(data.clone()));
        }
        tdb.check().unwrap();
    }
}
