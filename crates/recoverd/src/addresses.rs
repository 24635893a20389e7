//! Step 13: does this node need a takeover run? Whoever finds that he does asks the leader.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ctdb_client::ClientError;
use ctdb_protocol::{
    ControlFlags, IfaceList, Message, NodeFlags, Pnn, PublicIpList, Reply, Request, Srvid, SrvidRequest,
};
use ctdb_runtime::sync::join2;

use crate::state::Recoverd;

/// Names and link states, in ctdbd's order.
pub type Interfaces = Vec<(String, u16)>;

/// What ctdbd and the system say about addresses.
#[derive(Debug)]
struct Looked {
    interfaces: Interfaces,
    available: PublicIpList,
    known: PublicIpList,
    /// `None`: presence on interfaces is not checked.
    present: Option<BTreeSet<IpAddr>>,
}

impl Recoverd {
    /// Looks, and asks the leader for a takeover run if one is needed. Repeated in each round as long as it is.
    pub async fn verify_addresses(&self) {
        if self.settings.failover_disabled || self.takeovers.runs.borrow().is_disabled(self.now()) {
            return;
        }
        let looked = match self.look_at_addresses().await {
            Ok(looked) => looked,
            Err(error) => return log::debug!("Public addresses are not verified: {error}"),
        };
        let before = self.interfaces.borrow_mut().replace(looked.interfaces.clone());
        let Some(why) = need(&looked, before.as_ref(), self.me(), self.own_flags()) else {
            return;
        };
        log::info!("This node asks for a takeover run: {why}");
        let request = SrvidRequest {
            pnn: self.me().0,
            srvid: Srvid(0),
        };
        self.tell(
            Pnn::BROADCAST_CONNECTED,
            Srvid::TAKEOVER_RUN,
            &Message::Request(request),
        );
    }

    async fn look_at_addresses(&self) -> Result<Looked, ClientError> {
        let (client, timeout) = (&self.client, self.timeout());
        let only_available = ControlFlags::PUBLIC_IP_ONLY_AVAILABLE;
        let available =
            client.control_with_flags(Pnn::CURRENT, &Request::GetPublicIps, only_available, timeout);
        let ((ifaces, known), available) = join2(
            join2(
                client.get_ifaces(Pnn::CURRENT, timeout),
                client.get_public_ips(Pnn::CURRENT, timeout),
            ),
            available,
        )
        .await;
        let (ifaces, known, available) = (ifaces?, known?, available?);
        let Reply::GetPublicIps(available) = available.reply()? else {
            return Err(ClientError::InvalidUse(
                "GET_PUBLIC_IPS was answered as another control",
            ));
        };
        // Nodes of a test have no addresses on interfaces; a node without public addresses has none to look for.
        let checked = !self.settings.paths.test_mode && !known.ips.is_empty();
        Ok(Looked {
            interfaces: interfaces(&ifaces),
            available,
            known,
            present: if checked { local_addresses() } else { None },
        })
    }
}

fn interfaces(list: &IfaceList) -> Interfaces {
    list.ifaces
        .iter()
        .map(|iface| (iface.name.text().to_string(), iface.link_state))
        .collect()
}

/// All addresses on this host's interfaces; `None` when the system does not tell.
fn local_addresses() -> Option<BTreeSet<IpAddr>> {
    let list = match nix::ifaddrs::getifaddrs() {
        Ok(list) => list,
        Err(error) => {
            log::error!("The addresses of this host can't be listed: {error}");
            return None;
        }
    };
    let mut found = BTreeSet::new();
    for storage in list.filter_map(|interface| interface.address) {
        if let Some(v4) = storage.as_sockaddr_in() {
            found.insert(IpAddr::V4(v4.ip()));
        } else if let Some(v6) = storage.as_sockaddr_in6() {
            found.insert(IpAddr::V6(v6.ip()));
        }
    }
    Some(found)
}

/// Why a takeover run is needed, as far as this node can see.
fn need(looked: &Looked, before: Option<&Interfaces>, me: Pnn, flags: NodeFlags) -> Option<String> {
    interfaces_changed(&looked.interfaces, before)
        .or_else(|| unassigned(&looked.available, flags))
        .or_else(|| misplaced(&looked.known, looked.present.as_ref()?, me))
}

/// The first look of a node that has interfaces is a change, too.
fn interfaces_changed(now: &Interfaces, before: Option<&Interfaces>) -> Option<String> {
    match before {
        None => (!now.is_empty()).then(|| "its interfaces were looked at for the first time".to_owned()),
        Some(before) if before == now => None,
        Some(before) => Some(format!("its interfaces changed from {before:?} to {now:?}")),
    }
}

fn unassigned(available: &PublicIpList, flags: NodeFlags) -> Option<String> {
    if !flags.is_empty() {
        return None;
    }
    let free = available.ips.iter().find(|ip| ip.pnn == Pnn::UNKNOWN)?;
    Some(format!("nobody serves {}, and this node can", free.addr))
}

fn misplaced(known: &PublicIpList, present: &BTreeSet<IpAddr>, me: Pnn) -> Option<String> {
    known
        .ips
        .iter()
        .find_map(|ip| match (ip.pnn == me, present.contains(&ip.addr.ip()?)) {
            (true, false) => Some(format!("{} is to be here and is on no interface", ip.addr)),
            (false, true) => Some(format!(
                "{} is on an interface and belongs to node {}",
                ip.addr, ip.pnn
            )),
            (true, true) | (false, false) => None,
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use ctdb_protocol::{PublicIp, SockAddr};

    const ME: Pnn = Pnn(1);

    fn ip(owner: Pnn) -> PublicIpList {
        let addr = SockAddr::V4("10.0.0.5:0".parse().unwrap());
        PublicIpList {
            ips: vec![PublicIp { pnn: owner, addr }],
        }
    }

    fn looked(owner: Pnn) -> Looked {
        Looked {
            interfaces: vec![("eth0".into(), 1)],
            available: ip(owner),
            known: ip(owner),
            present: None,
        }
    }

    #[test]
    fn interfaces_that_are_as_before_need_nothing() {
        let (looked, none) = (looked(ME), NodeFlags::empty());
        assert_eq!(need(&looked, Some(&looked.interfaces), ME, none), None);
        assert!(need(&looked, None, ME, none).is_some());
        let down = vec![("eth0".to_owned(), 0)];
        assert!(need(&looked, Some(&down), ME, none).is_some());
        let nothing = Looked {
            interfaces: vec![],
            ..looked
        };
        assert_eq!(need(&nothing, None, ME, none), None);
    }

    #[test]
    fn an_address_that_nobody_serves_is_wanted_by_a_healthy_node() {
        let looked = looked(Pnn::UNKNOWN);
        let same = Some(&looked.interfaces);
        assert!(need(&looked, same, ME, NodeFlags::empty()).is_some());
        assert_eq!(need(&looked, same, ME, NodeFlags::UNHEALTHY), None);
    }

    #[test]
    fn an_address_must_be_on_an_interface_of_its_owner_and_of_nobody_else() {
        let here: BTreeSet<IpAddr> = ["10.0.0.5".parse().unwrap()].into();
        let cases = [
            (ME, &here, false),
            (ME, &BTreeSet::new(), true),
            (Pnn(0), &here, true),
        ];
        for (owner, present, wanted) in cases {
            let looked = Looked {
                present: Some(present.clone()),
                ..looked(owner)
            };
            let need = need(&looked, Some(&looked.interfaces), ME, NodeFlags::empty());
            assert_eq!(need.is_some(), wanted, "{need:?}");
        }
    }
}
