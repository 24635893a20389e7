//! Scripts about the node itself: start, databases, resources, the network's services, debugging, notification.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use ctdb_harness::skip;
use ctdb_script_tests::{Sandbox, debians, source};

/// `ctdb-config` as if these were configured.
fn with_databases() -> Result<Sandbox> {
    let sandbox = Sandbox::new()?;
    for kind in ["volatile", "persistent", "state"] {
        std::fs::create_dir_all(sandbox.path(&format!("db $(x)/{kind}")))?;
    }
    sandbox.helper(
        "ctdb-config",
        "case \"$3\" in *' database directory') echo \"$HERE/db \\$(x)/${3%% *}\" ;; *) exit 2 ;; esac",
    )?;
    sandbox.real_helper("ctdb_check_databases")?;
    Ok(sandbox)
}

////////////////////////////////////////////////////////////// 00.ctdb, 01.reclock, 95.database

#[test]
fn script_state_is_new_with_each_start_of_ctdbd() -> Result<()> {
    let sandbox = Sandbox::new()?;
    sandbox.write("state/my-pnn", "7\n")?;
    sandbox.event("00.ctdb", &["init"])?.ok()?;
    assert_eq!(std::fs::read_dir(sandbox.path("state"))?.count(), 0);
    Ok(())
}

#[test]
fn the_directory_of_the_cluster_lock_is_made_by_a_stand_in_of_ctdb_config() -> Result<()> {
    for (option, value, made) in [
        ("cluster lock", "$HERE/a b/lock", true),
        ("recovery lock", "$HERE/a b/lock", true),
        ("cluster lock", "!/a/program $HERE/a b/lock", false),
        ("another option", "", false),
    ] {
        let sandbox = Sandbox::new()?;
        sandbox.helper(
            "ctdb-config",
            &format!("[ \"$3\" = \"{option}\" ] || exit 2; echo \"{value}\""),
        )?;
        sandbox.event("01.reclock", &["init"])?.ok()?;
        assert_eq!(sandbox.path("a b").exists(), made, "{option} = {value}");
    }
    let sandbox = Sandbox::new()?;
    sandbox.helper("ctdb-config", "exit 22")?;
    sandbox.event("01.reclock", &["init"])?.fails_with(1)?;
    Ok(())
}

/// Makes a sound database file, by libtdb's own tool; false, noted as skipped, where that is missing.
fn make_database(sandbox: &Sandbox, path: &str) -> Result<bool> {
    // In the current directory: the tool takes names without blanks only.
    let home = sandbox.path("");
    sandbox.write("commands", "create made.tdb\ninsert key value\nquit\n")?;
    let run = Command::new("tdbtool")
        .current_dir(&home)
        .stdin(std::fs::File::open(home.join("commands"))?)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    if run.is_err() {
        skip("tdbtool is not installed (Debian: tdb-tools)");
        return Ok(false);
    }
    std::fs::rename(home.join("made.tdb"), sandbox.path(path)).context("tdbtool made no file")?;
    Ok(true)
}

#[test]
fn a_damaged_volatile_database_is_set_aside_and_a_persistent_one_keeps_ctdbd_from_starting() -> Result<()> {
    let sandbox = with_databases()?;
    let volatile = "db $(x)/volatile";
    if !make_database(&sandbox, &format!("{volatile}/good.tdb.0"))? {
        return Ok(());
    }
    sandbox.write(&format!("{volatile}/bad.tdb.0"), "not a database")?;
    // 95.database is not enabled: 00.ctdb does its work.
    let said = sandbox.event("00.ctdb", &["init"])?.ok()?;
    assert!(said.contains("bad.tdb.0 is damaged: it is moved to"), "{said}");
    assert!(!said.contains("good.tdb.0"), "{said}");
    let mut left: Vec<String> = std::fs::read_dir(sandbox.path(volatile))?
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect::<Result<_>>()?;
    left.sort();
    assert_eq!(left.len(), 2, "{left:?}");
    assert!(
        left[0].starts_with("bad.tdb.0.") && left[0].ends_with(".corrupt"),
        "{left:?}"
    );
    assert_eq!(left[1], "good.tdb.0");

    sandbox.write("db $(x)/persistent/secrets.tdb.0", "not a database")?;
    let said = sandbox.event("95.database", &["init"])?.fails_with(1)?;
    assert!(
        said.contains("persistent databases are damaged") && said.contains("secrets.tdb.0"),
        "{said}"
    );
    assert!(sandbox.path("db $(x)/persistent/secrets.tdb.0").exists());
    // Once enabled, 95.database alone does it.
    sandbox.event("00.ctdb", &["init"])?.ok()?;
    Ok(())
}

#[test]
fn the_oldest_of_many_damaged_databases_are_removed() -> Result<()> {
    let mut sandbox = with_databases()?;
    if Command::new("tdbtool")
        .arg("-h")
        .stdin(Stdio::null())
        .output()
        .is_err()
    {
        skip("tdbtool is not installed (Debian: tdb-tools)");
        return Ok(());
    }
    sandbox.set("CTDB_MAX_CORRUPT_DB_BACKUPS", "2");
    for day in 1..=3 {
        sandbox.write(
            &format!("db $(x)/volatile/bad.tdb.0.2020010{day}.000000.corrupt"),
            "",
        )?;
    }
    sandbox.write("db $(x)/volatile/bad.tdb.0", "not a database")?;
    sandbox.event("95.database", &["init"])?.ok()?;
    let left = std::fs::read_dir(sandbox.path("db $(x)/volatile"))?.count();
    assert_eq!(left, 2);
    assert!(
        sandbox
            .path("db $(x)/volatile/bad.tdb.0.20200103.000000.corrupt")
            .exists()
    );
    Ok(())
}

#[test]
fn the_leader_backs_persistent_databases_up_once_a_day_by_a_stand_in() -> Result<()> {
    let mut sandbox = Sandbox::new()?;
    std::os::unix::fs::symlink(
        source("etc/ctdb/ctdb-backup-persistent-tdbs.sh"),
        sandbox.path("base/ctdb-backup-persistent-tdbs.sh"),
    )?;
    sandbox.event("95.database", &["monitor"])?.ok()?;
    assert_eq!(sandbox.calls()?, [""; 0]);
    let directory = sandbox.path("back ups");
    sandbox.set("CTDB_PERSISTENT_DB_BACKUP_DIR", directory.clone());
    sandbox.set("CTDB_PERSISTENT_DB_BACKUP_LIMIT", "1");
    let tool = |leader: &str| {
        format!(
            "case \"$*\" in
             pnn) echo 0 ;;
             leader) echo {leader} ;;
             *getdbmap) printf '|ID|Name|Path|Persistent|\\n|1|a.tdb|/a|0|\\n|2|b b.tdb|/b|1|\\n' ;;
             backupdb*) echo data >\"$3\" ;;
             esac"
        )
    };
    sandbox.stand_in("ctdb", &tool("1"))?;
    sandbox.event("95.database", &["monitor"])?.ok()?;
    let count = || Ok::<_, anyhow::Error>(std::fs::read_dir(&directory)?.count());
    assert_eq!(count()?, 0, "another node leads");
    // One of long ago, which the next makes one too many.
    sandbox.write("back ups/ctdb-persistent-db-backup-20200101000000.tgz", "")?;
    Command::new("touch")
        .args(["-d", "2020-01-01"])
        .arg(directory.join("ctdb-persistent-db-backup-20200101000000.tgz"))
        .status()?;
    sandbox.stand_in("ctdb", &tool("0"))?;
    let said = sandbox.event("95.database", &["monitor"])?.ok()?;
    assert!(said.contains("Created backup tarball"), "{said}");
    assert_eq!(count()?, 1);
    let archive = std::fs::read_dir(&directory)?
        .next()
        .context("no archive")??
        .path();
    let listed = Command::new("tar").arg("-tzf").arg(archive).output()?;
    assert!(String::from_utf8_lossy(&listed.stdout).contains("/b b.tdb.backup"));
    sandbox.calls()?;
    sandbox.event("95.database", &["monitor"])?.ok()?;
    assert_eq!(sandbox.calls()?, [""; 0], "the same day");
    Ok(())
}

////////////////////////////////////////////////////////////// 05.system

const MEMORY: &str =
    "MemTotal: 1000 kB\nMemFree: 100 kB\nMemAvailable: 400 kB\nSwapTotal: 0 kB\nSwapFree: 0 kB\n";

/// `df` as if the file system were so full.
fn usage_of(sandbox: &Sandbox, percent: u32) -> Result<()> {
    sandbox.stand_in(
        "df",
        &format!(
            "echo Filesystem blocks Used Available Capacity Mounted on; echo \"/dev/x 100 1 1 {percent}% $2\""
        ),
    )
}

#[test]
fn a_file_system_is_warned_of_when_it_changes_and_fails_the_node_when_it_is_full_by_a_stand_in() -> Result<()>
{
    let mut sandbox = Sandbox::new()?;
    sandbox.write("proc/meminfo", MEMORY)?;
    sandbox.set("CTDB_MONITOR_FILESYSTEM_USAGE", "/:80:90");
    for (percent, code, said) in [
        (70, 0, ""),
        (80, 0, "WARNING: Filesystem / utilization 80% >= threshold 80%\n"),
        (80, 0, ""),
        (85, 0, "WARNING: Filesystem / utilization 85% >= threshold 80%\n"),
        (90, 1, "ERROR: Filesystem / utilization 90% >= threshold 90%\n"),
        (90, 1, "ERROR: Filesystem / utilization 90% >= threshold 90%\n"),
        (79, 0, "NOTICE: Filesystem / utilization 79% < threshold 80%\n"),
        (79, 0, ""),
    ] {
        usage_of(&sandbox, percent)?;
        let ran = sandbox.event("05.system", &["monitor"])?;
        assert_eq!((ran.code, ran.output.as_str()), (code, said), "{percent}");
    }
    Ok(())
}

#[test]
fn the_file_systems_of_the_databases_are_watched_without_options_by_stand_ins() -> Result<()> {
    let sandbox = with_databases()?;
    sandbox.write("proc/meminfo", MEMORY)?;
    usage_of(&sandbox, 95)?;
    let said = sandbox.event("05.system", &["monitor"])?.ok()?;
    assert_eq!(said.lines().count(), 3, "{said}");
    assert!(
        said.contains("db $(x)/volatile utilization 95% >= threshold 90%"),
        "{said}"
    );
    Ok(())
}

#[test]
fn memory_is_warned_of_and_a_dump_shows_who_has_it_once() -> Result<()> {
    let mut sandbox = Sandbox::new()?;
    sandbox.set("CTDB_MONITOR_FILESYSTEM_USAGE", "/");
    sandbox.write("proc/meminfo", MEMORY)?;
    sandbox.set("CTDB_MONITOR_MEMORY_USAGE", "60");
    let said = sandbox.event("05.system", &["monitor"])?.ok()?;
    assert_eq!(said, "WARNING: System memory utilization 60% >= threshold 60%\n");
    sandbox.set("CTDB_MONITOR_MEMORY_USAGE", "50:60");
    sandbox.write("state/service/system-monitoring/usage_System_memory", "55\n")?;
    sandbox.write("proc/sysrq-trigger", "")?;
    let said = sandbox.event("05.system", &["monitor"])?.fails_with(1)?;
    assert!(
        said.starts_with("ERROR: System memory utilization 60% >= threshold 60%\n"),
        "{said}"
    );
    assert!(said.contains("MemAvailable: 400 kB"), "{said}");
    assert_eq!(sandbox.read("proc/sysrq-trigger")?, "m\n");
    assert_eq!(
        sandbox
            .event("05.system", &["monitor"])?
            .fails_with(1)?
            .lines()
            .count(),
        1
    );
    Ok(())
}

#[test]
fn bad_entries_of_the_resource_options_are_told_and_passed_over() -> Result<()> {
    let mut sandbox = Sandbox::new()?;
    sandbox.write("proc/meminfo", MEMORY)?;
    sandbox.set("CTDB_MONITOR_FILESYSTEM_USAGE", "/nonexistent:80 /:many:101");
    let said = sandbox.event("05.system", &["monitor"])?.ok()?;
    assert!(
        said.contains("/nonexistent of CTDB_MONITOR_FILESYSTEM_USAGE does not exist"),
        "{said}"
    );
    assert!(said.contains("\"many\", which is not a percentage"), "{said}");
    assert!(said.contains("\"101\", which is not a percentage"), "{said}");
    Ok(())
}

////////////////////////////////////////////////////////////// 15.network, 20.multipathd

#[test]
fn hosts_are_checked_and_failures_counted_by_stand_ins() -> Result<()> {
    let mut sandbox = Sandbox::new()?;
    sandbox.write(
        "etc/resolv.conf",
        "# nameserver 9\nsearch x\nnameserver 10.0.0.1\nnameserver 10.0.0.2\n",
    )?;
    sandbox.set(
        "CTDB_MONITOR_HOSTS",
        "dns:a.example ping:b.example,3:1:2 ns:c.example:1:1 finger:d",
    );
    let said = sandbox.event("15.network", &["monitor"])?.ok()?;
    assert!(said.contains("has the entry \"finger:d\""), "{said}");
    assert_eq!(
        sandbox.calls()?,
        [
            "host a.example",
            "ping -n -c 1 -w 3 b.example",
            "host c.example 10.0.0.1",
            "host c.example 10.0.0.2"
        ]
    );
    sandbox.set(
        "CTDB_MONITOR_HOSTS",
        "dns:a.example ping:b.example,3:1:2 ns:c.example:2:3",
    );
    sandbox.stand_in(
        "host",
        "case \"$*\" in *10.0.0.2) ;; *) echo NXDOMAIN; exit 1 ;; esac",
    )?;
    sandbox.stand_in("ping", "echo unreachable; exit 1")?;
    for (said, code) in [
        (
            "WARNING: Host check dns:a.example: fail count 1 >= threshold 1\nNXDOMAIN\n\
             WARNING: Host check ping:b.example,3: fail count 1 >= threshold 1\nunreachable\n",
            0,
        ),
        // Hourly, for a failure that never makes the node unhealthy.
        (
            "ERROR: Host check ping:b.example,3: fail count 2 >= threshold 2\nunreachable\n\
             WARNING: Host check ns:c.example@10.0.0.1: fail count 2 >= threshold 2\nNXDOMAIN\nunreachable\n",
            1,
        ),
    ] {
        let ran = sandbox.event("15.network", &["monitor"])?;
        assert_eq!((ran.output.as_str(), ran.code), (said, code));
    }
    sandbox.stand_in("host", "")?;
    let said = sandbox.event("15.network", &["startup"])?.fails_with(1)?;
    assert!(
        said.contains("NOTICE: Host check dns:a.example: no longer failing"),
        "{said}"
    );
    Ok(())
}

#[test]
fn each_multipath_device_needs_an_active_path_by_a_stand_in() -> Result<()> {
    let mut sandbox = Sandbox::new()?;
    sandbox.event("20.multipathd", &["monitor"])?.ok()?;
    assert_eq!(sandbox.calls()?, [""; 0]);
    sandbox.set("CTDB_MONITOR_MPDEVICES", "mpa mpb");
    sandbox.stand_in(
        "multipath",
        "echo \"$2 dm-1\"; echo \"policy='x' prio=50 status=active\"",
    )?;
    sandbox.event("20.multipathd", &["monitor"])?.ok()?;
    sandbox.stand_in(
        "multipath",
        "echo \"$2 dm-1\"; echo \"policy='x' prio=50 status=enabled\"",
    )?;
    let said = sandbox.event("20.multipathd", &["monitor"])?.fails_with(1)?;
    assert!(
        said.contains("multipath device \"mpa\" has no active path"),
        "{said}"
    );
    sandbox.stand_in("multipath", "")?;
    let said = sandbox.event("20.multipathd", &["monitor"])?.fails_with(1)?;
    assert!(said.contains("does not know the device \"mpa\""), "{said}");
    Ok(())
}

////////////////////////////////////////////////////////////// Debugging and notification

#[test]
fn a_hung_script_is_reported_with_its_processes_and_stacks_by_stand_ins() -> Result<()> {
    let mut sandbox = Sandbox::new()?;
    sandbox.stand_in("pstree", "printf 'sh,41 x\n  |-exportfs,42 -v\n  `-sleep,43\n'")?;
    sandbox.write("proc/42/stack", "[<0>] hangs_here\n")?;
    sandbox.write("proc/43/stack", "[<0>] of_no_interest\n")?;
    let log = sandbox.path("hung.log");
    sandbox.set("CTDB_DEBUG_HUNG_SCRIPT_LOGFILE", log);
    sandbox
        .run(&source("etc/ctdb/debug-hung-script.sh"), &["41", "monitor"])?
        .ok()?;
    let said = sandbox.read("hung.log")?;
    assert!(
        said.starts_with("===== Start of hung script debug for PID=\"41\", event=\"monitor\" =====\n"),
        "{said}"
    );
    assert!(
        said.ends_with("===== End of hung script debug for PID=\"41\", event=\"monitor\" =====\n"),
        "{said}"
    );
    assert!(said.contains("42 [exportfs] ----\n[<0>] hangs_here"), "{said}");
    assert!(!said.contains("of_no_interest"), "{said}");
    assert_eq!(sandbox.calls()?, ["pstree -p -a 41", "ctdb scriptstatus monitor"]);
    Ok(())
}

#[test]
fn the_holders_of_a_lock_are_found_in_proc_locks_by_stand_ins() -> Result<()> {
    let sandbox = Sandbox::new()?;
    sandbox.write("a file.tdb", "")?;
    let path = sandbox.path("a file.tdb").display().to_string();
    let id = Command::new("stat").args(["-c", "%i"]).arg(&path).output()?;
    let inode = String::from_utf8_lossy(&id.stdout).trim().to_owned();
    let device = {
        let number = std::fs::metadata(&path)?.dev();
        format!("{:02x}:{:02x}", number >> 8 & 0xfff, number & 0xff)
    };
    sandbox.write(
        "proc/locks",
        &format!(
            "1: POSIX  ADVISORY  WRITE 42 {device}:{inode} 168 168\n1: -> POSIX  ADVISORY  WRITE 41 {device}:{inode} 168 168\n\
             2: POSIX  ADVISORY  WRITE 77 00:01:1 0 EOF\n"
        ),
    )?;
    sandbox.stand_in(
        "ps",
        "case \"$*\" in *comm=) echo smbd ;; *state=) echo D ;; esac",
    )?;
    sandbox.write("proc/42/stack", "[<0>] in_the_file_system\n")?;
    sandbox.helper(
        "tdb_mutex_check",
        "echo '[   104] pid=43'; echo '[   105] trylock failed (16)'",
    )?;
    sandbox.write("proc/43/stack", "[<0>] elsewhere\n")?;
    let said = sandbox
        .run(
            &source("etc/ctdb/debug_locks.sh"),
            &["41", "RECORD", &path, "MUTEX"],
        )?
        .ok()?;
    let lines: Vec<&str> = said.lines().collect();
    assert!(lines[0].starts_with("===== Start of debug locks PID="), "{said}");
    assert_eq!(
        lines[1..lines.len() - 1],
        [
            "Waiter:",
            "41 smbd a file.tdb 168 168",
            "Lock holders:",
            "42 smbd a file.tdb 168 168",
            "43 smbd a file.tdb 104",
            "----- Stack trace for PID=42 -----",
            "----- It waits in the kernel and cannot be interrupted: stack of the kernel only",
            "[<0>] in_the_file_system",
            "----- Stack trace for PID=43 -----",
            "----- It waits in the kernel and cannot be interrupted: stack of the kernel only",
            "[<0>] elsewhere",
        ],
        "{said}"
    );
    let said = sandbox
        .run(
            &source("etc/ctdb/debug_locks.sh"),
            &["41", "DB", "/nonexistent", "FCNTL"],
        )?
        .ok()?;
    assert!(
        said.contains("cannot find the database file /nonexistent"),
        "{said}"
    );
    Ok(())
}

#[test]
fn every_notification_program_is_told_even_after_one_that_fails() -> Result<()> {
    let sandbox = Sandbox::new()?;
    std::fs::copy(source("etc/ctdb/notify.sh"), sandbox.path("base/notify.sh"))?;
    let notify = |event| sandbox.run(std::path::Path::new("/bin/sh"), &["base/notify.sh", event]);
    notify("healthy")?.ok()?;
    sandbox.program("base/events/notification/10.a.script", "exit 3")?;
    sandbox.program("base/events/notification/20.b.script", "")?;
    sandbox.write("base/events/notification/30.not-executable.script", "exit 1\n")?;
    notify("unhealthy")?.fails_with(1)?;
    assert_eq!(
        sandbox.calls()?,
        ["10.a.script unhealthy", "20.b.script unhealthy"]
    );
    Ok(())
}

#[test]
fn after_a_crash_of_ctdbd_its_addresses_are_removed_by_a_stand_in_of_the_service() -> Result<()> {
    let Some(sandbox) = Sandbox::in_namespace()? else {
        return Ok(());
    };
    let network = sandbox.network()?;
    network.sh(
        "ip link add pub0 type veth peer name sw0; ip link set pub0 up; ip addr add 10.1.1.1/24 dev pub0
        ip addr add 10.1.1.200/24 dev pub0; ip addr add 10.1.1.9/24 dev pub0",
    )?;
    sandbox.write("base/public_addresses", "10.1.1.1/24 pub0\n")?;
    sandbox.write(
        "base/events/legacy/11.natgw.options",
        "CTDB_NATGW_PUBLIC_IP=10.1.1.200/24\n",
    )?;
    let script = source("etc/ctdb/ctdb-crash-cleanup.sh");
    let left = || network.sh("ip -brief -4 addr show dev pub0");
    sandbox.run(&script, &[])?.ok()?;
    assert!(left()?.contains("10.1.1.1/24"), "ctdbd runs");
    sandbox.stand_in("service", "exit 3")?;
    let said = sandbox.run(&script, &[])?.ok()?;
    assert!(
        said.contains("Removing address 10.1.1.200/24 from interface pub0"),
        "{said}"
    );
    let left = left()?;
    assert!(
        !left.contains("10.1.1.1/24") && !left.contains("10.1.1.200"),
        "{left}"
    );
    assert!(left.contains("10.1.1.9/24"), "{left}");
    Ok(())
}

////////////////////////////////////////////////////////////// The functions as an interface

/// Scripts of sites and of Debian's package call these by name.
#[test]
fn every_function_of_debians_4_17_is_there_under_its_name() -> Result<()> {
    let Some(theirs) = debians("etc/ctdb/functions") else {
        return Ok(());
    };
    let theirs = std::fs::read_to_string(theirs)?;
    let names = |text: &str| -> Vec<String> {
        text.lines()
            .filter_map(|line| line.trim_end().split_once("()"))
            .map(|(name, _)| name.trim().to_owned())
            .filter(|name| name.starts_with(|first: char| first.is_ascii_lowercase()))
            .filter(|name| {
                name.chars()
                    .all(|letter| letter.is_ascii_alphanumeric() || letter == '_')
            })
            .collect()
    };
    let ours = names(&std::fs::read_to_string(source("etc/ctdb/functions"))?);
    let missing: Vec<String> = names(&theirs)
        .into_iter()
        .filter(|name| !ours.contains(name))
        // A stop-gap for systems without the program, and pieces of functions that nobody calls from outside.
        .filter(|name| !["mktemp", "kill_tcp_summarise", "ctdb_translate_option"].contains(&name.as_str()))
        .collect();
    assert_eq!(missing, [""; 0]);
    Ok(())
}

/// As on a node where the scripts, which are configuration to Debian, are still those of its package.
#[test]
fn debians_scripts_work_with_these_functions() -> Result<()> {
    let Some(scripts) = debians("usr/share/ctdb/events/legacy") else {
        return Ok(());
    };
    let Some(mut sandbox) = Sandbox::in_namespace()? else {
        return Ok(());
    };
    // They do not quote it.
    sandbox.set("CTDB", "ctdb");
    for tool in ["iptables", "ip6tables"] {
        sandbox.stand_in(tool, "")?;
    }
    // The one program of the network that its monitoring asks.
    sandbox.stand_in("ethtool", "echo 'Link detected: yes'")?;
    sandbox.stand_in(
        "ctdb",
        "case \"$1\" in checktcpport) exit 98 ;; pnn) echo 0 ;; esac",
    )?;
    sandbox.stand_in("killall", "exit 1")?;
    sandbox.stand_in(
        "testparm",
        "printf '[global]\\n\\tsmb ports = 445\\n[a]\\n\\tpath = /tmp\\n'",
    )?;
    sandbox.program("base/nfs-linux-kernel-callout", "")?;
    sandbox.helper("ctdb-config", "echo \"$HERE\"")?;
    sandbox.write("base/public_addresses", "10.1.1.1/24 pub0\n")?;
    sandbox
        .network()?
        .sh("ip link add pub0 type veth peer name sw0; ip link set sw0 up")?;
    let run = |name: &str, arguments: &[&str]| -> Result<String> {
        let ran = sandbox.run(&scripts.join(format!("{name}.script")), arguments)?;
        ran.ok().with_context(|| format!("{name} {arguments:?}"))
    };
    let address = ["pub0", "10.1.1.1", "24"];
    run("00.ctdb", &["init"])?;
    for name in [
        "31.clamd",
        "40.vsftpd",
        "48.netbios",
        "49.winbind",
        "50.samba",
        "60.nfs",
        "10.interface",
    ] {
        let said = run(name, &["startup"])?;
        assert!(!said.contains("not found"), "{name}: {said}");
    }
    let script = |event: &str, names: &[&str]| -> Result<()> {
        for name in names {
            let mut arguments = vec![event];
            if event.ends_with("eip") {
                arguments.extend(address);
            }
            let said = run(name, &arguments)?;
            assert!(!said.contains("not found"), "{name} {event}: {said}");
        }
        Ok(())
    };
    script("takeip", &["06.nfs", "10.interface", "40.vsftpd", "60.nfs"])?;
    assert!(
        sandbox
            .network()?
            .sh("ip addr show dev pub0")?
            .contains("10.1.1.1/24")
    );
    script("ipreallocated", &["10.interface", "40.vsftpd", "60.nfs"])?;
    script(
        "monitor",
        &[
            "05.system",
            "10.interface",
            "40.vsftpd",
            "48.netbios",
            "49.winbind",
            "50.samba",
            "60.nfs",
        ],
    )?;
    script("releaseip", &["06.nfs", "10.interface", "40.vsftpd", "60.nfs"])?;
    assert!(
        !sandbox
            .network()?
            .sh("ip addr show dev pub0")?
            .contains("10.1.1.1/24")
    );
    Ok(())
}

#[test]
fn a_sites_own_additions_are_read_if_they_are_executable() -> Result<()> {
    let sandbox = Sandbox::new()?;
    for (path, mode) in [
        ("rc.local", 0o755),
        ("rc.local.d/10 one", 0o755),
        ("rc.local.d/20.off", 0o644),
    ] {
        let path = format!("base/{path}");
        sandbox.write(&path, &format!("echo \"from {path}\"\n"))?;
        std::fs::set_permissions(sandbox.path(&path), std::fs::Permissions::from_mode(mode))?;
    }
    let said = sandbox.event("11.routing", &["monitor"])?.ok()?;
    assert_eq!(said, "from base/rc.local\nfrom base/rc.local.d/10 one\n");
    Ok(())
}
