//! Helpers that have done their work are kept for the next: starting one costs fifty times as much as a lock.

use std::cell::{Cell, RefCell};
use std::io;
use std::ops::{Deref, DerefMut};
use std::rc::Rc;

use super::helper::Helper;
use crate::Daemon;

/// Idle helpers that are kept.
const IDLE_MAX: usize = 8;

/// Helpers without work.
#[derive(Default)]
pub struct Pool {
    idle: RefCell<Vec<Helper>>,
    /// Helpers leased before the last [`retire`] have an older number.
    age: Cell<u64>,
}

impl Pool {
    /// How many there are.
    pub fn idle(&self) -> usize {
        self.idle.borrow().len()
    }
}

/// A helper for one job. It goes back to the pool by [`Lease::give_back`]; dropped without that it is
/// killed, because then nobody knows what it is doing.
pub struct Lease {
    daemon: Rc<Daemon>,
    helper: Option<Helper>,
    age: u64,
}

/// A helper that has nothing to do: an idle one or a new one.
///
/// # Errors
/// None can be started.
pub fn lease(d: &Rc<Daemon>) -> io::Result<Lease> {
    let helper = match idle(d) {
        Some(helper) => helper,
        None => Helper::start(d)?,
    };
    Ok(Lease {
        daemon: d.clone(),
        helper: Some(helper),
        age: d.locks.pool.age.get(),
    })
}

/// No helper of before is used again: one of them may have a file open that is about to be closed.
pub fn retire(d: &Daemon) {
    let pool = &d.locks.pool;
    pool.age.set(pool.age.get() + 1);
    drop(pool.idle.take());
}

/// One that still lives. What has ended meanwhile, killed for want of memory for instance, would fail whoever got it.
fn idle(d: &Daemon) -> Option<Helper> {
    loop {
        let helper = d.locks.pool.idle.borrow_mut().pop()?;
        if helper.lives() {
            return Some(helper);
        }
        log::warn!("Lock helper {} has ended while it was idle", helper.pid());
    }
}

impl Lease {
    /// Its job is done: it holds nothing and owes no answer.
    pub fn give_back(mut self) {
        let pool = &self.daemon.locks.pool;
        let mut idle = pool.idle.borrow_mut();
        if idle.len() < IDLE_MAX && self.age == pool.age.get() {
            idle.extend(self.helper.take());
        }
        drop(idle);
        // Beyond that its socket closes, and it ends.
        self.helper.take();
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(helper) = self.helper.take() {
            helper.kill();
        }
    }
}

impl Deref for Lease {
    type Target = Helper;

    fn deref(&self) -> &Helper {
        self.helper.as_ref().expect("only give_back and drop take it")
    }
}

impl DerefMut for Lease {
    fn deref_mut(&mut self) -> &mut Helper {
        self.helper.as_mut().expect("only give_back and drop take it")
    }
}
