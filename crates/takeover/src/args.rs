//! The command line, in both forms.

use std::ffi::{OsStr, OsString};
use std::os::fd::RawFd;
use std::path::PathBuf;

use ctdb_protocol::Pnn;

/// What the recovery daemon tells its helper.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Args {
    /// Log lines go here; `None`: where the environment says (`CTDB_LOGGING`).
    pub log_fd: Option<RawFd>,
    /// The result goes here: an int32, 0 for success, else an error number.
    pub output_fd: RawFd,
    /// Of ctdbd on this node.
    pub socket: PathBuf,
    /// Nodes that get addresses of others although they have some.
    pub rebalance: Vec<Pnn>,
}

/// The command line can't be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadArgs {
    /// Not two to four arguments.
    #[error("Usage: ctdb_takeover_helper [<log-fd>] <output-fd> <ctdb-socket-path> [<pnn>,<pnn>...]")]
    Usage,
    /// An argument is no number, or none that is possible.
    #[error("ctdb_takeover_helper: {what} is \"{found}\", expected {expected}")]
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
    /// Reads what follows the program's name.
    ///
    /// | arguments | who calls so |
    /// |---|---|
    /// | `<output-fd> <socket>` | today's C recovery daemon |
    /// | `<output-fd> <socket> <pnn,pnn,...>` | the same, with nodes to rebalance |
    /// | `<log-fd> <output-fd> <socket>` | the older form, and ours |
    /// | `<log-fd> <output-fd> <socket> <pnn,pnn,...>` | the same, with nodes to rebalance |
    ///
    /// Of three arguments the second decides: a socket is never named by digits alone.
    ///
    /// # Errors
    /// Another number of arguments, or something else where a number should be.
    pub fn parse(args: &[OsString]) -> Result<Args, BadArgs> {
        let (log_fd, output_fd, socket, nodes) = match args {
            [output, socket] => (None, output, socket, None),
            [log, output, socket] if is_digits(output) => (Some(log), output, socket, None),
            [output, socket, nodes] => (None, output, socket, Some(nodes)),
            [log, output, socket, nodes] => (Some(log), output, socket, Some(nodes)),
            _ => return Err(BadArgs::Usage),
        };
        Ok(Args {
            log_fd: log_fd.map(|arg| descriptor("log-fd", arg)).transpose()?,
            output_fd: descriptor("output-fd", output_fd)?,
            socket: socket.into(),
            rebalance: nodes.map(|list| node_list(list)).transpose()?.unwrap_or_default(),
        })
    }
}

fn is_digits(arg: &OsStr) -> bool {
    let bytes = arg.as_encoded_bytes();
    !bytes.is_empty() && bytes.iter().all(u8::is_ascii_digit)
}

/// An empty list is an empty argument.
fn node_list(arg: &OsStr) -> Result<Vec<Pnn>, BadArgs> {
    let text = arg.to_string_lossy();
    let numbers = text.split(',').filter(|number| !number.is_empty());
    numbers
        .map(|text| {
            number(
                "list of nodes",
                OsStr::new(text),
                "node numbers with commas between",
            )
            .map(Pnn)
        })
        .collect()
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

    fn args(log_fd: Option<RawFd>, nodes: &[u32]) -> Args {
        Args {
            log_fd,
            output_fd: 11,
            socket: "/run/ctdbd.socket".into(),
            rebalance: nodes.iter().map(|&node| Pnn(node)).collect(),
        }
    }

    #[test]
    fn all_four_forms_are_read() {
        let socket = "/run/ctdbd.socket";
        assert_eq!(parse(&["11", socket]), Ok(args(None, &[])));
        assert_eq!(parse(&["11", socket, "2,0"]), Ok(args(None, &[2, 0])));
        assert_eq!(parse(&["7", "11", socket]), Ok(args(Some(7), &[])));
        assert_eq!(parse(&["7", "11", socket, "3"]), Ok(args(Some(7), &[3])));
        assert_eq!(parse(&["11", socket, ""]), Ok(args(None, &[])));
    }

    #[test]
    fn anything_else_is_refused_with_what_would_be_right() {
        for count in [0, 1, 5] {
            assert_eq!(parse(&vec!["1"; count]), Err(BadArgs::Usage), "{count} arguments");
        }
        for (args, what) in [
            (&["x", "/s"][..], "output-fd"),
            (&["-1", "/s"], "output-fd"),
            (&["1", "/s", "1,x"], "list of nodes"),
            (&["x", "1", "/s"], "log-fd"),
            (&["1", "4294967295", "/s", "1"], "output-fd"),
        ] {
            let error = parse(args).unwrap_err();
            assert!(error.to_string().contains(what), "{error}");
        }
    }
}
