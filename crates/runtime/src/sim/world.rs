//! The state of a simulation: clock, chance, hosts, processes and what is under way in the network.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::PathBuf;
use std::rc::{Rc, Weak};
use std::time::Duration;

use super::process::{Main, Process};
use super::socket::{Half, Segment, VirtualListener};
use super::trace::Trace;
use crate::program::ExitStatus;
use crate::time::Instant;

/// First wait for an acknowledgement before a segment is sent again; doubles with each loss.
const RETRANSMIT_FIRST: Duration = Duration::from_millis(200);
/// Losses of one segment in a row after which its connection fails: with the doubling, after 25 seconds.
const LOSSES_MAX_DEFAULT: u32 = 7;
/// From a host to itself.
const LOOPBACK_LATENCY: Duration = Duration::from_micros(20);

/// Place of a host in the list of hosts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct HostId(pub usize);

pub(super) struct Host {
    pub id: HostId,
    pub name: String,
    pub addresses: RefCell<Vec<IpAddr>>,
    pub paused: Cell<bool>,
    pub tcp: RefCell<BTreeMap<u16, Weak<VirtualListener>>>,
    pub unix: RefCell<BTreeMap<PathBuf, Weak<VirtualListener>>>,
    pub programs: RefCell<BTreeMap<String, Main>>,
    next_port: Cell<u16>,
}

impl Host {
    /// A port for an outgoing connection or a listener that takes any. A simulation does not live long enough to meet one in use again.
    pub fn any_port(&self) -> u16 {
        let port = self.next_port.get();
        self.next_port
            .set(if port == u16::MAX { 32_768 } else { port + 1 });
        port
    }

    pub fn has_address(&self, ip: IpAddr) -> bool {
        ip.is_loopback() || self.addresses.borrow().contains(&ip)
    }
}

/// What will happen in the network.
pub(super) enum Event {
    Arrive {
        to: Rc<Half>,
        seq: u64,
        segment: Segment,
    },
    Retransmit {
        from: Rc<Half>,
        seq: u64,
        segment: Segment,
        losses: u32,
    },
    Reset {
        to: Rc<Half>,
        why: std::io::ErrorKind,
    },
    /// The peer has read this much of what `to` sent.
    Window {
        to: Rc<Half>,
        bytes: usize,
    },
}

pub(super) struct World {
    now: Rc<Cell<Instant>>,
    pub random: Rc<RefCell<fastrand::Rng>>,
    pub trace: RefCell<Trace>,
    hosts: RefCell<Vec<Rc<Host>>>,
    processes: RefCell<BTreeMap<u32, Rc<Process>>>,
    next_pid: Cell<u32>,
    next_socket: Cell<u64>,
    events: RefCell<BTreeMap<(Instant, u64), Event>>,
    next_event: Cell<u64>,
    /// Processes that are to end before the next turn; with `true` their host has failed.
    ending: RefCell<Vec<(u32, ExitStatus, bool)>>,
    latency: Cell<(Duration, Duration)>,
    losses_max: Cell<u32>,
    loss: RefCell<BTreeMap<(HostId, HostId), f64>>,
    cut: RefCell<BTreeSet<(HostId, HostId)>>,
}

impl World {
    pub fn new(seed: u64) -> Rc<World> {
        Rc::new(World {
            now: Rc::new(Cell::new(Instant::START)),
            random: Rc::new(RefCell::new(fastrand::Rng::with_seed(seed))),
            trace: RefCell::default(),
            hosts: RefCell::default(),
            processes: RefCell::default(),
            next_pid: Cell::new(100),
            next_socket: Cell::new(1),
            events: RefCell::default(),
            next_event: Cell::new(0),
            ending: RefCell::default(),
            latency: Cell::new((Duration::from_micros(50), Duration::from_micros(200))),
            losses_max: Cell::new(LOSSES_MAX_DEFAULT),
            loss: RefCell::default(),
            cut: RefCell::default(),
        })
    }

    pub fn clock(&self) -> Rc<Cell<Instant>> {
        self.now.clone()
    }

    pub fn now(&self) -> Instant {
        self.now.get()
    }

    /// Adds a line to the trace.
    pub fn say(&self, what: impl FnOnce() -> String) {
        self.trace.borrow_mut().say(self.now(), &what());
    }
}

/// Hosts and the links between them.
impl World {
    pub fn add_host(&self, name: &str, ip: IpAddr) -> Rc<Host> {
        let mut hosts = self.hosts.borrow_mut();
        assert!(
            hosts.iter().all(|h| h.name != name),
            "there is a host {name} already"
        );
        assert!(
            hosts.iter().all(|h| !h.has_address(ip)),
            "a host has the address {ip} already"
        );
        let host = Rc::new(Host {
            id: HostId(hosts.len()),
            name: name.to_owned(),
            addresses: RefCell::new(vec![ip]),
            paused: Cell::new(false),
            tcp: RefCell::default(),
            unix: RefCell::default(),
            programs: RefCell::default(),
            next_port: Cell::new(32_768),
        });
        hosts.push(host.clone());
        host
    }

    pub fn host_named(&self, name: &str) -> Rc<Host> {
        let hosts = self.hosts.borrow();
        let host = hosts.iter().find(|h| h.name == name);
        host.unwrap_or_else(|| panic!("there is no host {name} in this simulation"))
            .clone()
    }

    pub fn host_at(&self, from: &Rc<Host>, ip: IpAddr) -> Option<Rc<Host>> {
        if from.has_address(ip) {
            return Some(from.clone());
        }
        self.hosts.borrow().iter().find(|h| h.has_address(ip)).cloned()
    }

    pub fn host_name(&self, id: HostId) -> String {
        self.hosts.borrow()[id.0].name.clone()
    }

    pub fn set_latency(&self, min: Duration, max: Duration) {
        self.latency.set((min, max.max(min)));
    }

    pub fn set_losses_max(&self, losses: u32) {
        self.losses_max.set(losses);
    }

    pub fn losses_max(&self) -> u32 {
        self.losses_max.get()
    }

    pub fn set_loss(&self, from: HostId, to: HostId, probability: f64) {
        self.loss.borrow_mut().insert((from, to), probability);
    }

    pub fn set_cut(&self, from: HostId, to: HostId, cut: bool) {
        match cut {
            true => self.cut.borrow_mut().insert((from, to)),
            false => self.cut.borrow_mut().remove(&(from, to)),
        };
    }

    pub fn mend_all(&self) {
        self.cut.borrow_mut().clear();
        self.loss.borrow_mut().clear();
    }

    pub fn is_cut(&self, from: HostId, to: HostId) -> bool {
        self.cut.borrow().contains(&(from, to))
    }

    /// Draws how long the next segment takes.
    pub fn draw_latency(&self, from: HostId, to: HostId) -> Duration {
        if from == to {
            return LOOPBACK_LATENCY;
        }
        let (min, max) = self.latency.get();
        let nanos = self
            .random
            .borrow_mut()
            .u64(min.as_nanos() as u64..=max.as_nanos() as u64);
        Duration::from_nanos(nanos)
    }

    /// Draws whether the next segment is lost.
    pub fn draw_loss(&self, from: HostId, to: HostId) -> bool {
        if self.is_cut(from, to) {
            return true;
        }
        let probability = self.loss.borrow().get(&(from, to)).copied().unwrap_or(0.0);
        probability > 0.0 && self.random.borrow_mut().f64() < probability
    }

    /// Wait before a segment that was lost `losses` times before is sent again.
    pub fn retransmit_wait(losses: u32) -> Duration {
        RETRANSMIT_FIRST * 2u32.saturating_pow(losses)
    }

    pub fn next_socket_id(&self) -> u64 {
        self.next_socket.replace(self.next_socket.get() + 1)
    }
}

/// Time and events.
impl World {
    pub fn at(&self, at: Instant, event: Event) {
        let seq = self.next_event.replace(self.next_event.get() + 1);
        self.events.borrow_mut().insert((at, seq), event);
    }

    pub fn after(&self, wait: Duration, event: Event) {
        self.at(self.now() + wait, event);
    }

    /// The earliest packet or timer.
    pub fn next_event(&self) -> Option<Instant> {
        let packet = self.events.borrow().first_key_value().map(|((at, _), _)| *at);
        let timer = self
            .running_processes()
            .iter()
            .filter_map(|p| p.core.timers.borrow().next())
            .min();
        [packet, timer].into_iter().flatten().min()
    }

    /// Sets the clock and lets happen what is due.
    pub fn advance(&self, to: Instant) {
        self.now.set(self.now().max(to));
        loop {
            let due = {
                let mut events = self.events.borrow_mut();
                match events.first_entry() {
                    Some(entry) if entry.key().0 <= self.now() => entry.remove(),
                    _ => break,
                }
            };
            self.happen(due);
        }
        for process in self.running_processes() {
            let fired = process.core.fire_timers();
            if fired > 0 {
                self.say(|| format!("{} {fired} timers", process.name()));
            }
        }
    }

    fn happen(&self, event: Event) {
        match event {
            Event::Arrive { to, seq, segment } => to.arrive(seq, segment),
            Event::Retransmit {
                from,
                seq,
                segment,
                losses,
            } => from.transmit(seq, segment, losses),
            Event::Reset { to, why } => to.fail(why),
            Event::Window { to, bytes } => to.was_read(bytes),
        }
    }
}

/// Processes.
impl World {
    pub fn next_pid(&self) -> u32 {
        self.next_pid.replace(self.next_pid.get() + 1)
    }

    pub fn add_process(&self, process: Rc<Process>) {
        self.processes.borrow_mut().insert(process.pid, process);
    }

    /// Those that are neither stopped nor on a paused host, by process id.
    pub fn running_processes(&self) -> Vec<Rc<Process>> {
        self.processes
            .borrow()
            .values()
            .filter(|p| p.is_running())
            .cloned()
            .collect()
    }

    pub fn all_processes(&self) -> Vec<Rc<Process>> {
        self.processes.borrow().values().cloned().collect()
    }

    pub fn processes_of(&self, host: HostId) -> Vec<u32> {
        self.processes
            .borrow()
            .values()
            .filter(|p| p.host.id == host)
            .map(|p| p.pid)
            .collect()
    }

    /// Ends a process before the next turn of any: not in the midst of whatever runs now.
    pub fn end_soon(&self, pid: u32, status: ExitStatus, host_failed: bool) {
        self.ending.borrow_mut().push((pid, status, host_failed));
    }

    /// Ends the processes that are to end, and the children that die with them.
    pub fn reap(&self) {
        loop {
            let ending = std::mem::take(&mut *self.ending.borrow_mut());
            if ending.is_empty() {
                return;
            }
            for (pid, status, host_failed) in ending {
                self.end(pid, status, host_failed);
            }
        }
    }

    fn end(&self, pid: u32, status: ExitStatus, host_failed: bool) {
        // Ended already: killed twice, say.
        let Some(process) = self.processes.borrow_mut().remove(&pid) else {
            return;
        };
        self.say(|| format!("{} ends: {status}", process.name()));
        let orphans: Vec<u32> = {
            let processes = self.processes.borrow();
            processes
                .values()
                .filter(|p| p.dies_with == Some(pid))
                .map(|p| p.pid)
                .collect()
        };
        for orphan in orphans {
            self.end_soon(orphan, ExitStatus::Killed(libc::SIGKILL), host_failed);
        }
        process.end(status, host_failed);
    }

    pub fn end_all(&self, status: ExitStatus) {
        let pids: Vec<u32> = self.processes.borrow().keys().copied().collect();
        for pid in pids {
            self.end(pid, status, true);
        }
        self.reap();
        let events = std::mem::take(&mut *self.events.borrow_mut());
        drop(events);
        // Programs may own anything, handles of this simulation among it.
        for host in self.hosts.borrow().iter() {
            host.programs.borrow_mut().clear();
        }
    }
}
