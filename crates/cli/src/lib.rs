//! The tool `ctdb`: what operators and their scripts see of a cluster.
//!
//! Output, exit codes and the sentences on standard error are those of the C tool (4.17), to the byte, as scripts read
//! them. Exceptions are on purpose: the sentences of the usage are our own, and where the C tool polls once a second,
//! this one returns as soon as there is something to return with.
//!
//! The story of a run: [`options`] understands the command line, [`commands`] finds the command in the one table of all,
//! [`context`] connects to the daemon, a function of `cmd` has the conversation with it, and the pure functions of `show`
//! make the text. A failure carries its sentences and its exit code ([`failure::Failure`]).

mod args;
mod cmd;
pub mod commands;
mod console;
pub mod context;
pub mod failure;
pub mod numbers;
pub mod options;
mod patience;
pub mod show;
mod usage;
mod watchdog;

use std::ffi::OsString;

use ctdb_conf::Paths;
use ctdb_logging::Level;
use ctdb_protocol::DebugLevel;
use ctdb_runtime::Runtime;

use args::Args;
use commands::{Alone, Command, Run};
use context::Context;
use failure::{Failure, Outcome, Usage};
use options::{Options, Stop};

/// Runs the tool with `words` (without the program's name) and gives its exit code.
pub fn main(words: &[OsString]) -> u8 {
    let outcome = understand(words).and_then(|(options, words)| run(options, &words));
    let code = match outcome {
        Ok(code) => code,
        Err(failure) => tell(&failure),
    };
    // The kernel keeps the low byte of an exit code; -1 is "some failure".
    if code == -1 { 1 } else { (code & 0xff) as u8 }
}

/// Options and words; or what is to be said instead.
fn understand(words: &[OsString]) -> Result<(Options, Vec<OsString>), Failure> {
    let (mut options, words) = Options::parse(words).map_err(|stop| match stop {
        Stop::Invalid { option, why } => Failure::said(format!("Invalid option {option}: {why}")),
        Stop::Help => {
            console::out(&usage::options());
            Failure::quiet(0)
        }
        Stop::BriefUsage => {
            console::out(usage::BRIEF);
            Failure::quiet(0)
        }
    })?;
    options.settle_max_runtime(std::env::var_os("CTDB_TIMEOUT").as_deref())?;
    Ok((options, words))
}

fn run(options: Options, words: &[OsString]) -> Outcome {
    let Some((name, words)) = words.split_first() else {
        return Err(Failure::usage(Usage::Full));
    };
    let command = commands::find(name)
        .ok_or_else(|| Failure::said(format!("Unknown command '{}'", name.to_string_lossy())))?;

    let level = options.debug.as_deref().and_then(DebugLevel::parse);
    let level = Level(level.unwrap_or(DebugLevel::ERROR).0);
    // Log lines are a help, not what is asked for: without a logger there are none.
    let _ = ctdb_logging::init_stderr("ctdb", level);
    let in_own_group = watchdog::leave_group_in_tests();
    watchdog::start(options.max_runtime);

    let paths = Paths::from_env().map_err(|error| Failure::said(error.to_string()))?;
    let args = Args::new(command.name, words);
    match command.run {
        Run::Alone(function) => {
            if options.node.is_some() {
                return Err(Failure::said(format!(
                    "Cannot specify node for command {}",
                    command.name
                )));
            }
            function(
                &Alone {
                    options,
                    paths,
                    in_own_group,
                },
                &args,
            )
        }
        Run::Node(_) | Run::Own(_) => converse(command, options, paths, &args),
    }
}

/// Connects to the daemon and has the command's conversation.
fn converse(command: &Command, options: Options, paths: Paths, args: &Args<'_>) -> Outcome {
    let runtime =
        Runtime::new().map_err(|error| Failure::said(format!("Failed to initialize runtime: {error}")))?;
    let handle = runtime.handle();
    runtime.block_on(async {
        let context = Context::connect(&handle, options, paths).await?;
        match command.run {
            Run::Own(_) if !context.is_own_node() => Err(Failure::said(format!(
                "Node cannot be specified for command {}",
                command.name
            ))),
            Run::Own(conversation) | Run::Node(conversation) => conversation(&context, args).await,
            Run::Alone(_) => unreachable!("commands without daemon do not come here"),
        }
    })
}

/// Says why a command failed; its exit code.
fn tell(failure: &Failure) -> i32 {
    for line in &failure.lines {
        console::err(line);
    }
    match failure.usage {
        Some(Usage::Full) => console::out(&usage::full()),
        Some(Usage::Of(name)) => console::out(&usage::of(name)),
        None => {}
    }
    failure.code
}
