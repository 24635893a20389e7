//! Keys and values as they are typed: bytes, or `0x` and hexadecimal digits.

use libc::EINVAL;

use crate::failure::{Failure, OrSay};

/// The bytes that a word stands for. `what` is "key" or "value", for the error.
pub(crate) fn bytes(word: &[u8], what: &str) -> Result<Vec<u8>, Failure> {
    parse(word).or_say(|| format!("Failed to parse {what} {}", String::from_utf8_lossy(word)))
}

/// As [`bytes`], with only the reason in the error.
pub(crate) fn parse(word: &[u8]) -> Result<Vec<u8>, Failure> {
    match word.strip_prefix(b"0x") {
        None => Ok(word.to_vec()),
        Some(digits) => unhex(digits),
    }
}

fn unhex(digits: &[u8]) -> Result<Vec<u8>, Failure> {
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    if !digits.len().is_multiple_of(2) {
        // Upstream says "Key" for values as well.
        let line = format!("Key ({}) contains odd number of hex digits", text(digits));
        return Err(Failure::coded(EINVAL, line));
    }
    let digit = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
    let pair = |place: usize| Some(digit(digits[place])? << 4 | digit(digits[place + 1])?);
    let byte = |place| {
        let invalid = || Failure::coded(EINVAL, format!("Invalid hex: {}", text(&digits[place..])));
        pair(place).ok_or_else(invalid)
    };
    (0..digits.len()).step_by(2).map(byte).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn words_are_bytes_unless_they_begin_like_hexadecimal() {
        assert_eq!(parse(b"k\xff"), Ok(b"k\xff".to_vec()));
        assert_eq!(parse(b"0xfF00"), Ok(vec![0xff, 0]));
        assert_eq!(parse(b"0x"), Ok(vec![]));
        assert_eq!(parse(b"0Xff"), Ok(b"0Xff".to_vec()));
    }

    #[test]
    fn bad_digits_are_shown_from_the_first_bad_pair_on() {
        let failure = bytes(b"0x12zz34", "key").unwrap_err();
        assert_eq!(failure.code, EINVAL);
        assert_eq!(
            failure.lines,
            ["Invalid hex: zz34", "Failed to parse key 0x12zz34"]
        );
        let failure = bytes(b"0x123", "value").unwrap_err();
        assert_eq!(
            failure.lines,
            [
                "Key (123) contains odd number of hex digits",
                "Failed to parse value 0x123"
            ]
        );
    }

    proptest! {
        #[test]
        fn hexadecimal_comes_back_as_bytes(value: Vec<u8>) {
            let word: String = value.iter().map(|byte| format!("{byte:02x}")).collect();
            prop_assert_eq!(parse(format!("0x{word}").as_bytes()), Ok(value));
        }
    }
}
