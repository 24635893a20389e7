//! Recovers all databases in parallel; started by ctdb_recoverd.
fn main() {}
