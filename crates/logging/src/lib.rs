//! Log targets (file, stderr, syslog), levels and line format shared by every program.
