//! The conversations, one function for each command.

pub(crate) mod addresses;
pub(crate) mod administration;
pub(crate) mod attaching;
pub(crate) mod backup;
pub(crate) mod backup_file;
pub(crate) mod databases;
pub(crate) mod helpers;
pub(crate) mod inspect;
pub(crate) mod local_file;
pub(crate) mod nodes_file;
pub(crate) mod records;
pub(crate) mod recovery;
pub(crate) mod roles;
pub(crate) mod statistics;
pub(crate) mod status;
pub(crate) mod transactions;
pub(crate) mod tunables;
pub(crate) mod values;
