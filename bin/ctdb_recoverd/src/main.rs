//! The recovery daemon.
fn main() {}
