//! The two hash functions of TDB files, and the chain that a key is in.

use crate::ffi::{self, TdbData};

/// A hash chain of a database: 0 up to the hash size. What is locked together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Chain(pub u32);

/// Which function a file was created with; its header tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HashKind {
    Old,
    Jenkins,
}

impl HashKind {
    pub(crate) fn hash(self, key: &[u8]) -> u32 {
        match self {
            HashKind::Old => old_hash(key),
            HashKind::Jenkins => jenkins_hash(key),
        }
    }
}

/// Jenkins' lookup3 as libtdb computes it. Also the cluster's hash: database ids, lmasters.
pub fn jenkins_hash(key: &[u8]) -> u32 {
    let mut key = TdbData::from_slice(key);
    // SAFETY: the function only reads the key, for the time of the call.
    unsafe { ffi::tdb_jenkins_hash(&mut key) }
}

/// The hash of files created without INCOMPATIBLE_HASH (persistent databases).
/// libtdb does not export it; the definition is in `tdb.md` §3.
pub fn old_hash(key: &[u8]) -> u32 {
    let mut sum = 0x238F_13AF_u32.wrapping_mul(key.len() as u32);
    for (i, &byte) in key.iter().enumerate() {
        sum = sum.wrapping_add(u32::from(byte) << (i * 5 % 24));
    }
    sum.wrapping_mul(1_103_515_243).wrapping_add(12_345)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hashes_are_those_of_the_reference() {
        assert_eq!(jenkins_hash(b"key1"), 0x1DE0_DF49);
        assert_eq!(jenkins_hash(b""), 0xDEAD_BEEF);
        assert_eq!(old_hash(b"key1"), 0xC79A_FA66);
        // What the header of a file keeps to tell the two apart.
        assert_eq!(jenkins_hash(b"TDB file\n\0"), 0xD7B6_94E5);
        assert_eq!(old_hash(b"TDB file\n\0"), 0xF67D_9F0D);
    }
}
