//! Scripts that look after services: those are stand-ins, for starting a real smbd or httpd would not be this
//! machine's own business. `40.vsftpd` stands for all that listen on a port.

use anyhow::Result;
use ctdb_script_tests::{Sandbox, source};

/// `ctdb checktcpport` as if something listened on the ports of the list.
fn listening_on(sandbox: &Sandbox, ports: &str) -> Result<()> {
    sandbox.stand_in(
        "ctdb",
        &format!("case \"$1\" in checktcpport) case ' {ports} ' in *\" $2 \"*) exit 98 ;; esac ;; esac"),
    )
}

#[test]
fn each_service_is_started_afresh_and_stopped_by_its_name_here_by_stand_ins() -> Result<()> {
    for (script, debian, redhat) in [
        ("31.clamd", "clamav", "clamd"),
        ("40.vsftpd", "vsftpd", "vsftpd"),
        ("47.samba-dcerpcd", "samba-dcerpcd", "samba-dcerpcd"),
        ("48.netbios", "nmbd", "nmb"),
        ("49.winbind", "winbind", "winbind"),
        ("50.samba", "smbd", "smb"),
    ] {
        for (system, name) in [
            ("ID=debian", debian),
            ("ID=\"rocky\"\nID_LIKE=\"rhel centos fedora\"", redhat),
        ] {
            let sandbox = Sandbox::new()?;
            sandbox.write("etc/os-release", &format!("{system}\n"))?;
            // Nothing is left of the old daemon.
            sandbox.stand_in("killall", "exit 1")?;
            sandbox.event(script, &["startup"])?.ok()?;
            sandbox.event(script, &["shutdown"])?.ok()?;
            let mut calls = sandbox.calls()?;
            calls.retain(|call| call.starts_with("service"));
            let expected = ["stop", "start", "stop"].map(|operation| format!("service {name} {operation}"));
            assert_eq!(calls, expected, "{script} on {system}");
        }
    }
    Ok(())
}

#[test]
fn a_service_that_does_not_start_fails_the_startup_event_by_stand_ins() -> Result<()> {
    for script in [
        "31.clamd",
        "40.vsftpd",
        "41.httpd",
        "47.samba-dcerpcd",
        "48.netbios",
        "49.winbind",
        "50.samba",
    ] {
        let sandbox = Sandbox::new()?;
        sandbox.stand_in("killall", "exit 1")?;
        sandbox.stand_in("service", "case $2 in start) echo no such unit; exit 5 ;; esac")?;
        let ran = sandbox.event(script, &["startup"])?;
        assert_ne!(ran.code, 0, "{script}: {}", ran.output);
        assert!(ran.output.contains("no such unit"), "{script}: {}", ran.output);
    }
    Ok(())
}

#[test]
fn the_name_of_a_service_can_be_set_in_the_options_by_stand_ins() -> Result<()> {
    let sandbox = Sandbox::new()?;
    sandbox.write(
        "base/script.options",
        "CTDB_SERVICE_SMB=first\nCTDB_SERVICE_NMB=nmb-of-all\n",
    )?;
    sandbox.write(
        "base/events/legacy/50.samba.options",
        "CTDB_SERVICE_SMB=\"my smbd\"\n",
    )?;
    sandbox.event("50.samba", &["shutdown"])?.ok()?;
    sandbox.event("48.netbios", &["shutdown"])?.ok()?;
    let mut calls = sandbox.calls()?;
    calls.retain(|call| call.starts_with("service"));
    assert_eq!(calls, ["service my smbd stop", "service nmb-of-all stop"]);
    Ok(())
}

#[test]
fn without_a_service_program_systemctl_or_an_init_script_is_used_by_stand_ins() -> Result<()> {
    let sandbox = Sandbox::new()?;
    // A path without any service program of this machine.
    let tools = sandbox.path("tools");
    std::fs::create_dir(&tools)?;
    for tool in ["cat", "env", "nice", "sh"] {
        std::os::unix::fs::symlink(format!("/usr/bin/{tool}"), tools.join(tool))?;
    }
    sandbox.program("tools/systemctl", "")?;
    sandbox.program("etc/init.d/winbind", "")?;
    let stop = || {
        let commands = ". \"$CTDB_BASE/functions\"; PATH=\"$HERE/tools\"; nice_service winbind stop";
        sandbox.run(std::path::Path::new("/bin/sh"), &["-c", commands])
    };
    stop()?.ok()?;
    std::fs::remove_file(tools.join("systemctl"))?;
    stop()?.ok()?;
    assert_eq!(sandbox.calls()?, ["systemctl stop winbind", "winbind stop"]);
    std::fs::remove_file(sandbox.path("etc/init.d/winbind"))?;
    let said = stop()?.fails_with(1)?;
    assert!(
        said.contains("cannot stop winbind: neither service, systemctl nor an init script"),
        "{said}"
    );
    Ok(())
}

#[test]
fn a_port_that_nobody_listens_on_counts_as_a_failure_until_it_does_by_a_stand_in() -> Result<()> {
    let sandbox = Sandbox::new()?;
    listening_on(&sandbox, "21")?;
    sandbox.event("40.vsftpd", &["startup"])?.ok()?;
    assert_eq!(sandbox.event("40.vsftpd", &["monitor"])?.ok()?, "");
    listening_on(&sandbox, "22")?;
    let said = sandbox.event("40.vsftpd", &["monitor"])?.ok()?;
    assert_eq!(
        said,
        "WARNING: vsftpd listening on TCP port 21: fail count 1 >= threshold 1\nvsftpd not listening on TCP port 21\n"
    );
    let said = sandbox.event("40.vsftpd", &["monitor"])?.fails_with(1)?;
    assert!(
        said.starts_with("ERROR: vsftpd listening on TCP port 21: fail count 2 >= threshold 2\n"),
        "{said}"
    );
    // What the check said is not repeated.
    assert_eq!(
        sandbox
            .event("40.vsftpd", &["monitor"])?
            .fails_with(1)?
            .lines()
            .count(),
        1
    );
    listening_on(&sandbox, "21")?;
    let said = sandbox.event("40.vsftpd", &["monitor"])?.ok()?;
    assert_eq!(
        said,
        "NOTICE: vsftpd listening on TCP port 21: no longer failing\n"
    );
    assert_eq!(sandbox.event("40.vsftpd", &["monitor"])?.ok()?, "");
    Ok(())
}

#[test]
fn a_port_that_cannot_be_checked_is_an_error_with_the_exit_code_by_a_stand_in() -> Result<()> {
    let mut sandbox = Sandbox::new()?;
    sandbox.set("CTDB_VSFTPD_MONITOR_THRESHOLDS", "1:1");
    sandbox.stand_in("ctdb", "echo no daemon; exit 13")?;
    let said = sandbox.event("40.vsftpd", &["monitor"])?.fails_with(1)?;
    assert!(said.contains("exited with 13: no daemon"), "{said}");
    sandbox.set("CTDB_VSFTPD_MONITOR_THRESHOLDS", "1:often");
    let said = sandbox.event("40.vsftpd", &["monitor"])?.ok()?;
    assert!(
        said.contains("the threshold \"often\", which is not a number"),
        "{said}"
    );
    Ok(())
}

#[test]
fn vsftpd_is_restarted_once_after_addresses_have_moved_by_a_stand_in() -> Result<()> {
    let sandbox = Sandbox::new()?;
    sandbox
        .event("40.vsftpd", &["takeip", "eth0", "10.1.1.1", "24"])?
        .ok()?;
    sandbox
        .event("40.vsftpd", &["releaseip", "eth0", "10.1.1.2", "24"])?
        .ok()?;
    sandbox.event("40.vsftpd", &["ipreallocated"])?.ok()?;
    sandbox.event("40.vsftpd", &["ipreallocated"])?.ok()?;
    assert_eq!(sandbox.calls()?, ["service vsftpd restart"]);
    Ok(())
}

#[test]
fn httpd_is_restarted_after_two_failures_and_the_node_unhealthy_after_five_by_stand_ins() -> Result<()> {
    let sandbox = Sandbox::new()?;
    sandbox.stand_in("ipcs", "echo 0x0 77 apache 600 1")?;
    sandbox.stand_in("killall", "case $2 in -0) exit 1 ;; esac")?;
    sandbox.event("41.httpd", &["startup"])?.ok()?;
    assert!(sandbox.calls()?.contains(&"ipcrm -s 77".to_owned()));
    for (failures, code, starts) in [(1, 0, 0), (2, 0, 1), (3, 0, 0), (4, 0, 0), (5, 1, 1), (6, 1, 1)] {
        let ran = sandbox.event("41.httpd", &["monitor"])?;
        assert_eq!(ran.code, code, "failure {failures}");
        let calls = sandbox.calls()?;
        let started = calls
            .iter()
            .filter(|call| *call == "service apache2 start")
            .count();
        assert_eq!(started, starts, "failure {failures}: {calls:?}");
    }
    listening_on(&sandbox, "80")?;
    sandbox.event("41.httpd", &["monitor"])?.ok()?;
    Ok(())
}

#[test]
fn monitor_of_other_daemons_tells_what_they_said_by_stand_ins() -> Result<()> {
    let mut sandbox = Sandbox::new()?;
    for script in ["47.samba-dcerpcd", "48.netbios", "49.winbind"] {
        assert_eq!(sandbox.event(script, &["monitor"])?.ok()?, "", "{script}");
    }
    sandbox.stand_in("service", "echo it is dead; exit 3")?;
    sandbox.stand_in("wbinfo", "echo it is dead; exit 1")?;
    for script in ["47.samba-dcerpcd", "48.netbios", "49.winbind"] {
        let said = sandbox.event(script, &["monitor"])?.fails_with(1)?;
        assert!(
            said.starts_with("ERROR: ") && said.contains("it is dead"),
            "{script}: {said}"
        );
    }
    let said = sandbox.event("31.clamd", &["monitor"])?.fails_with(1)?;
    assert!(said.contains("not configured"), "{said}");
    sandbox.set("CTDB_CLAMD_SOCKET", "/run/clamd sock");
    let said = sandbox.event("31.clamd", &["monitor"])?.fails_with(1)?;
    assert!(said.contains("clamav not listening on /run/clamd sock"), "{said}");
    sandbox.stand_in("ss", "echo u_str LISTEN")?;
    sandbox.event("31.clamd", &["monitor"])?.ok()?;
    Ok(())
}

#[test]
fn keytabs_are_updated_after_a_recovery_by_a_stand_in() -> Result<()> {
    let sandbox = Sandbox::new()?;
    sandbox.event("46.update-keytabs", &["recovered"])?.ok()?;
    sandbox.event("46.update-keytabs", &["monitor"])?.ok()?;
    let calls = sandbox.calls()?;
    assert_eq!(calls.len(), 1, "{calls:?}");
    assert!(
        calls[0].starts_with("net ads keytab create --option=sync machine password script="),
        "{calls:?}"
    );
    Ok(())
}

////////////////////////////////////////////////////////////// 50.samba

/// What testparm says of two shares, one with a blank in its name and one that is a pattern.
fn with_samba(settings: &str) -> Result<Sandbox> {
    let sandbox = Sandbox::new()?;
    std::fs::create_dir_all(sandbox.path("share one"))?;
    sandbox.stand_in(
        "testparm",
        &format!(
            "cat <<END\n[global]\n{settings}\n\tinclude = x\n[a]\n\tpath = $HERE/share one\n[homes]\n\tpath = /h/%U\nEND"
        ),
    )?;
    listening_on(&sandbox, "445 139 1445")?;
    Ok(sandbox)
}

#[test]
fn samba_is_checked_at_its_own_ports_by_stand_ins() -> Result<()> {
    for (settings, ports) in [
        ("\tsmb ports = 445 139", vec!["445", "139"]),
        (
            "\tsmb ports = 139\n\tserver smb transports = tcp, nbt",
            vec!["445", "139"],
        ),
        ("\tserver smb transports = tcp:1445 nbt quic", vec!["1445", "139"]),
    ] {
        let sandbox = with_samba(settings)?;
        assert_eq!(sandbox.event("50.samba", &["monitor"])?.ok()?, "", "{settings}");
        let mut calls = sandbox.calls()?;
        calls.retain(|call| call.starts_with("ctdb"));
        let expected: Vec<String> = ports
            .iter()
            .map(|port| format!("ctdb checktcpport {port}"))
            .collect();
        assert_eq!(calls, expected, "{settings}");
    }
    let mut sandbox = with_samba("\tsmb ports = 445")?;
    sandbox.set("CTDB_SAMBA_CHECK_PORTS", "446");
    let said = sandbox.event("50.samba", &["monitor"])?.fails_with(1)?;
    assert_eq!(said, "samba not listening on TCP port 446\n");
    Ok(())
}

#[test]
fn a_missing_share_makes_the_node_unhealthy_unless_it_is_not_checked_by_stand_ins() -> Result<()> {
    let mut sandbox = with_samba("\tsmb ports = 445")?;
    sandbox.event("50.samba", &["monitor"])?.ok()?;
    std::fs::remove_dir(sandbox.path("share one"))?;
    let said = sandbox.event("50.samba", &["monitor"])?.fails_with(1)?;
    assert!(
        said.starts_with("ERROR: samba: shared directory \"/") && said.contains("share one\" is missing")
    );
    sandbox.set("CTDB_SAMBA_SKIP_SHARE_CHECK", "yes");
    sandbox.event("50.samba", &["monitor"])?.ok()?;
    Ok(())
}

#[test]
fn samba_is_checked_by_its_old_settings_when_there_are_no_new_ones_by_stand_ins() -> Result<()> {
    let sandbox = with_samba("\tsmb ports = 445")?;
    sandbox.event("50.samba", &["monitor"])?.ok()?;
    sandbox.stand_in("testparm", "echo registry is gone >&2; exit 1")?;
    let said = sandbox.event("50.samba", &["monitor"])?.ok()?;
    assert!(
        said.contains("WARNING: the settings of Samba may be old: testparm failed: registry is gone"),
        "{said}"
    );
    let fresh = Sandbox::new()?;
    fresh.stand_in("testparm", "echo registry is gone >&2; exit 1")?;
    let said = fresh.event("50.samba", &["monitor"])?.fails_with(1)?;
    assert!(
        said.contains("ERROR: cannot read the settings of Samba"),
        "{said}"
    );
    Ok(())
}

#[test]
fn smbd_gets_a_list_of_public_interfaces_when_it_is_wanted_by_stand_ins() -> Result<()> {
    let mut sandbox = Sandbox::new()?;
    sandbox.stand_in("killall", "exit 1")?;
    sandbox.stand_in("ctdb", "printf '|Name|LinkStatus|References|\\n|eth2|1|0|\\n'")?;
    sandbox.write("base/public_addresses", "10.1.1.1/24 eth0,eth1\n")?;
    let file = sandbox.path("interfaces.conf");
    sandbox.set("CTDB_SAMBA_INTERFACES_FILE", file);
    sandbox.set("CTDB_SAMBA_INTERFACES_EXTRA", "ib0");
    sandbox.event("50.samba", &["startup"])?.ok()?;
    assert_eq!(
        sandbox.read("interfaces.conf")?,
        "    bind interfaces only = yes\n    interfaces = lo \"eth0;options=dynamic\" \"eth1;options=dynamic\" \
         \"eth2;options=dynamic\" ib0\n"
    );
    Ok(())
}

#[test]
fn an_smbd_that_does_not_stop_is_killed_before_a_start_and_shown_after_a_stop_by_stand_ins() -> Result<()> {
    let sandbox = Sandbox::new()?;
    sandbox.stand_in("pidof", "echo 41 42")?;
    sandbox.write("proc/42/stack", "[<0>] waits_for_the_file_system\n")?;
    let said = sandbox.event("50.samba", &["shutdown"])?.ok()?;
    assert_eq!(
        said,
        "Stack trace for smbd[42]:\n[<0>] waits_for_the_file_system\n"
    );
    sandbox.calls()?;
    sandbox.event("50.samba", &["startup"])?.ok()?;
    assert_eq!(
        sandbox.calls()?,
        [
            "service smbd stop",
            "killall -q -0 smbd",
            "killall -q -9 smbd",
            "service smbd start"
        ]
    );
    Ok(())
}

////////////////////////////////////////////////////////////// 70.iscsi, 91.lvs

const IPS: &str = "case \"$*\" in
    pnn) echo 0 ;;
    *ip) printf '|Public IP|Node|\\n|10.1.1.1|0|\\n|10.1.1.2|1|\\n' ;;
    esac";

#[test]
fn iscsi_targets_of_the_addresses_here_are_started_while_the_port_is_closed_by_stand_ins() -> Result<()> {
    let mut sandbox = Sandbox::new()?;
    let said = sandbox.event("70.iscsi", &["ipreallocated"])?.ok()?;
    assert!(said.contains("CTDB_START_ISCSI_SCRIPTS is not set"), "{said}");
    sandbox.stand_in("ctdb", IPS)?;
    // As many rules as there are, then no more.
    sandbox.stand_in("iptables", "case \"$3\" in -D) exit 1 ;; esac")?;
    sandbox.program("iscsi scripts/10.1.1.1.sh", "")?;
    sandbox.program("iscsi scripts/10.1.1.2.sh", "")?;
    let scripts = sandbox.path("iscsi scripts");
    sandbox.set("CTDB_START_ISCSI_SCRIPTS", scripts);
    sandbox.event("70.iscsi", &["ipreallocated"])?.ok()?;
    assert_eq!(
        sandbox.calls()?,
        [
            "ctdb pnn",
            "ctdb -X ip",
            "iptables -w 30 -I INPUT 1 -p tcp --dport 3260 -j DROP",
            "killall -q -9 tgtd",
            "tgtd",
            "10.1.1.1.sh",
            "iptables -w 30 -D INPUT -p tcp --dport 3260 -j DROP",
        ]
    );
    listening_on(&sandbox, "3260")?;
    sandbox.event("70.iscsi", &["monitor"])?.ok()?;
    listening_on(&sandbox, "")?;
    sandbox.event("70.iscsi", &["monitor"])?.fails_with(1)?;
    sandbox.event("70.iscsi", &["shutdown"])?.ok()?;
    Ok(())
}

fn with_lvs() -> Result<Sandbox> {
    let mut sandbox = Sandbox::new()?;
    sandbox.write("base/lvs_nodes", "192.168.1.1\n192.168.1.2\n")?;
    sandbox.stand_in(
        "ctdb",
        "case \"$*\" in
         pnn) echo 0 ;;
         *nodestatus) printf '|Node|IP|\\n|0|192.168.1.1|0|0|0|0|0|0|0|0|Y|\\n' ;;
         esac",
    )?;
    sandbox.helper(
        "ctdb_lvs",
        "case $1 in leader) echo 0 ;; list) printf '0 192.168.1.1\\n1 192.168.1.2\\n' ;; esac",
    )?;
    let nodes = sandbox.path("base/lvs_nodes");
    sandbox.set("CTDB_LVS_NODES", nodes);
    sandbox.set("CTDB_LVS_PUBLIC_IP", "10.1.1.50");
    sandbox.set("CTDB_LVS_PUBLIC_IFACE", "eth0");
    Ok(sandbox)
}

#[test]
fn the_lvs_leader_answers_for_the_address_and_spreads_over_all_by_stand_ins() -> Result<()> {
    let sandbox = with_lvs()?;
    sandbox.event("91.lvs", &["ipreallocated"])?.ok()?;
    let mut calls = sandbox.calls()?;
    calls.retain(|call| call.starts_with("ip") || call.starts_with("ctdb gratarp"));
    let expected = "ipvsadm -D -t 10.1.1.50
ipvsadm -D -u 10.1.1.50
ip addr del 10.1.1.50/32 dev lo
ip addr add 10.1.1.50/32 dev lo
ipvsadm -A -t 10.1.1.50 -p 1999999 -s lc
ipvsadm -A -u 10.1.1.50 -p 1999999 -s lc
ipvsadm -a -t 10.1.1.50 -r 192.168.1.2 -g
ipvsadm -a -u 10.1.1.50 -r 192.168.1.2 -g
ipvsadm -a -t 10.1.1.50 -r 127.0.0.1
ipvsadm -a -u 10.1.1.50 -r 127.0.0.1
ctdb gratarp 10.1.1.50 eth0";
    assert_eq!(calls.join("\n"), expected);
    Ok(())
}

#[test]
fn other_lvs_nodes_have_the_address_but_keep_silent_by_stand_ins() -> Result<()> {
    let sandbox = with_lvs()?;
    sandbox.helper("ctdb_lvs", "echo 1")?;
    sandbox.write("proc/sys/net/ipv4/conf/all/arp_ignore", "0\n")?;
    for event in ["startup", "ipreallocated"] {
        sandbox.event("91.lvs", &[event])?.ok()?;
        let mut calls = sandbox.calls()?;
        calls.retain(|call| call.starts_with("ip"));
        assert_eq!(
            calls.last().map(String::as_str),
            Some("ip addr add 10.1.1.50/32 dev lo scope host"),
            "{event}"
        );
    }
    assert_eq!(sandbox.read("proc/sys/net/ipv4/conf/all/arp_ignore")?, "3\n");
    Ok(())
}

#[test]
fn lvs_says_what_is_missing_in_its_configuration_by_stand_ins() -> Result<()> {
    let mut sandbox = with_lvs()?;
    sandbox.set("CTDB_LVS_PUBLIC_IFACE", "");
    let said = sandbox.event("91.lvs", &["setup"])?.fails_with(1)?;
    assert!(said.contains("CTDB_LVS_PUBLIC_IFACE is not set"), "{said}");
    sandbox.write("base/lvs_nodes", "192.168.1.1 follower-only\n")?;
    sandbox.event("91.lvs", &["setup"])?.ok()?;
    sandbox.set("CTDB_LVS_PUBLIC_IP", "");
    let said = sandbox.event("91.lvs", &["setup"])?.fails_with(1)?;
    assert!(said.contains("CTDB_LVS_PUBLIC_IP is not set"), "{said}");
    sandbox.set("CTDB_LVS_NODES", "");
    sandbox.event("91.lvs", &["setup"])?.ok()?;
    Ok(())
}

#[test]
fn every_script_ignores_events_that_it_does_not_know() -> Result<()> {
    let sandbox = Sandbox::new()?;
    let mut seen = 0;
    for entry in std::fs::read_dir(source("etc/ctdb/events/legacy"))? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        let Some(script) = name.strip_suffix(".script") else {
            continue;
        };
        assert_eq!(
            sandbox.event(script, &["an-event-of-tomorrow"])?.code,
            0,
            "{script}"
        );
        seen += 1;
    }
    assert_eq!(seen, 22, "scripts of config.md section 7");
    Ok(())
}
