//! Measures any daemon that speaks the protocol.
