use std::sync::Arc;

use anyhow::Result;
use ctdb_client::{Client, ClientError, Database, DbKind, Transaction, g_lock};
use ctdb_harness::Cluster;
use ctdb_protocol::{DbFlags, Pnn, RecMode, Rsn};
use ctdb_runtime::Handle;

use super::cluster::{LIMIT, client};

const SEQNUM: &[u8] = b"__db_sequence_number__\0";

async fn attach(c: &Client, name: &str, kind: DbKind) -> Result<Database, ClientError> {
    Database::attach(c, name, kind, DbFlags::empty()).await
}

pub async fn a_commit_is_on_all_nodes_and_counts_the_sequence_number(
    handle: Handle,
    cluster: Arc<Cluster>,
) -> Result<()> {
    for (name, kind) in [
        ("commit_p.tdb", DbKind::Persistent),
        ("commit_r.tdb", DbKind::Replicated),
    ] {
        let a = client(&handle, &cluster, 0).await?;
        let db = attach(&a, name, kind).await?;
        for number in 1..=3u64 {
            let mut t = Transaction::start(&db, false).await?;
            t.store(b"key", b"first").await?;
            t.store(b"key", &number.to_le_bytes()).await?;
            t.store(b"other", b"same").await?;
            assert_eq!(t.fetch(b"key").await?, Some(number.to_le_bytes().to_vec()));
            t.commit().await?;
            assert_eq!(a.get_db_seqnum(Pnn(0), db.id(), LIMIT).await?, number);
        }
        for node in 0..3 {
            let c = client(&handle, &cluster, node).await?;
            let copy = attach(&c, name, kind).await?;
            let (header, value) = copy.fetch_local(b"key").await?.expect("the record is there");
            assert_eq!((value, header.dmaster), (3u64.to_le_bytes().to_vec(), Pnn(0)));
            assert_eq!(header.rsn, Rsn(6), "twice in each of three transactions");
            let (header, value) = copy.fetch_local(b"other").await?.expect("the record is there");
            assert_eq!((value.as_slice(), header.rsn), (&b"same"[..], Rsn(1)));
            let (_, number) = copy.fetch_local(SEQNUM).await?.expect("the number is there");
            assert_eq!(number, 3u64.to_le_bytes());
        }
    }
    Ok(())
}

pub async fn debians_tool_and_our_client_see_each_others_commits(
    handle: Handle,
    cluster: Arc<Cluster>,
) -> Result<()> {
    let c = client(&handle, &cluster, 1).await?;
    let db = attach(&c, "both.tdb", DbKind::Persistent).await?;
    let mut t = Transaction::start(&db, false).await?;
    t.store(b"ours", b"from the client").await?;
    t.commit().await?;
    let fetched = cluster.node(2).ctdb(&["pfetch", "both.tdb", "ours"])?.ok()?;
    assert_eq!(fetched.text().trim_end(), "from the client");
    let tool = cluster.node(0);
    tool.ctdb(&["pstore", "both.tdb", "theirs", "from the tool"])?
        .ok()?;
    let t = Transaction::start(&db, true).await?;
    assert_eq!(t.fetch(b"theirs").await?.as_deref(), Some(&b"from the tool"[..]));
    assert_eq!(t.fetch(b"nothing").await?, None);
    t.commit().await?;
    assert_eq!(c.get_db_seqnum(Pnn(1), db.id(), LIMIT).await?, 2);
    Ok(())
}

pub async fn a_cancelled_dropped_or_empty_transaction_changes_nothing_and_unlocks(
    handle: Handle,
    cluster: Arc<Cluster>,
) -> Result<()> {
    let c = client(&handle, &cluster, 0).await?;
    let db = attach(&c, "nothing.tdb", DbKind::Persistent).await?;
    let mut t = Transaction::start(&db, false).await?;
    t.store(b"key", b"value").await?;
    t.cancel().await?;
    let mut t = Transaction::start(&db, false).await?;
    t.store(b"key", b"value").await?;
    drop(t);
    let mut t = Transaction::start(&db, false).await?;
    t.delete(b"missing").await?;
    t.commit().await?;
    let mut t = Transaction::start(&db, true).await?;
    assert!(matches!(
        t.store(b"key", b"value").await,
        Err(ClientError::InvalidUse(_))
    ));
    t.commit().await?;
    assert!(db.fetch_local(b"key").await?.is_none());
    assert_eq!(c.get_db_seqnum(Pnn(0), db.id(), LIMIT).await?, 0);
    let locks = g_lock::attach(&c).await?;
    let name = format!("transaction_db_{}", db.id());
    assert!(g_lock::holders(&locks, &name).await?.is_empty());
    Ok(())
}

pub async fn a_deleted_record_is_gone_for_transactions(handle: Handle, cluster: Arc<Cluster>) -> Result<()> {
    let c = client(&handle, &cluster, 0).await?;
    let db = attach(&c, "delete.tdb", DbKind::Persistent).await?;
    let mut t = Transaction::start(&db, false).await?;
    t.store(b"key", b"value").await?;
    t.commit().await?;
    let mut t = Transaction::start(&db, false).await?;
    t.delete(b"key").await?;
    assert_eq!(t.fetch(b"key").await?, None);
    t.commit().await?;
    let t = Transaction::start(&db, true).await?;
    assert_eq!(t.fetch(b"key").await?, None);
    t.cancel().await?;
    Ok(())
}

pub async fn transactions_of_three_nodes_do_not_lose_an_update_even_in_a_recovery(
    handle: Handle,
    cluster: Arc<Cluster>,
) -> Result<()> {
    let mut tasks = Vec::new();
    for node in 0..3 {
        let c = client(&handle, &cluster, node).await?;
        tasks.push(handle.spawn(async move {
            let db = attach(&c, "count.tdb", DbKind::Persistent).await?;
            for _ in 0..10 {
                let mut t = Transaction::start(&db, false).await?;
                let old = t.fetch(b"count").await?;
                let old = old.and_then(|value| value.first().copied()).unwrap_or(0);
                t.store(b"count", &[old + 1]).await?;
                t.commit().await?;
            }
            Ok::<(), ClientError>(())
        }));
    }
    let c = client(&handle, &cluster, 0).await?;
    c.set_recmode(Pnn(1), RecMode::Active, LIMIT).await?; // the leader will find out and recover
    for task in tasks {
        task.await?;
    }
    for node in 0..3 {
        let c = client(&handle, &cluster, node).await?;
        let (_, value) = attach(&c, "count.tdb", DbKind::Persistent)
            .await?
            .fetch_local(b"count")
            .await?
            .expect("the record is there");
        assert_eq!(value, [30], "node {node}");
    }
    Ok(())
}

pub async fn a_volatile_database_has_no_transactions(handle: Handle, cluster: Arc<Cluster>) -> Result<()> {
    let c = client(&handle, &cluster, 0).await?;
    let db = attach(&c, "moves.tdb", DbKind::Volatile).await?;
    let started = Transaction::start(&db, false).await;
    assert!(matches!(started.err(), Some(ClientError::InvalidUse(_))));
    Ok(())
}

pub async fn the_tour_of_the_example_goes_to_its_end(handle: Handle, cluster: Arc<Cluster>) -> Result<()> {
    for node in cluster.nodes() {
        crate::tour::tour(&handle, &node.socket()).await?;
    }
    Ok(())
}
