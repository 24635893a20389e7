//! Banned, stopped, disabled, and back.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use ctdb_protocol::NodeFlags;
use ctdb_runtime::{Instant, Task};

use crate::Daemon;
use crate::control::addresses;
use crate::notice::{self, Change};
use crate::recovery::{freeze, mode};

/// The ban of this node, while there is one.
#[derive(Default)]
pub struct Bans {
    running: RefCell<Option<Ban>>,
}

struct Ban {
    length: Duration,
    ends: Instant,
    /// Ends the ban; dropping it stops the clock.
    timer: Task<()>,
}

impl Bans {
    /// Seconds of the ban that was given, 0 when there is none (what GET_BAN_STATE answers).
    pub fn length_s(&self) -> u32 {
        self.running
            .borrow()
            .as_ref()
            .map_or(0, |b| b.length.as_secs().min(u64::from(u32::MAX)) as u32)
    }

    /// Time until the ban ends.
    pub fn left(&self, now: Instant) -> Option<Duration> {
        self.running
            .borrow()
            .as_ref()
            .map(|b| b.ends.saturating_since(now))
    }
}

/// SET_BAN_STATE for this node: `length` zero ends a ban.
pub fn set_ban(d: &Rc<Daemon>, length: Duration) {
    d.bans.running.borrow_mut().take();
    if length.is_zero() {
        if has(d, NodeFlags::BANNED) {
            log::error!("This node's ban is lifted");
        }
        change_own(d, |f| f - NodeFlags::BANNED);
        return;
    }
    if !d.tunables.borrow().enable_bans() {
        log::error!(
            "A ban of {} s for this node is ignored: tunable EnableBans is 0",
            length.as_secs()
        );
        return;
    }
    log::error!(
        "This node is banned for {} s; `ctdb unban` ends it earlier",
        length.as_secs()
    );
    let timer = d.rt.spawn(ban_over(d.clone(), length));
    *d.bans.running.borrow_mut() = Some(Ban {
        length,
        ends: d.rt.now() + length,
        timer,
    });
    let already = has(d, NodeFlags::BANNED);
    change_own(d, |f| f | NodeFlags::BANNED);
    if !already {
        become_inactive(d);
    }
}

/// The time of a ban is over, unless another SET_BAN_STATE has dropped this task before.
async fn ban_over(d: Rc<Daemon>, length: Duration) {
    d.rt.sleep(length).await;
    // It ends with this call by itself: what follows may set the next ban, or none.
    if let Some(ban) = d.bans.running.borrow_mut().take() {
        ban.timer.detach();
    }
    if d.state.all_frozen.get() {
        log::error!("This node's ban is over");
        change_own(&d, |f| f - NodeFlags::BANNED);
    } else {
        // It has not even given its databases up: it is not fit to come back.
        ban_self(&d, "its ban is over, but its databases are not frozen yet");
    }
}

/// Bans this node because of something that it noticed about itself.
pub fn ban_self(d: &Rc<Daemon>, why: &str) {
    log::error!("This node bans itself: {why}");
    let period = d.tunables.borrow().recovery_ban_period();
    set_ban(d, period);
}

/// STOP_NODE.
pub fn stop(d: &Rc<Daemon>) {
    log::info!("This node is stopped by an operator");
    change_own(d, |f| f | NodeFlags::STOPPED);
    become_inactive(d);
}

/// CONTINUE_NODE: the leader's next recovery takes this node in again.
pub fn continue_node(d: &Rc<Daemon>) {
    log::info!("This node is to continue");
    change_own(d, |f| f - NodeFlags::STOPPED);
}

/// DISABLE_NODE: serves no public addresses, keeps serving databases.
pub fn disable(d: &Rc<Daemon>) {
    log::info!("This node is disabled by an operator");
    change_own(d, |f| f | NodeFlags::PERMANENTLY_DISABLED);
}

/// ENABLE_NODE.
pub fn enable(d: &Rc<Daemon>) {
    log::info!("This node is enabled again");
    change_own(d, |f| f - NodeFlags::PERMANENTLY_DISABLED);
}

/// Leaves the cluster's databases without leaving the cluster: no generation, in recovery, everything
/// frozen and counted as void, no public addresses.
pub fn become_inactive(d: &Rc<Daemon>) {
    d.state.invalidate_generation();
    for db in d.databases.all() {
        db.generation.set(ctdb_protocol::Generation::INVALID);
    }
    mode::leave(d);
    addresses::release_all(d);
    d.spawn_urgent(|d| async move {
        if let Err(error) = freeze::freeze_all(&d).await {
            log::error!("Not all databases of this inactive node could be frozen: {error}");
        }
    });
    notice::poke(d, Change::OwnFlags);
}

/// Changes own flags, and says so.
pub fn change_own(d: &Rc<Daemon>, change: impl FnOnce(NodeFlags) -> NodeFlags) {
    let own = d.nodes.own();
    let old = own.flags.get();
    let new = change(old);
    if new != old {
        log::info!("Flags of this node: {old} -> {new}");
        own.flags.set(new);
        notice::poke(d, Change::OwnFlags);
    }
}

fn has(d: &Daemon, flag: NodeFlags) -> bool {
    d.nodes.own_flags().contains(flag)
}
