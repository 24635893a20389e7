//! How a command ends when it does not succeed: sentences for standard error and an exit code.

use ctdb_client::ClientError;

/// What a command comes to: an exit code of its own, or a failure.
pub type Outcome = Result<i32, Failure>;

/// Which usage is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Usage {
    /// All options and commands.
    Full,
    /// The line of one command.
    Of(&'static str),
}

/// Why a command failed.
#[derive(Debug, PartialEq, Eq)]
pub struct Failure {
    /// Exit code: an error number, a control's status, or 1.
    pub code: i32,
    /// For standard error.
    pub lines: Vec<String>,
    /// For standard output.
    pub usage: Option<Usage>,
}

impl Failure {
    /// Exit code 1 and a sentence.
    pub fn said(line: impl Into<String>) -> Failure {
        Failure::coded(1, line)
    }

    /// An exit code and a sentence.
    pub fn coded(code: i32, line: impl Into<String>) -> Failure {
        Failure {
            lines: vec![line.into()],
            ..Failure::quiet(code)
        }
    }

    /// An exit code and nothing else.
    pub fn quiet(code: i32) -> Failure {
        Failure {
            code,
            lines: Vec::new(),
            usage: None,
        }
    }

    /// Wrong arguments.
    pub fn usage(usage: Usage) -> Failure {
        Failure {
            usage: Some(usage),
            ..Failure::quiet(1)
        }
    }

    /// The same with one more sentence.
    #[must_use]
    pub fn and(mut self, line: impl Into<String>) -> Failure {
        self.lines.push(line.into());
        self
    }

    /// The same with exit code 1: where upstream only tells whether something went well.
    #[must_use]
    pub fn plain(mut self) -> Failure {
        self.code = 1;
        self
    }
}

/// What upstream's library says about a control that failed, and its error number. Other failures say what happened.
impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Failure {
        let errno = error.errno();
        match error {
            ClientError::Status { opcode, status, .. } => {
                Failure::coded(status, format!("Control {opcode} failed, ret={status}"))
            }
            ClientError::Timeout { node, opcode, .. } => Failure::coded(
                errno,
                format!("Control {opcode} failed to node {}, ret={errno}", node.0),
            ),
            ClientError::Connect { .. } => Failure::coded(errno, format!("connect() failed, errno={errno}")),
            ClientError::Disconnected { .. } => Failure::said(error.to_string()),
            other => Failure::coded(errno, other.to_string()),
        }
    }
}

/// Adds a sentence to a failure.
pub trait OrSay<T> {
    /// The command's own sentence after that of what failed in it.
    ///
    /// # Errors
    /// The failure with the sentence.
    fn or_say(self, line: impl FnOnce() -> String) -> Result<T, Failure>;
}

impl<T, E: Into<Failure>> OrSay<T> for Result<T, E> {
    fn or_say(self, line: impl FnOnce() -> String) -> Result<T, Failure> {
        self.map_err(|error| error.into().and(line()))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use ctdb_protocol::{Opcode, Pnn};

    use super::*;

    #[test]
    fn a_refused_control_gives_its_status_as_exit_code() {
        let refused = ClientError::Status {
            node: Pnn(2),
            opcode: Opcode::GET_PUBLIC_IP_INFO,
            status: -1,
            text: String::new(),
        };
        let failure = Err::<(), _>(refused)
            .or_say(|| "No such address".to_owned())
            .unwrap_err();
        assert_eq!(failure.code, -1);
        assert_eq!(
            failure.lines,
            ["Control GET_PUBLIC_IP_INFO failed, ret=-1", "No such address"]
        );
    }

    #[test]
    fn a_control_without_answer_gives_the_error_number_of_a_timeout() {
        let late = ClientError::Timeout {
            node: Pnn(1),
            opcode: Opcode::PING,
            limit: Duration::from_secs(3),
        };
        let failure = Failure::from(late);
        assert_eq!(failure.code, 110);
        assert_eq!(failure.lines, ["Control PING failed to node 1, ret=110"]);
    }
}
