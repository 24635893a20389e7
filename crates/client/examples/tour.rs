//! A tour of the client library against a running daemon:
//!
//! ```text
//! cargo run -p ctdb-client --example tour -- /run/ctdb/ctdbd.socket
//! ```
//!
//! It attaches two databases of its own, `tour_volatile.tdb` and `tour_persistent.tdb`, which stay in the cluster.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use ctdb_client::g_lock::{self, LockType};
use ctdb_client::{Access, Client, Database, DbKind, Transaction};
use ctdb_protocol::{DbFlags, Pnn, Request, Srvid};
use ctdb_runtime::{Handle, Runtime};

const LIMIT: Duration = Duration::from_secs(5);

fn main() -> Result<()> {
    let socket = std::env::args_os()
        .nth(1)
        .context("usage: tour <socket of ctdbd>")?;
    let runtime = Runtime::new()?;
    let handle = runtime.handle();
    runtime.block_on(tour(&handle, &PathBuf::from(socket)))
}

/// All of it; a test of the crate takes it too.
pub async fn tour(handle: &Handle, socket: &std::path::Path) -> Result<()> {
    let client = Client::connect(handle, socket).await?;
    println!("connected to node {}", client.pnn());
    nodes(&client).await?;
    messages(&client).await?;
    records(&client).await?;
    locks(&client).await?;
    transaction(&client).await
}

/// A typed control to the own node, and one control to all others at once.
async fn nodes(client: &Client) -> Result<()> {
    let map = client.get_nodemap(client.pnn(), LIMIT).await?;
    let connected: Vec<Pnn> = map
        .nodes
        .iter()
        .filter(|node| node.flags.is_connected())
        .map(|node| node.pnn)
        .collect();
    for (node, answer) in client.control_all(&connected, &Request::GetPid, LIMIT).await {
        match answer {
            Ok(answer) => println!("node {node}: process {}", answer.status),
            Err(error) => println!("{error}"),
        }
    }
    Ok(())
}

/// A message to ourselves. The daemon delivers it before it answers a later control.
async fn messages(client: &Client) -> Result<()> {
    let service = Srvid(0xce00_0000_0000_0000 | u64::from(client.handle().pid()));
    let registration = client
        .on_message(service, |from, data| {
            println!("message to {from}: {}", data.escape_ascii());
        })
        .await?;
    client.send_message(client.pnn(), service, b"hello")?;
    client.ping(client.pnn(), LIMIT).await?;
    drop(registration);
    Ok(())
}

/// A counter that any node may raise.
async fn records(client: &Client) -> Result<()> {
    let db = Database::attach(client, "tour_volatile.tdb", DbKind::Volatile, DbFlags::empty()).await?;
    let mut record = db.fetch_lock(b"visits", Access::Write).await?;
    let visits = record.data().first_chunk().map_or(0, |b| u64::from_le_bytes(*b)) + 1;
    record.store(&visits.to_le_bytes())?;
    println!("{}: visit {visits}, record {:?}", db.name(), record.header());
    drop(record);
    let shown = client
        .traverse(db.id(), false, |key, _, value| {
            println!("  {} = {}", key.escape_ascii(), value.escape_ascii());
        })
        .await?;
    println!("{}: {shown} records in the cluster", db.name());
    Ok(())
}

async fn locks(client: &Client) -> Result<()> {
    let locks = g_lock::attach(client).await?;
    let owner = g_lock::new_owner(client, 0);
    let held = g_lock::lock(&locks, "tour", owner, LockType::Write).await?;
    println!(
        "holders of the lock: {:?}",
        g_lock::holders(&locks, "tour").await?
    );
    held.unlock().await?;
    Ok(())
}

async fn transaction(client: &Client) -> Result<()> {
    let db = Database::attach(
        client,
        "tour_persistent.tdb",
        DbKind::Persistent,
        DbFlags::empty(),
    )
    .await?;
    let mut transaction = Transaction::start(&db, false).await?;
    let last = transaction.fetch(b"last visit by process").await?;
    println!(
        "{}: the last one here was process {}",
        db.name(),
        last.unwrap_or_default().escape_ascii()
    );
    let pid = client.handle().pid().to_string();
    transaction
        .store(b"last visit by process", pid.as_bytes())
        .await?;
    transaction.commit().await?;
    let number = client.get_db_seqnum(client.pnn(), db.id(), LIMIT).await?;
    println!("{}: sequence number {number}", db.name());
    Ok(())
}
