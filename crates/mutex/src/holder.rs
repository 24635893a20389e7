//! The daemons' side: start the helper, hear the outcome, know when the lock is lost.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use ctdb_runtime::sync::Notify;
use ctdb_runtime::{Child, Handle, Io, Program, Signal, Stream, Task};

use crate::spec::{LockCommand, Outcome};

/// How long a helper that has failed may take to say why.
const REASON_LIMIT: Duration = Duration::from_millis(500);

/// A line of a helper that never ends is cut here.
const LINE_LEN_MAX: usize = 1024;

/// The cluster lock of one node.
pub struct ClusterLock;

/// What became of an attempt to take the lock.
pub enum LockAttempt {
    /// It is held until this value is dropped, or lost.
    Taken(LockHeld),
    /// Another process holds it.
    Contended,
    /// The helper gave up, or did not answer within the limit.
    Timeout,
    /// The helper could not be started, or could not try; why, as far as it said so.
    Failed(String),
}

impl ClusterLock {
    /// Tries to take the lock with the helper `command`; an answer that takes longer than `limit` is a timeout.
    ///
    /// Dropping this future gives the lock back, taken or not.
    pub async fn try_take(handle: &Handle, command: &LockCommand, limit: Duration) -> LockAttempt {
        let helper = match Helper::start(handle, command) {
            Ok(helper) => helper,
            Err(error) => {
                return LockAttempt::Failed(format!("{} does not start: {error}", command.program.display()));
            }
        };
        let mut byte = [0];
        let first = match handle.timeout(limit, helper.stdout.read(&mut byte)).await {
            Ok(Ok(1)) => Some(byte[0]),
            Ok(_) => None,
            Err(_) => return LockAttempt::Timeout,
        };
        match Outcome::from_first_byte(first) {
            Outcome::Taken => LockAttempt::Taken(LockHeld { helper }),
            Outcome::Contended => LockAttempt::Contended,
            Outcome::TimedOut => LockAttempt::Timeout,
            Outcome::Failed => LockAttempt::Failed(helper.reason().await),
        }
    }
}

/// The lock while we hold it. Dropping it gives the lock back.
pub struct LockHeld {
    helper: Helper,
}

impl LockHeld {
    /// Returns when the lock is lost: the helper has closed its pipe. The text is why, as far as it said so.
    pub async fn lost(&self) -> String {
        let mut ignored = [0; 64];
        // What follows the first byte has no meaning.
        while matches!(self.helper.stdout.read(&mut ignored).await, Ok(n) if n > 0) {}
        self.helper.reason().await
    }

    /// The process that holds the lock.
    pub fn helper_pid(&self) -> u32 {
        self.helper.child.pid()
    }
}

struct Helper {
    handle: Handle,
    child: Child,
    stdout: Stream,
    last_words: Rc<LastWords>,
    // Dropping it ends the listening.
    _listener: Option<Task<()>>,
}

impl Helper {
    fn start(handle: &Handle, command: &LockCommand) -> std::io::Result<Helper> {
        let program = Program::new(&command.program)
            .args(&command.args)
            .stdin(Io::Null)
            .stdout(Io::Pipe)
            .stderr(Io::Pipe);
        let mut child = handle.spawn_program(program)?;
        let last_words = Rc::new(LastWords::default());
        // A pipe that nobody empties would stop a talkative helper one day.
        let listener = child
            .stderr()
            .map(|stderr| handle.spawn(listen(stderr, last_words.clone())));
        let Some(stdout) = child.stdout() else {
            unreachable!("a pipe was asked for, so that there is one")
        };
        Ok(Helper {
            handle: handle.clone(),
            child,
            stdout,
            last_words,
            _listener: listener,
        })
    }

    /// What it said last, after a short wait for the end of its words.
    async fn reason(&self) -> String {
        let said_all = async {
            while !self.last_words.ended.get() {
                self.last_words.end.notified().await;
            }
        };
        // A process that it has left behind may keep the pipe open.
        let _ = self.handle.timeout(REASON_LIMIT, said_all).await;
        match self.last_words.line.borrow().as_str() {
            "" => "the lock helper gave no reason".to_owned(),
            line => line.to_owned(),
        }
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        // An error says that it has ended already, and the lock with it.
        let _ = self.child.kill(Signal::SIGTERM);
    }
}

#[derive(Default)]
struct LastWords {
    line: RefCell<String>,
    ended: Cell<bool>,
    end: Notify,
}

/// Logs what the helper says, line by line.
async fn listen(stderr: Stream, last_words: Rc<LastWords>) {
    let mut pending = Vec::new();
    let mut chunk = [0; 512];
    while let Ok(n @ 1..) = stderr.read(&mut chunk).await {
        pending.extend_from_slice(&chunk[..n]);
        while let Some(end) = pending.iter().position(|&byte| byte == b'\n') {
            let line: Vec<u8> = pending.drain(..=end).collect();
            note(&line, &last_words);
        }
        if pending.len() > LINE_LEN_MAX {
            note(&std::mem::take(&mut pending), &last_words);
        }
    }
    note(&pending, &last_words);
    last_words.ended.set(true);
    last_words.end.notify_all();
}

fn note(line: &[u8], last_words: &LastWords) {
    let text = String::from_utf8_lossy(line);
    let text = text.trim();
    if !text.is_empty() {
        log::warn!("Cluster lock helper: {text}");
        text.clone_into(&mut last_words.line.borrow_mut());
    }
}
