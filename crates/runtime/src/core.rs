//! What both back ends have in common: tasks, timers, end-of-turn hooks, clock and random source of one handle.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use crate::executor::Executor;
use crate::time::{Instant, WallTime};
use crate::timers::Timers;
use crate::turn::{TurnEnd, TurnHistogram};

/// A turn that lasts longer than this stops taking normal tasks, polls the reactor and serves urgent ones first.
const TURN_SLICE: Duration = Duration::from_millis(1);

/// Where time comes from.
pub(crate) enum Clock {
    /// The system's monotonic clock, from this start.
    System(std::time::Instant),
    /// The simulator's.
    Virtual(Rc<Cell<Instant>>),
}

/// The virtual epoch: a fixed day, so that runs replay. 2024-01-01 00:00:00 UTC.
const VIRTUAL_EPOCH: Duration = Duration::from_secs(1_704_067_200);

pub(crate) struct Core {
    pub executor: Executor,
    pub timers: RefCell<Timers>,
    hooks: RefCell<Vec<Rc<dyn TurnEnd>>>,
    turns: RefCell<TurnHistogram>,
    clock: Clock,
    pub random: Rc<RefCell<fastrand::Rng>>,
}

impl Core {
    pub fn new(clock: Clock, random: Rc<RefCell<fastrand::Rng>>) -> Rc<Core> {
        Rc::new(Core {
            executor: Executor::default(),
            timers: RefCell::default(),
            hooks: RefCell::default(),
            turns: RefCell::new(TurnHistogram::new()),
            clock,
            random,
        })
    }

    pub fn now(&self) -> Instant {
        match &self.clock {
            Clock::System(start) => Instant::from_start(start.elapsed()),
            Clock::Virtual(now) => now.get(),
        }
    }

    pub fn wall_clock(&self) -> WallTime {
        match &self.clock {
            Clock::System(_) => WallTime::of_system(),
            Clock::Virtual(now) => WallTime::from_epoch(VIRTUAL_EPOCH + now.get().since_start()),
        }
    }

    pub fn at_turn_end(&self, hook: Rc<dyn TurnEnd>) {
        self.hooks.borrow_mut().push(hook);
    }

    pub fn turn_lengths(&self) -> TurnHistogram {
        self.turns.borrow().clone()
    }

    /// One turn: `first` (the main future), a batch of ready tasks, the end hooks.
    pub fn run_turn(&self, first: impl FnOnce()) {
        let start = self.now();
        first();
        self.executor.run_batch(|| self.now() - start > TURN_SLICE);
        self.run_hooks();
        self.turns.borrow_mut().add(self.now() - start);
    }

    /// Calls the hooks asked for; those asked for meanwhile belong to the next turn.
    fn run_hooks(&self) {
        let mut hooks = std::mem::take(&mut *self.hooks.borrow_mut());
        for hook in hooks.drain(..) {
            hook.turn_end();
        }
        // Keeps the memory of the longer list for the next turn.
        let mut next = self.hooks.borrow_mut();
        if next.is_empty() && next.capacity() < hooks.capacity() {
            *next = hooks;
        }
    }

    /// Whether the next turn has something to do without waiting for an event.
    pub fn has_work(&self) -> bool {
        self.executor.has_ready() || !self.hooks.borrow().is_empty()
    }

    /// Wakes the tasks whose timers are due; how many.
    pub fn fire_timers(&self) -> usize {
        let now = self.now();
        let mut fired = 0;
        loop {
            let due = self.timers.borrow_mut().pop_due(now);
            match due {
                Some(waker) => waker.wake(),
                None => return fired,
            }
            fired += 1;
        }
    }

    /// Drops all tasks and what waits for the end of the turn.
    pub fn close(&self) {
        self.executor.close();
        let hooks = std::mem::take(&mut *self.hooks.borrow_mut());
        drop(hooks);
    }
}
