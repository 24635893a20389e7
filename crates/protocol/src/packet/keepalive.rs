//! Signs of life between nodes, which also tell versions that may not run together.

use crate::reader::{Reader, WireError, put_u32};

/// Version of Samba that a node announces: major in the upper 16 bits, minor in the lower.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(pub u32);

impl Version {
    /// Version `major.minor`.
    pub const fn new(major: u16, minor: u16) -> Self {
        Version((major as u32) << 16 | minor as u32)
    }

    /// 4 of 4.17.
    pub fn major(self) -> u16 {
        (self.0 >> 16) as u16
    }

    /// 17 of 4.17.
    pub fn minor(self) -> u16 {
        self.0 as u16
    }
}

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.major(), self.minor())
    }
}

/// Behind the header: `version, uptime`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keepalive {
    /// What the sender is, or says that it is.
    pub version: Version,
    /// How long the sender runs, seconds.
    pub uptime_s: u32,
}

impl Keepalive {
    /// `None`: an ancient node, which sends the header only.
    pub(super) fn decode(r: &mut Reader<'_>) -> Result<Option<Self>, WireError> {
        if r.left() < 8 {
            return Ok(None);
        }
        Ok(Some(Keepalive {
            version: Version(r.u32("version")?),
            uptime_s: r.u32("uptime")?,
        }))
    }

    pub(super) fn encode(keepalive: Option<&Self>, out: &mut Vec<u8>) {
        if let Some(keepalive) = keepalive {
            put_u32(out, keepalive.version.0);
            put_u32(out, keepalive.uptime_s);
        }
    }
}
