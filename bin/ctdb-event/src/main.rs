//! Client of the event daemon.
fn main() {}
