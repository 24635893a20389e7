//! What this node holds to be true of the cluster and of itself. Small values, each set in few places.

use std::cell::{Cell, RefCell};
use std::time::Duration;

use ctdb_protocol::{Capabilities, Generation, Pnn, RecMode, Runstate, VnnMap};
use ctdb_runtime::sync::Notify;
use ctdb_runtime::{Instant, WallTime};

/// See the fields. Everybody who waits for one of them to change waits for [`State::changed`].
pub struct State {
    vnnmap: RefCell<VnnMap>,
    recmode: Cell<RecMode>,
    runstate: Cell<Runstate>,
    /// What this node offers to the cluster.
    pub capabilities: Cell<Capabilities>,
    /// When the daemon started, by the wall clock.
    pub started_at: WallTime,
    /// The same by the monotonic clock.
    pub started: Instant,
    /// When the last recovery began on this node; `None` before the first.
    pub last_recovery_started: Cell<Option<WallTime>>,
    /// When the last recovery ended on this node; `None` before the first.
    pub last_recovery_finished: Cell<Option<WallTime>>,
    /// Set by FREEZE, cleared when everything is thawed: the "all frozen" state of `daemon.md` §8.
    pub all_frozen: Cell<bool>,
    /// The leader as the recovery daemons announce it, for the answers that need one.
    pub leader: Cell<Pnn>,
    changed: Notify,
}

impl State {
    /// As a daemon begins: in recovery, without a valid generation.
    pub fn new(capabilities: Capabilities, vnnmap: VnnMap, now: Instant, wall: WallTime) -> State {
        State {
            vnnmap: RefCell::new(vnnmap),
            recmode: Cell::new(RecMode::Active),
            runstate: Cell::new(Runstate::Unknown),
            capabilities: Cell::new(capabilities),
            started_at: wall,
            started: now,
            last_recovery_started: Cell::new(None),
            last_recovery_finished: Cell::new(None),
            all_frozen: Cell::new(false),
            leader: Cell::new(Pnn::UNKNOWN),
            changed: Notify::new(),
        }
    }

    /// The generation that this node takes part in.
    pub fn generation(&self) -> Generation {
        self.vnnmap.borrow().generation
    }

    /// Which nodes are location masters.
    pub fn vnnmap(&self) -> VnnMap {
        self.vnnmap.borrow().clone()
    }

    /// Location master of a key; `UNKNOWN` while no node is one.
    pub fn lmaster(&self, key: &[u8]) -> Pnn {
        self.vnnmap.borrow().lmaster(key).unwrap_or(Pnn::UNKNOWN)
    }

    /// Whether `pnn` is a location master.
    pub fn is_in_vnnmap(&self, pnn: Pnn) -> bool {
        self.vnnmap.borrow().map.contains(&pnn)
    }

    /// Takes over what a recovery decided.
    pub fn set_vnnmap(&self, vnnmap: VnnMap) {
        *self.vnnmap.borrow_mut() = vnnmap;
        self.changed.notify_all();
    }

    /// This node leaves every generation: calls and migrations stop.
    pub fn invalidate_generation(&self) {
        self.vnnmap.borrow_mut().generation = Generation::INVALID;
        self.changed.notify_all();
    }

    /// NORMAL or ACTIVE (in recovery).
    pub fn recmode(&self) -> RecMode {
        self.recmode.get()
    }

    /// Whether a recovery runs or is wanted.
    pub fn in_recovery(&self) -> bool {
        self.recmode.get() != RecMode::Normal
    }

    /// Only the variable; the rules around it are in `recovery::mode`.
    pub fn set_recmode(&self, mode: RecMode) {
        self.recmode.set(mode);
        self.changed.notify_all();
    }

    /// How far start-up has come.
    pub fn runstate(&self) -> Runstate {
        self.runstate.get()
    }

    /// # Panics
    /// When the state would go back: start-up steps run once, a daemon which doesn't know where it
    /// stands must not serve.
    pub fn set_runstate(&self, to: Runstate) {
        let from = self.runstate.get();
        assert!(to >= from, "run state may not go back from {from} to {to}");
        if to != from {
            log::info!("Run state: {from} -> {to}");
            self.runstate.set(to);
            self.changed.notify_all();
        }
    }

    /// Resolves at the next change of generation, recovery mode or run state.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Time since the daemon started.
    pub fn uptime(&self, now: Instant) -> Duration {
        now.saturating_since(self.started)
    }
}
