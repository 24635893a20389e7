//! The parallel recovery of all databases: `ctdb_recovery_helper` as a library.

pub mod collection;
mod memory;
mod rank;
mod spill;
