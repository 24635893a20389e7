//! Numbers as the C library reads them: with base prefix 0x or 0, and perhaps with text behind.

/// The number at the beginning of `text` and the text after it; `None` if there are no digits.
/// Prefix `0x` means hexadecimal, a leading `0` octal. Values that do not fit are given as the greatest.
/// Source: strtol(3) with base 0.
pub(crate) fn leading_number(text: &str) -> Option<(i64, &str)> {
    let text = text.trim_start();
    let (negative, digits) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    let (radix, digits) = match digits.as_bytes() {
        [b'0', b'x' | b'X', d, ..] if d.is_ascii_hexdigit() => (16, &digits[2..]),
        [b'0', ..] => (8, digits),
        _ => (10, digits),
    };
    let len = digits.find(|c: char| !c.is_digit(radix)).unwrap_or(digits.len());
    if len == 0 {
        return None;
    }
    let size = i64::from_str_radix(&digits[..len], radix).unwrap_or(i64::MAX);
    Some((if negative { -size } else { size }, &digits[len..]))
}

/// A whole text that is one number from 0 to `u32::MAX`, with the prefixes above.
pub(crate) fn whole_u32(text: &str) -> Option<u32> {
    match leading_number(text)? {
        (number, "") if !text.contains('-') => u32::try_from(number).ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_say_the_base() {
        assert_eq!(leading_number("0x10"), Some((16, "")));
        assert_eq!(leading_number("010"), Some((8, "")));
        assert_eq!(leading_number("0"), Some((0, "")));
        assert_eq!(leading_number("08"), Some((0, "8")));
        assert_eq!(leading_number("0xg"), Some((0, "xg")));
        assert_eq!(leading_number(" -7 s"), Some((-7, " s")));
        assert_eq!(leading_number("x"), None);
        assert_eq!(leading_number(""), None);
        assert_eq!(leading_number("99999999999999999999"), Some((i64::MAX, "")));
    }

    #[test]
    fn a_whole_number_has_nothing_behind_and_no_sign() {
        assert_eq!(whole_u32("4294967295"), Some(u32::MAX));
        assert_eq!(whole_u32("4294967296"), None);
        assert_eq!(whole_u32("5x"), None);
        assert_eq!(whole_u32("-1"), None);
        assert_eq!(whole_u32("-0"), None);
    }
}
