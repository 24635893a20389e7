//! Tests of real clusters of our own processes, and the demonstration.
//!
//! [`demo`] is what `make demo` shows; a test runs the same story and fails where it does not end well.

pub mod demo;
pub mod files;
pub mod load;
pub mod raw;
pub mod scene;
