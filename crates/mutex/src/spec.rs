//! The `cluster lock` setting as a command to run, and the answer of the command.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// The name of the helper for a lock that is a file, in the helper directory.
pub const FCNTL_HELPER: &str = "ctdb_mutex_fcntl_helper";

/// The program that takes the cluster lock, with its arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockCommand {
    /// Run as it stands, without a search in `PATH`. Also its own first argument.
    pub program: PathBuf,
    /// What follows the program's name.
    pub args: Vec<OsString>,
}

/// Why a `cluster lock` setting cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SpecError {
    /// Nothing, or nothing behind the exclamation mark.
    #[error("cluster lock \"{0}\" names no program and no file; give a file, or !PROGRAM ARGUMENTS")]
    Empty(String),
    /// The helper for lock files is not there.
    #[error("cluster lock helper {} cannot be used: {error}", path.display())]
    Helper {
        /// Where it should be.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// The helper for lock files is there, but may not be executed by its owner.
    #[error("cluster lock helper {} is not executable; its mode is {mode:04o}", path.display())]
    NotExecutable {
        /// The helper.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
}

impl LockCommand {
    /// Reads the setting: `!PROGRAM ARGUMENTS`, divided at blanks and tabs without any quoting, or a file name,
    /// which may hold blanks, for the helper at `fcntl_helper`.
    ///
    /// Only that helper is looked at. A `!` program that cannot run is found out when the lock is taken, for its
    /// place may not be mounted yet.
    ///
    /// # Errors
    /// The setting is empty, or the helper is missing or not executable; the daemon does not start then.
    /// Source: `ctdb/server/ctdb_cluster_mutex.c`, `cluster_mutex_helper_args`.
    pub fn parse(setting: &str, fcntl_helper: &Path) -> Result<LockCommand, SpecError> {
        let Some(command) = setting.strip_prefix('!') else {
            if setting.is_empty() {
                return Err(SpecError::Empty(setting.to_owned()));
            }
            check_executable(fcntl_helper)?;
            return Ok(LockCommand {
                program: fcntl_helper.to_owned(),
                args: vec![setting.into()],
            });
        };
        let mut words = command.split([' ', '\t']).filter(|word| !word.is_empty());
        let Some(program) = words.next() else {
            return Err(SpecError::Empty(setting.to_owned()));
        };
        Ok(LockCommand {
            program: program.into(),
            args: words.map(OsString::from).collect(),
        })
    }
}

fn check_executable(path: &Path) -> Result<(), SpecError> {
    let metadata = fs::metadata(path).map_err(|error| SpecError::Helper {
        path: path.to_owned(),
        error,
    })?;
    let mode = metadata.permissions().mode() & 0o7777;
    // The owner's bit, as the C implementation looks at it.
    if mode & 0o100 == 0 {
        return Err(SpecError::NotExecutable {
            path: path.to_owned(),
            mode,
        });
    }
    Ok(())
}

/// What the first byte on a lock helper's standard output says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// `0`: the lock is held until the helper ends.
    Taken,
    /// `1`: another process holds it.
    Contended,
    /// `2`: the helper gave up waiting.
    TimedOut,
    /// `3`, any other byte, or none at all: the helper could not try.
    Failed,
}

impl Outcome {
    /// Reads the first byte; `None` is the end of the pipe.
    pub fn from_first_byte(byte: Option<u8>) -> Outcome {
        match byte {
            Some(b'0') => Outcome::Taken,
            Some(b'1') => Outcome::Contended,
            Some(b'2') => Outcome::TimedOut,
            _ => Outcome::Failed,
        }
    }

    /// The byte that a helper writes to say this.
    pub fn byte(self) -> u8 {
        match self {
            Outcome::Taken => b'0',
            Outcome::Contended => b'1',
            Outcome::TimedOut => b'2',
            Outcome::Failed => b'3',
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Every system has it, and it is executable.
    const SHELL: &str = "/bin/sh";

    fn words(command: &LockCommand) -> Vec<&str> {
        let program = command.program.to_str();
        program
            .into_iter()
            .chain(command.args.iter().filter_map(|arg| arg.to_str()))
            .collect()
    }

    #[test]
    fn a_file_is_handed_to_the_fcntl_helper_in_one_piece() {
        let command = LockCommand::parse("/clusterfs/the lock", Path::new(SHELL)).unwrap();
        assert_eq!(words(&command), [SHELL, "/clusterfs/the lock"]);
    }

    #[test]
    fn a_command_is_divided_at_blanks_and_tabs_and_needs_no_helper() {
        let command = LockCommand::parse("! /opt/lock \t--key\ta  \"b", Path::new("/nonexistent")).unwrap();
        assert_eq!(words(&command), ["/opt/lock", "--key", "a", "\"b"]);
    }

    #[test]
    fn a_setting_that_names_nothing_is_refused() {
        for setting in ["", "!", "! \t "] {
            let refused = LockCommand::parse(setting, Path::new(SHELL)).unwrap_err();
            assert!(matches!(refused, SpecError::Empty(text) if text == setting));
        }
    }

    #[test]
    fn a_missing_helper_is_named() {
        let refused = LockCommand::parse("/clusterfs/lock", Path::new("/nonexistent/helper")).unwrap_err();
        assert!(refused.to_string().contains("/nonexistent/helper"), "{refused}");
    }

    #[test]
    fn a_helper_without_the_execute_bit_is_refused() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let refused = LockCommand::parse("/clusterfs/lock", file.path()).unwrap_err();
        assert!(
            matches!(refused, SpecError::NotExecutable { mode: 0o600, .. }),
            "{refused}"
        );
    }

    #[test]
    fn outcomes_are_the_digits_and_all_else_is_a_failure() {
        for outcome in [
            Outcome::Taken,
            Outcome::Contended,
            Outcome::TimedOut,
            Outcome::Failed,
        ] {
            assert_eq!(Outcome::from_first_byte(Some(outcome.byte())), outcome);
        }
        assert_eq!(Outcome::from_first_byte(None), Outcome::Failed);
        assert_eq!(Outcome::from_first_byte(Some(0)), Outcome::Failed);
    }

    proptest! {
        #[test]
        fn words_of_a_command_hold_no_blanks_and_lose_nothing(text in "[a-z /\t!\"$-]{0,40}") {
            let Ok(command) = LockCommand::parse(&format!("!{text}"), Path::new(SHELL)) else {
                prop_assert!(text.chars().all(|c| c == ' ' || c == '\t'));
                return Ok(());
            };
            let joined: String = words(&command).concat();
            prop_assert_eq!(joined, text.replace([' ', '\t'], ""));
            prop_assert!(words(&command).iter().all(|word| !word.is_empty()));
        }
    }
}
