//! Questions to many nodes, and who did not answer well.

use std::cell::RefCell;
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use ctdb_client::{Client, ClientError, ControlAnswer};
use ctdb_protocol::{ControlFlags, Opcode, Pnn, Request};

use crate::blame::Blame;

/// One control to some nodes.
pub(crate) struct Ask {
    pub nodes: Vec<Pnn>,
    pub request: Request<'static>,
    pub flags: ControlFlags,
    /// The address that it is about.
    pub ip: Option<IpAddr>,
}

impl Ask {
    pub fn new(nodes: &[Pnn], request: Request<'static>) -> Ask {
        Ask {
            nodes: nodes.to_vec(),
            request,
            flags: ControlFlags::empty(),
            ip: None,
        }
    }

    pub fn about(self, ip: IpAddr) -> Ask {
        Ask { ip: Some(ip), ..self }
    }
}

impl fmt::Display for Ask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.request.opcode().fmt(f)?;
        self.ip.map_or(Ok(()), |ip| write!(f, " for {ip}"))
    }
}

/// A run that was given up.
#[derive(Debug, thiserror::Error)]
pub enum Failed {
    /// ctdbd of this node does not say what is needed before anything else.
    #[error("ctdbd of this node: {0}")]
    Local(#[from] ClientError),
    /// No node could host anything, not even the one that asks: it was banned or stopped meanwhile.
    #[error("no node is active")]
    NobodyActive,
    /// Nodes did not do as they were asked. The log has each of them.
    #[error("{opcode} failed {count} times, first with: {first}")]
    Nodes {
        /// What they were asked.
        opcode: Opcode,
        /// How often.
        count: usize,
        /// The first failure.
        first: ClientError,
    },
}

impl Failed {
    /// The number for the recovery daemon, and the exit status; never 0.
    pub fn errno(&self) -> i32 {
        let errno = match self {
            Failed::Local(error) | Failed::Nodes { first: error, .. } => error.errno(),
            Failed::NobodyActive => libc::ENONET,
        };
        if errno == 0 { libc::EIO } else { errno }
    }
}

/// Asks, and notes who fails.
pub(crate) struct Asker {
    pub client: Client,
    pub blame: RefCell<Blame>,
}

impl Asker {
    /// Sends everything at once and waits for all answers. Each question that fails counts once, against the first node
    /// that failed it: with a refusal, or else by silence.
    ///
    /// # Errors
    /// `Nodes`.
    pub async fn ask(&self, asks: Vec<Ask>, limit: Duration) -> Result<Vec<ControlAnswer>, Failed> {
        let Some(opcode) = asks.first().map(|ask| ask.request.opcode()) else {
            return Ok(Vec::new());
        };
        // A task each: with a thousand addresses on 32 nodes, one future over all would look at all for each answer.
        let tasks: Vec<_> = asks.into_iter().map(|ask| self.start(ask, limit)).collect();
        let mut answers = Vec::new();
        let mut failures = Vec::new();
        for task in tasks {
            let (ask, results) = task.await;
            match sort(&ask, results) {
                Ok(good) => answers.extend(good),
                Err((node, error)) => {
                    self.blame(node, &ask, &error);
                    failures.push(error);
                }
            }
        }
        let count = failures.len();
        match failures.into_iter().next() {
            None => Ok(answers),
            Some(first) => Err(Failed::Nodes { opcode, count, first }),
        }
    }

    fn start(&self, ask: Ask, limit: Duration) -> ctdb_runtime::Task<(Ask, Results)> {
        let client = self.client.clone();
        self.client.handle().spawn(async move {
            let results = client
                .control_all_with_flags(&ask.nodes, &ask.request, ask.flags, limit)
                .await;
            (ask, results)
        })
    }

    /// Notes a failure. That our own connection fails is nobody else's fault.
    pub fn blame(&self, node: Pnn, ask: &Ask, error: &ClientError) {
        log::error!("{ask} failed: {error}");
        match error {
            ClientError::Status { .. } | ClientError::Timeout { .. } | ClientError::BadAnswer { .. } => {
                self.blame.borrow_mut().add(node, format!("{ask}: {error}"));
            }
            _ => {}
        }
    }
}

type Results = Vec<(Pnn, Result<ControlAnswer, ClientError>)>;

/// The answers, or the first node that failed.
fn sort(ask: &Ask, results: Results) -> Result<Vec<ControlAnswer>, (Pnn, ClientError)> {
    let mut answers = Vec::new();
    let mut first: Option<(Pnn, ClientError)> = None;
    for (node, result) in results {
        match result {
            Ok(answer) => answers.push(answer),
            Err(error) if is_too_old(&error) => {
                log::debug!("Node {node} does not know {ask}; it is served without");
            }
            // Refusals come before the time is up.
            Err(error) => {
                let earlier = first.as_ref().is_some_and(|(_, first)| !is_silence(first));
                if first.is_none() || !earlier && !is_silence(&error) {
                    first = Some((node, error));
                }
            }
        }
    }
    first.map_or(Ok(answers), Err)
}

fn is_silence(error: &ClientError) -> bool {
    matches!(error, ClientError::Timeout { .. })
}

/// Whether this is how a daemon of 4.17 refuses START_IPREALLOCATE: like any control that it does not know. A
/// daemon that knows it answers with what became of the event, an exit status or an error number, which is not that.
fn is_too_old(error: &ClientError) -> bool {
    let ClientError::Status { opcode, status, .. } = error else {
        return false;
    };
    *opcode == Opcode::START_IPREALLOCATE && *status == -1
}
