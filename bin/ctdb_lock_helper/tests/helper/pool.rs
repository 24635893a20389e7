//! ctdbd's side of a helper, for tests: it waits.

use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Mutex;

use ctdb_lockhelper::protocol::{Database, Frame, HEAD_LEN, Head, Reply, Request};
use nix::fcntl::{FcntlArg, FdFlag, fcntl};

pub const PROGRAM: &str = env!("CARGO_BIN_EXE_ctdb_lock_helper");

/// One at a time, so that no other child gets the descriptor that is meant for this one.
static STARTING: Mutex<()> = Mutex::new(());

/// Starts the command with a descriptor that it inherits.
pub fn spawn_with(fd: OwnedFd, command: &mut Command) -> Child {
    let _one = STARTING.lock().unwrap();
    fcntl(fd.as_fd(), FcntlArg::F_SETFD(FdFlag::empty())).unwrap();
    command.spawn().unwrap()
}

pub struct Helper {
    pub child: Child,
    pub socket: UnixStream,
}

impl Helper {
    pub fn start() -> Helper {
        Helper::start_for(std::process::id(), Stdio::inherit())
    }

    pub fn start_for(parent: u32, stderr: Stdio) -> Helper {
        let (socket, theirs) = UnixStream::pair().unwrap();
        let mut command = Command::new(PROGRAM);
        command
            .arg("--pool")
            .arg(theirs.as_raw_fd().to_string())
            .arg(parent.to_string());
        let child = spawn_with(theirs.into(), command.stderr(stderr).env("CTDB_NOSETSCHED", "1"));
        Helper { child, socket }
    }

    pub fn tell(&mut self, request: &Request<'_>) {
        let mut bytes = Vec::new();
        request.encode(&mut bytes).unwrap();
        self.socket.write_all(&bytes).unwrap();
    }

    pub fn reply(&mut self) -> Reply {
        let mut head = [0; HEAD_LEN];
        self.socket.read_exact(&mut head).unwrap();
        let head = Head::decode(head).unwrap();
        let mut body = vec![0; head.body_len];
        self.socket.read_exact(&mut body).unwrap();
        Reply::decode(Frame { head, body: &body }).unwrap()
    }

    pub fn ask(&mut self, request: &Request<'_>) -> Reply {
        self.tell(request);
        self.reply()
    }

    pub fn lock_record(&mut self, db: Database<'_>, key: &[u8]) -> Reply {
        self.ask(&Request::LockRecord { db, key })
    }

    /// Closes the socket and waits for the end.
    pub fn close(&mut self) -> ExitStatus {
        self.socket.shutdown(std::net::Shutdown::Both).unwrap();
        self.child.wait().unwrap()
    }

    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The text of a failure.
#[track_caller]
pub fn failure(reply: Reply) -> String {
    match reply {
        Reply::Failed(text) => text,
        other => panic!("expected a failure, got {other:?}"),
    }
}
