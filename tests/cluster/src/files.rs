//! Database files as libtdb's own tools see them.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use ctdb_harness::{Cluster, run_limited};

const LIMIT: Duration = Duration::from_secs(60);

/// Every database file of every node.
pub fn all(cluster: &Cluster) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for node in cluster.nodes() {
        for dir in ["volatile", "persistent"] {
            let dir = node.base().join("db").join(dir);
            for entry in std::fs::read_dir(&dir).with_context(|| format!("reading {}", dir.display()))? {
                files.push(entry?.path());
            }
        }
    }
    Ok(files)
}

/// Checks every file; how many there are, or `None` where tdbtool is not installed.
///
/// # Errors
/// A file is not sound.
pub fn check_all(cluster: &Cluster) -> Result<Option<usize>> {
    let files = all(cluster)?;
    ensure!(!files.is_empty(), "there are no database files");
    for file in &files {
        match check(file) {
            Ok(()) => {}
            Err(error) if is_missing(&error) => return Ok(None),
            Err(error) => return Err(error),
        }
    }
    Ok(Some(files.len()))
}

fn check(file: &Path) -> Result<()> {
    let run = run_limited(Command::new("tdbtool").arg(file).arg("check"), LIMIT)?;
    if run.code != Some(0) || !run.text().contains("Database integrity is OK") {
        bail!(
            "tdbtool says of {}: {}{}",
            file.display(),
            run.text(),
            run.errors()
        );
    }
    Ok(())
}

fn is_missing(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause
            .downcast_ref::<std::io::Error>()
            .is_some_and(|io| io.kind() == ErrorKind::NotFound)
    })
}
