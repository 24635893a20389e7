//! Chains and databases that somebody else has locked.

use ctdb_daemon::databases::{DbKind, FreezeState};
use ctdb_daemon::recovery::freeze;
use ctdb_protocol::control::Request;
use ctdb_protocol::{CallId, RecMode, Text};

use crate::Test;
use crate::world::World;

pub const TESTS: &[Test] = &[
    (
        "a call for a locked chain waits, others are served, and it is answered in the end",
        contended,
    ),
    (
        "calls for one chain are answered in the order in which they came",
        order,
    ),
    (
        "a record that comes while its chain is locked is stored before calls for it are looked at",
        arrival,
    ),
    ("calls for a frozen database are answered after the thaw", frozen),
    (
        "a freeze waits for a chain lock and then holds the database",
        freeze_waits,
    ),
    (
        "an attach during a recovery is answered after it",
        deferred_attach,
    ),
    ("lock helpers are used again", reuse),
];

const VOLATILE: DbKind = DbKind::Volatile;

fn contended() {
    let world = World::new(1);
    world.run(async {
        let db = world.attach("test.tdb", VOLATILE).await;
        let holder = world.hold_chain(0, db, b"key").await;
        let (mut client, mut other) = (world.client(0).await, world.client(0).await);
        let reqid = client.send_call(db, b"key", CallId::NULL).await;
        let stats = || world.daemons[0].stats.total();
        world
            .until("a helper waits", || stats().locks.num_current == 1)
            .await;
        assert_eq!(other.call(db, b"another key", CallId::NULL).await.0, 0);
        assert!(world.record(0, db, b"another key").is_some());
        holder.release().await;
        assert_eq!(client.answer_to(reqid).await.0, 0);
        let locks = stats().locks;
        assert_eq!(
            (
                locks.num_calls,
                locks.num_pending,
                locks.num_current,
                locks.num_failed
            ),
            (1, 0, 0, 0)
        );
        assert_eq!(
            (stats().total_calls, stats().pending_calls),
            (3, 0),
            "a call that waited counts again"
        );
    });
}

fn order() {
    let world = World::new(1);
    world.run(async {
        let db = world.attach("test.tdb", VOLATILE).await;
        let holder = world.hold_chain(0, db, b"key").await;
        let mut client = world.client(0).await;
        let mut sent = Vec::new();
        for _ in 0..200 {
            sent.push(client.send_call(db, b"key", CallId::NULL).await);
        }
        world
            .until("all wait", || {
                world.daemons[0].stats.total().locks.num_pending == 200
            })
            .await;
        holder.release().await;
        for reqid in sent {
            assert_eq!(client.answer_to(reqid).await.0, 0);
        }
        assert_eq!(world.db(0, db).load.packets(), 0);
    });
}

fn arrival() {
    let world = World::new(2);
    world.run(async {
        let db = world.attach("test.tdb", VOLATILE).await;
        let key = world.key_of(0);
        let (mut first, mut back) = (world.client(1).await, world.client(0).await);
        first.call(db, &key, CallId::NULL).await;
        world.write(1, db, &key, b"value");
        // Node 0 calls it back; the answer waits for the chain there.
        let holder = world.hold_chain(0, db, &key).await;
        let reqid = back.send_call(db, &key, CallId::NULL).await;
        world
            .until("the call waits", || {
                world.daemons[0].stats.total().locks.num_pending == 1
            })
            .await;
        let again = first.send_call(db, &key, CallId::FETCH).await;
        assert_eq!(
            first.answer_to(again).await,
            (0, b"value".to_vec()),
            "it is still there"
        );
        holder.release().await;
        assert_eq!(back.answer_to(reqid).await.0, 0);
        assert_eq!(first.call(db, &key, CallId::FETCH).await, (0, b"value".to_vec()));
    });
}

fn frozen() {
    let world = World::new(2);
    world.run(async {
        let db = world.attach("test.tdb", VOLATILE).await;
        let key = world.key_of(0);
        let d = &world.daemons[0];
        freeze::freeze_db(d, &world.db(0, db)).await.unwrap();
        let (mut own, mut other) = (world.client(0).await, world.client(1).await);
        let own_call = own.send_call(db, &key, CallId::NULL).await;
        let other_call = other.send_call(db, &key, CallId::NULL).await;
        world
            .until("both wait", || world.db(0, db).load.packets() == 2)
            .await;
        let seqnum = Request::GetDbSeqnum(ctdb_protocol::SeqnumOf { db_id: db });
        assert_eq!(
            world.client(0).await.control(&seqnum).await.0,
            -1,
            "a frozen database can't be read"
        );
        assert!(world.record(1, db, &key).is_none());
        freeze::thaw_db(d, &world.db(0, db)).await;
        assert_eq!(own.answer_to(own_call).await.0, 0);
        assert_eq!(other.answer_to(other_call).await.0, 0);
        assert_eq!(world.record(1, db, &key).unwrap().0.dmaster.0, 1);
    });
}

fn freeze_waits() {
    let world = World::new(1);
    world.run(async {
        let id = world.attach("test.tdb", VOLATILE).await;
        let (d, db) = (world.daemons[0].clone(), world.db(0, id));
        let holder = world.hold_chain(0, id, b"key").await;
        let (freezer, frozen) = (d.clone(), db.clone());
        let task =
            d.rt.spawn(async move { freeze::freeze_db(&freezer, &frozen).await });
        world
            .until("it is freezing", || db.freeze.get() == FreezeState::Freezing)
            .await;
        let mut client = world.client(0).await;
        assert_eq!(
            client.control(&Request::Ping).await.0,
            1,
            "the daemon goes on meanwhile"
        );
        holder.release().await;
        task.await.unwrap();
        assert!(
            matches!(db.tdb.try_lock_chain(b"key"), Ok(None)),
            "the helper has it"
        );
        freeze::thaw_db(&d, &db).await;
        assert!(matches!(db.tdb.try_lock_chain(b"key"), Ok(Some(_))));
    });
}

fn deferred_attach() {
    let world = World::new(1);
    world.run(async {
        let d = &world.daemons[0];
        d.state.set_recmode(RecMode::Active);
        let mut client = world.client(0).await;
        let reqid = client.send_control(&Request::DbAttach(Text(b"late.tdb"))).await;
        assert_eq!(world.client(0).await.control(&Request::Ping).await.0, 2);
        assert!(d.databases.by_name("late.tdb").is_none());
        d.state.set_recmode(RecMode::Normal);
        assert_eq!(client.answer_to(reqid).await.0, 0);
        assert!(d.databases.by_name("late.tdb").is_some());
    });
}

fn reuse() {
    let world = World::new(1);
    world.run(async {
        let db = world.attach("test.tdb", VOLATILE).await;
        let mut client = world.client(0).await;
        for round in 1..=10 {
            let holder = world.hold_chain(0, db, b"key").await;
            let reqid = client.send_call(db, b"key", CallId::NULL).await;
            world
                .until("a helper waits", || {
                    world.daemons[0].stats.total().locks.num_current == 1
                })
                .await;
            holder.release().await;
            assert_eq!(client.answer_to(reqid).await.0, 0);
            world
                .until("it is done", || {
                    world.daemons[0].stats.total().locks.num_current == 0
                })
                .await;
            assert_eq!(world.daemons[0].stats.total().locks.num_calls, round);
        }
        world
            .until("the helper is idle", || {
                world.daemons[0].locks.idle_helpers() == 1
            })
            .await;
    });
}
