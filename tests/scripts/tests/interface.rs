//! `10.interface`: public addresses on real interfaces, and what is told to ctdbd.

use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;

use anyhow::{Context, Result};
use ctdb_script_tests::Sandbox;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, bind, connect, socket};

const NO_IFACES: &str = "case \"$*\" in *ifaces) echo '|Name|LinkStatus|References|' ;; esac";

/// Two interfaces that are up, and `public_addresses` with one of each family.
fn with_interfaces() -> Result<Option<Sandbox>> {
    let Some(sandbox) = Sandbox::in_namespace()? else {
        return Ok(None);
    };
    sandbox.network()?.sh(
        "ip link add pub0 type veth peer name sw0; ip link add pub1 type veth peer name sw1
         for i in pub0 sw0 pub1 sw1; do ip link set $i up; done",
    )?;
    sandbox.write(
        "base/public_addresses",
        "# the public network\n10.1.1.1/24 pub0,pub1\n10.1.1.2/24\tpub0\n\nfd00:1::1/64 pub0\n",
    )?;
    sandbox.stand_in("ctdb", NO_IFACES)?;
    sandbox.helper("ctdb_killtcp", "note")?;
    // A kernel or a container without packet filter: the stand-in for it is noted where a test needs the real one.
    sandbox.stand_in("iptables", "")?;
    sandbox.stand_in("ip6tables", "")?;
    Ok(Some(sandbox))
}

fn addresses(sandbox: &Sandbox, interface: &str) -> Result<Vec<String>> {
    let said = sandbox
        .network()?
        .sh(&format!("ip -brief addr show dev {interface} scope global"))?;
    Ok(said.split_whitespace().skip(2).map(str::to_owned).collect())
}

#[test]
fn takeip_and_releaseip_put_an_address_on_an_interface_and_take_it_off() -> Result<()> {
    let Some(sandbox) = with_interfaces()? else {
        return Ok(());
    };
    sandbox
        .event("10.interface", &["takeip", "pub0", "10.1.1.1", "24"])?
        .ok()?;
    sandbox
        .event("10.interface", &["takeip", "pub0", "10.1.1.2", "24"])?
        .ok()?;
    assert_eq!(addresses(&sandbox, "pub0")?, ["10.1.1.1/24", "10.1.1.2/24"]);
    assert_eq!(
        sandbox.read("state/my-public-ip-addresses")?,
        "10.1.1.1\n10.1.1.2\n"
    );
    // The first address of the network goes, the second stays.
    sandbox
        .event("10.interface", &["releaseip", "pub0", "10.1.1.1", "24"])?
        .ok()?;
    assert_eq!(addresses(&sandbox, "pub0")?, ["10.1.1.2/24"]);
    assert_eq!(sandbox.read("state/my-public-ip-addresses")?, "10.1.1.2\n");
    Ok(())
}

#[test]
fn takeip_of_an_address_that_is_there_succeeds() -> Result<()> {
    let Some(sandbox) = with_interfaces()? else {
        return Ok(());
    };
    for _ in 0..2 {
        sandbox
            .event("10.interface", &["takeip", "pub0", "10.1.1.1", "24"])?
            .ok()?;
    }
    assert_eq!(addresses(&sandbox, "pub0")?, ["10.1.1.1/24"]);
    Ok(())
}

#[test]
fn takeip_of_an_ipv6_address_waits_until_it_can_be_used() -> Result<()> {
    let Some(sandbox) = with_interfaces()? else {
        return Ok(());
    };
    sandbox
        .event("10.interface", &["takeip", "pub0", "fd00:1::1", "64"])?
        .ok()?;
    let usable = sandbox
        .network()?
        .enter(|| Ok(TcpListener::bind("[fd00:1::1]:0").is_ok()))?;
    assert!(usable, "the address is still tentative");
    Ok(())
}

#[test]
fn takeip_of_an_ipv6_address_that_another_host_has_fails() -> Result<()> {
    let Some(sandbox) = with_interfaces()? else {
        return Ok(());
    };
    sandbox.network()?.sh("ip addr add fd00:1::1/64 dev sw0 nodad")?;
    let said = sandbox
        .event("10.interface", &["takeip", "pub0", "fd00:1::1", "64"])?
        .fails_with(1)?;
    assert!(said.contains("another host answers"), "{said}");
    assert_eq!(addresses(&sandbox, "pub0")?, [""; 0]);
    Ok(())
}

#[test]
fn releaseip_finds_an_address_that_is_not_where_ctdbd_thinks() -> Result<()> {
    let Some(sandbox) = with_interfaces()? else {
        return Ok(());
    };
    sandbox.network()?.sh("ip addr add 10.1.1.1/25 dev pub1")?;
    let said = sandbox
        .event("10.interface", &["releaseip", "__none__", "10.1.1.1", "24"])?
        .ok()?;
    assert!(
        said.contains("10.1.1.1 is on interface pub1; ctdbd had it on __none__"),
        "{said}"
    );
    assert!(said.contains("netmask of 25 bits; ctdbd had 24"), "{said}");
    assert_eq!(addresses(&sandbox, "pub1")?, [""; 0]);
    Ok(())
}

#[test]
fn updateip_moves_an_address_and_tells_the_neighbours_by_a_stand_in() -> Result<()> {
    let Some(sandbox) = with_interfaces()? else {
        return Ok(());
    };
    sandbox
        .event("10.interface", &["takeip", "pub0", "10.1.1.1", "24"])?
        .ok()?;
    sandbox.calls()?;
    sandbox
        .event("10.interface", &["updateip", "pub0", "pub1", "10.1.1.1", "24"])?
        .ok()?;
    assert_eq!(addresses(&sandbox, "pub0")?, [""; 0]);
    assert_eq!(addresses(&sandbox, "pub1")?, ["10.1.1.1/24"]);
    assert_eq!(
        sandbox.calls()?,
        [
            "iptables -w 30 -C INPUT -i pub0 -d 10.1.1.1 -j DROP",
            "iptables -w 30 -D INPUT -i pub0 -d 10.1.1.1 -j DROP",
            "ctdb gratarp 10.1.1.1 pub1",
        ]
    );
    let said = sandbox
        .event("10.interface", &["updateip", "pub0", "pub1", "10.1.1.1", "24"])?
        .ok()?;
    assert!(said.contains("10.1.1.1 is on interface pub1 already"), "{said}");
    Ok(())
}

#[test]
fn init_and_shutdown_remove_the_public_addresses_only() -> Result<()> {
    let Some(sandbox) = with_interfaces()? else {
        return Ok(());
    };
    for event in ["init", "shutdown"] {
        sandbox
            .network()?
            .sh("ip addr add 10.1.1.1/24 dev pub0; ip addr replace 10.1.1.9/24 dev pub0")?;
        sandbox.event("10.interface", &[event])?.ok()?;
        assert_eq!(addresses(&sandbox, "pub0")?, ["10.1.1.9/24"], "{event}");
    }
    Ok(())
}

#[test]
fn monitor_fails_while_an_interface_has_no_link() -> Result<()> {
    let Some(mut sandbox) = with_interfaces()? else {
        return Ok(());
    };
    sandbox.event("10.interface", &["monitor"])?.ok()?;
    assert_eq!(
        sandbox.calls()?,
        [
            "ctdb -X ifaces",
            "ctdb setifacelink pub0 up",
            "ctdb setifacelink pub1 up"
        ]
    );
    sandbox.network()?.sh("ip link set sw1 down")?;
    let said = sandbox.event("10.interface", &["monitor"])?.fails_with(1)?;
    assert!(said.contains("ERROR: interface pub1 has no link"), "{said}");
    assert!(
        sandbox
            .calls()?
            .contains(&"ctdb setifacelink pub1 down".to_owned())
    );
    sandbox.set("CTDB_PARTIALLY_ONLINE_INTERFACES", "yes");
    sandbox.event("10.interface", &["monitor"])?.ok()?;
    sandbox.network()?.sh("ip link del pub0")?;
    let said = sandbox.event("10.interface", &["monitor"])?.fails_with(1)?;
    assert!(said.contains("ERROR: interface pub0 does not exist"), "{said}");
    Ok(())
}

#[test]
fn monitor_brings_an_interface_up_that_was_never_up() -> Result<()> {
    let Some(sandbox) = with_interfaces()? else {
        return Ok(());
    };
    sandbox.network()?.sh("ip link set pub0 down")?;
    sandbox.event("10.interface", &["monitor"])?.ok()?;
    Ok(())
}

#[test]
fn monitor_knows_a_bond_without_active_members() -> Result<()> {
    let mut sandbox = Sandbox::new()?;
    sandbox.write("base/public_addresses", "10.1.1.1/24 bond0\n")?;
    sandbox.stand_in(
        "ip",
        "echo 'bond0 UP 00:00:00:00:00:01 <BROADCAST,MULTICAST,UP,LOWER_UP>'",
    )?;
    let bond = |mode: &str, member: &str| {
        format!("Bonding Mode: {mode}\nMII Status: up\n\nSlave Interface: eth0\nMII Status: {member}\n")
    };
    for (file, healthy) in [
        (bond("fault-tolerance (active-backup)", "up"), true),
        (bond("IEEE 802.3ad Dynamic link aggregation", "up"), true),
        (bond("IEEE 802.3ad Dynamic link aggregation", "down"), false),
        ("Currently Active Slave: None\nMII Status: up\n".to_owned(), false),
        ("Bonding Mode: x\nMII Status: down\n".to_owned(), false),
    ] {
        sandbox.write("proc/net/bonding/bond0", &file)?;
        let ran = sandbox.event("10.interface", &["monitor"])?;
        assert_eq!(ran.code, i32::from(!healthy), "{file}: {}", ran.output);
    }
    sandbox.set("CTDB_PARTIALLY_ONLINE_INTERFACES", "yes");
    sandbox.event("10.interface", &["monitor"])?.fails_with(1)?;
    Ok(())
}

/// Runs `work`, given the client's address, while a client at 10.9.9.9 is connected to `port` of 10.1.1.1. The
/// listener has a socket for both families, so that the kernel shows its IPv4 clients as IPv6.
fn while_connected(sandbox: &Sandbox, port: u16, work: impl FnOnce(&str) -> Result<()>) -> Result<()> {
    let network = sandbox.network()?;
    network.sh("ip addr add 10.9.9.9/32 dev lo")?;
    let (client, _server) = network.enter(|| {
        let listener = TcpListener::bind(("::", port))?;
        let client = socket(
            AddressFamily::Inet,
            SockType::Stream,
            SockFlag::SOCK_CLOEXEC,
            None,
        )?;
        bind(client.as_raw_fd(), &SockaddrIn::new(10, 9, 9, 9, 0))?;
        connect(client.as_raw_fd(), &SockaddrIn::new(10, 1, 1, 1, port)).context("connecting")?;
        let (server, _) = listener.accept()?;
        Ok((TcpStream::from(client), server))
    })?;
    work(&client.local_addr()?.to_string())
}

#[test]
fn releaseip_resets_both_ends_of_connections_by_a_stand_in_but_only_ours_of_smb() -> Result<()> {
    for port in [2049, 445] {
        let Some(sandbox) = with_interfaces()? else {
            return Ok(());
        };
        sandbox
            .event("10.interface", &["takeip", "pub0", "10.1.1.1", "24"])?
            .ok()?;
        while_connected(&sandbox, port, |client| {
            sandbox.calls()?;
            let said = sandbox
                .event("10.interface", &["releaseip", "pub0", "10.1.1.1", "24"])?
                .ok()?;
            let mut expected = vec![
                "ctdb_killtcp pub0".to_owned(),
                format!("< {client} 10.1.1.1:{port}"),
            ];
            if port != 445 {
                expected.push(format!("< 10.1.1.1:{port} {client}"));
            }
            let mut calls = sandbox.calls()?;
            calls.retain(|line| !line.starts_with("iptables"));
            assert_eq!(calls, expected);
            assert!(
                said.contains("10.1.1.1 is released: 0 of its 1 TCP connections"),
                "{said}"
            );
            Ok(())
        })?;
    }
    Ok(())
}

#[test]
fn connections_can_be_ended_by_the_kernel_instead() -> Result<()> {
    let Some(mut sandbox) = with_interfaces()? else {
        return Ok(());
    };
    sandbox.set("CTDB_KILLTCP_USE_SS_KILL", "yes");
    sandbox
        .event("10.interface", &["takeip", "pub0", "10.1.1.1", "24"])?
        .ok()?;
    while_connected(&sandbox, 2049, |_| {
        let said = sandbox
            .event("10.interface", &["releaseip", "pub0", "10.1.1.1", "24"])?
            .ok()?;
        assert!(!sandbox.calls()?.contains(&"ctdb_killtcp pub0".to_owned()));
        if said.contains("0 of its 1") {
            ctdb_harness::skip("this kernel cannot end connections (CONFIG_INET_DIAG_DESTROY)");
        } else {
            assert!(
                said.contains("10.1.1.1 is released: 1 of its 1 TCP connections"),
                "{said}"
            );
        }
        Ok(())
    })
}

#[test]
fn monitor_tells_ctdbd_new_connections_and_those_that_are_gone_by_a_stand_in() -> Result<()> {
    let Some(sandbox) = with_interfaces()? else {
        return Ok(());
    };
    sandbox
        .network()?
        .sh("ip addr add 10.1.1.1/24 dev pub0; ip addr add fd00:1::1/64 dev pub0 nodad")?;
    sandbox.write("state/my-public-ip-addresses", "10.1.1.1\nfd00:1::1\n")?;
    sandbox.stand_in(
        "ctdb",
        "case \"$*\" in
         *addtickle | *deltickle) note ;;
         *'gettickles fd00:1::1')
             echo '|Source IP|Port|Destination IP|Port|'
             echo '|fd00:9::9|700|fd00:1::1|2049|' ;;
         esac",
    )?;
    while_connected(&sandbox, 2049, |client| {
        sandbox.event("10.interface", &["monitor"])?.ok()?;
        let mut calls = sandbox.calls()?;
        calls.retain(|line| line.starts_with("< ") || line.ends_with("tickle"));
        assert_eq!(
            calls,
            [
                "ctdb addtickle".to_owned(),
                format!("< {client} 10.1.1.1:2049"),
                "ctdb deltickle".to_owned(),
                "< [fd00:9::9]:700 [fd00:1::1]:2049".to_owned(),
            ]
        );
        Ok(())
    })
}

#[test]
fn packets_to_an_address_that_leaves_are_dropped_by_the_real_iptables() -> Result<()> {
    let Some(sandbox) = with_interfaces()? else {
        return Ok(());
    };
    std::fs::remove_file(sandbox.path("bin/iptables"))?;
    if let Err(error) = sandbox.network()?.sh("iptables -w 5 -S INPUT") {
        ctdb_harness::skip(&format!("no iptables here: {error:#}"));
        return Ok(());
    }
    sandbox
        .event("10.interface", &["takeip", "pub0", "10.1.1.1", "24"])?
        .ok()?;
    // Looks at the rules while the connections are ended, and leaves one more.
    sandbox.stand_in(
        "ss",
        "iptables -S INPUT >>\"$CALLS\"; echo 0 0 10.1.1.1:1 10.2.2.2:2",
    )?;
    sandbox
        .event("10.interface", &["releaseip", "pub0", "10.1.1.1", "24"])?
        .ok()?;
    assert!(
        sandbox
            .calls()?
            .contains(&"-A INPUT -d 10.1.1.1/32 -i pub0 -j DROP".to_owned()),
        "not blocked while connections are ended"
    );
    let left = sandbox.network()?.sh("iptables -w 5 -S INPUT")?;
    assert_eq!(left.trim(), "-P INPUT ACCEPT");
    // What a killed releaseip has left, the next takeip removes.
    sandbox
        .network()?
        .sh("iptables -I INPUT -i pub0 -d 10.1.1.1 -j DROP")?;
    sandbox
        .event("10.interface", &["takeip", "pub0", "10.1.1.1", "24"])?
        .ok()?;
    assert_eq!(
        sandbox.network()?.sh("iptables -w 5 -S INPUT")?.trim(),
        "-P INPUT ACCEPT"
    );
    Ok(())
}

#[test]
fn without_public_addresses_there_is_nothing_to_do() -> Result<()> {
    let sandbox = Sandbox::new()?;
    let said = sandbox.event("10.interface", &["init"])?.ok()?;
    assert!(said.contains("will host no public addresses"), "{said}");
    sandbox.event("10.interface", &["monitor"])?.ok()?;
    assert_eq!(sandbox.calls()?, [""; 0]);
    Ok(())
}

#[test]
fn an_event_without_its_arguments_fails_and_says_which() -> Result<()> {
    let sandbox = Sandbox::new()?;
    sandbox.write("base/public_addresses", "10.1.1.1/24 eth0\n")?;
    let said = sandbox
        .event("10.interface", &["takeip", "eth0"])?
        .fails_with(1)?;
    assert!(said.contains("takeip takes three arguments"), "{said}");
    Ok(())
}
