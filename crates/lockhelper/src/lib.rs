//! The long-lived helper that waits for database locks, and writes persistent databases, so that ctdbd never does.
