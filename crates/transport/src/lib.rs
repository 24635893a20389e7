//! Framed packet streams: node links (TCP) and client links (unix socket) on the runtime.
//!
//! A [`Connection`] owns a stream. What arrives is cut into packets by [`PacketReader`] and each is given, in place, to a plain
//! function; what is to be sent is appended to an [`OutputQueue`] and written at the end of the turn of the loop, with one system call
//! for all packets of the turn. In steady state neither direction allocates.
//!
//! Both directions are bounded: a connection reads only so much per turn before others have theirs, refuses packets above a cap, keeps
//! only so much output, and stops reading from a peer that does not take its answers.

mod connection;
mod output;
mod reader;

pub use connection::{CloseReason, Closed, Connection, Counters, Flow, Limits, SendError, Sender};
pub use output::OutputQueue;
pub use reader::{FrameError, LinkKind, PacketReader};
