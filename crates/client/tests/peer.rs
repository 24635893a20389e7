//! The client against Debian's daemon: one cluster of three nodes, which the tests use in turn.

mod peer {
    mod cluster;
    mod controls;
    mod g_lock;
    mod messages;
    mod records;
    mod transactions;
}
