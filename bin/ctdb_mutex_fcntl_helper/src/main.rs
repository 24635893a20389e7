//! Holds the cluster lock as an fcntl lock on a shared file.
fn main() {}
