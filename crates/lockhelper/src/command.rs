//! The command line: which of the two helpers, for whom, over which descriptor.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::ExitCode;

use ctdb_runtime::sys::inherited_fd;
use ctdb_tdb::TdbFlags;

use crate::helper;
use crate::one_shot::{self, Job, What};

/// What the command line says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// `--pool <fd> <ctdbd-pid>`: serve requests over the socket `fd`.
    Pool {
        /// Socket to ctdbd.
        fd: i32,
        /// ctdbd's process id.
        parent: u32,
    },
    /// `<ctdbd-pid> <fd> RECORD|DB <path> <flags> [<key in hex>|NULL]`: one lock.
    OneShot {
        /// Where the answer goes.
        fd: i32,
        /// What to lock.
        job: Job,
    },
}

/// What is wrong with the command line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UsageError {
    /// Too few or too many.
    #[error("{0} arguments do not fit")]
    Count(usize),
    /// A word that is not what stands in its place.
    #[error("{what}: \"{found}\" is not {right}")]
    Argument {
        /// Name of the argument.
        what: &'static str,
        /// What it was.
        found: String,
        /// What would be right.
        right: &'static str,
    },
}

const USAGE: &str = "\
Usage: ctdb_lock_helper --pool <socket-fd> <ctdbd-pid>
       ctdb_lock_helper <ctdbd-pid> <output-fd> RECORD <db-path> <db-flags> <db-key>
       ctdb_lock_helper <ctdbd-pid> <output-fd> DB <db-path> <db-flags>";

impl Command {
    /// Takes the arguments without the program's name.
    ///
    /// # Errors
    /// [`UsageError`]
    pub fn parse(args: &[OsString]) -> Result<Command, UsageError> {
        match args {
            [first, fd, pid] if first == "--pool" => Ok(Command::Pool {
                fd: parse_fd(fd)?,
                parent: parse_pid(pid)?,
            }),
            [pid, fd, what, path, flags, key @ ..] => {
                let what = match (what.as_bytes(), key) {
                    (b"RECORD", [key]) => What::Record(parse_key(key)?),
                    (b"DB", []) => What::Db,
                    (b"RECORD" | b"DB", _) => return Err(UsageError::Count(args.len())),
                    _ => return Err(wrong("lock type", what, "RECORD or DB")),
                };
                let job = Job {
                    parent: parse_pid(pid)?,
                    path: PathBuf::from(path),
                    flags: parse_flags(flags)?,
                    what,
                };
                Ok(Command::OneShot {
                    fd: parse_fd(fd)?,
                    job,
                })
            }
            _ => Err(UsageError::Count(args.len())),
        }
    }
}

fn wrong(what: &'static str, found: &OsStr, right: &'static str) -> UsageError {
    UsageError::Argument {
        what,
        found: found.to_string_lossy().into_owned(),
        right,
    }
}

fn parse_pid(arg: &OsStr) -> Result<u32, UsageError> {
    let pid = arg.to_str().and_then(|text| text.parse().ok());
    pid.filter(|&pid| pid > 0)
        .ok_or_else(|| wrong("ctdbd-pid", arg, "a process id"))
}

fn parse_fd(arg: &OsStr) -> Result<i32, UsageError> {
    let fd = arg.to_str().and_then(|text| text.parse().ok());
    fd.filter(|&fd| fd > 2)
        .ok_or_else(|| wrong("file descriptor", arg, "a number above 2"))
}

/// As strtol with base 0 reads what ctdbd writes: hexadecimal with 0x, decimal.
fn parse_flags(arg: &OsStr) -> Result<TdbFlags, UsageError> {
    let number = arg.to_str().and_then(|text| match text.strip_prefix("0x") {
        Some(hex) => u32::from_str_radix(hex, 16).ok(),
        None => text.parse().ok(),
    });
    number
        .map(TdbFlags::from_bits_retain)
        .ok_or_else(|| wrong("db-flags", arg, "a number such as 0x1841"))
}

fn parse_key(arg: &OsStr) -> Result<Vec<u8>, UsageError> {
    let right = "NULL or an even number of hexadecimal digits";
    if arg == "NULL" {
        return Ok(Vec::new());
    }
    let digit = |byte: &u8| char::from(*byte).to_digit(16).map(|digit| digit as u8);
    let digits: Option<Vec<u8>> = arg.as_bytes().iter().map(digit).collect();
    match digits {
        Some(digits) if digits.len() % 2 == 0 => Ok(digits
            .chunks_exact(2)
            .map(|pair| pair[0] << 4 | pair[1])
            .collect()),
        _ => Err(wrong("db-key", arg, right)),
    }
}

/// The whole program. `args` are those of the command line with the program's name.
pub fn main(args: &[OsString]) -> ExitCode {
    if let Err(error) = ctdb_logging::init_from_env("ctdb-lock") {
        eprintln!("ctdb_lock_helper: {error}");
        return ExitCode::FAILURE;
    }
    let command = match Command::parse(args.get(1..).unwrap_or_default()) {
        Ok(command) => command,
        Err(error) => {
            eprintln!("ctdb_lock_helper: {error}\n{USAGE}");
            return ExitCode::FAILURE;
        }
    };
    match run(command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            log::error!("lock helper: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<(), Box<dyn std::error::Error>> {
    match command {
        Command::Pool { fd, parent } => helper::run(UnixStream::from(inherited_fd(fd)?), parent)?,
        Command::OneShot { fd, job } => one_shot::run(&job, inherited_fd(fd)?)?,
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Command, String> {
        let args: Vec<OsString> = line.split_whitespace().map(OsString::from).collect();
        Command::parse(&args).map_err(|error| error.to_string())
    }

    #[test]
    fn both_forms_are_understood() {
        assert_eq!(parse("--pool 5 77"), Ok(Command::Pool { fd: 5, parent: 77 }));
        let job = |flags, what| Job {
            parent: 77,
            path: PathBuf::from("/db/a.tdb.0"),
            flags: TdbFlags::from_bits_retain(flags),
            what,
        };
        let one_shot = |flags, what| {
            Ok(Command::OneShot {
                fd: 5,
                job: job(flags, what),
            })
        };
        assert_eq!(parse("77 5 DB /db/a.tdb.0 0x1841"), one_shot(0x1841, What::Db));
        assert_eq!(
            parse("77 5 RECORD /db/a.tdb.0 64 6B65790a"),
            one_shot(64, What::Record(b"key\n".to_vec()))
        );
        assert_eq!(
            parse("77 5 RECORD /db/a.tdb.0 0x0 NULL"),
            one_shot(0, What::Record(Vec::new()))
        );
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (line, error) in [
            ("", "0 arguments do not fit"),
            ("--pool 5", "2 arguments do not fit"),
            ("77 5 RECORD /a 0", "5 arguments do not fit"),
            ("77 5 DB /a 0 6b", "6 arguments do not fit"),
            ("77 5 FILE /a 0", "lock type: \"FILE\" is not RECORD or DB"),
            ("0 5 DB /a 0", "ctdbd-pid: \"0\" is not a process id"),
            ("77 2 DB /a 0", "file descriptor: \"2\" is not a number above 2"),
            (
                "77 5 DB /a 0xyz",
                "db-flags: \"0xyz\" is not a number such as 0x1841",
            ),
            (
                "77 5 RECORD /a 0 6b6",
                "db-key: \"6b6\" is not NULL or an even number of hexadecimal digits",
            ),
            (
                "77 5 RECORD /a 0 6x",
                "db-key: \"6x\" is not NULL or an even number of hexadecimal digits",
            ),
        ] {
            assert_eq!(parse(line), Err(error.to_string()));
        }
    }
}
