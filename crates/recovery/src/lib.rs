//! The parallel recovery of all databases: `ctdb_recovery_helper` as a library.
//!
//! The recovery daemon of the leader starts the helper; it is a client of its node's ctdbd and reaches the
//! other nodes through it. All databases are recovered side by side: their records are frozen, collected from the
//! nodes, merged, and given back to all nodes under a new generation. It works with C daemons as with ours.
//!
//! ```text
//! args         the command line                        run          the whole recovery, step by step
//! database     one database, step by step              cluster      one question to all nodes; whom to blame
//! pull         records in, from all nodes at once      push         records out, to all nodes at once
//! collection   the best copy of each record, within    ban          who failed too often
//!              a bound of memory (rank, memory, spill) hold         where tests hold it
//! ```

pub mod args;
mod ban;
pub mod cluster;
pub mod collection;
pub mod database;
mod hold;
mod memory;
mod pull;
mod push;
mod rank;
pub mod run;
mod spill;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use ctdb_runtime::sync::{Either, select2};
use ctdb_runtime::{Handle, Runtime, Stream, sys};

use args::Args;

/// As the C helper names itself in the log.
const LOG_NAME: &str = "ctdb-recovery";
/// Directory for what does not fit into memory, set by ctdbd for its children.
const ENV_STATE_DIR: &str = "CTDB_DBDIR_STATE";

/// The program: `args` is what follows its name. 0 after a recovery, 1 after anything else.
pub fn main(args: &[OsString]) -> ExitCode {
    let args = match Args::parse(args) {
        Ok(args) => args,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
    };
    if let Err(error) = start_logging(&args) {
        eprintln!("ctdb_recovery_helper: {error}");
        return ExitCode::FAILURE;
    }
    let runtime = match Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            log::error!("The recovery helper cannot start: {error}");
            return ExitCode::FAILURE;
        }
    };
    let state_dir = std::env::var_os(ENV_STATE_DIR).map(PathBuf::from);
    let handle = runtime.handle();
    ExitCode::from(runtime.block_on(async move { helper(&handle, &args, state_dir).await }))
}

/// Recovers, and writes the result for the recovery daemon. Returns the exit code.
pub async fn helper(handle: &Handle, args: &Args, state_dir: Option<PathBuf>) -> u8 {
    let output = match handle.inherited_stream(args.output_fd) {
        Ok(output) => output,
        Err(error) => {
            log::error!(
                "Descriptor {} for the result of the recovery cannot be used: {error}",
                args.output_fd
            );
            return 1;
        }
    };
    let recovery = run::connect_and_run(handle, &args.socket, args.generation, state_dir.as_deref());
    match select2(recovery, output.readable()).await {
        Either::Left(Ok(())) => tell(&output).await,
        Either::Left(Err(failed)) => {
            // Nothing is written: the end of the pipe tells the recovery daemon.
            log::error!("Recovery failed: {failed}");
            1
        }
        Either::Right(()) => {
            // We never read from it: its other end is closed. A new recovery daemon will start a recovery of its own.
            log::error!("The recovery daemon that wanted this recovery is gone: given up");
            1
        }
    }
}

async fn tell(output: &Stream) -> u8 {
    match output.write_all(&0i32.to_le_bytes()).await {
        Ok(()) => 0,
        Err(error) => {
            log::error!("The recovery succeeded, but its result cannot be written: {error}");
            1
        }
    }
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
