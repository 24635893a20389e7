//! Carries out what the election machine of `ctdb_cluster` decides: messages, timers, the cluster lock.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use ctdb_cluster::election::{Action, Config, Election, Event, Standing, Timer};
use ctdb_mutex::{ClusterLock, LockAttempt, LockCommand};
use ctdb_protocol::{Message, Pnn, RecMode, Request, Srvid};
use ctdb_runtime::sync::Notify;
use ctdb_runtime::{Handle, Task};

use crate::echoes::Echoes;
use crate::private::Whisper;
use crate::state::Recoverd;

/// A helper that has not said anything about the cluster lock by then is given up.
const LOCK_LIMIT: Duration = Duration::from_secs(120);

/// The machine, and what runs on its behalf.
pub struct Leadership {
    machine: RefCell<Election>,
    /// How to take the cluster lock, if there is one.
    lock: Option<LockCommand>,
    timers: RefCell<BTreeMap<Timer, Task<()>>>,
    /// The attempt to take the lock, and afterwards its keeping: dropping the task lets it go.
    lock_task: RefCell<Option<Task<()>>>,
    /// SET_RECMODE ACTIVE of a call.
    call_task: RefCell<Option<Task<()>>>,
    echoes: RefCell<Echoes>,
    leader: Cell<Pnn>,
    changed: Notify,
}

impl Leadership {
    /// One that has not begun; [`Event::Nodes`] and [`Event::Start`] follow.
    pub fn new(rt: &Handle, config: Config, standing: Standing, lock: Option<LockCommand>) -> Leadership {
        Leadership {
            machine: RefCell::new(Election::new(config, standing, since_epoch(rt))),
            lock,
            timers: RefCell::default(),
            lock_task: RefCell::default(),
            call_task: RefCell::default(),
            echoes: RefCell::default(),
            leader: Cell::new(Pnn::UNKNOWN),
            changed: Notify::new(),
        }
    }

    /// Who leads; UNKNOWN while nobody does.
    pub fn leader(&self) -> Pnn {
        self.machine.borrow().leader()
    }

    /// This node leads.
    pub fn is_leader(&self) -> bool {
        self.machine.borrow().is_leader()
    }

    /// An election is running.
    pub fn in_election(&self) -> bool {
        self.machine.borrow().in_election()
    }

    /// A cluster lock is configured.
    pub fn has_lock(&self) -> bool {
        self.lock.is_some()
    }

    /// This node holds the cluster lock.
    pub fn holds_lock(&self) -> bool {
        self.machine.borrow().holds_lock()
    }

    /// Resolves when this node does not lead (any more).
    pub async fn lost(&self) {
        loop {
            let changed = self.changed.notified();
            if !self.is_leader() {
                return;
            }
            changed.await;
        }
    }

    /// Lets the cluster lock go: the way out.
    pub fn release_lock(&self) {
        self.lock_task.borrow_mut().take();
    }
}

fn since_epoch(rt: &Handle) -> Duration {
    let now = rt.wall_clock();
    Duration::new(u64::try_from(now.secs).unwrap_or(0), now.micros * 1000)
}

impl Recoverd {
    /// Gives the machine an event and does what it says.
    pub fn election_event(self: &Rc<Self>, event: Event) {
        let mut todo = Vec::new();
        let now = since_epoch(&self.rt);
        self.leadership
            .machine
            .borrow_mut()
            .on_event(event, now, &mut todo);
        for action in todo {
            self.carry_out(action);
        }
        self.leadership.changed.notify_all();
    }

    /// Message LEADER has come.
    pub fn leader_heard(self: &Rc<Self>, leader: Pnn) {
        // The leader speaks for itself. Who calls an election is not said.
        if leader == Pnn::UNKNOWN && self.leadership.echoes.borrow_mut().is_own(self.now()) {
            return;
        }
        self.election_event(Event::LeaderHeard { from: leader, leader });
    }

    fn carry_out(self: &Rc<Self>, action: Action) {
        match action {
            Action::SendBallot(ballot) => {
                let message = Message::Election((&ballot).into());
                self.tell(Pnn::BROADCAST_ALL, Srvid::ELECTION, &message);
            }
            Action::SendLeader(leader) => {
                if leader == Pnn::UNKNOWN {
                    self.leadership.echoes.borrow_mut().sent(self.now());
                }
                self.tell(Pnn::BROADCAST_CONNECTED, Srvid::LEADER, &Message::Pnn(leader));
            }
            Action::Concede { to } => self.whisper(to, Whisper::Concede),
            Action::Ask { to } => self.whisper(to, Whisper::Ask),
            Action::SayLeaderless { to } => self.whisper(to, Whisper::Leaderless),
            Action::SetRecmodeActive { on } => self.start_recovery_mode(on),
            Action::TakeLock => self.start_taking_lock(),
            Action::ReleaseLock => {
                if self.leadership.lock_task.borrow_mut().take().is_some() {
                    log::info!("The cluster lock, or the attempt to take it, is let go");
                }
            }
            Action::SetTimer(timer, after) => self.set_timer(timer, after),
            Action::CancelTimer(timer) => {
                self.leadership.timers.borrow_mut().remove(&timer);
            }
            Action::LeaderIs(leader) => self.leader_is(leader),
        }
    }

    /// A message that nobody waits for; when it can't be sent, the connection is gone, and so are we soon.
    pub fn tell(&self, to: Pnn, srvid: Srvid, message: &Message<'_>) {
        if let Err(error) = self.client.send_typed(to, srvid, message) {
            log::error!("Message {srvid} to node {to} is not sent: {error}");
        }
    }

    fn whisper(&self, to: Pnn, whisper: Whisper) {
        let data = whisper.encode(self.me());
        self.tell(to, Srvid::CONCEDE, &Message::Raw(&data));
    }

    fn set_timer(self: &Rc<Self>, timer: Timer, after: Duration) {
        let recoverd = self.clone();
        let task = self.rt.spawn_urgent(async move {
            recoverd.rt.sleep(after).await;
            let leader = recoverd.leadership.leader();
            let silent = timer == Timer::LeaderLost && ![Pnn::UNKNOWN, recoverd.me()].contains(&leader);
            if silent {
                log::warn!("Leader {leader} has not been heard for {after:?}");
            }
            recoverd.election_event(Event::Fired(timer));
        });
        self.leadership.timers.borrow_mut().insert(timer, task);
    }

    fn leader_is(self: &Rc<Self>, leader: Pnn) {
        let before = self.leadership.leader.replace(leader);
        if leader == Pnn::UNKNOWN {
            log::info!("Leader {before} leads no more; an election decides");
            self.count("elections");
        } else if leader == self.me() {
            log::info!("This node leads the cluster");
            self.count("became leader");
        } else {
            log::info!("Node {leader} leads the cluster");
        }
        self.wake.notify_one();
    }

    /// Nobody may use databases while nobody leads.
    fn start_recovery_mode(self: &Rc<Self>, on: Vec<Pnn>) {
        log::info!(
            "This node calls an election; recovery mode on nodes {on:?}",
            on = numbers(&on)
        );
        self.count("elections called");
        let recoverd = self.clone();
        let task = self.rt.spawn_urgent(async move {
            let ok = recoverd.set_recovery_mode(&on).await;
            recoverd.election_event(Event::RecmodeSet { ok });
        });
        *self.leadership.call_task.borrow_mut() = Some(task);
    }

    /// A node that leaves the cluster at this moment does no harm by its refusal.
    async fn set_recovery_mode(self: &Rc<Self>, on: &[Pnn]) -> bool {
        let request = Request::SetRecmode(RecMode::Active);
        let answers = self.client.control_all(on, &request, self.timeout()).await;
        let failed: Vec<_> = answers
            .into_iter()
            .filter_map(|(node, answer)| Some((node, answer.err()?)))
            .collect();
        if !failed.is_empty() && self.look_at_nodes().await.is_err() {
            return false;
        }
        let mut ok = true;
        for (node, error) in failed {
            if self.flags_of(node).is_some_and(|flags| flags.is_active()) {
                log::error!("No election yet, node {node} did not take recovery mode: {error}");
                ok = false;
            }
        }
        ok
    }

    fn start_taking_lock(self: &Rc<Self>) {
        let Some(command) = self.leadership.lock.clone() else {
            return self.election_event(Event::LockFailed); // the machine was told that there is a lock
        };
        let recoverd = self.clone();
        let task = self.rt.spawn(async move { recoverd.keep_lock(&command).await });
        *self.leadership.lock_task.borrow_mut() = Some(task);
    }

    /// Takes the cluster lock and keeps it until it is lost; dropping this lets it go.
    async fn keep_lock(self: &Rc<Self>, command: &LockCommand) {
        let began = self.rt.now();
        let held = match ClusterLock::try_take(&self.rt, command, LOCK_LIMIT).await {
            LockAttempt::Taken(held) => held,
            LockAttempt::Contended => {
                log::debug!("Another node holds the cluster lock");
                return self.election_event(Event::LockContended);
            }
            LockAttempt::Timeout => {
                log::error!(
                    "The cluster lock helper did not answer for {LOCK_LIMIT:?}; tried again in the next election"
                );
                return self.election_event(Event::LockFailed);
            }
            LockAttempt::Failed(why) => {
                log::error!("The cluster lock can't be tried, again in the next election: {why}");
                return self.election_event(Event::LockFailed);
            }
        };
        self.report_lock_latency(self.rt.now() - began);
        self.election_event(Event::LockTaken);
        let why = held.lost().await;
        log::error!("The cluster lock is lost: {why}");
        self.election_event(Event::LockLost);
    }

    fn report_lock_latency(&self, took: Duration) {
        let limit = self.tunables.borrow().reclock_latency();
        if !limit.is_zero() && took > limit {
            log::warn!("It took {took:?} to take the cluster lock, more than RecLockLatencyMs ({limit:?})");
        } else {
            log::info!("The cluster lock is taken, in {took:?}");
        }
        let report = Request::RecdReclockLatency(took.as_secs_f64());
        if let Err(error) = self.client.control_noreply(Pnn::CURRENT, &report) {
            log::error!("The latency of the cluster lock can't be reported: {error}");
        }
    }
}

/// Node numbers for a log line.
pub fn numbers(nodes: &[Pnn]) -> Vec<u32> {
    nodes.iter().map(|node| node.0).collect()
}
