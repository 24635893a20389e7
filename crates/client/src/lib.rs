//! Talk to a daemon: controls, messages, database handles, g_lock, transactions.
//!
//! A [`Client`] is one connection to the unix socket of a daemon. Any number of requests may be under way on it; answers find
//! their requests by number, whatever their order. Everything that waits is a future, and cancelling is dropping it: the
//! answer of a request that nobody waits for any more is thrown away.
//!
//! - Controls: [`Client::control`] and its relatives take any [`ctdb_protocol::Request`]; [`controls`] has a method for each that is
//!   common, with the answer typed.
//! - Messages: [`Client::send_message`], [`Client::on_message`].
//! - Databases: [`Database`] opens the node's own copy of a database beside the daemon; [`RecordHandle`] is a locked record.
//! - [`g_lock`] is a lock across the cluster; [`Transaction`] changes persistent and replicated databases.
//!
//! The library never blocks its thread on a record lock: it tries, and tries again a little later. Errors say which node, which control
//! or which database; [`ClientError::errno`] is what upstream's library would have returned.
//!
//! `examples/tour.rs` shows all of it against a running daemon.

mod call;
mod client;
mod control;
pub mod controls;
mod database;
mod db_kind;
mod error;
pub mod g_lock;
mod local_file;
mod messages;
mod record;
mod requests;
mod transaction;
mod traverse;

pub use client::Client;
pub use control::{ControlAnswer, NO_TIMEOUT};
pub use database::Database;
pub use db_kind::DbKind;
pub use error::ClientError;
pub use messages::Registration;
pub use record::{Access, RecordHandle};
pub use transaction::Transaction;
