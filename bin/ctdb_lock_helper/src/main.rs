//! Waits for database locks on behalf of ctdbd. All of it is in [`ctdb_lockhelper`].

use std::ffi::OsString;
use std::process::ExitCode;

fn main() -> ExitCode {
    let args: Vec<OsString> = std::env::args_os().collect();
    ctdb_lockhelper::command::main(&args)
}
