//! Storing a record as ctdbd stores it.

use ctdb_protocol::{LtdbHeader, Pnn, RecData, Rsn, WireError};
use ctdb_records::Place;
use ctdb_records::store::{StoreInput, decide_store};
use ctdb_tdb::{StoreMode, Tdb, TdbError};

use crate::protocol::Rules;

/// Why records could not be written; the transaction is cancelled.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WriteError {
    #[error(transparent)]
    Tdb(#[from] TdbError),
    #[error("the records cannot be read: {0}")]
    Records(#[from] WireError),
    #[error("record 0x{key}: its {len} bytes of data are no header")]
    NoHeader { key: String, len: usize },
    #[error("record 0x{key}: rsn {} does not replace rsn {} with other data", .given.0, .local.0)]
    NotNewer { key: String, given: Rsn, local: Rsn },
}

/// A key as the tool shows it.
pub(crate) fn hex(key: &[u8]) -> String {
    use std::fmt::Write;
    key.iter()
        .fold(String::with_capacity(2 * key.len()), |mut text, byte| {
            write!(text, "{byte:02x}").expect("writing to a string does not fail");
            text
        })
}

/// Header and value of a record.
pub(crate) fn split<'a>(record: &RecData<'a>) -> Result<(LtdbHeader, &'a [u8]), WriteError> {
    record.header_and_value().ok_or_else(|| WriteError::NoHeader {
        key: hex(record.key),
        len: record.data.len(),
    })
}

impl Rules {
    fn place(&self, key: &[u8]) -> Place {
        let hash = ctdb_tdb::jenkins_hash(key) as usize;
        let lmaster = hash
            .checked_rem(self.vnnmap.len())
            .map_or(Pnn::UNKNOWN, |slot| self.vnnmap[slot]);
        Place {
            me: self.me,
            lmaster,
            db: self.db,
        }
    }

    /// Writes the record, or deletes it where the rules keep no copy. What vacuuming should look at is not
    /// told to ctdbd: its next walk through the whole database finds it.
    pub(crate) fn store(
        &self,
        tdb: &Tdb,
        key: &[u8],
        header: LtdbHeader,
        data: &[u8],
    ) -> Result<(), TdbError> {
        let decision = decide_store(StoreInput::at(&self.place(key), header, data.len()));
        if !decision.keep {
            tdb.delete(key)?;
            return Ok(());
        }
        tdb.store_vectored(key, &[&decision.header.to_bytes(), data], StoreMode::Replace)
    }
}
