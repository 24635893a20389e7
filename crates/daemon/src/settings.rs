//! What is fixed from start to end: read from ctdb.conf, the nodes file and the environment.

use std::ffi::OsString;
use std::net::{IpAddr, SocketAddr};

use ctdb_conf::{Config, Paths};
use ctdb_mutex::spec::LockCommand;
use ctdb_protocol::Pnn;
use ctdb_protocol::packet::Version;

/// See the fields.
pub struct Settings {
    /// This node.
    pub me: Pnn,
    /// Address that peers know this node by.
    pub address: SocketAddr,
    /// Where everything is.
    pub paths: Paths,
    /// ctdb.conf.
    pub config: Config,
    /// How to take the cluster lock, if one is configured.
    pub cluster_lock: Option<LockCommand>,
    /// `CTDB_TEST_MODE` is set.
    pub test_mode: bool,
    /// In the foreground (`-i`).
    pub interactive: bool,
    /// What every child of the daemon finds in its environment.
    pub child_env: Vec<(&'static str, OsString)>,
    /// What keepalives announce whoever listens (CTDB_TEST_SAMBA_VERSION); otherwise each peer hears its own.
    pub fixed_version: Option<Version>,
}

impl Settings {
    /// Own address without port: links are bound to it.
    pub fn ip(&self) -> IpAddr {
        self.address.ip()
    }

    /// The environment of children: where the configuration is, and where to log.
    pub fn environment(paths: &Paths, config: &Config, interactive: bool) -> Vec<(&'static str, OsString)> {
        let mut vars = vec![
            ("CTDB_BASE", paths.etc_dir.clone().into_os_string()),
            (
                "CTDB_DBDIR_STATE",
                config.database.state_dir.clone().into_os_string(),
            ),
        ];
        let logging = ctdb_logging::child_env(&config.logging.location, config.logging.level, interactive);
        vars.extend(logging.into_iter().map(|(name, value)| (name, value.into())));
        if config.failover.disabled {
            vars.push(("CTDB_DISABLE_IP_FAILOVER", "1".into()));
        }
        vars
    }

    /// The text of the `cluster lock` option, empty when there is none.
    pub fn cluster_lock_text(&self) -> &str {
        self.config.cluster.lock.as_deref().unwrap_or("")
    }
}
