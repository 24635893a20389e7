//! Addresses: of nodes, of clients and servers, public ones, the interfaces that carry them.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

use crate::reader::{
    Field, Reader, Wire, WireError, layout, len_u32, put_list, put_pad, put_stringn, put_u32,
};
use crate::{Pnn, Text};

const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;

/// A socket address: C's union of `sockaddr_in` and `sockaddr_in6` as on Linux. 28 bytes:
///
/// IPv4: family u16 (host order), port u16 (network order), address 4, 20 without meaning.
/// IPv6: family, port, flow info 4, address 16, scope id u32.
///
/// What stands behind an IPv4 address may be garbage (smbd's is) and is dropped when read, so that comparing
/// and hashing look at the address only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SockAddr {
    /// IPv4.
    V4(SocketAddrV4),
    /// IPv6.
    V6(SocketAddrV6),
    /// Another family, 0 for "no address"; kept as it is.
    Other {
        /// The family's number.
        family: u16,
        /// What follows it.
        bytes: [u8; 26],
    },
}

impl SockAddr {
    /// "No address": all bytes are 0.
    pub const NONE: SockAddr = SockAddr::Other {
        family: 0,
        bytes: [0; 26],
    };

    /// For the standard library's sockets; `None` for another family.
    pub fn to_socket_addr(self) -> Option<SocketAddr> {
        match self {
            SockAddr::V4(addr) => Some(addr.into()),
            SockAddr::V6(addr) => Some(addr.into()),
            SockAddr::Other { .. } => None,
        }
    }

    /// Without the port.
    pub fn ip(self) -> Option<IpAddr> {
        self.to_socket_addr().map(|addr| addr.ip())
    }

    /// 0 for another family.
    pub fn port(self) -> u16 {
        self.to_socket_addr().map_or(0, |addr| addr.port())
    }

    /// The same address with another port.
    pub fn with_port(mut self, port: u16) -> Self {
        match &mut self {
            SockAddr::V4(addr) => addr.set_port(port),
            SockAddr::V6(addr) => addr.set_port(port),
            SockAddr::Other { .. } => {}
        }
        self
    }

    /// Whether both are the same host or public address, whatever the ports.
    pub fn same_ip(self, other: SockAddr) -> bool {
        match (self.ip(), other.ip()) {
            (Some(a), Some(b)) => a == b,
            _ => false,
        }
    }
}

impl From<SocketAddr> for SockAddr {
    fn from(addr: SocketAddr) -> Self {
        match addr {
            SocketAddr::V4(addr) => SockAddr::V4(addr),
            SocketAddr::V6(addr) => SockAddr::V6(addr),
        }
    }
}

/// With port 0.
impl From<IpAddr> for SockAddr {
    fn from(ip: IpAddr) -> Self {
        SocketAddr::new(ip, 0).into()
    }
}

impl fmt::Display for SockAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SockAddr::V4(addr) => addr.fmt(f),
            SockAddr::V6(addr) => addr.fmt(f),
            SockAddr::Other { family, .. } => write!(f, "address of family {family}"),
        }
    }
}

impl Field for SockAddr {
    const LEN: usize = 28;

    fn get(r: &mut Reader<'_>, field: &'static str) -> Result<Self, WireError> {
        let mut r = Reader::new(r.bytes(field, Self::LEN)?);
        let family = r.u16("family")?;
        if family != AF_INET && family != AF_INET6 {
            let mut bytes = [0; 26];
            bytes.copy_from_slice(r.rest());
            return Ok(SockAddr::Other { family, bytes });
        }
        let port = u16::from_be(r.u16("port")?);
        // IPv4's address stands where IPv6's flow info does.
        let addr4_or_flow = r.u32("address")?;
        if family == AF_INET {
            let ip = Ipv4Addr::from(addr4_or_flow.to_le_bytes());
            return Ok(SockAddr::V4(SocketAddrV4::new(ip, port)));
        }
        let mut ip = [0; 16];
        ip.copy_from_slice(r.bytes("address", 16)?);
        let scope = r.u32("scope id")?;
        Ok(SockAddr::V6(SocketAddrV6::new(
            Ipv6Addr::from(ip),
            port,
            addr4_or_flow,
            scope,
        )))
    }

    fn put(&self, out: &mut Vec<u8>) {
        match self {
            SockAddr::V4(addr) => {
                out.extend_from_slice(&AF_INET.to_le_bytes());
                out.extend_from_slice(&addr.port().to_be_bytes());
                out.extend_from_slice(&addr.ip().octets());
                put_pad(out, 20);
            }
            SockAddr::V6(addr) => {
                out.extend_from_slice(&AF_INET6.to_le_bytes());
                out.extend_from_slice(&addr.port().to_be_bytes());
                put_u32(out, addr.flowinfo());
                out.extend_from_slice(&addr.ip().octets());
                put_u32(out, addr.scope_id());
            }
            SockAddr::Other { family, bytes } => {
                out.extend_from_slice(&family.to_le_bytes());
                out.extend_from_slice(bytes);
            }
        }
    }
}

impl Wire<'_> for SockAddr {
    fn decode(r: &mut Reader<'_>) -> Result<Self, WireError> {
        SockAddr::get(r, "address")
    }

    fn encode(&self, out: &mut Vec<u8>) {
        self.put(out);
    }
}

layout! {
    /// A TCP connection of a client to a public address.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub struct Connection [56] {
        /// The client's end.
        src: SockAddr;
        /// The public address's end.
        dst: SockAddr;
    }
}

/// Connections to reset when an address moves. Address 28, `num u32`, connections of 56 bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TickleList {
    /// The public address.
    pub addr: SockAddr,
    /// Its clients.
    pub connections: Vec<Connection>,
}

impl Wire<'_> for TickleList {
    fn decode(r: &mut Reader<'_>) -> Result<Self, WireError> {
        Ok(TickleList {
            addr: SockAddr::get(r, "addr")?,
            connections: r.list("num", Connection::LEN)?,
        })
    }

    fn encode(&self, out: &mut Vec<u8>) {
        self.addr.put(out);
        put_list(out, &self.connections);
    }
}

/// An address with its network and interfaces. Address 28, `mask u32, len u32`, text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddrInfo<'a> {
    /// The address.
    pub addr: SockAddr,
    /// Bits of the network. The tool's `gratarp` sends garbage.
    pub mask: u32,
    /// Interfaces, separated by commas. The text ends at its NUL or with its length.
    pub iface: Option<Text<'a>>,
}

impl<'a> Wire<'a> for AddrInfo<'a> {
    fn decode(r: &mut Reader<'a>) -> Result<Self, WireError> {
        Ok(AddrInfo {
            addr: SockAddr::get(r, "addr")?,
            mask: r.u32("mask")?,
            iface: r.stringn("iface")?,
        })
    }

    fn encode(&self, out: &mut Vec<u8>) {
        self.addr.put(out);
        put_u32(out, self.mask);
        put_stringn(out, self.iface);
    }
}

layout! {
    /// A public address and who has it.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct PublicIp [32] {
        /// The node that has or shall have it; `UNKNOWN` for nobody.
        pnn: Pnn;
        /// The address, port 0.
        addr: SockAddr;
    }
}

/// Public addresses. `num u32`, addresses of 32 bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PublicIpList {
    /// In the node's order.
    pub ips: Vec<PublicIp>,
}

impl Wire<'_> for PublicIpList {
    fn decode(r: &mut Reader<'_>) -> Result<Self, WireError> {
        Ok(PublicIpList {
            ips: r.list("num", PublicIp::LEN)?,
        })
    }

    fn encode(&self, out: &mut Vec<u8>) {
        put_list(out, &self.ips);
    }
}

/// Name of an interface: at most 17 bytes and a NUL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct IfaceName([u8; 18]);

impl IfaceName {
    /// `None` when the name is longer than 17 bytes or has a NUL inside.
    pub fn new(name: &str) -> Option<Self> {
        let mut bytes = [0; 18];
        if name.len() > 17 || name.contains('\0') {
            return None;
        }
        bytes[..name.len()].copy_from_slice(name.as_bytes());
        Some(IfaceName(bytes))
    }

    /// The name.
    pub fn text(&self) -> Text<'_> {
        Text::until_nul(&self.0)
    }
}

impl fmt::Display for IfaceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.text().fmt(f)
    }
}

impl Field for IfaceName {
    const LEN: usize = 18;

    /// The last byte counts as NUL, and what follows the first NUL is dropped.
    fn get(r: &mut Reader<'_>, field: &'static str) -> Result<Self, WireError> {
        let name = Text::until_nul(&r.bytes(field, Self::LEN)?[..17]);
        let mut bytes = [0; 18];
        bytes[..name.0.len()].copy_from_slice(name.0);
        Ok(IfaceName(bytes))
    }

    fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.0);
    }
}

layout! {
    /// An interface that carries public addresses.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Iface [24] {
        /// Name.
        name: IfaceName;
        /// 1 for up, 0 for down.
        link_state: u16;
        /// Public addresses on it.
        references: u32;
    }
}

/// Interfaces. `num u32`, interfaces of 24 bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IfaceList {
    /// In the node's order.
    pub ifaces: Vec<Iface>,
}

impl Wire<'_> for IfaceList {
    fn decode(r: &mut Reader<'_>) -> Result<Self, WireError> {
        Ok(IfaceList {
            ifaces: r.list("num", Iface::LEN)?,
        })
    }

    fn encode(&self, out: &mut Vec<u8>) {
        put_list(out, &self.ifaces);
    }
}

/// All about one public address. [`PublicIp`], `active_idx u32, num u32`, interfaces of 24 bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicIpInfo {
    /// Address and node.
    pub ip: PublicIp,
    /// Place in `ifaces` of the interface that carries it now.
    pub active_idx: Option<u32>,
    /// Those that may carry it.
    pub ifaces: Vec<Iface>,
}

impl PublicIpInfo {
    const NOT_ACTIVE: u32 = 0xFFFF_FFFF;
}

impl Wire<'_> for PublicIpInfo {
    fn decode(r: &mut Reader<'_>) -> Result<Self, WireError> {
        let ip = PublicIp::decode(r)?;
        let active_idx = Some(r.u32("active_idx")?).filter(|&idx| idx != Self::NOT_ACTIVE);
        Ok(PublicIpInfo {
            ip,
            active_idx,
            ifaces: r.list("num", Iface::LEN)?,
        })
    }

    fn encode(&self, out: &mut Vec<u8>) {
        self.ip.encode(out);
        put_u32(out, self.active_idx.unwrap_or(Self::NOT_ACTIVE));
        put_u32(out, len_u32(self.ifaces.len()));
        for iface in &self.ifaces {
            iface.encode(out);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(addr: SockAddr) -> Vec<u8> {
        let mut out = Vec::new();
        addr.encode(&mut out);
        out
    }

    #[test]
    fn ipv4_is_host_order_family_network_order_rest_and_an_empty_tail() {
        let addr = SockAddr::from("10.1.2.3:4379".parse::<SocketAddr>().unwrap());
        let bytes = encoded(addr);
        assert_eq!(bytes[..8], [2, 0, 0x11, 0x1b, 10, 1, 2, 3]);
        assert_eq!(bytes[8..], [0; 20]);
        assert_eq!(SockAddr::decode_all(&bytes, "addr"), Ok(addr));
    }

    #[test]
    fn garbage_behind_an_ipv4_address_makes_no_difference() {
        let addr = SockAddr::from("10.1.2.3:4379".parse::<SocketAddr>().unwrap());
        let mut bytes = encoded(addr);
        bytes[16..].fill(0xAA);
        assert_eq!(SockAddr::decode_all(&bytes, "addr"), Ok(addr));
    }

    #[test]
    fn ipv6_comes_back_with_its_scope() {
        let addr = SockAddr::V6(SocketAddrV6::new("fe80::1".parse().unwrap(), 445, 7, 3));
        assert_eq!(SockAddr::decode_all(&encoded(addr), "addr"), Ok(addr));
        assert!(addr.same_ip(addr.with_port(1)));
        assert_ne!(addr, addr.with_port(1));
    }

    #[test]
    fn an_unknown_family_is_kept() {
        let mut bytes = [7; 28];
        bytes[1] = 0;
        let addr = SockAddr::decode_all(&bytes, "addr").unwrap();
        assert_eq!(addr.to_socket_addr(), None);
        assert_eq!(encoded(addr), bytes);
        assert_eq!(encoded(SockAddr::NONE), [0; 28]);
    }

    #[test]
    fn an_interface_name_has_at_most_17_bytes() {
        assert!(IfaceName::new("12345678901234567").is_some());
        assert!(IfaceName::new("123456789012345678").is_none());
        let name = IfaceName::get(&mut Reader::new(&[b'x'; 18]), "name").unwrap();
        assert_eq!(name.to_string(), "x".repeat(17));
    }
}
