//! Where log lines go: the value of `location` in section `[logging]`.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// A log target as `ctdb.conf` and `CTDB_LOGGING` name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// `file:`, `file:-`: standard error, lines without a head.
    Stderr,
    /// `file:PATH`.
    File(PathBuf),
    /// `syslog`: the datagram socket `/dev/log`; waits a moment when it is full.
    Syslog,
    /// `syslog:nonblocking`: the same, never waits.
    SyslogNonblocking,
    /// `syslog:udp`: port 514 of this host, short head.
    SyslogUdp,
    /// `syslog:udp-rfc5424`: port 514 of this host, head of RFC 5424.
    SyslogUdpRfc5424,
}

/// The text names no log target.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("found \"{0}\", expected file:PATH, syslog, syslog:nonblocking, syslog:udp or syslog:udp-rfc5424")]
pub struct BadLocation(pub String);

impl Location {
    /// The directory that must exist for this target, if it is a file.
    pub fn directory(&self) -> Option<&Path> {
        match self {
            Location::File(path) => Some(
                path.parent()
                    .filter(|dir| !dir.as_os_str().is_empty())
                    .unwrap_or(Path::new(".")),
            ),
            _ => None,
        }
    }

    /// Whether this is one of the `syslog` targets.
    pub fn is_syslog(&self) -> bool {
        !matches!(self, Location::Stderr | Location::File(_))
    }
}

impl FromStr for Location {
    type Err = BadLocation;

    fn from_str(text: &str) -> Result<Self, BadLocation> {
        let (kind, option) = text.split_once(':').unwrap_or((text, ""));
        match (kind, option) {
            ("file", "" | "-") => Ok(Location::Stderr),
            ("file", path) => Ok(Location::File(path.into())),
            ("syslog", "") => Ok(Location::Syslog),
            ("syslog", "nonblocking") => Ok(Location::SyslogNonblocking),
            ("syslog", "udp") => Ok(Location::SyslogUdp),
            ("syslog", "udp-rfc5424") => Ok(Location::SyslogUdpRfc5424),
            _ => Err(BadLocation(text.to_owned())),
        }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Location::Stderr => f.write_str("file:"),
            Location::File(path) => write!(f, "file:{}", path.display()),
            Location::Syslog => f.write_str("syslog"),
            Location::SyslogNonblocking => f.write_str("syslog:nonblocking"),
            Location::SyslogUdp => f.write_str("syslog:udp"),
            Location::SyslogUdpRfc5424 => f.write_str("syslog:udp-rfc5424"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_target_reads_back_as_it_prints() {
        for text in [
            "file:/var/log/x",
            "file:",
            "syslog",
            "syslog:nonblocking",
            "syslog:udp",
            "syslog:udp-rfc5424",
        ] {
            assert_eq!(text.parse::<Location>().unwrap().to_string(), text);
        }
        assert_eq!("file:-".parse(), Ok(Location::Stderr));
        assert_eq!("file".parse(), Ok(Location::Stderr));
    }

    #[test]
    fn an_unknown_target_is_refused_with_the_list_of_known_ones() {
        for text in ["", "syslog:tcp", "syslog : udp", "journal", "/var/log/x"] {
            let error = text.parse::<Location>().unwrap_err();
            assert!(error.to_string().contains("syslog:nonblocking"), "{text}");
        }
    }

    #[test]
    fn only_a_file_needs_a_directory() {
        assert_eq!(
            "file:/a/b".parse::<Location>().unwrap().directory(),
            Some(Path::new("/a"))
        );
        assert_eq!(
            "file:b".parse::<Location>().unwrap().directory(),
            Some(Path::new("."))
        );
        assert_eq!("syslog".parse::<Location>().unwrap().directory(), None);
    }
}
