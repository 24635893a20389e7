//! Tunables as GET_ALL_TUNABLES sends them. What they mean, which are obsolete and what values they start with
//! is not the wire's business.

use crate::Text;
use crate::reader::{Reader, Wire, WireError, layout, put_stringn, put_u32};

/// SET_TUNABLE: `value u32, len u32`, name with NUL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tunable<'a> {
    /// New value.
    pub value: u32,
    /// Name, in any case.
    pub name: Text<'a>,
}

impl<'a> Wire<'a> for Tunable<'a> {
    fn decode(r: &mut Reader<'a>) -> Result<Self, WireError> {
        Ok(Tunable {
            value: r.u32("value")?,
            name: TunableName::decode(r)?.0,
        })
    }

    fn encode(&self, out: &mut Vec<u8>) {
        put_u32(out, self.value);
        put_stringn(out, Some(self.name));
    }
}

/// GET_TUNABLE: `len u32`, name with NUL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TunableName<'a>(pub Text<'a>);

impl<'a> Wire<'a> for TunableName<'a> {
    fn decode(r: &mut Reader<'a>) -> Result<Self, WireError> {
        match r.stringn("tunable name")? {
            Some(name) => Ok(TunableName(name)),
            None => Err(WireError::BadValue {
                field: "tunable name length",
                value: 0,
            }),
        }
    }

    fn encode(&self, out: &mut Vec<u8>) {
        put_stringn(out, Some(self.0));
    }
}

/// One line per tunable, in the order of the wire: field, name.
macro_rules! tunables {
    ($($field:ident, $name:literal;)*) => {
        layout! {
            /// All tunables of a node, u32 each, in the wire's order (names are *listed* in another one).
            /// Source: `ctdb/protocol/protocol.h`, `struct ctdb_tunable_list`.
            #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
            pub struct TunableList [248] {
                $(#[doc = concat!("`", $name, "`")] $field: u32;)*
            }
        }

        impl TunableList {
            /// Names in the order of the wire.
            pub const NAMES: &'static [&'static str] = &[$($name),*];

            /// The value of this name, in any case.
            pub fn get(&self, name: &str) -> Option<u32> {
                $(if name.eq_ignore_ascii_case($name) {
                    return Some(self.$field);
                })*
                None
            }

            /// The place of the value of this name, in any case.
            pub fn get_mut(&mut self, name: &str) -> Option<&mut u32> {
                $(if name.eq_ignore_ascii_case($name) {
                    return Some(&mut self.$field);
                })*
                None
            }

            /// Names and values in the order of the wire.
            pub fn iter(&self) -> impl Iterator<Item = (&'static str, u32)> {
                [$(($name, self.$field)),*].into_iter()
            }
        }
    };
}

tunables! {
    max_redirect_count, "MaxRedirectCount";
    seqnum_interval, "SeqnumInterval";
    control_timeout, "ControlTimeout";
    traverse_timeout, "TraverseTimeout";
    keepalive_interval, "KeepaliveInterval";
    keepalive_limit, "KeepaliveLimit";
    recover_timeout, "RecoverTimeout";
    recover_interval, "RecoverInterval";
    election_timeout, "ElectionTimeout";
    takeover_timeout, "TakeoverTimeout";
    monitor_interval, "MonitorInterval";
    tickle_update_interval, "TickleUpdateInterval";
    event_script_timeout, "EventScriptTimeout";
    monitor_timeout_count, "MonitorTimeoutCount";
    event_script_unhealthy_on_timeout, "EventScriptUnhealthyOnTimeout";
    recovery_grace_period, "RecoveryGracePeriod";
    recovery_ban_period, "RecoveryBanPeriod";
    database_hash_size, "DatabaseHashSize";
    database_max_dead, "DatabaseMaxDead";
    rerecovery_timeout, "RerecoveryTimeout";
    enable_bans, "EnableBans";
    deterministic_ips, "DeterministicIPs";
    reclock_ping_period, "ReclockPingPeriod";
    no_ip_failback, "NoIPFailback";
    disable_ip_failover, "DisableIPFailover";
    verbose_memory_names, "VerboseMemoryNames";
    recd_ping_timeout, "RecdPingTimeout";
    recd_fail_count, "RecdFailCount";
    log_latency_ms, "LogLatencyMs";
    rec_lock_latency_ms, "RecLockLatencyMs";
    recovery_drop_all_ips, "RecoveryDropAllIPs";
    verify_recovery_lock, "VerifyRecoveryLock";
    vacuum_interval, "VacuumInterval";
    vacuum_max_run_time, "VacuumMaxRunTime";
    repack_limit, "RepackLimit";
    vacuum_limit, "VacuumLimit";
    max_queue_drop_msg, "MaxQueueDropMsg";
    allow_unhealthy_db_read, "AllowUnhealthyDBRead";
    stat_history_interval, "StatHistoryInterval";
    deferred_attach_to, "DeferredAttachTO";
    vacuum_fast_path_count, "VacuumFastPathCount";
    lcp2_public_ips, "LCP2PublicIPs";
    allow_client_db_attach, "AllowClientDBAttach";
    recover_pdb_by_seq_num, "RecoverPDBBySeqNum";
    deferred_rebalance_on_node_add, "DeferredRebalanceOnNodeAdd";
    fetch_collapse, "FetchCollapse";
    hopcount_make_sticky, "HopcountMakeSticky";
    sticky_duration, "StickyDuration";
    sticky_pindown, "StickyPindown";
    no_ip_takeover, "NoIPTakeover";
    db_record_count_warn, "DBRecordCountWarn";
    db_record_size_warn, "DBRecordSizeWarn";
    db_size_warn, "DBSizeWarn";
    pull_db_preallocation, "PullDBPreallocation";
    no_ip_host_on_all_disabled, "NoIPHostOnAllDisabled";
    samba3_avoid_deadlocks, "Samba3AvoidDeadlocks";
    tdb_mutex_enabled, "TDBMutexEnabled";
    lock_processes_per_db, "LockProcessesPerDB";
    rec_buffer_size_limit, "RecBufferSizeLimit";
    queue_buffer_size, "QueueBufferSize";
    ip_alloc_algorithm, "IPAllocAlgorithm";
    allow_mixed_versions, "AllowMixedVersions";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_62_of_them_and_each_has_its_place() {
        let mut list = TunableList::default();
        assert_eq!(TunableList::NAMES.len(), 62);
        for (place, name) in (0..).zip(TunableList::NAMES) {
            *list.get_mut(&name.to_lowercase()).unwrap() = place;
        }
        let mut bytes = Vec::new();
        list.encode(&mut bytes);
        for (place, chunk) in (0u32..).zip(bytes.chunks(4)) {
            assert_eq!(chunk, place.to_le_bytes());
        }
        assert!(list.iter().map(|(_, value)| value).eq(0..62));
        assert_eq!(list.get("NoSuch"), None);
    }

    #[test]
    fn a_name_of_length_0_is_refused() {
        assert_eq!(
            TunableName::decode_all(&[0; 4], "name"),
            Err(WireError::BadValue {
                field: "tunable name length",
                value: 0
            })
        );
    }
}
