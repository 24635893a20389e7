//! Cutting a byte stream into packets, in place.
//!
//! Each packet begins with its length (4 bytes, little-endian, header and padding included). The reader owns one buffer: the stream is read into its free end
//! ([`PacketReader::space`]), complete packets are looked at where they lie ([`PacketReader::next_packet`]).
//!
//! The buffer is small while traffic is, doubles while reads fill it, and grows beyond that only for a packet that does not fit, by doubling as its
//! bytes really arrive: a peer that announces 128 MiB and sends nothing costs nothing. It shrinks when the big packet is done.

use ctdb_protocol::Header;

/// Buffer of a quiet connection.
const BUFFER_MIN: usize = 8 * 1024;
/// Buffer of a busy one; only a packet that needs more gets more.
const BUFFER_BUSY: usize = 256 * 1024;
/// After so many small reads in a row the buffer of a busy connection is halved.
const QUIET_READS: u32 = 256;

/// Which rules of framing hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkKind {
    /// From a node, by TCP: a length below 32 or no multiple of 8 ends the link.
    Node,
    /// From a client, by unix socket: packets of 1 to 31 bytes are skipped, as upstream's daemon drops them.
    Client,
}

/// A stream that cannot be cut into packets any more. The connection has to be closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Length 0: nothing tells where the next packet begins.
    #[error("a packet with length 0")]
    Zero,
    /// From a node: shorter than a header.
    #[error("a packet with length {0}, a header alone has 32")]
    Short(u32),
    /// From a node: not padded.
    #[error("a packet with length {0}, which is no multiple of 8")]
    Unaligned(u32),
    /// Above the configured cap.
    #[error("a packet with length {length}, allowed are {cap}")]
    TooLong {
        /// As announced.
        length: u32,
        /// The cap.
        cap: usize,
    },
}

/// The receiving half of a connection, without the stream.
pub struct PacketReader {
    /// All of it is initialised; `begin..end` holds what was received and not yet taken.
    buf: Vec<u8>,
    begin: usize,
    end: usize,
    kind: LinkKind,
    cap: usize,
    quiet: u32,
    /// The last read filled the buffer to its end.
    was_filled: bool,
}

impl PacketReader {
    /// A reader that refuses packets longer than `cap` bytes.
    pub fn new(kind: LinkKind, cap: usize) -> PacketReader {
        PacketReader {
            buf: Vec::new(),
            begin: 0,
            end: 0,
            kind,
            cap,
            quiet: 0,
            was_filled: false,
        }
    }

    /// Where to read into; never empty. To be followed by [`PacketReader::filled`], and all packets to be taken before the next call.
    pub fn space(&mut self) -> &mut [u8] {
        if self.begin == self.end {
            (self.begin, self.end) = (0, 0);
            self.fit_to_traffic();
        } else if self.begin > 0 && self.buf.len() - self.end < self.buf.len() / 2 {
            self.buf.copy_within(self.begin..self.end, 0);
            self.end -= self.begin;
            self.begin = 0;
        }
        if self.end == self.buf.len() {
            self.grow();
        }
        &mut self.buf[self.end..]
    }

    /// Says that `n` bytes were read into the space.
    ///
    /// # Panics
    /// When that is more than there was.
    pub fn filled(&mut self, n: usize) {
        assert!(
            n <= self.buf.len() - self.end,
            "{n} bytes were read into less space"
        );
        self.end += n;
        self.was_filled = self.end == self.buf.len();
        self.quiet = if n < self.buf.len() / 4 {
            self.quiet.saturating_add(1)
        } else {
            0
        };
    }

    /// The next complete packet; `None` when more has to be read first.
    ///
    /// # Errors
    /// The announced length is against the rules; further calls give the same.
    pub fn next_packet(&mut self) -> Result<Option<&[u8]>, FrameError> {
        loop {
            let received = &self.buf[self.begin..self.end];
            let Some(length) = Header::peek_length(received) else {
                return Ok(None);
            };
            let framed = self.check(length)?;
            let len = (length as usize).max(4);
            if received.len() < len {
                return Ok(None);
            }
            let at = self.begin;
            self.begin += len;
            if framed {
                return Ok(Some(&self.buf[at..at + len]));
            }
        }
    }

    /// Bytes received and not yet taken as packets.
    pub fn pending(&self) -> usize {
        self.end - self.begin
    }

    /// Bytes of memory that the reader holds.
    pub fn memory(&self) -> usize {
        self.buf.capacity()
    }

    /// Whether a packet of this length is to be given on (or skipped).
    fn check(&self, length: u32) -> Result<bool, FrameError> {
        let header = Header::LEN as u32;
        match (self.kind, length) {
            (_, 0) => Err(FrameError::Zero),
            (_, _) if length as usize > self.cap => Err(FrameError::TooLong {
                length,
                cap: self.cap,
            }),
            (LinkKind::Client, _) => Ok(length >= header),
            (LinkKind::Node, _) if length < header => Err(FrameError::Short(length)),
            (LinkKind::Node, _) if !length.is_multiple_of(8) => Err(FrameError::Unaligned(length)),
            (LinkKind::Node, _) => Ok(true),
        }
    }

    /// Called when the buffer is empty.
    fn fit_to_traffic(&mut self) {
        let len = self.buf.len();
        let wanted = if len > BUFFER_BUSY {
            BUFFER_BUSY
        } else if self.was_filled && len > 0 {
            (len * 2).min(BUFFER_BUSY)
        } else if self.quiet >= QUIET_READS {
            self.quiet = 0;
            (len / 2).max(BUFFER_MIN)
        } else {
            return;
        };
        self.was_filled = false;
        self.buf.resize(wanted, 0);
        self.buf.shrink_to(wanted);
    }

    /// The buffer is full of an incomplete packet (or not there yet).
    fn grow(&mut self) {
        let needed = Header::peek_length(&self.buf[self.begin..self.end]).map_or(BUFFER_MIN, |l| l as usize);
        let doubled = (self.buf.len() * 2).max(BUFFER_MIN);
        // Beyond the traffic's buffer no more than the packet needs, so that nothing behind it has to be moved.
        let len = if doubled <= BUFFER_BUSY {
            doubled
        } else {
            needed.min(doubled).max(self.buf.len() + 1)
        };
        self.buf.reserve_exact(len - self.buf.len());
        self.buf.resize(len, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn packet(length: usize, fill: u8) -> Vec<u8> {
        let mut bytes = vec![fill; length];
        bytes[..4].copy_from_slice(&(length as u32).to_le_bytes());
        bytes
    }

    /// Feeds `bytes` in pieces of at most `piece` and returns the packets.
    fn cut(reader: &mut PacketReader, mut bytes: &[u8], piece: usize) -> Result<Vec<Vec<u8>>, FrameError> {
        let mut packets = Vec::new();
        while !bytes.is_empty() {
            let space = reader.space();
            let n = space.len().min(piece).min(bytes.len());
            space[..n].copy_from_slice(&bytes[..n]);
            bytes = &bytes[n..];
            reader.filled(n);
            while let Some(packet) = reader.next_packet()? {
                packets.push(packet.to_vec());
            }
        }
        Ok(packets)
    }

    const CAP: usize = 1 << 20;

    #[test]
    fn packets_come_out_whole_when_they_come_in_byte_by_byte() {
        let sent = [packet(32, 1), packet(40, 2), packet(20_000, 3)];
        let mut reader = PacketReader::new(LinkKind::Node, CAP);
        assert_eq!(cut(&mut reader, &sent.concat(), 1).unwrap(), sent);
        assert_eq!(reader.pending(), 0);
    }

    #[test]
    fn lengths_against_the_rules_end_a_node_link() {
        let error = |length: u32| {
            let mut reader = PacketReader::new(LinkKind::Node, CAP);
            cut(&mut reader, &length.to_le_bytes(), 4).unwrap_err()
        };
        assert_eq!(error(0), FrameError::Zero);
        assert_eq!(error(31), FrameError::Short(31));
        assert_eq!(error(36), FrameError::Unaligned(36));
        assert_eq!(
            error(u32::MAX),
            FrameError::TooLong {
                length: u32::MAX,
                cap: CAP
            }
        );
    }

    #[test]
    fn short_packets_of_a_client_are_skipped_and_the_next_is_read() {
        let good = packet(36, 9);
        for short in [1, 3, 4, 5, 31u32] {
            let mut bytes = short.to_le_bytes().to_vec();
            bytes.resize((short as usize).max(4), 0xee);
            bytes.extend_from_slice(&good);
            for piece in [1, 7, 100] {
                let mut reader = PacketReader::new(LinkKind::Client, CAP);
                assert_eq!(
                    cut(&mut reader, &bytes, piece).unwrap(),
                    std::slice::from_ref(&good),
                    "length {short}"
                );
            }
        }
        let mut reader = PacketReader::new(LinkKind::Client, CAP);
        assert_eq!(cut(&mut reader, &[0; 4], 4), Err(FrameError::Zero));
    }

    #[test]
    fn an_announcement_costs_no_memory_and_a_big_packet_gives_its_memory_back() {
        let mut reader = PacketReader::new(LinkKind::Node, 128 << 20);
        let big = packet(40 << 20, 5);
        cut(&mut reader, &big[..1000], 1000).unwrap();
        assert!(reader.memory() <= BUFFER_MIN);
        let packets = cut(&mut reader, &big[1000..], 100_000).unwrap();
        assert_eq!(packets.len(), 1);
        assert!(packets[0] == big);
        assert!(
            reader.memory() <= 40 << 20,
            "{} bytes for a packet of 40 MiB",
            reader.memory()
        );
        cut(&mut reader, &packet(32, 1), 32).unwrap();
        assert!(reader.memory() <= BUFFER_BUSY);
        for _ in 0..20 * QUIET_READS {
            cut(&mut reader, &packet(32, 1), 32).unwrap();
        }
        assert_eq!(reader.memory(), BUFFER_MIN);
    }

    #[test]
    fn the_buffer_grows_with_busy_traffic() {
        let mut reader = PacketReader::new(LinkKind::Client, CAP);
        let many: Vec<u8> = (0..20_000).flat_map(|_| packet(64, 1)).collect();
        assert_eq!(cut(&mut reader, &many, usize::MAX).unwrap().len(), 20_000);
        assert_eq!(reader.memory(), BUFFER_BUSY);
    }

    proptest! {
        #[test]
        fn any_packets_in_any_pieces_come_out_as_they_went_in(
            lens in prop::collection::vec(4usize..3000, 1..40),
            piece in 1usize..20_000,
        ) {
            let sent: Vec<_> = lens.iter().enumerate().map(|(i, n)| packet(n * 8, i as u8)).collect();
            let mut reader = PacketReader::new(LinkKind::Node, CAP);
            prop_assert_eq!(cut(&mut reader, &sent.concat(), piece), Ok(sent));
        }

        #[test]
        fn any_bytes_are_cut_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..500), piece in 1usize..50) {
            for kind in [LinkKind::Node, LinkKind::Client] {
                let mut reader = PacketReader::new(kind, 4096);
                let _ = cut(&mut reader, &bytes, piece);
                prop_assert!(reader.memory() <= BUFFER_MIN);
            }
        }
    }
}
