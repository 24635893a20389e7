//! `home_nodes`: where an address should be when its node can have it, `ADDR PNN` a line.
//!
//! Upstream ignores the whole file when one line is no good, comments included. So do we, but we say which line.

use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::Path;

use crate::nodes::parse_address;
use crate::{ConfigError, Finding, FindingKind};

/// One line of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HomeNode {
    /// The public address.
    pub address: IpAddr,
    /// The node that should have it.
    pub pnn: u32,
}

/// The lines of the file, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HomeNodes {
    /// In the order of the file.
    pub homes: Vec<HomeNode>,
}

impl HomeNodes {
    /// Reads the file; without one no address has a home. On an error callers go on as without the file.
    ///
    /// # Errors
    /// The file cannot be read, or a line is no good.
    pub fn load(path: &Path) -> Result<HomeNodes, ConfigError> {
        match fs::read(path) {
            Ok(text) => HomeNodes::parse(path, &text).map_err(|error| ConfigError::Invalid(vec![error])),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(HomeNodes::default()),
            Err(error) => Err(ConfigError::Read {
                path: path.into(),
                error,
            }),
        }
    }

    /// Reads the list from memory; lines with fewer than two words are skipped, further words are ignored.
    ///
    /// # Errors
    /// The first line that has no address and number.
    pub fn parse(file: &Path, text: &[u8]) -> Result<HomeNodes, Finding> {
        let mut homes = Vec::new();
        for (index, line) in text.split(|&b| b == b'\n').enumerate() {
            let line = String::from_utf8_lossy(line);
            let mut words = line.split([' ', '\t', '\r']).filter(|word| !word.is_empty());
            let (Some(address), Some(pnn)) = (words.next(), words.next()) else {
                continue;
            };
            match (parse_address(address), pnn.parse()) {
                (Some(address), Ok(pnn)) => homes.push(HomeNode { address, pnn }),
                _ => {
                    let what =
                        format!("found \"{address} {pnn}\", expected ADDRESS PNN; the whole file is ignored");
                    return Err(Finding::new(file, index + 1, FindingKind::Error, what));
                }
            }
        }
        Ok(HomeNodes { homes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<HomeNodes, Finding> {
        HomeNodes::parse(Path::new("home_nodes"), text.as_bytes())
    }

    #[test]
    fn addresses_have_homes_and_short_lines_are_skipped() {
        let homes = parse("10.0.0.1 2 words\n\n#\n fd00::1\t0\n").unwrap().homes;
        assert_eq!(homes.len(), 2);
        assert_eq!((homes[0].pnn, homes[1].pnn), (2, 0));
    }

    #[test]
    fn one_bad_line_is_named_and_spoils_the_file() {
        assert_eq!(parse("10.0.0.1 1\n# a comment\n").unwrap_err().line, 2);
        assert_eq!(parse("10.0.0.1 one\n").unwrap_err().line, 1);
    }
}
