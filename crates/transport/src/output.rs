//! Packets that wait to be written.
//!
//! Two lanes, each a row of byte segments with whole packets in them. The urgent lane goes before everything that has not been begun: a packet
//! of which some bytes are out is finished first. Small packets share a segment, a big one can be moved in as a segment of its own.

use std::collections::VecDeque;
use std::io::IoSlice;

/// A segment that has reached this length is not appended to any more.
const SEGMENT: usize = 64 * 1024;
/// A moved-in packet of at least this length becomes a segment; a smaller one is copied.
const OWN_SEGMENT: usize = 16 * 1024;
/// Of an empty lane's list of packet lengths, entries that keep their memory.
const LENGTHS_KEPT: usize = 1024;

/// Slices handed to one vectored write.
pub(crate) const SLICES: usize = 32;

#[derive(Default)]
struct Lane {
    segments: VecDeque<Vec<u8>>,
    /// Bytes of the first segment that are out.
    sent: usize,
    /// Lengths of the packets in the segments.
    packets: VecDeque<usize>,
    /// Bytes of the first packet that are out.
    begun: usize,
    bytes: usize,
}

/// The output of one connection.
pub struct OutputQueue {
    normal: Lane,
    urgent: Lane,
    /// An emptied segment, for the next packets.
    spare: Vec<u8>,
    /// The most memory that the spare segment may hold.
    keep: usize,
}

impl OutputQueue {
    /// An empty queue that keeps at most `keep` bytes of memory while it is empty.
    pub fn new(keep: usize) -> OutputQueue {
        OutputQueue {
            normal: Lane::default(),
            urgent: Lane::default(),
            spare: Vec::new(),
            keep,
        }
    }

    /// Appends the packet that `encode` appends to the buffer it is given (which holds other packets).
    pub fn push_with(&mut self, urgent: bool, encode: impl FnOnce(&mut Vec<u8>)) {
        let lane = if urgent {
            &mut self.urgent
        } else {
            &mut self.normal
        };
        if lane.segments.back().is_none_or(|s| s.len() >= SEGMENT) {
            lane.segments.push_back(std::mem::take(&mut self.spare));
        }
        let Some(segment) = lane.segments.back_mut() else {
            unreachable!("pushed above")
        };
        let before = segment.len();
        encode(segment);
        let len = segment.len().saturating_sub(before);
        lane.note(len);
        if len == 0 && before == 0 {
            lane.segments.pop_back();
        }
    }

    /// Appends a packet, without copying it if it is big.
    pub fn push_owned(&mut self, urgent: bool, packet: Vec<u8>) {
        if packet.len() < OWN_SEGMENT {
            return self.push_with(urgent, |buf| buf.extend_from_slice(&packet));
        }
        let lane = if urgent {
            &mut self.urgent
        } else {
            &mut self.normal
        };
        lane.note(packet.len());
        lane.segments.push_back(packet);
    }

    /// Packets that are not fully written.
    pub fn packets(&self) -> usize {
        self.urgent.packets.len() + self.normal.packets.len()
    }

    /// Bytes that are not written.
    pub fn bytes(&self) -> usize {
        self.urgent.bytes + self.normal.bytes
    }

    /// Whether all is written.
    pub fn is_empty(&self) -> bool {
        self.bytes() == 0
    }

    /// What is to be written next, in order, as far as the slices reach.
    pub(crate) fn slices<'a>(&'a self, out: &mut [IoSlice<'a>; SLICES]) -> usize {
        let begun = self.normal.rest_of_begun();
        let first = self.normal.slices(0).next().map(|s| &s[..begun]);
        let all = first
            .into_iter()
            .chain(self.urgent.slices(0))
            .chain(self.normal.slices(begun));
        let mut n = 0;
        for (slot, slice) in out.iter_mut().zip(all.filter(|s| !s.is_empty())) {
            *slot = IoSlice::new(slice);
            n += 1;
        }
        n
    }

    /// Says that the first `n` bytes of the slices are out.
    pub(crate) fn written(&mut self, n: usize) {
        let begun = self.normal.rest_of_begun().min(n);
        self.normal.written(begun, &mut self.spare, self.keep);
        let urgent = self.urgent.bytes.min(n - begun);
        self.urgent.written(urgent, &mut self.spare, self.keep);
        self.normal
            .written(n - begun - urgent, &mut self.spare, self.keep);
    }

    #[cfg(test)]
    fn memory(&self) -> usize {
        let lane = |l: &Lane| l.segments.iter().map(Vec::capacity).sum::<usize>() + l.packets.capacity() * 8;
        lane(&self.normal) + lane(&self.urgent) + self.spare.capacity()
    }
}

impl Lane {
    fn note(&mut self, len: usize) {
        if len > 0 {
            self.packets.push_back(len);
            self.bytes += len;
        }
    }

    /// Bytes that finish the packet of which some are out; it lies in the first segment.
    fn rest_of_begun(&self) -> usize {
        match self.packets.front() {
            Some(len) if self.begun > 0 => len - self.begun,
            _ => 0,
        }
    }

    /// Unsent bytes without the first `skip`, which lie in the first segment.
    fn slices(&self, skip: usize) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(self.sent + skip).chain(std::iter::repeat(0));
        self.segments
            .iter()
            .zip(starts)
            .map(|(segment, start)| &segment[start..])
    }

    fn written(&mut self, n: usize, spare: &mut Vec<u8>, keep: usize) {
        self.bytes -= n;
        self.begun += n;
        while let Some(&len) = self.packets.front()
            && self.begun >= len
        {
            self.begun -= len;
            self.packets.pop_front();
        }
        self.sent += n;
        while let Some(segment) = self.segments.front()
            && self.sent >= segment.len()
        {
            self.sent -= segment.len();
            let Some(mut done) = self.segments.pop_front() else {
                unreachable!("seen above")
            };
            if done.capacity() <= keep && done.capacity() > spare.capacity() {
                done.clear();
                *spare = done;
            }
        }
        if self.packets.is_empty() && self.packets.capacity() > LENGTHS_KEPT {
            self.packets.shrink_to(LENGTHS_KEPT);
            self.segments.shrink_to(SLICES);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Writes at most `n` bytes of the queue to `out`.
    fn write(queue: &mut OutputQueue, n: usize, out: &mut Vec<u8>) -> usize {
        let mut slices = [IoSlice::new(&[]); SLICES];
        let count = queue.slices(&mut slices);
        let all: Vec<u8> = slices[..count].iter().flat_map(|s| s.iter().copied()).collect();
        let n = n.min(all.len());
        out.extend_from_slice(&all[..n]);
        queue.written(n);
        n
    }

    fn push(queue: &mut OutputQueue, urgent: bool, packet: &[u8]) {
        queue.push_with(urgent, |buf| buf.extend_from_slice(packet));
    }

    #[test]
    fn urgent_packets_go_before_all_that_is_not_begun() {
        let mut queue = OutputQueue::new(16 * 1024);
        let mut out = Vec::new();
        for packet in [b"aaaa", b"bbbb"] {
            push(&mut queue, false, packet);
        }
        write(&mut queue, 2, &mut out);
        push(&mut queue, true, b"UUUU");
        push(&mut queue, false, b"cccc");
        push(&mut queue, true, b"VVVV");
        assert_eq!((queue.packets(), queue.bytes()), (5, 18));
        write(&mut queue, 4, &mut out); // into the first urgent one
        push(&mut queue, true, b"WWWW");
        while write(&mut queue, 3, &mut out) > 0 {}
        assert_eq!(out, b"aaaaUUUUVVVVWWWWbbbbcccc");
        assert_eq!((queue.packets(), queue.bytes()), (0, 0));
    }

    #[test]
    fn a_big_packet_is_moved_in_and_memory_is_given_back_after_a_burst() {
        let mut queue = OutputQueue::new(16 * 1024);
        let big = vec![7; 40 << 20];
        let at = big.as_ptr();
        queue.push_owned(false, big);
        let mut slices = [IoSlice::new(&[]); SLICES];
        assert_eq!(queue.slices(&mut slices), 1);
        assert_eq!(slices[0].as_ptr(), at);
        for i in 0..10_000 {
            push(&mut queue, i % 100 == 0, &[i as u8; 100]);
        }
        queue.push_owned(false, b"small".to_vec());
        let mut out = Vec::new();
        while write(&mut queue, usize::MAX, &mut out) > 0 {}
        assert_eq!(out.len(), (40 << 20) + 1_000_000 + 5);
        assert!(queue.memory() < 64 * 1024, "{} bytes are kept", queue.memory());
    }

    #[test]
    fn an_encoder_that_appends_nothing_sends_nothing() {
        let mut queue = OutputQueue::new(1024);
        queue.push_with(false, |_| ());
        assert_eq!((queue.packets(), queue.bytes()), (0, 0));
        assert_eq!(queue.slices(&mut [IoSlice::new(&[]); SLICES]), 0);
        push(&mut queue, false, b"x");
        queue.push_with(false, |_| ());
        assert_eq!(queue.packets(), 1);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        /// Each lane keeps its order, packets stay whole, nothing is lost, whatever pieces the socket takes.
        #[test]
        fn lanes_keep_their_order_and_packets_stay_whole(
            steps in prop::collection::vec((any::<bool>(), 1usize..40_000, 0usize..70_000, any::<bool>()), 1..60),
        ) {
            let mut queue = OutputQueue::new(16 * 1024);
            let mut out = Vec::new();
            for (i, (urgent, len, taken, owned)) in steps.iter().enumerate() {
                let mut packet = vec![i as u8; *len + 6];
                packet[..4].copy_from_slice(&(*len as u32 + 6).to_le_bytes());
                packet[4] = u8::from(*urgent);
                if *owned { queue.push_owned(*urgent, packet) } else { push(&mut queue, *urgent, &packet) }
                write(&mut queue, *taken, &mut out);
            }
            while write(&mut queue, usize::MAX, &mut out) > 0 {}
            prop_assert!(queue.is_empty() && queue.packets() == 0);
            let (mut last, mut seen, mut rest) = ([None, None], 0, &out[..]);
            while let Some(len) = rest.first_chunk::<4>().map(|b| u32::from_le_bytes(*b) as usize) {
                let (packet, after) = rest.split_at(len);
                let (lane, number) = (usize::from(packet[4]), packet[5]);
                prop_assert!(packet[5..].iter().all(|b| *b == number));
                prop_assert!(last[lane].is_none_or(|l| l < number));
                last[lane] = Some(number);
                seen += 1;
                rest = after;
            }
            prop_assert_eq!(seen, steps.len());
        }
    }
}
