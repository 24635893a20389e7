//! Asking the event daemon: one connection, one request, one reply.

use std::io;
use std::path::{Path, PathBuf};

use ctdb_protocol::WireError;
use ctdb_runtime::{Handle, Stream};

use crate::proto::{self, REPLY_LEN_MAX, Reply, Request, Run, Status};

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens.
    #[error("connecting to the event daemon at {path}: {error}", path = path.display())]
    Connect {
        /// Its socket.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// The connection broke: the daemon was ended, or it closed the connection.
    #[error("the event daemon went away: {0}")]
    Gone(io::Error),
    /// It answered with something that is no reply.
    #[error("the event daemon sent a malformed reply: {0}")]
    Malformed(WireError),
    /// It answered another request.
    #[error("the event daemon answered command {got}, not {asked}")]
    Mismatch {
        /// What was asked.
        asked: u32,
        /// What was answered.
        got: u32,
    },
}

// Not `#[from]`: the messages above tell the cause already, and a chain of causes would tell it twice.
impl From<io::Error> for ClientError {
    fn from(error: io::Error) -> Self {
        ClientError::Gone(error)
    }
}

impl From<WireError> for ClientError {
    fn from(error: WireError) -> Self {
        ClientError::Malformed(error)
    }
}

/// Runs an event and waits for its end. The answer is 0 or an errno: ETIMEDOUT, ECANCELED (a `monitor` had to make room),
/// ENOEXEC (a script failed), ENOENT (no such component) and others.
///
/// # Errors
/// There is no answer. The event may have run all the same.
pub async fn run(handle: &Handle, socket: &Path, run: Run) -> Result<i32, ClientError> {
    Ok(ask(handle, socket, &Request::Run(run)).await?.result)
}

/// How an event ended last time; the inner error is an errno: EINVAL if it has never run, ENOENT if there is no such component.
///
/// # Errors
/// There is no answer.
pub async fn status(
    handle: &Handle,
    socket: &Path,
    component: &str,
    event: &str,
) -> Result<Result<Status, i32>, ClientError> {
    let request = Request::Status {
        component: Some(component.to_owned()),
        event: Some(event.to_owned()),
    };
    let reply = ask(handle, socket, &request).await?;
    Ok(reply.status.ok_or(reply.result))
}

/// Has the daemon enable or disable a script; the answer is 0 or an errno.
///
/// # Errors
/// There is no answer.
pub async fn script(
    handle: &Handle,
    socket: &Path,
    component: &str,
    script: &str,
    enable: bool,
) -> Result<i32, ClientError> {
    let request = Request::Script {
        component: Some(component.to_owned()),
        script: Some(script.to_owned()),
        enable,
    };
    Ok(ask(handle, socket, &request).await?.result)
}

async fn ask(handle: &Handle, socket: &Path, request: &Request) -> Result<Reply, ClientError> {
    const REQID: u32 = 1;
    let stream = handle
        .connect_unix(socket)
        .await
        .map_err(|error| ClientError::Connect {
            path: socket.to_owned(),
            error,
        })?;
    stream.write_all(&request.encode(REQID)).await?;
    let (_, reply) = Reply::decode(&read_packet(&stream, REPLY_LEN_MAX).await??)?;
    let (asked, got) = (request.command(), reply.command);
    if asked == got {
        Ok(reply)
    } else {
        Err(ClientError::Mismatch { asked, got })
    }
}

/// Reads one packet; the inner error is a length that cannot be.
pub(crate) async fn read_packet(stream: &Stream, len_max: usize) -> io::Result<Result<Vec<u8>, WireError>> {
    let mut first = [0; 4];
    stream.read_exact(&mut first).await?;
    let len = match proto::packet_len(first, len_max) {
        Ok(len) => len,
        Err(error) => return Ok(Err(error)),
    };
    let mut packet = vec![0; len];
    packet[..first.len()].copy_from_slice(&first);
    stream.read_exact(&mut packet[first.len()..]).await?;
    Ok(Ok(packet))
}
