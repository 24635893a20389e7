//! The limit of a run: scripts that call the tool must not hang with it.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;
use std::{env, process, thread};

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, setpgid};
use signal_hook::consts::SIGTERM;

use crate::console;

/// Set for the tool's children: they are in a group of their own already.
pub(crate) const ENV_IN_OWN_GROUP: &str = "CTDB_TOOL_SETPGID";

/// In test mode, leaves the group of the test, which the end of the time would end with the tool. Says whether it did
/// so now; children are to know it.
pub(crate) fn leave_group_in_tests() -> bool {
    if env::var_os("CTDB_TEST_MODE").is_none() || env::var_os(ENV_IN_OWN_GROUP).is_some() {
        return false;
    }
    // A leader of a session cannot leave its group, and need not.
    let _ = setpgid(Pid::from_raw(0), Pid::from_raw(0));
    true
}

/// After `limit`, ends all processes of the group and this one with exit code 1. `None`: never.
pub(crate) fn start(limit: Option<Duration>) {
    let Some(limit) = limit else { return };
    // A thread that sleeps also ends a run that is stuck in a system call.
    thread::spawn(move || {
        thread::sleep(limit);
        expire()
    });
}

fn expire() -> ! {
    // The signal is for the children of this process; it lives on to say why.
    let _ = signal_hook::flag::register(SIGTERM, Arc::new(AtomicBool::new(false)));
    let _ = kill(Pid::from_raw(0), Signal::SIGTERM);
    console::err("Maximum runtime exceeded - exiting");
    process::exit(1)
}
