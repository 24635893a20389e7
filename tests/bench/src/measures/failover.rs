//! **failover**: `kill -9` of the leader's `ctdbd`, from the signal until both others are RUNNING, in recovery mode
//! NORMAL, see each other as OK and the dead one as not, and have a new generation and a vnn map of the two, which only a
//! new leader gives them. Seen by questions every 5 ms.
//!
//! **rejoin**: the killed daemon is started again; until all three are as after **start**.
//!
//! Each with the few databases of the measures before, and after the pause that C needs between recoveries.

use std::time::Instant;

use anyhow::{Result, ensure};

use crate::row::Row;
use crate::subject::{HEALTHY_LIMIT, Subject, leader};

pub fn daemons(subject: &mut Subject) -> Result<Vec<Row>> {
    subject.pause_before_recovery();
    let cluster = subject.cluster()?;
    let killed = leader(cluster)?;
    let before = Instant::now();
    cluster.node(killed).kill()?;
    cluster.wait_healthy(HEALTHY_LIMIT)?;
    let failover = before.elapsed();
    ensure!(leader(cluster)? != killed, "the dead node still leads");
    subject.recovered();

    subject.pause_before_recovery();
    let cluster = subject.cluster()?;
    let before = Instant::now();
    cluster.node(killed).start()?;
    cluster.wait_healthy(HEALTHY_LIMIT)?;
    let rejoin = before.elapsed();
    subject.recovered();
    Ok(vec![
        Row::time("failover", "kill -9 of the leader to the others NORMAL", failover),
        Row::time("rejoin", "rejoin of the killed node to all OK", rejoin),
    ])
}
