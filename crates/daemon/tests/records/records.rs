//! Calls and migration.

use ctdb_daemon::calls;
use ctdb_daemon::databases::DbKind;
use ctdb_protocol::control::Request;
use ctdb_protocol::{
    CallId, DbId, LtdbHeader, Pnn, PushRecordData, Reader, RecBuffer, RecBufferWriter, RecFlags, Reqid, Rsn,
    Text, Wire,
};

use ctdb_runtime::sync::join_all;

use crate::Test;
use crate::world::{World, header};

pub const TESTS: &[Test] = &[
    (
        "a call makes a missing record, and each call counts its rsn up",
        missing,
    ),
    (
        "a fetch answers the data, a fetch with header the header before its own store",
        fetch,
    ),
    ("an unknown function is answered with nothing", unknown_function),
    (
        "a call for a database that is not attached gets no answer",
        unknown_database,
    ),
    (
        "a record moves to the node whose client calls, and names it everywhere",
        migration,
    ),
    ("a fetch moves the record, too", fetch_moves),
    (
        "many calls of one node for a record become one between nodes",
        collapse,
    ),
    (
        "no change of a record is lost while all nodes tear at it",
        counter,
    ),
    ("a record is stored although its caller has gone", caller_gone),
    ("calls under way are sent again when a recovery has ended", resend),
    ("a client attaches and learns how to open the file", attach),
    (
        "a sequence number that rises on one node rises on the others",
        seqnum,
    ),
    (
        "an empty record is deleted for its location master unless it is in use",
        try_delete,
    ),
    ("a pushed record is stored by the nodes that do not own it", push),
];

const VOLATILE: DbKind = DbKind::Volatile;

fn rsn_and_dmaster(record: Option<(LtdbHeader, Vec<u8>)>) -> (ctdb_protocol::Rsn, ctdb_protocol::Pnn) {
    let (header, _) = record.expect("the node has a copy");
    (header.rsn, header.dmaster)
}

fn missing() {
    let world = World::new(1);
    world.run(async {
        let db = world.attach("test.tdb", VOLATILE).await;
        let mut client = world.client(0).await;
        assert_eq!(client.call(db, b"key", CallId::NULL).await, (0, vec![]));
        assert_eq!(rsn_and_dmaster(world.record(0, db, b"key")), header(2, 0));
        assert_eq!(client.call(db, b"key", CallId::NULL).await, (0, vec![]));
        assert_eq!(rsn_and_dmaster(world.record(0, db, b"key")), header(3, 0));
        assert_eq!(
            world.db(0, db).deletions.len(),
            1,
            "an empty record is for vacuuming to look at"
        );
        world.write(0, db, b"key", b"data");
        client.call(db, b"key", CallId::NULL).await;
        assert!(world.db(0, db).deletions.is_empty(), "it is in use again");
    });
}

fn fetch() {
    let world = World::new(1);
    world.run(async {
        let db = world.attach("test.tdb", VOLATILE).await;
        let mut client = world.client(0).await;
        client.call(db, b"key", CallId::NULL).await;
        world.write(0, db, b"key", b"value");
        assert_eq!(
            client.call(db, b"key", CallId::FETCH).await,
            (0, b"value".to_vec())
        );
        let (before, _) = world.record(0, db, b"key").unwrap();
        let expected = [&before.to_bytes()[..], b"value"].concat();
        assert_eq!(
            client.call(db, b"key", CallId::FETCH_WITH_HEADER).await,
            (0, expected)
        );
    });
}

fn unknown_function() {
    let world = World::new(1);
    world.run(async {
        let db = world.attach("test.tdb", VOLATILE).await;
        let mut client = world.client(0).await;
        assert_eq!(client.call(db, b"key", CallId(5)).await, (0, vec![]));
    });
}

fn unknown_database() {
    let world = World::new(1);
    world.run(async {
        let mut client = world.client(0).await;
        client.send_call(DbId(77), b"key", CallId::NULL).await;
        let (status, _) = client.control(&Request::Ping).await; // the next packet is the answer to this
        assert_eq!(status, 1, "PING answers the number of clients");
    });
}

/// With the record's location master at the giver, at the taker, and at a third node.
fn migration() {
    let world = World::new(3);
    world.run(async {
        let db = world.attach("test.tdb", VOLATILE).await;
        let (mut giver, mut taker) = (world.client(0).await, world.client(1).await);
        for lmaster in 0..3 {
            let key = world.key_of(lmaster);
            assert_eq!(giver.call(db, &key, CallId::NULL).await.0, 0);
            world.write(0, db, &key, b"from node 0");
            let (before, _) = world.record(0, db, &key).unwrap();
            assert_eq!(
                taker.call(db, &key, CallId::NULL).await,
                (0, vec![]),
                "lmaster {lmaster}"
            );
            let (after, data) = world.record(1, db, &key).expect("it has come");
            assert_eq!(data, b"from node 0");
            assert_eq!(
                (after.rsn, after.dmaster.0),
                (before.rsn.plus(2), 1),
                "lmaster {lmaster}"
            );
            for node in [0, lmaster as usize] {
                assert_eq!(
                    world.record(node, db, &key).unwrap().0.dmaster.0,
                    1,
                    "node {node} lmaster {lmaster}"
                );
            }
        }
        let pending = world
            .daemons
            .iter()
            .map(|d| d.stats.total().pending_calls)
            .collect::<Vec<_>>();
        assert_eq!(pending, [0, 0, 0]);
    });
}

fn fetch_moves() {
    let world = World::new(2);
    world.run(async {
        let db = world.attach("test.tdb", VOLATILE).await;
        let key = world.key_of(0);
        world.client(0).await.call(db, &key, CallId::NULL).await;
        world.write(0, db, &key, b"value");
        assert_eq!(
            world.client(1).await.call(db, &key, CallId::FETCH).await,
            (0, b"value".to_vec())
        );
        assert_eq!(world.record(1, db, &key).unwrap().0.dmaster.0, 1);
        assert_eq!(world.daemons[0].stats.total().hop_count_bucket[0], 1);
    });
}

fn collapse() {
    let world = World::new(2);
    world.run(async {
        let db = world.attach("test.tdb", VOLATILE).await;
        let key = world.key_of(0);
        let mut clients = Vec::new();
        for _ in 0..20 {
            clients.push(world.client(1).await);
        }
        for client in &mut clients {
            client.send_call(db, &key, CallId::NULL).await;
        }
        for client in &mut clients {
            assert_eq!(client.answer_to(Reqid(1)).await.0, 0);
        }
        assert_eq!(world.daemons[0].stats.total().node.req_call, 1);
        assert_eq!(world.daemons[1].stats.total().pending_calls, 0);
    });
}

fn caller_gone() {
    let world = World::new(2);
    world.run(async {
        let db = world.attach("test.tdb", VOLATILE).await;
        let key = world.key_of(0);
        let holder = world.hold_chain(0, db, &key).await;
        let mut client = world.client(1).await;
        client.send_call(db, &key, CallId::NULL).await;
        world
            .until("node 0 waits for the chain", || {
                world.daemons[0].stats.total().locks.num_pending == 1
            })
            .await;
        drop(client);
        world
            .until("the client is gone", || world.daemons[1].clients.count() == 0)
            .await;
        holder.release().await;
        world
            .until("the record has come", || {
                world.record(1, db, &key).is_some_and(|r| r.0.dmaster.0 == 1)
            })
            .await;
    });
}

fn resend() {
    let world = World::new(2);
    world.run(async {
        let db = world.attach("test.tdb", VOLATILE).await;
        let key = world.key_of(0);
        // The call is lost on node 0, which is in another generation.
        let other = ctdb_protocol::VnnMap {
            generation: ctdb_protocol::Generation(7),
            ..world.daemons[0].state.vnnmap()
        };
        let common = world.daemons[0].state.vnnmap();
        world.daemons[0].state.set_vnnmap(other);
        let mut client = world.client(1).await;
        let reqid = client.send_call(db, &key, CallId::NULL).await;
        world
            .until("node 0 has dropped it", || {
                world.daemons[0].stats.total().node.req_call == 1
            })
            .await;
        world.daemons[0].state.set_vnnmap(common);
        calls::resend(&world.daemons[1], &world.db(1, db));
        assert_eq!(client.answer_to(reqid).await.0, 0);
        assert_eq!(world.record(1, db, &key).unwrap().0.dmaster.0, 1);
    });
}

fn attach() {
    let world = World::new(2);
    world.run(async {
        let mut client = world.client(0).await;
        let (status, id) = client.control(&Request::DbAttach(Text(b"locking.tdb"))).await;
        assert_eq!((status, &id[..]), (0, &0x7a19_d84d_u32.to_le_bytes()[..]));
        let db = DbId(0x7a19_d84d);
        let (status, path) = client.control(&Request::GetDbPath(db)).await;
        assert_eq!(status, 0);
        assert_eq!(
            path,
            [world.db(0, db).path.as_os_str().as_encoded_bytes(), b"\0"].concat()
        );
        let (_, flags) = client.control(&Request::DbOpenFlags(db)).await;
        let without_mutexes = i32::from_le_bytes(flags.try_into().unwrap()) & !0x1000;
        assert_eq!(without_mutexes, 0xc41);
        world
            .until("the other node has it, too", || {
                world.daemons[1].databases.get(db).is_some()
            })
            .await;
        // A persistent attach of a volatile database is refused, and so is a name that leaves the directory.
        assert_eq!(
            client
                .control(&Request::DbAttachPersistent(Text(b"locking.tdb")))
                .await
                .0,
            -1
        );
        assert_eq!(client.control(&Request::DbAttach(Text(b"../x"))).await.0, -1);
        assert_eq!(client.control(&Request::EnableSeqnum(db)).await.0, 0);
        let (_, flags) = client.control(&Request::DbOpenFlags(db)).await;
        assert_eq!(i32::from_le_bytes(flags.try_into().unwrap()) & 0x80, 0x80);
    });
}

fn seqnum() {
    let world = World::new(2);
    world.run(async {
        let id = world.attach("test.tdb", VOLATILE).await;
        for d in &world.daemons {
            d.tunables.borrow_mut().set("SeqnumInterval", 5).unwrap();
        }
        let mut client = world.client(0).await;
        for node in 0..2 {
            assert_eq!(
                world
                    .client(node)
                    .await
                    .control(&Request::EnableSeqnum(id))
                    .await
                    .0,
                0
            );
        }
        let seqnum = |node| world.db(node, id).tdb.seqnum().unwrap();
        let before = [seqnum(0), seqnum(1)];
        client.call(id, &world.key_of(0), CallId::NULL).await;
        assert_ne!(seqnum(0), before[0]);
        world
            .until("the other node's rises", || seqnum(1) != before[1])
            .await;
        let rest = [seqnum(0), seqnum(1)];
        world.rt().sleep(std::time::Duration::from_millis(100)).await;
        assert_eq!([seqnum(0), seqnum(1)], rest, "the rise is not told back");
    });
}

fn try_delete() {
    let world = World::new(2);
    world.run(async {
        let db = world.attach("test.tdb", VOLATILE).await;
        let keys: Vec<Vec<u8>> = world.keys_of(0).take(3).collect();
        let (mut first, mut second) = (world.client(0).await, world.client(1).await);
        let mut records = RecBufferWriter::new(db);
        for key in &keys {
            // To node 1 and back: it keeps an old copy.
            second.call(db, key, CallId::NULL).await;
            world.write(1, db, key, b"data");
            first.call(db, key, CallId::NULL).await;
            let (header, _) = world.record(0, db, key).unwrap();
            records.push(0, key, &header, b"");
        }
        second.call(db, &keys[1], CallId::NULL).await; // in use again on node 1
        let holder = world.hold_chain(1, db, &keys[2]).await;
        let (status, kept) = second
            .control(&Request::TryDeleteRecords(records.as_buffer()))
            .await;
        holder.release().await;
        let kept = RecBuffer::decode(&mut Reader::new(&kept)).unwrap();
        assert_eq!(
            (status, kept.iter().map(|r| r.key).collect::<Vec<_>>()),
            (0, vec![&keys[1][..], &keys[2]])
        );
        let here: Vec<bool> = keys
            .iter()
            .map(|key| world.record(1, db, key).is_some())
            .collect();
        assert_eq!(here, [false, true, true]);
    });
}

fn push() {
    let world = World::new(2);
    world.run(async {
        let db_id = world.attach("test.tdb", VOLATILE).await;
        let header = LtdbHeader::new(Rsn(9), Pnn(0));
        let pushed = |generation| PushRecordData {
            generation,
            db_id,
            header,
            key: b"key",
            value: b"durable",
        };
        let mut client = world.client(1).await;
        let old = pushed(ctdb_protocol::Generation(3));
        assert_eq!(client.control(&Request::PushRecord(old)).await.0, 0);
        assert!(
            world.record(1, db_id, b"key").is_none(),
            "another generation's is not stored"
        );
        let holder = world.hold_chain(1, db_id, b"key").await;
        let reqid = client
            .send_control(&Request::PushRecord(pushed(crate::world::GENERATION)))
            .await;
        world
            .until("it waits", || world.db(1, db_id).load.packets() == 1)
            .await;
        holder.release().await;
        assert_eq!(client.answer_to(reqid).await.0, 0);
        let (stored, data) = world.record(1, db_id, b"key").unwrap();
        assert_eq!(
            (stored.rsn, stored.dmaster, &data[..]),
            (Rsn(9), Pnn(0), &b"durable"[..])
        );
        assert!(stored.flags.contains(RecFlags::MIGRATED_WITH_DATA));
    });
}

/// Clients of three nodes count one record up as smbd does: bring it here, change it in the file, repeat if it
/// has left again before it could be changed.
fn counter() {
    const CLIENTS: u64 = 4;
    const TIMES: u64 = 25;
    let world = World::new(3);
    world.run(async {
        let db = world.attach("test.tdb", VOLATILE).await;
        let key = world.key_of(0);
        let mut counters = Vec::new();
        for node in 0..3 {
            for _ in 0..CLIENTS {
                counters.push(count_up(&world, node, db, &key, TIMES));
            }
        }
        join_all(counters).await;
        let mut client = world.client(1).await;
        let (status, value) = client.call(db, &key, CallId::FETCH).await;
        assert_eq!((status, value), (0, (3 * CLIENTS * TIMES).to_le_bytes().to_vec()));
        let masters = (0..3).filter(|node| {
            let own = world.record(*node, db, &key);
            own.is_some_and(|(header, _)| header.dmaster.0 as usize == *node)
        });
        assert_eq!(masters.collect::<Vec<_>>(), [1]);
    });
}

async fn count_up(world: &World, node: usize, db: DbId, key: &[u8], times: u64) {
    let mut client = world.client(node).await;
    let mut done = 0;
    while done < times {
        assert_eq!(client.call(db, key, CallId::NULL).await.0, 0);
        let (header, value) = world.record(node, db, key).expect("a call leaves a copy");
        if header.dmaster.0 as usize == node {
            let value = if value.is_empty() {
                0
            } else {
                u64::from_le_bytes(value.try_into().unwrap())
            };
            world.write(node, db, key, &(value + 1).to_le_bytes());
            done += 1;
        }
    }
}
