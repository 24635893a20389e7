//! Waits for database locks on behalf of ctdbd.
fn main() {}
