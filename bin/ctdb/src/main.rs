//! The operator's tool: shows and changes the state of nodes and databases.

use std::process::ExitCode;

fn main() -> ExitCode {
    let words: Vec<_> = std::env::args_os().skip(1).collect();
    ExitCode::from(ctdb_cli::main(&words))
}
