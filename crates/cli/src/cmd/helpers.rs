//! Commands that are other programs.

use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, ExitStatus};

use ctdb_conf::Paths;
use libc::EINTR;

use crate::args::Args;
use crate::commands::Alone;
use crate::console;
use crate::context::Context;
use crate::failure::{Failure, Outcome};
use crate::watchdog::ENV_IN_OWN_GROUP;

pub(crate) fn event(alone: &Alone, args: &Args<'_>) -> Outcome {
    run_event(alone, args.words())
}

/// The exit code is 0 whatever the scripts said.
pub(crate) fn scriptstatus(alone: &Alone, args: &Args<'_>) -> Outcome {
    args.want(0..=1)?;
    let event = args.words().first().cloned().unwrap_or_else(|| "monitor".into());
    if let Err(failure) = run_event(alone, &["status".into(), "legacy".into(), event]) {
        failure.lines.iter().for_each(|line| console::err(line));
    }
    Ok(0)
}

fn run_event(alone: &Alone, words: &[OsString]) -> Outcome {
    run("event daemon helper", &alone.paths.helper("ctdb-event"), words)
}

pub(crate) async fn natgw(cx: &Context, args: &Args<'_>) -> Outcome {
    state_of("NAT gateway helper", "ctdb_natgw", &cx.paths, args)
}

pub(crate) async fn lvs(cx: &Context, args: &Args<'_>) -> Outcome {
    state_of("LVS helper", "ctdb_lvs", &cx.paths, args)
}

fn state_of(what: &str, program: &str, paths: &Paths, args: &Args<'_>) -> Outcome {
    args.want(1..=1)?;
    run(what, &paths.helper(program), args.words())
}

/// Runs a program to its end; the exit code is its own.
fn run(what: &str, program: &Path, words: &[OsString]) -> Outcome {
    let mut command = Command::new(program);
    command.args(words);
    if std::env::var_os("CTDB_TEST_MODE").is_some() {
        // It shall stay in this process's group, to end with it.
        command.env(ENV_IN_OWN_GROUP, "1");
    }
    match command.status() {
        Ok(status) => judge(what, status),
        Err(error) => Err(not_run(what, error.raw_os_error().unwrap_or(libc::ENOEXEC))),
    }
}

fn not_run(what: &str, errno: i32) -> Failure {
    Failure::coded(errno, format!("{what} failed with error {errno}"))
}

/// Upstream's helpers say "could not be run" by an exit code from 64 on.
fn judge(what: &str, status: ExitStatus) -> Outcome {
    match (status.code(), status.signal()) {
        (Some(code @ 64..255), _) => Err(not_run(what, code - 64)),
        (Some(code), _) => Ok(code),
        (None, signal) => {
            let line = format!("{what} terminated with signal {}", signal.unwrap_or(0));
            Err(Failure::coded(EINTR, line))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_are_passed_on_and_high_ones_are_error_numbers() {
        let ended = |code: i32| judge("H", ExitStatus::from_raw(code << 8));
        assert_eq!(ended(10), Ok(10));
        assert_eq!(ended(255), Ok(255));
        assert_eq!(ended(66).unwrap_err(), not_run("H", 2));
    }

    #[test]
    fn a_signal_is_an_interruption() {
        let failure = judge("H", ExitStatus::from_raw(9)).unwrap_err();
        assert_eq!(failure, Failure::coded(EINTR, "H terminated with signal 9"));
    }

    #[test]
    fn a_program_that_is_not_there_fails_with_its_error_number() {
        let failure = run("H", Path::new("/nonexistent/x"), &[]).unwrap_err();
        assert_eq!(failure, not_run("H", libc::ENOENT));
    }
}
