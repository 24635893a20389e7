//! The CTDB daemon.
fn main() {}
