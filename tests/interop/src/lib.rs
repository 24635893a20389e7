//! Tests beside Debian's ctdb 4.17.12.
