//! Tunables: numbers that change how the cluster behaves while it runs.
//!
//! There are two orders. LIST order is that of [`TUNABLES`]: it is how `ctdb listvars` prints. Wire order is that of the 62
//! words of GET_ALL_TUNABLES: each row of the table says its place there. Values are kept in wire order.
//! Source: `ctdb/common/tunable.c` and `struct ctdb_tunable_list` in `ctdb/protocol/protocol.h`.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ctdb_protocol::TunableList;

use crate::ini::{self, Statement};
use crate::number::whole_u32;
use crate::{Finding, FindingKind, Paths};

/// How many there are, obsolete ones included.
pub const TUNABLES_COUNT: usize = 62;

/// One row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TunableSpec {
    /// Name, as lists print it.
    pub name: &'static str,
    /// Value when nobody sets it.
    pub default: u32,
    /// Has no effect any more: can be set by control, is not listed, is an error in a file.
    pub obsolete: bool,
    /// Place among the words of GET_ALL_TUNABLES.
    pub wire_index: usize,
}

const fn tun(name: &'static str, default: u32, wire_index: usize) -> TunableSpec {
    TunableSpec {
        name,
        default,
        obsolete: false,
        wire_index,
    }
}

const fn old(name: &'static str, default: u32, wire_index: usize) -> TunableSpec {
    TunableSpec {
        obsolete: true,
        ..tun(name, default, wire_index)
    }
}

/// All tunables in LIST order.
pub const TUNABLES: [TunableSpec; TUNABLES_COUNT] = [
    old("MaxRedirectCount", 3, 0),
    tun("SeqnumInterval", 1_000, 1),
    tun("ControlTimeout", 60, 2),
    tun("TraverseTimeout", 20, 3),
    tun("KeepaliveInterval", 5, 4),
    tun("KeepaliveLimit", 5, 5),
    tun("RecoverTimeout", 30, 6),
    tun("RecoverInterval", 1, 7),
    tun("ElectionTimeout", 3, 8),
    tun("TakeoverTimeout", 9, 9),
    tun("MonitorInterval", 15, 10),
    tun("TickleUpdateInterval", 20, 11),
    tun("EventScriptTimeout", 30, 12),
    tun("MonitorTimeoutCount", 20, 13),
    old("EventScriptUnhealthyOnTimeout", 0, 14),
    tun("RecoveryGracePeriod", 120, 15),
    tun("RecoveryBanPeriod", 300, 16),
    tun("DatabaseHashSize", 100_001, 17),
    tun("DatabaseMaxDead", 5, 18),
    tun("RerecoveryTimeout", 10, 19),
    tun("EnableBans", 1, 20),
    old("DeterministicIPs", 0, 21),
    old("LCP2PublicIPs", 1, 41),
    old("ReclockPingPeriod", 60, 22),
    tun("NoIPFailback", 0, 23),
    old("DisableIPFailover", 0, 24),
    tun("VerboseMemoryNames", 0, 25),
    tun("RecdPingTimeout", 60, 26),
    tun("RecdFailCount", 10, 27),
    tun("LogLatencyMs", 0, 28),
    tun("RecLockLatencyMs", 1_000, 29),
    tun("RecoveryDropAllIPs", 120, 30),
    old("VerifyRecoveryLock", 1, 31),
    tun("VacuumInterval", 10, 32),
    tun("VacuumMaxRunTime", 120, 33),
    tun("RepackLimit", 10_000, 34),
    old("VacuumLimit", 5_000, 35),
    tun("VacuumFastPathCount", 60, 40),
    tun("MaxQueueDropMsg", 1_000_000, 36),
    tun("AllowUnhealthyDBRead", 0, 37),
    tun("StatHistoryInterval", 1, 38),
    tun("DeferredAttachTO", 120, 39),
    tun("AllowClientDBAttach", 1, 42),
    old("RecoverPDBBySeqNum", 1, 43),
    old("DeferredRebalanceOnNodeAdd", 300, 44),
    tun("FetchCollapse", 1, 45),
    tun("HopcountMakeSticky", 50, 46),
    tun("StickyDuration", 600, 47),
    tun("StickyPindown", 200, 48),
    tun("NoIPTakeover", 0, 49),
    tun("DBRecordCountWarn", 100_000, 50),
    tun("DBRecordSizeWarn", 10_000_000, 51),
    tun("DBSizeWarn", 100_000_000, 52),
    tun("PullDBPreallocation", 10_485_760, 53),
    old("NoIPHostOnAllDisabled", 1, 54),
    old("Samba3AvoidDeadlocks", 0, 55),
    old("TDBMutexEnabled", 1, 56),
    tun("LockProcessesPerDB", 200, 57),
    tun("RecBufferSizeLimit", 1_000_000, 58),
    tun("QueueBufferSize", 1_024, 59),
    tun("IPAllocAlgorithm", 2, 60),
    tun("AllowMixedVersions", 0, 61),
];

/// The values of all tunables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tunables {
    /// In wire order.
    values: [u32; TUNABLES_COUNT],
}

/// What setting a tunable did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetTunable {
    /// The value is set.
    Done,
    /// The value is set but means nothing any more (status 1 of SET_TUNABLE).
    Obsolete,
}

/// No tunable has this name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no tunable has this name")]
pub struct UnknownTunable;

impl Default for Tunables {
    fn default() -> Self {
        let mut values = [0; TUNABLES_COUNT];
        for spec in &TUNABLES {
            values[spec.wire_index] = spec.default;
        }
        Tunables { values }
    }
}

impl Tunables {
    /// The values in wire order.
    pub fn to_wire(&self) -> [u32; TUNABLES_COUNT] {
        self.values
    }

    /// From values in wire order.
    pub fn from_wire(values: [u32; TUNABLES_COUNT]) -> Tunables {
        Tunables { values }
    }

    /// As GET_ALL_TUNABLES sends them.
    pub fn to_list(&self) -> TunableList {
        let mut list = TunableList::default();
        for spec in &TUNABLES {
            let place = list
                .get_mut(spec.name)
                .expect("both tables have the same names, which the tests check");
            *place = self.values[spec.wire_index];
        }
        list
    }

    /// From what GET_ALL_TUNABLES answered.
    pub fn from_list(list: &TunableList) -> Tunables {
        let mut values = [0; TUNABLES_COUNT];
        for (place, (_, value)) in values.iter_mut().zip(list.iter()) {
            *place = value;
        }
        Tunables { values }
    }

    /// A value by name, in any case; obsolete ones too.
    ///
    /// # Errors
    /// There is no such tunable (-EINVAL of GET_TUNABLE).
    pub fn get(&self, name: &str) -> Result<u32, UnknownTunable> {
        Ok(self.values[find(name)?.wire_index])
    }

    /// Sets a value by name, in any case.
    ///
    /// # Errors
    /// There is no such tunable (status -1 of SET_TUNABLE).
    pub fn set(&mut self, name: &str, value: u32) -> Result<SetTunable, UnknownTunable> {
        let spec = find(name)?;
        self.values[spec.wire_index] = value;
        Ok(if spec.obsolete {
            SetTunable::Obsolete
        } else {
            SetTunable::Done
        })
    }

    /// Names in LIST order, without the obsolete ones.
    pub fn names() -> impl Iterator<Item = &'static str> {
        TUNABLES
            .iter()
            .filter(|spec| !spec.obsolete)
            .map(|spec| spec.name)
    }

    /// The defaults, changed by `ctdb.tunables` and then by `tunables.d/*.tunables` in the order of their names.
    /// Files that are not there are fine. Bad lines change nothing and come back as findings; the daemon starts all the same.
    pub fn load(paths: &Paths) -> (Tunables, Vec<Finding>) {
        let mut tunables = Tunables::default();
        let mut findings = Vec::new();
        tunables.load_file(&paths.tunables(), &mut findings);
        for file in files_in(&paths.tunables_dir(), &mut findings) {
            tunables.load_file(&file, &mut findings);
        }
        (tunables, findings)
    }

    fn load_file(&mut self, file: &Path, findings: &mut Vec<Finding>) {
        match fs::read(file) {
            Ok(text) => self.apply(file, &text, findings),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => findings.push(unreadable(file, &error)),
        }
    }

    /// Applies the lines `Name=value` of one file.
    pub fn apply(&mut self, file: &Path, text: &[u8], findings: &mut Vec<Finding>) {
        for item in ini::parse(text) {
            let wrong = match item.statement {
                Statement::Assignment { name, value } => self.assign(&name, &value).err(),
                Statement::Section(name) => Some(format!(
                    "found [{name}], expected Name=value (tunables have no sections)"
                )),
                Statement::Ignored(text) => Some(format!("found \"{text}\", expected Name=value")),
                Statement::Broken { found, expected } => {
                    Some(format!("found \"{found}\", expected {expected}"))
                }
            };
            if let Some(text) = wrong {
                findings.push(Finding::new(file, item.line, FindingKind::Error, text));
            }
        }
    }

    fn assign(&mut self, name: &str, text: &str) -> Result<(), String> {
        let spec = find(name).map_err(|UnknownTunable| {
            format!("{name}: unknown tunable, expected a name that `ctdb listvars` prints")
        })?;
        let expected = format!("expected a number from 0 to {}", u32::MAX);
        if text.is_empty() {
            return Err(format!("{name}: found no value, {expected}"));
        }
        let value = whole_u32(text).ok_or_else(|| format!("{name}: found \"{text}\", {expected}"))?;
        // As upstream: the value is set although nobody looks at it.
        self.values[spec.wire_index] = value;
        if spec.obsolete {
            return Err(format!(
                "{name}: obsolete tunable, expected no such line: it has no effect"
            ));
        }
        Ok(())
    }
}

fn find(name: &str) -> Result<&'static TunableSpec, UnknownTunable> {
    TUNABLES
        .iter()
        .find(|spec| spec.name.eq_ignore_ascii_case(name))
        .ok_or(UnknownTunable)
}

fn unreadable(file: &Path, error: &io::Error) -> Finding {
    Finding::new(file, 0, FindingKind::Error, format!("cannot be read: {error}"))
}

fn files_in(dir: &Path, findings: &mut Vec<Finding>) -> Vec<PathBuf> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Vec::new(),
        Err(error) => {
            findings.push(unreadable(dir, &error));
            return Vec::new();
        }
    };
    let tunables = |path: &PathBuf| path.as_os_str().as_encoded_bytes().ends_with(b".tunables");
    let mut files: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(tunables)
        .collect();
    files.sort_by(|a, b| {
        a.file_name()
            .map(OsStr::as_encoded_bytes)
            .cmp(&b.file_name().map(OsStr::as_encoded_bytes))
    });
    files
}

/// Typed values: a method for each tunable that something in this project looks at.
macro_rules! accessors {
    ($($(#[$doc:meta])* $method:ident = $name:literal as $kind:tt;)*) => {
        impl Tunables {
            $($(#[$doc])* pub fn $method(&self) -> accessors!(@type $kind) {
                const INDEX: usize = wire_index($name);
                accessors!(@value $kind, self.values[INDEX])
            })*
        }
    };
    (@type secs) => { Duration };
    (@type millis) => { Duration };
    (@type flag) => { bool };
    (@type number) => { u32 };
    (@value secs, $value:expr) => { Duration::from_secs($value as u64) };
    (@value millis, $value:expr) => { Duration::from_millis($value as u64) };
    (@value flag, $value:expr) => { $value != 0 };
    (@value number, $value:expr) => { $value };
}

/// Place of a tunable, found while compiling: a name that is not in the table does not compile.
const fn wire_index(name: &str) -> usize {
    let mut row = 0;
    while row < TUNABLES_COUNT {
        if same(TUNABLES[row].name.as_bytes(), name.as_bytes()) {
            return TUNABLES[row].wire_index;
        }
        row += 1;
    }
    panic!("no such tunable")
}

const fn same(a: &[u8], b: &[u8]) -> bool {
    if a.len() != b.len() {
        return false;
    }
    let mut at = 0;
    while at < a.len() {
        if a[at] != b[at] {
            return false;
        }
        at += 1;
    }
    true
}

accessors! {
    /// Changes of sequence numbers are told to other nodes this often.
    seqnum_interval = "SeqnumInterval" as millis;
    /// A daemon's control to another node fails after this.
    control_timeout = "ControlTimeout" as secs;
    /// A traverse gives up after this.
    traverse_timeout = "TraverseTimeout" as secs;
    /// Time between keepalives.
    keepalive_interval = "KeepaliveInterval" as secs;
    /// So many intervals without a packet make a node dead.
    keepalive_limit = "KeepaliveLimit" as number;
    /// Controls of the recovery daemon and of recovery fail after this.
    recover_timeout = "RecoverTimeout" as secs;
    /// Time between rounds of the recovery daemon.
    recover_interval = "RecoverInterval" as secs;
    /// Length of an election.
    election_timeout = "ElectionTimeout" as secs;
    /// Controls of a takeover run fail after this.
    takeover_timeout = "TakeoverTimeout" as secs;
    /// Time between monitor events.
    monitor_interval = "MonitorInterval" as secs;
    /// Tickle lists are sent to other nodes this often.
    tickle_update_interval = "TickleUpdateInterval" as secs;
    /// An event must be over after this.
    event_script_timeout = "EventScriptTimeout" as secs;
    /// So many monitor timeouts in a row make a node unhealthy.
    monitor_timeout_count = "MonitorTimeoutCount" as number;
    /// Ban credits are forgotten after this.
    recovery_grace_period = "RecoveryGracePeriod" as secs;
    /// Length of a ban.
    recovery_ban_period = "RecoveryBanPeriod" as secs;
    /// Hash size of a new database file.
    database_hash_size = "DatabaseHashSize" as number;
    /// Dead records kept in a chain.
    database_max_dead = "DatabaseMaxDead" as number;
    /// No recovery so soon after another.
    rerecovery_timeout = "RerecoveryTimeout" as secs;
    /// Whether nodes are banned.
    enable_bans = "EnableBans" as flag;
    /// Whether addresses stay where they are when a node comes back.
    no_ip_failback = "NoIPFailback" as flag;
    /// Names of memory contexts carry details.
    verbose_memory_names = "VerboseMemoryNames" as flag;
    /// The recovery daemon must be heard of within this.
    recd_ping_timeout = "RecdPingTimeout" as secs;
    /// So many missed pings end the recovery daemon.
    recd_fail_count = "RecdFailCount" as number;
    /// Operations longer than this are logged; zero means never.
    log_latency = "LogLatencyMs" as millis;
    /// Cluster lock checks longer than this are logged.
    reclock_latency = "RecLockLatencyMs" as millis;
    /// In recovery for longer than this, a node drops its addresses.
    recovery_drop_all_ips = "RecoveryDropAllIPs" as secs;
    /// Time between vacuuming runs of a database.
    vacuum_interval = "VacuumInterval" as secs;
    /// Longest vacuuming run.
    vacuum_max_run_time = "VacuumMaxRunTime" as secs;
    /// Free list entries that make vacuuming repack.
    repack_limit = "RepackLimit" as number;
    /// Every so many vacuuming runs one is full.
    vacuum_fast_path_count = "VacuumFastPathCount" as number;
    /// Messages queued for a client before it is cut off.
    max_queue_drop_msg = "MaxQueueDropMsg" as number;
    /// Whether unhealthy databases can be read.
    allow_unhealthy_db_read = "AllowUnhealthyDBRead" as flag;
    /// Time between entries of the statistics' history.
    stat_history_interval = "StatHistoryInterval" as secs;
    /// A client's attach waits so long for recovery to end.
    deferred_attach_timeout = "DeferredAttachTO" as secs;
    /// Whether clients can attach databases.
    allow_client_db_attach = "AllowClientDBAttach" as flag;
    /// Whether fetches of one record are collapsed into one.
    fetch_collapse = "FetchCollapse" as flag;
    /// A hop count that makes a record sticky.
    hopcount_make_sticky = "HopcountMakeSticky" as number;
    /// A record is sticky for so long.
    sticky_duration = "StickyDuration" as secs;
    /// A sticky record stays at least so long.
    sticky_pindown = "StickyPindown" as millis;
    /// Whether nodes take no addresses.
    no_ip_takeover = "NoIPTakeover" as flag;
    /// Records in a database from which on it is warned.
    db_record_count_warn = "DBRecordCountWarn" as number;
    /// Bytes of a record from which on it is warned.
    db_record_size_warn_bytes = "DBRecordSizeWarn" as number;
    /// Bytes of a database from which on it is warned.
    db_size_warn_bytes = "DBSizeWarn" as number;
    /// Bytes allocated at a time for pulled records.
    pull_db_preallocation_bytes = "PullDBPreallocation" as number;
    /// Lock helpers for one database.
    lock_processes_per_db = "LockProcessesPerDB" as number;
    /// Bytes of records sent in one message of a recovery.
    rec_buffer_size_limit_bytes = "RecBufferSizeLimit" as number;
    /// Bytes of a queue's first buffer.
    queue_buffer_size_bytes = "QueueBufferSize" as number;
    /// 0 deterministic, 1 non-deterministic, 2 LCP2.
    ip_alloc_algorithm = "IPAllocAlgorithm" as number;
    /// Whether nodes of different versions work together.
    allow_mixed_versions = "AllowMixedVersions" as flag;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn apply(text: &str) -> (Tunables, Vec<String>) {
        let mut tunables = Tunables::default();
        let mut findings = Vec::new();
        tunables.apply(Path::new("t"), text.as_bytes(), &mut findings);
        (tunables, findings.iter().map(Finding::to_string).collect())
    }

    #[test]
    fn every_place_on_the_wire_belongs_to_one_tunable() {
        let mut places: Vec<usize> = TUNABLES.iter().map(|spec| spec.wire_index).collect();
        places.sort_unstable();
        assert_eq!(places, (0..TUNABLES_COUNT).collect::<Vec<_>>());
    }

    #[test]
    fn names_and_places_are_those_of_the_wire() {
        let mut names = [""; TUNABLES_COUNT];
        TUNABLES
            .iter()
            .for_each(|spec| names[spec.wire_index] = spec.name);
        assert_eq!(names, TunableList::NAMES);
        let mut tunables = Tunables::default();
        tunables.set("LCP2PublicIPs", 9).unwrap();
        assert_eq!(tunables.to_list().get("LCP2PublicIPs"), Some(9));
        assert_eq!(Tunables::from_list(&tunables.to_list()), tunables);
    }

    #[test]
    fn names_are_matched_in_any_case_and_obsolete_ones_are_told_apart() {
        let mut tunables = Tunables::default();
        assert_eq!(tunables.set("keepaliveINTERVAL", 7), Ok(SetTunable::Done));
        assert_eq!(tunables.keepalive_interval(), Duration::from_secs(7));
        assert_eq!(tunables.set("MaxRedirectCount", 4), Ok(SetTunable::Obsolete));
        assert_eq!(tunables.get("maxredirectcount"), Ok(4));
        assert_eq!(tunables.set("NoSuch", 1), Err(UnknownTunable));
        assert_eq!(tunables.get(""), Err(UnknownTunable));
    }

    #[test]
    fn the_list_has_no_obsolete_names() {
        let names: Vec<&str> = Tunables::names().collect();
        assert_eq!(
            (names[0], names[1], *names.last().unwrap()),
            ("SeqnumInterval", "ControlTimeout", "AllowMixedVersions")
        );
        assert_eq!(names.len(), TUNABLES.iter().filter(|spec| !spec.obsolete).count());
        assert!(!names.contains(&"VacuumLimit"));
    }

    #[test]
    fn values_survive_the_wire() {
        let mut tunables = Tunables::default();
        tunables.set("LCP2PublicIPs", 9).unwrap();
        assert_eq!(tunables.to_wire()[41], 9);
        assert_eq!(Tunables::from_wire(tunables.to_wire()), tunables);
    }

    #[test]
    fn a_file_sets_values_in_any_base() {
        let (tunables, findings) = apply("# c\nMonitorInterval=20\nRecoverTimeout = 0x10\n");
        assert!(findings.is_empty(), "{findings:?}");
        assert_eq!(tunables.monitor_interval(), Duration::from_secs(20));
        assert_eq!(tunables.recover_timeout(), Duration::from_secs(16));
    }

    #[test]
    fn bad_lines_are_told_and_the_good_ones_count() {
        let (tunables, findings) = apply(
            "NoSuch=1\nVacuumLimit=3\nControlTimeout=\nControlTimeout=5s\nControlTimeout=-1\nControlTimeout\n[x]\nElectionTimeout=4\nRecoverInterval=4294967296\n",
        );
        assert_eq!(findings.len(), 8, "{findings:?}");
        assert!(findings[0].starts_with("t:1: NoSuch: unknown tunable"));
        assert!(findings[1].contains("obsolete"));
        assert!(findings[3].contains("found \"5s\", expected a number"));
        assert_eq!(tunables.control_timeout(), Duration::from_secs(60));
        assert_eq!(tunables.election_timeout(), Duration::from_secs(4));
    }

    #[test]
    fn the_directory_is_read_after_the_file_in_order_of_names() {
        let dir = tempfile::tempdir().unwrap();
        let paths = Paths::in_base(dir.path());
        assert_eq!(Tunables::load(&paths), (Tunables::default(), Vec::new()));
        fs::write(paths.tunables(), "MonitorInterval=1\nControlTimeout=1\n").unwrap();
        fs::create_dir(paths.tunables_dir()).unwrap();
        for (name, value) in [("20.tunables", 20), ("10.tunables", 10), ("30.other", 30)] {
            fs::write(
                paths.tunables_dir().join(name),
                format!("MonitorInterval={value}\n"),
            )
            .unwrap();
        }
        let (tunables, findings) = Tunables::load(&paths);
        assert!(findings.is_empty());
        assert_eq!(tunables.monitor_interval(), Duration::from_secs(20));
        assert_eq!(tunables.control_timeout(), Duration::from_secs(1));
    }
}
