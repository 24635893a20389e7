//! **recover-1**, **recover-20**: a recovery on request of a healthy cluster with so many databases, which have few
//! records, from the request to the last node in recovery mode NORMAL with the new generation (see `recover.rs`). The
//! median of several, each after the pause that C needs between recoveries.

use anyhow::{Result, bail, ensure};
use ctdb_protocol::{Pnn, Reply, Request};

use super::migration;
use crate::database::{Kind, attach};
use crate::latency::Latencies;
use crate::recover::recover;
use crate::row::Row;
use crate::subject::{Subject, connect_all};

pub fn of_one_database(subject: &mut Subject) -> Result<Vec<Row>> {
    let row = of_databases(subject, 1, "recover_1", "recovery of 1 database")?;
    Ok(vec![row])
}

pub fn of_twenty_databases(subject: &mut Subject) -> Result<Vec<Row>> {
    let row = of_databases(subject, 20, "recover_20", "recovery of 20 databases")?;
    Ok(vec![row])
}

fn of_databases(subject: &mut Subject, count: usize, id: &str, what: &str) -> Result<Row> {
    attach_until(subject, count)?;
    let mut times = Latencies::default();
    for _ in 0..subject.plan.recoveries {
        subject.pause_before_recovery();
        times.add(recover(subject.cluster()?)?);
        subject.recovered();
    }
    Ok(Row::time(id, what, times.quantile(0.5)))
}

/// Attaches volatile databases until there are so many.
fn attach_until(subject: &mut Subject, count: usize) -> Result<()> {
    let mut daemon = connect_all(subject.cluster()?)?.swap_remove(0);
    attach(&mut daemon, migration::DATABASE, Kind::Volatile)?;
    for number in 0..count {
        let answer = daemon.expect(Pnn::CURRENT, &Request::GetDbmap)?;
        let Reply::GetDbmap(databases) = answer.reply()? else {
            bail!("GET_DBMAP was answered by something else");
        };
        let attached = databases.databases.len();
        ensure!(attached <= count, "{attached} databases are attached already");
        if attached == count {
            return Ok(());
        }
        attach(&mut daemon, &format!("bench_{number}.tdb"), Kind::Volatile)?;
    }
    bail!("{count} databases could not be attached")
}
