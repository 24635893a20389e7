//! The long-lived helper that waits for database locks, and writes persistent databases, so that ctdbd never does.
//!
//! libtdb has no lock call with a timeout and none that could be polled: who wants a contended lock waits.
//! ctdbd must not, and so gives the wait to another process. The C implementation starts one process for each
//! contended lock; here a pool of them stays, each with a socket pair to ctdbd.
//!
//! * A helper does one thing after the other, in the order of the requests, and answers each once. While it
//!   waits for a lock it hears nothing; ctdbd gives up a wait by killing the helper, or by closing the socket.
//! * What a helper has locked, it holds until it is told otherwise. Meanwhile ctdbd works under a mark
//!   ([`ctdb_tdb::Tdb::mark_chain`], [`ctdb_tdb::Tdb::mark_all`]).
//! * All other work in libtdb that can wait is the helper's, too: transactions, the commit of a recovery, the
//!   check of a database.
//! * A helper ends with ctdbd: the kernel kills it, or the end of the socket ends it. Its locks go with it.
//!   Nothing half done stays: a transaction that was cut short is undone by whoever uses the file next.
//!
//! [`protocol`] is for both sides; [`helper`] is the helper's loop, [`one_shot`] the older way of one process
//! for one lock, [`command`] the command line of both.

pub mod command;
mod databases;
pub mod helper;
pub mod one_shot;
mod priority;
pub mod protocol;
mod recover;
mod rules;
mod update;
mod watch;
