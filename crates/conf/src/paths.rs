//! Where everything is.
//!
//! Installed programs use the directories that were compiled in (Debian's unless the build sets `CTDB_ETCDIR` and the
//! like). In test mode (`CTDB_TEST_MODE` set) everything of a node is below `CTDB_BASE`, so that many nodes fit on a host.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// A directory that the build may set.
macro_rules! build_dir {
    ($name:literal, $default:expr) => {
        match option_env!($name) {
            Some(dir) => dir,
            None => $default,
        }
    };
}

const ETCDIR: &str = build_dir!("CTDB_ETCDIR", "/etc/ctdb");
const DATADIR: &str = build_dir!("CTDB_DATADIR", "/usr/share/ctdb");
const HELPERDIR: &str = build_dir!("CTDB_HELPERDIR", "/usr/libexec/ctdb");
const VARDIR: &str = build_dir!("CTDB_VARDIR", "/var/lib/ctdb");
const RUNDIR: &str = build_dir!("CTDB_RUNDIR", "/run/ctdb");
const LOCKDIR: &str = build_dir!("CTDB_LOCKDIR", RUNDIR);
const PIDDIR: &str = build_dir!("CTDB_PIDDIR", RUNDIR);
const SOCKETDIR: &str = build_dir!("CTDB_SOCKETDIR", RUNDIR);
const LOGDIR: &str = build_dir!("CTDB_LOGDIR", "/var/log/ctdb");

/// Helpers that an environment variable of their own can replace, as in 4.17.
const HELPER_OVERRIDES: [(&str, &str); 5] = [
    ("ctdb_recovery_helper", "CTDB_RECOVERY_HELPER"),
    ("ctdb_takeover_helper", "CTDB_TAKEOVER_HELPER"),
    ("ctdb_lock_helper", "CTDB_LOCK_HELPER"),
    ("ctdb_mutex_fcntl_helper", "CTDB_CLUSTER_MUTEX_HELPER"),
    ("ctdb-eventd", "CTDB_EVENTD"),
];

/// All paths of one node, fixed when it is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paths {
    /// Configuration: `ctdb.conf`, `nodes`, `events`...
    pub etc_dir: PathBuf,
    /// Shipped event scripts and examples.
    pub data_dir: PathBuf,
    /// Helper programs.
    pub helper_dir: PathBuf,
    /// Databases, script state.
    pub var_dir: PathBuf,
    /// Lock files. One with `pid_dir` and `socket_dir` in Debian.
    pub lock_dir: PathBuf,
    /// Pid files.
    pub pid_dir: PathBuf,
    /// Sockets.
    pub socket_dir: PathBuf,
    /// Whether this is a node of a test cluster.
    pub test_mode: bool,
    ctdbd_socket: Option<PathBuf>,
    helpers: Vec<(&'static str, PathBuf)>,
}

/// The environment cannot be right.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathsError {
    /// Test mode without a place to be.
    #[error("CTDB_TEST_MODE is set but CTDB_BASE is not: set it to the directory of the test node")]
    NoBase,
}

impl Paths {
    /// The paths for this process.
    ///
    /// # Errors
    /// `NoBase` in test mode without `CTDB_BASE`.
    pub fn from_env() -> Result<Paths, PathsError> {
        Paths::from_vars(|name| env::var_os(name))
    }

    /// The paths for an environment given by `var`; empty helper variables count as not set.
    ///
    /// # Errors
    /// As [`Paths::from_env`].
    pub fn from_vars(var: impl Fn(&str) -> Option<OsString>) -> Result<Paths, PathsError> {
        let mut paths = if var("CTDB_TEST_MODE").is_some() {
            let mut paths = Paths::in_base(Path::new(&var("CTDB_BASE").ok_or(PathsError::NoBase)?));
            paths.ctdbd_socket = var("CTDB_SOCKET").map(PathBuf::from);
            if let Some(dir) = var("CTDB_TEST_HELPER_BINDIR") {
                paths.helper_dir = dir.into();
            }
            paths
        } else {
            Paths::installed()
        };
        let set = |name: &str| var(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        if let Some(dir) = set("CTDB_HELPER_BINDIR") {
            paths.helper_dir = dir;
        }
        paths.helpers = HELPER_OVERRIDES
            .iter()
            .filter_map(|&(helper, name)| Some((helper, set(name)?)))
            .collect();
        Ok(paths)
    }

    /// The layout of an installed node, as compiled in.
    pub fn installed() -> Paths {
        Paths {
            etc_dir: ETCDIR.into(),
            data_dir: DATADIR.into(),
            helper_dir: HELPERDIR.into(),
            var_dir: VARDIR.into(),
            lock_dir: LOCKDIR.into(),
            pid_dir: PIDDIR.into(),
            socket_dir: SOCKETDIR.into(),
            test_mode: false,
            ctdbd_socket: None,
            helpers: Vec::new(),
        }
    }

    /// The layout of a test node below `base`.
    pub fn in_base(base: &Path) -> Paths {
        Paths {
            etc_dir: base.into(),
            data_dir: base.join("share"),
            var_dir: base.join("var"),
            lock_dir: base.join("run"),
            pid_dir: base.join("run"),
            socket_dir: base.join("run"),
            test_mode: true,
            ..Paths::installed()
        }
    }

    /// `ctdb.conf`.
    pub fn config(&self) -> PathBuf {
        self.etc("ctdb.conf")
    }

    /// `name` in the configuration directory.
    pub fn etc(&self, name: &str) -> PathBuf {
        self.etc_dir.join(name)
    }

    /// `nodes`, unless `[cluster] nodes list` says otherwise.
    pub fn nodes(&self) -> PathBuf {
        self.etc("nodes")
    }

    /// `public_addresses`.
    pub fn public_addresses(&self) -> PathBuf {
        self.etc("public_addresses")
    }

    /// `home_nodes`.
    pub fn home_nodes(&self) -> PathBuf {
        self.etc("home_nodes")
    }

    /// `ctdb.tunables`.
    pub fn tunables(&self) -> PathBuf {
        self.etc("ctdb.tunables")
    }

    /// `tunables.d`, whose `*.tunables` are read after `ctdb.tunables`.
    pub fn tunables_dir(&self) -> PathBuf {
        self.etc("tunables.d")
    }

    /// `notify.sh`.
    pub fn notify_script(&self) -> PathBuf {
        self.etc("notify.sh")
    }

    /// `events/<component>`: the scripts that run.
    pub fn event_scripts(&self, component: &str) -> PathBuf {
        self.etc("events").join(component)
    }

    /// `events/<component>` among the shipped files: the scripts that can be enabled.
    pub fn shipped_event_scripts(&self, component: &str) -> PathBuf {
        self.data_dir.join("events").join(component)
    }

    /// A helper program by its file name, or what an environment variable puts in its place.
    pub fn helper(&self, name: &str) -> PathBuf {
        let replaced = self.helpers.iter().find(|(helper, _)| *helper == name);
        replaced.map_or_else(|| self.helper_dir.join(name), |(_, path)| path.clone())
    }

    /// `<daemon>.pid`, as in `ctdbd.pid`.
    pub fn pid_file(&self, daemon: &str) -> PathBuf {
        self.pid_dir.join(format!("{daemon}.pid"))
    }

    /// `<daemon>.socket`. That of ctdbd is `CTDB_SOCKET` in test mode, if set.
    pub fn socket(&self, daemon: &str) -> PathBuf {
        match &self.ctdbd_socket {
            Some(socket) if daemon == "ctdbd" => socket.clone(),
            _ => self.socket_dir.join(format!("{daemon}.socket")),
        }
    }

    /// The lock that one of several daemons on a host holds while it looks for the address to listen on.
    pub fn listen_lock(&self) -> PathBuf {
        self.lock_dir.join("tcp_listen_automatic.lock")
    }

    /// Default of `[logging] location`. Compiled in, also in test mode, as upstream's.
    pub(crate) fn default_log_location() -> String {
        format!("file:{LOGDIR}/log.ctdb")
    }

    /// Default database directories. Compiled in, also in test mode, as upstream's.
    pub(crate) fn default_database_dir(name: &str) -> String {
        format!("{VARDIR}/{name}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(vars: &[(&str, &str)]) -> Result<Paths, PathsError> {
        Paths::from_vars(|name| {
            vars.iter()
                .find(|(n, _)| *n == name)
                .map(|(_, v)| OsString::from(v))
        })
    }

    #[test]
    fn a_test_node_lives_below_its_base() {
        let node = paths(&[("CTDB_TEST_MODE", "yes"), ("CTDB_BASE", "/t/node.0")]).unwrap();
        assert_eq!(node.config(), Path::new("/t/node.0/ctdb.conf"));
        assert_eq!(node.socket("ctdbd"), Path::new("/t/node.0/run/ctdbd.socket"));
        assert_eq!(node.pid_file("eventd"), Path::new("/t/node.0/run/eventd.pid"));
        assert_eq!(node.var_dir, Path::new("/t/node.0/var"));
        assert_eq!(node.data_dir, Path::new("/t/node.0/share"));
    }

    #[test]
    fn test_mode_without_a_base_is_refused() {
        assert_eq!(paths(&[("CTDB_TEST_MODE", "")]), Err(PathsError::NoBase));
    }

    #[test]
    fn ctdb_socket_counts_only_in_test_mode_and_only_for_ctdbd() {
        let socket = ("CTDB_SOCKET", "/tmp/s");
        assert_eq!(paths(&[socket]).unwrap(), Paths::installed());
        let node = paths(&[("CTDB_TEST_MODE", "1"), ("CTDB_BASE", "/t"), socket]).unwrap();
        assert_eq!(node.socket("ctdbd"), Path::new("/tmp/s"));
        assert_eq!(node.socket("eventd"), Path::new("/t/run/eventd.socket"));
    }

    #[test]
    fn the_most_particular_setting_says_where_a_helper_is() {
        let test = [
            ("CTDB_TEST_MODE", "1"),
            ("CTDB_BASE", "/t"),
            ("CTDB_TEST_HELPER_BINDIR", "/test"),
        ];
        let helper = |extra: &[(&str, &str)]| {
            paths(&[&test[..], extra].concat())
                .unwrap()
                .helper("ctdb_recovery_helper")
        };
        assert_eq!(helper(&[]), Path::new("/test/ctdb_recovery_helper"));
        let dir = ("CTDB_HELPER_BINDIR", "/always");
        assert_eq!(helper(&[dir]), Path::new("/always/ctdb_recovery_helper"));
        assert_eq!(
            helper(&[dir, ("CTDB_RECOVERY_HELPER", "/own/rh")]),
            Path::new("/own/rh")
        );
        assert_eq!(
            helper(&[("CTDB_RECOVERY_HELPER", "")]),
            Path::new("/test/ctdb_recovery_helper")
        );
        let installed = paths(&[("CTDB_TEST_HELPER_BINDIR", "/test")]).unwrap();
        assert_eq!(
            installed.helper("ctdb-eventd"),
            Paths::installed().helper_dir.join("ctdb-eventd")
        );
    }
}
