//! `06.nfs`, `60.nfs`, the call-out of the kernel's server, and the lock state of NFSv3 clients. The NFS server, the
//! port mapper and rpc.statd are stand-ins: a kernel has one NFS server, and this machine's is not ours.

use std::path::PathBuf;

use anyhow::Result;
use ctdb_script_tests::{Sandbox, source};

fn callout() -> PathBuf {
    source("etc/ctdb/nfs-linux-kernel-callout")
}

/// With a callout that takes everything, and no helper for locks.
fn with_nfs() -> Result<Sandbox> {
    let mut sandbox = Sandbox::new()?;
    sandbox.program("base/callout", "")?;
    let path = sandbox.path("base/callout");
    sandbox.set("CTDB_NFS_CALLOUT", path);
    Ok(sandbox)
}

/// One check file, of service `nlockmgr`.
fn with_check(lines: &str) -> Result<Sandbox> {
    let sandbox = with_nfs()?;
    sandbox.write("base/nfs-checks.d/30.nlockmgr.check", lines)?;
    Ok(sandbox)
}

const RPC_FAILS: &str = "echo 'rpcinfo: RPC: Program not registered'; exit 1";

#[test]
fn events_are_passed_to_the_callout_and_it_registers_once_by_a_stand_in() -> Result<()> {
    let sandbox = with_nfs()?;
    sandbox.program(
        "base/callout",
        "case $1 in register) printf 'startup\\ntakeip\\ntakeip-pre\\n' ;; esac",
    )?;
    sandbox.event("60.nfs", &["startup"])?.ok()?;
    sandbox
        .event("06.nfs", &["takeip", "eth0", "10.1.1.1", "24"])?
        .ok()?;
    sandbox
        .event("06.nfs", &["releaseip", "eth0", "10.1.1.1", "24"])?
        .ok()?;
    sandbox
        .event("60.nfs", &["takeip", "eth0", "10.1.1.1", "24"])?
        .ok()?;
    sandbox
        .event("60.nfs", &["releaseip", "eth0", "10.1.1.1", "24"])?
        .ok()?;
    assert_eq!(
        sandbox.calls()?,
        [
            "callout register",
            "callout startup",
            "callout takeip-pre eth0 10.1.1.1 24",
            "callout takeip eth0 10.1.1.1 24"
        ]
    );
    sandbox.program("base/callout", "exit 4")?;
    sandbox.event("60.nfs", &["startup"])?.fails_with(4)?;
    Ok(())
}

#[test]
fn the_shipped_checks_ask_for_the_services_and_versions_by_a_stand_in() -> Result<()> {
    let mut sandbox = with_nfs()?;
    sandbox.set("CTDB_NFS_CHECKS_DIR", source("etc/ctdb/nfs-checks.d"));
    sandbox.event("60.nfs", &["monitor"])?.ok()?;
    let mut calls = sandbox.calls()?;
    calls.retain(|call| call.starts_with("rpcinfo"));
    assert_eq!(
        calls,
        [
            "rpcinfo -T tcp 127.0.0.1 portmapper",
            "rpcinfo -T tcp 127.0.0.1 status 1",
            "rpcinfo -T tcp 127.0.0.1 nfs 3",
            "rpcinfo -T tcp 127.0.0.1 nlockmgr 4",
            "rpcinfo -T tcp 127.0.0.1 mountd 1",
            "rpcinfo -T tcp 127.0.0.1 rquotad 1",
        ]
    );
    Ok(())
}

#[test]
fn a_failing_service_is_restarted_and_then_makes_the_node_unhealthy_by_stand_ins() -> Result<()> {
    let sandbox = with_check(
        "unhealthy_after=3\nrestart_every=2\nservice_stop_cmd='\"$CTDB_NFS_CALLOUT\" stop nlockmgr'\n\
         service_start_cmd='\"$CTDB_NFS_CALLOUT\" start nlockmgr'\nservice_debug_cmd=\"echo why\"\n",
    )?;
    // Before it has worked once it is starting: an error, and no restart.
    sandbox.stand_in("rpcinfo", RPC_FAILS)?;
    for _ in 0..3 {
        let said = sandbox.event("60.nfs", &["monitor"])?.fails_with(1)?;
        assert!(
            said.starts_with("ERROR: nlockmgr failed RPC check:\nrpcinfo: RPC: Program"),
            "{said}"
        );
    }
    sandbox.stand_in("rpcinfo", "")?;
    sandbox.event("60.nfs", &["monitor"])?.ok()?;
    sandbox.stand_in("rpcinfo", RPC_FAILS)?;
    for (failure, level, code, restarted) in [
        (1, "", 0, false),
        (2, "WARNING", 0, true),
        (3, "ERROR", 1, false),
        (4, "ERROR", 1, true),
    ] {
        sandbox.calls()?;
        let ran = sandbox.event("60.nfs", &["monitor"])?;
        assert_eq!(ran.code, code, "{failure}: {}", ran.output);
        assert!(ran.output.starts_with(level), "{failure}: {}", ran.output);
        assert_eq!(
            ran.output.is_empty(),
            level.is_empty(),
            "{failure}: {}",
            ran.output
        );
        assert_eq!(
            ran.output.contains("Trying to restart service \"nlockmgr\"\nwhy"),
            restarted,
            "{failure}"
        );
        let calls = sandbox.calls()?;
        assert_eq!(
            calls.contains(&"callout stop nlockmgr".to_owned()),
            restarted,
            "{failure}: {calls:?}"
        );
    }
    Ok(())
}

#[test]
fn a_check_asks_by_each_transport_and_version_or_runs_its_own_command_by_stand_ins() -> Result<()> {
    let mut sandbox = with_check("family=\"tcp udp6\"\nversion=\"3 4\"\n")?;
    sandbox.set("CTDB_RPCINFO_LOCALHOST6", "fd00::1");
    sandbox.event("60.nfs", &["monitor"])?.ok()?;
    let mut calls = sandbox.calls()?;
    calls.retain(|call| call.starts_with("rpcinfo"));
    assert_eq!(
        calls,
        [
            "rpcinfo -T tcp 127.0.0.1 nlockmgr 3",
            "rpcinfo -T tcp 127.0.0.1 nlockmgr 4",
            "rpcinfo -T udp6 fd00::1 nlockmgr 3",
            "rpcinfo -T udp6 fd00::1 nlockmgr 4",
        ]
    );
    let sandbox = with_check("# by hand\nservice_check_cmd=\"false; echo checked; exit_code 1\"\n")?;
    let said = sandbox.event("60.nfs", &["monitor"])?.fails_with(1)?;
    assert!(
        said.contains("checked\n") && said.contains("ERROR: monitoring service \"nlockmgr\" failed"),
        "{said}"
    );
    let sandbox = with_check("unhealthy_afte=1\n")?;
    let said = sandbox.event("60.nfs", &["monitor"])?.fails_with(1)?;
    assert!(
        said.contains("30.nlockmgr.check: unknown variable in \"unhealthy_afte=1\""),
        "{said}"
    );
    Ok(())
}

#[test]
fn a_slow_server_that_makes_progress_is_only_warned_of_by_stand_ins() -> Result<()> {
    let sandbox = with_check("service_stats_cmd=\"cat \\\"\\$HERE/requests\\\"\"\n")?;
    sandbox.write("requests", "1\n")?;
    sandbox.event("60.nfs", &["monitor"])?.ok()?;
    sandbox.stand_in("rpcinfo", "echo 'rpcinfo: RPC: Timed out'; exit 1")?;
    sandbox.write("requests", "2\n")?;
    let said = sandbox.event("60.nfs", &["monitor"])?.ok()?;
    assert!(
        said.starts_with("WARNING: statistics changed but nlockmgr failed RPC check"),
        "{said}"
    );
    // The next time nothing has moved.
    sandbox.event("60.nfs", &["monitor"])?.fails_with(1)?;
    // Progress excuses a timeout, and nothing else.
    sandbox.write("requests", "3\n")?;
    sandbox.stand_in("rpcinfo", RPC_FAILS)?;
    sandbox.event("60.nfs", &["monitor"])?.fails_with(1)?;
    Ok(())
}

#[test]
fn a_missing_export_makes_the_node_unhealthy_by_a_stand_in() -> Result<()> {
    let mut sandbox = with_nfs()?;
    sandbox.set("CTDB_NFS_CALLOUT", callout());
    sandbox.write("etab", "")?;
    let etab = sandbox.path("etab");
    sandbox.set("CTDB_NFS_EXPORTS_FILE", etab);
    std::fs::create_dir(sandbox.path("export (one)"))?;
    sandbox.stand_in(
        "exportfs",
        "printf '%s\\t10.0.0.0/8(rw,wdelay)\\n/\\t\\t<world>(ro)\\n%s\\n\\t\\t192.168.0.0/16(rw)\\n' \
         \"$HERE/export (one)\" \"$HERE/export (one)\"",
    )?;
    sandbox.event("60.nfs", &["monitor"])?.ok()?;
    let listed = sandbox.read("state/service/nfs/callout-state/list_shares_cache")?;
    assert_eq!(listed.lines().count(), 2, "{listed}");
    assert!(listed.contains("/export (one)\n"), "{listed}");
    std::fs::remove_dir(sandbox.path("export (one)"))?;
    let said = sandbox.event("60.nfs", &["monitor"])?.fails_with(1)?;
    assert!(said.contains("export (one)\" is missing"), "{said}");
    // The list is kept until the exports change.
    let asked = sandbox
        .calls()?
        .iter()
        .filter(|call| call.starts_with("exportfs"))
        .count();
    assert_eq!(asked, 1);
    sandbox.set("CTDB_NFS_SKIP_SHARE_CHECK", "yes");
    sandbox.event("60.nfs", &["monitor"])?.ok()?;
    Ok(())
}

////////////////////////////////////////////////////////////// The kernel's server

#[test]
fn the_callout_starts_and_stops_services_by_the_names_of_the_system_by_stand_ins() -> Result<()> {
    let mut sandbox = Sandbox::new()?;
    sandbox.write("proc/fs/nfsd/threads", "8\n")?;
    for (style, operation, calls) in [
        (
            "systemd-redhat",
            "start nfs",
            "service rpc-statd start,service nfs-server start,service rpc-rquotad start",
        ),
        ("systemd-debian", "start rquotad", "service quotarpc start"),
        ("systemd-debian", "stop nlockmgr", "service rpc-statd stop"),
        (
            "sysvinit-debian",
            "stop nlockmgr",
            "service nfs-kernel-server stop",
        ),
        ("sysvinit-debian", "stop mountd", "killall -q -9 rpc.mountd"),
        ("sysvinit-debian", "start mountd", "rpc.mountd -p 597"),
        ("sysvinit-suse", "start status", "rpc.statd -n cluster -p 595"),
        (
            "sysvinit-redhat",
            "shutdown",
            "service nfs stop,service nfslock stop",
        ),
        (
            "systemd-suse",
            "startup",
            "service rpc-rquotad stop,service nfs-server stop,service rpc-statd stop,\
             service rpc-statd start,service nfs-server start,service rpc-rquotad start",
        ),
    ] {
        sandbox.set("CTDB_NFS_DISTRO_STYLE", style);
        sandbox.write(
            "etc/sysconfig/nfs",
            "MOUNTD_PORT=597\nSTATD_HOSTNAME=cluster\nSTATD_PORT=595\n",
        )?;
        let arguments: Vec<&str> = operation.split(' ').collect();
        sandbox.run(&callout(), &arguments)?.ok()?;
        assert_eq!(sandbox.calls()?.join(","), calls, "{style} {operation}");
    }
    sandbox.run(&callout(), &["stop", "nfs"])?.ok()?;
    assert_eq!(sandbox.read("proc/fs/nfsd/threads")?, "0\n");
    sandbox.run(&callout(), &["start", "lunch"])?.fails_with(1)?;
    let said = sandbox.run(&callout(), &["dance"])?.fails_with(1)?;
    assert!(said.contains("unknown operation \"dance\""), "{said}");
    sandbox.set("CTDB_NFS_DISTRO_STYLE", "upstart-debian");
    sandbox.run(&callout(), &["shutdown"])?.fails_with(1)?;
    Ok(())
}

#[test]
fn the_number_of_nfs_threads_is_corrected_by_stand_ins() -> Result<()> {
    let sandbox = Sandbox::new()?;
    sandbox.write("proc/fs/nfsd/threads", "8\n")?;
    sandbox.run(&callout(), &["monitor-post"])?.ok()?;
    sandbox.write("etc/default/nfs-kernel-server", "RPCNFSDCOUNT=16\n")?;
    let said = sandbox.run(&callout(), &["monitor-post"])?.ok()?;
    assert!(
        said.contains("There are 8 NFS threads, 16 are configured"),
        "{said}"
    );
    assert_eq!(sandbox.read("proc/fs/nfsd/threads")?, "16\n");
    assert_eq!(sandbox.run(&callout(), &["monitor-post"])?.ok()?, "");
    std::fs::remove_file(sandbox.path("proc/fs/nfsd/threads"))?;
    let said = sandbox.run(&callout(), &["monitor-post"])?.ok()?;
    assert!(said.starts_with("WARNING: cannot read"), "{said}");
    Ok(())
}

////////////////////////////////////////////////////////////// Lock state of clients

/// The lock helpers, a directory of rpc.statd, and this node at 10.1.1.1.
fn with_locks(storage: &str) -> Result<Sandbox> {
    let mut sandbox = with_nfs()?;
    sandbox.real_helper("statd_callout")?;
    sandbox.real_helper("statd_callout_helper")?;
    sandbox.write("statd/sm/left-over", "")?;
    sandbox.write("statd/sm.bak/left-over", "")?;
    let statd = sandbox.path("statd/sm");
    sandbox.set("CTDB_STATD_SM_DIR", statd);
    sandbox.set("CTDB_STATD_CALLOUT_SHARED_STORAGE", storage);
    let shared = sandbox.path("shared state");
    sandbox.set("CTDB_NFS_SHARED_STATE_DIR", shared);
    sandbox.stand_in("ctdb", "case \"$1\" in ptrans) note ;; esac")?;
    // What it would send, before its directory is gone.
    sandbox.stand_in(
        "sm-notify",
        "for f in \"$7\"/sm/*; do echo \"= ${f##*/}: $(cat \"$f\")\"; done >>\"$CALLS\"; od -An -td4 \"$7/state\" >>\"$CALLS\"",
    )?;
    sandbox.event("60.nfs", &["startup"])?.ok()?;
    sandbox.write("state/my-public-ip-addresses", "10.1.1.1\n")?;
    sandbox.calls()?;
    Ok(sandbox)
}

fn statd_callout(sandbox: &Sandbox, arguments: &[&str]) -> Result<()> {
    sandbox
        .run(&sandbox.path("helpers/statd_callout"), arguments)?
        .ok()?;
    Ok(())
}

#[test]
fn lock_holders_go_to_the_database_in_one_transaction_by_a_stand_in() -> Result<()> {
    let sandbox = with_locks("persistent_db")?;
    sandbox.write("state/my-public-ip-addresses", "10.1.1.1\nfd00:1::1\n")?;
    statd_callout(&sandbox, &["add-client", "10.9.9.1"])?;
    statd_callout(&sandbox, &["del-client", "10.9.9.2"])?;
    sandbox
        .run(&source("scripts/statd_callout_helper"), &["update"])?
        .ok()?;
    let mut calls = sandbox.calls()?;
    assert_eq!(calls.remove(0), "ctdb ptrans ctdb_statd_callout.tdb");
    calls.sort();
    assert_eq!(calls.len(), 4, "{calls:?}");
    assert!(
        calls[0].starts_with("< \"statd-state@10.1.1.1@10.9.9.1\" \"1"),
        "{calls:?}"
    );
    assert_eq!(calls[1], "< \"statd-state@10.1.1.1@10.9.9.2\" \"\"");
    assert!(
        calls[2].starts_with("< \"statd-state@fd00:1::1@10.9.9.1\" \"1"),
        "{calls:?}"
    );
    // Nothing is left to be done.
    sandbox
        .run(&source("scripts/statd_callout_helper"), &["update"])?
        .ok()?;
    assert_eq!(sandbox.calls()?, [""; 0]);
    Ok(())
}

#[test]
fn lock_holders_that_cannot_be_stored_are_kept_for_the_next_time_by_a_stand_in() -> Result<()> {
    let sandbox = with_locks("persistent_db:other.tdb")?;
    statd_callout(&sandbox, &["add-client", "10.9.9.1"])?;
    sandbox.stand_in("ctdb", "exit 1")?;
    let helper = source("scripts/statd_callout_helper");
    let said = sandbox.run(&helper, &["update"])?.fails_with(1)?;
    assert!(
        said.contains("cannot store the NFS lock state in other.tdb"),
        "{said}"
    );
    sandbox.stand_in("ctdb", "note")?;
    sandbox.calls()?;
    sandbox.run(&helper, &["update"])?.ok()?;
    let calls = sandbox.calls()?;
    assert_eq!(calls.len(), 2, "{calls:?}");
    Ok(())
}

#[test]
fn clients_of_an_address_that_came_are_told_by_the_address_by_stand_ins() -> Result<()> {
    for storage in ["persistent_db", "shared_dir"] {
        let sandbox = with_locks(storage)?;
        for (server, client) in [
            ("10.1.1.2", "10.9.9.1"),
            ("10.1.1.2", "10.9.9.2"),
            ("10.1.1.3", "10.9.9.3"),
        ] {
            sandbox.write(&format!("shared state/statd/statd-state@{server}@{client}"), "")?;
        }
        sandbox.stand_in(
            "ctdb",
            "case \"$1\" in
             catdb) for f in \"$HERE/shared state/statd\"/*; do
                 printf 'key(31) = \"%s\"\\ndmaster: 0\\ndata(10) = \"1\"\\n\\n' \"${f##*/}\"; done ;;
             ptrans) note ;;
             esac",
        )?;
        let helper = source("scripts/statd_callout_helper");
        sandbox.run(&helper, &["takeip", "10.1.1.2"])?.ok()?;
        sandbox.run(&helper, &["notify"])?.ok()?;
        let calls = sandbox.calls()?.join("\n");
        let record = "0100007f 000186b5 00000004 00000010 00000000000000000000000000000000";
        for client in ["10.9.9.1", "10.9.9.2"] {
            assert!(
                calls.contains(&format!("= {client}: {record} {client} 10.1.1.2")),
                "{storage}: {calls}"
            );
        }
        assert!(!calls.contains("10.9.9.3"), "{storage}: {calls}");
        assert!(
            calls.contains("sm-notify -d -f -m 0 -n -P ") && calls.contains("-v 10.1.1.2"),
            "{storage}: {calls}"
        );
        if storage == "persistent_db" {
            assert!(
                calls.contains("< \"statd-state@10.1.1.2@10.9.9.1\" \"\""),
                "{calls}"
            );
        } else {
            assert!(
                !sandbox
                    .path("shared state/statd/statd-state@10.1.1.2@10.9.9.1")
                    .exists()
            );
            assert!(
                sandbox
                    .path("shared state/statd/statd-state@10.1.1.3@10.9.9.3")
                    .exists()
            );
        }
        assert!(
            !sandbox.path("statd/sm/left-over").exists(),
            "rpc.statd must not tell clients by another name"
        );
        // A second time there is nobody to be told.
        sandbox.run(&helper, &["notify"])?.ok()?;
        assert!(!sandbox.calls()?.join("\n").contains("sm-notify"), "{storage}");
    }
    Ok(())
}

#[test]
fn the_state_number_that_clients_are_told_is_odd_and_grows_by_a_stand_in() -> Result<()> {
    let sandbox = with_locks("shared_dir")?;
    sandbox.write("shared state/statd/statd-state@10.1.1.2@10.9.9.1", "")?;
    sandbox.stand_in("date", "echo 1700000000")?;
    let helper = source("scripts/statd_callout_helper");
    sandbox.run(&helper, &["takeip", "10.1.1.2"])?.ok()?;
    sandbox.run(&helper, &["notify"])?.ok()?;
    assert!(sandbox.calls()?.iter().any(|line| line.trim() == "1700000001"));
    Ok(())
}

#[test]
fn shared_directories_are_written_at_once_and_without_storage_nothing_is() -> Result<()> {
    let sandbox = with_locks("shared_dir:a/b")?;
    statd_callout(&sandbox, &["add-client", "10.9.9.1"])?;
    let note = sandbox.path("shared state/a/b/statd-state@10.1.1.1@10.9.9.1");
    assert!(note.exists());
    statd_callout(&sandbox, &["del-client", "10.9.9.1"])?;
    statd_callout(&sandbox, &["del-client", "10.9.9.1"])?;
    assert!(!note.exists());
    let sandbox = with_locks("none")?;
    statd_callout(&sandbox, &["add-client", "10.9.9.1"])?;
    sandbox
        .run(&source("scripts/statd_callout_helper"), &["notify"])?
        .ok()?;
    Ok(())
}

#[test]
fn a_clients_name_that_is_a_path_is_refused() -> Result<()> {
    let sandbox = with_locks("shared_dir")?;
    let program = sandbox.path("helpers/statd_callout");
    for name in ["../../etc/passwd", "a b", "", "x\"; true"] {
        let said = sandbox.run(&program, &["add-client", name])?.fails_with(1)?;
        assert!(said.contains("is not a client's address or name"), "{said}");
    }
    Ok(())
}

#[test]
fn debians_name_of_the_callout_leads_to_the_same_programs() -> Result<()> {
    let sandbox = with_locks("shared_dir")?;
    sandbox
        .run(&source("etc/ctdb/statd-callout"), &["add-client", "10.9.9.1"])?
        .ok()?;
    assert!(
        sandbox
            .path("shared state/statd/statd-state@10.1.1.1@10.9.9.1")
            .exists()
    );
    sandbox
        .run(&source("etc/ctdb/statd-callout"), &["takeip", "10.1.1.5"])?
        .ok()?;
    assert_eq!(
        sandbox.read("state/service/nfs/statd_callout/new_ips.txt")?,
        "10.1.1.5\n"
    );
    Ok(())
}
