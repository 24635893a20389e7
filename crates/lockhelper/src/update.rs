//! UPDATE_RECORD: a client's transaction, or the end of read-only copies, in one tdb transaction.
//!
//! Source: `ctdb/server/ctdb_update_record.c`, `ctdb_persistent_store`; rules in [`ctdb_records::update`].

use ctdb_protocol::{LtdbHeader, RecBuffer, Rsn, Wire};
use ctdb_records::update::{Found, Update, update_record};
use ctdb_tdb::{Tdb, TdbError};

use crate::protocol::{Reply, Rules};
use crate::rules::{WriteError, hex, split};

/// Stores all of the records or none.
pub(crate) fn update_records(tdb: &Tdb, rules: &Rules, records: &[u8]) -> Reply {
    match update(tdb, rules, records) {
        Ok(()) => Reply::Ok,
        Err(error) => Reply::Failed(error.to_string()),
    }
}

fn update(tdb: &Tdb, rules: &Rules, records: &[u8]) -> Result<(), WriteError> {
    // All of it is decoded before the file is touched.
    let buffer = RecBuffer::decode_all(records, "records")?;
    let transaction = tdb.transaction()?;
    for record in &buffer {
        let (header, data) = split(&record)?;
        let (update, local) = decide(tdb, rules, record.key, &header, data)?;
        match update {
            Update::Store => rules.store(tdb, record.key, header, data)?,
            Update::Skip => {}
            Update::Conflict => {
                return Err(WriteError::NotNewer {
                    key: hex(record.key),
                    given: header.rsn,
                    local,
                });
            }
        }
    }
    transaction.commit()?;
    Ok(())
}

/// Decision on one record, and the rsn of what is there (0 for nothing).
fn decide(
    tdb: &Tdb,
    rules: &Rules,
    key: &[u8],
    header: &LtdbHeader,
    data: &[u8],
) -> Result<(Update, Rsn), TdbError> {
    let decide = |found: Found<'_>| update_record(rules.db, found, header, data);
    let decided = tdb.parse(key, |bytes| match LtdbHeader::split(bytes) {
        // A record of no bytes is none at all, here as for upstream.
        None if bytes.is_empty() => (decide(Found::Missing), Rsn(0)),
        None => (decide(Found::TooShort), Rsn(0)),
        Some((local, data)) => (decide(Found::Copy { header: local, data }), local.rsn),
    })?;
    Ok(decided.unwrap_or_else(|| (decide(Found::Missing), Rsn(0))))
}
