//! `onnode`, `ctdb_natgw`, `ctdb_lvs`, `ctdb_diagnostics`. ssh and the tool are stand-ins.

use anyhow::Result;
use ctdb_script_tests::{Ran, Sandbox, source};

/// `ctdb nodestatus` of nodes 192.168.1.1, .2, …; each with its flags disconnected, unknown, banned, disabled,
/// unhealthy, stopped, inactive.
fn with_nodes(group: &str, flags: &[[u8; 7]]) -> Result<Sandbox> {
    let sandbox = Sandbox::new()?;
    let mut machine = String::from(
        "|Node|IP|Disconnected|Unknown|Banned|Disabled|Unhealthy|Stopped|Inactive|PartiallyOnline|ThisNode|\n",
    );
    let mut human = format!("Number of nodes:{}\n", flags.len());
    for (pnn, bits) in flags.iter().enumerate() {
        let columns: Vec<String> = bits.iter().map(u8::to_string).collect();
        let address = format!("192.168.1.{}", pnn + 1);
        machine += &format!("|{pnn}|{address}|{}|0|N|\n", columns.join("|"));
        human += &format!(
            "pnn:{pnn} {address}       {}\n",
            if bits == &[0; 7] { "OK" } else { "UNHEALTHY" }
        );
    }
    sandbox.write("machine", &machine)?;
    sandbox.write("human", &human)?;
    // Its exit code tells flags, not success.
    sandbox.stand_in(
        "ctdb",
        "case \"$*\" in *-X*status*) cat \"$HERE/machine\" ;; *nodestatus*) cat \"$HERE/human\" ;; esac; exit 1",
    )?;
    sandbox.write("base/natgw_nodes", group)?;
    sandbox.write("base/lvs_nodes", group)?;
    Ok(sandbox)
}

const OK: [u8; 7] = [0; 7];
const GONE: [u8; 7] = [1, 0, 0, 0, 0, 0, 1];
const BANNED: [u8; 7] = [0, 0, 1, 0, 0, 0, 1];
const DISABLED: [u8; 7] = [0, 0, 0, 1, 0, 0, 0];
const UNHEALTHY: [u8; 7] = [0, 0, 0, 0, 1, 0, 0];
const STOPPED: [u8; 7] = [0, 0, 0, 0, 0, 1, 1];

const THREE: &str = "192.168.1.1\n192.168.1.2\n192.168.1.3\n";

fn natgw(sandbox: &Sandbox, command: &str) -> Result<Ran> {
    sandbox.run(&source("scripts/ctdb_natgw"), &[command])
}

fn lvs(sandbox: &Sandbox, command: &str) -> Result<Ran> {
    sandbox.run(&source("scripts/ctdb_lvs"), &[command])
}

#[test]
fn the_nat_gateway_is_the_first_of_the_best_nodes_by_a_stand_in() -> Result<()> {
    for (flags, leader) in [
        ([OK, OK, OK], Some("0 192.168.1.1")),
        ([UNHEALTHY, DISABLED, OK], Some("2 192.168.1.3")),
        ([STOPPED, UNHEALTHY, GONE], Some("1 192.168.1.2")),
        ([STOPPED, BANNED, DISABLED], Some("1 192.168.1.2")),
        ([DISABLED, GONE, STOPPED], Some("2 192.168.1.3")),
        ([DISABLED, GONE, DISABLED], None),
    ] {
        let sandbox = with_nodes(THREE, &flags)?;
        let ran = natgw(&sandbox, "leader")?;
        assert_eq!(ran.code, if leader.is_some() { 0 } else { 2 }, "{flags:?}");
        assert_eq!(ran.output.trim_end(), leader.unwrap_or(""), "{flags:?}");
    }
    Ok(())
}

#[test]
fn the_nat_gateway_lists_its_group_by_a_stand_in() -> Result<()> {
    let sandbox = with_nodes(
        "# the group\n192.168.1.1 follower-only\n192.168.1.3\n\n192.168.1.9\n",
        &[OK, OK, UNHEALTHY],
    )?;
    assert_eq!(natgw(&sandbox, "leader")?.ok()?, "2 192.168.1.3\n");
    assert_eq!(
        natgw(&sandbox, "list")?.ok()?,
        "192.168.1.1\tfollower-only\n192.168.1.3\tLEADER\n192.168.1.9\n"
    );
    assert_eq!(
        natgw(&sandbox, "status")?.ok()?,
        "pnn:0 192.168.1.1       OK\npnn:2 192.168.1.3       UNHEALTHY\n"
    );
    natgw(&sandbox, "")?.fails_with(1)?;
    Ok(())
}

#[test]
fn lvs_uses_the_healthy_nodes_else_the_active_ones_by_a_stand_in() -> Result<()> {
    for (flags, leader, list) in [
        ([OK, UNHEALTHY, OK], (0, "0\n"), "0 192.168.1.1\n2 192.168.1.3\n"),
        (
            [DISABLED, UNHEALTHY, UNHEALTHY],
            (0, "1\n"),
            "1 192.168.1.2\n2 192.168.1.3\n",
        ),
        ([DISABLED, STOPPED, GONE], (255, ""), ""),
    ] {
        let sandbox = with_nodes(THREE, &flags)?;
        let ran = lvs(&sandbox, "leader")?;
        assert_eq!((ran.code, ran.output.as_str()), leader, "{flags:?}");
        assert_eq!(lvs(&sandbox, "list")?.ok()?, list, "{flags:?}");
    }
    let sandbox = with_nodes("192.168.1.1 follower-only\n192.168.1.2\n", &[OK, OK, OK])?;
    assert_eq!(lvs(&sandbox, "leader")?.ok()?, "1\n");
    assert_eq!(lvs(&sandbox, "list")?.ok()?, "0 192.168.1.1\n1 192.168.1.2\n");
    assert_eq!(
        lvs(&sandbox, "status")?.ok()?,
        "pnn:0 192.168.1.1       OK\npnn:1 192.168.1.2       OK\n"
    );
    sandbox.stand_in("ctdb", "echo 'no daemon' >&2; exit 255")?;
    for command in ["leader", "list", "status"] {
        lvs(&sandbox, command)?.fails_with(10)?;
    }
    Ok(())
}

#[test]
fn a_bad_group_file_is_refused_with_its_line() -> Result<()> {
    let sandbox = with_nodes("192.168.1.1\n192.168.1.2 slave-only\n", &[OK, OK])?;
    for (program, file) in [("ctdb_natgw", "natgw_nodes"), ("ctdb_lvs", "lvs_nodes")] {
        let said = sandbox
            .run(&source(&format!("scripts/{program}")), &["leader"])?
            .fails_with(1)?;
        assert!(
            said.contains(&format!("{file}, line 2: only follower-only may follow")),
            "{said}"
        );
        std::fs::remove_file(sandbox.path(&format!("base/{file}")))?;
        let said = sandbox
            .run(&source(&format!("scripts/{program}")), &["leader"])?
            .fails_with(1)?;
        assert!(said.contains(file), "{said}");
    }
    Ok(())
}

////////////////////////////////////////////////////////////// onnode

/// Nodes 0, 2 and 3; node 1 is deleted. ssh runs the command here, and fails on node 3.
fn with_hosts() -> Result<Sandbox> {
    let sandbox = with_nodes("", &[OK, GONE, UNHEALTHY, OK])?;
    sandbox.write(
        "base/nodes",
        "192.168.1.1\n# 192.168.1.2\n192.168.1.3\n192.168.1.4\n",
    )?;
    sandbox.stand_in(
        "ssh",
        "[ \"$1\" != -n ] || { shift; exec </dev/null; }\nhost=$1; shift\nsh -c \"$*\"\n[ $host != 192.168.1.4 ] || exit 7",
    )?;
    Ok(sandbox)
}

fn onnode(sandbox: &Sandbox, arguments: &[&str]) -> Result<Ran> {
    sandbox.run(&source("scripts/onnode"), arguments)
}

fn hosts(sandbox: &Sandbox, nodes: &str) -> Result<String> {
    onnode(sandbox, &["-q", nodes, "true"])?;
    let hosts: Vec<String> = sandbox
        .calls()?
        .iter()
        .filter_map(|call| call.strip_prefix("ssh -n 192.168.1."))
        .map(|rest| rest.replace(" true", ""))
        .collect();
    Ok(hosts.join(" "))
}

#[test]
fn onnode_finds_the_nodes_that_are_named_by_a_stand_in() -> Result<()> {
    let sandbox = with_hosts()?;
    // The tool succeeds for status.
    sandbox.stand_in(
        "ctdb",
        "case \"$*\" in *status) cat \"$HERE/machine\" ;; pnn) echo 2 ;; esac",
    )?;
    for (nodes, expected) in [
        ("all", "1 3 4"),
        ("0", "1"),
        ("3,0", "4 1"),
        ("2-3", "3 4"),
        ("0,2-3,0", "1 3 4 1"),
        ("ok", "1 4"),
        ("healthy", "1 4"),
        ("con", "1 3 4"),
        ("connected,0", "1 3 4 1"),
    ] {
        assert_eq!(hosts(&sandbox, nodes)?, expected, "{nodes}");
    }
    onnode(&sandbox, &["-q", "any", "hostname"])?.ok()?;
    assert_eq!(
        sandbox.calls()?.last().map(String::as_str),
        Some("ssh -n 192.168.1.3 hostname")
    );
    for (nodes, said) in [
        ("1", "onnode: \"node 1\" does not exist"),
        ("0-3", "onnode: \"node 1\" does not exist"),
        ("9", "onnode: \"node 9\" does not exist"),
        ("somewhere", "Invalid <nodespec>"),
        ("2-x", "Invalid <nodespec>"),
    ] {
        let ran = onnode(&sandbox, &[nodes, "true"])?.fails_with(1)?;
        assert!(ran.contains(said), "{nodes}: {ran}");
        assert!(
            !sandbox.calls()?.iter().any(|call| call.starts_with("ssh")),
            "{nodes}"
        );
    }
    onnode(&sandbox, &["all"])?.fails_with(1)?;
    onnode(&sandbox, &["-f", "nowhere", "all", "true"])?.fails_with(1)?;
    Ok(())
}

#[test]
fn onnode_shows_where_output_comes_from_and_the_last_failure_by_a_stand_in() -> Result<()> {
    let sandbox = with_hosts()?;
    let said = onnode(&sandbox, &["0,2", "echo", "hi"])?.ok()?;
    assert_eq!(
        said,
        "hi\nhi\n\n>> NODE: 192.168.1.1 <<\n\n>> NODE: 192.168.1.3 <<\n"
    );
    assert_eq!(onnode(&sandbox, &["0", "echo hi"])?.ok()?, "hi\n");
    assert_eq!(
        onnode(&sandbox, &["-v", "0", "echo hi"])?.ok()?,
        "hi\n\n>> NODE: 192.168.1.1 <<\n"
    );
    assert_eq!(
        onnode(&sandbox, &["-q", "-v", "0,2", "echo hi"])?.ok()?,
        "hi\nhi\n"
    );
    onnode(&sandbox, &["3,0", "true"])?.fails_with(7)?;
    let mut lines: Vec<String> = onnode(&sandbox, &["-p", "all", "echo one; echo two >&2"])?
        .fails_with(7)?
        .lines()
        .map(str::to_owned)
        .collect();
    lines.sort();
    assert_eq!(
        lines,
        [
            "[192.168.1.1] one",
            "[192.168.1.1] two",
            "[192.168.1.3] one",
            "[192.168.1.3] two",
            "[192.168.1.4] one",
            "[192.168.1.4] two",
        ]
    );
    assert_eq!(onnode(&sandbox, &["-pq", "0,2", "echo one"])?.ok()?, "one\none\n");
    Ok(())
}

#[test]
fn onnode_runs_in_this_directory_reads_input_and_takes_host_names_when_told_by_a_stand_in() -> Result<()> {
    let mut sandbox = with_hosts()?;
    // The sandbox is the working directory, and its name has a blank.
    let said = onnode(&sandbox, &["-c", "0", "pwd"])?.ok()?;
    assert_eq!(
        said,
        format!("{}\n", sandbox.path("").display()).replace("/\n", "\n")
    );
    sandbox.calls()?;
    onnode(&sandbox, &["-i", "0", "cat"])?.ok()?;
    onnode(&sandbox, &["-nf", "/dev/null", "my-host,other", "true"])?.ok()?;
    assert_eq!(
        sandbox.calls()?,
        ["ssh 192.168.1.1 cat", "ssh -n my-host true", "ssh -n other true"]
    );
    // A file of the configuration directory.
    sandbox.write("base/others", "10.0.0.1\n")?;
    onnode(&sandbox, &["-f", "others", "0", "true"])?.ok()?;
    assert_eq!(sandbox.calls()?, ["ssh -n 10.0.0.1 true"]);
    sandbox.stand_in("rsh", "")?;
    sandbox.write("base/onnode.conf", "ONNODE_SSH=\"rsh -x\"\n")?;
    onnode(&sandbox, &["0", "true"])?.ok()?;
    assert_eq!(sandbox.calls()?, ["rsh -x -n 192.168.1.1 true"]);
    sandbox.set("ONNODE_SSH", "ignored: the file is the site's choice");
    onnode(&sandbox, &["0", "true"])?.ok()?;
    Ok(())
}

#[test]
fn onnode_pushes_files_to_the_same_place_by_a_stand_in() -> Result<()> {
    let sandbox = with_hosts()?;
    onnode(&sandbox, &["-P", "0,2", "/etc/a file", "b"])?.ok()?;
    let here = sandbox.path("b").display().to_string();
    assert_eq!(
        sandbox.calls()?,
        [
            "rsync -s /etc/a file [192.168.1.1]:/etc/a file".to_owned(),
            format!("rsync -s {here} [192.168.1.1]:{here}"),
            "rsync -s /etc/a file [192.168.1.3]:/etc/a file".to_owned(),
            format!("rsync -s {here} [192.168.1.3]:{here}"),
        ]
    );
    Ok(())
}

////////////////////////////////////////////////////////////// ctdb_diagnostics

#[test]
fn diagnostics_compare_files_between_nodes_and_count_errors_by_stand_ins() -> Result<()> {
    let sandbox = with_hosts()?;
    sandbox.write("base/nodes", "192.168.1.1\n192.168.1.3\n")?;
    sandbox.stand_in(
        "ctdb",
        "case \"$*\" in *listnodes) printf '|0|192.168.1.1|\\n|1|192.168.1.3|\\n' ;; esac",
    )?;
    // The nodes differ in one file, and all commands but those for files say where they would run.
    sandbox.stand_in(
        "onnode",
        "case \"$2\" in
         'cat '*resolv.conf*) echo \"nameserver of node $1\" ;;
         'cat '*hosts*) echo \"# comment of node $1\"; echo same ;;
         'test -r '*krb5.conf*) exit 1 ;;
         date) date +%s ;;
         hostname*) echo \"would run: $2\" ;;
         esac",
    )?;
    let program = source("scripts/ctdb_diagnostics");
    let ran = sandbox.run(&program, &["-c", "--no-ads"])?;
    assert_eq!(ran.code, 3, "{}", ran.output);
    for line in [
        "Nodes: 0,1",
        " ERROR[1]: /etc/krb5.conf is missing on node 0",
        " ERROR[2]: /etc/krb5.conf is missing on node 1",
        " ERROR[3]: /etc/resolv.conf on node 1 differs from that on node 0",
        "+nameserver of node 1",
        "Diagnostics finished with 3 errors",
    ] {
        assert!(ran.output.contains(line), "no line {line}: {}", ran.output);
    }
    assert!(!ran.output.contains("net ads testjoin"));
    assert_eq!(
        sandbox.run(&program, &["-n", "0"])?.code,
        1,
        "a comment alone, on one node"
    );
    sandbox.run(&program, &["--nonsense"])?.fails_with(1)?;
    Ok(())
}
