//! Numbers as C's library reads them: what follows the digits does not count, `0x` and `0` mean hexadecimal and octal.

/// `EINVAL`
const EINVAL: i32 = libc::EINVAL;
/// `ERANGE`
const ERANGE: i32 = libc::ERANGE;

/// What begins like a number: sign, digits' value, text behind. `None` without digits.
fn lead(text: &str, base: u32) -> Option<(bool, Result<u64, i32>, &str)> {
    let text = text.trim_start_matches([' ', '\t', '\n', '\u{b}', '\u{c}', '\r']);
    let (negative, text) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let hex = || {
        let rest = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X"))?;
        rest.starts_with(|c: char| c.is_ascii_hexdigit()).then_some(rest)
    };
    let (base, digits) = match base {
        0 => match hex() {
            Some(rest) => (16, rest),
            None if text.starts_with('0') => (8, text),
            None => (10, text),
        },
        other => (other, text),
    };
    let end = digits.find(|c: char| !c.is_digit(base)).unwrap_or(digits.len());
    if end == 0 {
        return None;
    }
    let value = u64::from_str_radix(&digits[..end], base).map_err(|_| ERANGE);
    Some((negative, value, &digits[end..]))
}

/// An unsigned number of 64 bits, base 0 (by its prefix) or another.
///
/// # Errors
/// `EINVAL` without digits or with a minus, `ERANGE` when it is too large.
pub fn strtoull(text: &str, base: u32) -> Result<u64, i32> {
    match lead(text, base) {
        None | Some((true, Ok(_), _)) => Err(EINVAL),
        Some((_, value, _)) => value,
    }
}

/// As [`strtoull`], cut to 32 bits as upstream does.
///
/// # Errors
/// As there.
pub fn strtoul(text: &str, base: u32) -> Result<u32, i32> {
    strtoull(text, base).map(|value| value as u32)
}

/// A signed number in decimal digits; 0 for anything else.
pub fn atoi(text: &str) -> i32 {
    match lead(text, 10) {
        Some((negative, value, _)) => {
            let value = i64::try_from(value.unwrap_or(u64::MAX)).unwrap_or(i64::MAX);
            (if negative { -value } else { value }) as i32
        }
        None => 0,
    }
}

/// Why an option's value is no number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadInt {
    /// Something else follows or stands there.
    NotNumeric,
    /// Beyond 32 bits.
    OutOfRange,
}

/// An option's value: all of the text, base by prefix; nothing is 0.
///
/// # Errors
/// See [`BadInt`].
pub fn option_int(text: &str) -> Result<i32, BadInt> {
    match lead(text, 0) {
        None if text.is_empty() => Ok(0),
        None => Err(BadInt::NotNumeric),
        Some((_, _, rest)) if !rest.is_empty() => Err(BadInt::NotNumeric),
        Some((negative, value, _)) => {
            let value = value.ok().and_then(|value| i64::try_from(value).ok());
            let value = value.map(|value| if negative { -value } else { value });
            value
                .and_then(|value| i32::try_from(value).ok())
                .ok_or(BadInt::OutOfRange)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_follows_the_digits_does_not_count() {
        assert_eq!(strtoul("12abc", 0), Ok(12));
        assert_eq!(strtoul("0xzz", 0), Ok(0));
        assert_eq!(strtoul("0x10g", 0), Ok(16));
        assert_eq!(strtoul("010", 0), Ok(8));
        assert_eq!(strtoul("010", 10), Ok(10));
        assert_eq!(strtoul(" 7", 0), Ok(7));
        assert_eq!(atoi("-12x"), -12);
        assert_eq!(atoi("x"), 0);
    }

    #[test]
    fn what_is_no_number_is_an_error_number() {
        assert_eq!(strtoul("abc", 0), Err(EINVAL));
        assert_eq!(strtoul("", 0), Err(EINVAL));
        assert_eq!(strtoul("-1", 0), Err(EINVAL));
        assert_eq!(strtoull("99999999999999999999", 0), Err(ERANGE));
        assert_eq!(strtoul("0x100000001", 0), Ok(1));
    }

    #[test]
    fn the_value_of_an_option_is_all_number() {
        assert_eq!(option_int("0x1"), Ok(1));
        assert_eq!(option_int("-1"), Ok(-1));
        assert_eq!(option_int(""), Ok(0));
        assert_eq!(option_int("3x"), Err(BadInt::NotNumeric));
        assert_eq!(option_int("abc"), Err(BadInt::NotNumeric));
        assert_eq!(option_int("99999999999"), Err(BadInt::OutOfRange));
        assert_eq!(option_int("99999999999999999999999"), Err(BadInt::OutOfRange));
    }
}
