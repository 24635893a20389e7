//! The commit of a recovery: all records of a database anew, in one transaction.
//!
//! The database is locked as a whole by another helper, the keeper, so nothing here takes a lock. Until the
//! commit, readers that look without a lock see the old records.

use ctdb_protocol::{RecBuffer, RecFlags, Wire};
use ctdb_tdb::{Tdb, TdbError, Transaction};

use crate::protocol::{Reply, Rules};
use crate::rules::{WriteError, split};

/// The recovery that a helper has in hand.
#[derive(Debug, Default)]
pub(crate) enum Recover {
    #[default]
    None,
    Running {
        transaction: Transaction,
        rules: Rules,
    },
    /// Something failed, which is said again until a new beginning or the cancel.
    Failed(String),
}

impl Recover {
    pub fn begin(&mut self, tdb: &Tdb, rules: Rules, wipe: bool) -> Reply {
        *self = Recover::None;
        match start(tdb, wipe) {
            Ok(transaction) => {
                *self = Recover::Running { transaction, rules };
                Reply::Ok
            }
            Err(error) => self.fail(error.to_string()),
        }
    }

    pub fn records(&mut self, records: &[u8]) -> Reply {
        match self {
            Recover::Running { transaction, rules } => match store(transaction.tdb(), rules, records) {
                Ok(()) => Reply::Ok,
                Err(error) => self.fail(error.to_string()),
            },
            Recover::Failed(text) => Reply::Failed(text.clone()),
            Recover::None => Reply::Failed("no recovery was begun in this helper".to_string()),
        }
    }

    pub fn commit(&mut self) -> Reply {
        match std::mem::take(self) {
            Recover::Running { transaction, .. } => match commit(transaction) {
                Ok(()) => Reply::Ok,
                Err(error) => self.fail(error.to_string()),
            },
            Recover::Failed(text) => self.fail(text),
            Recover::None => Reply::Failed("no recovery was begun in this helper".to_string()),
        }
    }

    pub fn cancel(&mut self) -> Reply {
        match std::mem::take(self) {
            Recover::Running { transaction, .. } => match transaction.cancel() {
                Ok(()) => Reply::Ok,
                Err(error) => Reply::Failed(error.to_string()),
            },
            Recover::None | Recover::Failed(_) => Reply::Ok,
        }
    }

    /// The transaction, if any, is dropped and so cancelled.
    fn fail(&mut self, text: String) -> Reply {
        *self = Recover::Failed(text.clone());
        Reply::Failed(text)
    }
}

fn start(tdb: &Tdb, wipe: bool) -> Result<Transaction, TdbError> {
    let transaction = tdb.transaction_nolock()?;
    if wipe {
        tdb.wipe_all()?;
    }
    Ok(transaction)
}

/// As a push of records by the recovery helper is stored: a recovery ends all read-only copies.
/// Source: `ctdb/server/ctdb_recover.c`, `db_push_msg_handler`.
fn store(tdb: &Tdb, rules: &Rules, records: &[u8]) -> Result<(), WriteError> {
    let buffer = RecBuffer::decode_all(records, "records")?;
    for record in &buffer {
        let (mut header, data) = split(&record)?;
        header.flags.remove(RecFlags::RO_MASK);
        rules.store(tdb, record.key, header, data)?;
    }
    Ok(())
}

fn commit(mut transaction: Transaction) -> Result<(), TdbError> {
    transaction.prepare_commit()?;
    transaction.commit()
}
