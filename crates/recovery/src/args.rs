//! The command line, in both forms.

use std::ffi::{OsStr, OsString};
use std::os::fd::RawFd;
use std::path::PathBuf;

use ctdb_protocol::Generation;

/// What the recovery daemon tells its helper.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Args {
    /// Log lines go here; `None`: where the environment says (`CTDB_LOGGING`).
    pub log_fd: Option<RawFd>,
    /// The result goes here: an int32, 0 for success, nothing at all after a failure.
    pub output_fd: RawFd,
    /// Of ctdbd on this node.
    pub socket: PathBuf,
    /// The generation that the recovery is to make.
    pub generation: Generation,
}

/// The command line can't be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadArgs {
    /// Neither three nor four arguments.
    #[error("Usage: ctdb_recovery_helper [<log-fd>] <output-fd> <ctdb-socket-path> <generation>")]
    Usage,
    /// An argument is no number, or none that is possible.
    #[error("ctdb_recovery_helper: {what} is \"{found}\", expected {expected}")]
    Number {
        /// Which argument.
        what: &'static str,
        /// As it came.
        found: String,
        /// What would be right.
        expected: &'static str,
    },
}

impl Args {
    /// Reads what follows the program's name: `[<log-fd>] <output-fd> <socket> <generation>`. Today's C recovery daemon
    /// gives three arguments, the older form and ours have the log in front.
    ///
    /// # Errors
    /// Another number of arguments, or one that is no number.
    pub fn parse(args: &[OsString]) -> Result<Args, BadArgs> {
        let (log_fd, output_fd, socket, generation) = match args {
            [output, socket, generation] => (None, output, socket, generation),
            [log, output, socket, generation] => (Some(log), output, socket, generation),
            _ => return Err(BadArgs::Usage),
        };
        Ok(Args {
            log_fd: log_fd.map(|arg| descriptor("log-fd", arg)).transpose()?,
            output_fd: descriptor("output-fd", output_fd)?,
            socket: socket.into(),
            generation: Generation(number("generation", generation, "a number below 2^32")?),
        })
    }
}

fn descriptor(what: &'static str, arg: &OsStr) -> Result<RawFd, BadArgs> {
    let expected = "the number of an open file descriptor";
    let fd: u32 = number(what, arg, expected)?;
    RawFd::try_from(fd).map_err(|_| BadArgs::Number {
        what,
        found: fd.to_string(),
        expected,
    })
}

fn number(what: &'static str, arg: &OsStr, expected: &'static str) -> Result<u32, BadArgs> {
    let parsed = arg.to_str().and_then(|text| text.parse().ok());
    parsed.ok_or_else(|| BadArgs::Number {
        what,
        found: arg.to_string_lossy().into_owned(),
        expected,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(args: &[&str]) -> Result<Args, BadArgs> {
        let args: Vec<OsString> = args.iter().map(Into::into).collect();
        Args::parse(&args)
    }

    #[test]
    fn both_forms_are_read() {
        let three = parse(&["11", "/run/ctdbd.socket", "4294967295"]).unwrap();
        let expected = Args {
            log_fd: None,
            output_fd: 11,
            socket: "/run/ctdbd.socket".into(),
            generation: Generation(u32::MAX),
        };
        assert_eq!(three, expected);
        let four = parse(&["7", "11", "/run/ctdbd.socket", "4294967295"]).unwrap();
        assert_eq!(
            four,
            Args {
                log_fd: Some(7),
                ..expected
            }
        );
    }

    #[test]
    fn anything_else_is_refused_with_what_would_be_right() {
        for count in [0, 1, 2, 5] {
            assert_eq!(parse(&vec!["1"; count]), Err(BadArgs::Usage), "{count} arguments");
        }
        for (args, what) in [
            (["x", "/s", "1"], "output-fd"),
            (["-1", "/s", "1"], "output-fd"),
            (["1", "/s", ""], "generation"),
            (["1", "/s", "4294967296"], "generation"),
        ] {
            let error = parse(&args).unwrap_err();
            assert!(error.to_string().contains(what), "{error}");
        }
    }
}
