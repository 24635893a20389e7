//! A takeover run: `ctdb_takeover_helper` as a library.
//!
//! The recovery daemon of the leader starts the helper when addresses may not be where they should be. It is a client of
//! its node's ctdbd and reaches the other nodes through it: it asks all nodes which public addresses they have
//! and could have, decides ([`ctdb_ipalloc`]), and has addresses released and taken. It works with C daemons as with ours.
//!
//! ```text
//! args     the command line                  run      the whole run, phase by phase
//! ask      one question to many nodes        blame    who failed, and who is to be told on
//! ```

pub mod args;
mod ask;
pub mod blame;
pub mod run;

use std::ffi::OsString;
use std::process::ExitCode;

use ctdb_client::Client;
use ctdb_conf::Paths;
use ctdb_runtime::sync::{Either, select2};
use ctdb_runtime::{Handle, Runtime, Signal, Stream, sys};

use args::Args;
pub use ask::Failed;
use run::Options;

/// As the C helper names itself in the log.
const LOG_NAME: &str = "ctdb-takeover";
/// Set by the recovery daemon, to anything, when `[failover] disabled` is.
const ENV_FAILOVER_DISABLED: &str = "CTDB_DISABLE_IP_FAILOVER";

/// The program: `args` is what follows its name. 0 after a run that did all, else the error number that the recovery
/// daemon gets, too.
pub fn main(args: &[OsString]) -> ExitCode {
    let args = match Args::parse(args) {
        Ok(args) => args,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
    };
    if let Err(error) = start_logging(&args) {
        eprintln!("ctdb_takeover_helper: {error}");
        return ExitCode::FAILURE;
    }
    let runtime = match Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            log::error!("The takeover helper cannot start: {error}");
            return ExitCode::FAILURE;
        }
    };
    let options = Options {
        rebalance: args.rebalance.clone(),
        failover_disabled: std::env::var_os(ENV_FAILOVER_DISABLED).is_some(),
        home_nodes: Paths::from_env().ok().map(|paths| paths.home_nodes()),
    };
    let handle = runtime.handle();
    let code = runtime.block_on(async move { helper(&handle, &args, &options).await });
    ExitCode::from(code)
}

/// Does the run, and writes the result for the recovery daemon. Returns the exit code.
pub async fn helper(handle: &Handle, args: &Args, options: &Options) -> u8 {
    let _reopening = reopen_log_on_hangup(handle);
    let output = match handle.inherited_stream(args.output_fd) {
        Ok(output) => output,
        Err(error) => {
            log::error!(
                "Descriptor {} for the result of the takeover run cannot be used: {error}",
                args.output_fd
            );
            return 1;
        }
    };
    let takeover = async {
        let client = Client::connect(handle, &args.socket).await?;
        run::run(client, options).await
    };
    match select2(takeover, output.readable()).await {
        Either::Left(Ok(())) => tell(&output, 0).await,
        Either::Left(Err(failed)) => {
            log::error!("The takeover run failed: {failed}");
            tell(&output, failed.errno()).await
        }
        Either::Right(()) => {
            // We never read from it: its other end is closed. What is under way may contradict the run of the next leader.
            log::error!("The recovery daemon that wanted this takeover run is gone: given up");
            1
        }
    }
}

async fn tell(output: &Stream, result: i32) -> u8 {
    if let Err(error) = output.write_all(&result.to_le_bytes()).await {
        log::error!("The result {result} of the takeover run cannot be written: {error}");
        return 1;
    }
    exit_code(result)
}

/// The low byte, as the system takes it, but never 0 for a failure.
fn exit_code(result: i32) -> u8 {
    match result.to_le_bytes()[0] {
        0 if result != 0 => 1,
        code => code,
    }
}

/// The recovery daemon passes the signal on when logs were rotated.
fn reopen_log_on_hangup(handle: &Handle) -> Option<ctdb_runtime::Task<()>> {
    let signals = handle.signals(&[Signal::SIGHUP]).ok()?;
    Some(handle.spawn(async move {
        loop {
            signals.recv().await;
            if let Err(error) = ctdb_logging::reopen() {
                log::error!("The log file cannot be opened anew: {error}");
            }
        }
    }))
}

/// A log descriptor up to 2 is the standard error that we have anyway.
fn start_logging(args: &Args) -> Result<(), Box<dyn std::error::Error>> {
    match args.log_fd {
        None => ctdb_logging::init_from_env(LOG_NAME)?,
        Some(0..=2) => ctdb_logging::init_stderr(LOG_NAME, ctdb_logging::Level::NOTICE)?,
        Some(fd) => ctdb_logging::init_fd(LOG_NAME, sys::inherited_fd(fd)?)?,
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_never_exits_like_a_success() {
        assert_eq!(exit_code(0), 0);
        assert_eq!(exit_code(110), 110);
        assert_eq!(exit_code(-1), 255);
        assert_eq!(exit_code(256), 1);
    }
}
