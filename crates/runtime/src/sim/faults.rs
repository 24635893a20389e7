//! What can go wrong in a simulation, on request.

use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;

use super::world::World;
use crate::program::ExitStatus;

/// Injects faults; can be cloned into tasks. Every function panics when there is no host of the given name: the test is wrong then.
#[derive(Clone)]
pub struct Faults {
    pub(super) world: Rc<World>,
}

impl Faults {
    pub(super) fn new(world: Rc<World>) -> Faults {
        Faults { world }
    }

    /// Segments between hosts take this long, uniformly drawn. 50 to 200 µs at first.
    pub fn set_latency(&self, min: Duration, max: Duration) {
        self.world.set_latency(min, max);
    }

    /// Segments from one host to another are lost with this probability (0 to 1); each is sent again until it arrives or the
    /// connection fails.
    pub fn set_loss(&self, from: &str, to: &str, probability: f64) {
        let (from, to) = (self.world.host_named(from).id, self.world.host_named(to).id);
        self.world.set_loss(from, to, probability);
    }

    /// Losses of one segment in a row after which a connection fails. 7 at first: 25 seconds.
    pub fn set_losses_max(&self, losses: u32) {
        self.world.set_losses_max(losses);
    }

    /// Nothing gets from one host to the other any more, in either direction. What is sent is tried again as TCP does.
    pub fn partition(&self, a: &str, b: &str) {
        self.partition_one_way(a, b);
        self.partition_one_way(b, a);
    }

    /// As [`Faults::partition`] in one direction.
    pub fn partition_one_way(&self, from: &str, to: &str) {
        self.world.say(|| format!("cut {from} -> {to}"));
        let (from, to) = (self.world.host_named(from).id, self.world.host_named(to).id);
        self.world.set_cut(from, to, true);
    }

    /// Ends a partition of two hosts.
    pub fn heal(&self, a: &str, b: &str) {
        self.world.say(|| format!("heal {a} <-> {b}"));
        let (a, b) = (self.world.host_named(a).id, self.world.host_named(b).id);
        self.world.set_cut(a, b, false);
        self.world.set_cut(b, a, false);
    }

    /// Ends all partitions and losses.
    pub fn heal_all(&self) {
        self.world.say(|| "heal all".to_owned());
        self.world.mend_all();
    }

    /// All processes of the host end at once, their connections are reset. From a task: before the next turn.
    pub fn crash(&self, host: &str) {
        self.world.say(|| format!("{host} crashes"));
        let id = self.world.host_named(host).id;
        for pid in self.world.processes_of(id) {
            self.world.end_soon(pid, ExitStatus::Killed(libc::SIGKILL), true);
        }
    }

    /// The host's processes do not run (as with SIGSTOP to all): its connections stay and take in data.
    pub fn pause(&self, host: &str) {
        self.world.say(|| format!("{host} stops"));
        self.world.host_named(host).paused.set(true);
    }

    /// Ends [`Faults::pause`].
    pub fn resume(&self, host: &str) {
        self.world.say(|| format!("{host} goes on"));
        self.world.host_named(host).paused.set(false);
    }

    /// Gives a host a further address (a public one, say).
    pub fn add_address(&self, host: &str, ip: IpAddr) {
        self.world.host_named(host).addresses.borrow_mut().push(ip);
    }

    /// Takes an address from a host. Connections to it stay.
    pub fn remove_address(&self, host: &str, ip: IpAddr) {
        self.world
            .host_named(host)
            .addresses
            .borrow_mut()
            .retain(|a| *a != ip);
    }
}
