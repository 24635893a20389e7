//! Messages: what this daemon registers for, and what it does with each. Handlers run in place and wait for nothing.

use std::rc::Rc;

use ctdb_client::{ClientError, Registration};
use ctdb_cluster::credits::{Credits, View};
use ctdb_cluster::election::{Ballot, Event};
use ctdb_protocol::{DisableRequest, Message, Pnn, Srvid, SrvidRequest};

use crate::private::{Poke, Whisper};
use crate::state::Recoverd;

/// All services. Source: `ctdb/server/ctdb_recoverd.c`, `monitor_cluster`; POKE and CONCEDE are ours.
const SERVICES: [Srvid; 14] = [
    Srvid::LEADER,
    Srvid::ELECTION,
    Srvid::CONCEDE,
    Srvid::POKE,
    Srvid::BANNING,
    Srvid::MEM_DUMP,
    Srvid::SET_NODE_FLAGS,
    Srvid::PUSH_NODE_FLAGS,
    Srvid::RELOAD_NODES,
    Srvid::TAKEOVER_RUN,
    Srvid::REBALANCE_NODE,
    Srvid::DISABLE_IP_CHECK,
    Srvid::DISABLE_TAKEOVER_RUNS,
    Srvid::DISABLE_RECOVERIES,
];

/// What DISABLE_* answers while the operation runs.
const BUSY: i32 = -libc::EAGAIN;

impl Recoverd {
    /// Registers for everything; the services end with the values returned.
    ///
    /// # Errors
    /// ctdbd refuses, or is gone.
    pub async fn listen(self: &Rc<Self>) -> Result<Vec<Registration>, ClientError> {
        let mut registrations = Vec::new();
        for srvid in SERVICES {
            let recoverd = self.clone();
            let handler = move |srvid: Srvid, data: &[u8]| recoverd.message(srvid, data);
            registrations.push(self.client.on_message(srvid, handler).await?);
        }
        Ok(registrations)
    }

    fn message(self: &Rc<Self>, srvid: Srvid, data: &[u8]) {
        let message = match Message::decode(srvid, data) {
            Ok(message) => message,
            Err(error) => return log::error!("A message {srvid} is malformed and ignored: {error}"),
        };
        match (srvid, message) {
            (Srvid::LEADER, Message::Pnn(leader)) => self.leader_heard(leader),
            (Srvid::ELECTION, Message::Election(message)) => {
                self.election_event(Event::BallotHeard(Ballot::from(&message)));
            }
            (Srvid::CONCEDE, Message::Raw(data)) => match Whisper::decode(data) {
                Some(event) => self.election_event(event),
                None => log::debug!("A private message of another version is ignored"),
            },
            (Srvid::POKE, Message::Raw(data)) => self.poked(Poke::decode(data)),
            (Srvid::BANNING, Message::Pnn(node)) => self.banning(node),
            (Srvid::MEM_DUMP, Message::Request(request)) => self.report(&request),
            (Srvid::SET_NODE_FLAGS, _) => log::debug!("A message SET_NODE_FLAGS is ignored: it is obsolete"),
            (Srvid::PUSH_NODE_FLAGS, Message::NodeFlags(change)) => self.push_flags(change),
            (Srvid::RELOAD_NODES, _) => {
                log::info!("The nodes list was loaded again; looking at it");
                self.look_soon();
            }
            (Srvid::TAKEOVER_RUN, Message::Request(request)) => self.takeover_requested(request),
            (Srvid::REBALANCE_NODE, Message::Pnn(node)) => self.rebalance(node),
            (Srvid::DISABLE_IP_CHECK, Message::Timeout(seconds)) => {
                // Answers nobody: its senders do not wait.
                self.disable_takeover_runs(&DisableRequest {
                    pnn: u32::MAX,
                    srvid: Srvid(0),
                    timeout_s: seconds,
                });
            }
            (Srvid::DISABLE_TAKEOVER_RUNS, Message::Disable(request)) => self.disable_takeover_runs(&request),
            (Srvid::DISABLE_RECOVERIES, Message::Disable(request)) => self.disable_recoveries(&request),
            (srvid, message) => log::debug!("A message {srvid} has no meaning here: {message:?}"),
        }
    }

    /// The node map may have changed; a round follows.
    fn look_soon(&self) {
        self.look.notify_one();
        self.wake.notify_one();
    }

    fn poked(&self, poke: Poke) {
        if poke.has(Poke::RECOVERY) {
            self.asked_for.set(true);
        }
        self.look_soon();
        let leader = self.leadership.leader();
        if let Some(poke) = poke.for_leader()
            && leader != self.me()
            && leader != Pnn::UNKNOWN
        {
            self.tell(leader, Srvid::POKE, &Message::Raw(&poke.0.to_le_bytes()));
        }
    }

    /// The takeover helper found a culprit.
    fn banning(&self, node: Pnn) {
        if !self.leadership.is_leader() {
            return;
        }
        let credits = {
            let nodes = self.nodes.borrow();
            Credits::for_failed_takeover_run(&View {
                me: self.me(),
                nodes: &nodes,
            })
        };
        self.blame(node, credits, "it made a takeover run fail");
        self.wake.notify_one();
    }

    fn disable_takeover_runs(&self, request: &DisableRequest) {
        let done = self
            .takeovers
            .runs
            .borrow_mut()
            .disable(self.now(), seconds(request));
        self.disabled("takeover runs", request, done.is_ok());
    }

    fn disable_recoveries(&self, request: &DisableRequest) {
        let done = self.recoveries.borrow_mut().disable(self.now(), seconds(request));
        self.disabled("recoveries", request, done.is_ok());
    }

    fn disabled(&self, what: &str, request: &DisableRequest, done: bool) {
        match (done, request.timeout_s) {
            (false, _) => log::error!(
                "Not disabled on demand of node {}: {what}, one is running",
                request.pnn
            ),
            (true, 0) => log::info!("Enabled again: {what}"),
            (true, seconds) => log::info!("Disabled for {seconds} s: {what}"),
        }
        if done && request.timeout_s == 0 {
            self.wake.notify_one(); // what waited may go on
        }
        let answer = if done { self.me().0.cast_signed() } else { BUSY };
        self.answer(request.pnn, request.srvid, &answer.to_le_bytes());
    }

    /// Answers a question by message, if its sender waits.
    pub fn answer(&self, pnn: u32, srvid: Srvid, data: &[u8]) {
        if srvid != Srvid(0) {
            self.tell(Pnn(pnn), srvid, &Message::Raw(data));
        }
    }

    /// MEM_DUMP: what there is to say about this process.
    fn report(&self, request: &SrvidRequest) {
        let mut text = format!(
            "ctdb_recoverd of node {}: leader {}, {} bytes resident\n",
            self.me(),
            self.leadership.leader(),
            ctdb_runtime::sys::resident_bytes()
        );
        for (decision, times) in self.counts.borrow().iter() {
            text.push_str(&format!("{decision}: {times}\n"));
        }
        for (node, credit) in self.credits.borrow().notes() {
            text.push_str(&format!(
                "ban credits of node {node}: {} ({})\n",
                credit.count, credit.evidence
            ));
        }
        text.push('\0');
        self.answer(request.pnn, request.srvid, text.as_bytes());
    }
}

fn seconds(request: &DisableRequest) -> std::time::Duration {
    std::time::Duration::from_secs(request.timeout_s.into())
}
