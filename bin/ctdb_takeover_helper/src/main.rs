//! Moves public addresses to where they belong; started by ctdb_recoverd. All of it is in [`ctdb_takeover`].

use std::ffi::OsString;
use std::process::ExitCode;

fn main() -> ExitCode {
    let args: Vec<OsString> = std::env::args_os().skip(1).collect();
    ctdb_takeover::main(&args)
}
