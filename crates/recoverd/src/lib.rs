//! ctdb_recoverd as a library.
