//! The ctdb tool.
