//! Shows and checks `ctdb.conf`.

use std::process::ExitCode;

use ctdb_conf::{Paths, tool};

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args_os()
        .skip(1)
        .map(|arg| arg.to_string_lossy().into_owned())
        .collect();
    ExitCode::from(tool::config(&args, Paths::from_env()).print())
}
