//! Is this node healthy? The `monitor` event decides, again and again.

use std::rc::Rc;
use std::time::Duration;

use ctdb_protocol::{NodeFlagChange, NodeFlags, Pnn, Runstate, Srvid, SrvidRequest, Wire};

use crate::events::{self, Event, EventOutcome};
use crate::{Daemon, inactive};

/// First interval, and the one after a change of health; doubles up to MonitorInterval.
const INTERVAL_MIN: Duration = Duration::from_secs(5);
/// Pause after an event that was refused because of a recovery.
const RETRY: Duration = Duration::from_secs(1);
/// Pause after an event that gave way to another one: its answer is still wanted. With the whole interval here, a node that
/// joins stays unhealthy for five seconds whenever the takeover run after its recovery meets its first monitor event.
const AFTER_CANCEL: Duration = Duration::from_millis(100);

/// Runs for the life of the daemon, from run state RUNNING on. The first run is at once: it is what makes
/// a node healthy (the C daemon waits two seconds for nothing).
pub async fn run(d: Rc<Daemon>) {
    let mut interval = INTERVAL_MIN;
    let mut timeouts = 0;
    loop {
        if !can_run(&d) {
            wait_until_it_can(&d).await;
            continue;
        }
        // An interval of 0 would stay 0 when doubled, also after the tunable is raised again.
        let longest = d.tunables.borrow().monitor_interval().max(RETRY);
        match events::run(&d, Event::Monitor, "").await {
            EventOutcome::Cancelled => {
                d.rt.sleep(AFTER_CANCEL).await;
                continue;
            }
            EventOutcome::Refused => {
                d.rt.sleep(RETRY).await;
                continue;
            }
            EventOutcome::TimedOut => {
                timeouts += 1;
                if timeouts >= d.tunables.borrow().monitor_timeout_count() {
                    interval = judge(&d, false, interval);
                } else {
                    log::warn!(
                        "The monitor event timed out {timeouts} times in a row; health stays as it is"
                    );
                }
            }
            outcome => {
                timeouts = 0;
                interval = judge(&d, outcome == EventOutcome::Ok, interval);
            }
        }
        d.rt.sleep(interval.min(longest)).await;
        interval = (interval * 2).min(longest);
    }
}

fn can_run(d: &Daemon) -> bool {
    d.state.runstate() == Runstate::Running
        && !d.state.in_recovery()
        && d.is_active()
        && !d.state.all_frozen.get()
}

/// Until something changes; flags are not part of the state that announces its changes, so look again anyway.
async fn wait_until_it_can(d: &Rc<Daemon>) {
    let _ = d.rt.timeout(RETRY, d.state.changed()).await;
}

/// Takes the result in; returns the next interval.
fn judge(d: &Rc<Daemon>, healthy: bool, interval: Duration) -> Duration {
    let old = d.nodes.own_flags();
    if healthy != old.contains(NodeFlags::UNHEALTHY) {
        return interval;
    }
    let new = if healthy {
        old - NodeFlags::UNHEALTHY
    } else {
        old | NodeFlags::UNHEALTHY
    };
    if healthy {
        log::info!("This node is healthy now");
    } else {
        log::error!("This node is unhealthy: `ctdb scriptstatus` tells which script failed");
    }
    inactive::change_own(d, |_| new);
    events::notify(d, if healthy { "healthy" } else { "unhealthy" });
    announce(d, old, new);
    INTERVAL_MIN
}

/// The recovery daemon tells the other nodes; the leader moves addresses.
fn announce(d: &Rc<Daemon>, old: NodeFlags, new: NodeFlags) {
    let mut data = Vec::new();
    NodeFlagChange {
        pnn: d.me(),
        new_flags: new,
        old_flags: old,
    }
    .encode(&mut data);
    d.send_message(d.me(), Srvid::PUSH_NODE_FLAGS, &data);
    data.clear();
    SrvidRequest {
        pnn: d.me().0,
        srvid: Srvid(0),
    }
    .encode(&mut data);
    d.send_message(Pnn::BROADCAST_CONNECTED, Srvid::TAKEOVER_RUN, &data);
}
