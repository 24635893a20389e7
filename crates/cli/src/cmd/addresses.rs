//! Public addresses and interfaces, as the daemon tells them.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ctdb_client::ClientError;
use ctdb_protocol::{Pnn, PublicIp, SockAddr};

use crate::args::Args;
use crate::console::out;
use crate::context::Context;
use crate::failure::{Failure, OrSay, Outcome};
use crate::numbers::strtoul;
use crate::show::addresses::{self as show, AddressForm, AddressRow};

pub(crate) async fn ip(cx: &Context, args: &Args<'_>) -> Outcome {
    args.want(0..=1)?;
    let all = match args.get(0).as_deref() {
        None => false,
        Some("all") => true,
        Some(_) => return Err(args.usage()),
    };
    let mut ips = if all {
        of_all_nodes(cx).await?
    } else {
        cx.client.get_public_ips(cx.node(), cx.limit()).await?.ips
    };
    ips.sort_by(show::order);
    let mut rows = Vec::with_capacity(ips.len());
    for ip in ips {
        let asked = if all { ip.pnn } else { cx.node() };
        let info = match asked {
            Pnn::UNKNOWN => None,
            node => Some(cx.client.get_public_ip_info(node, ip.addr, cx.limit()).await?),
        };
        rows.push(AddressRow { ip, info });
    }
    let form = AddressForm {
        separator: separator(cx),
        verbose: cx.options.verbose,
        node: (!all).then_some(cx.node()),
    };
    out(&show::list(&rows, form));
    Ok(0)
}

fn separator(cx: &Context) -> Option<&str> {
    cx.options.machine.then_some(cx.options.separator.as_str())
}

/// The addresses of all active nodes. That a node has an address is believed only if it says so itself.
async fn of_all_nodes(cx: &Context) -> Result<Vec<PublicIp>, Failure> {
    let nodemap = cx.nodemap().await?;
    let active = Context::active(&nodemap);
    if active.is_empty() {
        return Err(Failure::quiet(1));
    }
    let mut owners: BTreeMap<IpAddr, Pnn> = BTreeMap::new();
    for node in active {
        let list = cx.client.get_public_ips(node, cx.limit()).await;
        let list = list.map_err(|error| Failure::from(error).plain())?;
        for ip in list.ips {
            let Some(address) = ip.addr.ip() else { continue };
            if ip.pnn == node {
                owners.insert(address, node);
            } else {
                owners.entry(address).or_insert(Pnn::UNKNOWN);
            }
        }
    }
    let ips = owners.into_iter().map(|(address, pnn)| PublicIp {
        pnn,
        addr: address.into(),
    });
    Ok(ips.collect())
}

/// An address without port; IPv4 within IPv6 counts as IPv4.
fn address(text: &str) -> Result<SockAddr, Failure> {
    let ip = text.parse::<IpAddr>().map(|ip| ip.to_canonical());
    ip.map(SockAddr::from)
        .map_err(|_| Failure::said(format!("Invalid IP address {text}")))
}

pub(crate) async fn ipinfo(cx: &Context, args: &Args<'_>) -> Outcome {
    args.want(1..=1)?;
    let text = args.text(0);
    let ip = address(&text)?;
    match cx.client.get_public_ip_info(cx.node(), ip, cx.limit()).await {
        Ok(info) => {
            out(&show::info(cx.node(), &info));
            Ok(0)
        }
        Err(error) => {
            if matches!(error, ClientError::Status { status: -1, .. }) {
                out(&format!("Node {} does not know about IP {text}\n", cx.node().0));
            }
            Err(error.into())
        }
    }
}

pub(crate) async fn ifaces(cx: &Context, args: &Args<'_>) -> Outcome {
    args.want_none()?;
    let list = cx.client.get_ifaces(cx.node(), cx.limit()).await?;
    out(&show::ifaces(cx.node(), &list.ifaces, separator(cx)));
    Ok(0)
}

/// Interface names have at most so many bytes.
const IFACE_LEN_MAX: usize = 16;

pub(crate) async fn setifacelink(cx: &Context, args: &Args<'_>) -> Outcome {
    args.want(2..=2)?;
    let name = args.text(0);
    if name.len() > IFACE_LEN_MAX {
        return Err(Failure::said(format!("Interface name '{name}' too long")));
    }
    let list = cx.client.get_ifaces(cx.node(), cx.limit()).await;
    let list = list.or_say(|| format!("Failed to get interface information from node {}", cx.node().0))?;
    let Some(mut iface) = list
        .ifaces
        .into_iter()
        .find(|iface| iface.name.text().0 == name.as_bytes())
    else {
        out(&format!(
            "Interface {name} not configured on node {}\n",
            cx.node().0
        ));
        return Ok(1);
    };
    iface.link_state = match &*args.text(1) {
        "up" => 1,
        "down" => 0,
        _ => return Err(args.usage()),
    };
    iface.references = 0;
    cx.client
        .set_iface_link_state(cx.node(), iface, cx.limit())
        .await?;
    Ok(0)
}

pub(crate) async fn gettickles(cx: &Context, args: &Args<'_>) -> Outcome {
    args.want(1..=2)?;
    let port = args
        .get(1)
        .map_or(Ok(0), |text| strtoul(&text, 10))
        .map_err(Failure::quiet)?;
    let ip = address(&args.text(0))?.with_port(port as u16);
    let list = cx.client.get_tcp_tickle_list(cx.node(), ip, cx.limit()).await;
    let list = list.or_say(|| "Failed to get list of connections".to_owned())?;
    out(&show::tickles(&list, separator(cx)));
    Ok(0)
}
