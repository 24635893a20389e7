//! A lock that doesn't come: every 10 s the log says which, and who holds it as far as that can be found out,
//! and the administrator's script may look closer.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::os::unix::fs::MetadataExt;
use std::rc::Rc;
use std::time::Duration;

use ctdb_tdb::TdbFlags;

use crate::Daemon;
use crate::databases::Database;

/// Between two looks.
const INTERVAL: Duration = Duration::from_secs(10);
/// Bytes of a key in the log.
const KEY_SHOWN: usize = 32;

/// What is waited for.
pub enum Wanted<'a> {
    /// The chain of this key.
    Record(&'a [u8]),
    /// The whole database.
    Whole,
}

/// Waits for `lock`, in which `helper` (a process id) waits for the lock.
pub async fn watched<T>(
    d: &Rc<Daemon>,
    db: &Database,
    wanted: Wanted<'_>,
    helper: u32,
    lock: impl Future<Output = T>,
) -> T {
    let began = d.rt.now();
    let mut lock = std::pin::pin!(lock);
    loop {
        if let Ok(got) = d.rt.timeout(INTERVAL, lock.as_mut()).await {
            return got;
        }
        let waited = d.rt.now().saturating_since(began);
        report(d, db, &wanted, helper, waited);
    }
}

fn report(d: &Rc<Daemon>, db: &Database, wanted: &Wanted<'_>, helper: u32, waited: Duration) {
    if matches!(wanted, Wanted::Record(_)) && (db.is_frozen() || !d.is_active()) {
        return; // it is locked on purpose
    }
    let what = match wanted {
        Wanted::Record(key) => format!("the record with key 0x{}", hex(key)),
        Wanted::Whole => "the whole database".to_owned(),
    };
    log::warn!(
        "Database {}: lock of {what} not available for {} s, held by {}; lock helper {helper} waits. \
         Find out what that process waits for (`cat /proc/PID/stack`, `gdb -p PID`)",
        db.name,
        waited.as_secs(),
        holders(db, helper)
    );
    run_script(d, db, wanted, helper);
}

/// A key as the log shows it.
pub fn hex(key: &[u8]) -> String {
    let mut text = String::new();
    for byte in &key[..key.len().min(KEY_SHOWN)] {
        let _ = write!(text, "{byte:02x}");
    }
    if key.len() > KEY_SHOWN {
        text += "...";
    }
    text
}

/// Processes with POSIX locks of the file, by the kernel's list. Mutexes are not in it.
fn holders(db: &Database, helper: u32) -> String {
    if db.tdb.flags().contains(TdbFlags::MUTEX_LOCKING) {
        return "a process that has the file open (mutexes tell no owner; see `lsof` or `fuser`)".to_owned();
    }
    let Ok(inode) = std::fs::metadata(&db.path).map(|m| m.ino()) else {
        return "nobody known".to_owned();
    };
    let Ok(list) = std::fs::read_to_string("/proc/locks") else {
        return "nobody known".to_owned();
    };
    let pids = posix_holders(&list, inode, helper);
    if pids.is_empty() {
        return "nobody any more".to_owned();
    }
    let named = pids.iter().map(|pid| {
        let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        format!("process {pid} ({})", name.trim_end())
    });
    named.collect::<Vec<_>>().join(", ")
}

/// Lines are `1: POSIX  ADVISORY  WRITE 4711 08:01:1234567 168 168`; those who wait have `->` after the number.
fn posix_holders(list: &str, inode: u64, except: u32) -> BTreeSet<u32> {
    let holder = |line: &str| {
        let mut words = line.split_whitespace().skip(1);
        if words.next()? != "POSIX" {
            return None;
        }
        let pid: u32 = words.nth(2)?.parse().ok()?;
        let file: u64 = words.next()?.rsplit(':').next()?.parse().ok()?;
        (file == inode && pid != except && pid != std::process::id()).then_some(pid)
    };
    list.lines().filter_map(holder).collect()
}

/// `debug_locks <pid of the helper> RECORD|DB <path> MUTEX|FCNTL`, its output in the log.
fn run_script(d: &Rc<Daemon>, db: &Database, wanted: &Wanted<'_>, helper: u32) {
    let Some(script) = &d.settings.config.database.lock_debug_script else {
        return;
    };
    let kind = match wanted {
        Wanted::Record(_) => "RECORD",
        Wanted::Whole => "DB",
    };
    let how = if db.tdb.flags().contains(TdbFlags::MUTEX_LOCKING) {
        "MUTEX"
    } else {
        "FCNTL"
    };
    let program = d
        .program(script)
        .arg0("debug_locks")
        .arg(helper.to_string())
        .arg(kind)
        .arg(&db.path)
        .arg(how);
    if let Err(error) = d.rt.spawn_program(program) {
        log::error!(
            "The lock debug script {} cannot be run: {error}",
            script.display()
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holders_are_those_of_the_file_who_do_not_wait() {
        let list = "1: POSIX  ADVISORY  WRITE 4711 08:01:77 168 168\n\
                    1: -> POSIX  ADVISORY  WRITE 99 08:01:77 168 168\n\
                    2: FLOCK  ADVISORY  WRITE 4712 08:01:77 0 EOF\n\
                    3: POSIX  ADVISORY  READ 4713 08:01:78 4 4\n\
                    4: POSIX  ADVISORY  READ 98 08:01:77 4 4\n\
                    nonsense\n";
        assert_eq!(posix_holders(list, 77, 98), BTreeSet::from([4711]));
    }

    #[test]
    fn a_long_key_is_cut_in_the_log() {
        assert_eq!(hex(b"\x01\xab"), "01ab");
        assert_eq!(hex(&[0; 40]).len(), 2 * KEY_SHOWN + 3);
    }
}
