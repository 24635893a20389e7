//! Many records: complete afterwards on all nodes, and nobody waits meanwhile.

use std::cell::Cell;
use std::path::Path;
use std::rc::Rc;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use ctdb_client::Client;
use ctdb_harness::{Binaries, Cluster, ClusterBuilder, Helper, Process, require_peer, wait_until};
use ctdb_protocol::{
    DbId, LtdbHeader, Pnn, PullDbExt, Reader, RecBuffer, RecBufferWriter, RecMode, Reply, Request, Rsn,
    Srvid, Text, TransDb, Wire,
};
use ctdb_runtime::{Runtime, Signal};

const LIMIT: Duration = Duration::from_secs(60);
/// With keys and headers more than the 64 MiB that the recovery helper, and ctdbd, keep in memory.
const MANY: u32 = 160_000;
/// More than ctdbd writes in place.
const SOME: u32 = 30_000;
const VALUE: [u8; 400] = [b'v'; 400];
/// Far above what a slice takes in a build without optimization, far below what one go would. Whether a turn stays
/// within its milliseconds is for the benchmark on an idle machine.
const SILENCE_MAX: Duration = Duration::from_secs(1);
/// One at a time: each has many megabytes to move, and one measures.
static ALONE: Mutex<()> = Mutex::new(());

fn key(n: u32) -> Vec<u8> {
    format!("record number {n}").into_bytes()
}

/// Puts records into one node's copy of a database, as `ctdb restoredb` does.
async fn fill(client: &Client, db: DbId, records: u32) -> Result<()> {
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
    for n in 0..records {
        buffer.push(0, &key(n), &LtdbHeader::new(Rsn(1), me), &VALUE);
        if buffer.len() > 1 << 20 || n == records - 1 {
            client.send_message(me, at, buffer.as_bytes())?;
            client.drained(1 << 20).await?;
            buffer.clear();
        }
    }
    let answer = client.control(me, &Request::DbPushConfirm(db), LIMIT).await?;
    ensure!(answer.reply()? == Reply::DbPushConfirm(records));
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
        other => bail!("{other:?}"),
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

fn started(nodes: ClusterBuilder) -> Result<Cluster> {
    let cluster = nodes.tunable("RerecoveryTimeout", 1).build()?;
    cluster.start()?;
    cluster.wait_healthy(LIMIT)?;
    Ok(cluster)
}

/// Two of our nodes and one of Debian's, which has our helper in case that it leads.
fn mixed() -> Result<Option<Cluster>> {
    let Some(debian) = require_peer() else {
        return Ok(None);
    };
    let ours = Binaries::ours()?;
    let helper = Path::new(env!("CARGO_BIN_EXE_ctdb_recovery_helper"));
    let theirs = debian.with_helper(Helper::Recovery, helper);
    let nodes = Cluster::builder().nodes(1, &theirs).nodes(2, &ours);
    started(nodes.tunable("AllowMixedVersions", 1)).map(Some)
}

async fn with_records(client: &Client, records: u32) -> Result<DbId> {
    let attach = Request::DbAttach(Text::from("large.tdb"));
    let answer = client.control(client.pnn(), &attach, LIMIT).await?;
    let Reply::DbAttach(db) = answer.reply()? else {
        bail!("no database")
    };
    fill(client, db, records).await.context("filling the database")?;
    complete_on(client, &[client.pnn()], db, records).await?;
    Ok(db)
}

async fn complete_on(client: &Client, nodes: &[Pnn], db: DbId, records: u32) -> Result<()> {
    for node in nodes {
        let (count, good) = pull(client, *node, db).await?;
        ensure!(
            (count, good) == (records, records),
            "node {node}: {count} records, {good} good"
        );
    }
    Ok(())
}

/// The leader finds an ACTIVE node and recovers.
async fn want_recovery(client: &Client) -> Result<()> {
    let active = Request::SetRecmode(RecMode::Active);
    client.control(client.pnn(), &active, LIMIT).await?;
    Ok(())
}

async fn recovered(cluster: &Cluster, client: &Client, before: u32) -> Result<()> {
    let began = Instant::now();
    loop {
        let answer = client.control(client.pnn(), &Request::GetRecmode, LIMIT).await?;
        if answer.status == 0 && cluster.generation()? != before {
            return Ok(());
        }
        ensure!(
            began.elapsed() < LIMIT,
            "no recovery within {LIMIT:?}\n{}",
            cluster.log_tails(40)
        );
        client.handle().sleep(Duration::from_millis(10)).await;
    }
}

const ALL: [Pnn; 3] = [Pnn(0), Pnn(1), Pnn(2)];

#[test]
fn a_large_database_comes_back_on_all_nodes_while_ours_keep_answering() -> Result<()> {
    let _alone = ALONE.lock();
    let Some(cluster) = mixed()? else {
        return Ok(());
    };
    let runtime = Runtime::new()?;
    let handle = runtime.handle();
    runtime.block_on(async {
        let client = Client::connect(&handle, &cluster.node(1).socket()).await?;
        let db = with_records(&client, MANY).await?;
        let mut worst = Vec::new();
        let mut watches = Vec::new();
        for pnn in [1, 2] {
            let client = Client::connect(&handle, &cluster.node(pnn).socket()).await?;
            worst.push(Rc::new(Cell::new(Duration::ZERO)));
            watches.push(handle.spawn(longest_silence(client, worst[pnn - 1].clone())));
        }
        let before = cluster.generation()?;
        let began = Instant::now();
        want_recovery(&client).await?;
        recovered(&cluster, &client, before).await?;
        println!("recovered after {:?}, worst answers {worst:?}", began.elapsed());
        drop(watches);
        for worst in worst {
            ensure!(worst.get() < SILENCE_MAX, "a ping waited {:?}", worst.get());
        }
        complete_on(&client, &ALL, db, MANY)
            .await
            .with_context(|| cluster.log_tails(40))
    })
}

const RECOVERY: &str = "ctdb_recovery_helper";
const LOCK: &str = "ctdb_lock_helper";

/// What dies how long after the recovery began. A lock helper dies on each node, with all locks it has.
const DEATHS: [(&str, Duration); 4] = [
    (LOCK, Duration::from_millis(100)),
    (RECOVERY, Duration::from_millis(300)),
    (LOCK, Duration::from_millis(500)),
    (LOCK, Duration::from_millis(1000)),
];

fn processes_of(cluster: &Cluster, program: &str) -> Result<Vec<Process>> {
    let found: Vec<Process> = cluster
        .nodes()
        .iter()
        .flat_map(|node| node.processes_of(program))
        .collect();
    ensure!(!found.is_empty(), "no {program} runs");
    Ok(found)
}

#[test]
fn no_record_is_lost_whatever_helper_dies_in_a_recovery() -> Result<()> {
    let _alone = ALONE.lock();
    let cluster = started(Cluster::builder().nodes(3, &Binaries::ours()?))?;
    let runtime = Runtime::new()?;
    let handle = runtime.handle();
    runtime.block_on(async {
        let client = Client::connect(&handle, &cluster.node(1).socket()).await?;
        let db = with_records(&client, SOME).await?;
        for (program, after) in DEATHS {
            let before = cluster.generation()?;
            want_recovery(&client).await?;
            wait_until("a recovery helper", LIMIT, || processes_of(&cluster, RECOVERY))?;
            handle.sleep(after).await;
            for victim in processes_of(&cluster, program).unwrap_or_default() {
                println!("{program} (pid {}) dies after {after:?}", victim.pid);
                victim.signal(Signal::SIGKILL);
            }
            recovered(&cluster, &client, before).await?;
            cluster.wait_healthy(LIMIT)?;
        }
        complete_on(&client, &ALL, db, SOME)
            .await
            .with_context(|| cluster.log_tails(40))
    })
}
