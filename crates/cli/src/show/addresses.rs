//! Public addresses, interfaces, connections.

use ctdb_protocol::{Iface, Pnn, PublicIp, PublicIpInfo, SockAddr, TickleList};

use super::nodes::address;
use super::row;

/// A public address and, where it is known, the interfaces that may carry it.
#[derive(Clone, Debug)]
pub struct AddressRow {
    /// Address and node.
    pub ip: PublicIp,
    /// What its node says of it.
    pub info: Option<PublicIpInfo>,
}

/// How addresses are listed.
#[derive(Clone, Copy, Debug)]
pub struct AddressForm<'a> {
    /// For scripts.
    pub separator: Option<&'a str>,
    /// Interfaces, too.
    pub verbose: bool,
    /// Whose addresses; `None` for the whole cluster's.
    pub node: Option<Pnn>,
}

/// The list of `ctdb ip`.
pub fn list(rows: &[AddressRow], form: AddressForm<'_>) -> String {
    let mut text = match (form.separator, form.node) {
        (Some(separator), _) => {
            let interfaces = ["ActiveInterfaces", "AvailableInterfaces", "ConfiguredInterfaces"];
            let columns = ["Public IP", "Node"].into_iter();
            let more = interfaces.into_iter().filter(|_| form.verbose);
            row(separator, &columns.chain(more).collect::<Vec<_>>())
        }
        (None, None) => "Public IPs on ALL nodes\n".to_owned(),
        (None, Some(node)) => format!("Public IPs on node {}\n", node.0),
    };
    rows.iter().for_each(|one| text += &line(one, form));
    text
}

fn line(one: &AddressRow, form: AddressForm<'_>) -> String {
    let ip = address(one.ip.addr);
    // Nobody is -1.
    let node = one.ip.pnn.0.cast_signed().to_string();
    let [active, available, configured] = interfaces(one.info.as_ref());
    match (form.separator, form.verbose) {
        (None, false) => format!("{ip} {node}\n"),
        (None, true) => {
            format!("{ip} node[{node}] active[{active}] available[{available}] configured[{configured}]\n")
        }
        (Some(separator), false) => row(separator, &[&ip, &node]),
        (Some(separator), true) => row(separator, &[&ip, &node, &active, &available, &configured]),
    }
}

/// Names of the one in use, of those with a link, of all.
fn interfaces(info: Option<&PublicIpInfo>) -> [String; 3] {
    let Some(info) = info else {
        return Default::default();
    };
    let names = |wanted: &dyn Fn(&Iface) -> bool| {
        let names = info
            .ifaces
            .iter()
            .filter(|iface| wanted(iface))
            .map(|iface| iface.name.to_string());
        names.collect::<Vec<_>>().join(",")
    };
    let active = info.active_idx.and_then(|place| info.ifaces.get(place as usize));
    [
        active.map(|iface| iface.name.to_string()).unwrap_or_default(),
        names(&|iface| iface.link_state != 0),
        names(&|_| true),
    ]
}

/// The order of the list: IPv4 first, then by their bytes.
pub fn order(a: &PublicIp, b: &PublicIp) -> std::cmp::Ordering {
    a.addr.ip().cmp(&b.addr.ip())
}

/// All about one address.
pub fn info(node: Pnn, info: &PublicIpInfo) -> String {
    let ip = address(info.ip.addr);
    let mut text = format!("Public IP[{ip}] info on node {}\n", node.0);
    text += &format!(
        "IP:{ip}\nCurrentNode:{}\nNumInterfaces:{}\n",
        info.ip.pnn.0,
        info.ifaces.len()
    );
    for (place, iface) in (0u32..).zip(&info.ifaces) {
        let active = if info.active_idx == Some(place) {
            " (active)"
        } else {
            ""
        };
        let Iface { name, references, .. } = iface;
        text += &format!(
            "Interface[{}]: Name:{name} Link:{} References:{references}{active}\n",
            place + 1,
            link(iface)
        );
    }
    text
}

fn link(iface: &Iface) -> &'static str {
    if iface.link_state == 0 { "down" } else { "up" }
}

/// Interfaces of a node.
pub fn ifaces(node: Pnn, ifaces: &[Iface], separator: Option<&str>) -> String {
    if ifaces.is_empty() {
        return format!("No interfaces configured on node {}\n", node.0);
    }
    let mut text = match separator {
        Some(separator) => row(separator, &["Name", "LinkStatus", "References"]),
        None => format!("Interfaces on node {}\n", node.0),
    };
    for iface in ifaces {
        let (name, references) = (iface.name.to_string(), iface.references.to_string());
        text += &match separator {
            Some(separator) => row(separator, &[&name, &iface.link_state.to_string(), &references]),
            None => format!("name:{name} link:{} references:{references}\n", link(iface)),
        };
    }
    text
}

/// An address with its port; upstream writes no brackets.
fn with_port(addr: SockAddr) -> String {
    format!("{}:{}", address(addr), addr.port())
}

/// Connections to a public address.
pub fn tickles(list: &TickleList, separator: Option<&str>) -> String {
    let mut text = match separator {
        // 4.17 spells it so, and scripts may have learnt it.
        Some(separator) => row(separator, &["Source IP", "Port", "Destiation IP", "Port"]),
        None => format!(
            "Connections for IP: {}\nNum connections: {}\n",
            address(list.addr),
            list.connections.len()
        ),
    };
    for one in &list.connections {
        text += &match separator {
            Some(separator) => row(
                separator,
                &[
                    &address(one.src),
                    &one.src.port().to_string(),
                    &address(one.dst),
                    &one.dst.port().to_string(),
                ],
            ),
            None => format!("SRC: {}   DST: {}\n", with_port(one.src), with_port(one.dst)),
        };
    }
    text
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use ctdb_protocol::IfaceName;

    use super::*;

    fn row_of(last: u8, pnn: Pnn) -> AddressRow {
        let iface = |name: &str, link_state| Iface {
            name: IfaceName::new(name).unwrap(),
            link_state,
            references: 2,
        };
        let ip = PublicIp {
            pnn,
            addr: IpAddr::from([10, 1, 1, last]).into(),
        };
        AddressRow {
            ip,
            info: Some(PublicIpInfo {
                ip,
                active_idx: Some(1),
                ifaces: vec![iface("eth0", 0), iface("eth1", 1)],
            }),
        }
    }

    #[test]
    fn an_address_of_nobody_is_on_node_minus_one() {
        let form = AddressForm {
            separator: None,
            verbose: false,
            node: Some(Pnn(1)),
        };
        assert_eq!(
            list(&[row_of(3, Pnn::UNKNOWN)], form),
            "Public IPs on node 1\n10.1.1.3 -1\n"
        );
    }

    #[test]
    fn verbose_lists_name_the_interfaces() {
        let form = |separator| AddressForm {
            separator,
            verbose: true,
            node: None,
        };
        assert_eq!(
            list(&[row_of(3, Pnn(0))], form(None)),
            "Public IPs on ALL nodes\n10.1.1.3 node[0] active[eth1] available[eth1] configured[eth0,eth1]\n"
        );
        assert_eq!(
            list(&[row_of(3, Pnn(0))], form(Some("|"))),
            "|Public IP|Node|ActiveInterfaces|AvailableInterfaces|ConfiguredInterfaces|\n|10.1.1.3|0|eth1|eth1|eth0,eth1|\n"
        );
    }

    #[test]
    fn all_about_an_address_marks_the_active_interface() {
        let row = row_of(3, Pnn(0));
        assert_eq!(
            info(Pnn(2), row.info.as_ref().unwrap()),
            "Public IP[10.1.1.3] info on node 2\nIP:10.1.1.3\nCurrentNode:0\nNumInterfaces:2\n\
             Interface[1]: Name:eth0 Link:down References:2\n\
             Interface[2]: Name:eth1 Link:up References:2 (active)\n"
        );
    }
}
