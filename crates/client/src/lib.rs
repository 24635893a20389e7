//! Talk to a daemon: controls, messages, database handles, g_lock, transactions.
