use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use ctdb_client::{Client, ClientError, Database, DbKind};
use ctdb_harness::Cluster;
use ctdb_protocol::{ControlFlags, DbFlags, EchoData, Opcode, Pnn, RecMode, Reply, Request, Runstate};
use ctdb_runtime::Handle;
use ctdb_tdb::TdbFlags;

use super::cluster::{LIMIT, client};

pub async fn every_question_about_a_node_is_answered_by_something_that_decodes(
    handle: Handle,
    cluster: Arc<Cluster>,
) -> Result<()> {
    let c = client(&handle, &cluster, 0).await?;
    assert_eq!(c.pnn(), Pnn(0));
    for to in [Pnn(0), Pnn(2), Pnn::CURRENT] {
        let number = if to == Pnn::CURRENT { Pnn(0) } else { to };
        let node = cluster.node(number.0 as usize);
        assert_eq!(c.get_pnn(to, LIMIT).await?, number);
        assert_eq!(Some(c.get_pid(to, LIMIT).await?), node.pid());
        assert!(c.ping(to, LIMIT).await? >= 1);
        assert_eq!(c.get_recmode(to, LIMIT).await?, RecMode::Normal);
        assert_eq!(c.get_runstate(to, LIMIT).await?, Runstate::Running);
        let map = c.get_nodemap(to, LIMIT).await?;
        assert_eq!(map.nodes.len(), 3);
        assert!(map.nodes.iter().all(|node| node.flags.is_active()), "{map:?}");
        assert_eq!(c.get_nodes_file(to, LIMIT).await?.nodes.len(), 3);
        let vnnmap = c.get_vnnmap(to, LIMIT).await?;
        assert_eq!(vnnmap.map.len(), 3);
        assert!(vnnmap.generation.is_valid());
        assert!(c.statistics(to, LIMIT).await?.num_clients >= 1);
        assert_eq!(c.get_stat_history(to, LIMIT).await?.history.len(), 100);
        let uptime = c.uptime(to, LIMIT).await?;
        assert!(uptime.current_time >= uptime.ctdbd_start_time);
        assert_eq!(c.get_capabilities(to, LIMIT).await?.bits(), 0x30003);
        let level = c.get_debug(to, LIMIT).await?;
        c.set_debug(to, level, LIMIT).await?;
        assert!(!c.dump_memory(to, LIMIT).await?.is_empty());
        assert_eq!(c.get_ban_state(to, LIMIT).await?.time_s, 0);
        let lock_file = cluster.lock_file().display().to_string();
        assert_eq!(c.get_reclock_file(to, LIMIT).await?, Some(lock_file));
        assert!(c.get_public_ips(to, LIMIT).await?.ips.is_empty());
        assert!(c.get_available_public_ips(to, LIMIT).await?.ips.is_empty());
        c.get_ifaces(to, LIMIT).await?;
        c.get_dbmap(to, LIMIT).await?;
        c.recd_ping(to, LIMIT).await?;
        c.recd_reclock_latency(to, 0.25, LIMIT).await?;
        c.statistics_reset(to, LIMIT).await?;
    }
    Ok(())
}

pub async fn tunables_are_listed_read_and_set(handle: Handle, cluster: Arc<Cluster>) -> Result<()> {
    let c = client(&handle, &cluster, 1).await?;
    let names = c.list_tunables(Pnn(1), LIMIT).await?;
    let all = c.get_all_tunables(Pnn(1), LIMIT).await?;
    for name in &names {
        assert_eq!(
            Some(c.get_tunable(Pnn(1), name, LIMIT).await?),
            all.get(name),
            "{name}"
        );
    }
    assert!(c.set_tunable(Pnn(1), "RecoverTimeout", 60, LIMIT).await?);
    assert!(!c.set_tunable(Pnn(1), "MaxRedirectCount", 3, LIMIT).await?);
    let error = c
        .get_tunable(Pnn(1), "NoSuch", LIMIT)
        .await
        .expect_err("there is no such tunable");
    assert!(
        matches!(
            error,
            ClientError::Status {
                node: Pnn(1),
                opcode: Opcode::GET_TUNABLE,
                status: -22,
                ..
            }
        ),
        "{error}"
    );
    Ok(())
}

pub async fn a_database_of_each_kind_is_attached_and_described(
    handle: Handle,
    cluster: Arc<Cluster>,
) -> Result<()> {
    let c = client(&handle, &cluster, 0).await?;
    let kinds = [
        ("kind_v.tdb", DbKind::Volatile, "db/volatile/kind_v.tdb.0"),
        ("kind_p.tdb", DbKind::Persistent, "db/persistent/kind_p.tdb.0"),
        ("kind_r.tdb", DbKind::Replicated, "db/volatile/kind_r.tdb.0"),
    ];
    for (name, kind, path) in kinds {
        let db = Database::attach(&c, name, kind, DbFlags::empty()).await?;
        assert_eq!(db.path(), cluster.node(0).base().join(path));
        assert_eq!((db.name(), db.kind()), (name, kind));
        let me = c.pnn();
        assert_eq!(c.get_dbname(me, db.id(), LIMIT).await?, name);
        let map = c.get_dbmap(me, LIMIT).await?;
        let entry = map.databases.iter().find(|entry| entry.db_id == db.id());
        assert_eq!(entry.map(|entry| DbKind::from_flags(entry.flags)), Some(kind));
        let flags = c.db_open_flags(me, db.id(), LIMIT).await?;
        assert_eq!(
            flags.contains(TdbFlags::CLEAR_IF_FIRST),
            kind != DbKind::Persistent
        );
        assert_eq!(c.db_get_health(me, db.id(), LIMIT).await?, None);
        assert_eq!(c.get_db_seqnum(me, db.id(), LIMIT).await?, 0);
        c.db_statistics(me, db.id(), LIMIT).await?;
        assert!(db.fetch_local(b"nothing").await?.is_none());
        let again = Database::attach(&c, name, kind, DbFlags::empty()).await?;
        assert_eq!(again.id(), db.id());
    }
    let other_kind = Database::attach(&c, "kind_v.tdb", DbKind::Persistent, DbFlags::empty()).await;
    assert!(matches!(other_kind.err(), Some(ClientError::InvalidUse(_))));
    Ok(())
}

pub async fn flags_of_a_database_are_set_on_all_nodes(handle: Handle, cluster: Arc<Cluster>) -> Result<()> {
    let c = client(&handle, &cluster, 0).await?;
    let flags = DbFlags::READONLY | DbFlags::STICKY;
    let db = Database::attach(&c, "flagged.tdb", DbKind::Volatile, flags).await?;
    for node in 0..3 {
        let map = c.get_dbmap(Pnn(node), LIMIT).await?;
        let entry = map.databases.iter().find(|entry| entry.db_id == db.id());
        assert_eq!(entry.map(|entry| entry.flags), Some(flags), "node {node}");
    }
    Ok(())
}

pub async fn many_controls_under_way_find_their_answers(handle: Handle, cluster: Arc<Cluster>) -> Result<()> {
    let c = client(&handle, &cluster, 0).await?;
    let mut tasks = Vec::new();
    for number in 0..500u32 {
        let c = c.clone();
        tasks.push(handle.spawn(async move {
            let data = vec![number as u8; number as usize];
            let request = Request::EchoData(EchoData {
                timeout: 0,
                data: &data,
            });
            let answer = c.control(Pnn(number % 3), &request, LIMIT).await?;
            match answer.reply()? {
                Reply::EchoData(echo) => assert_eq!(echo.data, data),
                other => panic!("{other:?}"),
            }
            Ok::<(), ClientError>(())
        }));
    }
    for task in tasks {
        task.await?;
    }
    Ok(())
}

pub async fn a_control_to_many_nodes_is_answered_or_refused_by_each(
    handle: Handle,
    cluster: Arc<Cluster>,
) -> Result<()> {
    let c = client(&handle, &cluster, 2).await?;
    let nodes = [Pnn(2), Pnn(7), Pnn(0)];
    let results = c.control_all(&nodes, &Request::GetPnn, LIMIT).await;
    let status = |index: usize| results[index].1.as_ref().map(|answer| answer.status).ok();
    assert_eq!(results.iter().map(|(node, _)| *node).collect::<Vec<_>>(), nodes);
    assert_eq!((status(0), status(1), status(2)), (Some(2), None, Some(0)));
    assert!(
        results[1].1.as_ref().is_err_and(ClientError::is_refusal),
        "{:?}",
        results[1]
    );
    Ok(())
}

pub async fn raw_status_flags_and_controls_without_answer_work_too(
    handle: Handle,
    cluster: Arc<Cluster>,
) -> Result<()> {
    let c = client(&handle, &cluster, 0).await?;
    let answer = c
        .control_raw(Pnn(0), &Request::DbThaw(ctdb_protocol::DbId(1)), LIMIT)
        .await?;
    assert_ne!(answer.status, 0);
    let id = c
        .attach(
            Pnn(1),
            DbKind::Volatile,
            "by_flag.tdb",
            ControlFlags::ATTACH_RECOVERY,
            LIMIT,
        )
        .await?;
    assert_eq!(c.get_dbname(Pnn(1), id, LIMIT).await?, "by_flag.tdb");
    c.control_noreply(Pnn(0), &Request::RecdPing)?;
    c.flush().await?;
    assert_eq!(c.queued_bytes(), 0);
    assert!(
        c.process_exists(Pnn(0), handle.pid().cast_signed(), LIMIT)
            .await?
    );
    assert!(
        !c.process_exists(Pnn(1), handle.pid().cast_signed(), LIMIT)
            .await?
    );
    assert!(!c.process_exists(Pnn(9), 1, LIMIT).await?);
    Ok(())
}

pub async fn no_answer_in_time_is_a_timeout_and_no_daemon_a_disconnect(
    handle: Handle,
    cluster: Arc<Cluster>,
) -> Result<()> {
    let c = client(&handle, &cluster, 1).await?;
    cluster.node(1).pause()?;
    let short = Duration::from_millis(50);
    let error = c.ping(Pnn(1), short).await;
    cluster.node(1).resume()?;
    assert!(
        matches!(error, Err(ClientError::Timeout { node: Pnn(1), .. })),
        "{error:?}"
    );
    // The late answer disturbs nobody.
    assert!(c.ping(Pnn(1), LIMIT).await? >= 1);
    let nobody = Client::connect(&handle, &cluster.dir().join("no.socket")).await;
    assert!(matches!(nobody.err(), Some(ClientError::Connect { .. })));
    Ok(())
}
