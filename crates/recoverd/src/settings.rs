//! What is fixed from start to end.

use std::path::PathBuf;
use std::time::Duration;

use ctdb_conf::{Config, Paths};

/// Set to `3` beside CTDB_RECOVERY_HELPER: that helper is one of the C implementation, which takes no log descriptor. A program
/// can't be asked.
pub const ENV_HELPER_ARGS: &str = "CTDB_RECOVERY_HELPER_ARGS";

/// See the fields.
#[derive(Clone, Debug)]
pub struct Settings {
    /// ctdbd; the recovery daemon doesn't outlive it.
    pub ctdbd_pid: Option<u32>,
    /// ctdbd's client socket.
    pub socket: PathBuf,
    /// Where helpers are.
    pub paths: Paths,
    /// `[cluster] leader timeout`.
    pub leader_timeout: Duration,
    /// `[failover] disabled`.
    pub failover_disabled: bool,
    /// `[database] state database directory`.
    pub state_dir: PathBuf,
    /// The recovery helper takes `<output-fd> <socket> <generation>`.
    pub c_recovery_helper: bool,
}

impl Settings {
    /// From ctdb.conf and an environment given by `var`. The cluster lock is not among them: ctdbd tells which one it uses, for the
    /// file may have changed since it started.
    pub fn new(
        paths: Paths,
        config: &Config,
        ctdbd_pid: Option<u32>,
        socket: Option<PathBuf>,
        var: impl Fn(&str) -> Option<String>,
    ) -> Settings {
        let own_helper = var("CTDB_RECOVERY_HELPER").is_none_or(|path| path.is_empty());
        Settings {
            ctdbd_pid,
            socket: socket.unwrap_or_else(|| paths.socket("ctdbd")),
            leader_timeout: config.cluster.leader_timeout,
            failover_disabled: config.failover.disabled,
            state_dir: config.database.state_dir.clone(),
            c_recovery_helper: !own_helper && var(ENV_HELPER_ARGS).as_deref() == Some("3"),
            paths,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn settings(vars: &[(&str, &str)]) -> Settings {
        let paths = Paths::in_base(Path::new("/tmp/node"));
        let config =
            Config::parse(Path::new("ctdb.conf"), b"[cluster]\nleader timeout = 7\n", &paths).unwrap();
        let var = |name: &str| {
            vars.iter()
                .find(|(key, _)| *key == name)
                .map(|(_, value)| (*value).to_owned())
        };
        Settings::new(paths, &config, Some(5), None, var)
    }

    #[test]
    fn values_come_from_ctdb_conf_and_the_socket_from_the_node_s_layout() {
        let settings = settings(&[]);
        assert_eq!(settings.leader_timeout, Duration::from_secs(7));
        assert_eq!(settings.socket, Path::new("/tmp/node/run/ctdbd.socket"));
        assert!(!settings.failover_disabled);
    }

    #[test]
    fn only_a_helper_that_was_put_in_place_of_ours_can_be_one_of_c() {
        assert!(!settings(&[(ENV_HELPER_ARGS, "3")]).c_recovery_helper);
        assert!(!settings(&[("CTDB_RECOVERY_HELPER", "/c")]).c_recovery_helper);
        assert!(settings(&[("CTDB_RECOVERY_HELPER", "/c"), (ENV_HELPER_ARGS, "3")]).c_recovery_helper);
    }
}
