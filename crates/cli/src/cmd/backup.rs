//! Backups of databases, and replacing what is in one on all nodes at once.

use std::fs::OpenOptions;
use std::ops::ControlFlow;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use ctdb_protocol::{
    DbFlags, DbId, Generation, LtdbHeader, Pnn, PullDbExt, RecMode, Request, Srvid, SrvidRange, TransDb, Wire,
};
use ctdb_runtime::sync::Notify;
use libc::{EINVAL, EIO};

use crate::args::Args;
use crate::cmd::backup_file::{BackupReader, BackupWriter};
use crate::cmd::databases::{attach, find};
use crate::cmd::recovery::generation;
use crate::commands::Alone;
use crate::console::out;
use crate::context::{Context, mention};
use crate::failure::{Failure, OrSay, Outcome, Usage};
use crate::show::{records as show, times};

pub(crate) async fn backupdb(cx: &Context, args: &Args<'_>) -> Outcome {
    args.want(2..=2)?;
    let found = find(cx, &args.text(0)).await?;
    let db = found.attach(cx).await?;
    let path = Path::new(&args.words()[1]);
    let shown = path.display();
    let errno = |error: &std::io::Error| error.raw_os_error().unwrap_or(EIO);
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path);
    let file = file
        .map_err(|error| Failure::coded(errno(&error), format!("Failed to open file {shown} for writing")))?;
    let no_header = |error: std::io::Error| {
        Failure::coded(errno(&error), format!("Failed to write header to file {shown}"))
    };
    let mut backup = BackupWriter::new(file, found.id).map_err(no_header)?;

    let mut failed = None;
    let walked = db
        .traverse_local(|key, header, value| match backup.add(key, &header, value) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                failed = Some(error);
                ControlFlow::Break(())
            }
        })
        .await;
    let collect = || format!("Failed to collect records from DB {}", found.name);
    if let Some(error) = failed {
        let failure = Failure::coded(errno(&error), "Failed to write records to backup file");
        return Err(failure.and(collect()));
    }
    walked.or_say(collect)?;
    let now_s = cx.handle().wall_clock().secs;
    backup
        .finish(&found.name, found.flags, now_s)
        .map_err(no_header)?;
    out(&format!("Database backed up to {shown}\n"));
    Ok(0)
}

pub(crate) fn dumpdbbackup(_: &Alone, args: &Args<'_>) -> Outcome {
    // Upstream looks up its usage by a name that the command does not have, and shows all of it.
    args.want(1..=1).map_err(|_| Failure::usage(Usage::Full))?;
    let mut backup = BackupReader::open(Path::new(&args.words()[0]))?;
    let header = backup.header.clone();
    let name = String::from_utf8_lossy(&header.name).into_owned();
    out(&format!(
        "Dumping database {name} from backup @ {}\n",
        times::date(header.time_s)
    ));
    let mut count = 0;
    for _ in 0..header.buffers {
        let unread =
            |error: std::io::Error| Failure::coded(EIO, error.to_string()).and("Failed to read records");
        let buffer = backup.next_buffer().map_err(unread)?;
        for record in &buffer.records(DbId(0)).map_err(unread)? {
            let parts: Option<(LtdbHeader, &[u8])> = record.header_and_value();
            let (of, value) = parts.ok_or_else(|| Failure::coded(EINVAL, "Failed to dump records"))?;
            out(&show::record(record.key, &of, value));
            count += 1;
        }
    }
    out(&format!("Dumped {count} record(s)\n"));
    Ok(0)
}

pub(crate) async fn restoredb(cx: &Context, args: &Args<'_>) -> Outcome {
    args.want(1..=2)?;
    let mut backup = BackupReader::open(Path::new(&args.words()[0]))?;
    let header = backup.header.clone();
    let name = match args.get(1) {
        Some(name) => name.into_owned(),
        None => String::from_utf8_lossy(&header.name).into_owned(),
    };
    out(&format!(
        "Restoring database {name} from backup @ {}\n",
        times::date(header.time_s)
    ));
    let kind =
        header.flags & (DbFlags::PERSISTENT | DbFlags::REPLICATED | DbFlags::READONLY | DbFlags::STICKY);
    let db = attach(cx, &name, kind)
        .await
        .or_say(|| format!("Failed to attach to DB {name}"))?;
    let replacement = Replacement::prepare(cx, db.id()).await?;
    let replaced = async {
        replacement.begin().await?;
        replacement.push(&mut backup).await?;
        replacement.end().await
    };
    replacement.settle(replaced.await).await?;
    out(&format!("Database {name} restored\n"));
    Ok(0)
}

pub(crate) async fn wipedb(cx: &Context, args: &Args<'_>) -> Outcome {
    args.want(1..=1)?;
    let found = find(cx, &args.text(0)).await?;
    let _open = found.attach(cx).await?;
    let replacement = Replacement::prepare(cx, found.id).await?;
    let replaced = async {
        replacement.begin().await?;
        replacement.end().await
    };
    replacement.settle(replaced.await).await?;
    out(&format!("Database {} wiped\n", found.name));
    Ok(0)
}

/// A database whose records are replaced on all active nodes, as a recovery does it. A failure ends in a real one.
struct Replacement<'a> {
    cx: &'a Context,
    nodes: Vec<Pnn>,
    transaction: TransDb,
}

impl<'a> Replacement<'a> {
    async fn prepare(cx: &'a Context, db_id: DbId) -> Result<Replacement<'a>, Failure> {
        let nodemap = cx.nodemap().await.or_say(|| "Failed to get nodemap".to_owned())?;
        let generation = generation(cx, &Notify::new()).await;
        let Generation(tid) = generation.or_say(|| "Failed to get current generation".to_owned())?;
        Ok(Replacement {
            cx,
            nodes: Context::active(&nodemap),
            transaction: TransDb { db_id, tid },
        })
    }

    /// Nobody uses the database any more, and it is empty.
    async fn begin(&self) -> Result<(), Failure> {
        self.all(Request::DbFreeze(self.transaction.db_id)).await?;
        self.all(Request::DbTransactionStart(self.transaction)).await?;
        self.all(Request::WipeDatabase(self.transaction)).await
    }

    /// The records go to all nodes, which confirm their number.
    async fn push(&self, backup: &mut BackupReader) -> Result<(), Failure> {
        let db_id = self.transaction.db_id;
        let tool = Srvid::range_base(SrvidRange::Tool).map_or(0, |srvid| srvid.0);
        let srvid = Srvid(tool | 2 << 48);
        // C's tool has 0 for the location master here; it has no meaning.
        self.all(Request::DbPushStart(PullDbExt {
            db_id,
            lmaster: 0,
            srvid,
        }))
        .await?;
        for _ in 0..backup.header.buffers {
            let unread = |error: std::io::Error| Failure::coded(EIO, error.to_string());
            let buffer = backup.next_buffer().map_err(unread)?;
            let records = buffer.records(db_id).map_err(unread)?;
            for &node in &self.nodes {
                self.cx
                    .client
                    .send_message_with(node, srvid, |out| records.encode(out))?;
            }
            self.cx.client.flush().await?;
        }
        for &node in &self.nodes {
            let came = self
                .cx
                .client
                .db_push_confirm(node, db_id, self.cx.limit())
                .await?;
            let sent = backup.header.records;
            if u64::from(came) != sent {
                let line = format!("Node {} received {came} of {sent} records", node.0);
                return Err(Failure::coded(EIO, line));
            }
        }
        Ok(())
    }

    /// The database is whole and in use again.
    async fn end(&self) -> Result<(), Failure> {
        let db_id = self.transaction.db_id;
        self.all(Request::DbSetHealthy(db_id)).await?;
        self.all(Request::DbTransactionCommit(self.transaction)).await?;
        self.all(Request::DbThaw(db_id)).await
    }

    async fn settle(&self, result: Result<(), Failure>) -> Result<(), Failure> {
        if result.is_err() {
            // What is half done, a recovery puts in order.
            let (client, own) = (&self.cx.client, self.cx.client.pnn());
            if let Err(error) = client.set_recmode(own, RecMode::Active, self.cx.limit()).await {
                mention(&error.into());
            }
        }
        result
    }

    /// The same to all nodes; the first failure counts.
    async fn all(&self, request: Request<'_>) -> Result<(), Failure> {
        let results = self
            .cx
            .client
            .control_all(&self.nodes, &request, self.cx.limit())
            .await;
        for (node, result) in results {
            result.or_say(|| format!("node {}: {} failed", node.0, request.opcode()))?;
        }
        Ok(())
    }
}
