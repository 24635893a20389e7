//! The event daemon, which runs event scripts for ctdbd, and its client.
//!
//! ctdbd and administrators ask for an *event* (`monitor`, `takeip`...) of a *component* (a directory of scripts, `legacy`);
//! the daemon runs the scripts of the directory in order of their names, stops at the first that fails, remembers what each
//! printed and answers with one number. Only one event of a component runs at a time; any event pushes a running `monitor` aside.
//!
//! | module | what is in it |
//! |---|---|
//! | [`proto`] | the packets between client and daemon |
//! | [`queue`] | pure: which event runs, waits, is cancelled or refused |
//! | [`walk`] | pure: through the scripts of one event, and what is remembered of it |
//! | [`scripts`] | script directories: listing, enabling, disabling |
//! | [`output`] | pure: a bounded piece of what a script printed |
//! | [`script_run`] | one script as a child process |
//! | [`server`] | the daemon `ctdb-eventd` |
//! | [`client`] | asking the daemon |
//! | [`tool`] | the command `ctdb-event` |
//!
//! Scripts that hang, print without end, vanish or cannot run are ordinary: each has its result.

pub mod client;
pub mod output;
pub mod proto;
pub mod queue;
pub mod script_run;
pub mod scripts;
pub mod server;
pub mod tool;
pub mod walk;
