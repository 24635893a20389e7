//! The event daemon: runs event scripts for ctdbd.

use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use ctdb_conf::{Config, Paths};
use ctdb_events::server::{self, Stopped};
use ctdb_logging::{ENV_INTERACTIVE, Level, Location};
use ctdb_runtime::Runtime;

/// Runs event scripts for ctdbd.
#[derive(Parser)]
#[command(version)]
struct Options {
    /// End when the process with this id ends
    #[arg(short = 'P', long, value_name = "PID")]
    pid: Option<i32>,
    /// Write a 32-bit zero to this file descriptor when ready
    #[arg(short = 'S', long = "startup-fd", value_name = "FD")]
    startup_fd: Option<i32>,
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
    match run(&options) {
        Ok(stopped) => ExitCode::from(stopped.exit_code()),
        Err(error) => {
            // Before there is a logger, its level is Off.
            match log::max_level() {
                log::LevelFilter::Off => eprintln!("ctdb-eventd: {error:#}"),
                _ => log::error!("the event daemon cannot begin: {error:#}"),
            }
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> anyhow::Result<Stopped> {
    let paths = Paths::from_env()?;
    let config = Config::load(&paths).context("loading the configuration")?;
    let interactive = std::env::var_os(ENV_INTERACTIVE).is_some();
    let (location, level) = match interactive {
        true => (Location::Stderr, Level::NOTICE),
        false => (config.logging.location.clone(), config.logging.level),
    };
    ctdb_logging::init("ctdb-eventd", &location, level)?;
    config
        .findings
        .iter()
        .for_each(|finding| log::debug!("{finding}"));

    let runtime = Runtime::new().context("setting up the event loop")?;
    let handle = runtime.handle();
    let startup = options
        .startup_fd
        .map(|fd| handle.inherited_stream(fd))
        .transpose();
    let startup = startup.context("taking over the descriptor given with -S")?;
    let options = server::Options {
        pid: options.pid,
        startup,
    };
    Ok(runtime.block_on(server::serve(&handle, &paths, config, options))?)
}
