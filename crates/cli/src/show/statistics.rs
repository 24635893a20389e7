//! Counters.

use std::fmt::Write as _;

use ctdb_protocol::{DbStatistics, LatencyCounter, LockStatistics, Statistics};

use super::times::{ctime, span};

/// The version of the protocol, which upstream prints first.
const PROTOCOL: u32 = 1;

/// A counter's name, with its group in front of a dot, and value.
type Field = (&'static str, u32);

fn fields(s: &Statistics) -> [Field; 38] {
    [
        ("num_clients", s.num_clients),
        ("frozen", s.frozen),
        ("recovering", s.recovering),
        ("num_recoveries", s.num_recoveries),
        ("client_packets_sent", s.client_packets_sent),
        ("client_packets_recv", s.client_packets_recv),
        ("node_packets_sent", s.node_packets_sent),
        ("node_packets_recv", s.node_packets_recv),
        ("keepalive_packets_sent", s.keepalive_packets_sent),
        ("keepalive_packets_recv", s.keepalive_packets_recv),
        ("node.req_call", s.node.req_call),
        ("node.reply_call", s.node.reply_call),
        ("node.req_dmaster", s.node.req_dmaster),
        ("node.reply_dmaster", s.node.reply_dmaster),
        ("node.reply_error", s.node.reply_error),
        ("node.req_message", s.node.req_message),
        ("node.req_control", s.node.req_control),
        ("node.reply_control", s.node.reply_control),
        ("node.req_tunnel", s.node.req_tunnel),
        ("client.req_call", s.client.req_call),
        ("client.req_message", s.client.req_message),
        ("client.req_control", s.client.req_control),
        ("client.req_tunnel", s.client.req_tunnel),
        ("timeouts.call", s.timeouts.call),
        ("timeouts.control", s.timeouts.control),
        ("timeouts.traverse", s.timeouts.traverse),
        ("locks.num_calls", s.locks.num_calls),
        ("locks.num_current", s.locks.num_current),
        ("locks.num_pending", s.locks.num_pending),
        ("locks.num_failed", s.locks.num_failed),
        ("total_calls", s.total_calls),
        ("pending_calls", s.pending_calls),
        ("childwrite_calls", s.childwrite_calls),
        ("pending_childwrite_calls", s.pending_childwrite_calls),
        ("memory_used", s.memory_used),
        ("max_hop_count", s.max_hop_count),
        ("total_ro_delegations", s.total_ro_delegations),
        ("total_ro_revokes", s.total_ro_revokes),
    ]
}

fn lock_fields(locks: &LockStatistics) -> [Field; 4] {
    [
        ("locks.num_calls", locks.num_calls),
        ("locks.num_current", locks.num_current),
        ("locks.num_pending", locks.num_pending),
        ("locks.num_failed", locks.num_failed),
    ]
}

/// Latencies in the order of the table for scripts.
fn latencies(s: &Statistics) -> [(&'static str, &LatencyCounter); 5] {
    [
        ("reclock_ctdbd", &s.reclock_ctdbd),
        ("reclock_recd", &s.reclock_recd),
        ("call", &s.call_latency),
        ("lockwait", &s.locks.latency),
        ("childwrite", &s.childwrite_latency),
    ]
}

/// The names of the columns for scripts. No separator in front, alone among the tables.
pub fn machine_head(separator: &str) -> String {
    let mut text = String::new();
    let mut put = |name: &str| {
        text += name;
        text += separator;
    };
    put("CTDB version");
    put("Current time of statistics");
    put("Statistics collected since");
    fields(&Statistics::default())
        .iter()
        .for_each(|(name, _)| put(name));
    for (name, _) in latencies(&Statistics::default()) {
        ["num", "min", "avg", "max"]
            .iter()
            .for_each(|part| put(&format!("{part}_{name}_latency")));
    }
    text.push('\n');
    text
}

/// The values for scripts.
pub fn machine_line(s: &Statistics, separator: &str) -> String {
    let mut text = String::new();
    let mut put = |value: String| {
        text += &value;
        text += separator;
    };
    put(PROTOCOL.to_string());
    put((s.current_time.sec as u32).to_string());
    put((s.start_time.sec as u32).to_string());
    fields(s).iter().for_each(|(_, value)| put(value.to_string()));
    for (_, latency) in latencies(s) {
        put(latency.num.to_string());
        [latency.min, latency.average(), latency.max]
            .iter()
            .for_each(|seconds| put(format!("{seconds:.6}")));
    }
    text.push('\n');
    text
}

/// The text for people.
pub fn human(s: &Statistics) -> String {
    let mut text = format!("CTDB version {PROTOCOL}\n");
    text += &format!(
        "Current time of statistics  :                {}",
        ctime(s.current_time.sec)
    );
    text += &format!(
        "Statistics collected since  : {} {}",
        span(s.start_time, s.current_time),
        ctime(s.start_time.sec)
    );
    put_fields(&mut text, &fields(s));
    put_buckets(&mut text, "hop_count_buckets", &s.hop_count_bucket);
    put_buckets(&mut text, "lock_buckets", &s.locks.buckets);
    put_latency(&mut text, "locks_latency", &s.locks.latency);
    put_latency(&mut text, "reclock_ctdbd", &s.reclock_ctdbd);
    put_latency(&mut text, "reclock_recd", &s.reclock_recd);
    put_latency(&mut text, "call_latency", &s.call_latency);
    put_latency(&mut text, "childwrite_latency", &s.childwrite_latency);
    text
}

/// Counters of a database.
pub fn database(name: &str, s: &DbStatistics) -> String {
    let mut text = format!("DB Statistics {name}\n");
    let own = [
        ("db_ro_delegations", s.db_ro_delegations),
        ("db_ro_revokes", s.db_ro_revokes),
    ];
    put_fields(&mut text, &own);
    put_fields(&mut text, &lock_fields(&s.locks));
    put_buckets(&mut text, "hop_count_buckets", &s.hop_count_bucket);
    put_buckets(&mut text, "lock_buckets", &s.locks.buckets);
    put_latency(&mut text, "locks_latency", &s.locks.latency);
    put_latency(&mut text, "vacuum_latency", &s.vacuum_latency);
    let _ = writeln!(text, " Num Hot Keys:     {}", s.num_hot_keys);
    for hot in s.hot_keys.iter().take(s.num_hot_keys as usize) {
        let _ = write!(text, "     Count:{} Key:", hot.count);
        hot.key.iter().for_each(|byte| {
            let _ = write!(text, "{byte:02x}");
        });
        text.push('\n');
    }
    text
}

/// One line for each; the name of a group before its first.
fn put_fields(text: &mut String, fields: &[Field]) {
    let mut group = None;
    for (name, value) in fields {
        match name.split_once('.') {
            None => {
                let _ = writeln!(text, " {name:<22}    {value:>10}");
            }
            Some((of, name)) => {
                if group.replace(of) != Some(of) {
                    let _ = writeln!(text, " {of}");
                }
                let _ = writeln!(text, "     {name:<22}{value:>10}");
            }
        }
    }
}

fn put_buckets(text: &mut String, name: &str, buckets: &[u32]) {
    let _ = write!(text, " {name}:");
    for count in buckets {
        let _ = write!(text, " {}", count.cast_signed());
    }
    text.push('\n');
}

fn put_latency(text: &mut String, name: &str, latency: &LatencyCounter) {
    let title = format!("{name:<18} MIN/AVG/MAX");
    let (min, average, max) = (latency.min, latency.average(), latency.max);
    let _ = writeln!(
        text,
        " {title:<30}     {min:.6}/{average:.6}/{max:.6} sec out of {}",
        latency.num
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn head_and_line_for_scripts_have_the_same_columns() {
        let head = machine_head("|");
        let line = machine_line(&Statistics::default(), "|");
        assert_eq!(head.matches('|').count(), 3 + 38 + 20);
        assert_eq!(line.matches('|').count(), 3 + 38 + 20);
        assert!(head.starts_with("CTDB version|Current time of statistics|"));
        assert!(line.starts_with("1|0|0|0|"));
        assert!(line.ends_with("|0|0.000000|0.000000|0.000000|\n"));
    }

    #[test]
    fn groups_are_named_once_and_their_members_stand_deeper() {
        let text = human(&Statistics::default());
        assert_eq!(text.matches("\n node\n").count(), 1);
        assert!(
            text.contains("\n num_clients                        0\n"),
            "{text}"
        );
        assert!(
            text.contains("\n locks\n     num_calls                      0\n"),
            "{text}"
        );
        assert!(
            text.contains("\n pending_childwrite_calls             0\n"),
            "{text}"
        );
        assert!(
            text.ends_with("childwrite_latency MIN/AVG/MAX     0.000000/0.000000/0.000000 sec out of 0\n"),
            "{text}"
        );
    }

    #[test]
    fn hot_keys_are_shown_in_hexadecimal() {
        let mut s = DbStatistics {
            num_hot_keys: 1,
            ..DbStatistics::default()
        };
        s.hot_keys[0].count = 3;
        s.hot_keys[0].key = vec![0, 0xab];
        let text = database("a.tdb", &s);
        assert!(
            text.starts_with("DB Statistics a.tdb\n db_ro_delegations                  0\n"),
            "{text}"
        );
        assert!(
            text.ends_with(" Num Hot Keys:     1\n     Count:3 Key:00ab\n"),
            "{text}"
        );
    }
}
