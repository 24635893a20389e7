//! ctdbd, the CTDB daemon: reads options and configuration, leaves the terminal, runs the library.

use std::process::{Command, ExitCode};

use anyhow::{Context, anyhow};
use clap::Parser;
use ctdb_conf::{Config, ConfigError, Finding, NodesFile, NodesSource, Paths, Tunables};
use ctdb_daemon::start::{self, Prepared};
use ctdb_logging::Location;
use ctdb_mutex::spec::LockCommand;
use ctdb_protocol::Version;
use ctdb_runtime::{Runtime, sys};

/// Exit code when another daemon has the pid file.
const EXIT_PID_FILE: u8 = 11;

/// The CTDB daemon.
#[derive(Parser)]
#[command(name = "ctdbd", version)]
struct Options {
    /// Stay in the foreground and log to standard error
    #[arg(short, long)]
    interactive: bool,
}

fn main() -> ExitCode {
    let options = match Options::try_parse() {
        Ok(options) => options,
        Err(error) => {
            let _ = error.print();
            return if error.use_stderr() {
                ExitCode::from(1)
            } else {
                ExitCode::SUCCESS
            };
        }
    };
    match run(&options) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("ctdbd: {error:#}");
            ExitCode::from(1)
        }
    }
}

fn run(options: &Options) -> anyhow::Result<ExitCode> {
    let paths = Paths::from_env()?;
    let config = load_config(&paths)?;
    set_up_logging(options, &paths, &config)?;
    let prepared = match prepare(options, paths, config) {
        Ok(prepared) => prepared,
        Err(error) => {
            log::error!("{error:#}");
            if !options.interactive {
                eprintln!("ctdbd: {error:#}");
            }
            return Ok(ExitCode::from(1));
        }
    };
    if !options.interactive {
        sys::daemonise()?;
    }
    Ok(serve(prepared))
}

/// From here on everything goes to the log only.
fn serve(prepared: Prepared) -> ExitCode {
    let _pid_file = match sys::lock_pid_file(&prepared.paths.pid_file("ctdbd")) {
        Ok(file) => file,
        Err(error) => {
            log::error!("Cannot start: {error}");
            return ExitCode::from(EXIT_PID_FILE);
        }
    };
    if let Err(error) = take_what_the_system_gives(&prepared) {
        log::error!("Cannot start: {error:#}");
        return ExitCode::from(1);
    }
    let runtime = match Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            log::error!("Cannot start: the event loop cannot be made: {error}");
            return ExitCode::from(1);
        }
    };
    let code = runtime.block_on(start::run(runtime.handle(), prepared));
    log::info!("ctdbd ends with exit code {code}");
    ExitCode::from(u8::try_from(code).unwrap_or(1))
}

/// Scheduling, memory, descriptors. Realtime is refused in containers: the option says what to do about it.
fn take_what_the_system_gives(prepared: &Prepared) -> anyhow::Result<()> {
    if let Err(error) = sys::raise_open_files_limit() {
        log::warn!("The limit of open files stays as it is: {error}");
    }
    if prepared.paths.test_mode {
        return Ok(());
    }
    if prepared.config.legacy.realtime_scheduling {
        sys::set_realtime().context(
            "realtime scheduling is refused by the system: run as root with CAP_SYS_NICE, or set \
             [legacy] realtime scheduling = false in ctdb.conf",
        )?;
    }
    if let Err(error) = sys::lock_memory() {
        log::warn!("Memory is not locked, so the daemon can be paged out: {error}");
    }
    Ok(())
}

fn load_config(paths: &Paths) -> anyhow::Result<Config> {
    Config::load(paths).map_err(|error| match error {
        ConfigError::Invalid(findings) => anyhow!("configuration refused:\n{}", lines(&findings)),
        other => anyhow!(other),
    })
}

fn lines(findings: &[Finding]) -> String {
    findings
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join("\n")
}

fn set_up_logging(options: &Options, paths: &Paths, config: &Config) -> anyhow::Result<()> {
    let location = if options.interactive {
        Location::Stderr
    } else {
        config.logging.location.clone()
    };
    // Who looks for this daemon's lines in the system's log finds where they are. Without a system log: nobody looks.
    if !location.is_syslog()
        && !paths.test_mode
        && ctdb_logging::init("ctdbd", &Location::Syslog, config.logging.level).is_ok()
    {
        log::info!("CTDB logging to location {location}");
    }
    ctdb_logging::init("ctdbd", &location, config.logging.level).context("setting up the log")
}

/// Everything that can be found wrong before the daemon leaves the terminal.
fn prepare(options: &Options, paths: Paths, config: Config) -> anyhow::Result<Prepared> {
    for finding in &config.findings {
        log::warn!("{finding}");
    }
    let (tunables, findings) = Tunables::load(&paths);
    for finding in &findings {
        log::error!("{finding}");
    }
    for (what, dir) in [
        ("volatile", &config.database.volatile_dir),
        ("persistent", &config.database.persistent_dir),
        ("state", &config.database.state_dir),
    ] {
        if !dir.is_dir() {
            return Err(anyhow!(
                "[database] {what} database directory: {} is not a directory; make it, or name another one in {}",
                dir.display(),
                config.file.display()
            ));
        }
    }
    let cluster_lock = match config.cluster.lock.as_deref() {
        Some(setting) => Some(
            LockCommand::parse(setting, &paths.helper(ctdb_mutex::spec::FCNTL_HELPER))
                .with_context(|| format!("[cluster] cluster lock = {setting}"))?,
        ),
        None => {
            log::warn!("No cluster lock is configured: a partitioned cluster would go on as two");
            None
        }
    };
    if paths.public_addresses().metadata().is_ok_and(|m| m.len() > 0) {
        log::error!(
            "The addresses in {} are not served: this version moves no public addresses yet",
            paths.public_addresses().display()
        );
    }
    let nodes = load_nodes(&config, &paths)?;
    Ok(Prepared {
        nodes: nodes.nodes,
        interactive: options.interactive,
        fixed_version: fixed_version()?,
        paths,
        config,
        tunables,
        cluster_lock,
    })
}

/// The nodes file, or what the configured command prints.
fn load_nodes(config: &Config, paths: &Paths) -> anyhow::Result<NodesFile> {
    let source = NodesSource::from_config(config, paths);
    let refused = |findings: Vec<Finding>| anyhow!("nodes list refused:\n{}", lines(&findings));
    match &source {
        NodesSource::File(path) => NodesFile::load(path).map_err(|error| match error {
            ConfigError::Invalid(findings) => refused(findings),
            other => anyhow!(other),
        }),
        NodesSource::Command(words) => {
            let (program, args) = words
                .split_first()
                .context("[cluster] nodes list: the command is empty")?;
            let output = Command::new(program)
                .args(args)
                .output()
                .with_context(|| format!("running {program}"))?;
            if !output.status.success() {
                return Err(anyhow!(
                    "nodes list command {program} ended with {}",
                    output.status
                ));
            }
            NodesFile::parse(&source.label(), &output.stdout, ctdb_conf::cluster_port()).map_err(refused)
        }
    }
}

/// Tests may claim another version.
fn fixed_version() -> anyhow::Result<Option<Version>> {
    let Ok(text) = std::env::var("CTDB_TEST_SAMBA_VERSION") else {
        return Ok(None);
    };
    let digits = text.strip_prefix("0x");
    let number = digits.map_or_else(|| text.parse(), |hex| u32::from_str_radix(hex, 16));
    let number = number.with_context(|| {
        format!("CTDB_TEST_SAMBA_VERSION: found \"{text}\", expected a number like 0x00040011")
    })?;
    Ok(Some(Version(number)))
}
