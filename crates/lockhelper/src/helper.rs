//! The helper's loop: a request, the work, a reply.

use std::io::{self, BufReader, Read, Write};
use std::os::unix::net::UnixStream;

use ctdb_tdb::ErrorCode;

use crate::databases::{Databases, failed};
use crate::protocol::{Frame, FrameError, HEAD_LEN, Head, Reply, Request};
use crate::recover::Recover;
use crate::update::update_records;
use crate::watch;

/// Why a helper ended before its time.
#[derive(Debug, thiserror::Error)]
pub enum HelperError {
    /// ctdbd sent something that is no request.
    #[error("ctdbd sent nonsense: {0}")]
    Frame(#[from] FrameError),
    /// The socket failed, or ended within a request.
    #[error("the socket to ctdbd failed: {0}")]
    Socket(#[from] io::Error),
}

/// A body buffer above this is given back after its request.
const BUFFER_KEPT_LEN_MAX: usize = 1 << 20;

/// Serves ctdbd, process `parent`, until it closes the socket or dies.
///
/// # Errors
/// See [`HelperError`]; the caller ends the process, and with it all locks.
pub fn run(socket: UnixStream, parent: u32) -> Result<(), HelperError> {
    if !watch::die_with(parent)? {
        log::info!("lock helper: ctdbd (pid {parent}) is gone before the first request; ending");
        return Ok(());
    }
    watch::end_at_close(&socket)?;
    let mut work = Work::default();
    // Small requests come in one read; the body of a large one goes around the buffer.
    let mut requests = BufReader::new(&socket);
    let mut body = Vec::new();
    let mut out = Vec::new();
    while let Some(head) = read_frame(&mut requests, &mut body)? {
        let reply = work.serve(Request::decode(Frame { head, body: &body })?);
        reply.encode(&mut out);
        (&socket).write_all(&out)?;
        out.clear();
        if body.capacity() > BUFFER_KEPT_LEN_MAX {
            body = Vec::new();
        }
    }
    Ok(())
}

/// Reads the next frame; `None` at the end of the stream. The body's memory grows with what arrives.
fn read_frame(requests: &mut impl Read, body: &mut Vec<u8>) -> Result<Option<Head>, HelperError> {
    let mut head = [0; HEAD_LEN];
    match requests.read(&mut head)? {
        0 => return Ok(None),
        n => requests.read_exact(&mut head[n..])?,
    }
    let head = Head::decode(head)?;
    body.clear();
    let n = requests.take(head.body_len as u64).read_to_end(body)?;
    if n < head.body_len {
        return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
    }
    Ok(Some(head))
}

/// What a helper has in hand.
#[derive(Default)]
struct Work {
    recover: Recover,
    databases: Databases,
}

impl Work {
    fn serve(&mut self, request: Request<'_>) -> Reply {
        match request {
            Request::Ping => Reply::Ok,
            Request::LockRecord { db, key } => self.databases.lock_record(&db, key),
            Request::UnlockRecord => self.databases.unlock_record(),
            Request::TryLockDb { db } => self.databases.try_lock_db(&db),
            Request::LockDb { db } => self.databases.lock_db(&db),
            Request::UnlockDb { path } => self.databases.unlock_db(path),
            Request::UpdateRecords { db, rules, records } => match self.databases.get(&db) {
                Ok(tdb) => update_records(&tdb, &rules, records),
                Err(error) => failed(&error),
            },
            Request::RecoverBegin { db, rules, wipe } => match self.databases.get(&db) {
                Ok(tdb) => self.recover.begin(&tdb, rules, wipe),
                Err(error) => failed(&error),
            },
            Request::RecoverRecords { records } => self.recover.records(records),
            Request::RecoverCommit => self.recover.commit(),
            Request::RecoverCancel => self.recover.cancel(),
            Request::Check { db } => match self.databases.get(&db) {
                Ok(tdb) => check(&tdb),
                Err(error) => failed(&error),
            },
            Request::Sync { db } => match self.databases.get(&db).and_then(|tdb| tdb.sync_data()) {
                Ok(()) => Reply::Ok,
                Err(error) => failed(&error),
            },
            Request::Close { path } => self.databases.close(path),
        }
    }
}

fn check(tdb: &ctdb_tdb::Tdb) -> Reply {
    match tdb.check() {
        Ok(()) => Reply::Ok,
        // libtdb could not look; that says nothing about the file.
        Err(error) if matches!(error.code, ErrorCode::Lock | ErrorCode::OutOfMemory) => failed(&error),
        Err(error) => Reply::Corrupt(error.to_string()),
    }
}
