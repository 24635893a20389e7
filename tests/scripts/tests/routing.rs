//! The scripts that set routes: `11.natgw`, `11.routing`, `13.per_ip_routing`, with the real `ip` and `iptables`.

use anyhow::Result;
use ctdb_harness::skip;
use ctdb_script_tests::Sandbox;

/// An interface `pub0` that is up and has 10.1.1.1/24.
fn with_interface() -> Result<Option<Sandbox>> {
    let Some(sandbox) = Sandbox::in_namespace()? else {
        return Ok(None);
    };
    sandbox.network()?.sh(
        "ip link add pub0 type veth peer name sw0; ip link set pub0 up; ip link set sw0 up
         ip addr add 10.1.1.1/24 dev pub0",
    )?;
    Ok(Some(sandbox))
}

fn routes(sandbox: &Sandbox, table: &str) -> Result<Vec<String>> {
    let said = sandbox.network()?.sh(&format!("ip route show table {table}"))?;
    Ok(said.lines().map(|line| line.trim().to_owned()).collect())
}

fn rules(sandbox: &Sandbox) -> Result<String> {
    sandbox.network()?.sh("ip rule show pref 100")
}

////////////////////////////////////////////////////////////// 11.routing

#[test]
fn static_routes_are_added_when_their_interface_can_have_them() -> Result<()> {
    let Some(sandbox) = with_interface()? else {
        return Ok(());
    };
    sandbox.write(
        "base/static-routes",
        "# comment\npub0 10.3.3.0/24 10.1.1.254\nabsent 10.4.4.0/24 10.1.1.254\n",
    )?;
    for _ in 0..2 {
        sandbox.event("11.routing", &["ipreallocated"])?.ok()?;
        assert!(routes(&sandbox, "main")?.contains(&"10.3.3.0/24 via 10.1.1.254 dev pub0".to_owned()));
    }
    sandbox.network()?.sh("ip route del 10.3.3.0/24")?;
    sandbox
        .event("11.routing", &["updateip", "other", "another", "10.1.1.1", "24"])?
        .ok()?;
    assert_eq!(routes(&sandbox, "10.3.3.0/24").unwrap_or_default(), [""; 0]);
    sandbox
        .event("11.routing", &["updateip", "other", "pub0", "10.1.1.1", "24"])?
        .ok()?;
    assert!(routes(&sandbox, "main")?.contains(&"10.3.3.0/24 via 10.1.1.254 dev pub0".to_owned()));
    Ok(())
}

////////////////////////////////////////////////////////////// 13.per_ip_routing

fn with_policy(conf: &str) -> Result<Option<Sandbox>> {
    let Some(mut sandbox) = with_interface()? else {
        return Ok(None);
    };
    sandbox.set("CTDB_PER_IP_ROUTING_CONF", conf);
    sandbox.set("CTDB_PER_IP_ROUTING_RULE_PREF", "100");
    sandbox.set("CTDB_PER_IP_ROUTING_TABLE_ID_LOW", "1000");
    sandbox.set("CTDB_PER_IP_ROUTING_TABLE_ID_HIGH", "1001");
    sandbox.write(
        "base/public_addresses",
        "10.1.1.1/24 pub0\n10.1.1.2/24 pub0\n10.1.1.3/24 pub0\n",
    )?;
    Ok(Some(sandbox))
}

#[test]
fn packets_from_an_address_take_its_configured_routes_while_it_is_here() -> Result<()> {
    let Some(mut sandbox) = with_policy("")? else {
        return Ok(());
    };
    sandbox.write(
        "base/policy",
        "# comment\n10.1.1.1 10.1.1.0/24\n10.1.1.1 0.0.0.0/0 10.1.1.254\n10.1.1.9 0.0.0.0/0 10.1.1.253\n",
    )?;
    let conf = sandbox.path("base/policy");
    sandbox.set("CTDB_PER_IP_ROUTING_CONF", conf);
    sandbox
        .event("13.per_ip_routing", &["takeip", "pub0", "10.1.1.1", "24"])?
        .ok()?;
    assert_eq!(
        routes(&sandbox, "ctdb.10.1.1.1")?,
        [
            "default via 10.1.1.254 dev pub0",
            "10.1.1.0/24 dev pub0 scope link"
        ]
    );
    assert!(rules(&sandbox)?.contains("from 10.1.1.1 lookup ctdb.10.1.1.1"));
    assert_eq!(sandbox.calls()?, ["ctdb gratarp 10.1.1.1 pub0"]);
    // Without lines of its own an address has none.
    sandbox
        .event("13.per_ip_routing", &["takeip", "pub0", "10.1.1.2", "24"])?
        .ok()?;
    assert_eq!(rules(&sandbox)?.lines().count(), 1);
    sandbox
        .event("13.per_ip_routing", &["releaseip", "pub0", "10.1.1.1", "24"])?
        .ok()?;
    assert_eq!(rules(&sandbox)?, "");
    assert_eq!(routes(&sandbox, "ctdb.10.1.1.1").unwrap_or_default(), [""; 0]);
    Ok(())
}

#[test]
fn automatic_routes_are_those_to_the_own_network() -> Result<()> {
    let Some(sandbox) = with_policy("__auto_link_local__")? else {
        return Ok(());
    };
    sandbox.write("base/public_addresses", "10.1.1.1/20 pub0\n")?;
    sandbox
        .event("13.per_ip_routing", &["takeip", "pub0", "10.1.1.1", "20"])?
        .ok()?;
    assert_eq!(
        routes(&sandbox, "ctdb.10.1.1.1")?,
        ["10.1.0.0/20 dev pub0 scope link"]
    );
    Ok(())
}

#[test]
fn each_address_has_a_table_until_there_are_no_numbers_left() -> Result<()> {
    let Some(sandbox) = with_policy("__auto_link_local__")? else {
        return Ok(());
    };
    for (address, code) in [("10.1.1.1", 0), ("10.1.1.2", 0), ("10.1.1.1", 0), ("10.1.1.3", 1)] {
        let ran = sandbox.event("13.per_ip_routing", &["takeip", "pub0", address, "24"])?;
        assert_eq!(ran.code, code, "{address}: {}", ran.output);
    }
    let tables = sandbox.read("etc/iproute2/rt_tables")?;
    assert!(
        tables.ends_with("1000\tctdb.10.1.1.1\n1001\tctdb.10.1.1.2\n"),
        "{tables}"
    );
    sandbox.event("13.per_ip_routing", &["shutdown"])?.ok()?;
    assert_eq!(rules(&sandbox)?, "");
    assert!(!sandbox.read("etc/iproute2/rt_tables")?.contains("ctdb."));
    Ok(())
}

#[test]
fn ipreallocated_brings_back_what_is_missing_and_removes_what_is_stale() -> Result<()> {
    let Some(sandbox) = with_policy("__auto_link_local__")? else {
        return Ok(());
    };
    sandbox
        .event("13.per_ip_routing", &["takeip", "pub0", "10.1.1.2", "24"])?
        .ok()?;
    sandbox.stand_in(
        "ctdb",
        "case \"$*\" in
         *ip) echo '|Public IP|Node|ActiveInterface|AvailableInterfaces|ConfiguredInterfaces|'
              echo '|10.1.1.1|0|pub0|pub0|pub0|'
              echo '|10.1.1.2|1|||pub0|' ;;
         esac",
    )?;
    let said = sandbox.event("13.per_ip_routing", &["ipreallocated"])?.ok()?;
    assert!(said.contains("Removing the routing of 10.1.1.2"), "{said}");
    let now = rules(&sandbox)?;
    assert!(
        now.contains("from 10.1.1.1 ") && !now.contains("10.1.1.2"),
        "{now}"
    );
    sandbox.network()?.sh("ip route flush table ctdb.10.1.1.1")?;
    sandbox.event("13.per_ip_routing", &["ipreallocated"])?.ok()?;
    assert_eq!(routes(&sandbox, "ctdb.10.1.1.1")?.len(), 1);
    sandbox.event("13.per_ip_routing", &["reconfigure"])?.ok()?;
    assert_eq!(routes(&sandbox, "ctdb.10.1.1.1")?.len(), 1);
    sandbox.event("13.per_ip_routing", &["startup"])?.ok()?;
    assert_eq!(rules(&sandbox)?, "");
    let filter = sandbox
        .network()?
        .sh("cat /proc/sys/net/ipv4/conf/all/arp_filter")?;
    assert_eq!(filter.trim(), "1");
    Ok(())
}

#[test]
fn policy_routing_refuses_bad_options_and_leaves_ipv6_alone() -> Result<()> {
    let Some(mut sandbox) = with_policy("__auto_link_local__")? else {
        return Ok(());
    };
    let said = sandbox
        .event("13.per_ip_routing", &["takeip", "pub0", "fd00::1", "64"])?
        .ok()?;
    assert!(said.contains("not an IPv4 address"), "{said}");
    for (low, high, why) in [
        ("2", "1", "below"),
        ("x", "9", "not a number"),
        ("100", "300", "must not contain 253 to 255"),
    ] {
        sandbox.set("CTDB_PER_IP_ROUTING_TABLE_ID_LOW", low);
        sandbox.set("CTDB_PER_IP_ROUTING_TABLE_ID_HIGH", high);
        let said = sandbox.event("13.per_ip_routing", &["startup"])?.fails_with(1)?;
        assert!(said.contains(why), "{low} {high}: {said}");
    }
    sandbox.set("CTDB_PER_IP_ROUTING_CONF", "");
    sandbox.event("13.per_ip_routing", &["startup"])?.ok()?;
    Ok(())
}

////////////////////////////////////////////////////////////// 11.natgw

/// Node 0, 192.168.1.1, of a group of two; the leader is what the stand-in of the helper says.
fn with_natgw() -> Result<Option<Sandbox>> {
    let Some(mut sandbox) = with_interface()? else {
        return Ok(None);
    };
    if let Err(error) = sandbox.network()?.sh("iptables -w 5 -t nat -S") {
        skip(&format!("no iptables here: {error:#}"));
        return Ok(None);
    }
    sandbox.network()?.sh(
        "ip link add priv0 type veth peer name sw1; ip link set priv0 up; ip link set sw1 up
         ip addr add 192.168.1.1/24 dev priv0; ip addr del 10.1.1.1/24 dev pub0",
    )?;
    sandbox.write("base/natgw_nodes", "192.168.1.1\n192.168.1.2\n")?;
    sandbox.stand_in(
        "ctdb",
        "case \"$*\" in
         pnn) echo 0 ;;
         *nodestatus) printf '|Node|IP|\\n|0|192.168.1.1|0|0|0|0|0|0|0|0|Y|\\n' ;;
         esac",
    )?;
    let nodes = sandbox.path("base/natgw_nodes");
    sandbox.set("CTDB_NATGW_NODES", nodes);
    sandbox.set("CTDB_NATGW_PUBLIC_IP", "10.1.1.200/24");
    sandbox.set("CTDB_NATGW_PUBLIC_IFACE", "pub0");
    sandbox.set("CTDB_NATGW_PRIVATE_NETWORK", "192.168.1.0/24");
    sandbox.set("CTDB_NATGW_DEFAULT_GATEWAY", "10.1.1.254");
    Ok(Some(sandbox))
}

fn nat_rules(sandbox: &Sandbox) -> Result<Vec<String>> {
    let said = sandbox
        .network()?
        .sh("iptables -w 5 -t nat -S POSTROUTING; iptables -w 5 -S INPUT")?;
    Ok(said
        .lines()
        .filter(|line| line.starts_with("-A"))
        .map(str::to_owned)
        .collect())
}

const MASQUERADE: &str = "-A POSTROUTING -s 192.168.1.0/24 ! -d 192.168.1.0/24 -j MASQUERADE";

#[test]
fn the_nat_gateway_moves_with_its_leader() -> Result<()> {
    let Some(sandbox) = with_natgw()? else {
        return Ok(());
    };
    sandbox.event("11.natgw", &["setup"])?.ok()?;
    sandbox.event("11.natgw", &["startup"])?.ok()?;
    sandbox.helper("ctdb_natgw", "echo 0 192.168.1.1")?;
    for _ in 0..2 {
        sandbox.event("11.natgw", &["ipreallocated"])?.ok()?;
        let rules = nat_rules(&sandbox)?;
        assert_eq!(rules.len(), 2, "{rules:?}");
        assert_eq!(rules[0], MASQUERADE);
        assert!(
            rules[1].starts_with("-A INPUT -d 10.1.1.200/32 -p tcp"),
            "{rules:?}"
        );
        assert!(routes(&sandbox, "main")?.contains(&"default via 10.1.1.254 dev pub0 metric 10".to_owned()));
    }
    let forward = sandbox.network()?.sh("cat /proc/sys/net/ipv4/ip_forward")?;
    assert_eq!(forward.trim(), "1");

    sandbox.helper("ctdb_natgw", "echo 1 192.168.1.2")?;
    sandbox.event("11.natgw", &["ipreallocated"])?.ok()?;
    assert_eq!(nat_rules(&sandbox)?, [""; 0]);
    let table = routes(&sandbox, "main")?;
    assert!(
        table.contains(&"default via 192.168.1.2 dev priv0 metric 10".to_owned()),
        "{table:?}"
    );
    assert!(
        !table.iter().any(|route| route.starts_with("10.1.1.0/24")),
        "{table:?}"
    );

    sandbox.event("11.natgw", &["shutdown"])?.ok()?;
    assert!(
        !routes(&sandbox, "main")?
            .iter()
            .any(|route| route.starts_with("default"))
    );
    Ok(())
}

#[test]
fn a_change_of_options_undoes_what_the_old_ones_did() -> Result<()> {
    let Some(mut sandbox) = with_natgw()? else {
        return Ok(());
    };
    sandbox.helper("ctdb_natgw", "echo 0 192.168.1.1")?;
    sandbox.set(
        "CTDB_NATGW_STATIC_ROUTES",
        "10.5.0.0/16\n\t10.6.0.0/16@10.1.1.253",
    );
    sandbox.event("11.natgw", &["updatenatgw"])?.ok()?;
    let table = routes(&sandbox, "main")?;
    assert!(
        table.contains(&"10.5.0.0/16 via 10.1.1.254 dev pub0 metric 10".to_owned()),
        "{table:?}"
    );
    assert!(
        table.contains(&"10.6.0.0/16 via 10.1.1.253 dev pub0 metric 10".to_owned()),
        "{table:?}"
    );
    sandbox.set("CTDB_NATGW_STATIC_ROUTES", "10.7.0.0/16@10.1.1.253");
    sandbox.set("CTDB_NATGW_PUBLIC_IP", "10.1.1.201/24");
    let said = sandbox.event("11.natgw", &["updatenatgw"])?.ok()?;
    assert!(said.contains("the options have changed"), "{said}");
    let table = routes(&sandbox, "main")?.join("\n");
    assert!(table.contains("10.7.0.0/16 via 10.1.1.253"), "{table}");
    assert!(
        !table.contains("10.5.0.0") && !table.contains("10.6.0.0"),
        "{table}"
    );
    let rules = nat_rules(&sandbox)?;
    assert_eq!(rules.len(), 2, "{rules:?}");
    assert!(rules[1].contains("10.1.1.201"), "{rules:?}");
    Ok(())
}

#[test]
fn a_bad_configuration_of_the_nat_gateway_is_refused_with_the_reason() -> Result<()> {
    let Some(mut sandbox) = with_natgw()? else {
        return Ok(());
    };
    sandbox.write("base/public_addresses", "10.1.1.200/24 pub0\n")?;
    let said = sandbox.event("11.natgw", &["startup"])?.fails_with(1)?;
    assert!(said.contains("is a public address too"), "{said}");
    sandbox.helper("ctdb_natgw", "exit 2")?;
    let said = sandbox.event("11.natgw", &["ipreallocated"])?.fails_with(1)?;
    assert!(said.contains("can be the leader"), "{said}");
    sandbox.set("CTDB_NATGW_PUBLIC_IFACE", "");
    let said = sandbox.event("11.natgw", &["setup"])?.fails_with(1)?;
    assert!(said.contains("CTDB_NATGW_PUBLIC_IFACE is not set"), "{said}");
    // Which a node that only follows does not need.
    sandbox.write("base/natgw_nodes", "192.168.1.1 follower-only\n192.168.1.2\n")?;
    sandbox.event("11.natgw", &["setup"])?.ok()?;
    sandbox.set("CTDB_NATGW_PRIVATE_NETWORK", "");
    sandbox.event("11.natgw", &["setup"])?.fails_with(1)?;
    sandbox.set("CTDB_NATGW_NODES", "/nonexistent/nodes");
    let said = sandbox.event("11.natgw", &["monitor"])?.fails_with(1)?;
    assert!(said.contains("/nonexistent/nodes"), "{said}");
    sandbox.set("CTDB_NATGW_NODES", "");
    sandbox.event("11.natgw", &["ipreallocated"])?.ok()?;
    Ok(())
}

#[test]
fn the_nat_gateway_needs_its_interface() -> Result<()> {
    let Some(sandbox) = with_natgw()? else {
        return Ok(());
    };
    sandbox.event("11.natgw", &["monitor"])?.ok()?;
    sandbox.network()?.sh("ip link set sw0 down")?;
    let said = sandbox.event("11.natgw", &["monitor"])?.fails_with(1)?;
    assert!(said.contains("interface pub0 has no link"), "{said}");
    Ok(())
}
