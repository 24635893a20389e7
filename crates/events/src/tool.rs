//! The command `ctdb-event`. What it prints on standard output and its exit codes are upstream's: scripts read them.

mod script_files;
mod show;

use std::env;

pub use ctdb_conf::command_line::Said;
use ctdb_conf::command_line::{self, Tool};
use ctdb_conf::{Paths, PathsError};
use ctdb_logging::Level;
use ctdb_runtime::{Handle, Runtime};
use libc::{ECANCELED, EIO, ENOENT, ENOEXEC, ETIMEDOUT};

use crate::client::{self, ClientError};
use crate::proto::{FLAG_RUN_ALL, Run};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Command {
    Run,
    Status,
    ScriptList,
    ScriptEnable,
    ScriptDisable,
}

const TOOL: Tool<Command> = Tool {
    name: "ctdb-event",
    options: "[-h] [-h|--help]\n        [-d|--debug=ERROR|WARNING|NOTICE|INFO|DEBUG]",
    has_level: true,
    has_popt_help: false,
    commands: &[
        command_line::Command {
            id: Command::Run,
            name: "run",
            args: "<timeout> <component> <event> <args>",
            help: "Run an event",
        },
        command_line::Command {
            id: Command::Status,
            name: "status",
            args: "<component> <event>",
            help: "Get status of an event",
        },
        command_line::Command {
            id: Command::ScriptList,
            name: "script list",
            args: "<component>",
            help: "List event scripts",
        },
        command_line::Command {
            id: Command::ScriptEnable,
            name: "script enable",
            args: "<component> <script>",
            help: "Enable an event script",
        },
        command_line::Command {
            id: Command::ScriptDisable,
            name: "script disable",
            args: "<component> <script>",
            help: "Disable an event script",
        },
    ],
};

/// Runs the command with `args` (without the program's name), prints what it says and gives its exit code.
/// `ctdb event ...` is the same with the arguments behind `event`.
pub fn main(args: &[String]) -> u8 {
    run(args, Paths::from_env()).print()
}

/// Runs the command and tells what it says.
pub fn run(args: &[String], paths: Result<Paths, PathsError>) -> Said {
    let invocation = match TOOL.parse(args) {
        Ok(invocation) => invocation,
        Err(said) => return said,
    };
    let level = invocation
        .level
        .and_then(|level| level.parse().ok())
        .unwrap_or(Level::ERROR);
    // Lines on standard error are a help, not what is asked for: without a logger there are none.
    let _ = ctdb_logging::init_stderr("ctdb-event", level);

    let mut out = String::new();
    let command = invocation.command;
    let result = paths
        .map_err(|error| told(&error))
        .and_then(|paths| carry_out(command, &invocation.args, &paths, &mut out));
    match result {
        Ok(result) => Said {
            out,
            code: exit_code(result),
            ..Said::default()
        },
        Err(Trouble::Usage) => Said {
            out: TOOL.usage_of(command),
            code: 1,
            ..Said::default()
        },
        Err(Trouble::Told { err, code }) => Said { out, err, code },
    }
}

/// Why a command did not come to a result.
enum Trouble {
    /// Wrong number of arguments.
    Usage,
    /// To be said on standard error.
    Told { err: String, code: u8 },
}

fn told(error: &dyn std::fmt::Display) -> Trouble {
    Trouble::Told {
        err: format!("{error}\n"),
        code: 1,
    }
}

/// An errno or a script's status, whose sign does not matter, as the system cuts it.
fn exit_code(result: i32) -> u8 {
    (result.unsigned_abs() & 0xff) as u8
}

fn carry_out(command: Command, args: &[String], paths: &Paths, out: &mut String) -> Result<i32, Trouble> {
    match (command, args) {
        (Command::Run, [timeout, component, event, args @ ..]) => {
            let run = Run {
                component: Some(component.clone()),
                event: Some(event.clone()),
                args: (!args.is_empty()).then(|| args.join(" ")),
                timeout_secs: leading_seconds(timeout),
                flags: run_flags(paths),
            };
            let result =
                with_runtime(async |handle| client::run(&handle, &paths.socket("eventd"), run).await)?;
            out.push_str(&run_result(component, event, result));
            Ok(result)
        }
        (Command::Status, [component, event]) => {
            let socket = paths.socket("eventd");
            match with_runtime(async |handle| client::status(&handle, &socket, component, event).await)? {
                Ok(status) => {
                    out.push_str(&show::status(&status, &jiff::tz::TimeZone::system()));
                    Ok(status.summary)
                }
                Err(errno) => {
                    out.push_str(&show::no_status(component, event, errno));
                    Ok(errno)
                }
            }
        }
        (Command::ScriptList, [component]) => Ok(script_files::list(paths, component, out)),
        (Command::ScriptEnable, [component, script]) => {
            Ok(script_files::enable(paths, component, script, out))
        }
        (Command::ScriptDisable, [component, script]) => {
            Ok(script_files::disable(paths, component, script, out))
        }
        _ => Err(Trouble::Usage),
    }
}

fn with_runtime<T>(work: impl AsyncFnOnce(Handle) -> Result<T, ClientError>) -> Result<T, Trouble> {
    let runtime = Runtime::new().map_err(|error| told(&format!("setting up the event loop: {error}")))?;
    runtime
        .block_on(work(runtime.handle()))
        .map_err(|error| match told(&error) {
            // Without a daemon upstream's tool ends with EIO.
            Trouble::Told { err, .. } if matches!(error, ClientError::Connect { .. }) => Trouble::Told {
                err,
                code: exit_code(EIO),
            },
            other => other,
        })
}

/// Tests run all scripts although some fail.
fn run_flags(paths: &Paths) -> u32 {
    if paths.test_mode && env::var_os("CTDB_EVENT_RUN_ALL").is_some() {
        FLAG_RUN_ALL
    } else {
        0
    }
}

/// As C's atoi: the number at the beginning, 0 if there is none; below 0 is 0.
fn leading_seconds(text: &str) -> u32 {
    let text = text.trim_start().trim_start_matches('+');
    let len = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    text[..len]
        .parse()
        .unwrap_or(if len == 0 { 0 } else { i32::MAX.unsigned_abs() })
}

fn run_result(component: &str, event: &str, result: i32) -> String {
    match result {
        0 => String::new(),
        ENOENT => format!("Event dir for {component} does not exist\n"),
        ETIMEDOUT => format!("Event {event} in {component} timed out\n"),
        ECANCELED => format!("Event {event} in {component} got cancelled\n"),
        ENOEXEC => format!("Event {event} in {component} failed\n"),
        other => format!("Failed to run event {event} in {component}, result={other}\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_the_number_in_front() {
        assert_eq!(leading_seconds("30"), 30);
        assert_eq!(leading_seconds("30s"), 30);
        assert_eq!(leading_seconds("abc"), 0);
        assert_eq!(leading_seconds("-5"), 0);
        assert_eq!(leading_seconds("99999999999"), 2147483647);
    }

    #[test]
    fn the_exit_code_is_the_result_without_its_sign() {
        assert_eq!(exit_code(-110), 110);
        assert_eq!(exit_code(255), 255);
        assert_eq!(exit_code(0), 0);
    }
}
