//! Traverse: a client sees every record of a database in the cluster once. `daemon.md` §11.
//!
//! ```text
//! client ── TRAVERSE_START ──> its daemon ── TRAVERSE_ALL ──> every active node (this one included)
//!        <── message a record            <── TRAVERSE_DATA a record
//!        <── message: the end            <── TRAVERSE_DATA: end of this node
//! collect   the client's daemon: who still owes an end        walk   each node: its own file, in slices
//! ```
//!
//! In a volatile database a node sends the records that it is dmaster of; of the others every node has all
//! records, so that one node sends them.
//!
//! **Nothing blocks.** The C daemon forks a child that waits for locks. Here the file is read chain by chain
//! between other work ([`walk`]); a chain that is taken is left for later. A database that is frozen is waited for,
//! as C's child waits for its lock: while a recovery replaces the records there is nothing to be read that will
//! still be true when it arrives. What moved between two chains' reading may be missing or come twice, as in C.
//!
//! **Memory is bounded.** A walk goes on when the link has taken most of what it sent. When the client does not
//! keep up, its daemon asks the walks to pause ([`Srvid::TRAVERSE_PACE`], which C daemons don't know: what they send
//! piles up to the bounds of a client's queue).
//!
//! **The end always comes.** C counts ends up to the number of active nodes at that moment, so that a node that
//! refuses, or is lost, means 20 s of silence (TraverseTimeout). Here each node is waited for by name: one that is
//! lost or becomes inactive counts as ended at once, and the log says that its records are missing; one that can't take
//! part sends its end mark instead of nothing. TraverseTimeout is the longest silence, not the longest time.

mod collect;
mod walk;

use std::rc::Rc;

use ctdb_protocol::{ClientId, Pnn, Srvid};

use crate::Daemon;
use crate::databases::Database;

pub use collect::{data, start};
pub use walk::{kill, walk};

/// State of the room.
#[derive(Default)]
pub struct Traverses {
    collections: collect::Collections,
    walks: walk::Walks,
}

impl Traverses {
    /// Traverses of this node's clients under way.
    pub fn collecting(&self) -> usize {
        self.collections.count()
    }

    /// Walks through files of this node under way.
    pub fn walking(&self) -> usize {
        self.walks.count()
    }
}

/// Takes the wishes of other nodes to pause, for the life of the daemon.
pub fn listen(d: &Rc<Daemon>) {
    d.services
        .register_own(Srvid::TRAVERSE_PACE, Rc::new(walk::on_pace));
}

/// A client has gone: what is collected for it is not wanted any more.
pub fn client_gone(d: &Rc<Daemon>, client: ClientId) {
    collect::client_gone(d, client);
}

/// A node has gone: nothing comes from there, nothing can be sent there.
pub fn node_gone(d: &Rc<Daemon>, pnn: Pnn) {
    collect::node_gone(d, pnn);
    walk::node_gone(d, pnn);
}

/// The database is detached: its traverses end with what they have.
pub fn database_gone(d: &Rc<Daemon>, db: &Database) {
    walk::database_gone(d, db);
    collect::database_gone(d, db);
}
