//! Standard output and error. A reader that has gone away (`ctdb listvars | head -1`) is no reason to panic.

use std::io::{self, Write};

/// Writes text to standard output.
pub(crate) fn out(text: &str) {
    out_bytes(text.as_bytes());
}

/// Writes bytes to standard output.
pub(crate) fn out_bytes(bytes: &[u8]) {
    // Nobody is left to be told that nobody reads.
    let _ = io::stdout().lock().write_all(bytes);
}

/// Writes a line to standard error.
pub(crate) fn err(line: &str) {
    let _ = writeln!(io::stderr().lock(), "{line}");
}
