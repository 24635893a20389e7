//! What went wrong, in which database, doing what.

use std::fmt;
use std::sync::Arc;

/// `enum TDB_ERROR`, and what this crate adds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorCode {
    /// libtdb said that it failed but not why.
    Unspecified,
    /// TDB_ERR_CORRUPT
    Corrupt,
    /// TDB_ERR_IO
    Io,
    /// TDB_ERR_LOCK
    Lock,
    /// TDB_ERR_OOM
    OutOfMemory,
    /// TDB_ERR_EXISTS
    Exists,
    /// TDB_ERR_NOLOCK
    NoLock,
    /// TDB_ERR_LOCK_TIMEOUT
    LockTimeout,
    /// TDB_ERR_NOEXIST
    NoExist,
    /// TDB_ERR_EINVAL
    Invalid,
    /// TDB_ERR_RDONLY
    ReadOnly,
    /// TDB_ERR_NESTING
    Nesting,
    /// The file could not be opened; libtdb gives errno only.
    Open,
    /// A record of this database is being looked at in place; see the crate's documentation.
    InUse,
    /// A code of a newer libtdb.
    Other(i32),
}

impl ErrorCode {
    pub(crate) fn from_number(number: i32) -> ErrorCode {
        match number {
            0 => ErrorCode::Unspecified,
            1 => ErrorCode::Corrupt,
            2 => ErrorCode::Io,
            3 => ErrorCode::Lock,
            4 => ErrorCode::OutOfMemory,
            5 => ErrorCode::Exists,
            6 => ErrorCode::NoLock,
            7 => ErrorCode::LockTimeout,
            8 => ErrorCode::NoExist,
            9 => ErrorCode::Invalid,
            10 => ErrorCode::ReadOnly,
            11 => ErrorCode::Nesting,
            other => ErrorCode::Other(other),
        }
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ErrorCode::Unspecified => "libtdb gave no reason",
            ErrorCode::Corrupt => "the database is corrupt",
            ErrorCode::Io => "reading or writing the file failed",
            ErrorCode::Lock => "a lock could not be taken or let go",
            ErrorCode::OutOfMemory => "out of memory",
            ErrorCode::Exists => "the record is already there",
            ErrorCode::NoLock => "the lock is held by another process",
            ErrorCode::LockTimeout => "waiting for a lock took too long",
            ErrorCode::NoExist => "there is no such record",
            ErrorCode::Invalid => "the call is not valid in this state or with these values",
            ErrorCode::ReadOnly => "the database is open for reading only",
            ErrorCode::Nesting => "a transaction is already running",
            ErrorCode::Open => "the file cannot be opened as a database",
            ErrorCode::InUse => "a record of the database is being looked at",
            ErrorCode::Other(number) => return write!(f, "libtdb error {number}"),
        })
    }
}

/// A failed operation on a database.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct TdbError {
    /// libtdb's reason.
    pub code: ErrorCode,
    /// errno after the call; 0 when no system call failed.
    pub errno: i32,
    /// Path of the file as given to open.
    pub database: Arc<str>,
    /// What was tried, such as "store".
    pub operation: &'static str,
}

impl TdbError {
    /// Whether the reason is a lock that someone else holds.
    pub fn is_busy(&self) -> bool {
        matches!(self.code, ErrorCode::Lock | ErrorCode::NoLock)
            && matches!(self.errno, libc::EAGAIN | libc::EACCES)
    }
}

impl fmt::Display for TdbError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}", self.database, self.operation, self.code)?;
        if self.errno != 0 {
            write!(f, ": {}", std::io::Error::from_raw_os_error(self.errno))?;
        } else if self.code == ErrorCode::Io {
            // A transaction that can't make the file longer.
            f.write_str(", for no known reason, as when the disk is full")?;
        }
        Ok(())
    }
}

/// Sets errno to 0, so that after a call it is the call's.
pub(crate) fn clear_errno() {
    // SAFETY: the C library gives a valid pointer to this thread's errno.
    unsafe { *libc::__errno_location() = 0 };
}

pub(crate) fn errno() -> i32 {
    std::io::Error::last_os_error().raw_os_error().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_names_the_database_the_operation_the_reason_and_errno() {
        let error = TdbError {
            code: ErrorCode::Lock,
            errno: libc::EAGAIN,
            database: "/db/a.tdb.0".into(),
            operation: "lock a chain",
        };
        assert_eq!(
            error.to_string(),
            "/db/a.tdb.0: lock a chain: a lock could not be taken or let go: Resource temporarily unavailable (os error 11)"
        );
        assert!(error.is_busy());
        let error = TdbError {
            code: ErrorCode::from_number(8),
            errno: 0,
            ..error
        };
        assert_eq!(
            error.to_string(),
            "/db/a.tdb.0: lock a chain: there is no such record"
        );
        assert!(!error.is_busy());
    }

    #[test]
    fn every_number_of_the_header_has_a_name() {
        for number in 1..=11 {
            assert!(
                !matches!(ErrorCode::from_number(number), ErrorCode::Other(_)),
                "{number}"
            );
        }
        assert_eq!(ErrorCode::from_number(12), ErrorCode::Other(12));
    }
}
