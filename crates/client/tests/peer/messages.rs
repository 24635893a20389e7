use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use anyhow::Result;
use ctdb_client::Client;
use ctdb_harness::Cluster;
use ctdb_protocol::{Pnn, Srvid};
use ctdb_runtime::Handle;
use ctdb_runtime::sync::{Receiver, unbounded};

use super::cluster::{LIMIT, client};

const SERVICE: Srvid = Srvid(0xae00_0000_0000_0001);

/// What a handler got; bounded by what the test sends.
async fn inbox(c: &Client, srvid: Srvid) -> Result<(ctdb_client::Registration, Receiver<Vec<u8>>)> {
    let (sender, receiver) = unbounded();
    let registration = c
        .on_message(srvid, move |_, data| {
            let _ = sender.try_send(data.to_vec());
        })
        .await?;
    Ok((registration, receiver))
}

pub async fn messages_go_from_node_to_node_in_order(handle: Handle, cluster: Arc<Cluster>) -> Result<()> {
    let (a, b) = (
        client(&handle, &cluster, 0).await?,
        client(&handle, &cluster, 1).await?,
    );
    let (registration, mut inbox) = inbox(&b, SERVICE).await?;
    assert_eq!(registration.srvid(), SERVICE);
    for number in 0..1000u32 {
        a.send_message(Pnn(1), SERVICE, &number.to_le_bytes())?;
    }
    for number in 0..1000u32 {
        assert_eq!(inbox.recv().await, Some(number.to_le_bytes().to_vec()));
    }
    Ok(())
}

pub async fn two_handlers_of_a_service_get_each_message_once_and_none_after_their_end(
    handle: Handle,
    cluster: Arc<Cluster>,
) -> Result<()> {
    let c = client(&handle, &cluster, 0).await?;
    let seen = Rc::new(RefCell::new(Vec::new()));
    let handler = |name: &'static str| {
        let seen = seen.clone();
        move |_: Srvid, data: &[u8]| seen.borrow_mut().push((name, data.to_vec()))
    };
    let first = c.on_message(SERVICE, handler("first")).await?;
    let second = c.on_message(SERVICE, handler("second")).await?;
    c.send_message(Pnn(0), SERVICE, b"1")?;
    c.ping(Pnn(0), LIMIT).await?; // a message to oneself is delivered before the answer of a later control
    drop(first);
    c.send_message(Pnn(0), SERVICE, b"2")?;
    c.ping(Pnn(0), LIMIT).await?;
    drop(second);
    c.send_message(Pnn(0), SERVICE, b"3")?;
    c.ping(Pnn(0), LIMIT).await?;
    let third = c.on_message(SERVICE, handler("third")).await?;
    c.send_message(Pnn(0), SERVICE, b"4")?;
    c.ping(Pnn(0), LIMIT).await?;
    drop(third);
    let seen: Vec<_> = seen
        .borrow()
        .iter()
        .map(|(name, data)| format!("{name} {}", data[0] - b'0'))
        .collect();
    assert_eq!(seen, ["first 1", "second 1", "second 2", "third 4"]);
    Ok(())
}

pub async fn bulk_keeps_in_step_with_the_daemon(handle: Handle, cluster: Arc<Cluster>) -> Result<()> {
    let (a, b) = (
        client(&handle, &cluster, 0).await?,
        client(&handle, &cluster, 2).await?,
    );
    let (_registration, mut inbox) = inbox(&b, SERVICE).await?;
    let piece = vec![7u8; 1 << 20];
    for _ in 0..64 {
        a.send_message(Pnn(2), SERVICE, &piece)?;
        a.drained(2 << 20).await?;
        assert!(a.queued_bytes() <= 2 << 20);
    }
    for _ in 0..64 {
        assert_eq!(inbox.recv().await.map(|data| data.len()), Some(1 << 20));
    }
    Ok(())
}
