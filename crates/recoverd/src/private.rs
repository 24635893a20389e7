//! What recovery daemons of this project tell each other, and are told by ctdbd, beyond the C implementation's messages.
//! C nodes register neither service, so that these messages end in their daemons.
//!
//! | service | data | meaning |
//! |---|---|---|
//! | CONCEDE | kind u32, pnn u32 | [`Whisper`] of that node |
//! | POKE | reasons u32 | [`Poke`]: look now |

use ctdb_cluster::election::Event;
use ctdb_protocol::Pnn;

/// Parts of an election, see `ctdb_cluster::election`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whisper {
    /// "Your ballot beats mine."
    Concede = 1,
    /// "Who leads? I know of nobody."
    Ask = 2,
    /// The answer of one who knows of nobody either.
    Leaderless = 3,
}

impl Whisper {
    /// The message's data.
    pub fn encode(self, from: Pnn) -> [u8; 8] {
        let mut data = [0; 8];
        data[..4].copy_from_slice(&(self as u32).to_le_bytes());
        data[4..].copy_from_slice(&from.0.to_le_bytes());
        data
    }

    /// What it means to the election; `None` for data that a later version may send.
    pub fn decode(data: &[u8]) -> Option<Event> {
        let word = |at: usize| Some(u32::from_le_bytes(data.get(at..at + 4)?.try_into().ok()?));
        let by = Pnn(word(4)?);
        match word(0)? {
            1 => Some(Event::Conceded { by }),
            2 => Some(Event::Asked { by }),
            3 => Some(Event::Leaderless { by }),
            _ => None,
        }
    }
}

/// Why to look now; a set of bits, see `ctdb_daemon::notice`. Those without a name here need no more than the look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Poke(pub u32);

impl Poke {
    /// The recovery mode became ACTIVE.
    pub const RECOVERY: Poke = Poke(2);
    /// The flags of the node itself.
    pub const OWN_FLAGS: Poke = Poke(4);
    /// Passed on by another recovery daemon. Never passed on again: two nodes that each take the other for the
    /// leader would never stop.
    pub const PASSED_ON: Poke = Poke(0x8000_0000);

    /// The reasons in a message; none of them in data that is too short.
    pub fn decode(data: &[u8]) -> Poke {
        let word = data.first_chunk().copied().map(u32::from_le_bytes);
        Poke(word.unwrap_or(0))
    }

    /// Whether one of the reasons of `other` is among these.
    pub fn has(self, other: Poke) -> bool {
        self.0 & other.0 != 0
    }

    /// What the leader should hear of it: that a recovery is wanted, or that this node is not what it was. Links the
    /// leader sees for itself.
    pub fn for_leader(self) -> Option<Poke> {
        let matters = Poke(self.0 & (Poke::RECOVERY.0 | Poke::OWN_FLAGS.0));
        (matters.0 != 0 && !self.has(Poke::PASSED_ON)).then_some(Poke(matters.0 | Poke::PASSED_ON.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_whisper_is_heard_as_what_it_was() {
        let by = Pnn(2);
        assert_eq!(Whisper::Concede.encode(by), *b"\x01\0\0\0\x02\0\0\0");
        let heard = |whisper: Whisper| Whisper::decode(&whisper.encode(by));
        assert_eq!(heard(Whisper::Concede), Some(Event::Conceded { by }));
        assert_eq!(heard(Whisper::Ask), Some(Event::Asked { by }));
        assert_eq!(heard(Whisper::Leaderless), Some(Event::Leaderless { by }));
        assert_eq!(Whisper::decode(b"\x04\0\0\0\x02\0\0\0"), None);
        assert_eq!(Whisper::decode(b"\x01\0\0\0\x02\0\0"), None);
    }

    #[test]
    fn the_leader_hears_of_recoveries_and_of_the_node_itself_and_only_once() {
        assert_eq!(Poke(1).for_leader(), None);
        assert_eq!(Poke(3).for_leader(), Some(Poke(0x8000_0002)));
        assert_eq!(Poke(4).for_leader(), Some(Poke(0x8000_0004)));
        assert_eq!(Poke(0x8000_0002).for_leader(), None);
        assert_eq!(Poke::decode(b"\x02\0\0\0"), Poke::RECOVERY);
        assert_eq!(Poke::decode(b"\x02\0\0"), Poke(0));
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_whisper_or_nothing(data: Vec<u8>) {
            if Whisper::decode(&data).is_some() {
                prop_assert!(data.len() >= 8);
            }
        }
    }
}
