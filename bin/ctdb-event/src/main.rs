//! Client of the event daemon: runs events, shows how they ended, enables and disables scripts.

use std::process::ExitCode;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args_os()
        .skip(1)
        .map(|arg| arg.to_string_lossy().into_owned())
        .collect();
    ExitCode::from(ctdb_events::tool::main(&args))
}
