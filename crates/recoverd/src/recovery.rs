//! One recovery: from the reason to the message that it is over. What happens to the databases is the helper's work.

use std::collections::BTreeSet;
use std::rc::Rc;

use ctdb_cluster::Node;
use ctdb_cluster::checks::Reason;
use ctdb_cluster::credits::{self, WithoutLock};
use ctdb_cluster::election::Event;
use ctdb_cluster::flags::FlagFix;
use ctdb_cluster::operations::Cause;
use ctdb_protocol::{Generation, Message, Pnn, Srvid};

use crate::judge::{self, Seen};
use crate::state::{Pending, Recoverd};

/// What became of a reason to recover.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recovered {
    /// The cluster is recovered, as far as this leader can tell.
    Done,
    /// The attempt failed, or another node leads.
    Failed,
    /// It may not begin now.
    Refused,
}

impl Recoverd {
    /// Recovers if that is allowed now.
    pub async fn recover(self: &Rc<Self>, reason: &Reason, cause: Cause, seen: &Seen) -> Recovered {
        let rerecovery = self.tunables.borrow().rerecovery_timeout();
        if let Err(refusal) = self.recoveries.borrow_mut().begin(self.now(), cause, rerecovery) {
            let text = format!("{reason}; the recovery has to wait: {refusal}");
            if *self.waiting_reason.borrow() != text {
                log::info!("{text}");
                *self.waiting_reason.borrow_mut() = text;
            }
            return Recovered::Refused;
        }
        log::info!("Recovery begins ({cause:?}): {reason}");
        self.count(format!("recoveries: {}", judge::name(reason)));
        if let Some(culprit) = reason.culprit() {
            self.blame(culprit, 1, &reason.to_string());
        }
        self.asked_for.set(false);
        let began = self.rt.now();
        let outcome = self.attempt(seen).await;
        self.recoveries
            .borrow_mut()
            .end(self.now(), outcome.is_ok(), rerecovery);
        match outcome {
            Ok(took_part) => {
                log::info!(
                    "Recovery done in {:?}; the next one not before {rerecovery:?}, but for a good cause",
                    self.rt.now() - began
                );
                *self.took_part.borrow_mut() = Some(took_part);
                *self.pending.borrow_mut() = None;
                self.credits.borrow_mut().forgive_all();
                // `asked_for` stays: who asked while this one was under way may have asked too late for it. If not,
                // the next round finds nothing and forgets it.
                Recovered::Done
            }
            Err(why) => {
                log::error!("Recovery failed after {:?}: {why}", self.rt.now() - began);
                self.count("recoveries failed");
                *self.pending.borrow_mut() = Some(Pending { why, cause });
                Recovered::Failed
            }
        }
    }

    /// The numbers are the steps of `docs/internals/recoverd.md`, "A recovery".
    async fn attempt(self: &Rc<Self>, seen: &Seen) -> Result<BTreeSet<Pnn>, String> {
        self.look_at_nodes().await.map_err(|error| error.to_string())?; // 1
        self.must_lead()?;
        if self.ban_misbehaving_nodes().await {
            return Err("this node was banned".to_owned()); // 2
        }
        self.must_hold_lock(seen).await?; // 3
        let nodes = self.nodes.borrow().clone();
        self.carry_flags(&nodes, seen).await?; // 4
        let generation = self.new_generation(seen.vnnmap.generation);
        log::info!("The recovery makes generation {generation}");
        self.run_recovery_helper(generation)
            .await
            .map_err(|failed| format!("recovery helper: {failed}"))?; // 5
        self.takeover_run().await; // 6
        self.tell(Pnn::BROADCAST_CONNECTED, Srvid::RECONFIGURE, &Message::Empty); // 7
        Ok(active(&nodes))
    }

    fn must_lead(&self) -> Result<(), String> {
        if self.leadership.is_leader() {
            Ok(())
        } else {
            Err("this node does not lead any more".to_owned())
        }
    }

    /// A leader without the lock steps down; it is banned only if it serves nobody and somebody else can, see
    /// `ctdb_cluster::credits`.
    async fn must_hold_lock(self: &Rc<Self>, seen: &Seen) -> Result<(), String> {
        if !self.leadership.has_lock() || self.leadership.holds_lock() {
            return Ok(());
        }
        let last = credits::is_last(&self.nodes.borrow(), self.me());
        let serves = seen.vnnmap.generation.is_valid() && !self.frozen_on_inactive.get();
        match credits::on_lock_missing(serves, last) {
            WithoutLock::StepDown => self.election_event(Event::Call),
            WithoutLock::BanSelf => self.ban(self.me(), "it leads without the cluster lock").await,
        }
        Err("this leader does not hold the cluster lock".to_owned())
    }

    /// The round has just seen to the flags; only what changed since then is told.
    async fn carry_flags(self: &Rc<Self>, nodes: &[Node], seen: &Seen) -> Result<(), String> {
        let changed = |node: &Node| {
            let before = seen.nodes.iter().find(|before| before.pnn == node.pnn)?;
            let fix = FlagFix {
                node: node.pnn,
                old: before.flags,
                new: node.flags,
            };
            (node.flags.is_connected() && before.flags != node.flags).then_some(fix)
        };
        let fixes: Vec<FlagFix> = nodes.iter().filter_map(changed).collect();
        if self.correct_flags(&mut nodes.to_vec(), &fixes).await {
            Ok(())
        } else {
            Err("an active node does not take the flags of the nodes".to_owned())
        }
    }

    /// Any number but the one in use, and that of "no generation".
    fn new_generation(&self, current: Generation) -> Generation {
        loop {
            // As C's random(), which has 31 bits.
            let generation = Generation(self.rt.random_u32() >> 1);
            if generation.is_valid() && generation != current && generation != Generation(0) {
                return generation;
            }
        }
    }
}

fn active(nodes: &[Node]) -> BTreeSet<Pnn> {
    nodes
        .iter()
        .filter(|node| node.flags.is_active())
        .map(|node| node.pnn)
        .collect()
}
