//! The nodes that take part in a recovery, and one question to all of them.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use ctdb_client::{Client, ClientError, ControlAnswer};
use ctdb_protocol::{ControlFlags, Generation, Pnn, Request, Srvid};
use ctdb_runtime::sync::{Semaphore, join_all};

use crate::collection::Budget;
use crate::hold::Holds;

/// Failures of one node, in one database or in several, after which it is banned. Also how often a database is tried.
pub const ATTEMPTS: u32 = 3;

/// What all parts of a recovery share.
pub struct Cluster {
    /// To ctdbd of this node, and through it to the others.
    pub client: Client,
    /// Nodes that take part, in the order of their numbers.
    pub nodes: Vec<Pnn>,
    /// The generation to be.
    pub generation: Generation,
    /// Of each control.
    pub limit: Duration,
    /// A pushed buffer is closed when it has become larger than this number of bytes.
    pub buffer_len: usize,
    /// For the records between pull and push.
    pub budget: Rc<Budget>,
    /// One for each stretch of pushed bytes that the nodes have not confirmed yet.
    pub in_flight: Semaphore,
    pub(crate) credits: Credits,
    pub(crate) services: Services,
    pub(crate) holds: Holds,
}

/// A step that failed.
#[derive(Debug, thiserror::Error)]
pub enum Failed {
    /// A node did not do what it was asked for, or the connection to ctdbd of this node is gone.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// A node counts other records than were sent.
    #[error("node {node} {verb} {counted} records, but {expected} were {done}")]
    Count {
        /// Which node.
        node: Pnn,
        /// What it says it did.
        verb: &'static str,
        /// By the node.
        counted: u32,
        /// By us.
        expected: u32,
        /// What was done here.
        done: &'static str,
    },
    /// Two nodes have different databases under one id.
    #[error(
        "database id {id} is \"{first}\" on node {first_node} and \"{other}\" on node {other_node}: rename one of them"
    )]
    NameCollision {
        /// Hash of both names.
        id: ctdb_protocol::DbId,
        /// Name on the first node.
        first: String,
        /// The first node.
        first_node: Pnn,
        /// The other name.
        other: String,
        /// The node that has it.
        other_node: Pnn,
    },
    /// Two nodes have a database in different kinds.
    #[error("database {0} is of another kind on node {1} than on the nodes before it")]
    KindConflict(ctdb_protocol::DbId, Pnn),
    /// Pulled records can't be kept.
    #[error(transparent)]
    Spill(#[from] crate::spill::SpillError),
    /// Pulled records can't be read back.
    #[error("reading the collected records back: {0}")]
    ReadBack(std::io::Error),
    /// Nobody takes part, not even this node.
    #[error("node {0} itself takes no part: it is banned or stopped")]
    NotActive(Pnn),
    /// Some databases stay frozen.
    #[error("{failed} of {all} databases could not be recovered")]
    Databases {
        /// How many.
        failed: usize,
        /// Of how many.
        all: usize,
    },
}

impl Cluster {
    /// This node, which runs the recovery.
    pub fn me(&self) -> Pnn {
        self.client.pnn()
    }

    /// Asks all nodes at once and waits for all answers.
    ///
    /// # Errors
    /// The first node that failed, in the order of the nodes.
    pub async fn ask_all(&self, request: &Request<'_>) -> Result<Vec<ControlAnswer>, Failed> {
        self.ask(&self.nodes, request, ControlFlags::empty()).await
    }

    /// The same of some nodes.
    ///
    /// # Errors
    /// As [`Cluster::ask_all`].
    pub async fn ask(
        &self,
        nodes: &[Pnn],
        request: &Request<'_>,
        flags: ControlFlags,
    ) -> Result<Vec<ControlAnswer>, Failed> {
        ask(&self.client, nodes, request, flags, self.limit).await
    }

    /// Place of a node in the order of the nodes.
    pub fn order(&self, node: Pnn) -> u32 {
        self.nodes
            .iter()
            .position(|other| *other == node)
            .unwrap_or(self.nodes.len()) as u32
    }

    /// A failure for which a node answers: after too many it is banned.
    pub fn blame(&self, failed: &Failed) {
        if let Some(node) = failed.node().filter(|node| self.nodes.contains(node)) {
            self.credits.add(node);
        }
    }
}

/// See [`Cluster::ask`]; for the time before there is a [`Cluster`].
pub(crate) async fn ask(
    client: &Client,
    nodes: &[Pnn],
    request: &Request<'_>,
    flags: ControlFlags,
    limit: Duration,
) -> Result<Vec<ControlAnswer>, Failed> {
    let answers = join_all(
        nodes
            .iter()
            .map(|node| client.control_with_flags(*node, request, flags, limit)),
    )
    .await;
    answers
        .into_iter()
        .map(|answer| answer.map_err(Failed::from))
        .collect()
}

impl Failed {
    /// The node that failed, when it was one.
    pub fn node(&self) -> Option<Pnn> {
        match self {
            Failed::Client(
                ClientError::Status { node, .. }
                | ClientError::Timeout { node, .. }
                | ClientError::BadAnswer { node, .. },
            )
            | Failed::Count { node, .. } => Some(*node),
            Failed::NameCollision { other_node, .. } => Some(*other_node),
            _ => None,
        }
    }
}

/// Nodes as the log shows them: `0, 2`.
pub(crate) struct List<'a>(pub &'a [Pnn]);

impl fmt::Display for List<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, node) in self.0.iter().enumerate() {
            let comma = if n == 0 { "" } else { ", " };
            write!(f, "{comma}{node}")?;
        }
        Ok(())
    }
}

/// Failures of nodes, and the last one of each as evidence.
#[derive(Default)]
pub struct Credits {
    of: RefCell<BTreeMap<Pnn, u32>>,
}

impl Credits {
    /// One more.
    pub fn add(&self, node: Pnn) {
        *self.of.borrow_mut().entry(node).or_default() += 1;
    }

    /// Forgives a node.
    pub fn forgive(&self, node: Pnn) {
        self.of.borrow_mut().remove(&node);
    }

    /// The node with the most failures, the first of equals; `None` when no one has reached [`ATTEMPTS`].
    pub fn worst(&self) -> Option<(Pnn, u32)> {
        let of = self.of.borrow();
        let most = of.values().copied().max().filter(|most| *most >= ATTEMPTS)?;
        of.iter()
            .find(|(_, count)| **count == most)
            .map(|(node, count)| (*node, *count))
    }
}

impl fmt::Debug for Credits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.of.borrow().fmt(f)
    }
}

/// Services at which records arrive: each pull and each push has its own.
///
/// The C helper counts from 1, so what a killed helper had asked for reaches the next one. Here each helper begins
/// somewhere else.
pub struct Services {
    next: Cell<u32>,
}

impl Services {
    /// Begins at a number that depends on `random`.
    pub fn new(random: u32) -> Services {
        Services {
            next: Cell::new((random & 0x7FFF_0000) + 1),
        }
    }

    /// One that was not in use yet.
    pub fn next(&self) -> Srvid {
        let number = self.next.get();
        self.next.set(number.wrapping_add(1));
        Srvid::recovery(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_worst_only_after_three_failures_and_the_lowest_of_equals() {
        let credits = Credits::default();
        for node in [2, 2, 1, 1, 0] {
            credits.add(Pnn(node));
        }
        assert_eq!(credits.worst(), None);
        credits.add(Pnn(2));
        assert_eq!(credits.worst(), Some((Pnn(2), 3)));
        credits.add(Pnn(1));
        assert_eq!(credits.worst(), Some((Pnn(1), 3)));
        credits.add(Pnn(2));
        assert_eq!(credits.worst(), Some((Pnn(2), 4)));
        credits.forgive(Pnn(2));
        assert_eq!(credits.worst(), Some((Pnn(1), 3)));
    }

    #[test]
    fn services_do_not_repeat() {
        let services = Services::new(u32::MAX);
        let first = services.next();
        assert_ne!(first, services.next());
        assert_ne!(Services::new(0x0001_0000).next(), Services::new(0).next());
    }
}
