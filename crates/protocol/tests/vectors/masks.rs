//! Bytes without meaning: what C leaves uninitialised, so that it can't be encoded again. By name, in one place.

use ctdb_protocol::{Opcode, SockAddr, Wire};

use super::Line;

/// Where garbage was found: field, its bytes in the data, who wrote it.
struct Mask {
    opcode: Opcode,
    request: bool,
    field: &'static str,
    bytes: fn(&[u8]) -> Vec<std::ops::Range<usize>>,
}

const MASKS: &[Mask] = &[
    Mask {
        opcode: Opcode::TCP_CLIENT,
        request: true,
        field: "tail of IPv4 addresses (smbd)",
        bytes: |data| [tail_of_ipv4(data, 0), tail_of_ipv4(data, 28)].concat(),
    },
    Mask {
        opcode: Opcode::TRAVERSE_ALL_EXT,
        request: true,
        field: "padding after withemptyrecords (ctdbd)",
        bytes: |_| std::iter::once(25..32).collect(),
    },
    Mask {
        opcode: Opcode::GET_DB_STATISTICS,
        request: false,
        field: "pointers to hot keys (ctdbd)",
        bytes: |_| {
            (0..10)
                .map(|place| 224 + 24 * place + 8..224 + 24 * place + 16)
                .collect()
        },
    },
];

fn tail_of_ipv4(data: &[u8], at: usize) -> Vec<std::ops::Range<usize>> {
    let addr = SockAddr::decode_all(&data[at..at + 28], "address");
    let is_ipv4 = matches!(addr, Ok(SockAddr::V4(_)));
    is_ipv4.then_some(at + 16..at + 28).into_iter().collect()
}

/// Sets what has no meaning in the payload of this line to 0. Returns the fields that were not 0.
pub fn clear(line: &Line, data: &mut [u8]) -> Vec<&'static str> {
    let mut cleared = Vec::new();
    let of_this_line = |mask: &&Mask| {
        let operation = if mask.request {
            "REQ_CONTROL"
        } else {
            "REPLY_CONTROL"
        };
        line.operation == operation && line.opcode == Some(mask.opcode.0)
    };
    for mask in MASKS.iter().filter(of_this_line) {
        for range in (mask.bytes)(data) {
            if data[range.clone()].iter().any(|&byte| byte != 0) {
                cleared.push(mask.field);
            }
            data[range].fill(0);
        }
    }
    cleared
}

/// All fields that are masked.
pub fn fields() -> Vec<&'static str> {
    MASKS.iter().map(|mask| mask.field).collect()
}

/// A note without what the recorder said about bytes that have no meaning.
pub fn without_remarks(note: &str) -> String {
    let end = note
        .find(" [directory names inside replaced")
        .unwrap_or(note.len());
    let end = note.find(" pad(not zero)=").unwrap_or(end);
    note[..end]
        .replace(" src tail not zero", "")
        .replace(" dst tail not zero", "")
}
