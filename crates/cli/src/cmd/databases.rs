//! Databases as a whole: which there are, their properties.

use ctdb_client::{Database, DbKind};
use ctdb_protocol::{DbFlags, DbId, DbIdEntry};

use crate::args::Args;
use crate::console::out;
use crate::context::Context;
use crate::failure::{Failure, OrSay, Outcome};
use crate::numbers::strtoul;
use crate::show::databases::{self as show, DatabaseRow};

/// A database that the line names.
pub(crate) struct Found {
    pub(crate) id: DbId,
    pub(crate) name: String,
    pub(crate) flags: DbFlags,
}

impl Found {
    /// Whether it is changed by transactions.
    pub(crate) fn has_transactions(&self) -> bool {
        self.flags.intersects(DbFlags::PERSISTENT | DbFlags::REPLICATED)
    }

    /// Opens it.
    pub(crate) async fn attach(&self, cx: &Context) -> Result<Database, Failure> {
        attach(cx, &self.name, self.flags)
            .await
            .or_say(|| format!("Failed to attach to DB {}", self.name))
    }
}

/// Attaches within the limit of a control: a recovery can hold it up.
pub(crate) async fn attach(cx: &Context, name: &str, flags: DbFlags) -> Result<Database, Failure> {
    let attaching = Database::attach(&cx.client, name, DbKind::from_flags(flags), flags);
    cx.within(&format!("attaching {name}"), attaching).await
}

/// The database of this name, or of this number after `0x`.
pub(crate) async fn find(cx: &Context, text: &str) -> Result<Found, Failure> {
    let own = cx.client.pnn();
    let map = cx
        .client
        .get_dbmap(own, cx.limit())
        .await
        .map_err(|error| Failure::from(error).plain())?;
    let by_id = |id: DbId| map.databases.iter().find(|entry| entry.db_id == id).copied();
    let unknown = || Failure::said(format!("No database matching '{text}' found"));
    let name_of = async |entry: DbIdEntry| {
        let name = cx.client.get_dbname(own, entry.db_id, cx.limit()).await;
        name.map_err(|error| Failure::from(error).plain())
    };
    let (entry, name) = if text.starts_with("0x") {
        let id = strtoul(text, 0).map_err(|_| Failure::quiet(1))?;
        let entry = by_id(DbId(id)).ok_or_else(unknown)?;
        (entry, name_of(entry).await?)
    } else {
        // The number is the hash of the name; that it is this name is to be seen.
        let entry = by_id(DbId::of_name(text.as_bytes())).ok_or_else(unknown)?;
        let name = name_of(entry).await?;
        if name != text {
            return Err(unknown());
        }
        (entry, name)
    };
    Ok(Found {
        id: entry.db_id,
        name,
        flags: entry.flags,
    })
}

pub(crate) async fn getdbmap(cx: &Context, args: &Args<'_>) -> Outcome {
    args.want_none()?;
    let separator = cx.options.machine.then_some(cx.options.separator.as_str());
    let map = cx.client.get_dbmap(cx.node(), cx.limit()).await?;
    out(&show::head(map.databases.len(), separator));
    for entry in map.databases {
        let name = cx.client.get_dbname(cx.node(), entry.db_id, cx.limit()).await?;
        let row = row(cx, entry.db_id, name, entry.flags).await?;
        out(&show::line(&row, separator));
    }
    Ok(0)
}

pub(crate) async fn getdbstatus(cx: &Context, args: &Args<'_>) -> Outcome {
    args.want(1..=1)?;
    let db = find(cx, &args.text(0)).await?;
    let row = row(cx, db.id, db.name, db.flags).await?;
    out(&show::status(&row));
    Ok(0)
}

/// What there is to know about a database of a node.
async fn row(cx: &Context, id: DbId, name: String, flags: DbFlags) -> Result<DatabaseRow, Failure> {
    Ok(DatabaseRow {
        id,
        name,
        path: cx.client.get_dbpath(cx.node(), id, cx.limit()).await?,
        flags,
        trouble: cx.client.db_get_health(cx.node(), id, cx.limit()).await?,
    })
}

pub(crate) async fn getdbseqnum(cx: &Context, args: &Args<'_>) -> Outcome {
    args.want(1..=1)?;
    let db = find(cx, &args.text(0)).await?;
    let number = cx.client.get_db_seqnum(cx.node(), db.id, cx.limit()).await;
    let number = number.or_say(|| format!("Failed to get sequence number for DB {}", db.name))?;
    out(&format!("0x{number:x}\n"));
    Ok(0)
}

pub(crate) async fn setdbreadonly(cx: &Context, args: &Args<'_>) -> Outcome {
    let id = volatile(cx, args, "READONLY").await?;
    cx.client.set_db_readonly(cx.node(), id, cx.limit()).await?;
    Ok(0)
}

pub(crate) async fn setdbsticky(cx: &Context, args: &Args<'_>) -> Outcome {
    let id = volatile(cx, args, "STICKY").await?;
    cx.client.set_db_sticky(cx.node(), id, cx.limit()).await?;
    Ok(0)
}

/// The one database of the line, if it may have this property.
async fn volatile(cx: &Context, args: &Args<'_>, property: &str) -> Result<DbId, Failure> {
    args.want(1..=1)?;
    let db = find(cx, &args.text(0)).await?;
    if db.has_transactions() {
        return Err(Failure::said(format!(
            "{property} can be set only on volatile DB"
        )));
    }
    Ok(db.id)
}
