//! Record traffic that has to wait: for a chain lock, for a thaw, for the end of a commit, or for the answer
//! to an earlier call for the same key. What waits is the packet; when its turn comes it is looked at again
//! from the start, because by then everything may be different.
//!
//! Each database has a limit of what may wait for it, so that a lock that is never let go, or a recovery
//! that never ends, doesn't take the memory of the machine.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use ctdb_protocol::ClientId;
use ctdb_runtime::Instant;

use crate::databases::Database;
use crate::{Daemon, dispatch};

/// Most packets that wait for one database.
pub const PACKETS_MAX: usize = 1_000_000;
/// Most bytes of them.
pub const BYTES_MAX: usize = 256 << 20;
/// Packets run again in one go; then others get their turn.
const BATCH: usize = 64;
/// Pause between two lines about the same full database.
const LINE_PAUSE: Duration = Duration::from_secs(10);

/// A step of the daemon itself.
pub type OwnWork = Box<dyn FnOnce(&Rc<Daemon>)>;

/// What is to be done when the wait is over.
pub enum Work {
    /// A packet of another node, or of this node to itself.
    Node(Vec<u8>),
    /// A packet of a client; dropped if the client has gone meanwhile.
    Client(ClientId, Vec<u8>),
    /// Something of the daemon's own.
    Own(OwnWork),
}

impl Work {
    fn len(&self) -> usize {
        match self {
            Work::Node(packet) | Work::Client(_, packet) => packet.len(),
            Work::Own(_) => 0,
        }
    }
}

/// Room that is taken up in a database's limit, given back on drop.
pub struct Ticket {
    load: Rc<Load>,
    bytes: usize,
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.load.packets.set(self.load.packets.get() - 1);
        self.load.bytes.set(self.load.bytes.get() - self.bytes);
    }
}

/// How much waits for one database.
#[derive(Default)]
pub struct Load {
    packets: Cell<usize>,
    bytes: Cell<usize>,
    last_line: Cell<Option<Instant>>,
}

impl Load {
    /// Takes up room for one packet; `None` when there is no more.
    pub fn take(self: &Rc<Self>, bytes: usize) -> Option<Ticket> {
        let (packets, total) = (self.packets.get() + 1, self.bytes.get() + bytes);
        if packets > PACKETS_MAX || total > BYTES_MAX {
            return None;
        }
        self.packets.set(packets);
        self.bytes.set(total);
        Some(Ticket {
            load: self.clone(),
            bytes,
        })
    }

    /// Packets that wait.
    pub fn packets(&self) -> usize {
        self.packets.get()
    }

    /// True at most every 10 s, for the log.
    fn may_say(&self, now: Instant) -> bool {
        let due = self
            .last_line
            .get()
            .is_none_or(|last| now.saturating_since(last) >= LINE_PAUSE);
        if due {
            self.last_line.set(Some(now));
        }
        due
    }
}

/// Work that waits, and the room that it takes up.
pub struct Waiting {
    work: Work,
    _ticket: Ticket,
}

impl Waiting {
    /// Its turn has come.
    pub fn run(self, d: &Rc<Daemon>) {
        match self.work {
            Work::Node(packet) => dispatch::on_packet(d, &packet),
            Work::Client(id, packet) => {
                if let Some(client) = d.clients.get(id) {
                    dispatch::on_client_packet(d, &client, &packet);
                }
            }
            Work::Own(work) => work(d),
        }
    }
}

/// Makes work wait for something of this database. `None` when too much waits already: the work is dropped,
/// and a client whose packet it is loses its connection, so that it doesn't wait for an answer for ever.
pub fn hold(d: &Rc<Daemon>, db: &Database, work: Work) -> Option<Waiting> {
    if let Some(ticket) = db.load.take(work.len()) {
        return Some(Waiting {
            work,
            _ticket: ticket,
        });
    }
    if db.load.may_say(d.rt.now()) {
        log::error!(
            "Database {}: {} packets wait for locks or for a recovery to end, more are not taken: \
             packets of other nodes are dropped (their calls are sent again after a recovery), clients closed. \
             Look for a process that holds a lock of {} and for a recovery that doesn't end",
            db.name,
            db.load.packets(),
            db.path.display()
        );
    }
    if let Work::Client(id, _) = work
        && let Some(client) = d.clients.get(id)
    {
        client.close("too much work waits for a database that it uses");
    }
    None
}

/// Work in the order in which it came.
#[derive(Default)]
pub struct Queue(RefCell<VecDeque<Waiting>>);

impl Queue {
    /// At the end.
    pub fn push(&self, waiting: Waiting) {
        self.0.borrow_mut().push_back(waiting);
    }

    /// The first.
    pub fn pop(&self) -> Option<Waiting> {
        self.0.borrow_mut().pop_front()
    }

    /// Everything.
    pub fn take(&self) -> VecDeque<Waiting> {
        self.0.take()
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.0.borrow().is_empty()
    }
}

/// Runs everything in order: a first batch now, the rest with pauses for others.
pub fn run_all(d: &Rc<Daemon>, mut all: VecDeque<Waiting>) {
    for _ in 0..BATCH {
        let Some(waiting) = all.pop_front() else { return };
        waiting.run(d);
    }
    if all.is_empty() {
        return;
    }
    d.spawn(|d| async move {
        let mut done = 0;
        while let Some(waiting) = all.pop_front() {
            waiting.run(&d);
            done += 1;
            if done % BATCH == 0 {
                d.rt.yield_now().await;
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_has_a_limit_in_packets_and_in_bytes() {
        let load = Rc::new(Load::default());
        let one = load.take(BYTES_MAX).expect("the first fits");
        assert!(load.take(1).is_none(), "one byte too many");
        let empty = load.take(0).expect("no further bytes");
        assert_eq!(load.packets(), 2);
        drop((one, empty));
        assert_eq!((load.packets(), load.bytes.get()), (0, 0));
        let all: Vec<Ticket> = (0..PACKETS_MAX).map_while(|_| load.take(1)).collect();
        assert_eq!(all.len(), PACKETS_MAX);
        assert!(load.take(0).is_none(), "one packet too many");
    }
}
