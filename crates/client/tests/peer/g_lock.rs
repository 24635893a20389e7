use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use ctdb_client::ClientError;
use ctdb_client::g_lock::{self, LockType};
use ctdb_harness::Cluster;
use ctdb_runtime::{Handle, Runtime};

use super::cluster::client;

pub async fn only_one_of_two_nodes_has_a_write_lock(handle: Handle, cluster: Arc<Cluster>) -> Result<()> {
    let inside = Rc::new(Cell::new(0));
    let mut tasks = Vec::new();
    for node in 0..2 {
        let c = client(&handle, &cluster, node).await?;
        let (handle, inside) = (handle.clone(), inside.clone());
        tasks.push(handle.clone().spawn(async move {
            let locks = g_lock::attach(&c).await?;
            for _ in 0..20 {
                let owner = g_lock::new_owner(&c, 1);
                let held = g_lock::lock(&locks, "two nodes", owner, LockType::Write).await?;
                assert_eq!(inside.replace(1), 0);
                handle.sleep(Duration::from_millis(2)).await;
                inside.set(0);
                held.unlock().await?;
            }
            Ok::<(), ClientError>(())
        }));
    }
    for task in tasks {
        task.await?;
    }
    Ok(())
}

pub async fn readers_share_and_a_writer_waits_for_the_last_of_them(
    handle: Handle,
    cluster: Arc<Cluster>,
) -> Result<()> {
    let (a, b) = (
        client(&handle, &cluster, 0).await?,
        client(&handle, &cluster, 1).await?,
    );
    let (here, there) = (g_lock::attach(&a).await?, g_lock::attach(&b).await?);
    let owner = g_lock::new_owner(&a, 1);
    let first = g_lock::lock(&here, "shared", owner, LockType::Read).await?;
    let again = g_lock::lock(&here, "shared", owner, LockType::Read).await;
    assert!(matches!(again.err(), Some(ClientError::LockedBySelf(_))));
    let second = g_lock::lock(&there, "shared", g_lock::new_owner(&b, 1), LockType::Read).await?;
    assert_eq!(g_lock::holders(&here, "shared").await?.len(), 2);

    let (writer, there) = (g_lock::new_owner(&b, 2), there.clone());
    let got = Rc::new(Cell::new(false));
    let task = handle.spawn({
        let got = got.clone();
        async move {
            let held = g_lock::lock(&there, "shared", writer, LockType::Write).await?;
            got.set(true);
            held.unlock().await
        }
    });
    drop(first); // unlocks in a task
    while g_lock::holders(&here, "shared").await?.len() > 1 {
        handle.sleep(Duration::from_millis(1)).await;
    }
    assert!(!got.get());
    second.unlock().await?;
    task.await?;
    assert!(got.get());
    assert!(g_lock::holders(&here, "shared").await?.is_empty());
    Ok(())
}

pub async fn the_entry_of_a_dead_client_is_removed_by_the_next_who_locks(
    handle: Handle,
    cluster: Arc<Cluster>,
) -> Result<()> {
    let c = client(&handle, &cluster, 0).await?;
    let locks = g_lock::attach(&c).await?;
    let socket = cluster.node(1).socket();
    // Another runtime that stops turning with the lock held: what is left of a process that was killed.
    let dead = std::thread::spawn(move || -> Result<_, ClientError> {
        let runtime = Runtime::new().expect("a reactor");
        let held = runtime.block_on(async {
            let c = ctdb_client::Client::connect(&runtime.handle(), &socket).await?;
            let owner = g_lock::new_owner(&c, 1);
            g_lock::lock(&g_lock::attach(&c).await?, "of the dead", owner, LockType::Write).await
        })?;
        let owner = held.owner();
        drop(held); // wants to unlock in a task, which never runs
        Ok(owner)
    });
    let dead = dead.join().expect("the thread ends")?;
    let holders = g_lock::holders(&locks, "of the dead").await?;
    assert_eq!(
        holders.iter().map(|holder| holder.server_id).collect::<Vec<_>>(),
        [dead]
    );
    let owner = g_lock::new_owner(&c, 1);
    let held = g_lock::lock(&locks, "of the dead", owner, LockType::Write).await?;
    let holders = g_lock::holders(&locks, "of the dead").await?;
    assert_eq!(
        holders.iter().map(|holder| holder.server_id).collect::<Vec<_>>(),
        [owner]
    );
    held.unlock().await?;
    Ok(())
}

pub async fn a_record_of_smbd_is_left_alone(handle: Handle, cluster: Arc<Cluster>) -> Result<()> {
    let c = client(&handle, &cluster, 0).await?;
    let locks = g_lock::attach(&c).await?;
    let smbd = [1u8; 52];
    locks
        .fetch_lock(b"by smbd\0", ctdb_client::Access::Write)
        .await?
        .store(&smbd)?;
    let error = g_lock::lock(&locks, "by smbd", g_lock::new_owner(&c, 1), LockType::Write)
        .await
        .err();
    assert!(matches!(error, Some(ClientError::BadRecord { .. })), "{error:?}");
    let record = locks.fetch_lock(b"by smbd\0", ctdb_client::Access::Write).await?;
    assert_eq!(record.data(), smbd);
    Ok(())
}
