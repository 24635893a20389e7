//! Many records: complete afterwards on all nodes, and nobody waits meanwhile.

use std::cell::Cell;
use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use ctdb_client::Client;
use ctdb_harness::{Binaries, Cluster, Helper, require_peer};
use ctdb_protocol::{
    DbId, LtdbHeader, Pnn, PullDbExt, Reader, RecBuffer, RecBufferWriter, Reply, Request, Rsn, Srvid, Text,
    TransDb, Wire,
};
use ctdb_runtime::Runtime;

const LIMIT: Duration = Duration::from_secs(60);
const RECORDS: u32 = 200_000;
const VALUE: [u8; 400] = [b'v'; 400];
/// Far above what a slice takes in a build without optimization on a busy machine, far below what one go would.
const SILENCE_MAX: Duration = Duration::from_millis(300);

fn key(n: u32) -> Vec<u8> {
    format!("record number {n}").into_bytes()
}

/// Puts records into one node's copy of a database, as `ctdb restoredb` does.
async fn fill(client: &Client, db: DbId) -> Result<()> {
    let (me, transaction, at) = (
        client.pnn(),
        TransDb { db_id: db, tid: 77 },
        Srvid::recovery(0x5000_0000),
    );
    client.control(me, &Request::DbFreeze(db), LIMIT).await?;
    client
        .control(me, &Request::DbTransactionStart(transaction), LIMIT)
        .await?;
    client
        .control(me, &Request::WipeDatabase(transaction), LIMIT)
        .await?;
    client
        .control(me, &Request::DbPushStart(PullDbExt::new(db, at)), LIMIT)
        .await?;
    let mut buffer = RecBufferWriter::new(db);
    for n in 0..RECORDS {
        buffer.push(0, &key(n), &LtdbHeader::new(Rsn(1), me), &VALUE);
        if buffer.len() > 1 << 20 || n == RECORDS - 1 {
            client.send_message(me, at, buffer.as_bytes())?;
            client.drained(1 << 20).await?;
            buffer.clear();
        }
    }
    let answer = client.control(me, &Request::DbPushConfirm(db), LIMIT).await?;
    ensure!(answer.reply()? == Reply::DbPushConfirm(RECORDS));
    client
        .control(me, &Request::DbTransactionCommit(transaction), LIMIT)
        .await?;
    client.control(me, &Request::DbThaw(db), LIMIT).await?;
    Ok(())
}

/// What a node has: number of records, and whether all have the value.
async fn pull(client: &Client, node: Pnn, db: DbId) -> Result<(u32, u32)> {
    let at = Srvid::recovery(0x5000_0001 + node.0);
    let good = Rc::new(Cell::new(0));
    let counter = good.clone();
    let _registration = client
        .on_message(at, move |_, data| {
            let Ok(buffer) = RecBuffer::decode(&mut Reader::new(data)) else {
                return;
            };
            let right = buffer
                .iter()
                .filter(|r| r.header_and_value().is_some_and(|(_, value)| value == VALUE));
            counter.set(counter.get() + right.count() as u32);
        })
        .await?;
    client.control(node, &Request::DbFreeze(db), LIMIT).await?;
    // The C daemon can read a frozen database only in a transaction; the thaw cancels it.
    let transaction = TransDb { db_id: db, tid: 78 };
    client
        .control(node, &Request::DbTransactionStart(transaction), LIMIT)
        .await?;
    let answer = client
        .control(node, &Request::DbPull(PullDbExt::new(db, at)), LIMIT)
        .await?;
    client.control(node, &Request::DbThaw(db), LIMIT).await?;
    match answer.reply()? {
        Reply::DbPull(count) => Ok((count, good.get())),
        other => anyhow::bail!("{other:?}"),
    }
}

/// Asks a node something small all the time; the longest that it took.
async fn longest_silence(client: Client, worst: Rc<Cell<Duration>>) {
    loop {
        let asked = Instant::now();
        if client.control(client.pnn(), &Request::Ping, LIMIT).await.is_err() {
            return;
        }
        worst.set(asked.elapsed().max(worst.get()));
        client.handle().sleep(Duration::from_millis(1)).await;
    }
}

#[test]
fn a_large_database_comes_back_on_all_nodes_while_ours_keep_answering() -> Result<()> {
    let Some(debian) = require_peer() else {
        return Ok(());
    };
    let ours = Binaries::ours()?.with_tool_of(&debian);
    let leader = debian.with_helper(
        Helper::Recovery,
        Path::new(env!("CARGO_BIN_EXE_ctdb_recovery_helper")),
    );
    let cluster = Cluster::builder()
        .nodes(1, &leader)
        .nodes(2, &ours)
        .tunable("AllowMixedVersions", 1)
        .tunable("RerecoveryTimeout", 1)
        .build()?;
    cluster.start()?;
    cluster.wait_healthy(LIMIT)?;

    let runtime = Runtime::new()?;
    let handle = runtime.handle();
    runtime.block_on(async {
        let first = Client::connect(&handle, &cluster.node(1).socket()).await?;
        let answer = first
            .control(first.pnn(), &Request::DbAttach(Text::from("large.tdb")), LIMIT)
            .await?;
        let Reply::DbAttach(db) = answer.reply()? else {
            anyhow::bail!("no database")
        };
        fill(&first, db).await.context("filling the database")?;
        let (count, good) = pull(&first, first.pnn(), db).await?;
        ensure!(
            (count, good) == (RECORDS, RECORDS),
            "after filling: {count} records, {good} good"
        );

        let mut worst = Vec::new();
        let mut watches = Vec::new();
        for pnn in [1, 2] {
            let client = Client::connect(&handle, &cluster.node(pnn).socket()).await?;
            worst.push(Rc::new(Cell::new(Duration::ZERO)));
            watches.push(handle.spawn(longest_silence(client, worst[pnn - 1].clone())));
        }
        let began = Instant::now();
        let before = cluster.generation()?;
        // The leader finds an ACTIVE node and recovers.
        first
            .control(
                first.pnn(),
                &Request::SetRecmode(ctdb_protocol::RecMode::Active),
                LIMIT,
            )
            .await?;
        loop {
            let answer = first.control(first.pnn(), &Request::GetRecmode, LIMIT).await?;
            if answer.status == 0 && cluster.generation()? != before {
                break;
            }
            ensure!(
                began.elapsed() < LIMIT,
                "no recovery within {LIMIT:?}\n{}",
                cluster.log_tails(30)
            );
            handle.sleep(Duration::from_millis(10)).await;
        }
        println!("recovered after {:?}, worst answers {worst:?}", began.elapsed());
        drop(watches);
        for worst in worst {
            ensure!(worst.get() < SILENCE_MAX, "a ping waited {:?}", worst.get());
        }
        for node in 0..3 {
            let (count, good) = pull(&first, Pnn(node), db)
                .await
                .with_context(|| cluster.log_tails(25))?;
            ensure!(
                (count, good) == (RECORDS, RECORDS),
                "node {node}: {count} records, {good} good"
            );
        }
        Ok(())
    })
}
