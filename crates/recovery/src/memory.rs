//! The copies that are kept in memory: one for each key, found by the hash of the key.

use std::collections::HashMap;

use ctdb_protocol::hash::jenkins_hash;
use ctdb_protocol::{Pnn, RecFlags, Rsn};

use crate::rank::Rank;

/// A copy of a record as a node sent it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Copy<'a> {
    /// Place of the node in the order of the nodes.
    pub order: u32,
    /// From the record's header.
    pub rsn: Rsn,
    /// From the record's header.
    pub dmaster: Pnn,
    /// From the record's header.
    pub flags: RecFlags,
    /// Under which it is stored.
    pub key: &'a [u8],
    /// Without the header.
    pub data: &'a [u8],
}

impl Copy<'_> {
    fn rank(&self, leader: Pnn) -> Rank {
        Rank::new(self.rsn, self.dmaster, leader, self.order)
    }
}

/// What is known of a kept copy; its bytes are in a chunk: the key, then the data.
struct Entry {
    order: u32,
    rsn: Rsn,
    dmaster: Pnn,
    flags: RecFlags,
    hash: u32,
    /// The entry before it with the same hash, plus one; 0 for none.
    older: u32,
    chunk: u32,
    at: u32,
    key_len: u32,
    data_len: u32,
}

/// Bytes are kept in chunks of this size, so that growing never copies or doubles what is there.
const CHUNK_LEN: usize = 1 << 20;
/// The first chunk: most databases are small, and there are many.
const FIRST_CHUNK_LEN: usize = 1 << 14;
/// What a hash table takes for one entry: key, value, and the slots it keeps free.
const HEAD_LEN: usize = 18;

/// See the module.
#[derive(Default)]
pub struct Memory {
    /// From a hash to the newest entry that has it, plus one.
    heads: HashMap<u32, u32>,
    entries: Vec<Entry>,
    chunks: Vec<Vec<u8>>,
    chunk_bytes: usize,
}

impl Memory {
    /// Bytes taken from the system, near enough.
    pub fn bytes(&self) -> usize {
        self.chunk_bytes + self.entries.capacity() * size_of::<Entry>() + self.heads.capacity() * HEAD_LEN
    }

    /// Number of records.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Takes a copy in, if it is better than the one that is there.
    ///
    /// Bytes of a copy that is replaced by a longer one stay where they are: they are counted, and go when all go.
    pub fn add(&mut self, copy: &Copy<'_>, leader: Pnn) {
        let hash = jenkins_hash(copy.key);
        match self.find(hash, copy.key) {
            None => {
                let entry = self.place(copy, hash, self.heads.get(&hash).copied().unwrap_or(0));
                self.entries.push(entry);
                self.heads.insert(hash, self.entries.len() as u32);
            }
            Some(at) => {
                if copy.rank(leader).beats(&self.get(at).rank(leader)) {
                    self.replace(at, copy, hash);
                }
            }
        }
    }

    /// The record in that place, below [`Memory::len`].
    pub fn get(&self, at: usize) -> Copy<'_> {
        let entry = &self.entries[at];
        let bytes = &self.chunks[entry.chunk as usize][entry.at as usize..];
        let (key, rest) = bytes.split_at(entry.key_len as usize);
        Copy {
            order: entry.order,
            rsn: entry.rsn,
            dmaster: entry.dmaster,
            flags: entry.flags,
            key,
            data: &rest[..entry.data_len as usize],
        }
    }

    /// Hash of the key of the record in that place.
    pub fn hash(&self, at: usize) -> u32 {
        self.entries[at].hash
    }

    fn find(&self, hash: u32, key: &[u8]) -> Option<usize> {
        let mut next = self.heads.get(&hash).copied().unwrap_or(0);
        while let Some(at) = (next as usize).checked_sub(1) {
            if self.get(at).key == key {
                return Some(at);
            }
            next = self.entries[at].older;
        }
        None
    }

    fn replace(&mut self, at: usize, copy: &Copy<'_>, hash: u32) {
        let old = &self.entries[at];
        let fits = copy.data.len() <= old.data_len as usize;
        let (chunk, start, older) = (old.chunk, old.at, old.older);
        if !fits {
            self.entries[at] = self.place(copy, hash, older);
            return;
        }
        let data_at = start as usize + copy.key.len();
        self.chunks[chunk as usize][data_at..data_at + copy.data.len()].copy_from_slice(copy.data);
        self.entries[at] = Entry::new(copy, hash, older, chunk, start);
    }

    /// Puts the bytes of a copy into a chunk.
    fn place(&mut self, copy: &Copy<'_>, hash: u32, older: u32) -> Entry {
        let need = copy.key.len() + copy.data.len();
        let room = self.chunks.last().map_or(0, |c| c.capacity() - c.len());
        if self.chunks.is_empty() || need > room {
            let len = if self.chunks.is_empty() {
                FIRST_CHUNK_LEN
            } else {
                CHUNK_LEN
            };
            let chunk: Vec<u8> = Vec::with_capacity(len.max(need));
            self.chunk_bytes += chunk.capacity();
            self.chunks.push(chunk);
        }
        let last = self.chunks.len() - 1;
        let chunk = &mut self.chunks[last];
        let at = chunk.len() as u32;
        chunk.extend_from_slice(copy.key);
        chunk.extend_from_slice(copy.data);
        Entry::new(copy, hash, older, last as u32, at)
    }
}

impl Entry {
    fn new(copy: &Copy<'_>, hash: u32, older: u32, chunk: u32, at: u32) -> Entry {
        Entry {
            order: copy.order,
            rsn: copy.rsn,
            dmaster: copy.dmaster,
            flags: copy.flags,
            hash,
            older,
            chunk,
            at,
            key_len: copy.key.len() as u32,
            data_len: copy.data.len() as u32,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn copy<'a>(rsn: u64, key: &'a [u8], data: &'a [u8]) -> Copy<'a> {
        Copy {
            order: 0,
            rsn: Rsn(rsn),
            dmaster: Pnn(2),
            flags: RecFlags::empty(),
            key,
            data,
        }
    }

    #[test]
    fn a_better_copy_replaces_the_kept_one_whatever_their_lengths() {
        let mut memory = Memory::default();
        for (rsn, data, expected) in [
            (1, &b"middle"[..], &b"middle"[..]),
            (2, b"short", b"short"),
            (3, b"much longer", b"much longer"),
            (2, b"old", b"much longer"),
            (4, b"", b""),
        ] {
            memory.add(&copy(9, b"neighbour", b"stays"), Pnn(0));
            memory.add(&copy(rsn, b"key", data), Pnn(0));
            let at = memory.find(jenkins_hash(b"key"), b"key").unwrap();
            assert_eq!(memory.get(at).data, expected);
            assert_eq!(memory.get(at).key, b"key");
            let other = memory.find(jenkins_hash(b"neighbour"), b"neighbour").unwrap();
            assert_eq!(memory.get(other).data, b"stays");
        }
        assert_eq!(memory.len(), 2);
    }

    #[test]
    fn keys_of_one_hash_are_told_apart() {
        // Found by search among numbers: lookup3 gives both the same hash.
        let (a, b) = colliding_keys();
        let mut memory = Memory::default();
        memory.add(&copy(1, &a, b"a"), Pnn(0));
        memory.add(&copy(1, &b, b"b"), Pnn(0));
        memory.add(&copy(2, &a, b"a again"), Pnn(0));
        assert_eq!(memory.len(), 2);
        let data = |key: &[u8]| memory.get(memory.find(jenkins_hash(key), key).unwrap()).data;
        assert_eq!(data(&a), b"a again");
        assert_eq!(data(&b), b"b");
    }

    /// The birthday paradox: a few hundred thousand keys are enough for 32 bits.
    fn colliding_keys() -> (Vec<u8>, Vec<u8>) {
        let mut seen = HashMap::new();
        for n in 0u32.. {
            let key = format!("key{n}").into_bytes();
            if let Some(other) = seen.insert(jenkins_hash(&key), key.clone()) {
                return (other, key);
            }
        }
        unreachable!("more numbers than hashes")
    }

    #[test]
    fn what_is_taken_from_the_system_is_counted() {
        let mut memory = Memory::default();
        let data = [7; 1000];
        for n in 0u32..5000 {
            memory.add(&copy(1, &n.to_le_bytes(), &data), Pnn(0));
        }
        assert_eq!(memory.len(), 5000);
        assert!(memory.bytes() > 5_000_000, "{}", memory.bytes());
        assert!(memory.bytes() < 8_000_000, "{}", memory.bytes());
    }
}
