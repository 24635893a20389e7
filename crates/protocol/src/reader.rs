//! Reading and writing bytes: the cursor that every decoder walks with, its error, and the two traits that
//! everything on the wire has. Host order of every supported host is little-endian.

use byteorder::{ByteOrder, LE};

use crate::Text;

/// Bytes that are not what the protocol says. Each names the field; nothing was allocated for what it claimed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// The bytes end inside this field. Upstream: EMSGSIZE.
    #[error("{field}: needs {need} bytes, {have} are left")]
    Short {
        /// What was being read.
        field: &'static str,
        /// Bytes that it needs.
        need: usize,
        /// Bytes that there are.
        have: usize,
    },
    /// Bytes follow where this control or structure must end. Upstream: EMSGSIZE.
    #[error("{field}: {extra} bytes too many")]
    TooLong {
        /// What should have ended.
        field: &'static str,
        /// Bytes behind its end.
        extra: usize,
    },
    /// Not a packet of this protocol. Upstream: EPROTO.
    #[error("magic is 0x{0:08x}, not 0x43544442 (CTDB)")]
    BadMagic(u32),
    /// A version of the protocol that nobody speaks. Upstream: EPROTO.
    #[error("protocol version is {0}, not 1")]
    BadVersion(u32),
    /// A number without meaning here. Upstream: EINVAL.
    #[error("{field}: {value} is not allowed")]
    BadValue {
        /// Which number.
        field: &'static str,
        /// What it was.
        value: u64,
    },
    /// A string without its final NUL. Upstream: EINVAL.
    #[error("{field}: has no final NUL")]
    NoNul {
        /// Which string.
        field: &'static str,
    },
}

/// A structure of the wire: what its bytes are is in its own documentation.
pub trait Wire<'a>: Sized {
    /// Reads one value and leaves the cursor behind it.
    ///
    /// # Errors
    /// A [`WireError`] that names the field which is missing or wrong.
    fn decode(r: &mut Reader<'a>) -> Result<Self, WireError>;

    /// Appends the bytes that the C implementation would write; padding is 0.
    fn encode(&self, out: &mut Vec<u8>);

    /// Decodes `bytes` and refuses what follows the value.
    ///
    /// # Errors
    /// As [`Wire::decode`]; `TooLong` when bytes are left.
    fn decode_all(bytes: &'a [u8], name: &'static str) -> Result<Self, WireError> {
        let mut r = Reader::new(bytes);
        let value = Self::decode(&mut r)?;
        r.finish(name)?;
        Ok(value)
    }
}

/// A value of fixed size that is a field of structures; the structure gives it its name.
pub(crate) trait Field: Sized {
    /// Bytes on the wire.
    const LEN: usize;
    fn get(r: &mut Reader<'_>, field: &'static str) -> Result<Self, WireError>;
    fn put(&self, out: &mut Vec<u8>);
}

/// A cursor over bytes that were received.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Starts at the first of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Reader { bytes }
    }

    /// Bytes not read yet.
    pub fn left(&self) -> usize {
        self.bytes.len()
    }

    /// The next `len` bytes.
    ///
    /// # Errors
    /// `Short` when fewer are left.
    pub fn bytes(&mut self, field: &'static str, len: usize) -> Result<&'a [u8], WireError> {
        let Some((head, tail)) = self.bytes.split_at_checked(len) else {
            return Err(WireError::Short {
                field,
                need: len,
                have: self.left(),
            });
        };
        self.bytes = tail;
        Ok(head)
    }

    /// Everything that is left.
    pub fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.bytes)
    }

    /// Says that nothing may be left.
    ///
    /// # Errors
    /// `TooLong` when something is.
    pub fn finish(&self, field: &'static str) -> Result<(), WireError> {
        match self.left() {
            0 => Ok(()),
            extra => Err(WireError::TooLong { field, extra }),
        }
    }

    /// # Errors
    /// `Short` when no byte is left.
    pub fn u8(&mut self, field: &'static str) -> Result<u8, WireError> {
        self.bytes(field, 1).map(|b| b[0])
    }

    /// # Errors
    /// `Short` when fewer than 2 bytes are left.
    pub fn u16(&mut self, field: &'static str) -> Result<u16, WireError> {
        self.bytes(field, 2).map(LE::read_u16)
    }

    /// # Errors
    /// `Short` when fewer than 4 bytes are left.
    pub fn u32(&mut self, field: &'static str) -> Result<u32, WireError> {
        self.bytes(field, 4).map(LE::read_u32)
    }

    /// # Errors
    /// `Short` when fewer than 8 bytes are left.
    pub fn u64(&mut self, field: &'static str) -> Result<u64, WireError> {
        self.bytes(field, 8).map(LE::read_u64)
    }

    /// # Errors
    /// `Short` when fewer than 4 bytes are left.
    pub fn i32(&mut self, field: &'static str) -> Result<i32, WireError> {
        self.bytes(field, 4).map(LE::read_i32)
    }

    /// # Errors
    /// `Short` when fewer than 8 bytes are left.
    pub fn i64(&mut self, field: &'static str) -> Result<i64, WireError> {
        self.bytes(field, 8).map(LE::read_i64)
    }

    /// # Errors
    /// `Short` when fewer than 8 bytes are left.
    pub fn f64(&mut self, field: &'static str) -> Result<f64, WireError> {
        self.bytes(field, 8).map(LE::read_f64)
    }

    /// One byte, 0 or 1.
    ///
    /// # Errors
    /// `Short`; `BadValue` for any other byte.
    pub fn bool(&mut self, field: &'static str) -> Result<bool, WireError> {
        match self.u8(field)? {
            0 => Ok(false),
            1 => Ok(true),
            other => Err(WireError::BadValue {
                field,
                value: other.into(),
            }),
        }
    }

    /// An item count (u32); refuses one that the bytes left can't hold, before anything is allocated for it.
    ///
    /// # Errors
    /// `Short` with the bytes that so many items need.
    pub fn count(&mut self, field: &'static str, item_len_min: usize) -> Result<usize, WireError> {
        let n = self.u32(field)? as usize;
        let need = n.saturating_mul(item_len_min);
        if need > self.left() {
            return Err(WireError::Short {
                field,
                need,
                have: self.left(),
            });
        }
        Ok(n)
    }

    /// A u32 count and so many items of at least `item_len_min` bytes each.
    ///
    /// # Errors
    /// As [`Reader::count`], and those of the items.
    pub fn list<T: Wire<'a>>(
        &mut self,
        field: &'static str,
        item_len_min: usize,
    ) -> Result<Vec<T>, WireError> {
        let count = self.count(field, item_len_min)?;
        (0..count).map(|_| T::decode(self)).collect()
    }

    /// A string that ends at its NUL. What follows the NUL stays unread.
    ///
    /// # Errors
    /// `NoNul` when there is none in the bytes left.
    pub fn string(&mut self, field: &'static str) -> Result<Text<'a>, WireError> {
        let Some(nul) = self.bytes.iter().position(|&b| b == 0) else {
            return Err(WireError::NoNul { field });
        };
        let text = Text(&self.bytes[..nul]);
        self.bytes = &self.bytes[nul + 1..];
        Ok(text)
    }

    /// A u32 length with the NUL counted, and a string; length 0 is "no string". The text ends at the first
    /// NUL or with the length.
    ///
    /// # Errors
    /// `Short` when the length goes beyond the bytes left.
    pub fn stringn(&mut self, field: &'static str) -> Result<Option<Text<'a>>, WireError> {
        let bytes = self.datan(field)?;
        Ok((!bytes.is_empty()).then(|| Text::until_nul(bytes)))
    }

    /// A u32 length and so many bytes.
    ///
    /// # Errors
    /// `Short` when the length goes beyond the bytes left.
    pub fn datan(&mut self, field: &'static str) -> Result<&'a [u8], WireError> {
        let len = self.count(field, 1)?;
        self.bytes(field, len)
    }
}

/// A length as the wire has it.
pub(crate) fn len_u32(len: usize) -> u32 {
    u32::try_from(len).expect("a payload of 4 GiB can't be in memory here: packets are capped far below")
}

pub(crate) fn put_u32(out: &mut Vec<u8>, value: u32) {
    out.extend_from_slice(&value.to_le_bytes());
}

pub(crate) fn put_u64(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(&value.to_le_bytes());
}

pub(crate) fn put_pad(out: &mut Vec<u8>, len: usize) {
    out.resize(out.len() + len, 0);
}

/// Length and bytes; the counterpart of [`Reader::datan`].
pub(crate) fn put_datan(out: &mut Vec<u8>, bytes: &[u8]) {
    put_u32(out, len_u32(bytes.len()));
    out.extend_from_slice(bytes);
}

/// Length with NUL, text, NUL; the counterpart of [`Reader::stringn`].
pub(crate) fn put_stringn(out: &mut Vec<u8>, text: Option<Text<'_>>) {
    match text {
        None => put_u32(out, 0),
        Some(text) => {
            put_u32(out, len_u32(text.0.len() + 1));
            text.encode(out);
        }
    }
}

/// Count and items; the counterpart of [`Reader::list`].
pub(crate) fn put_list<'a, T: Wire<'a>>(out: &mut Vec<u8>, items: &[T]) {
    put_u32(out, len_u32(items.len()));
    for item in items {
        item.encode(out);
    }
}

/// Gives a number its [`Field`] and, read by itself, its [`Wire`].
macro_rules! number {
    ($($t:ty, $get:ident;)*) => {$(
        impl Field for $t {
            const LEN: usize = size_of::<$t>();
            fn get(r: &mut Reader<'_>, field: &'static str) -> Result<Self, WireError> {
                r.$get(field)
            }
            fn put(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.to_le_bytes());
            }
        }
        impl Wire<'_> for $t {
            fn decode(r: &mut Reader<'_>) -> Result<Self, WireError> {
                r.$get("value")
            }
            fn encode(&self, out: &mut Vec<u8>) {
                self.put(out);
            }
        }
    )*};
}
number! { u16, u16; u32, u32; u64, u64; i32, i32; i64, i64; f64, f64; }

/// The same for a number with a name of its own.
macro_rules! newtype_field {
    ($($t:ident($inner:ty), $name:literal;)*) => {$(
        impl $crate::reader::Field for $t {
            const LEN: usize = size_of::<$inner>();
            fn get(
                r: &mut $crate::reader::Reader<'_>,
                field: &'static str,
            ) -> Result<Self, $crate::reader::WireError> {
                <$inner as $crate::reader::Field>::get(r, field).map($t)
            }
            fn put(&self, out: &mut Vec<u8>) {
                $crate::reader::Field::put(&self.0, out);
            }
        }
        impl $crate::reader::Wire<'_> for $t {
            fn decode(r: &mut $crate::reader::Reader<'_>) -> Result<Self, $crate::reader::WireError> {
                <$t as $crate::reader::Field>::get(r, $name)
            }
            fn encode(&self, out: &mut Vec<u8>) {
                $crate::reader::Field::put(self, out);
            }
        }
    )*};
}
pub(crate) use newtype_field;

/// The same for a set of flags; unknown bits are kept.
macro_rules! flags_field {
    ($($t:ident($inner:ty), $name:literal;)*) => {$(
        impl $crate::reader::Field for $t {
            const LEN: usize = size_of::<$inner>();
            fn get(
                r: &mut $crate::reader::Reader<'_>,
                field: &'static str,
            ) -> Result<Self, $crate::reader::WireError> {
                <$inner as $crate::reader::Field>::get(r, field).map($t::from_bits_retain)
            }
            fn put(&self, out: &mut Vec<u8>) {
                $crate::reader::Field::put(&self.bits(), out);
            }
        }
        impl $crate::reader::Wire<'_> for $t {
            fn decode(r: &mut $crate::reader::Reader<'_>) -> Result<Self, $crate::reader::WireError> {
                <$t as $crate::reader::Field>::get(r, $name)
            }
            fn encode(&self, out: &mut Vec<u8>) {
                $crate::reader::Field::put(self, out);
            }
        }
    )*};
}
pub(crate) use flags_field;

/// A structure of fixed layout: its fields in order with their padding, as the tables of the protocol show it.
/// `name: Type;` is a field, `name: Type, pad N;` one that N bytes without meaning follow (written as 0, not
/// looked at when read). The number behind the name is the length, checked when this is compiled.
macro_rules! layout {
    ($(#[$meta:meta])* pub struct $name:ident [$len:literal] {
        $($(#[$fmeta:meta])* $field:ident : $ty:ty $(, pad $pad:literal)? ;)*
    }) => {
        $(#[$meta])*
        pub struct $name {
            $($(#[$fmeta])* pub $field: $ty,)*
        }

        impl $name {
            /// Bytes on the wire.
            pub const LEN: usize = $len;
        }

        const _: () = assert!($len == 0 $(+ <$ty as $crate::reader::Field>::LEN $(+ $pad)?)*);

        impl $crate::reader::Field for $name {
            const LEN: usize = $len;
            fn get(
                r: &mut $crate::reader::Reader<'_>,
                _field: &'static str,
            ) -> Result<Self, $crate::reader::WireError> {
                $(
                    let $field = <$ty as $crate::reader::Field>::get(r, stringify!($field))?;
                    $(r.bytes(concat!("padding after ", stringify!($field)), $pad)?;)?
                )*
                Ok($name { $($field),* })
            }
            fn put(&self, out: &mut Vec<u8>) {
                $(
                    $crate::reader::Field::put(&self.$field, out);
                    $($crate::reader::put_pad(out, $pad);)?
                )*
            }
        }

        impl $crate::reader::Wire<'_> for $name {
            fn decode(r: &mut $crate::reader::Reader<'_>) -> Result<Self, $crate::reader::WireError> {
                <$name as $crate::reader::Field>::get(r, stringify!($name))
            }
            fn encode(&self, out: &mut Vec<u8>) {
                $crate::reader::Field::put(self, out);
            }
        }
    };
}
pub(crate) use layout;

impl<const N: usize, T: Field + Copy> Field for [T; N] {
    const LEN: usize = N * T::LEN;
    fn get(r: &mut Reader<'_>, field: &'static str) -> Result<Self, WireError> {
        let mut items = [T::get(r, field)?; N];
        for item in &mut items[1..] {
            *item = T::get(r, field)?;
        }
        Ok(items)
    }
    fn put(&self, out: &mut Vec<u8>) {
        for item in self {
            item.put(out);
        }
    }
}

impl<'a, T: Wire<'a>> Wire<'a> for Box<T> {
    fn decode(r: &mut Reader<'a>) -> Result<Self, WireError> {
        T::decode(r).map(Box::new)
    }
    fn encode(&self, out: &mut Vec<u8>) {
        (**self).encode(out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_beyond_the_bytes_left_is_refused_before_allocation() {
        let mut r = Reader::new(&[0xff, 0xff, 0xff, 0xff, 0, 0]);
        let need = (u32::MAX as usize) * 36;
        assert_eq!(
            r.count("num", 36),
            Err(WireError::Short {
                field: "num",
                need,
                have: 2
            })
        );
    }

    #[test]
    fn a_string_ends_at_its_nul_and_needs_one() {
        let mut r = Reader::new(b"ab\0cd");
        assert_eq!(r.string("name"), Ok(Text(b"ab")));
        assert_eq!(r.string("name"), Err(WireError::NoNul { field: "name" }));
    }

    #[test]
    fn stringn_of_length_0_is_no_string() {
        assert_eq!(Reader::new(&[0, 0, 0, 0]).stringn("name"), Ok(None));
        assert_eq!(
            Reader::new(b"\x03\0\0\0ab\0").stringn("name"),
            Ok(Some(Text(b"ab")))
        );
        assert_eq!(
            Reader::new(b"\x04\0\0\0ab\0").stringn("name"),
            Err(WireError::Short {
                field: "name",
                need: 4,
                have: 3
            })
        );
    }

    #[test]
    fn an_error_says_what_is_missing() {
        let short = Reader::new(&[1]).u32("db_id").unwrap_err();
        assert_eq!(short.to_string(), "db_id: needs 4 bytes, 1 are left");
    }
}
