//! Pure decisions about records: store rules, calls, migration, merging copies in a recovery.
