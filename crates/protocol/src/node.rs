//! Nodes: the map of them, their flags and states, the map of location masters, elections.

use std::fmt;
use std::time::Duration;

use crate::reader::{Field, Reader, Wire, WireError, layout, len_u32, newtype_field, put_list, put_u32};
use crate::{Generation, NodeFlags, Pnn, SockAddr, hash};

/// Who is responsible for knowing where a record is. `generation u32, size u32`, `size` × pnn u32.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VnnMap {
    /// The recovery that made the map.
    pub generation: Generation,
    /// Location masters; a record's is found by the hash of its key.
    pub map: Vec<Pnn>,
}

impl VnnMap {
    /// The location master of `key`; `None` while the map is empty.
    pub fn lmaster(&self, key: &[u8]) -> Option<Pnn> {
        let size = len_u32(self.map.len());
        let slot = hash::jenkins_hash(key).checked_rem(size)?;
        Some(self.map[slot as usize])
    }
}

impl Wire<'_> for VnnMap {
    fn decode(r: &mut Reader<'_>) -> Result<Self, WireError> {
        Ok(VnnMap {
            generation: Generation(r.u32("generation")?),
            map: r.list("size", 4)?,
        })
    }

    fn encode(&self, out: &mut Vec<u8>) {
        put_u32(out, self.generation.0);
        put_list(out, &self.map);
    }
}

layout! {
    /// A node as one node sees it.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct NodeAndFlags [36] {
        /// Number.
        pnn: Pnn;
        /// State.
        flags: NodeFlags;
        /// Where its daemon listens.
        addr: SockAddr;
    }
}

/// All nodes of the nodes file. `num u32`, nodes of 36 bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeMap {
    /// In the order of their numbers.
    pub nodes: Vec<NodeAndFlags>,
}

impl NodeMap {
    /// The node of this number.
    pub fn get(&self, pnn: Pnn) -> Option<&NodeAndFlags> {
        self.nodes.iter().find(|node| node.pnn == pnn)
    }
}

impl Wire<'_> for NodeMap {
    fn decode(r: &mut Reader<'_>) -> Result<Self, WireError> {
        Ok(NodeMap {
            nodes: r.list("num", NodeAndFlags::LEN)?,
        })
    }

    fn encode(&self, out: &mut Vec<u8>) {
        put_list(out, &self.nodes);
    }
}

layout! {
    /// A node's flags before and after.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct NodeFlagChange [12] {
        /// Node.
        pnn: Pnn;
        /// What they are now.
        new_flags: NodeFlags;
        /// What they were.
        old_flags: NodeFlags;
    }
}

layout! {
    /// A ban: until when no one knows, for how long the banned node does.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct BanState [8] {
        /// Node.
        pnn: Pnn;
        /// Seconds; 0 is "not banned".
        time_s: u32;
    }
}

layout! {
    /// Seconds and microseconds, i64 each: a point in time since 1970 or a length of time.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
    pub struct Timeval [16] {
        /// Whole seconds.
        sec: i64;
        /// Microseconds, 0 to 999999.
        usec: i64;
    }
}

impl Timeval {
    /// So long after 1970 (or 0).
    pub fn from_duration(since: Duration) -> Self {
        let sec = i64::try_from(since.as_secs()).unwrap_or(i64::MAX);
        Timeval {
            sec,
            usec: since.subsec_micros().into(),
        }
    }

    /// How long after 1970 (or 0); negative parts count as 0.
    pub fn to_duration(self) -> Duration {
        let micros = u64::try_from(self.usec).unwrap_or(0);
        Duration::from_secs(u64::try_from(self.sec).unwrap_or(0))
            .saturating_add(Duration::from_micros(micros))
    }
}

impl fmt::Display for Timeval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:06}", self.sec, self.usec)
    }
}

layout! {
    /// Points in time of a daemon's life.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Uptime [64] {
        /// When it answered.
        current_time: Timeval;
        /// When it was started.
        ctdbd_start_time: Timeval;
        /// When the last recovery began.
        last_recovery_started: Timeval;
        /// When the last recovery ended.
        last_recovery_finished: Timeval;
    }
}

layout! {
    /// What a candidate says of itself in an election without cluster lock.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct ElectionMessage [32] {
        /// Nodes that it is connected to.
        num_connected: u32, pad 4;
        /// When it started; the older wins.
        priority_time: Timeval;
        /// Itself.
        pnn: Pnn;
        /// Its flags.
        node_flags: NodeFlags;
    }
}

/// Values that only those of the list have.
macro_rules! states {
    ($(#[$meta:meta])* pub enum $name:ident($field:literal) {
        $($(#[$vmeta:meta])* $variant:ident = $number:literal, $text:literal;)*
    }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $($(#[$vmeta])* $variant = $number,)* }

        impl $name {
            /// The number on the wire.
            pub const fn number(self) -> u32 {
                self as u32
            }

            /// What operators call it.
            pub const fn name(self) -> &'static str {
                match self { $($name::$variant => $text,)* }
            }

            /// By its name, in any case.
            pub fn from_name(name: &str) -> Option<Self> {
                $(if name.eq_ignore_ascii_case($text) {
                    return Some($name::$variant);
                })*
                None
            }
        }

        impl TryFrom<u32> for $name {
            type Error = WireError;

            fn try_from(number: u32) -> Result<Self, WireError> {
                match number {
                    $($number => Ok($name::$variant),)*
                    other => Err(WireError::BadValue { field: $field, value: other.into() }),
                }
            }
        }

        impl Field for $name {
            const LEN: usize = 4;
            fn get(r: &mut Reader<'_>, field: &'static str) -> Result<Self, WireError> {
                r.u32(field)?.try_into()
            }
            fn put(&self, out: &mut Vec<u8>) {
                put_u32(out, self.number());
            }
        }

        impl Wire<'_> for $name {
            fn decode(r: &mut Reader<'_>) -> Result<Self, WireError> {
                Field::get(r, $field)
            }
            fn encode(&self, out: &mut Vec<u8>) {
                self.put(out);
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.name())
            }
        }
    };
}

states! {
    /// Whether databases may be used.
    pub enum RecMode("recovery mode") {
        /// They may.
        Normal = 0, "NORMAL";
        /// A recovery is under way or needed.
        Active = 1, "RECOVERY";
    }
}

states! {
    /// How far a daemon has come.
    pub enum Runstate("runstate") {
        /// Nothing is known.
        Unknown = 0, "UNKNOWN";
        /// The init event.
        Init = 1, "INIT";
        /// The setup event; databases are attached.
        Setup = 2, "SETUP";
        /// Waits for its first recovery.
        FirstRecovery = 3, "FIRST_RECOVERY";
        /// The startup event.
        Startup = 4, "STARTUP";
        /// Serves.
        Running = 5, "RUNNING";
        /// Ends.
        Shutdown = 6, "SHUTDOWN";
    }
}

/// How much is logged: 0 ERROR, 1 and 2 WARNING, 3 and 4 NOTICE, 5 to 9 INFO, 10 DEBUG. Others are kept as they
/// are; C's daemon does so too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DebugLevel(pub i32);

newtype_field! { DebugLevel(i32), "debug level"; }

impl DebugLevel {
    /// Only what is broken.
    pub const ERROR: DebugLevel = DebugLevel(0);
    /// And what may break.
    pub const WARNING: DebugLevel = DebugLevel(1);
    /// And what changes.
    pub const NOTICE: DebugLevel = DebugLevel(3);
    /// And what is done.
    pub const INFO: DebugLevel = DebugLevel(5);
    /// Everything.
    pub const DEBUG: DebugLevel = DebugLevel(10);

    /// What operators call it.
    pub fn name(self) -> &'static str {
        match self.0 {
            0 => "ERROR",
            1 | 2 => "WARNING",
            3 | 4 => "NOTICE",
            5..=9 => "INFO",
            10 => "DEBUG",
            _ => "UNKNOWN",
        }
    }

    /// By a number from 0 to 10, or the first letters of a name in any case; the first name that fits wins, so
    /// that an empty text is ERROR.
    pub fn parse(text: &str) -> Option<Self> {
        if text.starts_with(|c: char| c.is_ascii_digit()) {
            // As atoi: what follows the digits does not count.
            let digits = text.split(|c: char| !c.is_ascii_digit()).next()?;
            return digits
                .parse()
                .ok()
                .filter(|n| (0..=10).contains(n))
                .map(DebugLevel);
        }
        [Self::ERROR, Self::WARNING, Self::NOTICE, Self::INFO, Self::DEBUG]
            .into_iter()
            .find(|level| {
                let start = level.name().as_bytes().get(..text.len());
                start.is_some_and(|start| start.eq_ignore_ascii_case(text.as_bytes()))
            })
    }
}

impl fmt::Display for DebugLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_map_has_no_lmaster() {
        let mut map = VnnMap {
            generation: Generation(5),
            map: vec![],
        };
        assert_eq!(map.lmaster(b"key"), None);
        map.map = vec![Pnn(4), Pnn(7)];
        let slot = hash::jenkins_hash(b"key") % 2;
        assert_eq!(map.lmaster(b"key"), Some(map.map[slot as usize]));
    }

    #[test]
    fn debug_levels_are_found_by_number_and_by_first_letters() {
        assert_eq!(DebugLevel::parse("9"), Some(DebugLevel(9)));
        assert_eq!(DebugLevel::parse("11"), None);
        assert_eq!(DebugLevel::parse("not"), Some(DebugLevel::NOTICE));
        assert_eq!(DebugLevel::parse("DEBUGGER"), None);
        assert_eq!(DebugLevel::parse(""), Some(DebugLevel::ERROR));
        assert_eq!(DebugLevel(9).to_string(), "INFO");
        assert_eq!(DebugLevel(11).to_string(), "UNKNOWN");
    }

    #[test]
    fn states_are_found_by_number_and_name() {
        assert_eq!(Runstate::try_from(3), Ok(Runstate::FirstRecovery));
        assert_eq!(
            Runstate::from_name("first_recovery"),
            Some(Runstate::FirstRecovery)
        );
        assert_eq!(
            RecMode::try_from(2),
            Err(WireError::BadValue {
                field: "recovery mode",
                value: 2
            })
        );
        assert_eq!(RecMode::Active.to_string(), "RECOVERY");
    }

    #[test]
    fn a_timeval_keeps_microseconds() {
        let tv = Timeval::from_duration(Duration::from_micros(1_500_007));
        assert_eq!(tv.to_string(), "1.500007");
        assert_eq!(tv.to_duration(), Duration::from_micros(1_500_007));
    }
}
