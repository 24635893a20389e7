//! A node that is banned or stopped, and back.

use std::time::Duration;

use ctdb_daemon::inactive;
use ctdb_daemon::recovery::mode;
use ctdb_daemon::responder::Responder;
use ctdb_protocol::control::Request;
use ctdb_protocol::{NodeFlags, RecMode};
use ctdb_runtime::sync::oneshot;

use crate::Test;
use crate::world::World;

pub const TESTS: &[Test] = &[
    (
        "a node that is stopped while it returns to normal stays in recovery",
        stop_beats_return,
    ),
    ("a ban ends by itself", ban_ends),
    (
        "a ban over which the databases were not frozen is followed by one of the usual length",
        ban_again,
    ),
    ("a new ban replaces the one under way", ban_replaced),
];

const SOON: Duration = Duration::from_millis(20);

fn stop_beats_return() {
    let world = World::new(1);
    world.run(async {
        let d = &world.daemons[0];
        mode::leave(d);
        let (sender, answer) = oneshot();
        mode::set(d, RecMode::Normal, Responder::to_own(d, sender));
        inactive::stop(d);
        assert_eq!(answer.await.unwrap().status, -1);
        assert_eq!(d.state.recmode(), RecMode::Active);
        world.until("all is frozen", || d.state.all_frozen.get()).await;
    });
}

fn banned(world: &World) -> bool {
    world.daemons[0].nodes.own_flags().contains(NodeFlags::BANNED)
}

fn ban_ends() {
    let world = World::new(1);
    world.run(async {
        inactive::set_ban(&world.daemons[0], SOON);
        assert!(banned(&world));
        world.until("the ban is over", || !banned(&world)).await;
        assert!(world.daemons[0].bans.left(world.rt().now()).is_none());
    });
}

fn ban_again() {
    let world = World::new(1);
    world.run(async {
        let d = &world.daemons[0];
        inactive::set_ban(d, SOON);
        world.until("all is frozen", || d.state.all_frozen.get()).await;
        d.state.all_frozen.set(false);
        let usual = d.tunables.borrow().recovery_ban_period();
        world
            .until("it is banned again", || {
                d.bans.length_s() == u32::try_from(usual.as_secs()).unwrap()
            })
            .await;
        assert!(banned(&world));
    });
}

fn ban_replaced() {
    let world = World::new(1);
    world.run(async {
        let d = &world.daemons[0];
        inactive::set_ban(d, SOON);
        inactive::set_ban(d, Duration::from_secs(3600));
        world.rt().sleep(SOON * 3).await; // the first would be over
        assert!(banned(&world));
        let mut client = world.client(0).await;
        let unban = ctdb_protocol::BanState {
            pnn: d.me(),
            time_s: 0,
        };
        assert_eq!(client.control(&Request::SetBanState(unban)).await.0, 0);
        assert!(!banned(&world));
    });
}
