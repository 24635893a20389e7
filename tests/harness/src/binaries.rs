//! A set of programs that make one node: ours, Debian's, or a mixture.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use anyhow::{Context, Result, ensure};

/// A program that a daemon starts, and the variable by which the 4.17 daemons let a test replace it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Helper {
    /// Runs event scripts.
    Eventd,
    /// Recovers databases.
    Recovery,
    /// Moves public addresses.
    Takeover,
    /// Waits for record locks.
    Lock,
    /// Holds the cluster lock.
    ClusterMutex,
    /// The event tool, started by `ctdb event`.
    Event,
}

impl Helper {
    const ALL: [Helper; 6] = [
        Helper::Eventd,
        Helper::Recovery,
        Helper::Takeover,
        Helper::Lock,
        Helper::ClusterMutex,
        Helper::Event,
    ];

    fn variable(self) -> &'static str {
        match self {
            Helper::Eventd => "CTDB_EVENTD",
            Helper::Recovery => "CTDB_RECOVERY_HELPER",
            Helper::Takeover => "CTDB_TAKEOVER_HELPER",
            Helper::Lock => "CTDB_LOCK_HELPER",
            Helper::ClusterMutex => "CTDB_CLUSTER_MUTEX_HELPER",
            Helper::Event => "CTDB_EVENT_HELPER",
        }
    }

    fn file_name(self) -> &'static str {
        match self {
            Helper::Eventd => "ctdb-eventd",
            Helper::Recovery => "ctdb_recovery_helper",
            Helper::Takeover => "ctdb_takeover_helper",
            Helper::Lock => "ctdb_lock_helper",
            Helper::ClusterMutex => "ctdb_mutex_fcntl_helper",
            Helper::Event => "ctdb-event",
        }
    }
}

/// Where the programs of a node are, and what they need to run.
#[derive(Clone, Debug)]
pub struct Binaries {
    name: String,
    daemon: PathBuf,
    tool: PathBuf,
    helper_dir: PathBuf,
    replaced: BTreeMap<Helper, PathBuf>,
    library_dirs: Vec<PathBuf>,
}

impl Binaries {
    /// Our own, from the directory in `CTDB_TEST_BIN_DIR`, else from the one that the running program was built
    /// into.
    ///
    /// # Errors
    /// They are not there: `cargo test` of one package does not build them.
    pub fn ours() -> Result<Binaries> {
        let dir = match env::var_os("CTDB_TEST_BIN_DIR") {
            Some(dir) => PathBuf::from(dir),
            None => build_dir()?,
        };
        Binaries::in_dir("ours", &dir).context("run `cargo build --workspace --bins` first")
    }

    /// All programs in one directory, as cargo puts them.
    ///
    /// # Errors
    /// The daemon or the tool is missing.
    pub fn in_dir(name: &str, dir: &Path) -> Result<Binaries> {
        Binaries::at(name, &dir.join("ctdbd"), &dir.join("ctdb"), dir, Vec::new())
    }

    /// Installed below a root directory with Debian's layout, as `make install DESTDIR=root` does.
    ///
    /// # Errors
    /// The daemon or the tool is missing.
    pub fn installed(name: &str, root: &Path) -> Result<Binaries> {
        let usr = root.join("usr");
        Binaries::at(
            name,
            &usr.join("sbin/ctdbd"),
            &usr.join("bin/ctdb"),
            &usr.join("libexec/ctdb"),
            Vec::new(),
        )
    }

    /// Debian's, unpacked below `root` by `scripts/fetch-peer`.
    ///
    /// # Errors
    /// They are missing, or do not run here.
    pub fn debian(root: &Path) -> Result<Binaries> {
        let mut binaries = Binaries::installed("debian", root)?;
        binaries.library_dirs = library_dirs(root);
        let version = binaries
            .tool_command()
            .arg("version")
            .output()
            .context("ctdb version")?;
        ensure!(
            version.status.success(),
            "{} does not run: {}",
            binaries.tool.display(),
            String::from_utf8_lossy(&version.stderr).trim()
        );
        Ok(binaries)
    }

    fn at(
        name: &str,
        daemon: &Path,
        tool: &Path,
        helper_dir: &Path,
        library_dirs: Vec<PathBuf>,
    ) -> Result<Binaries> {
        for program in [daemon, tool] {
            ensure!(program.is_file(), "there is no {}", program.display());
        }
        // The daemon's directory and environment are not ours.
        Ok(Binaries {
            name: name.to_owned(),
            daemon: daemon.canonicalize()?,
            tool: tool.canonicalize()?,
            helper_dir: helper_dir.canonicalize()?,
            replaced: BTreeMap::new(),
            library_dirs,
        })
    }

    /// The same set with one helper of another.
    #[must_use]
    pub fn with_helper_of(mut self, helper: Helper, other: &Binaries) -> Binaries {
        self.library_dirs.extend(other.library_dirs.iter().cloned());
        self.name = format!("{} with {} of {}", self.name, helper.file_name(), other.name);
        self.replaced.insert(helper, other.helper(helper));
        self
    }

    /// The same set with one helper at another place: a wrapper script, say.
    #[must_use]
    pub fn with_helper(mut self, helper: Helper, program: &Path) -> Binaries {
        self.replaced.insert(helper, program.to_owned());
        self
    }

    /// The same set with the tool of another.
    #[must_use]
    pub fn with_tool_of(mut self, other: &Binaries) -> Binaries {
        self.library_dirs.extend(other.library_dirs.iter().cloned());
        self.tool = other.tool.clone();
        self
    }

    /// For reports: `ours`, `debian`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where a helper is.
    pub fn helper(&self, helper: Helper) -> PathBuf {
        let usual = || self.helper_dir.join(helper.file_name());
        self.replaced.get(&helper).cloned().unwrap_or_else(usual)
    }

    /// The daemon, ready to run but for what the node adds.
    pub fn daemon_command(&self) -> Command {
        self.command(&self.daemon)
    }

    /// The tool `ctdb`, ready to run but for what the node adds.
    pub fn tool_command(&self) -> Command {
        self.command(&self.tool)
    }

    /// A helper by itself.
    pub fn helper_command(&self, helper: Helper) -> Command {
        self.command(&self.helper(helper))
    }

    /// Nothing of the caller's own CTDB settings may reach the programs.
    fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        for (name, _) in env::vars_os() {
            if name.to_str().is_some_and(|name| name.starts_with("CTDB_")) {
                command.env_remove(name);
            }
        }
        command.env("CTDB_TEST_MODE", "yes");
        command.env("CTDB_TEST_HELPER_BINDIR", &self.helper_dir);
        for helper in Helper::ALL {
            command.env(helper.variable(), self.helper(helper));
        }
        if let Some(path) = self.library_path() {
            command.env("LD_LIBRARY_PATH", path);
        }
        command
    }

    fn library_path(&self) -> Option<OsString> {
        let dirs = || self.library_dirs.iter().map(PathBuf::as_path);
        (!self.library_dirs.is_empty())
            .then(|| env::join_paths(dirs()).ok())
            .flatten()
    }
}

/// `target/debug` of `target/debug/deps/some_test-0123456789abcdef`.
fn build_dir() -> Result<PathBuf> {
    let program = env::current_exe().context("the running program's path")?;
    let inner = ["deps", "examples"];
    let dir = program
        .ancestors()
        .skip(1)
        .find(|dir| !inner.iter().any(|name| dir.ends_with(name)));
    Ok(dir.context("the running program has no directory")?.to_owned())
}

/// Every directory below `root` that a library may be in: Samba has its private ones in subdirectories.
fn library_dirs(root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut to_visit = vec![root.join("lib"), root.join("usr/lib")];
    while let Some(dir) = to_visit.pop() {
        let Ok(entries) = fs::read_dir(&dir) else { continue };
        to_visit.extend(
            entries
                .flatten()
                .map(|entry| entry.path())
                .filter(|path| path.is_dir()),
        );
        found.push(dir);
    }
    found
}
