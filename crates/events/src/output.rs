//! A bounded piece of what a program printed: the beginning, which says what it did, and the end, which says why it stopped.

use std::collections::VecDeque;

/// Bytes kept of the beginning.
pub const HEAD_LEN_MAX: usize = 32 * 1024;
/// Bytes kept of the end.
pub const TAIL_LEN_MAX: usize = 32 * 1024;

/// Collects output.
#[derive(Debug, Default)]
pub struct Output {
    head: Vec<u8>,
    tail: VecDeque<u8>,
    left_out: u64,
}

impl Output {
    /// Further bytes. NULs become `?`: the text travels as a C string.
    pub fn push(&mut self, bytes: &[u8]) {
        let clean = |&b: &u8| if b == 0 { b'?' } else { b };
        let (to_head, to_tail) = bytes.split_at(bytes.len().min(HEAD_LEN_MAX - self.head.len()));
        self.head.extend(to_head.iter().map(clean));
        self.tail.extend(to_tail.iter().map(clean));
        let over = self.tail.len().saturating_sub(TAIL_LEN_MAX);
        self.tail.drain(..over);
        self.left_out += over as u64;
    }

    /// All that was kept, with a line where something was left out; `None` when nothing was printed.
    pub fn finish(self) -> Option<Vec<u8>> {
        let mut text = self.head;
        if self.left_out > 0 {
            let note = format!("\n[... {} bytes of output left out here ...]\n", self.left_out);
            text.extend_from_slice(note.as_bytes());
        }
        text.extend(self.tail);
        (!text.is_empty()).then_some(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn collect(pieces: &[&[u8]]) -> Option<Vec<u8>> {
        let mut output = Output::default();
        pieces.iter().for_each(|piece| output.push(piece));
        output.finish()
    }

    #[test]
    fn short_output_is_kept_as_it_is() {
        assert_eq!(collect(&[]), None);
        assert_eq!(collect(&[b"a\n", b"b\0\n"]), Some(b"a\nb?\n".to_vec()));
    }

    #[test]
    fn the_middle_of_long_output_is_left_out_and_counted() {
        let line = [b'x'; 1000];
        let mut output = Output::default();
        output.push(b"begin");
        (0..10_000).for_each(|_| output.push(&line));
        output.push(b"end");
        let text = String::from_utf8(output.finish().unwrap()).unwrap();
        assert!(text.starts_with("begin") && text.ends_with("end"));
        let left_out = 10_000_008 - HEAD_LEN_MAX - TAIL_LEN_MAX;
        assert!(text.contains(&format!("[... {left_out} bytes of output left out here ...]")));
        assert!(text.len() < HEAD_LEN_MAX + TAIL_LEN_MAX + 100);
    }

    proptest! {
        #[test]
        fn pieces_do_not_matter(bytes in proptest::collection::vec(1u8.., 0..400), cut in 0usize..400) {
            let (a, b) = bytes.split_at(cut.min(bytes.len()));
            prop_assert_eq!(collect(&[a, b]), collect(&[&bytes]));
        }
    }
}
