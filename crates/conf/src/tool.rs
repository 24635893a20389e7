//! The tools `ctdb-config` and `ctdb-path`, which event scripts call.

use std::path::Path;

use ctdb_logging::Level;

use crate::command_line::{Command, Said, Tool};
use crate::{Config, Finding, FindingKind, Paths, PathsError};

const EINVAL: u8 = 22;
const ENOENT: u8 = 2;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ConfigCommand {
    Dump,
    Get,
    Validate,
}

const CONFIG: Tool<ConfigCommand> = Tool {
    name: "ctdb-config",
    options: "[-h?] [-h|--help] [-?|--help] [--usage]\n        [-d|--debug=ERROR|WARNING|NOTICE|INFO|DEBUG]",
    has_level: true,
    has_popt_help: true,
    commands: &[
        Command {
            id: ConfigCommand::Dump,
            name: "dump",
            args: "",
            help: "Dump configuration",
        },
        Command {
            id: ConfigCommand::Get,
            name: "get",
            args: "<section> <key>",
            help: "Get a config value",
        },
        Command {
            id: ConfigCommand::Validate,
            name: "validate",
            args: "",
            help: "Validate configuration file",
        },
    ],
};

/// Runs `ctdb-config` with `args` (without the program's name).
pub fn config(args: &[String], paths: Result<Paths, PathsError>) -> Said {
    let invocation = match CONFIG.parse(args) {
        Ok(invocation) => invocation,
        Err(said) => return said,
    };
    let paths = match paths {
        Ok(paths) => paths,
        Err(error) => {
            return Said {
                err: format!("{error}\n"),
                code: 1,
                ..Said::default()
            };
        }
    };
    let level = invocation
        .level
        .and_then(|level| level.parse().ok())
        .unwrap_or(Level::ERROR);
    match (invocation.command, invocation.args.as_slice()) {
        (ConfigCommand::Dump, []) => with_config(&paths, level, Config::dump),
        (ConfigCommand::Get, [section, name]) => match Config::default_values().get(section, name) {
            Ok(_) => with_config(&paths, level, |config| {
                format!("{}\n", config.get(section, name).unwrap_or_default())
            }),
            Err(_) => {
                let err = format!("[{section}] {name}: unknown option, `ctdb-config dump` shows all\n");
                Said {
                    err,
                    code: ENOENT,
                    ..Said::default()
                }
            }
        },
        (ConfigCommand::Validate, []) => validate(&paths, level),
        (command, _) => Said {
            out: CONFIG.usage_of(command),
            code: EINVAL,
            ..Said::default()
        },
    }
}

fn with_config(paths: &Paths, level: Level, show: impl FnOnce(&Config) -> String) -> Said {
    match Config::load(paths) {
        Err(error) => failed(&error),
        Ok(config) => Said {
            out: show(&config),
            err: notes(&config.findings, level, Level::DEBUG),
            code: 0,
        },
    }
}

/// Unlike daemons and the other commands this wants a file, and nothing unknown in it.
fn validate(paths: &Paths, level: Level) -> Said {
    match Config::load(paths) {
        Err(error) => failed(&error),
        Ok(config) if !config.file_exists => Said {
            err: format!("{} does not exist\n", config.file.display()),
            code: ENOENT,
            ..Said::default()
        },
        Ok(config) => {
            let code = if config.is_strictly_valid() { 0 } else { EINVAL };
            Said {
                err: notes(&config.findings, level, Level::ERROR),
                code,
                ..Said::default()
            }
        }
    }
}

fn failed(error: &crate::ConfigError) -> Said {
    let code = u8::try_from(error.errno()).unwrap_or(EINVAL);
    Said {
        err: format!("{error}\n"),
        code,
        ..Said::default()
    }
}

/// Findings that are shown at this level; `unknown_at` is that of unknown options.
fn notes(findings: &[Finding], level: Level, unknown_at: Level) -> String {
    let shown = |finding: &&Finding| match finding.kind {
        FindingKind::Error => true,
        FindingKind::Unknown => level >= unknown_at,
        FindingKind::Note => level >= Level::WARNING,
    };
    findings
        .iter()
        .filter(shown)
        .map(|finding| format!("{finding}\n"))
        .collect()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PathCommand {
    Config,
    PidFile,
    Socket,
    Dir(Dir),
    Append(Dir),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Dir {
    Data,
    Etc,
    Lock,
    Pid,
    Socket,
    Var,
}

impl Dir {
    fn of(self, paths: &Paths) -> &Path {
        match self {
            Dir::Data => &paths.data_dir,
            Dir::Etc => &paths.etc_dir,
            Dir::Lock => &paths.lock_dir,
            Dir::Pid => &paths.pid_dir,
            Dir::Socket => &paths.socket_dir,
            Dir::Var => &paths.var_dir,
        }
    }
}

/// The two commands of a directory.
macro_rules! path_tool {
    ($($dir:ident $name:literal $shown:literal;)*) => {
        const PATH: Tool<PathCommand> = Tool {
            name: "ctdb-path",
            options: "[-h] [-h|--help]",
            has_level: false,
            has_popt_help: false,
            commands: &[
                Command { id: PathCommand::Config, name: "config", args: "", help: "Get path of CTDB config file" },
                Command { id: PathCommand::PidFile, name: "pidfile", args: "<daemon>", help: "Get path of CTDB daemon pidfile" },
                Command { id: PathCommand::Socket, name: "socket", args: "<daemon>", help: "Get path of CTDB daemon socket" },
                $(
                    Command {
                        id: PathCommand::Append(Dir::$dir),
                        name: concat!($name, " append"),
                        args: "<path>",
                        help: concat!("Get path relative to CTDB ", $shown),
                    },
                    Command { id: PathCommand::Dir(Dir::$dir), name: $name, args: "", help: concat!("Get path of CTDB ", $shown) },
                )*
            ],
        };
    };
}

path_tool! {
    Data "datadir" "DATADIR";
    Etc "etcdir" "ETCDIR";
    Lock "lockdir" "LOCKDIR";
    Pid "piddir" "PIDDIR";
    Socket "socketdir" "SOCKETDIR";
    Var "vardir" "VARDIR";
}

/// Runs `ctdb-path` with `args` (without the program's name). `rundir` of 4.17 is taken for `lockdir`.
pub fn path(args: &[String], paths: Result<Paths, PathsError>) -> Said {
    let mut args = args.to_vec();
    if let Some(first) = args.first_mut().filter(|first| *first == "rundir") {
        "lockdir".clone_into(first);
    }
    let invocation = match PATH.parse(&args) {
        Ok(invocation) => invocation,
        Err(said) => return said,
    };
    let paths = match paths {
        Ok(paths) => paths,
        Err(error) => {
            return Said {
                err: format!("{error}\n"),
                code: 1,
                ..Said::default()
            };
        }
    };
    // Joined as text: what is appended stays as it was given.
    let path = match (invocation.command, invocation.args.as_slice()) {
        (PathCommand::Config, []) => paths.config().display().to_string(),
        (PathCommand::PidFile, [daemon]) => paths.pid_file(daemon).display().to_string(),
        (PathCommand::Socket, [daemon]) => paths.socket(daemon).display().to_string(),
        (PathCommand::Dir(dir), []) => dir.of(&paths).display().to_string(),
        (PathCommand::Append(dir), [rest]) => format!("{}/{rest}", dir.of(&paths).display()),
        (command, _) => {
            return Said {
                out: PATH.usage_of(command),
                code: EINVAL,
                ..Said::default()
            };
        }
    };
    Said {
        out: format!("{path}\n"),
        ..Said::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn strings(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    #[test]
    fn validate_wants_a_file_without_anything_unknown() {
        let dir = tempfile::tempdir().unwrap();
        let paths = Paths::in_base(dir.path());
        let run = |words: &[&str]| config(&strings(words), Ok(paths.clone()));
        assert_eq!(run(&["validate"]).code, ENOENT);
        fs::write(paths.config(), "[cluster]\nnosuch = 1\nrecovery lock = /x\n").unwrap();
        let said = run(&["validate"]);
        assert_eq!((said.code, said.err.lines().count()), (EINVAL, 1), "{said:?}");
        assert_eq!(run(&["-d", "WARNING", "validate"]).err.lines().count(), 2);
        assert_eq!(run(&["get", "cluster", "recovery lock"]).out, "/x\n");
        assert_eq!(run(&["get", "cluster", "nosuch"]).code, ENOENT);
        fs::write(paths.config(), "[cluster]\nleader timeout = 0\n").unwrap();
        assert_eq!(run(&["dump"]).code, EINVAL);
    }

    #[test]
    fn a_path_can_be_appended_to_each_directory() {
        let paths = Paths::in_base(Path::new("/t"));
        let out = |words: &[&str]| path(&strings(words), Ok(paths.clone())).out;
        assert_eq!(out(&["etcdir"]), "/t\n");
        assert_eq!(out(&["vardir", "append", "a/b"]), "/t/var/a/b\n");
        assert_eq!(out(&["rundir", "append", "x"]), "/t/run/x\n");
        assert_eq!(out(&["socket", "eventd"]), "/t/run/eventd.socket\n");
        assert_eq!(
            path(&strings(&["etcdir", "x", "y"]), Ok(paths.clone())).code,
            EINVAL
        );
        assert_eq!(path(&strings(&["config"]), Err(PathsError::NoBase)).code, 1);
    }
}
