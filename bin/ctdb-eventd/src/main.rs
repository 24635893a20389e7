//! The event daemon: runs event scripts.
fn main() {}
