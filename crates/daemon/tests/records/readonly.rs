//! Read-only copies: lent, called back, forgotten by a recovery.

use ctdb_daemon::databases::{DbKind, FreezeState};
use ctdb_daemon::recovery::freeze;
use ctdb_protocol::control::Request;
use ctdb_protocol::{CallId, DbId, Pnn, RecFlags, Rsn};
use ctdb_records::readonly::tracked_nodes;
use ctdb_runtime::sync::join_all;

use crate::Test;
use crate::world::World;

pub const TESTS: &[Test] = &[
    (
        "read-only copies are lent to each node that wants one, the record stays",
        lent,
    ),
    ("a write calls all copies back before it goes on", called_back),
    (
        "a write on another node calls copies back, too",
        called_back_for_another,
    ),
    (
        "a database without read-only copies gives the record itself",
        without,
    ),
    (
        "a copy that is locked by a client is called back when it is let go",
        borrower_locked,
    ),
    (
        "a revoke that a freeze cuts short begins again after the thaw",
        cut_short,
    ),
    (
        "no reader sees an old value after a write has been answered",
        coherent,
    ),
];

async fn prepare(nodes: u8, world: &World) -> DbId {
    let db = world.attach("readonly.tdb", DbKind::Volatile).await;
    for node in 0..nodes.into() {
        let mut client = world.client(node).await;
        assert_eq!(client.control(&Request::SetDbReadonly(db)).await.0, 0);
    }
    db
}

/// Node 0 has the record, with data and rsn 10 or so.
async fn write_first(world: &World, db: DbId, key: &[u8], value: &[u8]) {
    let mut client = world.client(0).await;
    assert_eq!(client.call(db, key, CallId::NULL).await.0, 0);
    world.write(0, db, key, value);
}

fn flags(world: &World, node: usize, db: DbId, key: &[u8]) -> RecFlags {
    world
        .record(node, db, key)
        .map_or(RecFlags::empty(), |(h, _)| h.flags)
        & RecFlags::RO_MASK
}

fn borrowers(world: &World, db: DbId, key: &[u8]) -> Vec<Pnn> {
    let db = world.db(0, db);
    let tracking = db.tracking.borrow();
    let noted = tracking.as_ref().unwrap().fetch(key).unwrap();
    tracked_nodes(&noted.unwrap_or_default())
}

fn lent() {
    let world = World::new(3);
    world.run(async {
        let db = prepare(3, &world).await;
        let key = world.key_of(0);
        write_first(&world, db, &key, b"one").await;
        let (before, _) = world.record(0, db, &key).unwrap();
        for node in [1, 2] {
            let mut reader = world.client(node).await;
            assert_eq!(reader.read_copy(db, &key).await, (0, b"one".to_vec()));
            let (copy, data) = world.record(node, db, &key).unwrap();
            assert_eq!(
                (copy.dmaster, copy.rsn, &data[..]),
                (Pnn(0), Rsn(before.rsn.0 + 1), &b"one"[..])
            );
            assert_eq!(flags(&world, node, db, &key), RecFlags::RO_HAVE_READONLY);
        }
        let (owner, _) = world.record(0, db, &key).unwrap();
        assert_eq!((owner.dmaster, owner.rsn), (Pnn(0), Rsn(before.rsn.0 + 3)));
        assert_eq!(flags(&world, 0, db, &key), RecFlags::RO_HAVE_DELEGATIONS);
        assert_eq!(borrowers(&world, db, &key), [Pnn(1), Pnn(2)]);
        // The owner's own readers read from the record itself.
        assert_eq!(
            world.client(0).await.read_copy(db, &key).await,
            (0, b"one".to_vec())
        );
        assert_eq!(world.daemons[0].stats.total().total_ro_delegations, 2);
        assert_eq!(world.db(0, db).stats.get().db_ro_delegations, 2);
    });
}

fn called_back() {
    let world = World::new(3);
    world.run(async {
        let db = prepare(3, &world).await;
        let key = world.key_of(0);
        write_first(&world, db, &key, b"one").await;
        world.client(1).await.read_copy(db, &key).await;
        world.client(2).await.read_copy(db, &key).await;
        let (lent, _) = world.record(0, db, &key).unwrap();
        assert_eq!(
            world.client(0).await.call(db, &key, CallId::NULL).await,
            (0, vec![])
        );
        let (owner, _) = world.record(0, db, &key).unwrap();
        assert_eq!(
            owner.rsn,
            Rsn(lent.rsn.0 + 3),
            "noted, tidied up, and the call itself"
        );
        for node in 0..3 {
            assert_eq!(flags(&world, node, db, &key), RecFlags::empty(), "node {node}");
        }
        assert_eq!(world.record(1, db, &key).unwrap().0.rsn, Rsn(lent.rsn.0 - 1));
        assert_eq!(borrowers(&world, db, &key), []);
        assert_eq!(world.daemons[0].stats.total().total_ro_revokes, 1);
        assert_eq!(world.db(0, db).stats.get().db_ro_revokes, 1);
    });
}

fn called_back_for_another() {
    let world = World::new(3);
    world.run(async {
        let db = prepare(3, &world).await;
        let key = world.key_of(2);
        write_first(&world, db, &key, b"one").await;
        world.client(1).await.read_copy(db, &key).await;
        world.client(2).await.read_copy(db, &key).await;
        assert_eq!(
            world.client(1).await.call(db, &key, CallId::FETCH).await,
            (0, b"one".to_vec())
        );
        let (owner, _) = world.record(1, db, &key).unwrap();
        assert_eq!(owner.dmaster, Pnn(1));
        for node in 0..3 {
            assert_eq!(flags(&world, node, db, &key), RecFlags::empty(), "node {node}");
        }
        assert_eq!(
            world
                .daemons
                .iter()
                .map(|d| d.stats.total().pending_calls)
                .sum::<u32>(),
            0
        );
    });
}

fn without() {
    let world = World::new(2);
    world.run(async {
        let db = world.attach("readonly.tdb", DbKind::Volatile).await;
        let key = world.key_of(0);
        write_first(&world, db, &key, b"one").await;
        assert_eq!(
            world.client(1).await.read_copy(db, &key).await,
            (0, b"one".to_vec())
        );
        assert_eq!(world.record(1, db, &key).unwrap().0.dmaster, Pnn(1));
        assert_eq!(flags(&world, 1, db, &key), RecFlags::empty());
    });
}

fn borrower_locked() {
    let world = World::new(2);
    world.run(async {
        let db = prepare(2, &world).await;
        let key = world.key_of(0);
        write_first(&world, db, &key, b"one").await;
        world.client(1).await.read_copy(db, &key).await;
        let holder = world.hold_chain(1, db, &key).await;
        let mut writer = world.client(0).await;
        let call = writer.send_call(db, &key, CallId::NULL).await;
        world
            .until("the call waits for the revoke", || {
                world.db(0, db).load.packets() == 1
            })
            .await;
        // Others get through meanwhile, and readers wait.
        assert_eq!(
            world.client(0).await.call(db, b"another", CallId::NULL).await.0,
            0
        );
        let mut reader = world.client(1).await;
        let read = reader.send_read(db, &key).await;
        world
            .until("the reader waits for the lock", || {
                world.db(1, db).load.packets() == 1
            })
            .await;
        holder.release().await;
        assert_eq!(writer.answer_to(call).await.0, 0);
        assert_eq!(reader.answer_to(read).await, (0, b"one".to_vec()));
    });
}

fn cut_short() {
    let world = World::new(2);
    world.run(async {
        let id = prepare(2, &world).await;
        let key = world.key_of(0);
        write_first(&world, id, &key, b"one").await;
        world.client(1).await.read_copy(id, &key).await;
        let holder = world.hold_chain(1, id, &key).await;
        let mut writer = world.client(0).await;
        let call = writer.send_call(id, &key, CallId::NULL).await;
        let (d, db) = (&world.daemons[0], world.db(0, id));
        world.until("the call waits", || db.load.packets() == 1).await;
        freeze::freeze_db(d, &db).await.unwrap();
        assert_eq!(db.freeze.get(), FreezeState::Frozen);
        holder.release().await;
        world
            .until("the revoke has ended", || {
                !ctdb_daemon::readonly::is_revoking(d, &db, &key)
            })
            .await;
        {
            let _mark = db.tdb.mark_all().unwrap();
            assert!(flags(&world, 0, id, &key).contains(RecFlags::RO_REVOKING_READONLY));
        }
        freeze::thaw_db(d, &db).await;
        assert_eq!(writer.answer_to(call).await.0, 0);
        assert_eq!(flags(&world, 0, id, &key), RecFlags::empty());
        assert_eq!(flags(&world, 1, id, &key), RecFlags::empty());
    });
}

/// A writer counts up, on changing nodes; readers on all nodes read copies. Whatever was answered to the writer must
/// be what a later read gives, or something newer.
fn coherent() {
    const WRITES: u64 = 12;
    let world = World::new(3);
    world.run(async {
        let db = prepare(3, &world).await;
        let key = world.key_of(1);
        let written = std::cell::Cell::new(0u64);
        write_first(&world, db, &key, &0u64.to_le_bytes()).await;
        let readers = (0..3).map(|node| read_until(&world, node, db, &key, WRITES, &written));
        let readers = join_all(readers.collect::<Vec<_>>());
        let writer = async {
            for round in 1..=WRITES {
                write_once(&world, round as usize % 3, db, &key, round).await;
                written.set(round);
            }
        };
        ctdb_runtime::sync::join_all([
            Box::pin(async { drop(readers.await) }) as std::pin::Pin<Box<dyn Future<Output = ()>>>,
            Box::pin(writer),
        ])
        .await;
    });
}

async fn write_once(world: &World, node: usize, db: DbId, key: &[u8], value: u64) {
    let mut client = world.client(node).await;
    loop {
        assert_eq!(client.call(db, key, CallId::NULL).await.0, 0);
        let (header, _) = world.record(node, db, key).expect("a call leaves a copy");
        if header.dmaster.0 as usize == node && !header.flags.intersects(RecFlags::RO_MASK) {
            return world.write(node, db, key, &value.to_le_bytes());
        }
    }
}

async fn read_until(
    world: &World,
    node: usize,
    db: DbId,
    key: &[u8],
    last: u64,
    written: &std::cell::Cell<u64>,
) {
    let mut client = world.client(node).await;
    loop {
        let least = written.get();
        let copy = world.record(node, db, key).filter(|(header, _)| {
            header.dmaster.0 as usize == node || header.flags.contains(RecFlags::RO_HAVE_READONLY)
        });
        let data = match copy {
            Some((_, data)) => data,
            None => client.read_copy(db, key).await.1,
        };
        let value = u64::from_le_bytes(data.try_into().unwrap());
        assert!(
            value >= least,
            "node {node} reads {value} after {least} was written"
        );
        if value == last {
            return;
        }
        world.rt().yield_now().await;
    }
}
