use std::time::Instant;

use ctdb_lockhelper::protocol::{Reply, Request};
use ctdb_protocol::{DbId, LtdbHeader, RecBufferWriter, RecFlags};

use crate::databases::{Db, ME, PERSISTENT, REPLICATED, VOLATILE, buffer, expect, header};
use crate::pool::{Helper, failure};

fn begin(db: &Db, wipe: bool) -> Request<'_> {
    Request::RecoverBegin {
        db: db.db(),
        rules: db.rules(),
        wipe,
    }
}

/// The database is frozen by the keeper.
fn frozen(db: &Db) -> (Helper, Helper) {
    let (mut keeper, helper) = (Helper::start(), Helper::start());
    assert_eq!(keeper.ask(&Request::TryLockDb { db: db.db() }), Reply::Ok);
    (keeper, helper)
}

#[test]
fn a_recovery_replaces_all_records_under_the_keepers_lock() {
    for flags in [PERSISTENT, REPLICATED, VOLATILE] {
        let db = Db::create(flags);
        db.store("a", 1, "old");
        db.store("lost", 1, "old");
        let (mut keeper, mut helper) = frozen(&db);

        assert_eq!(helper.ask(&begin(&db, true)), Reply::Ok);
        for records in [
            buffer(&[("a", header(5), "new")]),
            buffer(&[("b", header(6), "more")]),
        ] {
            assert_eq!(
                helper.ask(&Request::RecoverRecords { records: &records }),
                Reply::Ok
            );
        }
        {
            let _mark = db.tdb.mark_all().unwrap();
            assert_eq!(
                db.records(),
                expect(&[("a", 1, "old"), ("lost", 1, "old")]),
                "before the commit"
            );
        }
        assert_eq!(helper.ask(&Request::RecoverCommit), Reply::Ok);
        assert!(db.tdb.try_lock_chain(b"a").unwrap().is_none(), "still frozen");
        {
            let _mark = db.tdb.mark_all().unwrap();
            assert_eq!(db.records(), expect(&[("a", 5, "new"), ("b", 6, "more")]));
        }
        assert_eq!(keeper.ask(&Request::UnlockDb { path: &db.path }), Reply::Ok);
        assert_eq!(db.records(), expect(&[("a", 5, "new"), ("b", 6, "more")]));
        db.tdb.check().unwrap();
    }
}

#[test]
fn a_recovery_stores_as_ctdbd_does_and_ends_read_only_copies() {
    let db = Db::create(VOLATILE);
    let (_keeper, mut helper) = frozen(&db);
    let mine = LtdbHeader {
        dmaster: ME,
        ..header(5)
    };
    let lent = LtdbHeader {
        flags: RecFlags::RO_HAVE_DELEGATIONS,
        ..mine
    };
    assert_eq!(helper.ask(&begin(&db, true)), Reply::Ok);
    let records = buffer(&[
        ("mine", mine, "x"),
        ("lent", lent, "y"),
        ("other", header(5), "z"),
    ]);
    assert_eq!(
        helper.ask(&Request::RecoverRecords { records: &records }),
        Reply::Ok
    );
    assert_eq!(helper.ask(&Request::RecoverCommit), Reply::Ok);
    let _mark = db.tdb.mark_all().unwrap();
    assert_eq!(
        db.records(),
        expect(&[("mine", 6, "x"), ("lent", 6, "y"), ("other", 5, "z")])
    );
    let bytes = db.tdb.fetch(b"lent").unwrap().unwrap();
    assert_eq!(LtdbHeader::split(&bytes).unwrap().0.flags, RecFlags::empty());
}

#[test]
fn without_wipe_the_other_records_stay() {
    let db = Db::create(PERSISTENT);
    db.store("a", 1, "old");
    let (_keeper, mut helper) = frozen(&db);
    assert_eq!(helper.ask(&begin(&db, false)), Reply::Ok);
    let records = buffer(&[("b", header(6), "more")]);
    assert_eq!(
        helper.ask(&Request::RecoverRecords { records: &records }),
        Reply::Ok
    );
    assert_eq!(helper.ask(&Request::RecoverCommit), Reply::Ok);
    let _mark = db.tdb.mark_all().unwrap();
    assert_eq!(db.records(), expect(&[("a", 1, "old"), ("b", 6, "more")]));
}

#[test]
fn a_recovery_that_is_cancelled_begun_again_or_cut_short_changes_nothing() {
    for flags in [PERSISTENT, VOLATILE] {
        let db = Db::create(flags);
        db.store("a", 1, "old");
        let (_keeper, mut helper) = frozen(&db);
        let records = buffer(&[("b", header(6), "more")]);

        assert_eq!(helper.ask(&begin(&db, true)), Reply::Ok);
        assert_eq!(
            helper.ask(&Request::RecoverRecords { records: &records }),
            Reply::Ok
        );
        assert_eq!(helper.ask(&Request::RecoverCancel), Reply::Ok);
        assert_eq!(helper.ask(&Request::RecoverCancel), Reply::Ok);
        assert!(failure(helper.ask(&Request::RecoverCommit)).contains("no recovery was begun"));
        assert!(failure(helper.ask(&Request::RecoverRecords { records: &records })).contains("no recovery"));

        assert_eq!(helper.ask(&begin(&db, true)), Reply::Ok);
        assert_eq!(
            helper.ask(&Request::RecoverRecords { records: &records }),
            Reply::Ok
        );
        assert_eq!(helper.ask(&begin(&db, false)), Reply::Ok);
        assert_eq!(helper.ask(&Request::RecoverCommit), Reply::Ok);

        assert_eq!(helper.ask(&begin(&db, true)), Reply::Ok);
        assert_eq!(
            helper.ask(&Request::RecoverRecords { records: &records }),
            Reply::Ok
        );
        helper.kill();

        let _mark = db.tdb.mark_all().unwrap();
        assert_eq!(db.records(), expect(&[("a", 1, "old")]));
    }
}

#[test]
fn after_a_bad_record_the_recovery_stays_failed_until_the_next() {
    let db = Db::create(PERSISTENT);
    db.store("a", 1, "old");
    let (_keeper, mut helper) = frozen(&db);
    let good = buffer(&[("b", header(6), "more")]);
    let mut bad = RecBufferWriter::new(DbId(1));
    bad.push_raw(0, b"b", b"short");
    assert_eq!(helper.ask(&begin(&db, true)), Reply::Ok);
    for request in [
        Request::RecoverRecords {
            records: bad.as_bytes(),
        },
        Request::RecoverRecords { records: &good },
        Request::RecoverCommit,
    ] {
        assert_eq!(
            failure(helper.ask(&request)),
            "record 0x62: its 5 bytes of data are no header"
        );
    }
    assert_eq!(helper.ask(&begin(&db, false)), Reply::Ok);
    assert_eq!(helper.ask(&Request::RecoverCommit), Reply::Ok);
    let _mark = db.tdb.mark_all().unwrap();
    assert_eq!(db.records(), expect(&[("a", 1, "old")]));
}

#[test]
fn a_hundred_thousand_records_are_recovered_in_chunks() {
    let db = Db::create(VOLATILE);
    let (mut keeper, mut helper) = frozen(&db);
    let start = Instant::now();
    helper.tell(&begin(&db, true));
    for chunk in 0..10 {
        let mut records = RecBufferWriter::new(DbId(1));
        for i in 0..10_000 {
            records.push(0, format!("key{chunk}-{i}").as_bytes(), &header(5), &[b'x'; 100]);
        }
        helper.tell(&Request::RecoverRecords {
            records: records.as_bytes(),
        });
    }
    helper.tell(&Request::RecoverCommit);
    for _ in 0..12 {
        assert_eq!(helper.reply(), Reply::Ok);
    }
    println!(
        "a recovery with 100000 records of 100 bytes: {:?}",
        start.elapsed()
    );
    assert_eq!(keeper.ask(&Request::UnlockDb { path: &db.path }), Reply::Ok);
    assert_eq!(db.records().len(), 100_000);
    db.tdb.check().unwrap();
}
