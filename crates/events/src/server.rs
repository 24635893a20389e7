//! The event daemon: takes requests from its socket, runs events, remembers how they ended.

mod daemon;
mod events;

pub use daemon::{Options, ServeError, Stopped, serve};
