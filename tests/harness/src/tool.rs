//! Runs of the tool, and what its tables say.

use std::fs::File;
use std::io::{Read, Seek};
use std::net::IpAddr;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

/// What a program said and how it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToolRun {
    /// All of its standard output.
    pub stdout: Vec<u8>,
    /// All of its standard error.
    pub stderr: Vec<u8>,
    /// Its exit status; `None` when a signal ended it.
    pub code: Option<i32>,
    /// From its start to its end.
    pub elapsed: Duration,
}

impl ToolRun {
    /// Standard output as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Standard error as text.
    pub fn errors(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }

    /// The run, if it ended with status 0.
    ///
    /// # Errors
    /// What it said otherwise.
    pub fn ok(self) -> Result<ToolRun> {
        ensure!(
            self.code == Some(0),
            "exit status {:?}, output \"{}\", errors \"{}\"",
            self.code,
            self.text().trim_end(),
            self.errors().trim_end()
        );
        Ok(self)
    }
}

/// Runs a program without input to its end, but not longer than `limit`.
///
/// # Errors
/// It does not start, or had to be killed at the limit.
pub fn run_limited(command: &mut Command, limit: Duration) -> Result<ToolRun> {
    // Files instead of pipes: nobody has to empty them, and what the program leaves running cannot hold us up.
    let mut stdout = tempfile::tempfile().context("a file for the output")?;
    let mut stderr = tempfile::tempfile().context("a file for the errors")?;
    command
        .stdin(Stdio::null())
        .stdout(stdout.try_clone()?)
        .stderr(stderr.try_clone()?);
    let start = Instant::now();
    let mut child = command
        .spawn()
        .with_context(|| format!("cannot start {command:?}"))?;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if start.elapsed() >= limit {
            child.kill()?;
            child.wait()?;
            bail!(
                "{command:?} did not end within {limit:?}: {}",
                String::from_utf8_lossy(&all(&mut stdout)?)
            );
        }
        thread::sleep(Duration::from_millis(1));
    };
    let elapsed = start.elapsed();
    Ok(ToolRun {
        stdout: all(&mut stdout)?,
        stderr: all(&mut stderr)?,
        code: status.code(),
        elapsed,
    })
}

fn all(file: &mut File) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.rewind()?;
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// A row of `ctdb -X status`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are the tool's own column titles")]
pub struct StatusRow {
    pub pnn: usize,
    pub address: IpAddr,
    pub disconnected: bool,
    pub unknown: bool,
    pub banned: bool,
    pub disabled: bool,
    pub unhealthy: bool,
    pub stopped: bool,
    pub inactive: bool,
    pub partially_online: bool,
    pub this_node: bool,
}

impl StatusRow {
    /// Reads the table, its title line included.
    ///
    /// # Errors
    /// The line that is not as it should be.
    pub fn parse_table(text: &str) -> Result<Vec<StatusRow>> {
        let mut lines = text.lines();
        let title = lines.next().unwrap_or_default();
        ensure!(
            title.starts_with("|Node|IP|Disconnected|"),
            "not the title of a status table: {title:?}"
        );
        lines
            .map(|line| StatusRow::parse(line).with_context(|| format!("status row {line:?}")))
            .collect()
    }

    fn parse(line: &str) -> Result<StatusRow> {
        let fields: Vec<&str> = line.split('|').collect();
        let ["", pnn, address, marks @ .., this_node, ""] = &fields[..] else {
            bail!("it does not have the columns")
        };
        let marks: Vec<bool> = marks.iter().map(|mark| *mark == "1").collect();
        let &[
            disconnected,
            unknown,
            banned,
            disabled,
            unhealthy,
            stopped,
            inactive,
            partially_online,
        ] = &marks[..]
        else {
            bail!("it has {} marks instead of 8", marks.len())
        };
        Ok(StatusRow {
            pnn: pnn.parse()?,
            address: address.parse()?,
            disconnected,
            unknown,
            banned,
            disabled,
            unhealthy,
            stopped,
            inactive,
            partially_online,
            this_node: *this_node == "Y",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TITLE: &str =
        "|Node|IP|Disconnected|Unknown|Banned|Disabled|Unhealthy|Stopped|Inactive|PartiallyOnline|ThisNode|";

    #[test]
    fn a_status_table_is_read_by_column() {
        let text = format!("{TITLE}\n|0|127.0.0.1|0|0|0|0|0|0|0|0|Y|\n|1|127.0.0.2|1|0|0|0|1|0|1|0|N|\n");
        let rows = StatusRow::parse_table(&text).unwrap();
        assert!(rows[0].this_node && !rows[0].disconnected && !rows[0].inactive);
        assert!(rows[1].disconnected && rows[1].unhealthy && rows[1].inactive && !rows[1].this_node);
        assert_eq!(rows[1].pnn, 1);
    }

    #[test]
    fn a_table_that_is_none_is_refused_with_its_line() {
        assert!(StatusRow::parse_table("").is_err());
        let refused = StatusRow::parse_table(&format!("{TITLE}\n|0|127.0.0.1|0|Y|\n")).unwrap_err();
        assert!(format!("{refused:#}").contains("1 marks"), "{refused:#}");
    }

    #[test]
    fn a_run_keeps_both_outputs_and_the_exit_status_apart() {
        let mut shell = Command::new("/bin/sh");
        let run = run_limited(
            shell.args(["-c", "echo out; echo err >&2; exit 3"]),
            Duration::from_secs(10),
        );
        let run = run.unwrap();
        assert_eq!(
            (run.text().as_str(), run.errors().as_str(), run.code),
            ("out\n", "err\n", Some(3))
        );
        assert!(run.ok().is_err());
    }

    #[test]
    fn a_run_is_ended_at_its_limit() {
        let start = Instant::now();
        let mut sleeper = Command::new("sleep");
        assert!(run_limited(sleeper.arg("60"), Duration::from_millis(50)).is_err());
        assert!(start.elapsed() < Duration::from_secs(30));
    }
}
