//! What a daemon tells about itself.

use std::rc::Rc;

use ctdb_protocol::control::Reply;
use ctdb_protocol::{RecMode, StatisticsList, Timeval, Uptime};

use crate::Daemon;
use crate::responder::Responder;
use crate::stats::timeval;

/// STATISTICS: counters, and what is looked up at this moment.
pub fn statistics(d: &Rc<Daemon>, answer: Responder) {
    let mut s = d.stats.total();
    s.num_clients = d.clients.count() as u32;
    s.frozen = u32::from(d.state.all_frozen.get());
    s.recovering = u32::from(d.state.recmode() == RecMode::Active);
    s.memory_used = ctdb_runtime::sys::resident_bytes().min(u64::from(u32::MAX)) as u32;
    s.current_time = timeval(d.rt.wall_clock());
    answer.reply(&Reply::Statistics(Box::new(s)));
}

/// STATISTICS_RESET: everything counted, per database too.
pub fn statistics_reset(d: &Rc<Daemon>, answer: Responder) {
    d.stats.reset(d.rt.wall_clock());
    for db in d.databases.all() {
        db.stats.reset();
        db.hot_keys.reset();
    }
    answer.ok();
}

/// GET_STAT_HISTORY.
pub fn stat_history(d: &Rc<Daemon>, answer: Responder) {
    answer.reply(&Reply::GetStatHistory(StatisticsList {
        history: d.stats.history(),
    }));
}

/// UPTIME: four times.
pub fn uptime(d: &Rc<Daemon>, answer: Responder) {
    let or_zero = |t: Option<ctdb_runtime::WallTime>| t.map_or_else(Timeval::default, timeval);
    answer.reply(&Reply::Uptime(Uptime {
        current_time: timeval(d.rt.wall_clock()),
        ctdbd_start_time: timeval(d.state.started_at),
        last_recovery_started: or_zero(d.state.last_recovery_started.get()),
        last_recovery_finished: or_zero(d.state.last_recovery_finished.get()),
    }));
}

/// GET_PID, in the status.
pub fn get_pid(d: &Rc<Daemon>, answer: Responder) {
    answer.status(d.rt.pid() as i32);
}

/// GET_RUNSTATE.
pub fn runstate(d: &Rc<Daemon>, answer: Responder) {
    answer.data(&(d.state.runstate() as u32).to_le_bytes());
}

/// GET_DEBUG: the number as it was set.
pub fn get_debug(answer: Responder) {
    answer.data(&ctdb_logging::level().to_le_bytes());
}

/// SET_DEBUG.
pub fn set_debug(level: i32, answer: Responder) {
    ctdb_logging::set_level(level);
    answer.ok();
}

/// DUMP_MEMORY: where this process's memory is. Text for people; the C daemon prints its allocator's tree.
pub fn dump_memory(d: &Rc<Daemon>, answer: Responder) {
    let mut text = format!(
        "resident memory: {} bytes\nclients: {}\ncontrols awaiting an answer: {}\n",
        ctdb_runtime::sys::resident_bytes(),
        d.clients.count(),
        d.asks.pending(),
    );
    for db in d.databases.all() {
        text += &format!(
            "database {} {}: mapped {} bytes\n",
            db.id,
            db.name,
            db.tdb.map_size()
        );
    }
    let turns = d.rt.turn_lengths();
    text += &format!("turns of the loop: {}, longest {:?}\n", turns.turns(), turns.max);
    answer.data(text.as_bytes());
}
