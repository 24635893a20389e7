//! Locks and transactions between two processes: what other processes see is the point of them.
#![allow(clippy::unwrap_used)] // in a test, a panic is the report

mod agent;
mod locks;
mod transactions;
