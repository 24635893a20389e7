//! The way out, once.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use ctdb_protocol::{Pnn, Runstate, Srvid, SrvidRequest, Wire};
use ctdb_runtime::sync::Notify;

use crate::events::{self, Event};
use crate::{Daemon, links, recoverd};

/// Whether and how the daemon ends.
#[derive(Default)]
pub struct Shutdown {
    begun: Cell<bool>,
    code: Cell<Option<i32>>,
    done: Notify,
}

impl Shutdown {
    /// The way out has begun: nothing new is started.
    pub fn is_begun(&self) -> bool {
        self.begun.get()
    }

    /// Resolves with the exit code.
    pub async fn finished(&self) -> i32 {
        loop {
            let notified = self.done.notified();
            if let Some(code) = self.code.get() {
                return code;
            }
            notified.await;
        }
    }
}

/// Begins the orderly way out; a second call changes nothing.
pub fn begin(d: &Rc<Daemon>, code: i32) {
    if d.shutdown.begun.replace(true) {
        return;
    }
    log::error!("Shutting down (exit code {code})");
    d.state.set_runstate(Runstate::Shutdown);
    d.spawn_urgent(|d| async move {
        give_addresses_away(&d).await;
        recoverd::stop(&d);
        events::run(&d, Event::Shutdown, "").await;
        events::stop(&d);
        log::error!("Shutdown is complete: the links to the other nodes are closed");
        for node in d.nodes.all() {
            links::close(&node, "this node shuts down");
        }
        exit(&d, code);
    });
}

/// Ends the main program with this code, now.
pub fn exit(d: &Daemon, code: i32) {
    d.shutdown.begun.set(true);
    if d.shutdown.code.get().is_none() {
        d.shutdown.code.set(Some(code));
    }
    d.shutdown.done.notify_all();
}

/// Asks the leader to move what this node hosts, and gives it [failover] shutdown timeout to do so. Where
/// no address is configured anywhere here there is nothing to wait for.
async fn give_addresses_away(d: &Rc<Daemon>) {
    let limit = d.settings.config.failover.shutdown_failover_timeout;
    if limit.is_zero() || !crate::control::addresses::any_hosted(d) {
        return;
    }
    let answer = Rc::new(Notify::new());
    let at = Srvid(0x9E00_0000_0000_0000 | (u64::from(d.me().0) & 0xFF_FFFF) << 32);
    let heard = answer.clone();
    let id = d.services.register_own(
        at,
        Rc::new(move |_: &Rc<Daemon>, _: Pnn, _: &[u8]| heard.notify_all()),
    );
    let mut data = Vec::new();
    SrvidRequest {
        pnn: d.me().0,
        srvid: at,
    }
    .encode(&mut data);
    d.send_message(Pnn::BROADCAST_CONNECTED, Srvid::TAKEOVER_RUN, &data);
    if d.rt.timeout(limit, answer.notified()).await.is_ok() {
        let extra: Duration = d.settings.config.failover.shutdown_extra_timeout;
        d.rt.sleep(extra).await;
    } else {
        log::warn!("The leader has not moved this node's addresses within {limit:?}; going on");
    }
    d.services.deregister_own(at, id);
}
