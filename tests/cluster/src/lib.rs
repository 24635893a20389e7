//! Tests of real clusters of our own processes.
