//! Counters of a daemon and of a database.

use crate::Timeval;
use crate::reader::{Field, Reader, Wire, WireError, layout, len_u32, put_pad, put_u32, put_u64};

/// Counts how often something took how long; the borders of the 16 buckets are the daemon's business.
pub type Buckets = [u32; 16];

layout! {
    /// How long something took, in seconds.
    #[derive(Clone, Copy, Debug, Default, PartialEq)]
    pub struct LatencyCounter [32] {
        /// How often it happened.
        num: i32, pad 4;
        /// Shortest.
        min: f64;
        /// Longest.
        max: f64;
        /// All together.
        total: f64;
    }
}

impl LatencyCounter {
    /// Takes one more into account.
    pub fn add(&mut self, seconds: f64) {
        self.min = if self.num == 0 {
            seconds
        } else {
            self.min.min(seconds)
        };
        self.max = self.max.max(seconds);
        self.total += seconds;
        self.num = self.num.saturating_add(1);
    }

    /// Mean; 0 when it never happened.
    pub fn average(&self) -> f64 {
        if self.num == 0 {
            0.0
        } else {
            self.total / f64::from(self.num)
        }
    }
}

layout! {
    /// Packets from and to nodes, by operation.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct NodePackets [36] {
        /// REQ_CALL
        req_call: u32;
        /// REPLY_CALL
        reply_call: u32;
        /// REQ_DMASTER
        req_dmaster: u32;
        /// REPLY_DMASTER
        reply_dmaster: u32;
        /// REPLY_ERROR
        reply_error: u32;
        /// REQ_MESSAGE
        req_message: u32;
        /// REQ_CONTROL
        req_control: u32;
        /// REPLY_CONTROL
        reply_control: u32;
        /// REQ_TUNNEL
        req_tunnel: u32;
    }
}

layout! {
    /// Packets from clients, by operation.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct ClientPackets [16] {
        /// REQ_CALL
        req_call: u32;
        /// REQ_MESSAGE
        req_message: u32;
        /// REQ_CONTROL
        req_control: u32;
        /// REQ_TUNNEL
        req_tunnel: u32;
    }
}

layout! {
    /// What took too long.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct TimeoutCounts [12] {
        /// Calls.
        call: u32;
        /// Controls.
        control: u32;
        /// Traverses.
        traverse: u32;
    }
}

layout! {
    /// Record and database locks taken by a helper.
    #[derive(Clone, Copy, Debug, Default, PartialEq)]
    pub struct LockStatistics [112] {
        /// All.
        num_calls: u32;
        /// Held or being taken.
        num_current: u32;
        /// Waiting.
        num_pending: u32;
        /// Not got.
        num_failed: u32;
        /// How long it took to get one.
        latency: LatencyCounter;
        /// The same in classes.
        buckets: Buckets;
    }
}

layout! {
    /// Counters of a daemon. Source: `ctdb/protocol/protocol.h`, `struct ctdb_statistics`.
    #[derive(Clone, Copy, Debug, Default, PartialEq)]
    pub struct Statistics [488] {
        /// Clients connected.
        num_clients: u32;
        /// 1 while databases are frozen.
        frozen: u32;
        /// 1 while a recovery is under way.
        recovering: u32;
        /// Packets to clients.
        client_packets_sent: u32;
        /// Packets from clients.
        client_packets_recv: u32;
        /// Packets to nodes.
        node_packets_sent: u32;
        /// Packets from nodes.
        node_packets_recv: u32;
        /// Keepalives to nodes.
        keepalive_packets_sent: u32;
        /// Keepalives from nodes.
        keepalive_packets_recv: u32;
        /// Packets from nodes by operation.
        node: NodePackets;
        /// Packets from clients by operation.
        client: ClientPackets;
        /// What took too long.
        timeouts: TimeoutCounts, pad 4;
        /// Cluster lock, as the daemon found it.
        reclock_ctdbd: LatencyCounter;
        /// Cluster lock, as the recovery daemon found it.
        reclock_recd: LatencyCounter;
        /// Locks.
        locks: LockStatistics;
        /// Calls.
        total_calls: u32;
        /// Calls under way.
        pending_calls: u32;
        /// Children that wrote.
        childwrite_calls: u32;
        /// Children that write.
        pending_childwrite_calls: u32;
        /// Bytes, cut to 32 bits.
        memory_used: u32;
        /// Ends the counters that are cleared in a loop by old versions; no meaning.
        last_counter: u32;
        /// The longest way of a call.
        max_hop_count: u32;
        /// Calls by the length of their way.
        hop_count_bucket: Buckets, pad 4;
        /// How long calls took.
        call_latency: LatencyCounter;
        /// How long writing children took.
        childwrite_latency: LatencyCounter;
        /// Recoveries.
        num_recoveries: u32, pad 4;
        /// Since when this is counted.
        start_time: Timeval;
        /// When this was asked for.
        current_time: Timeval;
        /// Read-only copies handed out.
        total_ro_delegations: u32;
        /// Read-only copies called back.
        total_ro_revokes: u32;
    }
}

/// GET_STAT_HISTORY: `num i32`, padding 4, statistics of 488 bytes. C sends 100, empty ones too.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StatisticsList {
    /// The newest first.
    pub history: Vec<Statistics>,
}

impl Wire<'_> for StatisticsList {
    fn decode(r: &mut Reader<'_>) -> Result<Self, WireError> {
        let num = r.count("num", Statistics::LEN)?;
        r.bytes("padding after num", 4)?;
        let history = (0..num)
            .map(|_| Statistics::decode(r))
            .collect::<Result<_, _>>()?;
        Ok(StatisticsList { history })
    }

    fn encode(&self, out: &mut Vec<u8>) {
        put_u32(out, len_u32(self.history.len()));
        put_pad(out, 4);
        for statistics in &self.history {
            statistics.encode(out);
        }
    }
}

/// A record that travels often.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HotKey {
    /// How often it came.
    pub count: u32,
    /// Its key; empty in an unused place.
    pub key: Vec<u8>,
}

/// Counters of a database. 224 bytes, ten hot keys of 24 (`count u32`, padding 4, a pointer u64 of no meaning,
/// key length u64), and the keys one after the other.
/// Source: `ctdb/protocol/protocol_types.c`, `ctdb_db_statistics_push`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DbStatistics {
    /// Locks.
    pub locks: LockStatistics,
    /// How long vacuuming took.
    pub vacuum_latency: LatencyCounter,
    /// Read-only copies handed out.
    pub db_ro_delegations: u32,
    /// Read-only copies called back.
    pub db_ro_revokes: u32,
    /// Calls by the length of their way.
    pub hop_count_bucket: Buckets,
    /// What the sender says is the number of hot keys in use; C's daemon always says 10.
    pub num_hot_keys: u32,
    /// The ten places.
    pub hot_keys: [HotKey; DbStatistics::HOT_KEYS],
}

impl DbStatistics {
    /// Places for hot keys.
    pub const HOT_KEYS: usize = 10;
}

impl Wire<'_> for DbStatistics {
    fn decode(r: &mut Reader<'_>) -> Result<Self, WireError> {
        let mut statistics = DbStatistics {
            locks: LockStatistics::decode(r)?,
            vacuum_latency: LatencyCounter::decode(r)?,
            db_ro_delegations: r.u32("db_ro_delegations")?,
            db_ro_revokes: r.u32("db_ro_revokes")?,
            hop_count_bucket: Field::get(r, "hop_count_bucket")?,
            num_hot_keys: r.u32("num_hot_keys")?,
            hot_keys: Default::default(),
        };
        r.bytes("padding after num_hot_keys", 4)?;
        let mut key_lens = [0; DbStatistics::HOT_KEYS];
        for (hot_key, key_len) in statistics.hot_keys.iter_mut().zip(&mut key_lens) {
            hot_key.count = r.u32("hot key count")?;
            r.bytes("hot key padding and pointer", 12)?;
            let len = r.u64("hot key length")?;
            *key_len = usize::try_from(len).map_err(|_| WireError::BadValue {
                field: "hot key length",
                value: len,
            })?;
        }
        for (hot_key, key_len) in statistics.hot_keys.iter_mut().zip(key_lens) {
            hot_key.key = r.bytes("hot key", key_len)?.to_vec();
        }
        Ok(statistics)
    }

    fn encode(&self, out: &mut Vec<u8>) {
        self.locks.encode(out);
        self.vacuum_latency.encode(out);
        put_u32(out, self.db_ro_delegations);
        put_u32(out, self.db_ro_revokes);
        self.hop_count_bucket.put(out);
        put_u32(out, self.num_hot_keys);
        put_pad(out, 4);
        for hot_key in &self.hot_keys {
            put_u32(out, hot_key.count);
            put_pad(out, 4 + 8);
            put_u64(out, hot_key.key.len() as u64);
        }
        for hot_key in &self.hot_keys {
            out.extend_from_slice(&hot_key.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_latency_counter_keeps_the_extremes_and_the_mean() {
        let mut latency = LatencyCounter::default();
        assert_eq!(latency.average(), 0.0);
        latency.add(2.0);
        latency.add(1.0);
        assert_eq!(
            latency,
            LatencyCounter {
                num: 2,
                min: 1.0,
                max: 2.0,
                total: 3.0
            }
        );
        assert_eq!(latency.average(), 1.5);
    }

    #[test]
    fn hot_keys_stand_behind_the_ten_places() {
        let mut statistics = DbStatistics {
            num_hot_keys: 10,
            ..DbStatistics::default()
        };
        statistics.hot_keys[9] = HotKey {
            count: 5,
            key: b"key".to_vec(),
        };
        let mut bytes = Vec::new();
        statistics.encode(&mut bytes);
        assert_eq!(bytes.len(), 464 + 3);
        assert_eq!(DbStatistics::decode_all(&bytes, "statistics"), Ok(statistics));
    }

    #[test]
    fn a_hot_key_longer_than_the_bytes_there_is_short() {
        let mut bytes = Vec::new();
        DbStatistics::default().encode(&mut bytes);
        bytes[240..248].fill(0xff);
        assert!(DbStatistics::decode_all(&bytes, "statistics").is_err());
    }

    #[test]
    fn a_history_that_claims_too_much_is_refused() {
        assert!(StatisticsList::decode_all(b"\x64\0\0\0\0\0\0\0", "history").is_err());
    }
}
