//! Single-threaded executor and reactor on mio, with a second, virtual back end under a seed.
//!
//! Everything else in the project reaches time, chance, sockets, processes and signals through a [`Handle`]. There are two kinds of
//! them: that of a [`Runtime`], which is this process, and those of simulated hosts, where the clock is virtual and the
//! network, its faults and all randomness come from one seed. Program libraries take a handle and do not know which it is.
//!
//! # A turn of the loop
//!
//! 1. The tasks that are ready run: urgent ones first, the others in the order in which they became ready. Before each further normal
//!    task the urgent ones that have become ready run. After a millisecond no further normal task is begun in this turn.
//! 2. The end-of-turn hooks run ([`Handle::at_turn_end`]): output collected during the turn is written with one system call per stream.
//! 3. The reactor is polled: without waiting if a task is ready, else until the next timer. Events and timers that are due make
//!    tasks ready.
//!
//! The length of 1 and 2 is in [`Handle::turn_lengths`].
//!
//! # Rules
//!
//! - Nothing leaves the thread. Waking is cheap and runs nothing: it may be done while state is borrowed.
//! - Cancelling is dropping. A dropped [`Task`] ends when the ready queue comes to it.
//! - Readiness is edge-triggered: a short read of a stream socket means "empty" and is not followed by another read.

mod core;
mod executor;
mod handle;
mod program;
mod real;
pub mod sim;
mod stream;
pub mod sync;
pub mod sys;
mod time;
mod timers;
mod turn;
mod wakers;

pub use executor::{Class, Task};
pub use handle::{Handle, Signals, Sleep, YieldNow};
pub use nix::sys::signal::Signal;
pub use program::{Child, ExitStatus, Io, PipeId, Program};
pub use real::Runtime;
pub use sim::{Faults, Launch, Sim};
pub use stream::{Listener, PeerCred, Stream};
pub use time::{Elapsed, Instant, WallTime};
pub use turn::{TurnEnd, TurnHistogram};
