//! Controls: a question to a daemon, and its answer.

use std::time::Duration;

use ctdb_protocol::packet::ControlHead;
use ctdb_protocol::{ControlFlags, Opcode, Pnn, Reply, Request, Srvid};
use ctdb_runtime::Instant;

use crate::requests::{Answer, Pending, Requests};
use crate::{Client, ClientError};

/// For requests that may take as long as they take.
pub const NO_TIMEOUT: Duration = Duration::MAX;

/// The answer to a control.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControlAnswer {
    /// Who was asked.
    pub node: Pnn,
    /// What.
    pub opcode: Opcode,
    /// 0; the answer itself for some controls; anything from [`Client::control_raw`].
    pub status: i32,
    /// For [`ControlAnswer::reply`].
    pub data: Vec<u8>,
    /// The daemon's words about a failure; often empty.
    pub text: String,
}

impl ControlAnswer {
    /// The data, typed by the control.
    ///
    /// # Errors
    /// `BadAnswer`.
    pub fn reply(&self) -> Result<Reply<'_>, ClientError> {
        Reply::decode(self.opcode, &self.data).map_err(|error| self.bad(error.to_string()))
    }

    /// The answer as a result: an error if the status means one.
    ///
    /// # Errors
    /// `Status`.
    pub fn checked(self) -> Result<ControlAnswer, ClientError> {
        let fine = if answers_by_status(self.opcode) {
            self.status >= 0
        } else {
            self.status == 0
        };
        if fine {
            return Ok(self);
        }
        Err(ClientError::Status {
            node: self.node,
            opcode: self.opcode,
            status: self.status,
            text: self.text,
        })
    }

    pub(crate) fn bad(&self, reason: String) -> ClientError {
        ClientError::BadAnswer {
            node: self.node,
            opcode: self.opcode,
            reason,
        }
    }
}

/// Controls whose status is the answer; only a negative one means failure.
fn answers_by_status(opcode: Opcode) -> bool {
    matches!(
        opcode,
        Opcode::PING | Opcode::GET_PID | Opcode::GET_PNN | Opcode::GET_RECMODE
    )
}

impl Client {
    /// Sends a control and waits for its answer.
    ///
    /// # Errors
    /// `Status` when it was refused, `Timeout`, `Disconnected`; `QueueFull` and `TooManyRequests` when it was not sent.
    pub async fn control(
        &self,
        to: Pnn,
        request: &Request<'_>,
        timeout: Duration,
    ) -> Result<ControlAnswer, ClientError> {
        self.control_raw(to, request, timeout).await?.checked()
    }

    /// As [`Client::control`], with flags.
    ///
    /// # Errors
    /// As there.
    pub async fn control_with_flags(
        &self,
        to: Pnn,
        request: &Request<'_>,
        flags: ControlFlags,
        timeout: Duration,
    ) -> Result<ControlAnswer, ClientError> {
        let head = ControlHead::new(request.opcode()).with_flags(flags);
        let deadline = self.handle().now() + timeout;
        let asked = self.ask(to, head, request)?;
        asked.answer(deadline, timeout).await?.checked()
    }

    /// As [`Client::control`], without an opinion on the status.
    ///
    /// # Errors
    /// As there, but `Status`.
    pub async fn control_raw(
        &self,
        to: Pnn,
        request: &Request<'_>,
        timeout: Duration,
    ) -> Result<ControlAnswer, ClientError> {
        let deadline = self.handle().now() + timeout;
        let asked = self.ask(to, ControlHead::new(request.opcode()), request)?;
        asked.answer(deadline, timeout).await
    }

    /// The same control to many nodes at once, under one deadline. All answers are awaited; the results are in the order
    /// of `nodes`.
    pub async fn control_all(
        &self,
        nodes: &[Pnn],
        request: &Request<'_>,
        timeout: Duration,
    ) -> Vec<(Pnn, Result<ControlAnswer, ClientError>)> {
        self.control_all_with_flags(nodes, request, ControlFlags::empty(), timeout)
            .await
    }

    /// As [`Client::control_all`], with flags.
    pub async fn control_all_with_flags(
        &self,
        nodes: &[Pnn],
        request: &Request<'_>,
        flags: ControlFlags,
        timeout: Duration,
    ) -> Vec<(Pnn, Result<ControlAnswer, ClientError>)> {
        let head = ControlHead::new(request.opcode()).with_flags(flags);
        let deadline = self.handle().now() + timeout;
        let asked: Vec<_> = nodes.iter().map(|&node| self.ask(node, head, request)).collect();
        let mut results = Vec::with_capacity(nodes.len());
        // One after the other costs no time: an answer that is there waits, also beyond the deadline.
        for (&node, asked) in nodes.iter().zip(asked) {
            let result = match asked {
                Ok(asked) => asked.answer(deadline, timeout).await,
                Err(error) => Err(error),
            };
            results.push((node, result.and_then(ControlAnswer::checked)));
        }
        results
    }

    /// Sends a control that is not answered. Whether it arrives is not known; see [`Client::flush`].
    ///
    /// # Errors
    /// `Disconnected`, `QueueFull`.
    pub fn control_noreply(&self, to: Pnn, request: &Request<'_>) -> Result<(), ClientError> {
        self.control_noreply_for(to, Srvid(0), request)
    }

    /// The control of a service, unanswered.
    pub(crate) fn control_noreply_for(
        &self,
        to: Pnn,
        srvid: Srvid,
        request: &Request<'_>,
    ) -> Result<(), ClientError> {
        let head = ControlHead::new(request.opcode())
            .with_flags(ControlFlags::NOREPLY)
            .with_srvid(srvid);
        let reqid = self.state().requests.next_reqid();
        self.send(to, reqid, |header, out| {
            head.encode_packet(header, out, |out| request.encode(out));
        })
    }

    /// The control of a service, to the own daemon.
    pub(crate) async fn control_for(
        &self,
        srvid: Srvid,
        request: &Request<'_>,
        timeout: Duration,
    ) -> Result<ControlAnswer, ClientError> {
        let head = ControlHead::new(request.opcode()).with_srvid(srvid);
        let deadline = self.handle().now() + timeout;
        let asked = self.ask(Pnn::CURRENT, head, request)?;
        asked.answer(deadline, timeout).await?.checked()
    }

    /// Sends a control at once.
    fn ask(&self, to: Pnn, head: ControlHead, request: &Request<'_>) -> Result<Asked<'_>, ClientError> {
        let pending = self.new_request()?;
        self.send(to, pending.reqid, |header, out| {
            head.encode_packet(header, out, |out| request.encode(out));
        })?;
        Ok(Asked {
            client: self,
            node: to,
            opcode: head.opcode,
            pending,
        })
    }

    pub(crate) fn new_request(&self) -> Result<Pending, ClientError> {
        let pending = self.state().requests.wait();
        pending.ok_or(ClientError::TooManyRequests(Requests::MAX))
    }
}

/// A control under way.
struct Asked<'a> {
    client: &'a Client,
    node: Pnn,
    opcode: Opcode,
    pending: Pending,
}

impl Asked<'_> {
    /// The answer until `deadline`, which is `limit` after the request.
    async fn answer(mut self, deadline: Instant, limit: Duration) -> Result<ControlAnswer, ClientError> {
        let handle = self.client.handle();
        let answer = if limit == NO_TIMEOUT {
            self.pending.answer().await
        } else {
            let left = deadline - handle.now();
            let timeout = ClientError::Timeout {
                node: self.node,
                opcode: self.opcode,
                limit,
            };
            let answer = handle.timeout(left, self.pending.answer()).await;
            answer.map_err(|_| timeout)?
        };
        match answer {
            Some(Answer::Control { status, data, text }) => Ok(ControlAnswer {
                node: self.node,
                opcode: self.opcode,
                status,
                data,
                text,
            }),
            Some(Answer::Call { .. }) => Err(ClientError::BadAnswer {
                node: self.node,
                opcode: self.opcode,
                reason: "it is the answer to a call".to_owned(),
            }),
            None => Err(self.client.lost()),
        }
    }
}
