//! Records, locks and transactions through real files, sockets and helper processes. Started with `--pool`,
//! this program is a lock helper.

// Clippy takes only functions with #[test] for tests; these are run by the main function below.
#![allow(clippy::unwrap_used)]

mod detach;
mod inactive;
mod locks;
mod nodes;
mod readonly;
mod records;
mod services;
mod sticky;
mod transactions;
mod traverse;
mod vacuum;
mod world;

use std::ffi::OsString;
use std::panic::catch_unwind;
use std::process::ExitCode;

type Test = (&'static str, fn());

fn main() -> ExitCode {
    let args: Vec<OsString> = std::env::args_os().collect();
    if args.get(1).is_some_and(|arg| arg == "--pool") {
        return ctdb_lockhelper::command::main(&args);
    }
    let wanted = args
        .get(1)
        .and_then(|arg| arg.to_str())
        .filter(|arg| !arg.starts_with('-'));
    let all = [
        records::TESTS,
        locks::TESTS,
        readonly::TESTS,
        vacuum::TESTS,
        sticky::TESTS,
        transactions::TESTS,
        traverse::TESTS,
        detach::TESTS,
        services::TESTS,
        inactive::TESTS,
        nodes::TESTS,
    ]
    .concat();
    if args.iter().any(|arg| arg == "--list") {
        all.iter().for_each(|(name, _)| println!("{name}: test"));
        return ExitCode::SUCCESS;
    }
    let mut failed = 0;
    for (name, test) in all
        .iter()
        .filter(|(name, _)| wanted.is_none_or(|part| name.contains(part)))
    {
        let ok = catch_unwind(test).is_ok();
        println!("test {name} ... {}", if ok { "ok" } else { "FAILED" });
        failed += usize::from(!ok);
    }
    println!("{} tests, {failed} failed", all.len());
    if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
