//! The event daemon and its client.
