//! Where a script runs, and what it did there.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use ctdb_harness::{run_limited, skip};
use tempfile::TempDir;

use crate::Namespace;

/// No script of these tests takes longer, unless it hangs.
const SCRIPT_LIMIT: Duration = Duration::from_secs(30);

/// Programs that change or ask the machine. A test that does not mention one gets one that succeeds and says nothing.
const STAND_INS: &[&str] = &[
    "ctdb",
    "exportfs",
    "host",
    "ip",
    "ip6tables",
    "ipcrm",
    "ipcs",
    "iptables",
    "ipvsadm",
    "killall",
    "logger",
    "multipath",
    "net",
    "nfsconf",
    "pidof",
    "ping",
    "pkill",
    "pstree",
    "rpc.mountd",
    "rpc.rquotad",
    "rpc.statd",
    "rpcinfo",
    "rsync",
    "service",
    "sm-notify",
    "ss",
    "ssh",
    "systemctl",
    "testparm",
    "tgtd",
    "wbinfo",
];

/// Those that are real in a network namespace.
const NETWORK_TOOLS: &[&str] = &["ip", "ip6tables", "iptables", "ss"];

/// How a script ended, and what it printed.
#[derive(Debug)]
pub struct Ran {
    /// Its exit code; 256 if a signal ended it.
    pub code: i32,
    /// Standard output, then standard error.
    pub output: String,
}

impl Ran {
    /// Its output, if it ended with 0.
    ///
    /// # Errors
    /// It ended otherwise.
    pub fn ok(self) -> Result<String> {
        ensure!(self.code == 0, "exit code {}: {}", self.code, self.output);
        Ok(self.output)
    }

    /// Its output, if it ended with `code`.
    ///
    /// # Errors
    /// It ended otherwise.
    pub fn fails_with(self, code: i32) -> Result<String> {
        ensure!(
            self.code == code,
            "exit code {}, not {code}: {}",
            self.code,
            self.output
        );
        Ok(self.output)
    }
}

/// See the crate.
#[derive(Debug)]
pub struct Sandbox {
    _root: TempDir,
    home: PathBuf,
    environment: BTreeMap<String, OsString>,
    namespace: Option<Namespace>,
}

/// A file of this repository.
pub fn source(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)
}

/// A file of Debian's package, unpacked where `scripts/fetch-peer` puts it, or in `/tmp/peer`, or where `CTDB_PEER`
/// says. `None`, noted as skipped, where that is not.
pub fn debians(path: &str) -> Option<PathBuf> {
    let places = [
        std::env::var_os("CTDB_PEER").map(PathBuf::from),
        Some(source("target/peer")),
        Some(PathBuf::from("/tmp/peer")),
    ];
    let found = places
        .into_iter()
        .flatten()
        .map(|place| place.join(path))
        .find(|file| file.exists());
    if found.is_none() {
        skip("Debian's ctdb is not here; scripts/fetch-peer gets it");
    }
    found
}

impl Sandbox {
    /// With stand-ins only, on a Debian that is node 0 of its cluster.
    ///
    /// # Errors
    /// No temporary directory.
    pub fn new() -> Result<Sandbox> {
        let root = TempDir::new()?;
        let home = root.path().join("a blank");
        let mut sandbox = Sandbox {
            _root: root,
            home,
            environment: BTreeMap::new(),
            namespace: None,
        };
        sandbox.furnish()?;
        Ok(sandbox)
    }

    /// With real network tools in a namespace, whose `/proc/sys/net` is real too. `None`, noted as skipped, where that
    /// is not permitted.
    ///
    /// # Errors
    /// As for [`Sandbox::new`].
    pub fn in_namespace() -> Result<Option<Sandbox>> {
        let mut sandbox = Sandbox::new()?;
        match Namespace::new(&sandbox.path("etc/iproute2")) {
            Ok(namespace) => sandbox.namespace = Some(namespace),
            Err(error) => {
                skip(&format!("{error:#}"));
                return Ok(None);
            }
        }
        for tool in NETWORK_TOOLS {
            fs::remove_file(sandbox.path("bin").join(tool))?;
        }
        sandbox.set("PROCFS_PATH", "/proc");
        Ok(Some(sandbox))
    }

    fn furnish(&mut self) -> Result<()> {
        for directory in [
            "base/events/legacy",
            "bin",
            "helpers",
            "state",
            "etc/iproute2",
            "proc/sys/net/ipv4/route",
        ] {
            fs::create_dir_all(self.path(directory))?;
        }
        symlink(source("etc/ctdb/functions"), self.path("base/functions"))?;
        self.write("etc/os-release", "PRETTY_NAME=\"A Debian\"\nID=debian\n")?;
        self.write("etc/iproute2/rt_tables", "255\tlocal\n254\tmain\n253\tdefault\n")?;
        self.write("calls", "")?;
        for name in STAND_INS {
            self.stand_in(name, "")?;
        }
        let path = format!("{}:/usr/bin:/bin", self.path("bin").display());
        self.set("PATH", path);
        for (name, path) in [
            ("CTDB_BASE", "base"),
            ("CTDB", "bin/ctdb"),
            ("CTDB_HELPER_BINDIR", "helpers"),
            ("CTDB_SCRIPT_VARDIR", "state"),
            ("CTDB_SYS_ETCDIR", "etc"),
            ("PROCFS_PATH", "proc"),
            ("CALLS", "calls"),
            ("HERE", ""),
        ] {
            let value = self.path(path);
            self.set(name, value);
        }
        // To standard error, as a log.
        self.set("CTDB_LOGGING", "file:");
        Ok(())
    }

    /// A path in the sandbox: `base/`, `bin/`, `helpers/`, `state/`, `etc/`, `proc/`.
    pub fn path(&self, path: &str) -> PathBuf {
        self.home.join(path)
    }

    /// The namespace of a sandbox of [`Sandbox::in_namespace`].
    ///
    /// # Errors
    /// This is another one.
    pub fn network(&self) -> Result<&Namespace> {
        self.namespace.as_ref().context("this sandbox has no namespace")
    }

    /// Sets a variable of the environment of scripts.
    pub fn set(&mut self, name: &str, value: impl Into<OsString>) {
        self.environment.insert(name.to_owned(), value.into());
    }

    /// Writes a file, with its directory.
    ///
    /// # Errors
    /// Of the file system.
    pub fn write(&self, path: &str, text: &str) -> Result<()> {
        let path = self.path(path);
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory)?;
        }
        fs::write(&path, text).with_context(|| path.display().to_string())
    }

    /// A file's text.
    ///
    /// # Errors
    /// It is not there.
    pub fn read(&self, path: &str) -> Result<String> {
        fs::read_to_string(self.path(path)).with_context(|| path.to_owned())
    }

    /// Puts a stand-in into the path that records its calls and then runs `body`.
    ///
    /// # Errors
    /// Of the file system.
    pub fn stand_in(&self, name: &str, body: &str) -> Result<()> {
        self.program(&format!("bin/{name}"), body)
    }

    /// The same, in the directory of helper programs.
    ///
    /// # Errors
    /// Of the file system.
    pub fn helper(&self, name: &str, body: &str) -> Result<()> {
        self.program(&format!("helpers/{name}"), body)
    }

    /// The same, anywhere. In `body`, `note` records standard input.
    ///
    /// # Errors
    /// Of the file system.
    pub fn program(&self, path: &str, body: &str) -> Result<()> {
        let name = path.rsplit('/').next().unwrap_or(path);
        // The program is the same file for all tests: one that is written and run at once can be busy, held open by
        // the child that another test's thread has just forked.
        self.write(&format!("replies/{name}"), &format!("{body}\n"))?;
        let path = self.path(path);
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory)?;
        }
        if !path.exists() {
            symlink(source("tests/scripts/stand-in"), &path)?;
        }
        Ok(())
    }

    /// Links a helper program of this repository, from `scripts/`.
    ///
    /// # Errors
    /// Of the file system.
    pub fn real_helper(&self, name: &str) -> Result<()> {
        let link = self.path("helpers").join(name);
        let _ = fs::remove_file(&link);
        Ok(symlink(source("scripts").join(name), link)?)
    }

    /// Runs an event script as the event daemon does: by its link in the configuration directory.
    ///
    /// # Errors
    /// It does not start, or does not end.
    pub fn event(&self, script: &str, arguments: &[&str]) -> Result<Ran> {
        let link = self.path(&format!("base/events/legacy/{script}.script"));
        if !link.exists() {
            symlink(source(&format!("etc/ctdb/events/legacy/{script}.script")), &link)?;
        }
        self.run(&link, arguments)
    }

    /// Runs a program of this repository, or any other by its full path.
    ///
    /// # Errors
    /// It does not start, or does not end.
    pub fn run(&self, program: &Path, arguments: &[&str]) -> Result<Ran> {
        let mut command = match &self.namespace {
            Some(namespace) => namespace.command(program),
            None => Command::new(program),
        };
        command
            .args(arguments)
            .env_clear()
            .envs(&self.environment)
            .current_dir(&self.home);
        let run = run_limited(&mut command, SCRIPT_LIMIT)?;
        Ok(Ran {
            code: run.code.unwrap_or(256),
            output: run.text() + &run.errors(),
        })
    }

    /// What stand-ins were called with since the last time, one line a call.
    ///
    /// # Errors
    /// Of the file system.
    pub fn calls(&self) -> Result<Vec<String>> {
        let calls = self.read("calls")?;
        self.write("calls", "")?;
        Ok(calls.lines().map(str::to_owned).collect())
    }
}
