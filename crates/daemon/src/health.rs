//! Which persistent databases must not be used, and why: kept in a database of its own, so that it is still
//! known after a restart.

use std::cell::RefCell;
use std::path::PathBuf;
use std::rc::Rc;

use anyhow::Context;
use ctdb_protocol::{NodeFlags, Runstate};
use ctdb_tdb::{OpenOptions, StoreMode, Tdb, TdbError, TdbFlags};

use crate::Daemon;
use crate::databases::{Database, DbKind};
use crate::locks::{self, Checked};
use crate::recovery::mode::want_recovery;

/// In front of a reason that no healthy node has confirmed.
const NO_HEALTHY_NODES: &str = "NO-HEALTHY-NODES - ";

/// The database of reasons: name (without NUL) → reason (without NUL).
#[derive(Default)]
pub struct Health {
    reasons: RefCell<Option<Tdb>>,
}

impl Health {
    /// Why the database of this name must not be used.
    ///
    /// # Errors
    /// The reasons can't be read.
    pub fn reason(&self, name: &str) -> Result<Option<String>, TdbError> {
        let reasons = self.reasons.borrow();
        let Some(reasons) = &*reasons else { return Ok(None) };
        let reason = reasons.parse(name.as_bytes(), |reason| {
            String::from_utf8_lossy(reason).into_owned()
        })?;
        Ok(reason.filter(|reason| !reason.is_empty()))
    }

    /// Remembers a reason, or that there is none. Nobody else uses this file, so no lock of it is ever waited
    /// for; it is opened without syncs, so nor is the disk.
    fn set(&self, name: &str, reason: Option<&str>) -> Result<(), TdbError> {
        let reasons = self.reasons.borrow();
        let Some(reasons) = &*reasons else { return Ok(()) };
        if self.reason(name)?.as_deref() == reason {
            return Ok(());
        }
        let transaction = reasons.transaction()?;
        match reason {
            Some(reason) => {
                transaction
                    .tdb()
                    .store(name.as_bytes(), reason.as_bytes(), StoreMode::Replace)?
            }
            None => drop(transaction.tdb().delete(name.as_bytes())?),
        }
        transaction.commit()
    }
}

fn path(d: &Daemon) -> PathBuf {
    d.settings
        .config
        .database
        .state_dir
        .join(format!("persistent_health.tdb.{}", d.me()))
}

/// Opens the database of reasons. A damaged one is put aside: that the databases themselves are sound is
/// checked when they are attached.
///
/// # Errors
/// It can't be opened or made.
pub async fn open(d: &Rc<Daemon>) -> anyhow::Result<()> {
    let path = path(d);
    let flags = TdbFlags::DISALLOW_NESTING | TdbFlags::NOSYNC;
    if path.exists()
        && let Checked::Corrupt(what) = locks::check(d, &path, flags).await.map_err(anyhow::Error::msg)?
    {
        let aside = path.with_extension(format!("{}.corrupted.{}", d.me(), d.rt.wall_clock().secs));
        log::error!(
            "{} is damaged ({what}) and goes to {}: which persistent databases were unhealthy is forgotten, \
             look at them with `ctdb getdbstatus`",
            path.display(),
            aside.display()
        );
        std::fs::rename(&path, &aside).with_context(|| format!("renaming {}", path.display()))?;
    }
    let options = OpenOptions {
        flags,
        create: true,
        ..OpenOptions::default()
    };
    let tdb = Tdb::open(&path, &options).context("opening the list of unhealthy databases")?;
    *d.databases.health.reasons.borrow_mut() = Some(tdb);
    Ok(())
}

/// Name of a persistent database that must not be used.
pub fn first_unhealthy_persistent(d: &Daemon) -> Option<String> {
    let sick = |db: &&Rc<Database>| db.kind == DbKind::Persistent && db.unhealthy.borrow().is_some();
    d.databases.all().iter().find(sick).map(|db| db.name.clone())
}

/// A recovery has committed the database: what it holds now is what the healthy nodes agree on, if there is one.
pub async fn recovered(d: &Rc<Daemon>, db: &Rc<Database>) {
    if db.kind != DbKind::Persistent {
        return;
    }
    let healthy = d.nodes.pnns_where(|n| n.flags.get() == NodeFlags::empty()).len();
    let reason = db.unhealthy.borrow().clone();
    let reason = match reason {
        _ if healthy > 0 => None,
        Some(reason) if !reason.starts_with(NO_HEALTHY_NODES) => Some(format!("{NO_HEALTHY_NODES}{reason}")),
        unchanged => unchanged,
    };
    set(d, db, reason);
}

/// DB_SET_HEALTHY: an operator has looked at it.
pub fn set_healthy(d: &Rc<Daemon>, db: &Database) {
    let was_sick = db.unhealthy.borrow().is_some();
    set(d, db, None);
    if was_sick && d.state.runstate() == Runstate::Startup {
        want_recovery(d, &format!("database {} became healthy", db.name));
    }
}

fn set(d: &Daemon, db: &Database, reason: Option<String>) {
    if let Err(error) = d.databases.health.set(&db.name, reason.as_deref()) {
        log::error!(
            "Whether database {} is healthy can't be remembered: {error}",
            db.name
        );
    }
    let before = db.unhealthy.replace(reason.clone());
    match (before, reason) {
        (Some(_), None) => log::info!("Database {} is healthy again", db.name),
        (before, Some(reason)) if before.as_ref() != Some(&reason) => {
            log::error!("Database {} is unhealthy: {reason}", db.name);
        }
        _ => {}
    }
}
