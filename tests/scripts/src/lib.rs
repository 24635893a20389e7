//! Runs scripts of `etc/ctdb` and `scripts` where they can do no harm, and tells what they did.
//!
//! A [`Sandbox`] has a configuration directory, script state, helper programs and a `/proc` of its own, in a directory
//! whose name has a blank. Every program that could change the machine is a *stand-in*: a script that records how it
//! was called and answers what the test says. In [`Sandbox::in_namespace`] the network tools are the real ones, in a
//! network namespace that ends with the sandbox.

mod namespace;
mod sandbox;

pub use namespace::Namespace;
pub use sandbox::{Ran, Sandbox, debians, source};
