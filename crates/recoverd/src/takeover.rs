//! Takeover runs: the leader lets all nodes agree on who serves which public address.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use ctdb_cluster::credits::{Credits, View};
use ctdb_cluster::operations::Operation;
use ctdb_protocol::{DisableRequest, Message, Pnn, Request, Srvid, SrvidRequest};
use ctdb_runtime::sync::{Either, select2};

use crate::state::Recoverd;

/// While a run is under way the other nodes ask for none; should this node die, they do so again after this.
const OTHERS_WAIT_S: u32 = 60;
/// Requests kept until the next run; more are as well served by those.
const REQUESTS_MAX: usize = 10_000;
/// A node that does not lead forgets requests after this: the leader has answered them. It keeps them so long because it
/// may be about to lead, and who asked the old leader in vain (the tool, after `ctdb stop` there) asks again only after
/// ten seconds.
const KEPT: Duration = Duration::from_secs(5);

/// What is known of takeover runs.
#[derive(Default)]
pub struct Takeovers {
    /// Whether one may begin.
    pub runs: RefCell<Operation>,
    /// With the time of their arrival, since the start of the program.
    requests: RefCell<Vec<(Duration, SrvidRequest)>>,
    /// The last run failed, or could not begin.
    again: Cell<bool>,
    rebalance: RefCell<Vec<u32>>,
}

impl Recoverd {
    /// TAKEOVER_RUN: kept for the leader's next run.
    pub fn takeover_requested(&self, request: SrvidRequest) {
        let mut requests = self.takeovers.requests.borrow_mut();
        if requests.len() < REQUESTS_MAX {
            requests.push((self.now(), request));
        }
        if self.leadership.is_leader() {
            self.wake.notify_one();
        }
    }

    /// REBALANCE_NODE.
    pub fn rebalance(&self, node: Pnn) {
        if !self.leadership.is_leader() {
            return;
        }
        log::info!("Node {node} is to get addresses in the next takeover run");
        let mut list = self.takeovers.rebalance.borrow_mut();
        if !list.contains(&node.0) {
            list.push(node.0);
        }
    }

    /// Requests are the leader's business, and this node does not lead.
    pub fn forget_takeover_requests(&self) {
        let now = self.now();
        self.takeovers
            .requests
            .borrow_mut()
            .retain(|(came, _)| now.saturating_sub(*came) < KEPT);
        self.takeovers.rebalance.borrow_mut().clear();
        self.takeovers.again.set(false);
    }

    /// Step 27: somebody wants a run, or the last one failed.
    pub fn takeover_run_due(&self) -> bool {
        let wanted = self.takeovers.again.get() || !self.takeovers.requests.borrow().is_empty();
        wanted && !self.takeovers.runs.borrow().is_disabled(self.now())
    }

    /// One run; answers all who have asked before it began. What is asked meanwhile may be due to later changes, and waits for
    /// the next.
    pub async fn takeover_run(self: &Rc<Self>) {
        let requests = self.takeovers.requests.take();
        let done = self.guarded_run().await;
        self.takeovers.again.set(!done);
        let answer = if done { self.me().0.cast_signed() } else { -1 };
        for (_, request) in requests {
            self.answer(request.pnn, request.srvid, &answer.to_le_bytes());
        }
    }

    async fn guarded_run(self: &Rc<Self>) -> bool {
        if let Err(refusal) = self.takeovers.runs.borrow_mut().begin(self.now()) {
            log::info!("No takeover run now: {refusal}");
            return false;
        }
        log::info!("Takeover run begins");
        self.count("takeover runs");
        let others: Vec<Pnn> = self
            .connected()
            .into_iter()
            .filter(|&node| node != self.me())
            .collect();
        self.let_others_wait(&others, OTHERS_WAIT_S);
        let done = self.run_takeover().await;
        self.let_others_wait(&others, 0);
        self.takeovers.runs.borrow_mut().end();
        match &done {
            Ok(()) => log::info!("Takeover run done"),
            Err(why) => log::error!("Takeover run failed, it is tried again: {why}"),
        }
        done.is_ok()
    }

    /// They would ask for runs because of addresses that are just moving.
    fn let_others_wait(&self, others: &[Pnn], timeout_s: u32) {
        let message = Message::Disable(DisableRequest {
            pnn: u32::MAX,
            srvid: Srvid(0),
            timeout_s,
        });
        for &node in others {
            self.tell(node, Srvid::DISABLE_TAKEOVER_RUNS, &message);
        }
    }

    async fn run_takeover(self: &Rc<Self>) -> Result<(), String> {
        if !self.settings.paths.helper("ctdb_takeover_helper").exists() {
            return self.tell_ipreallocated().await;
        }
        let rebalance = self.takeovers.rebalance.borrow().clone();
        self.run_takeover_helper(&rebalance)
            .await
            .map_err(|failed| failed.to_string())?;
        let mut list = self.takeovers.rebalance.borrow_mut();
        if *list == rebalance {
            list.clear();
        }
        Ok(())
    }

    /// What a run comes to in a cluster without public addresses.
    async fn tell_ipreallocated(self: &Rc<Self>) -> Result<(), String> {
        let timeout = self.tunables.borrow().takeover_timeout();
        let nodes = self.connected();
        let told = self.client.control_all(&nodes, &Request::Ipreallocated, timeout);
        let answers = match select2(told, self.leadership.lost()).await {
            Either::Left(answers) => answers,
            Either::Right(()) => return Err("this node does not lead any more".to_owned()),
        };
        let Some((node, error)) = answers
            .into_iter()
            .find_map(|(node, answer)| Some((node, answer.err()?)))
        else {
            return Ok(());
        };
        // Who has just left is not to blame, and the round that follows its leaving sees to the rest.
        let _ = self.look_at_nodes().await;
        let credits = {
            let nodes = self.nodes.borrow();
            Credits::for_failed_takeover_run(&View {
                me: self.me(),
                nodes: &nodes,
            })
        };
        if self.tunables.borrow().enable_bans() {
            self.blame(node, credits, &format!("it made a takeover run fail: {error}"));
        }
        Err(error.to_string())
    }
}
