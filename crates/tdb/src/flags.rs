//! Flags of an open database and modes of a store. Numbers: `tdb.h`.

bitflags::bitflags! {
    /// How a database is opened. These numbers also travel: in the reply of DB_OPEN_FLAGS and as an
    /// argument of the lock helper.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub struct TdbFlags: u32 {
        /// The first who opens the file empties it.
        const CLEAR_IF_FIRST = 1;
        /// In memory only.
        const INTERNAL = 2;
        /// Take no locks.
        const NOLOCK = 4;
        /// Read and write instead of mapping the file.
        const NOMMAP = 8;
        /// The file is of the other byte order (set by libtdb).
        const CONVERT = 16;
        /// The file is big-endian (set by libtdb).
        const BIGENDIAN = 32;
        /// Transactions do not wait for the disk.
        const NOSYNC = 64;
        /// Every change counts the sequence number in the header up.
        const SEQNUM = 128;
        /// Keep dead records for reuse in their chain.
        const VOLATILE = 256;
        /// A transaction in a transaction counts.
        const ALLOW_NESTING = 512;
        /// A transaction in a transaction is an error.
        const DISALLOW_NESTING = 1024;
        /// Create with the Jenkins hash.
        const INCOMPATIBLE_HASH = 2048;
        /// Chain locks are robust mutexes in the file.
        const MUTEX_LOCKING = 4096;
        // Bits of newer versions of the library are kept.
        const _ = !0;
    }
}

/// What a store does about a record that is there, or is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreMode {
    /// Store in either case.
    Replace,
    /// Fails with [`crate::ErrorCode::Exists`] when the record is there.
    Insert,
    /// Fails with [`crate::ErrorCode::NoExist`] when it is not.
    Modify,
}

impl StoreMode {
    pub(crate) fn number(self) -> libc::c_int {
        match self {
            StoreMode::Replace => 1,
            StoreMode::Insert => 2,
            StoreMode::Modify => 3,
        }
    }
}
