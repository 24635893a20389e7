//! Walks over the records of all nodes.

use std::collections::BTreeMap;

use ctdb_daemon::databases::DbKind;
use ctdb_daemon::recovery::freeze;
use ctdb_daemon::{attach, links};
use ctdb_protocol::control::Request;
use ctdb_protocol::{
    DbId, Generation, LtdbHeader, Pnn, RecData, Rsn, Srvid, TraverseAll, TraverseStart, TraverseStartExt,
    VnnMap, Wire,
};
use ctdb_tdb::StoreMode;

use crate::Test;
use crate::world::{Client, GENERATION, Told, World};

pub const TESTS: &[Test] = &[
    (
        "a traverse shows each record once, as its dmaster has it, and empty ones only if asked",
        volatile,
    ),
    (
        "a traverse of a persistent database shows what one node has, empty records too",
        persistent,
    ),
    (
        "a node that is no location master has a persistent database shown by one that is",
        persistent_elsewhere,
    ),
    ("many records come from all nodes", many),
    (
        "a chain that is held keeps no other waiting, and the end waits for it",
        held_chain,
    ),
    ("a traverse waits for the thaw", frozen),
    ("a traverse ends everywhere when its client goes", client_gone),
    (
        "a kill ends the traverse of the node that sends it and no other's",
        kill,
    ),
    ("a traverse is cut short after the longest silence", timeout),
    ("a node that is lost counts as ended at once", node_lost),
    ("a node that becomes inactive counts as ended", node_inactive),
    ("an unhealthy database is shown only to who insists", unhealthy),
    ("a node that refuses says so by its end mark", unhealthy_elsewhere),
    ("a node without the database ends at once", unknown_elsewhere),
    ("the nodes wait for a client that reads slowly", slow_client),
    (
        "only a client of the own node starts a traverse, only daemons take part",
        strangers,
    ),
];

const AT: Srvid = Srvid(0xBE00_0000_0000_0001);
const REQID: u32 = 7711;

fn store(world: &World, node: usize, id: DbId, key: &[u8], dmaster: u32, value: &[u8]) {
    let header = LtdbHeader::new(Rsn(1), Pnn(dmaster)).to_bytes();
    let tdb = &world.db(node, id).tdb;
    tdb.store_vectored(key, &[&header, value], StoreMode::Replace)
        .unwrap();
}

fn start_of(db_id: DbId) -> TraverseStart {
    TraverseStart {
        db_id,
        reqid: REQID,
        srvid: AT,
    }
}

/// A client of this node with the traverse under way.
async fn begin(world: &World, node: usize, db: DbId) -> Client {
    let mut client = world.client(node).await;
    client.listen(AT).await;
    let (status, _) = client.control(&Request::TraverseStart(start_of(db))).await;
    assert_eq!(status, 0);
    client
}

/// The next record; `None` for the end. A message is one record and nothing else.
async fn next(client: &mut Client) -> Option<(Vec<u8>, Vec<u8>)> {
    let Told::Message(at, data) = client.told().await else {
        panic!("traverses send messages");
    };
    assert_eq!(at, AT);
    let record = RecData::decode_all(&data, "record").unwrap();
    assert_eq!(record.reqid, REQID);
    (!record.is_end()).then(|| (record.key.to_vec(), record.data.to_vec()))
}

/// Key → (dmaster, value) of the rest.
async fn rest(client: &mut Client) -> BTreeMap<Vec<u8>, (u32, Vec<u8>)> {
    let mut all = BTreeMap::new();
    while let Some((key, data)) = next(client).await {
        let (header, value) = LtdbHeader::split(&data).unwrap();
        let twice = all.insert(key, (header.dmaster.0, value.to_vec()));
        assert_eq!(twice, None);
    }
    all
}

fn keys(all: &BTreeMap<Vec<u8>, (u32, Vec<u8>)>) -> Vec<&[u8]> {
    all.keys().map(Vec::as_slice).collect()
}

async fn nothing_is_left(world: &World) {
    world
        .until("no traverse is left", || {
            let idle = |d: &std::rc::Rc<ctdb_daemon::Daemon>| {
                d.traverses.collecting() == 0 && d.traverses.walking() == 0
            };
            world.daemons.iter().all(idle)
        })
        .await;
}

fn volatile() {
    let world = World::new(3);
    world.run(async {
        let db = world.attach("test.tdb", DbKind::Volatile).await;
        for node in 0..3 {
            store(
                &world,
                node,
                db,
                format!("of {node}").as_bytes(),
                node as u32,
                b"value",
            );
            store(
                &world,
                node,
                db,
                b"shared",
                1,
                format!("as {node} has it").as_bytes(),
            );
            store(
                &world,
                node,
                db,
                format!("empty {node}").as_bytes(),
                node as u32,
                b"",
            );
            world
                .db(node, db)
                .tdb
                .store(b"short", b"no header", StoreMode::Replace)
                .unwrap();
        }
        let mut client = begin(&world, 0, db).await;
        let all = rest(&mut client).await;
        assert_eq!(keys(&all), [&b"of 0"[..], b"of 1", b"of 2", b"shared"]);
        assert_eq!(all[&b"of 2"[..]], (2, b"value".to_vec()));
        assert_eq!(all[&b"shared"[..]], (1, b"as 1 has it".to_vec()));
        let ext = |with_empty_records| {
            Request::TraverseStartExt(TraverseStartExt {
                start: start_of(db),
                with_empty_records,
            })
        };
        assert_eq!(client.control(&ext(false)).await.0, 0);
        assert_eq!(rest(&mut client).await.len(), 4);
        assert_eq!(client.control(&ext(true)).await.0, 0);
        let with_empty = rest(&mut client).await;
        assert_eq!(with_empty.len(), 7);
        assert_eq!(with_empty[&b"empty 1"[..]], (1, Vec::new()));
        nothing_is_left(&world).await;
    });
}

fn persistent() {
    let world = World::new(2);
    world.run(async {
        let db = world.attach("test.tdb", DbKind::Persistent).await;
        store(&world, 0, db, b"own", 0, b"value");
        store(&world, 0, db, b"another's", 1, b"value");
        store(&world, 0, db, b"empty", 0, b"");
        store(&world, 1, db, b"only on node 1", 1, b"value");
        let all = rest(&mut begin(&world, 0, db).await).await;
        assert_eq!(keys(&all), [&b"another's"[..], b"empty", b"own"]);
    });
}

fn persistent_elsewhere() {
    let world = World::new(2);
    world.run(async {
        let db = world.attach("test.tdb", DbKind::Replicated).await;
        store(&world, 0, db, b"old", 0, b"value");
        store(&world, 1, db, b"new", 1, b"value");
        world.daemons[0].state.set_vnnmap(VnnMap {
            generation: GENERATION,
            map: vec![Pnn(1)],
        });
        let all = rest(&mut begin(&world, 0, db).await).await;
        assert_eq!(keys(&all), [&b"new"[..]]);
    });
}

fn many() {
    const EACH: u32 = 4000;
    let world = World::new(3);
    world.run(async {
        let db = world.attach("test.tdb", DbKind::Volatile).await;
        for n in 0..3 * EACH {
            store(
                &world,
                (n % 3) as usize,
                db,
                &n.to_be_bytes(),
                n % 3,
                &n.to_le_bytes(),
            );
        }
        let all = rest(&mut begin(&world, 1, db).await).await;
        assert_eq!(all.len(), 3 * EACH as usize);
        for (key, (dmaster, value)) in all {
            let n = u32::from_be_bytes(key.try_into().unwrap());
            assert_eq!((dmaster, value), (n % 3, n.to_le_bytes().to_vec()));
        }
    });
}

fn held_chain() {
    let world = World::new(2);
    world.run(async {
        let db = world.attach("test.tdb", DbKind::Volatile).await;
        for n in 0..50_u32 {
            store(&world, 1, db, &n.to_be_bytes(), 1, b"value");
        }
        store(&world, 1, db, b"held", 1, b"value");
        let holder = world.hold_chain(1, db, b"held").await;
        let mut client = begin(&world, 0, db).await;
        for _ in 0..50 {
            let (key, _) = next(&mut client).await.expect("all others come first");
            assert_ne!(key, b"held");
        }
        // The node is not held up by it either.
        let mut other = world.client(1).await;
        assert_eq!(other.control(&Request::Ping).await.0, 1);
        assert_eq!(world.daemons[1].traverses.walking(), 1);
        holder.release().await;
        assert_eq!(keys(&rest(&mut client).await), [&b"held"[..]]);
    });
}

fn frozen() {
    let world = World::new(2);
    world.run(async {
        let db = world.attach("test.tdb", DbKind::Volatile).await;
        store(&world, 0, db, b"here", 0, b"value");
        store(&world, 1, db, b"there", 1, b"before");
        let there = world.db(1, db);
        freeze::freeze_db(&world.daemons[1], &there).await.unwrap();
        let mut client = begin(&world, 0, db).await;
        assert_eq!(next(&mut client).await.unwrap().0, b"here");
        assert_eq!(world.daemons[1].traverses.walking(), 1);
        {
            let _mark = there.tdb.mark_all().unwrap();
            store(&world, 1, db, b"there", 1, b"after");
        }
        freeze::thaw_db(&world.daemons[1], &there).await;
        let all = rest(&mut client).await;
        assert_eq!(all[&b"there"[..]].1, b"after", "what the recovery left is shown");
    });
}

fn client_gone() {
    let world = World::new(3);
    world.run(async {
        let db = world.attach("test.tdb", DbKind::Volatile).await;
        let _holder = world.hold_chain(2, db, b"held").await;
        let client = begin(&world, 0, db).await;
        world
            .until("node 2 reads", || world.daemons[2].traverses.walking() == 1)
            .await;
        drop(client);
        nothing_is_left(&world).await;
    });
}

fn kill() {
    let world = World::new(3);
    world.run(async {
        let db = world.attach("test.tdb", DbKind::Volatile).await;
        let _holder = world.hold_chain(1, db, b"held").await;
        let _client = begin(&world, 0, db).await;
        let walking = || world.daemons[1].traverses.walking();
        world.until("node 1 reads", || walking() == 1).await;
        let kill = Request::TraverseKill(start_of(db));
        let mut stranger = world.client(2).await;
        assert_eq!(stranger.control_to(Pnn(1), &kill).await, 0);
        assert_eq!(walking(), 1, "node 2 has no such traverse");
        let mut own = world.client(0).await;
        let other_number = Request::TraverseKill(TraverseStart {
            reqid: REQID + 1,
            ..start_of(db)
        });
        assert_eq!(own.control_to(Pnn(1), &other_number).await, 0);
        assert_eq!(walking(), 1);
        assert_eq!(own.control_to(Pnn(1), &kill).await, 0);
        assert_eq!(walking(), 0);
    });
}

fn timeout() {
    let world = World::new(2);
    world.run(async {
        let d = &world.daemons[0];
        d.tunables.borrow_mut().set("TraverseTimeout", 1).unwrap();
        let db = world.attach("test.tdb", DbKind::Volatile).await;
        store(&world, 0, db, b"key", 0, b"value");
        let _holder = world.hold_chain(1, db, b"held").await;
        let mut client = begin(&world, 0, db).await;
        assert_eq!(rest(&mut client).await.len(), 1);
        assert_eq!(d.stats.total().timeouts.traverse, 1);
        nothing_is_left(&world).await;
    });
}

fn node_lost() {
    let world = World::new(3);
    world.run(async {
        let db = world.attach("test.tdb", DbKind::Volatile).await;
        store(&world, 1, db, b"key", 1, b"value");
        let _holder = world.hold_chain(2, db, b"held").await;
        let mut client = begin(&world, 0, db).await;
        assert!(next(&mut client).await.is_some());
        let d = &world.daemons[0];
        let node = d.nodes.get(Pnn(2)).unwrap();
        links::node_dead(d, &node, "the test wants it so");
        assert_eq!(next(&mut client).await, None);
        assert_eq!(d.stats.total().timeouts.traverse, 0);
        nothing_is_left(&world).await; // node 2 has seen the links close
    });
}

fn node_inactive() {
    let world = World::new(2);
    world.run(async {
        let db = world.attach("test.tdb", DbKind::Volatile).await;
        store(&world, 0, db, b"key", 0, b"value");
        let there = world.db(1, db);
        freeze::freeze_db(&world.daemons[1], &there).await.unwrap();
        let mut client = begin(&world, 0, db).await;
        assert!(next(&mut client).await.is_some());
        ctdb_daemon::inactive::stop(&world.daemons[1]);
        assert_eq!(next(&mut client).await, None);
        assert_eq!(world.daemons[1].state.generation(), Generation::INVALID);
    });
}

fn unhealthy() {
    let world = World::new(1);
    world.run(async {
        let db = world.attach("test.tdb", DbKind::Persistent).await;
        store(&world, 0, db, b"key", 0, b"value");
        *world.db(0, db).unhealthy.borrow_mut() = Some("a test says so".to_owned());
        let mut client = world.client(0).await;
        client.listen(AT).await;
        let start = Request::TraverseStart(start_of(db));
        assert_eq!(client.control(&start).await.0, -1);
        let d = &world.daemons[0];
        d.tunables.borrow_mut().set("AllowUnhealthyDBRead", 1).unwrap();
        assert_eq!(client.control(&start).await.0, 0);
        assert_eq!(rest(&mut client).await.len(), 1);
    });
}

fn unhealthy_elsewhere() {
    let world = World::new(2);
    world.run(async {
        let db = world.attach("test.tdb", DbKind::Persistent).await;
        store(&world, 1, db, b"key", 1, b"value");
        world.daemons[0].state.set_vnnmap(VnnMap {
            generation: GENERATION,
            map: vec![Pnn(1)],
        });
        *world.db(1, db).unhealthy.borrow_mut() = Some("a test says so".to_owned());
        assert!(rest(&mut begin(&world, 0, db).await).await.is_empty());
        assert_eq!(world.daemons[0].stats.total().timeouts.traverse, 0);
    });
}

fn unknown_elsewhere() {
    let world = World::new(2);
    world.run(async {
        attach::open(&world.daemons[0], "test.tdb", DbKind::Volatile)
            .await
            .unwrap();
        let db = DbId::of_name(b"test.tdb");
        store(&world, 0, db, b"key", 0, b"value");
        assert_eq!(rest(&mut begin(&world, 0, db).await).await.len(), 1);
        assert_eq!(world.daemons[0].stats.total().timeouts.traverse, 0);
        let mut client = world.client(1).await;
        let start = Request::TraverseStart(start_of(db));
        assert_eq!(client.control(&start).await.0, -1, "it is not attached there");
    });
}

fn slow_client() {
    const RECORDS: u32 = 20_000;
    let world = World::new(2);
    world.run(async {
        let db = world.attach("test.tdb", DbKind::Volatile).await;
        let value = vec![7; 3000];
        for n in 0..RECORDS {
            store(&world, (n % 2) as usize, db, &n.to_be_bytes(), n % 2, &value);
        }
        let mut client = begin(&world, 0, db).await;
        let d = &world.daemons[0];
        let own = d.clients.of_pid(std::process::id() as i32).remove(0);
        let queue = own.sender().unwrap();
        let link_of = |d: &ctdb_daemon::Daemon| {
            let node = d.nodes.get(Pnn(0)).unwrap();
            let link = node.outgoing.borrow();
            link.as_ref().map_or(0, |link| link.queued_bytes())
        };
        world
            .until("all stand still", || {
                queue.queued_bytes() > 4 << 20 && link_of(&world.daemons[1]) == 0
            })
            .await;
        let queued = queue.queued_bytes();
        assert!(queued < 24 << 20, "{queued} of 60 million bytes are queued");
        assert_eq!(rest(&mut client).await.len(), RECORDS as usize);
    });
}

fn strangers() {
    let world = World::new(2);
    world.run(async {
        let db = world.attach("test.tdb", DbKind::Volatile).await;
        let mut client = world.client(0).await;
        let start = Request::TraverseStart(start_of(db));
        assert_eq!(client.control_to(Pnn(1), &start).await, -1);
        let all = Request::TraverseAll(TraverseAll {
            db_id: db,
            reqid: 1,
            pnn: Pnn(0),
            client_reqid: 1,
            srvid: AT,
        });
        assert_eq!(client.control(&all).await.0, -1);
        assert_eq!(
            client.control(&Request::TraverseData(RecData::end(1))).await.0,
            -1
        );
        let to_nobody = Request::TraverseAll(TraverseAll {
            db_id: db,
            reqid: 1,
            pnn: Pnn(77),
            client_reqid: 1,
            srvid: AT,
        });
        assert_eq!(client.control_to(Pnn(1), &to_nobody).await, -1);
        nothing_is_left(&world).await;
    });
}
