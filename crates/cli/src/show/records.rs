//! Records.

use std::fmt::Write as _;

use ctdb_protocol::LtdbHeader;

/// `name(length) = "bytes"`: what is not printable, quotes and backslashes as `\XX`.
pub fn bytes(name: &str, value: &[u8]) -> String {
    let mut text = format!("{name}({}) = \"", value.len());
    for &byte in value {
        if (byte == b' ' || byte.is_ascii_graphic()) && byte != b'"' && byte != b'\\' {
            text.push(byte.into());
        } else {
            let _ = write!(text, "\\{byte:02X}");
        }
    }
    text += "\"\n";
    text
}

/// The lines of a header.
pub fn header(header: &LtdbHeader) -> String {
    let mut text = format!(
        "dmaster: {}\nrsn: {}\nflags: 0x{:08x}",
        header.dmaster.0,
        header.rsn.0,
        header.flags.bits()
    );
    for name in header.flags.names() {
        text.push(' ');
        text += name;
    }
    text.push('\n');
    text
}

/// A whole record and a blank line.
pub fn record(key: &[u8], of: &LtdbHeader, value: &[u8]) -> String {
    bytes("key", key) + &header(of) + &bytes("data", value) + "\n"
}

/// The bytes that C's printf shows of a value: those before the first NUL.
pub fn until_nul(value: &[u8]) -> &[u8] {
    value.split(|&byte| byte == 0).next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use ctdb_protocol::{Pnn, RecFlags, Rsn};

    use super::*;

    #[test]
    fn a_record_is_five_lines_and_a_blank_one() {
        let of = LtdbHeader {
            rsn: Rsn(5),
            dmaster: Pnn(1),
            flags: RecFlags::MIGRATED_WITH_DATA | RecFlags::RO_HAVE_READONLY,
        };
        assert_eq!(
            record(b"k\0", &of, b"a \"\\\xff~"),
            "key(2) = \"k\\00\"\ndmaster: 1\nrsn: 5\nflags: 0x02010000 MIGRATED_WITH_DATA RO_HAVE_READONLY\n\
             data(6) = \"a \\22\\5C\\FF~\"\n\n"
        );
    }

    #[test]
    fn a_value_is_shown_up_to_its_first_nul() {
        assert_eq!(until_nul(b"ab\0c"), b"ab");
        assert_eq!(until_nul(b"\0"), b"");
        assert_eq!(until_nul(b""), b"");
    }
}
