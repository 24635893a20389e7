//! Holds the cluster lock as an fcntl lock on a shared file. All of it is in [`ctdb_mutex::fcntl_helper`].

use std::ffi::OsString;
use std::process::ExitCode;

fn main() -> ExitCode {
    let args: Vec<OsString> = std::env::args_os().collect();
    ctdb_mutex::fcntl_helper::main(&args)
}
