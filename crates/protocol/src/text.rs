//! Text as C has it: bytes up to a NUL, most often but not surely UTF-8.

use std::borrow::Cow;
use std::fmt;

use crate::reader::{Reader, Wire, WireError};

/// A string without its NUL. On the wire the NUL follows.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Text<'a>(pub &'a [u8]);

impl<'a> Text<'a> {
    /// The bytes before the first NUL, or all of them.
    pub fn until_nul(bytes: &'a [u8]) -> Self {
        Text(bytes.split(|&b| b == 0).next().unwrap_or_default())
    }

    /// The text; what is not UTF-8 becomes U+FFFD.
    pub fn to_str_lossy(self) -> Cow<'a, str> {
        String::from_utf8_lossy(self.0)
    }

    /// The text, if it is UTF-8.
    pub fn to_str(self) -> Option<&'a str> {
        std::str::from_utf8(self.0).ok()
    }
}

impl<'a> From<&'a str> for Text<'a> {
    /// `text` must have no NUL inside; what follows one would be lost on the wire.
    fn from(text: &'a str) -> Self {
        Text(text.as_bytes())
    }
}

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.to_str_lossy())
    }
}

impl fmt::Debug for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0.escape_ascii())
    }
}

impl<'a> Wire<'a> for Text<'a> {
    fn decode(r: &mut Reader<'a>) -> Result<Self, WireError> {
        r.string("text")
    }

    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.0);
        out.push(0);
    }
}

/// Bytes that fill the rest of a payload: no length, no NUL.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Rest<'a>(pub &'a [u8]);

impl fmt::Debug for Rest<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0.escape_ascii())
    }
}

impl<'a> Wire<'a> for Rest<'a> {
    fn decode(r: &mut Reader<'a>) -> Result<Self, WireError> {
        Ok(Rest(r.rest()))
    }

    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.0);
    }
}

/// A string, or no bytes at all where there is none (GET_RECLOCK_FILE, DB_GET_HEALTH).
impl<'a> Wire<'a> for Option<Text<'a>> {
    fn decode(r: &mut Reader<'a>) -> Result<Self, WireError> {
        if r.left() == 0 {
            Ok(None)
        } else {
            r.string("text").map(Some)
        }
    }

    fn encode(&self, out: &mut Vec<u8>) {
        if let Some(text) = self {
            text.encode(out);
        }
    }
}
