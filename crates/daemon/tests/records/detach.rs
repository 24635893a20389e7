//! Databases that leave the cluster.

use ctdb_daemon::databases::{DbKind, FreezeState};
use ctdb_daemon::recovery::freeze;
use ctdb_protocol::control::Request;
use ctdb_protocol::{CallId, DbId, Pnn, RecData, RecMode, SeqnumOf, Srvid, Text, TraverseStart, Wire};

use crate::Test;
use crate::world::{Told, World};

pub const TESTS: &[Test] = &[
    (
        "only a volatile database that no client may use is detached, and not in a recovery",
        rules,
    ),
    ("a detached database leaves all nodes, its file stays", everywhere),
    ("a detached database can be attached again", again),
    (
        "a database with read-only copies, sticky records and a sequence number is detached like others",
        with_extras,
    ),
    (
        "a detach waits for nobody who holds a lock, and ends who waits for one",
        locked,
    ),
    ("a traverse ends when its database is detached", traversed),
    ("a detach takes a forgotten freeze away", frozen),
];

fn forbid_clients(world: &World, forbid: bool) {
    for d in &world.daemons {
        let allow = u32::from(!forbid);
        d.tunables.borrow_mut().set("AllowClientDBAttach", allow).unwrap();
    }
}

/// Detaches by a client of node 0, and waits until it is done on all nodes.
async fn detach(world: &World, db: DbId, name: &str) {
    forbid_clients(world, true);
    let mut client = world.client(0).await;
    assert_eq!(client.control(&Request::DbDetach(db)).await.0, 0);
    world
        .until("it is closed everywhere", || {
            let gone = |d: &std::rc::Rc<ctdb_daemon::Daemon>| {
                d.databases.get(db).is_none() && !d.databases.is_leaving(name)
            };
            world.daemons.iter().all(gone)
        })
        .await;
    forbid_clients(world, false);
}

fn rules() {
    let world = World::new(1);
    world.run(async {
        let d = &world.daemons[0];
        let volatile = world.attach("volatile.tdb", DbKind::Volatile).await;
        let persistent = world.attach("persistent.tdb", DbKind::Persistent).await;
        let replicated = world.attach("replicated.tdb", DbKind::Replicated).await;
        let mut client = world.client(0).await;
        let status =
            async |client: &mut crate::world::Client, db| client.control(&Request::DbDetach(db)).await.0;
        assert_eq!(status(&mut client, volatile).await, -1, "clients may use it");
        forbid_clients(&world, true);
        assert_eq!(status(&mut client, persistent).await, -1);
        assert_eq!(status(&mut client, replicated).await, -1);
        assert_eq!(status(&mut client, DbId(1)).await, -1);
        d.state.set_recmode(RecMode::Active);
        assert_eq!(status(&mut client, volatile).await, -1, "a recovery is under way");
        d.state.set_recmode(RecMode::Normal);
        assert_eq!(d.databases.map().databases.len(), 3);
        assert_eq!(status(&mut client, volatile).await, 0);
        world
            .until("it is gone", || d.databases.map().databases.len() == 2)
            .await;
    });
}

fn everywhere() {
    let world = World::new(3);
    world.run(async {
        let db = world.attach("test.tdb", DbKind::Volatile).await;
        let file = world.db(2, db).path.clone();
        let mut client = world.client(1).await;
        assert_eq!(client.call(db, b"key", CallId::NULL).await.0, 0);
        detach(&world, db, "test.tdb").await;
        assert!(file.exists());
        let of = SeqnumOf { db_id: db };
        assert_eq!(client.control(&Request::GetDbSeqnum(of)).await.0, -1);
        assert_eq!(
            client.control_to(Pnn(0), &Request::DbDetach(db)).await,
            -1,
            "a client asks its own node"
        );
    });
}

fn again() {
    let world = World::new(2);
    world.run(async {
        let db = world.attach("test.tdb", DbKind::Volatile).await;
        for _ in 0..3 {
            let mut client = world.client(1).await;
            // The keeper of frozen databases has the file open as well.
            freeze::freeze_db(&world.daemons[1], &world.db(1, db))
                .await
                .unwrap();
            freeze::thaw_db(&world.daemons[1], &world.db(1, db)).await;
            assert!(world.record(1, db, b"key").is_none(), "it begins empty");
            assert_eq!(client.call(db, b"key", CallId::NULL).await.0, 0);
            assert!(world.record(1, db, b"key").is_some());
            forbid_clients(&world, true);
            assert_eq!(client.control(&Request::DbDetach(db)).await.0, 0);
            world
                .until("both forget it", || {
                    world.daemons.iter().all(|d| d.databases.get(db).is_none())
                })
                .await;
            forbid_clients(&world, false);
            // At once: the attach waits until the file is closed.
            let attach = Request::DbAttach(Text(b"test.tdb"));
            assert_eq!(client.control(&attach).await.0, 0);
            world
                .until("both have it", || {
                    world.daemons.iter().all(|d| d.databases.get(db).is_some())
                })
                .await;
        }
    });
}

fn with_extras() {
    let world = World::new(2);
    world.run(async {
        let db = world.attach("test.tdb", DbKind::Volatile).await;
        for node in 0..2 {
            let mut client = world.client(node).await;
            for request in [
                Request::SetDbReadonly(db),
                Request::SetDbSticky(db),
                Request::EnableSeqnum(db),
            ] {
                assert_eq!(client.control(&request).await.0, 0);
            }
        }
        detach(&world, db, "test.tdb").await;
        world.attach("test.tdb", DbKind::Volatile).await;
        let mut client = world.client(0).await;
        assert_eq!(client.control(&Request::SetDbReadonly(db)).await.0, 0);
    });
}

fn locked() {
    let world = World::new(1);
    world.run(async {
        let d = &world.daemons[0];
        let db = world.attach("test.tdb", DbKind::Volatile).await;
        let holder = world.hold_chain(0, db, b"key").await;
        let mut client = world.client(0).await;
        client.send_call(db, b"key", CallId::NULL).await;
        let locks = || d.stats.total().locks;
        world
            .until("a helper waits for the chain", || locks().num_current == 1)
            .await;
        detach(&world, db, "test.tdb").await;
        assert_eq!((locks().num_current, locks().num_pending), (0, 0));
        holder.release().await;
        world.attach("test.tdb", DbKind::Volatile).await;
        let mut client = world.client(0).await;
        assert_eq!(client.call(db, b"key", CallId::NULL).await.0, 0);
    });
}

fn traversed() {
    let world = World::new(2);
    world.run(async {
        let db = world.attach("test.tdb", DbKind::Volatile).await;
        let _holder = world.hold_chain(1, db, b"key").await;
        let at = Srvid(0xBE00_0000_0000_0001);
        let mut client = world.client(0).await;
        client.listen(at).await;
        let start = TraverseStart {
            db_id: db,
            reqid: 5,
            srvid: at,
        };
        assert_eq!(client.control(&Request::TraverseStart(start)).await.0, 0);
        detach(&world, db, "test.tdb").await;
        let Told::Message(_, end) = client.told().await else {
            panic!("the end is a message");
        };
        assert_eq!(RecData::decode_all(&end, "record"), Ok(RecData::end(5)));
        assert!(world.daemons.iter().all(|d| d.traverses.walking() == 0));
    });
}

fn frozen() {
    let world = World::new(1);
    world.run(async {
        let d = &world.daemons[0];
        let db = world.attach("test.tdb", DbKind::Volatile).await;
        freeze::freeze_db(d, &world.db(0, db)).await.unwrap();
        detach(&world, db, "test.tdb").await;
        world.attach("test.tdb", DbKind::Volatile).await;
        assert_eq!(world.db(0, db).freeze.get(), FreezeState::Thawed);
        let mut client = world.client(0).await;
        assert_eq!(client.call(db, b"key", CallId::NULL).await.0, 0);
    });
}
