//! Hot records of sticky databases stay for a moment where they come.

use std::time::Duration;

use ctdb_daemon::databases::DbKind;
use ctdb_protocol::control::Request;
use ctdb_protocol::{CallId, Pnn};

use crate::Test;
use crate::world::World;

pub const TESTS: &[Test] = &[
    ("a hot record of a sticky database stays where it comes", stays),
    ("a record of another database does not become sticky", not_sticky),
];

fn stays() {
    let world = World::new(2);
    world.run(async {
        let db = world.attach("test.tdb", DbKind::Volatile).await;
        for (node, d) in world.daemons.iter().enumerate() {
            d.tunables.borrow_mut().set("HopcountMakeSticky", 0).unwrap();
            d.tunables.borrow_mut().set("StickyPindown", 300).unwrap();
            let mut client = world.client(node).await;
            assert_eq!(client.control(&Request::SetDbSticky(db)).await.0, 0);
        }
        let key = world.key_of(0);
        let (mut first, mut second) = (world.client(0).await, world.client(1).await);
        first.call(db, &key, CallId::NULL).await;
        second.call(db, &key, CallId::NULL).await; // sticky on node 0 from now on
        first.call(db, &key, CallId::NULL).await; // comes back there
        let came = world.rt().now();
        second.call(db, &key, CallId::NULL).await;
        let stayed = world.rt().now().saturating_since(came);
        assert!(
            stayed >= Duration::from_millis(200),
            "it has left after {stayed:?}"
        );
        assert_eq!(world.record(1, db, &key).unwrap().0.dmaster, Pnn(1));
    });
}

fn not_sticky() {
    let world = World::new(2);
    world.run(async {
        let id = world.attach("test.tdb", DbKind::Volatile).await;
        for d in &world.daemons {
            d.tunables.borrow_mut().set("HopcountMakeSticky", 0).unwrap();
        }
        let key = world.key_of(0);
        for node in [0, 1, 0] {
            world.client(node).await.call(id, &key, CallId::NULL).await;
        }
        let pinned = ctdb_daemon::sticky::pinned(&world.daemons[0], &world.db(0, id), &key);
        assert_eq!(pinned, None);
    });
}
