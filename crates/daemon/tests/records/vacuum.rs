//! Empty records leave all nodes, others stay.

use ctdb_daemon::databases::DbKind;
use ctdb_daemon::recovery::freeze;
use ctdb_daemon::vacuum;
use ctdb_protocol::control::Request;
use ctdb_protocol::{CallId, DbId, DbVacuum, KeyData, LtdbHeader, RecBufferWriter, RecFlags, Text};

use crate::Test;
use crate::world::World;

pub const TESTS: &[Test] = &[
    (
        "a record that never had data is deleted at once by vacuuming",
        at_once,
    ),
    (
        "an emptied record leaves all nodes in three runs of vacuuming",
        everywhere,
    ),
    (
        "a record in use survives vacuuming, and goes when it no longer is",
        in_use,
    ),
    (
        "a copy in use on another node keeps a record from vacuuming",
        in_use_elsewhere,
    ),
    ("a full run of vacuuming finds what is not known as empty", full),
    ("vacuuming is refused where it does not belong", refused),
    ("others are served while many records are vacuumed", others_served),
    (
        "records vanish by themselves within some vacuuming intervals",
        scheduled,
    ),
];

async fn run(world: &World, node: usize, db_id: DbId, full: bool) {
    let mut client = world.client(node).await;
    let (status, _) = client.control(&Request::DbVacuum(DbVacuum { db_id, full })).await;
    assert_eq!(status, 0);
}

/// As smbd deletes a record: it is emptied in the file, and the daemon told.
async fn empty(world: &World, node: usize, db_id: DbId, key: &[u8]) {
    world.write(node, db_id, key, b"");
    let (header, _) = world.record(node, db_id, key).unwrap();
    let mut client = world.client(node).await;
    let told = Request::ScheduleForDeletion(KeyData { db_id, header, key });
    assert_eq!(client.control(&told).await.0, 0);
}

/// Data that were on node 1 and node 2 come to node `last` and are emptied there.
async fn travel_and_empty(world: &World, db: DbId, key: &[u8], last: usize) {
    for node in [1, 2, last] {
        assert_eq!(world.client(node).await.call(db, key, CallId::NULL).await.0, 0);
        world.write(node, db, key, b"data");
    }
    empty(world, last, db, key).await;
}

fn holders(world: &World, db: DbId, key: &[u8]) -> Vec<usize> {
    (0..world.daemons.len())
        .filter(|node| world.record(*node, db, key).is_some())
        .collect()
}

fn at_once() {
    let world = World::new(2);
    world.run(async {
        let db = world.attach("test.tdb", DbKind::Volatile).await;
        let key = world.key_of(0);
        world.client(0).await.call(db, &key, CallId::NULL).await;
        assert_eq!(holders(&world, db, &key), [0]);
        run(&world, 0, db, false).await;
        assert_eq!(holders(&world, db, &key), []);
        assert_eq!(world.db(0, db).stats.get().vacuum_latency.num, 1);
    });
}

fn everywhere() {
    let world = World::new(3);
    world.run(async {
        let db = world.attach("test.tdb", DbKind::Volatile).await;
        let key = world.key_of(0);
        travel_and_empty(&world, db, &key, 1).await;
        let (before, _) = world.record(1, db, &key).unwrap();
        assert_eq!(holders(&world, db, &key), [0, 1, 2]);
        run(&world, 1, db, false).await;
        run(&world, 0, db, false).await;
        let (fetched, _) = world.record(0, db, &key).unwrap();
        assert_eq!((fetched.dmaster.0, fetched.rsn), (0, before.rsn.plus(2)));
        run(&world, 0, db, false).await;
        assert_eq!(holders(&world, db, &key), []);
    });
}

fn in_use() {
    let world = World::new(3);
    world.run(async {
        let db = world.attach("test.tdb", DbKind::Volatile).await;
        let keys: Vec<Vec<u8>> = world.keys_of(0).take(2).collect();
        for key in &keys {
            travel_and_empty(&world, db, key, 0).await;
        }
        let holder = world.hold_chain(0, db, &keys[0]).await;
        world.write(0, db, &keys[1], b"new");
        run(&world, 0, db, true).await;
        holder.release().await;
        assert_eq!(holders(&world, db, &keys[0]), [0, 1, 2]);
        assert_eq!(world.record(0, db, &keys[1]).unwrap().1, b"new");
        run(&world, 0, db, true).await;
        assert_eq!(holders(&world, db, &keys[0]), []);
        assert_eq!(holders(&world, db, &keys[1]), [0, 1, 2]);
    });
}

fn in_use_elsewhere() {
    let world = World::new(3);
    world.run(async {
        let db = world.attach("test.tdb", DbKind::Volatile).await;
        let key = world.key_of(0);
        travel_and_empty(&world, db, &key, 0).await;
        let holder = world.hold_chain(2, db, &key).await;
        run(&world, 0, db, false).await;
        holder.release().await;
        assert!(
            holders(&world, db, &key).contains(&0),
            "node 2 did not let go of its copy"
        );
        run(&world, 0, db, true).await;
        assert_eq!(holders(&world, db, &key), []);
    });
}

fn full() {
    let world = World::new(2);
    world.run(async {
        let db = world.attach("test.tdb", DbKind::Volatile).await;
        let key = world.key_of(0);
        world.client(0).await.call(db, &key, CallId::NULL).await;
        world.db(0, db).deletions.clear();
        run(&world, 0, db, false).await;
        assert_eq!(holders(&world, db, &key), [0]);
        run(&world, 0, db, true).await;
        assert_eq!(holders(&world, db, &key), []);
    });
}

fn refused() {
    let world = World::new(1);
    world.run(async {
        let volatile = world.attach("test.tdb", DbKind::Volatile).await;
        let persistent = world.attach("secrets.tdb", DbKind::Persistent).await;
        let mut client = world.client(0).await;
        for db_id in [persistent, DbId(77)] {
            let wish = Request::DbVacuum(DbVacuum { db_id, full: true });
            assert_eq!(client.control(&wish).await.0, -1);
            let records = RecBufferWriter::new(db_id);
            assert_eq!(
                client.control(&Request::VacuumFetch(records.as_buffer())).await.0,
                -1
            );
        }
        let (d, db) = (&world.daemons[0], world.db(0, volatile));
        freeze::freeze_db(d, &db).await.unwrap();
        let wish = Request::DbVacuum(DbVacuum {
            db_id: volatile,
            full: false,
        });
        assert_eq!(client.control(&wish).await.0, -1);
        freeze::thaw_db(d, &db).await;
        assert_eq!(client.control(&wish).await.0, 0);
        let unhealthy = client.control(&Request::DbAttach(Text(b"test.tdb"))).await.0;
        assert_eq!(unhealthy, 0, "the database goes on");
    });
}

fn others_served() {
    const RECORDS: u32 = 20_000;
    let world = World::new(1);
    world.run(async {
        let id = world.attach("test.tdb", DbKind::Volatile).await;
        let db = world.db(0, id);
        let header = LtdbHeader {
            flags: RecFlags::MIGRATED_WITH_DATA,
            ..LtdbHeader::new(ctdb_protocol::Rsn(3), ctdb_protocol::Pnn(0))
        };
        for n in 0..RECORDS {
            let mode = ctdb_tdb::StoreMode::Replace;
            db.tdb.store(&n.to_le_bytes(), &header.to_bytes(), mode).unwrap();
        }
        let mut wisher = world.client(0).await;
        let wish = Request::DbVacuum(DbVacuum {
            db_id: id,
            full: true,
        });
        let reqid = wisher.send_control(&wish).await;
        let mut other = world.client(0).await;
        let mut during = 0;
        while db.stats.get().vacuum_latency.num == 0 {
            assert_eq!(other.call(id, b"in use", CallId::NULL).await.0, 0);
            during += 1;
        }
        assert!(during > 3, "the run has paused only {during} times");
        assert_eq!(wisher.answer_to(reqid).await.0, 0);
        let left = (0..RECORDS).filter(|n| db.tdb.exists(&n.to_le_bytes()).unwrap());
        assert_eq!(left.count(), 0);
        assert!(db.tdb.exists(b"in use").unwrap() || db.deletions.is_empty());
    });
}

fn scheduled() {
    let world = World::new(3);
    world.run(async {
        let db = world.attach("test.tdb", DbKind::Volatile).await;
        for d in &world.daemons {
            d.tunables.borrow_mut().set("VacuumInterval", 1).unwrap();
            d.spawn(vacuum::schedule);
        }
        let keys: Vec<Vec<u8>> = (0..3).map(|lmaster| world.key_of(lmaster)).collect();
        for key in &keys {
            travel_and_empty(&world, db, key, 1).await;
        }
        world
            .until("all are gone", || {
                keys.iter().all(|key| holders(&world, db, key).is_empty())
            })
            .await;
    });
}
