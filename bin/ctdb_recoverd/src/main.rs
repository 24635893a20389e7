//! The recovery daemon: looks at the cluster, elects, decides on recoveries. Started by ctdbd.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use ctdb_conf::{Config, Paths};
use ctdb_recoverd::Settings;
use ctdb_runtime::Runtime;

/// Looks at the cluster, elects the leader, decides on recoveries. Started by ctdbd.
#[derive(Parser)]
#[command(version)]
struct Options {
    /// End when the process with this id ends
    #[arg(long, value_name = "PID")]
    ctdbd_pid: Option<u32>,
    /// Client socket of ctdbd; else where the configuration has it
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
}

fn main() -> ExitCode {
    let options = match Options::try_parse() {
        Ok(options) => options,
        Err(error) => {
            // Standard error may be closed; the exit code says it as well.
            let _ = error.print();
            return if error.use_stderr() {
                ExitCode::FAILURE
            } else {
                ExitCode::SUCCESS
            };
        }
    };
    match run(options) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            log::error!("ctdb_recoverd: {error:#}");
            eprintln!("ctdb_recoverd: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: Options) -> anyhow::Result<u8> {
    ctdb_logging::init_from_env("ctdb-recoverd")?;
    let paths = Paths::from_env()?;
    let config = Config::load(&paths).context("loading the configuration")?;
    let var = |name: &str| std::env::var(name).ok();
    let settings = Settings::new(paths, &config, options.ctdbd_pid, options.socket, var);
    let runtime = Runtime::new().context("setting up the event loop")?;
    let handle = runtime.handle();
    runtime.block_on(ctdb_recoverd::run(&handle, settings))
}
