//! The value that ties the rooms together. It has no rules of its own.

use std::cell::RefCell;
use std::path::Path;
use std::rc::Rc;

use ctdb_conf::Tunables;
use ctdb_protocol::Pnn;
use ctdb_runtime::{Handle, Program};

use crate::asks::Asks;
use crate::attach::DeferredAttaches;
use crate::calls::Calls;
use crate::clients::Clients;
use crate::commit::Commits;
use crate::databases::Databases;
use crate::events::Events;
use crate::inactive::Bans;
use crate::locks::Locks;
use crate::loopback::Loopback;
use crate::nodes::Nodes;
use crate::readonly::Readonly;
use crate::recoverd::RecoverdChild;
use crate::recovery::Recovery;
use crate::services::Services;
use crate::settings::Settings;
use crate::shutdown::Shutdown;
use crate::state::State;
use crate::stats::Stats;
use crate::sticky::Sticky;
use crate::traverse::Traverses;
use crate::vacuum::Vacuum;

/// One ctdbd. Each field is a room with its own state; no room reaches into another's cells.
pub struct Daemon {
    /// Tasks, clock, sockets, children.
    pub rt: Handle,
    /// Fixed from start to end.
    pub settings: Settings,
    /// Changed by SET_TUNABLE.
    pub tunables: RefCell<Tunables>,
    /// Generation, recovery mode, run state.
    pub state: State,
    /// The other daemons.
    pub nodes: Nodes,
    /// Unix socket clients.
    pub clients: Clients,
    /// Who listens to which srvid.
    pub services: Services,
    /// Controls whose answer is awaited.
    pub asks: Asks,
    /// Packets from this node to itself.
    pub loopback: Loopback,
    /// The TDB files.
    pub databases: Databases,
    /// Attaches of clients that wait for the end of a recovery.
    pub deferred_attaches: DeferredAttaches,
    /// Lock helpers.
    pub locks: Locks,
    /// Record calls under way.
    pub calls: Calls,
    /// Read-only copies that are called back.
    pub readonly: Readonly,
    /// Hot records that stay for a moment.
    pub sticky: Sticky,
    /// Empty records leave.
    pub vacuum: Vacuum,
    /// Persistent transactions under way.
    pub commits: Commits,
    /// Walks over databases of the whole cluster.
    pub traverses: Traverses,
    /// Freeze, recovery transactions, pushes.
    pub recovery: Recovery,
    /// Ban timer and the like.
    pub bans: Bans,
    /// The event daemon.
    pub events: Events,
    /// The recovery daemon.
    pub recoverd: RecoverdChild,
    /// Counters.
    pub stats: Stats,
    /// The way out.
    pub shutdown: Shutdown,
}

impl Daemon {
    /// This node.
    pub fn me(&self) -> Pnn {
        self.settings.me
    }

    /// Whether this node takes part in databases: neither banned, stopped nor deleted.
    pub fn is_active(&self) -> bool {
        self.nodes.own_flags().is_active()
    }

    /// A child to be, with the environment that children of the daemon get.
    pub fn program(&self, path: impl AsRef<Path>) -> Program {
        let program = Program::new(path);
        self.settings
            .child_env
            .iter()
            .fold(program, |program, (name, value)| program.env(name, value))
    }

    /// Starts a task for the life of the daemon that only needs it.
    pub fn spawn<F: Future<Output = ()> + 'static>(self: &Rc<Self>, task: impl FnOnce(Rc<Daemon>) -> F) {
        self.rt.spawn(task(self.clone())).detach();
    }

    /// The same, served before record traffic.
    pub fn spawn_urgent<F: Future<Output = ()> + 'static>(
        self: &Rc<Self>,
        task: impl FnOnce(Rc<Daemon>) -> F,
    ) {
        self.rt.spawn_urgent(task(self.clone())).detach();
    }
}
