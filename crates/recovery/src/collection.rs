//! The records of one database between pull and push: the best copy of each, within a bound of memory.
//!
//! Copies come from all nodes at once and go into [`Memory`], one for each key. When all databases together hold
//! more than the [`Budget`], the one that grows writes its records into its [`Spill`] and starts over. Which copy
//! is best does not depend on the order in which copies meet ([`crate::rank`]), so a part of the spill that holds
//! several copies of a record, from different runs, is simply merged again when it is read back.

use std::cell::Cell;
use std::io;
use std::rc::Rc;

use ctdb_protocol::{DbFlags, DbId, LtdbHeader, Pnn, RecBufferWriter, RecFlags, Rsn};
use ctdb_records::merge;

use crate::memory::{Copy, Memory};
use crate::spill::{PARTS, Spill, SpillError};

/// Bytes that all databases together may keep in memory, near enough: growing tables can overshoot it for a moment,
/// and databases that hold less than [`SMALL_SHARE`] of it are left alone.
pub const MEMORY_LIMIT: usize = 64 << 20;
/// A database with less than this part of the budget is not worth a run in a file.
const SMALL_SHARE: usize = 16;

/// What all databases of one recovery share.
pub struct Budget {
    limit: usize,
    used: Cell<usize>,
}

impl Budget {
    /// `limit` bytes for everybody together.
    pub fn new(limit: usize) -> Rc<Budget> {
        Rc::new(Budget {
            limit,
            used: Cell::new(0),
        })
    }

    fn change(&self, from: usize, to: usize) {
        self.used.set(self.used.get() + to - from);
    }

    fn is_exceeded_by(&self, own: usize) -> bool {
        self.used.get() > self.limit && own > self.limit / SMALL_SHARE
    }
}

/// See the module.
pub struct Collection {
    leader: Pnn,
    memory: Memory,
    spill: Spill,
    budget: Rc<Budget>,
}

impl Collection {
    /// Nothing collected yet. `leader` is the node that runs the recovery.
    pub fn new(leader: Pnn, spill: Spill, budget: &Rc<Budget>) -> Collection {
        Collection {
            leader,
            memory: Memory::default(),
            spill,
            budget: budget.clone(),
        }
    }

    /// Takes a copy in; `order` is the place of its node in the order of the nodes.
    ///
    /// # Errors
    /// No room in any directory of the spill.
    pub fn add(
        &mut self,
        order: u32,
        key: &[u8],
        header: &LtdbHeader,
        data: &[u8],
    ) -> Result<(), SpillError> {
        let copy = Copy {
            order,
            rsn: header.rsn,
            dmaster: header.dmaster,
            flags: header.flags,
            key,
            data,
        };
        let before = self.memory.bytes();
        self.memory.add(&copy, self.leader);
        let now = self.memory.bytes();
        self.budget.change(before, now);
        if self.budget.is_exceeded_by(now) {
            self.flush()
        } else {
            Ok(())
        }
    }

    /// Ends the collecting: what is left to do is to read the records out, as buffers that are closed when they have
    /// become larger than `buffer_len` bytes.
    ///
    /// # Errors
    /// No room in any directory of the spill.
    pub fn finish(mut self, db: DbId, flags: DbFlags, buffer_len: usize) -> Result<Merged, SpillError> {
        if !self.spill.is_empty() {
            self.flush()?;
        }
        Ok(Merged {
            collection: self,
            db,
            flags,
            buffer_len,
            next_record: 0,
            next_part: 0,
            done: false,
        })
    }

    fn has_spilled(&self) -> bool {
        !self.spill.is_empty()
    }

    fn flush(&mut self) -> Result<(), SpillError> {
        let memory = self.take_memory();
        let mut by_part: Vec<Vec<u32>> = vec![Vec::new(); PARTS];
        for at in 0..memory.len() {
            by_part[memory.hash(at) as usize % PARTS].push(at as u32);
        }
        let mut bytes = Vec::new();
        for (part, places) in by_part
            .iter()
            .enumerate()
            .filter(|(_, places)| !places.is_empty())
        {
            bytes.clear();
            for &at in places {
                encode(&memory.get(at as usize), &mut bytes);
            }
            self.spill.write(part, &bytes)?;
        }
        Ok(())
    }

    fn take_memory(&mut self) -> Memory {
        let memory = std::mem::take(&mut self.memory);
        self.budget.change(memory.bytes(), 0);
        memory
    }

    /// Reads one part back into the empty memory.
    fn load(&mut self, part: usize) -> io::Result<()> {
        self.take_memory();
        let bytes = self.spill.read(part)?;
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            let (copy, tail) =
                decode(rest).ok_or_else(|| io::Error::other("the records are not those written"))?;
            self.memory.add(&copy, self.leader);
            rest = tail;
        }
        self.budget.change(0, self.memory.bytes());
        Ok(())
    }
}

impl Drop for Collection {
    fn drop(&mut self) {
        self.take_memory();
    }
}

/// Head of a record in a spill: order u32, rsn u64, dmaster u32, flags u32, key length u32, data length u32.
const HEAD_LEN: usize = 28;

fn encode(copy: &Copy<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(&copy.order.to_le_bytes());
    out.extend_from_slice(&copy.rsn.0.to_le_bytes());
    for number in [
        copy.dmaster.0,
        copy.flags.bits(),
        copy.key.len() as u32,
        copy.data.len() as u32,
    ] {
        out.extend_from_slice(&number.to_le_bytes());
    }
    out.extend_from_slice(copy.key);
    out.extend_from_slice(copy.data);
}

fn decode(bytes: &[u8]) -> Option<(Copy<'_>, &[u8])> {
    let (head, rest) = bytes.split_at_checked(HEAD_LEN)?;
    let u32_at = |at: usize| head[at..].first_chunk().map(|b| u32::from_le_bytes(*b));
    let rsn = Rsn(u64::from_le_bytes(*head[4..].first_chunk()?));
    let (key, rest) = rest.split_at_checked(u32_at(20)? as usize)?;
    let (data, rest) = rest.split_at_checked(u32_at(24)? as usize)?;
    let flags = RecFlags::from_bits_retain(u32_at(16)?);
    Some((
        Copy {
            order: u32_at(0)?,
            rsn,
            dmaster: Pnn(u32_at(12)?),
            flags,
            key,
            data,
        },
        rest,
    ))
}

/// The surviving records on their way to the nodes.
pub struct Merged {
    collection: Collection,
    db: DbId,
    flags: DbFlags,
    buffer_len: usize,
    /// In the memory.
    next_record: usize,
    /// To be read from the spill.
    next_part: usize,
    done: bool,
}

impl Merged {
    /// Whether records went through a file.
    pub fn has_spilled(&self) -> bool {
        self.collection.has_spilled()
    }

    /// The next buffer; `None` after the last. There is at least one, which may have no records.
    ///
    /// # Errors
    /// Of reading the spill.
    pub fn next_buffer(&mut self) -> io::Result<Option<RecBufferWriter>> {
        if self.done {
            return Ok(None);
        }
        let mut buffer = RecBufferWriter::new(self.db);
        while buffer.len() <= self.buffer_len {
            if !self.push_next(&mut buffer)? {
                self.done = true;
                break;
            }
        }
        Ok(Some(buffer))
    }

    /// Puts one more record into the buffer, if it is one that survives; false when there are no more.
    fn push_next(&mut self, buffer: &mut RecBufferWriter) -> io::Result<bool> {
        let collection = &mut self.collection;
        if self.next_record == collection.memory.len() {
            if !collection.has_spilled() || self.next_part == PARTS {
                return Ok(false);
            }
            collection.load(self.next_part)?;
            self.next_part += 1;
            self.next_record = 0;
            return Ok(true);
        }
        let copy = collection.memory.get(self.next_record);
        self.next_record += 1;
        let merged = LtdbHeader {
            rsn: copy.rsn,
            dmaster: copy.dmaster,
            flags: copy.flags,
        };
        if let Some(header) = merge::pushed_header(&merged, copy.data.len(), self.flags, collection.leader) {
            buffer.push(0, copy.key, &header, copy.data);
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::Path;

    use super::*;
    use ctdb_records::merge::takes_place;
    use proptest::prelude::*;

    const LEADER: Pnn = Pnn(0);

    fn header(rsn: u64, dmaster: u32) -> LtdbHeader {
        LtdbHeader::new(Rsn(rsn), Pnn(dmaster))
    }

    fn collection(limit: usize, dir: &Path) -> Collection {
        Collection::new(
            LEADER,
            Spill::new("recdb.t".to_owned(), &[dir.to_owned()]),
            &Budget::new(limit),
        )
    }

    type Records = BTreeMap<Vec<u8>, (LtdbHeader, Vec<u8>)>;

    /// Everything that would be pushed, and the lengths of the buffers.
    fn pushed(mut merged: Merged) -> (Records, Vec<usize>) {
        let (mut records, mut lens) = (BTreeMap::new(), Vec::new());
        while let Some(buffer) = merged.next_buffer().unwrap() {
            lens.push(buffer.len());
            for record in buffer.as_buffer().iter() {
                let (header, value) = record.header_and_value().unwrap();
                let twice = records.insert(record.key.to_vec(), (header, value.to_vec()));
                assert!(twice.is_none(), "key {:?} is pushed twice", record.key);
            }
        }
        (records, lens)
    }

    #[test]
    fn an_empty_database_is_pushed_as_one_empty_buffer() {
        let dir = tempfile::tempdir().unwrap();
        let merged = collection(1000, dir.path())
            .finish(DbId(1), DbFlags::empty(), 100)
            .unwrap();
        let (records, lens) = pushed(merged);
        assert!(records.is_empty());
        assert_eq!(lens, [8]);
    }

    #[test]
    fn a_buffer_is_closed_by_the_record_that_makes_it_longer_than_the_limit() {
        let dir = tempfile::tempdir().unwrap();
        let mut all = collection(1 << 20, dir.path());
        for n in 0u8..5 {
            all.add(0, &[n], &header(1, 1), &[n; 59]).unwrap(); // 16 + 1 + 24 + 59 = 100 bytes each
        }
        let (records, lens) = pushed(all.finish(DbId(1), DbFlags::empty(), 208).unwrap());
        assert_eq!(records.len(), 5);
        assert_eq!(lens, [308, 208]);
    }

    #[test]
    fn empty_records_end_here_and_the_leader_takes_over_what_is_not_persistent() {
        let dir = tempfile::tempdir().unwrap();
        for (flags, dmaster) in [
            (DbFlags::empty(), 0),
            (DbFlags::REPLICATED, 0),
            (DbFlags::PERSISTENT, 2),
        ] {
            let mut all = collection(1000, dir.path());
            all.add(0, b"gone", &header(7, 2), b"").unwrap();
            all.add(0, b"kept", &header(7, 2), b"x").unwrap();
            let (records, _) = pushed(all.finish(DbId(1), flags, 100).unwrap());
            assert_eq!(records.len(), 1);
            assert_eq!(records[&b"kept"[..]].0.dmaster, Pnn(dmaster), "{flags:?}");
        }
    }

    #[test]
    fn a_million_records_of_three_nodes_stay_within_the_budget() {
        let dir = tempfile::tempdir().unwrap();
        let budget = Budget::new(4 << 20);
        let spill = Spill::new("recdb.t".to_owned(), &[dir.path().to_owned()]);
        let mut all = Collection::new(LEADER, spill, &budget);
        let records = 100_000u32; // ten times smaller, as is the budget's tenth: tests are quick
        let mut most = 0;
        for order in 0..3 {
            for n in 0..records {
                all.add(
                    order,
                    &n.to_le_bytes(),
                    &header(u64::from(order), 1),
                    &[order as u8; 100],
                )
                .unwrap();
                most = most.max(budget.used.get());
            }
        }
        assert!(most < 2 * budget.limit, "{most}");
        let (pushed, _) = pushed(all.finish(DbId(1), DbFlags::empty(), 1 << 16).unwrap());
        assert_eq!(pushed.len(), records as usize);
        assert!(
            pushed
                .values()
                .all(|(header, value)| header.rsn == Rsn(2) && value[0] == 2)
        );
        assert_eq!(budget.used.get(), 0, "all is given back");
    }

    proptest! {
        #[test]
        fn spilled_or_not_the_outcome_is_that_of_one_node_after_another(
            copies in proptest::collection::vec((0u32..3, 0u8..8, 0u64..3, 0u32..3, 0usize..40), 0..80),
            limit in prop_oneof![Just(0usize), Just(1000), Just(1 << 20)],
        ) {
            let dir = tempfile::tempdir().unwrap();
            let mut all = collection(limit, dir.path());
            // A node has one copy of a record; the data tells them apart.
            let mut of_nodes: BTreeMap<(u32, u8), (LtdbHeader, Vec<u8>)> = BTreeMap::new();
            for &(order, key, rsn, dmaster, len) in &copies {
                of_nodes.entry((order, key)).or_insert_with(|| (header(rsn, dmaster), vec![order as u8; len]));
            }
            for &(order, key, ..) in &copies {
                let (header, data) = &of_nodes[&(order, key)];
                all.add(order, &[key], header, data).unwrap();
            }
            let mut expected: BTreeMap<Vec<u8>, (LtdbHeader, Vec<u8>)> = BTreeMap::new();
            for ((_, key), (header, data)) in &of_nodes {
                let kept = expected.get(&vec![*key]).map(|(header, _)| *header);
                if takes_place(kept.as_ref(), header, LEADER) {
                    expected.insert(vec![*key], (*header, data.clone()));
                }
            }
            expected.retain(|_, (_, data)| !data.is_empty());
            for (header, _) in expected.values_mut() {
                header.dmaster = LEADER;
                header.flags |= RecFlags::MIGRATED_WITH_DATA;
            }
            let (records, _) = pushed(all.finish(DbId(1), DbFlags::empty(), 50).unwrap());
            prop_assert_eq!(records, expected);
        }
    }
}
