//! The hash that names databases and gives each record its location master: Bob Jenkins' lookup3 `hashlittle`
//! (public domain) with initial value 0, read bytewise as on a little-endian host. libtdb calls it
//! `tdb_jenkins_hash`.

use byteorder::{ByteOrder, LE};

use crate::DbId;

/// lookup3 over `key`.
pub fn jenkins_hash(key: &[u8]) -> u32 {
    // The length is part of the start value; it wraps for keys of 4 GiB, as in C.
    let start = 0xdead_beef_u32.wrapping_add(key.len() as u32);
    let (mut a, mut b, mut c) = (start, start, start);
    let mut left = key;
    // The last block of 1 to 12 bytes goes through `final_mix`, also when it is a full one.
    while left.len() > 12 {
        let (block, tail) = left.split_at(12);
        a = a.wrapping_add(LE::read_u32(&block[0..4]));
        b = b.wrapping_add(LE::read_u32(&block[4..8]));
        c = c.wrapping_add(LE::read_u32(&block[8..12]));
        (a, b, c) = mix(a, b, c);
        left = tail;
    }
    if left.is_empty() {
        return c;
    }
    let mut block = [0; 12];
    block[..left.len()].copy_from_slice(left);
    final_mix(
        a.wrapping_add(LE::read_u32(&block[0..4])),
        b.wrapping_add(LE::read_u32(&block[4..8])),
        c.wrapping_add(LE::read_u32(&block[8..12])),
    )
}

fn mix(mut a: u32, mut b: u32, mut c: u32) -> (u32, u32, u32) {
    a = a.wrapping_sub(c) ^ c.rotate_left(4);
    c = c.wrapping_add(b);
    b = b.wrapping_sub(a) ^ a.rotate_left(6);
    a = a.wrapping_add(c);
    c = c.wrapping_sub(b) ^ b.rotate_left(8);
    b = b.wrapping_add(a);
    a = a.wrapping_sub(c) ^ c.rotate_left(16);
    c = c.wrapping_add(b);
    b = b.wrapping_sub(a) ^ a.rotate_left(19);
    a = a.wrapping_add(c);
    c = c.wrapping_sub(b) ^ b.rotate_left(4);
    b = b.wrapping_add(a);
    (a, b, c)
}

fn final_mix(mut a: u32, mut b: u32, mut c: u32) -> u32 {
    c = (c ^ b).wrapping_sub(b.rotate_left(14));
    a = (a ^ c).wrapping_sub(c.rotate_left(11));
    b = (b ^ a).wrapping_sub(a.rotate_left(25));
    c = (c ^ b).wrapping_sub(b.rotate_left(16));
    a = (a ^ c).wrapping_sub(c.rotate_left(4));
    b = (b ^ a).wrapping_sub(a.rotate_left(14));
    (c ^ b).wrapping_sub(b.rotate_left(24))
}

impl DbId {
    /// The id of the database of this name; `name` without its NUL, which is hashed too.
    pub fn of_name(name: &[u8]) -> DbId {
        DbId(jenkins_hash(&[name, b"\0"].concat()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_is_named_by_its_name_with_the_nul() {
        assert_eq!(DbId::of_name(b"locking.tdb"), DbId(0x7a19_d84d));
        assert_eq!(jenkins_hash(b"locking.tdb"), 0x72c9_1e9e);
    }

    #[test]
    fn keys_of_one_block_more_and_less_hash_as_libtdb_does() {
        assert_eq!(jenkins_hash(b"abcdefghijkl"), 0x4012_f87b);
        assert_eq!(jenkins_hash(b"abcdefghijklm"), 0x9281_28f9);
        assert_eq!(jenkins_hash(b"a"), 0x58d6_8708);
        assert_eq!(jenkins_hash(b""), 0xdead_beef);
    }
}
