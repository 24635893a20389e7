//! `public_addresses`: the addresses that move between nodes, `ADDR/MASK IFACE[,IFACE...]` a line.

use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::Path;

use crate::nodes::parse_address;
use crate::{ConfigError, Finding, FindingKind};

/// One address that this node can serve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicAddress {
    /// The address.
    pub address: IpAddr,
    /// Length of the network's prefix in bits.
    pub mask_bits: u8,
    /// Interfaces that may carry it, in the order of the file; at least one. Not checked for existence here.
    pub interfaces: Vec<String>,
}

/// All addresses of the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PublicAddresses {
    /// In the order of the file.
    pub addresses: Vec<PublicAddress>,
    /// Whether there is such a file.
    pub file_exists: bool,
}

impl PublicAddresses {
    /// Reads the file; without one there are no addresses.
    ///
    /// # Errors
    /// The file cannot be read, or has bad lines (all of them are listed).
    pub fn load(path: &Path) -> Result<PublicAddresses, ConfigError> {
        match fs::read(path) {
            Ok(text) => PublicAddresses::parse(path, &text).map_err(ConfigError::Invalid),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(PublicAddresses::default()),
            Err(error) => Err(ConfigError::Read {
                path: path.into(),
                error,
            }),
        }
    }

    /// Reads the list from memory; `file` is what errors name.
    ///
    /// # Errors
    /// All lines that are no good: no interface, no address with mask, an address twice.
    pub fn parse(file: &Path, text: &[u8]) -> Result<PublicAddresses, Vec<Finding>> {
        let mut addresses: Vec<PublicAddress> = Vec::new();
        let mut errors = Vec::new();
        for (index, line) in text.split(|&b| b == b'\n').enumerate() {
            let line = String::from_utf8_lossy(line);
            let line = line.trim_matches([' ', '\t', '\r']);
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let taken = |address| addresses.iter().any(|other| other.address == address);
            match parse_line(line) {
                Ok(entry) if taken(entry.address) => {
                    errors.push((
                        index,
                        format!(
                            "found {} a second time, expected each address once",
                            entry.address
                        ),
                    ));
                }
                Ok(entry) => addresses.push(entry),
                Err(what) => errors.push((index, what)),
            }
        }
        if errors.is_empty() {
            return Ok(PublicAddresses {
                addresses,
                file_exists: true,
            });
        }
        let finding = |(index, what)| Finding::new(file, index + 1, FindingKind::Error, what);
        Err(errors.into_iter().map(finding).collect())
    }
}

fn parse_line(line: &str) -> Result<PublicAddress, String> {
    let mut words = line.split([' ', '\t']).filter(|word| !word.is_empty());
    let word = words.next().unwrap_or_default();
    let (address, mask_bits) =
        parse_address_mask(word).ok_or_else(|| format!("found \"{word}\", expected ADDRESS/MASKBITS"))?;
    let interfaces: Vec<String> = words
        .next()
        .map(|word| {
            word.split(',')
                .filter(|name| !name.is_empty())
                .map(str::to_owned)
                .collect()
        })
        .unwrap_or_default();
    if interfaces.is_empty() {
        return Err(format!(
            "found \"{line}\", expected one or more interfaces after the address"
        ));
    }
    Ok(PublicAddress {
        address,
        mask_bits,
        interfaces,
    })
}

fn parse_address_mask(word: &str) -> Option<(IpAddr, u8)> {
    let (address, mask) = word.rsplit_once('/')?;
    let address = parse_address(address)?;
    let mask_bits: u8 = mask.parse().ok()?;
    let bits_max = if address.is_ipv4() { 32 } else { 128 };
    (mask_bits <= bits_max).then_some((address, mask_bits))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<PublicAddresses, Vec<Finding>> {
        PublicAddresses::parse(Path::new("public_addresses"), text.as_bytes())
    }

    #[test]
    fn each_line_is_an_address_with_mask_and_its_interfaces() {
        let list = parse("# c\n\n 10.1.0.1/24 eth0,eth1 rest\nfd00::1/64\teth2\n")
            .unwrap()
            .addresses;
        assert_eq!(list.len(), 2);
        assert_eq!(list[0].interfaces, ["eth0", "eth1"]);
        assert_eq!(
            (list[1].address.to_string().as_str(), list[1].mask_bits),
            ("fd00::1", 64)
        );
    }

    #[test]
    fn bad_lines_are_all_named() {
        let errors =
            parse("10.1.0.1/24\n10.1.0.2 eth0\n10.1.0.3/33 eth0\n10.1.0.4/8 e\n10.1.0.4/8 f\n10.1.0.5/8 ,\n")
                .unwrap_err();
        let lines: Vec<usize> = errors.iter().map(|error| error.line).collect();
        assert_eq!(lines, [1, 2, 3, 5, 6]);
        assert!(errors[0].text.contains("interfaces"), "{}", errors[0]);
        assert!(errors[3].text.contains("second time"), "{}", errors[3]);
    }

    #[test]
    fn without_a_file_there_are_no_addresses() {
        let dir = tempfile::tempdir().unwrap();
        assert!(!PublicAddresses::load(&dir.path().join("x")).unwrap().file_exists);
        assert!(PublicAddresses::load(dir.path()).is_err());
    }
}
