//! Steps at which a test can hold a recovery, to kill the helper just there.

use std::path::PathBuf;

/// Directory in which a test orders holds, for all helpers of a node. Honoured in test mode only.
const ENV_DIRECTORY: &str = "CTDB_TEST_RECOVERY_HOLD";

/// Orders to hold: empty files, named as the steps.
#[derive(Debug, Default)]
pub struct Holds {
    directory: Option<PathBuf>,
}

impl Holds {
    /// None but in test mode.
    pub fn from_env() -> Holds {
        let test_mode = std::env::var_os("CTDB_TEST_MODE").is_some();
        let directory = std::env::var_os(ENV_DIRECTORY).filter(|_| test_mode);
        Holds {
            directory: directory.map(PathBuf::from),
        }
    }

    /// Goes no further than to this step, if that is ordered. The file is renamed to `STEP.held`: the test sees that
    /// the step is reached, and the next helper, or the next database, goes on.
    pub async fn at(&self, step: &str) {
        let Some(directory) = &self.directory else {
            return;
        };
        if std::fs::rename(directory.join(step), directory.join(format!("{step}.held"))).is_ok() {
            log::warn!("A test holds this recovery at the step {step}");
            std::future::pending().await
        }
    }
}
