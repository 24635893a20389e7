//! Configuration: ctdb.conf, tunables, nodes, public_addresses and paths, with file:line errors.
