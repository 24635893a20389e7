//! The main loop.

use std::rc::Rc;
use std::time::Duration;

use ctdb_client::ClientError;
use ctdb_cluster::checks::{self, Unanswered};
use ctdb_cluster::flags;
use ctdb_cluster::operations::Cause;
use ctdb_protocol::{Pnn, RecMode, Request};
use ctdb_runtime::Instant;
use ctdb_runtime::sync::{Either, select2};

use crate::completeness::{Completeness, INTERVAL, Note};
use crate::judge::{self, Known, Seen};
use crate::look::{Around, Local};
use crate::pace::Pace;
use crate::recovery::Recovered;
use crate::state::Recoverd;

/// Answers of others that take longer are not waited for any more once there is news, which may well be
/// that they will not come.
const PATIENCE: Duration = Duration::from_secs(1);

/// What follows a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// The next round, at the latest after RecoverInterval; why there was nothing (more) to do.
    Wait(&'static str),
    /// The next round at once.
    Again,
    /// ctdbd is gone.
    Exit,
}

impl Recoverd {
    /// Rounds, until ctdbd is gone.
    pub async fn run_rounds(self: &Rc<Self>) {
        let mut pace = Pace::default();
        loop {
            pace.begin(self.now());
            match self.round().await {
                Ok(Next::Exit) => return log::error!("ctdbd does not exist any more"),
                Ok(Next::Again) => self.wake.notify_one(),
                Ok(Next::Wait(why)) => log::trace!("Round: {why}"),
                Err(error) => log::error!("This round ends early: {error}"),
            }
            let interval = self.tunables.borrow().recover_interval();
            let latest = Instant::from_start(pace.latest(interval));
            select2(self.wake.notified(), self.rt.sleep_until(latest)).await;
            self.rt.sleep_until(Instant::from_start(pace.earliest())).await;
        }
    }

    /// Follows the node map also while a round is busy, so that the election hears of links and bans at once.
    pub async fn follow_nodes(self: Rc<Self>) {
        loop {
            self.look.notified().await;
            if let Err(error) = self.look_at_nodes().await {
                log::error!("The nodes can't be looked at: {error}");
            }
        }
    }

    /// One round. The numbers are the steps of `docs/internals/recoverd.md`; step 4 is the election's.
    async fn round(self: &Rc<Self>) -> Result<Next, ClientError> {
        if !self.ctdbd_exists() {
            return Ok(Next::Exit); // 1
        }
        self.client.control_noreply(Pnn::CURRENT, &Request::RecdPing)?; // 2
        let local = self.look_locally().await?; // 5 to 8, 10, 18
        if self.leadership.in_election() {
            return Ok(Next::Wait("an election is running")); // 3
        }
        if self.ban_misbehaving_nodes().await {
            return Ok(Next::Wait("this node was just banned")); // 9
        }
        if self.freeze_if_inactive(local.recmode).await? {
            return Ok(Next::Wait("this node is stopped or banned")); // 11
        }
        let leading = self.leadership.is_leader();
        let Some(around) = self.look_around_patiently(leading).await else {
            return Ok(Next::Again);
        };
        if let Some(unanswered) = &around.silent {
            return Ok(self.unanswered(unanswered)); // 12
        }
        if local.recmode == RecMode::Normal {
            self.verify_addresses().await; // 13
        }
        if !self.leadership.is_leader() {
            self.forget_takeover_requests();
            *self.pending.borrow_mut() = None;
            return Ok(Next::Wait("another node leads")); // 14
        }
        if !leading {
            return Ok(Next::Again); // it has just begun to lead, and has asked too little
        }
        self.lead(local, around).await
    }

    fn ctdbd_exists(&self) -> bool {
        let exists = |pid| i32::try_from(pid).is_ok_and(ctdb_runtime::sys::process_exists);
        self.settings.ctdbd_pid.is_none_or(exists)
    }

    async fn look_around_patiently(self: &Rc<Self>, leading: bool) -> Option<Around> {
        let news = async {
            self.rt.sleep(PATIENCE).await;
            self.wake.notified().await;
        };
        match select2(self.look_around(leading), news).await {
            Either::Left(around) => Some(around),
            Either::Right(()) => None,
        }
    }

    fn unanswered(&self, unanswered: &Unanswered) -> Next {
        log::error!("This round ends early: {unanswered}");
        if unanswered.blame {
            self.blame(unanswered.node, 1, &unanswered.to_string());
        }
        Next::Wait("a node did not answer")
    }

    /// The leader's part of a round.
    async fn lead(self: &Rc<Self>, local: Local, around: Around) -> Result<Next, ClientError> {
        let mut nodes = self.nodes.borrow().clone();
        if let Some(unanswered) = checks::nodemap_missing(self.me(), &nodes, &around.node_maps) {
            return Ok(self.unanswered(&unanswered)); // 15
        }
        let fixes = flags::flags_to_fix(self.me(), &nodes, &around.node_maps);
        if !self.correct_flags(&mut nodes, &fixes).await {
            return Ok(Next::Wait("a node does not take flags")); // 16
        }
        if !fixes.is_empty() {
            self.nodes.borrow_mut().clone_from(&nodes);
            self.tell_election();
        }
        if fixes
            .iter()
            .any(|fix| fix.new.is_active() && !fix.old.is_active())
        {
            return Ok(Next::Again); // a node has come back that was asked too little
        }
        // 17: the list of nodes is ctdbd's, so that there is none to load again.
        let seen = Seen {
            me: self.me(),
            nodes,
            vnnmap: local.vnnmap, // 18
            capabilities: self.capabilities.borrow().clone(),
            node_maps: around.node_maps,
            recmodes: around.recmodes,
            vnnmaps: around.vnnmaps,
        };
        if let Some(next) = self.recover_if_needed(&seen).await {
            return Ok(next); // 19 to 26
        }
        if self.takeover_run_due() {
            self.takeover_run().await; // 27
        }
        Ok(Next::Wait("databases and addresses are in order"))
    }

    /// `None`: the round goes on with the takeover run.
    async fn recover_if_needed(self: &Rc<Self>, seen: &Seen) -> Option<Next> {
        let (pending, took_part) = (self.pending.borrow().clone(), self.took_part.borrow().clone());
        let known = Known {
            pending: pending.as_ref().map(|pending| pending.why.as_str()),
            lock_configured: self.leadership.has_lock(),
            lock_held: self.leadership.holds_lock(),
            recoveries_disabled: self.recoveries.borrow().is_disabled(self.now()),
            asked_for: self.asked_for.get(),
            took_part: took_part.as_ref(),
        };
        let reason = match judge::reason_to_recover(seen, &known) {
            Ok(Some(reason)) => reason,
            Ok(None) => {
                // What was asked for is done, whoever did it.
                self.asked_for.set(false);
                self.waiting_reason.borrow_mut().clear();
                return None;
            }
            Err(unanswered) => return Some(self.unanswered(&unanswered)),
        };
        let mut cause = judge::cause(&reason, &seen.nodes, &known);
        if let Some(pending) = pending
            && cause == Cause::Other
        {
            cause = pending.cause;
        }
        match self.recover(&reason, cause, seen).await {
            Recovered::Done => Some(Next::Again),
            Recovered::Failed => Some(Next::Wait("the recovery failed")),
            Recovered::Refused if judge::lets_addresses_move(&reason) => None,
            Recovered::Refused => Some(Next::Wait("the recovery has to wait")),
        }
    }
}

/// The clock of [`crate::completeness`].
pub async fn watch_completeness(recoverd: Rc<Recoverd>) {
    let mut completeness = Completeness::default();
    loop {
        recoverd.rt.sleep(INTERVAL).await;
        if !recoverd.leadership.is_leader() {
            continue;
        }
        let note = completeness.look(recoverd.me(), &recoverd.nodes.borrow(), recoverd.now());
        match note {
            None => {}
            Some(Note::Complete) => log::warn!("The cluster is complete again, this node leads it"),
            Some(Note::Incomplete {
                minutes,
                connected,
                missing,
            }) => log::warn!(
                "The cluster is incomplete for {minutes} minutes: {missing} nodes are missing, {connected} are \
                 connected to this leader. Without a cluster lock the missing ones may have a leader of their own"
            ),
        }
    }
}
