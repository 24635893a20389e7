//! One helper process as this daemon sees it: a request goes out, its answer comes back.

use std::io;
use std::rc::Rc;

use ctdb_lockhelper::protocol::{Frame, FrameError, HEAD_LEN, Head, Reply, Request};
use ctdb_runtime::{Child, Signal, Stream};

use crate::Daemon;

/// The program's file name.
const PROGRAM: &str = "ctdb_lock_helper";

/// Why a helper did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum HelperError {
    /// It cannot be started, or its socket failed: it has died.
    #[error("lock helper: {0}")]
    Io(#[from] io::Error),
    /// It is of another build, or the request is too long for it.
    #[error("lock helper: {0}")]
    Frame(#[from] FrameError),
    /// It tried and could not.
    #[error("{0}")]
    Failed(String),
}

/// A running helper.
pub struct Helper {
    child: Child,
    stream: Stream,
    /// Reused for what goes out.
    out: Vec<u8>,
}

impl Helper {
    /// Starts one. It ends when this value, and with it the socket, is dropped.
    ///
    /// # Errors
    /// The program is not there or can't be run.
    pub fn start(d: &Rc<Daemon>) -> io::Result<Helper> {
        let path = d.settings.paths.helper(PROGRAM);
        let mut program = d.program(&path);
        let socket = program.socket_to_child();
        let program = program.arg("--pool").arg_pipe(socket).arg(d.rt.pid().to_string());
        let mut child = d
            .rt
            .spawn_program(program)
            .map_err(|error| io::Error::new(error.kind(), format!("starting {}: {error}", path.display())))?;
        let stream = child
            .take_pipe(socket)
            .expect("the socket pair was asked for above");
        log::debug!("Lock helper started, pid {}", child.pid());
        Ok(Helper {
            child,
            stream,
            out: Vec::new(),
        })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.pid()
    }

    /// Ends it at once, whatever it is doing. Its locks go with it.
    pub fn kill(&self) {
        if let Err(error) = self.child.kill(Signal::SIGKILL) {
            log::debug!("Lock helper {} has already ended: {error}", self.child.pid());
        }
    }

    /// Sends a request and waits for its answer, however long.
    ///
    /// # Errors
    /// The helper died, or talks nonsense.
    pub async fn ask(&mut self, request: &Request<'_>) -> Result<Reply, HelperError> {
        self.out.clear();
        request.encode(&mut self.out)?;
        self.stream.write_all(&self.out).await?;
        let mut head = [0; HEAD_LEN];
        self.stream.read_exact(&mut head).await?;
        let head = Head::decode(head)?;
        let mut body = vec![0; head.body_len];
        self.stream.read_exact(&mut body).await?;
        Ok(Reply::decode(Frame { head, body: &body })?)
    }

    /// The same for requests that are answered OK or why not.
    ///
    /// # Errors
    /// Also when the answer is anything but OK.
    pub async fn order(&mut self, request: &Request<'_>) -> Result<(), HelperError> {
        match self.ask(request).await? {
            Reply::Ok => Ok(()),
            Reply::Busy => Err(HelperError::Failed("it is locked by another process".to_owned())),
            Reply::Failed(text) | Reply::Corrupt(text) => Err(HelperError::Failed(text)),
        }
    }

    /// Whether it has not ended. To be asked of one that owes no answer.
    pub fn lives(&self) -> bool {
        matches!(self.stream.try_read(&mut [0]), Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }

    /// Resolves when the helper has died. Only to be waited for between requests.
    pub fn died(&self) -> impl Future<Output = ()> + use<> {
        let stream = self.stream.clone();
        async move {
            loop {
                stream.readable().await;
                match stream.try_read(&mut [0]) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    // The end, or a broken socket; it never says anything on its own.
                    _ => return,
                }
            }
        }
    }
}
