//! What can go wrong between a client and its daemon.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use ctdb_protocol::{Opcode, Pnn};
use ctdb_tdb::TdbError;
use ctdb_transport::SendError;

/// A request that did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens at the socket, or we may not use it.
    #[error("cannot connect to ctdbd at {}: {source}", socket.display())]
    Connect {
        /// The unix socket.
        socket: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The connection is gone, with all requests on it.
    #[error("no connection to ctdbd: {reason}")]
    Disconnected {
        /// How it ended.
        reason: String,
    },
    /// A control was answered by a status that means failure.
    #[error("node {node}: {opcode} failed with status {status}{}", Colon(text))]
    Status {
        /// Who was asked.
        node: Pnn,
        /// What.
        opcode: Opcode,
        /// As in the answer.
        status: i32,
        /// The daemon's explanation; often empty.
        text: String,
    },
    /// No answer came in time. It may still come; it is thrown away then.
    #[error("node {node}: no answer to {opcode} within {} s", limit.as_secs_f64())]
    Timeout {
        /// Who was asked.
        node: Pnn,
        /// What.
        opcode: Opcode,
        /// How long we waited.
        limit: Duration,
    },
    /// The answer's data is not what this control is answered by.
    #[error("node {node}: the answer to {opcode} makes no sense: {reason}")]
    BadAnswer {
        /// Who answered.
        node: Pnn,
        /// What.
        opcode: Opcode,
        /// The field and what is wrong with it.
        reason: String,
    },
    /// The daemon takes nothing more at the moment: it does not read what was sent before.
    #[error("ctdbd does not take what was sent before; the output queue is full")]
    QueueFull,
    /// More requests wait for an answer than one client may have.
    #[error("{0} requests wait for an answer; no more are sent")]
    TooManyRequests(usize),
    /// The database is not to be used, says the daemon.
    #[error("database {database} is not healthy: {reason}")]
    Unhealthy {
        /// Its name.
        database: String,
        /// The daemon's words.
        reason: String,
    },
    /// The local copy of a database failed.
    #[error(transparent)]
    Tdb(#[from] TdbError),
    /// A record is not what it should be.
    #[error("database {database}: record {key}: {reason}")]
    BadRecord {
        /// Name of the database.
        database: String,
        /// Its key, escaped.
        key: String,
        /// What is wrong.
        reason: String,
    },
    /// A record could not be brought to this node.
    #[error("database {database}: record {key} does not come here: the call's status is {status}")]
    NotMigrated {
        /// Name of the database.
        database: String,
        /// Its key, escaped.
        key: String,
        /// As in the answer.
        status: i32,
    },
    /// We hold this lock already.
    #[error("the lock {0} is held by this owner already")]
    LockedBySelf(String),
    /// A commit failed, and it cannot be told whether others have it.
    #[error("database {database}: a commit failed, and its sequence number went from {before} to {after}")]
    CommitLost {
        /// Name of the database.
        database: String,
        /// Sequence number when the commit began.
        before: u64,
        /// And when it had failed.
        after: u64,
    },
    /// The library was asked for something that has no meaning.
    #[error("not possible: {0}")]
    InvalidUse(&'static str),
}

impl ClientError {
    /// The error number that upstream's library returns in this case.
    pub fn errno(&self) -> i32 {
        match self {
            ClientError::Connect { source, .. } => source.raw_os_error().unwrap_or(libc::EIO),
            ClientError::Disconnected { .. } => libc::ENOTCONN,
            ClientError::Status { status, .. } => *status,
            ClientError::Timeout { .. } => libc::ETIMEDOUT,
            ClientError::BadAnswer { .. } => libc::EPROTO,
            ClientError::Unhealthy { .. }
            | ClientError::Tdb(_)
            | ClientError::NotMigrated { .. }
            | ClientError::CommitLost { .. } => libc::EIO,
            ClientError::BadRecord { .. } => libc::EPROTO,
            ClientError::LockedBySelf(_) => libc::EDEADLK,
            ClientError::InvalidUse(_) => libc::EINVAL,
            ClientError::QueueFull | ClientError::TooManyRequests(_) => libc::ENOMEM,
        }
    }

    /// Whether the daemon answered, and the answer was "no".
    pub fn is_refusal(&self) -> bool {
        matches!(self, ClientError::Status { .. })
    }

    /// What became of a packet that was not taken; `reason` is why the connection ended, if it did.
    pub(crate) fn not_sent(error: SendError, reason: String) -> ClientError {
        match error {
            SendError::Full => ClientError::QueueFull,
            SendError::Closed => ClientError::Disconnected { reason },
        }
    }
}

/// `: text`, or nothing for no text.
struct Colon<'a>(&'a str);

impl fmt::Display for Colon<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            Ok(())
        } else {
            write!(f, ": {}", self.0)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_node_control_status_and_the_daemons_words() {
        let error = ClientError::Status {
            node: Pnn(2),
            opcode: Opcode::SET_RECMODE,
            status: -1,
            text: "lock taken".into(),
        };
        assert_eq!(
            error.to_string(),
            "node 2: SET_RECMODE failed with status -1: lock taken"
        );
        assert!(error.is_refusal());
        let error = ClientError::Timeout {
            node: Pnn(0),
            opcode: Opcode::PING,
            limit: Duration::from_millis(1500),
        };
        assert_eq!(error.to_string(), "node 0: no answer to PING within 1.5 s");
        assert_eq!(error.errno(), libc::ETIMEDOUT);
    }
}
