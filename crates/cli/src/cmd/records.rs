//! Records of volatile databases, and lists of the records of any database.

use std::cell::Cell;
use std::ops::ControlFlow;
use std::rc::Rc;

use ctdb_client::{Access, ClientError, Database};
use ctdb_protocol::LtdbHeader;

use crate::args::Args;
use crate::cmd::databases::{Found, find};
use crate::cmd::values;
use crate::console::{out, out_bytes};
use crate::context::Context;
use crate::failure::{Failure, OrSay, Outcome};
use crate::show::records as show;

pub(crate) async fn cattdb(cx: &Context, args: &Args<'_>) -> Outcome {
    args.want(1..=1)?;
    let db = find(cx, &args.text(0)).await?.attach(cx).await?;
    let mut count = 0;
    let walked = db
        .traverse_local(|key, header, value| {
            count += 1;
            out(&show::record(key, &header, value));
            ControlFlow::Continue(())
        })
        .await;
    out(&format!("Dumped {count} record(s)\n"));
    walked?;
    Ok(0)
}

/// The walk over all nodes; how many records came is said even if it fails.
pub(crate) async fn catdb(cx: &Context, args: &Args<'_>) -> Outcome {
    args.want(1..=1)?;
    let found = find(cx, &args.text(0)).await?;
    let _open = found.attach(cx).await?;
    let count = Rc::new(Cell::new(0u32));
    let walked = traverse(cx, &found, count.clone()).await;
    out(&format!("Dumped {} records\n", count.get()));
    walked.map(|()| 0)
}

/// Deleted records, which are empty, are not shown.
async fn traverse(cx: &Context, db: &Found, count: Rc<Cell<u32>>) -> Result<(), Failure> {
    let show_record = move |key: &[u8], header: LtdbHeader, value: &[u8]| {
        count.set(count.get() + 1);
        out(&show::record(key, &header, value));
    };
    // How long a traverse may take is the daemon's business: it ends it, too.
    match cx.client.traverse(db.id, false, show_record).await {
        Ok(_) => Ok(()),
        Err(ClientError::Status { status, .. }) => Err(Failure::coded(
            status,
            format!("traverse: control reply failed, ret={status}"),
        )),
        Err(error) => {
            let errno = error.errno();
            Err(Failure::coded(
                errno,
                format!("traverse: control failed, ret={errno}"),
            ))
        }
    }
}

pub(crate) async fn readkey(cx: &Context, args: &Args<'_>) -> Outcome {
    args.want(2..=3)?;
    let access = match args.get(2).as_deref() {
        None => Access::Write,
        Some("readonly") => Access::ReadOnly,
        Some(_) => return Err(args.usage()),
    };
    let db = volatile(cx, args).await?;
    let key = values::bytes(args.bytes(1), "key")?;
    let record = db.fetch_lock(&key, access).await;
    let record = record.or_say(|| format!("Failed to read record for key {}", args.text(1)))?;
    out(&format!("Data: size:{} ptr:[", record.data().len()));
    out_bytes(show::until_nul(record.data()));
    out("]\n");
    Ok(0)
}

pub(crate) async fn writekey(cx: &Context, args: &Args<'_>) -> Outcome {
    args.want(3..=3)?;
    let db = volatile(cx, args).await?;
    let key = values::bytes(args.bytes(1), "key")?;
    let value = values::bytes(args.bytes(2), "value")?;
    // Upstream names the database here.
    let record = db.fetch_lock(&key, Access::Write).await;
    let mut record = record.or_say(|| format!("Failed to lock record for key {}", args.text(0)))?;
    record
        .store(&value)
        .or_say(|| format!("Failed to store record for key {}", args.text(1)))?;
    Ok(0)
}

pub(crate) async fn deletekey(cx: &Context, args: &Args<'_>) -> Outcome {
    args.want(2..=2)?;
    let db = volatile(cx, args).await?;
    let key = values::bytes(args.bytes(1), "key")?;
    let record = db.fetch_lock(&key, Access::Write).await;
    let record = record.or_say(|| format!("Failed to fetch record for key {}", args.text(1)))?;
    let deleted = record.delete().await;
    deleted.or_say(|| format!("Failed to delete record for key {}", args.text(1)))?;
    Ok(0)
}

/// The database of the line, opened, if its records can be locked.
async fn volatile(cx: &Context, args: &Args<'_>) -> Result<Database, Failure> {
    let found = find(cx, &args.text(0)).await?;
    if found.has_transactions() {
        return Err(Failure::said(format!(
            "DB {} is not a volatile database",
            found.name
        )));
    }
    found.attach(cx).await
}
