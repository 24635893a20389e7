//! Tests that cannot run here say so and are counted.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::{env, thread};

use anyhow::{Context, Result};

use crate::Binaries;

/// Notes that the running test is skipped: on standard error, past the capture of the test's output, and as a
/// line of the file that `CTDB_TEST_SKIPS` names, which `make test` shows at its end.
///
/// # Panics
/// With `CTDB_TEST_NO_SKIPS` set: for a machine that is meant to run every test.
pub fn skip(reason: &str) {
    // The test runner names the thread after the test.
    let test = thread::current().name().unwrap_or("unnamed").to_owned();
    let line = format!("skipped: {test}: {reason}\n");
    let _ = std::io::stderr().write_all(line.as_bytes());
    if let Some(path) = env::var_os("CTDB_TEST_SKIPS") {
        // One write of one line: tests of several programs append at the same time.
        let noted = File::options().append(true).create(true).open(&path);
        if let Err(error) = noted.and_then(|mut file| file.write_all(line.as_bytes())) {
            panic!(
                "{}: cannot note the skipped test: {error}",
                Path::new(&path).display()
            );
        }
    }
    assert!(env::var_os("CTDB_TEST_NO_SKIPS").is_none(), "{line}");
}

/// Debian's programs, or a noted skip: `let Some(debian) = require_peer() else { return };`
pub fn require_peer() -> Option<Binaries> {
    peer().map_err(|error| skip(&format!("{error:#}"))).ok()
}

/// Debian's programs from the directory in `CTDB_PEER`, else from `target/peer`, where `scripts/fetch-peer` puts
/// them, else from `/tmp/peer`.
///
/// # Errors
/// None of these has them, or they do not run.
pub fn peer() -> Result<Binaries> {
    let root = match env::var_os("CTDB_PEER") {
        Some(root) => PathBuf::from(root),
        None => {
            let built = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/peer");
            let aside = PathBuf::from("/tmp/peer");
            [built, aside]
                .into_iter()
                .find(|root| root.join("usr/sbin/ctdbd").exists())
                .unwrap_or_default()
        }
    };
    Binaries::debian(&root).context("Debian's ctdb is not here; scripts/fetch-peer gets it")
}
