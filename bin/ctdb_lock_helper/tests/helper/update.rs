use std::os::unix::fs::FileExt;

use ctdb_lockhelper::protocol::{Reply, Request};
use ctdb_protocol::{DbId, LtdbHeader, RecBufferWriter, RecFlags};

use crate::databases::{Db, ME, PERSISTENT, REPLICATED, VOLATILE, buffer, expect, header};
use crate::pool::{Helper, failure};

fn update(helper: &mut Helper, db: &Db, records: &[(&str, LtdbHeader, &str)]) -> Reply {
    let records = buffer(records);
    helper.ask(&Request::UpdateRecords {
        db: db.db(),
        rules: db.rules(),
        records: &records,
    })
}

#[test]
fn records_of_persistent_and_replicated_databases_are_created_and_replaced() {
    for flags in [PERSISTENT, REPLICATED] {
        let db = Db::create(flags);
        let mut helper = Helper::start();
        db.store("old", 4, "data");
        assert_eq!(
            update(
                &mut helper,
                &db,
                &[("old", header(5), "newer"), ("new", header(1), "x")]
            ),
            Reply::Ok
        );
        assert_eq!(db.records(), expect(&[("old", 5, "newer"), ("new", 1, "x")]));
        // The same once more: a client that does not know whether it was done.
        assert_eq!(
            update(
                &mut helper,
                &db,
                &[("old", header(5), "newer"), ("new", header(1), "x")]
            ),
            Reply::Ok
        );
        assert_eq!(db.records(), expect(&[("old", 5, "newer"), ("new", 1, "x")]));
        db.tdb.check().unwrap();
    }
}

#[test]
fn an_update_that_does_not_replace_a_newer_record_leaves_all_as_it_was() {
    let db = Db::create(PERSISTENT);
    let mut helper = Helper::start();
    db.store("b", 7, "newer");
    let text = failure(update(
        &mut helper,
        &db,
        &[("a", header(1), "x"), ("b", header(7), "other")],
    ));
    assert_eq!(text, "record 0x62: rsn 7 does not replace rsn 7 with other data");
    assert_eq!(db.records(), expect(&[("b", 7, "newer")]));
    assert_eq!(
        update(
            &mut helper,
            &db,
            &[("a", header(1), "x"), ("b", header(8), "other")]
        ),
        Reply::Ok
    );
}

#[test]
fn a_volatile_database_only_has_its_own_copies_refreshed() {
    let db = Db::create(VOLATILE);
    let mut helper = Helper::start();
    db.store("copy", 4, "data");
    let mine = LtdbHeader {
        dmaster: ME,
        ..header(9)
    };
    db.store("mine", 3, "data");
    let records = [
        ("copy", header(5), "newer"),
        ("missing", header(5), "x"),
        ("mine", mine, "y"),
    ];
    assert_eq!(update(&mut helper, &db, &records), Reply::Ok);
    // What this node is dmaster of counts up, as in every store of ctdbd.
    assert_eq!(db.records(), expect(&[("copy", 5, "newer"), ("mine", 10, "y")]));
}

#[test]
fn an_empty_copy_that_never_had_data_is_deleted_where_nobody_needs_it() {
    let db = Db::create(VOLATILE);
    let mut helper = Helper::start();
    db.store("gone", 4, "");
    db.store("kept", 4, "");
    let plain = LtdbHeader {
        flags: RecFlags::empty(),
        ..header(5)
    };
    assert_eq!(
        update(&mut helper, &db, &[("gone", plain, ""), ("kept", header(5), "")]),
        Reply::Ok
    );
    assert_eq!(db.records(), expect(&[("kept", 5, "")]));
}

#[test]
fn records_that_cannot_be_read_change_nothing() {
    let db = Db::create(PERSISTENT);
    let mut helper = Helper::start();
    let mut cut = buffer(&[("a", header(1), "x"), ("b", header(1), "y")]);
    cut.pop();
    let mut short = RecBufferWriter::new(DbId(1));
    short.push(0, b"a", &header(1), b"x");
    short.push_raw(0, b"b", b"no header");
    for (records, message) in [
        (
            &cut[..],
            "the records cannot be read: data: needs 25 bytes, 24 are left",
        ),
        (
            b"",
            "the records cannot be read: db_id: needs 4 bytes, 0 are left",
        ),
        (short.as_bytes(), "record 0x62: its 9 bytes of data are no header"),
    ] {
        let request = Request::UpdateRecords {
            db: db.db(),
            rules: db.rules(),
            records,
        };
        assert_eq!(failure(helper.ask(&request)), message);
        assert_eq!(db.records(), expect(&[]));
    }
}

#[test]
fn an_update_waits_for_the_chain_locks_of_others() {
    let db = Db::create(PERSISTENT);
    let mut helper = Helper::start();
    let chain = db.tdb.lock_chain(b"a").unwrap();
    let records = buffer(&[("a", header(1), "x")]);
    helper.tell(&Request::UpdateRecords {
        db: db.db(),
        rules: db.rules(),
        records: &records,
    });
    drop(chain);
    assert_eq!(helper.reply(), Reply::Ok);
    assert_eq!(db.records(), expect(&[("a", 1, "x")]));
}

#[test]
fn a_damaged_file_is_corrupt_and_a_sound_one_is_not() {
    let db = Db::create(PERSISTENT);
    for i in 0..20 {
        db.store(&format!("key{i}"), 1, "data");
    }
    let mut helper = Helper::start();
    assert_eq!(helper.ask(&Request::Check { db: db.db() }), Reply::Ok);
    let size = db.tdb.file_size().unwrap();
    // Through another descriptor, whose closing is the end of our locks; we hold none.
    std::fs::OpenOptions::new()
        .write(true)
        .open(&db.path)
        .unwrap()
        .write_all_at(&[0x5a; 64], size - 200)
        .unwrap();
    let reply = helper.ask(&Request::Check { db: db.db() });
    assert!(
        matches!(&reply, Reply::Corrupt(text) if text.contains("check")),
        "{reply:?}"
    );
}
