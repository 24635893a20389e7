//! One way to start, kill, stop and look into an N-node cluster of given binaries.
