//! The list of nodes: one address a line, the line's number is the pnn.
//!
//! A line that begins with `#` is a node that was deleted: it keeps its pnn, so that the nodes after it keep theirs.
//! Blank lines are skipped and take no pnn.

use std::fs;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use crate::{Config, ConfigError, Finding, FindingKind, Paths};

/// The port of CTDB when the services database has no entry `ctdb`.
pub const DEFAULT_PORT: u16 = 4379;

/// One node of the list; its pnn is its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeLine {
    /// A node and the address where it listens.
    Node(SocketAddr),
    /// Placeholder of a deleted node.
    Deleted,
}

impl NodeLine {
    /// The address, if the node was not deleted.
    pub fn address(&self) -> Option<SocketAddr> {
        match self {
            NodeLine::Node(address) => Some(*address),
            NodeLine::Deleted => None,
        }
    }
}

/// Where the list comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NodesSource {
    /// A file.
    File(PathBuf),
    /// `!program args`: the caller runs it and hands what it printed to [`NodesFile::parse`]. Split at blanks, no quoting.
    Command(Vec<String>),
}

/// The list of nodes, in the order of their pnns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodesFile {
    /// One entry for each pnn from 0.
    pub nodes: Vec<NodeLine>,
}

impl NodesSource {
    /// What `[cluster] nodes list` says, else the file `nodes`.
    pub fn from_config(config: &Config, paths: &Paths) -> NodesSource {
        match config.cluster.nodes_list.as_deref() {
            None => NodesSource::File(paths.nodes()),
            Some(text) => match text.strip_prefix('!') {
                Some(command) => {
                    NodesSource::Command(command.split_whitespace().map(str::to_owned).collect())
                }
                None => NodesSource::File(text.into()),
            },
        }
    }

    /// What errors about the list name as its file.
    pub fn label(&self) -> PathBuf {
        match self {
            NodesSource::File(path) => path.clone(),
            NodesSource::Command(words) => format!("!{}", words.join(" ")).into(),
        }
    }
}

impl NodesFile {
    /// Reads a nodes file.
    ///
    /// # Errors
    /// The file cannot be read or a line is neither an address, a comment nor blank.
    pub fn load(path: &Path) -> Result<NodesFile, ConfigError> {
        let text = fs::read(path).map_err(|error| ConfigError::Read {
            path: path.into(),
            error,
        })?;
        NodesFile::parse(path, &text, cluster_port()).map_err(ConfigError::Invalid)
    }

    /// Reads a list of nodes from memory; `file` is what errors name, `port` that of every node.
    ///
    /// # Errors
    /// All lines that are no good.
    pub fn parse(file: &Path, text: &[u8], port: u16) -> Result<NodesFile, Vec<Finding>> {
        let mut nodes = Vec::new();
        let mut errors = Vec::new();
        for (index, line) in text.split(|&b| b == b'\n').enumerate() {
            let line = String::from_utf8_lossy(line);
            // C takes a carriage return for a part of the address and refuses it; nobody wants that.
            let line = line.trim_matches([' ', '\t', '\r']);
            if line.is_empty() {
                continue;
            }
            if line.starts_with('#') {
                nodes.push(NodeLine::Deleted);
            } else if let Some(address) = parse_address(line) {
                nodes.push(NodeLine::Node(SocketAddr::new(address, port)));
            } else {
                let what =
                    format!("found \"{line}\", expected an IPv4 or IPv6 address, or # for a deleted node");
                errors.push(Finding::new(file, index + 1, FindingKind::Error, what));
            }
        }
        if errors.is_empty() {
            Ok(NodesFile { nodes })
        } else {
            Err(errors)
        }
    }
}

/// An address; one that is IPv4 within IPv6 counts as IPv4.
pub(crate) fn parse_address(text: &str) -> Option<IpAddr> {
    text.parse::<IpAddr>().ok().map(|address| address.to_canonical())
}

/// The port on which nodes listen: entry `ctdb` for TCP in `/etc/services`, else 4379.
pub fn cluster_port() -> u16 {
    port_from_services(fs::read_to_string("/etc/services"))
}

fn port_from_services(services: io::Result<String>) -> u16 {
    let Ok(services) = services else {
        return DEFAULT_PORT;
    };
    let entry = |line: &str| {
        let mut words = line.split('#').next()?.split_whitespace();
        let name = words.next()?;
        let (port, protocol) = words.next()?.split_once('/')?;
        let named = name == "ctdb" || words.any(|alias| alias == "ctdb");
        (named && protocol == "tcp").then(|| port.parse().ok())?
    };
    services.lines().find_map(entry).unwrap_or(DEFAULT_PORT)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(text: &str) -> Result<NodesFile, Vec<Finding>> {
        NodesFile::parse(Path::new("nodes"), text.as_bytes(), DEFAULT_PORT)
    }

    #[test]
    fn the_line_of_a_node_is_its_pnn_and_deleted_nodes_keep_theirs() {
        let nodes = parse("10.0.0.1\n#10.0.0.2\n\n  fd00::3 \t\r\n# gone\n10.0.0.5")
            .unwrap()
            .nodes;
        let addresses: Vec<Option<String>> = nodes
            .iter()
            .map(|node| node.address().map(|address| address.to_string()))
            .collect();
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(
            addresses,
            [
                some("10.0.0.1:4379"),
                None,
                some("[fd00::3]:4379"),
                None,
                some("10.0.0.5:4379")
            ]
        );
    }

    #[test]
    fn a_bad_address_is_named_with_its_line() {
        let errors = parse("10.0.0.1\n\nnode2\n10.0.0.256\n").unwrap_err();
        assert_eq!(errors.len(), 2);
        assert!(
            errors[0]
                .to_string()
                .starts_with("nodes:3: found \"node2\", expected an IPv4 or IPv6 address")
        );
    }

    #[test]
    fn a_list_may_come_from_a_command() {
        let paths = Paths::in_base(Path::new("/t"));
        let source = |text: &str| {
            NodesSource::from_config(
                &Config::parse(Path::new("c"), text.as_bytes(), &paths).unwrap(),
                &paths,
            )
        };
        assert_eq!(source(""), NodesSource::File("/t/nodes".into()));
        assert_eq!(
            source("[cluster]\nnodes list = /n\n"),
            NodesSource::File("/n".into())
        );
        let command = source("[cluster]\nnodes list = !/bin/list  -a\n");
        assert_eq!(
            command,
            NodesSource::Command(vec!["/bin/list".into(), "-a".into()])
        );
        assert_eq!(command.label(), Path::new("!/bin/list -a"));
    }

    #[test]
    fn the_port_comes_from_the_services_file_if_it_has_one() {
        let port = |text: &str| port_from_services(Ok(text.to_owned()));
        assert_eq!(port("ssh 22/tcp\nctdb 99/udp\nctdb\t9001/tcp # x\n"), 9001);
        assert_eq!(port("other 9002/tcp x ctdb\n"), 9002);
        assert_eq!(port("# ctdb 1/tcp\nctdb\nctdb x/tcp\n"), DEFAULT_PORT);
        assert_eq!(
            port_from_services(Err(io::ErrorKind::NotFound.into())),
            DEFAULT_PORT
        );
    }

    proptest! {
        #[test]
        fn any_bytes_give_a_list_or_errors(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let lines = bytes.split(|&b| b == b'\n').count();
            match NodesFile::parse(Path::new("n"), &bytes, 1) {
                Ok(list) => prop_assert!(list.nodes.len() <= lines),
                Err(errors) => prop_assert!(!errors.is_empty()),
            }
        }
    }
}
