//! START_RECOVERY and END_RECOVERY.

use std::rc::Rc;

use ctdb_protocol::control::{Reply, Request};
use ctdb_protocol::{Opcode, Pnn, Runstate};

use crate::events::{self, Event};
use crate::responder::Responder;
use crate::{Daemon, commit, shutdown};

/// START_RECOVERY: answered with the outcome of the event `startrecovery`.
pub async fn start(d: &Rc<Daemon>, leader: Pnn, answer: Responder) {
    log::info!("Recovery started by node {leader}");
    d.state.last_recovery_started.set(Some(d.rt.wall_clock()));
    // A leader that this node has no link to yet can't be asked; the next recovery compares.
    if d.nodes.get(leader).is_some_and(|node| node.is_connected())
        && let Err(refused) = same_cluster_lock(d, leader).await
    {
        return refused.answer(d, answer);
    }
    let outcome = events::run(d, Event::StartRecovery, "").await;
    answer.status(outcome.status());
}

enum Refused {
    /// The leader did not say.
    Unknown { status: i32, text: String },
    /// It has another lock, or only one of us has one.
    Differs { theirs: String },
}

impl Refused {
    fn answer(self, d: &Rc<Daemon>, answer: Responder) {
        match self {
            Refused::Unknown { status, text } => answer.fail(status, &text),
            Refused::Differs { theirs } => {
                log::error!(
                    "The leader's cluster lock is \"{theirs}\", this node's \"{}\": two nodes could lead at once, so \
                     this node shuts down. Set the same `cluster lock` in ctdb.conf everywhere",
                    d.settings.cluster_lock_text()
                );
                answer.refuse();
                shutdown::begin(d, 1);
            }
        }
    }
}

async fn same_cluster_lock(d: &Rc<Daemon>, leader: Pnn) -> Result<(), Refused> {
    let limit = d.tunables.borrow().control_timeout();
    let answered = d.ask(leader, &Request::GetReclockFile, limit).await;
    if answered.status != 0 {
        log::error!("Node {leader} does not tell its cluster lock: {}", answered.text);
        return Err(Refused::Unknown {
            status: answered.status,
            text: answered.text,
        });
    }
    let theirs = match Reply::decode(Opcode::GET_RECLOCK_FILE, &answered.data) {
        Ok(Reply::GetReclockFile(Some(text))) => text.to_str_lossy().into_owned(),
        Ok(_) => String::new(),
        Err(error) => {
            return Err(Refused::Unknown {
                status: -1,
                text: error.to_string(),
            });
        }
    };
    if theirs == d.settings.cluster_lock_text() {
        Ok(())
    } else {
        Err(Refused::Differs { theirs })
    }
}

/// END_RECOVERY: answered with the outcome of the event `recovered`; everything else is done whatever that is.
pub async fn end(d: &Rc<Daemon>, answer: Responder) {
    log::info!("Recovery finished");
    if !d.state.in_recovery() {
        commit::recovery_ended(d);
    }
    let outcome = events::run(d, Event::Recovered, "").await;
    d.stats.count(|s| s.num_recoveries += 1);
    d.state.last_recovery_finished.set(Some(d.rt.wall_clock()));
    if d.state.runstate() == Runstate::FirstRecovery {
        d.state.set_runstate(Runstate::Startup);
    }
    answer.status(outcome.status());
}
