//! The processes of a node, found by their environment.
//!
//! Every process below a daemon inherits its `CTDB_BASE`, which lies in a directory that only this cluster has. So
//! orphans are found as well as children, and nothing that we did not start is ever found.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// A process of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// Its number.
    pub pid: u32,
    /// Its parent's number.
    pub parent: u32,
    /// Its name as `ps` shows it, cut to 15 bytes by the kernel: `ctdbd`, `ctdb_recoverd`, `ctdb_mutex_fcnt`.
    pub name: String,
    /// Its command line, joined by blanks.
    pub command_line: String,
}

impl Process {
    /// Sends a signal. A process that has ended meanwhile is no error.
    pub fn signal(&self, signal: Signal) {
        // Linux has process numbers below 2^22.
        let _ = kill(Pid::from_raw(self.pid as i32), signal);
    }

    /// Whether this is a process of the program, whose name the kernel may have cut.
    pub fn is(&self, program: &str) -> bool {
        self.name.as_bytes() == &program.as_bytes()[..program.len().min(15)]
    }
}

/// The living processes whose `CTDB_BASE` is `base` or below it.
pub(crate) fn below(base: &Path) -> Vec<Process> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    let pids = entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let mut found: Vec<Process> = pids
        .filter(|&pid| is_below(pid, base))
        .filter_map(look_up)
        .collect();
    found.sort_by_key(|process| process.pid);
    found
}

fn is_below(pid: u32, base: &Path) -> bool {
    // Empty for a process that has ended, and not readable for one of another user.
    let Ok(environment) = fs::read(format!("/proc/{pid}/environ")) else {
        return false;
    };
    environment.split(|&byte| byte == 0).any(|variable| {
        variable
            .strip_prefix(b"CTDB_BASE=")
            .is_some_and(|value| Path::new(std::ffi::OsStr::from_bytes(value)).starts_with(base))
    })
}

fn look_up(pid: u32) -> Option<Process> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // `17 (a name (with) anything) S 16 …`
    let (front, back) = stat.rsplit_once(')')?;
    let (_, name) = front.split_once('(')?;
    let mut fields = back.split_ascii_whitespace();
    if fields.next()? == "Z" {
        return None;
    }
    let parent = fields.next()?.parse().ok()?;
    let command_line = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let command_line = String::from_utf8_lossy(&command_line)
        .trim_end_matches('\0')
        .replace('\0', " ");
    Some(Process {
        pid,
        parent,
        name: name.to_owned(),
        command_line,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead, BufReader};
    use std::process::{Command, Stdio};

    #[test]
    fn processes_are_found_with_their_children_and_nobody_elses() {
        let dir = tempfile::tempdir().unwrap();
        let base = dir.path().join("node.0");
        let mut shell = Command::new("/bin/sh")
            .args(["-c", "sleep 60 & echo started; wait"])
            .env("CTDB_BASE", &base)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(shell.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();

        let found = below(dir.path());
        // The child may still be the shell's copy of itself.
        assert_eq!(found.len(), 2, "{found:?}");
        assert_eq!((found[0].pid, found[1].parent), (shell.id(), shell.id()));
        assert!(
            below(&dir.path().join("node")).is_empty(),
            "a name's beginning is another directory"
        );

        found.iter().for_each(|process| process.signal(Signal::SIGKILL));
        shell.wait().unwrap();
        assert!(!below(dir.path()).iter().any(|process| process.pid == shell.id()));
    }

    #[test]
    fn a_long_program_name_is_known_by_what_the_kernel_keeps_of_it() {
        let name = "ctdb_mutex_fcnt".to_owned();
        let process = Process {
            pid: 1,
            parent: 0,
            name,
            command_line: String::new(),
        };
        assert!(process.is("ctdb_mutex_fcntl_helper"));
        assert!(!process.is("ctdb_mutex"));
    }
}
