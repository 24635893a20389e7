use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::rc::Rc;
use std::sync::Arc;

use anyhow::Result;
use ctdb_client::{Access, ClientError, Database, DbKind};
use ctdb_harness::Cluster;
use ctdb_protocol::{DbFlags, LtdbHeader, Pnn};
use ctdb_runtime::Handle;

use super::cluster::client;

pub async fn a_record_moves_to_who_locks_it_and_back_with_its_data(
    handle: Handle,
    cluster: Arc<Cluster>,
) -> Result<()> {
    let mut databases = Vec::new();
    for node in 0..2 {
        let c = client(&handle, &cluster, node).await?;
        databases.push(Database::attach(&c, "moves.tdb", DbKind::Volatile, DbFlags::empty()).await?);
    }
    for round in 0..20u64 {
        for (node, db) in databases.iter().enumerate() {
            let mut record = db.fetch_lock(b"record", Access::Write).await?;
            let expected = round * 2 + node as u64;
            let seen = record.data().first_chunk().map_or(0, |b| u64::from_le_bytes(*b));
            assert_eq!(seen, expected);
            assert_eq!(record.header().dmaster, Pnn(node as u32));
            record.store(&(expected + 1).to_le_bytes())?;
            assert_eq!(record.data(), (expected + 1).to_le_bytes());
        }
    }
    Ok(())
}

pub async fn a_deleted_record_is_empty_for_the_next_node(
    handle: Handle,
    cluster: Arc<Cluster>,
) -> Result<()> {
    let (a, b) = (
        client(&handle, &cluster, 0).await?,
        client(&handle, &cluster, 1).await?,
    );
    let here = Database::attach(&a, "deleted.tdb", DbKind::Volatile, DbFlags::empty()).await?;
    let there = Database::attach(&b, "deleted.tdb", DbKind::Volatile, DbFlags::empty()).await?;
    here.fetch_lock(b"k", Access::Write).await?.store(b"value")?;
    assert_eq!(there.fetch_lock(b"k", Access::Write).await?.data(), b"value");
    here.fetch_lock(b"k", Access::Write).await?.delete().await?;
    let (_, value) = here.fetch_local(b"k").await?.expect("an empty record is left");
    assert!(value.is_empty());
    assert!(there.fetch_lock(b"k", Access::ReadOnly).await?.data().is_empty());
    Ok(())
}

pub async fn tasks_of_one_process_have_a_record_in_turn(handle: Handle, cluster: Arc<Cluster>) -> Result<()> {
    let c = client(&handle, &cluster, 0).await?;
    let db = Database::attach(&c, "turns.tdb", DbKind::Volatile, DbFlags::empty()).await?;
    let mut tasks = Vec::new();
    for _ in 0..50 {
        let (db, handle) = (db.clone(), handle.clone());
        tasks.push(handle.clone().spawn(async move {
            let mut record = db.fetch_lock(b"count", Access::Write).await?;
            let seen = record.data().first().copied().unwrap_or(0);
            handle.yield_now().await; // others would see the same now
            record.store(&[seen + 1])
        }));
    }
    for task in tasks {
        task.await?;
    }
    assert_eq!(db.fetch_lock(b"count", Access::Write).await?.data(), [50]);
    Ok(())
}

pub async fn a_read_only_copy_may_be_read_but_not_changed(
    handle: Handle,
    cluster: Arc<Cluster>,
) -> Result<()> {
    let (a, b) = (
        client(&handle, &cluster, 0).await?,
        client(&handle, &cluster, 1).await?,
    );
    let here = Database::attach(&a, "copies.tdb", DbKind::Volatile, DbFlags::READONLY).await?;
    let there = Database::attach(&b, "copies.tdb", DbKind::Volatile, DbFlags::empty()).await?;
    here.fetch_lock(b"k", Access::Write).await?.store(b"value")?;
    let mut copy = there.fetch_lock(b"k", Access::ReadOnly).await?;
    assert_eq!(copy.data(), b"value");
    assert_ne!(
        copy.header().dmaster,
        Pnn(1),
        "a copy, not the record: {:?}",
        copy.header()
    );
    assert!(matches!(copy.store(b"other"), Err(ClientError::InvalidUse(_))));
    assert!(matches!(copy.delete().await, Err(ClientError::InvalidUse(_))));
    Ok(())
}

pub async fn a_walk_over_the_local_copy_shows_every_record(
    handle: Handle,
    cluster: Arc<Cluster>,
) -> Result<()> {
    let c = client(&handle, &cluster, 0).await?;
    let db = Database::attach(&c, "walk.tdb", DbKind::Volatile, DbFlags::empty()).await?;
    let expected: BTreeMap<Vec<u8>, Vec<u8>> = (0..300u32)
        .map(|number| {
            (
                format!("key {number}").into_bytes(),
                number.to_le_bytes().to_vec(),
            )
        })
        .collect();
    for (key, value) in &expected {
        db.fetch_lock(key, Access::Write).await?.store(value)?;
    }
    let mut seen = BTreeMap::new();
    let shown = db
        .traverse_local(|key, header, value| {
            assert_eq!(header.dmaster, Pnn(0));
            seen.insert(key.to_vec(), value.to_vec());
            ControlFlow::Continue(())
        })
        .await?;
    assert_eq!(shown, 300);
    assert_eq!(seen, expected);
    let mut left = 10;
    db.traverse_local(|_, _, _| {
        left -= 1;
        if left == 0 {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    })
    .await?;
    assert_eq!(left, 0);
    Ok(())
}

pub async fn records_of_persistent_databases_and_records_without_key_cannot_be_locked(
    handle: Handle,
    cluster: Arc<Cluster>,
) -> Result<()> {
    let c = client(&handle, &cluster, 0).await?;
    let p = Database::attach(&c, "no_locks.tdb", DbKind::Persistent, DbFlags::empty()).await?;
    let error = p.fetch_lock(b"k", Access::Write).await.err();
    assert!(matches!(error, Some(ClientError::InvalidUse(_))), "{error:?}");
    let v = Database::attach(&c, "moves.tdb", DbKind::Volatile, DbFlags::empty()).await?;
    let error = v.fetch_lock(b"", Access::Write).await.err();
    assert!(matches!(error, Some(ClientError::InvalidUse(_))), "{error:?}");
    Ok(())
}

pub async fn a_walk_over_the_cluster_shows_each_record_once_and_deleted_ones_if_asked(
    handle: Handle,
    cluster: Arc<Cluster>,
) -> Result<()> {
    let mut databases = Vec::new();
    for node in 0..3 {
        let c = client(&handle, &cluster, node).await?;
        databases.push(Database::attach(&c, "cluster_walk.tdb", DbKind::Volatile, DbFlags::empty()).await?);
    }
    for number in 0..30u8 {
        let db = &databases[usize::from(number % 3)];
        db.fetch_lock(&[number], Access::Write).await?.store(b"value")?;
    }
    databases[2]
        .fetch_lock(&[2], Access::Write)
        .await?
        .delete()
        .await?;
    for (deleted_too, expected) in [(false, 29), (true, 30)] {
        let seen = Rc::new(RefCell::new(Vec::new()));
        let visit = {
            let seen = seen.clone();
            move |key: &[u8], header: LtdbHeader, _: &[u8]| seen.borrow_mut().push((key[0], header.dmaster.0))
        };
        let c = databases[0].client();
        let shown = c.traverse(databases[0].id(), deleted_too, visit).await?;
        let mut seen = seen.take();
        seen.sort_unstable();
        assert_eq!((shown, seen.len()), (expected, expected));
        assert!(
            seen.iter().all(|&(key, dmaster)| u32::from(key % 3) == dmaster),
            "{seen:?}"
        );
        assert_eq!(seen.iter().any(|&(key, _)| key == 2), deleted_too);
    }
    Ok(())
}
