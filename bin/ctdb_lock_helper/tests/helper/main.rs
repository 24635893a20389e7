//! The lock helper as ctdbd sees it: real processes, real locks.
#![allow(clippy::unwrap_used)] // in a test, a panic is the report

mod databases;
mod life;
mod locks;
mod one_shot;
mod pool;
mod recover;
mod update;
