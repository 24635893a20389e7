//! Persistent databases.

use ctdb_daemon::databases::DbKind;
use ctdb_daemon::recovery::freeze;
use ctdb_daemon::{attach, commit, health};
use ctdb_protocol::control::Request;
use ctdb_protocol::{DbId, LtdbHeader, Pnn, RecBufferWriter, Rsn, SeqnumOf};

use crate::Test;
use crate::world::{Client, World, persistent_file};

pub const TESTS: &[Test] = &[
    (
        "a transaction is on all nodes when it is answered",
        stored_everywhere,
    ),
    (
        "a transaction that a node can't store asks for a recovery, whose end answers it",
        no_for_an_answer,
    ),
    (
        "a second commit on a database is refused while one runs",
        one_at_a_time,
    ),
    (
        "a client that goes during its commit leaves it to a recovery",
        client_gone,
    ),
    (
        "a transaction that waits when a freeze comes does not write after the thaw",
        cut_short,
    ),
    ("records stay where they are while a commit runs", held),
    (
        "persistent databases are attached at start, damaged ones refused",
        at_start,
    ),
    (
        "the reason of an unhealthy database survives and keeps it from being attached",
        unhealthy,
    ),
];

const PERSISTENT: DbKind = DbKind::Persistent;
const SEQNUM_KEY: &[u8] = b"__db_sequence_number__\0";

fn transaction(db: DbId, rsn: u64) -> RecBufferWriter {
    let mut records = RecBufferWriter::new(db);
    let header = LtdbHeader::new(Rsn(rsn), Pnn(0));
    records.push(0, b"key", &header, format!("value {rsn}").as_bytes());
    records.push(0, SEQNUM_KEY, &header, &rsn.to_le_bytes());
    records
}

async fn commit_of(client: &mut Client, db: DbId, rsn: u64) -> (i32, Vec<u8>) {
    client
        .control(&Request::Trans3Commit(transaction(db, rsn).as_buffer()))
        .await
}

fn stored_everywhere() {
    let world = World::new(2);
    world.run(async {
        let db = world.attach("test.tdb", PERSISTENT).await;
        let mut client = world.client(0).await;
        for rsn in 1..=5 {
            assert_eq!(commit_of(&mut client, db, rsn).await.0, 0);
            for node in 0..2 {
                let (header, value) = world.record(node, db, b"key").expect("it is stored");
                assert_eq!(
                    (header.rsn, value),
                    (Rsn(rsn), format!("value {rsn}").into_bytes())
                );
            }
            let seqnum = client
                .control(&Request::GetDbSeqnum(SeqnumOf { db_id: db }))
                .await;
            assert_eq!(seqnum, (0, rsn.to_le_bytes().to_vec()));
        }
        let stats = world.daemons[1].stats.total();
        assert_eq!((stats.childwrite_calls, stats.pending_childwrite_calls), (5, 0));
        // The same again is stored again; other data with an old rsn is refused.
        assert_eq!(commit_of(&mut client, db, 5).await.0, 0);
    });
}

fn no_for_an_answer() {
    let world = World::new(2);
    world.run(async {
        let db = world.attach("test.tdb", PERSISTENT).await;
        world.daemons[1].databases.remove(db).expect("it was attached");
        let mut client = world.client(0).await;
        let reqid = client
            .send_control(&Request::Trans3Commit(transaction(db, 1).as_buffer()))
            .await;
        world
            .until("a recovery is wanted", || world.daemons[0].state.in_recovery())
            .await;
        assert_eq!(
            world.client(0).await.control(&Request::Ping).await.0,
            2,
            "not answered yet"
        );
        world.daemons[0].state.set_recmode(ctdb_protocol::RecMode::Normal);
        commit::recovery_ended(&world.daemons[0]);
        assert_eq!(client.answer_to(reqid).await.0, 2);
        assert!(!world.daemons[0].commits.is_running(db));
    });
}

fn one_at_a_time() {
    let world = World::new(1);
    world.run(async {
        let db = world.attach("test.tdb", PERSISTENT).await;
        let holder = world.hold_chain(0, db, b"key").await;
        let (mut first, mut second) = (world.client(0).await, world.client(0).await);
        let reqid = first
            .send_control(&Request::Trans3Commit(transaction(db, 1).as_buffer()))
            .await;
        world
            .until("it runs", || world.daemons[0].commits.is_running(db))
            .await;
        assert_eq!(commit_of(&mut second, db, 1).await.0, -1);
        holder.release().await;
        assert_eq!(first.answer_to(reqid).await.0, 0);
        assert_eq!(commit_of(&mut second, db, 2).await.0, 0);
    });
}

fn client_gone() {
    let world = World::new(1);
    world.run(async {
        let db = world.attach("test.tdb", PERSISTENT).await;
        let holder = world.hold_chain(0, db, b"key").await;
        let mut client = world.client(0).await;
        client
            .send_control(&Request::Trans3Commit(transaction(db, 1).as_buffer()))
            .await;
        world
            .until("it runs", || world.daemons[0].commits.is_running(db))
            .await;
        drop(client);
        world
            .until("a recovery is wanted", || world.daemons[0].state.in_recovery())
            .await;
        assert!(!world.daemons[0].commits.is_running(db));
        holder.release().await;
    });
}

/// Nothing of a persistent database migrates in practice; the daemon looks at no types here.
fn held() {
    let world = World::new(2);
    world.run(async {
        let db = world.attach("test.tdb", DbKind::Volatile).await;
        let key = world.key_of(0);
        world
            .client(0)
            .await
            .call(db, &key, ctdb_protocol::CallId::NULL)
            .await;
        let holder = world.hold_chain(0, db, b"another chain").await;
        let mut committer = world.client(0).await;
        let mut records = RecBufferWriter::new(db);
        records.push(0, &key, &LtdbHeader::new(Rsn(50), Pnn(0)), b"committed");
        let commit = committer
            .send_control(&Request::Trans3Commit(records.as_buffer()))
            .await;
        world
            .until("it runs", || world.daemons[0].commits.is_running(db))
            .await;
        let mut caller = world.client(1).await;
        let call = caller.send_call(db, &key, ctdb_protocol::CallId::FETCH).await;
        world
            .until("the call waits", || world.db(0, db).load.packets() == 1)
            .await;
        assert!(
            world
                .record(1, db, &key)
                .is_none_or(|(header, _)| header.dmaster != Pnn(1))
        );
        holder.release().await;
        assert_eq!(committer.answer_to(commit).await.0, 0);
        assert_eq!(caller.answer_to(call).await, (0, b"committed".to_vec()));
    });
}

fn at_start() {
    let world = World::new(1);
    world.run(async {
        let d = &world.daemons[0];
        let db = attach::open(d, "a.tdb", PERSISTENT).await.unwrap();
        d.databases.remove(db.id);
        drop(db);
        attach::attach_all_persistent(d).await.unwrap();
        let names: Vec<String> = d.databases.all().iter().map(|db| db.name.clone()).collect();
        assert_eq!(names, ["a.tdb"]);
        std::fs::write(persistent_file(d, "bad.tdb"), b"this is no database at all").unwrap();
        let error = attach::attach_all_persistent(d)
            .await
            .expect_err("it is damaged")
            .to_string();
        assert!(error.contains("bad.tdb"), "{error}");
    });
}

fn unhealthy() {
    let world = World::new(1);
    world.run(async {
        let d = &world.daemons[0];
        let db = attach::open(d, "a.tdb", PERSISTENT).await.unwrap();
        let mut client = world.client(0).await;
        assert_eq!(client.control(&Request::DbGetHealth(db.id)).await, (0, vec![]));
        *db.unhealthy.borrow_mut() = Some("for a test".to_owned());
        health::recovered(d, &db).await; // and no node is healthy
        let reason = b"NO-HEALTHY-NODES - for a test\0".to_vec();
        assert_eq!(client.control(&Request::DbGetHealth(db.id)).await, (0, reason));
        let update = transaction(db.id, 1);
        assert_eq!(
            client.control(&Request::UpdateRecord(update.as_buffer())).await.0,
            -1
        );
        d.databases.remove(db.id);
        let error = attach::open(d, "a.tdb", PERSISTENT)
            .await
            .err()
            .expect("it is marked")
            .to_string();
        assert!(error.contains("for a test"), "{error}");
        *db.unhealthy.borrow_mut() = None;
        health::set_healthy(d, &db);
        drop(db);
        attach::open(d, "a.tdb", PERSISTENT).await.unwrap();
    });
}

fn cut_short() {
    let world = World::new(1);
    world.run(async {
        let id = world.attach("test.tdb", PERSISTENT).await;
        let (d, db) = (world.daemons[0].clone(), world.db(0, id));
        let holder = world.hold_chain(0, id, b"key").await;
        let mut client = world.client(0).await;
        let update = client
            .send_control(&Request::UpdateRecord(transaction(id, 1).as_buffer()))
            .await;
        world
            .until("it is under way", || {
                d.stats.total().pending_childwrite_calls == 1
            })
            .await;
        let (freezer, frozen) = (d.clone(), db.clone());
        let task =
            d.rt.spawn(async move { freeze::freeze_db(&freezer, &frozen).await });
        assert_eq!(client.answer_to(update).await.0, 1, "it is not stored");
        holder.release().await;
        task.await.unwrap();
        freeze::thaw_db(&d, &db).await;
        assert_eq!(world.record(0, id, b"key"), None);
        assert_eq!(commit_of(&mut client, id, 1).await.0, 0);
    });
}
