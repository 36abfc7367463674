// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! The one error type of VexFS.
//!
//! Inside, an error says what happened and where; it becomes an errno only at the edge, with [`Error::errno`]. Errors
//! are `Copy` and hold no allocation, so that reporting one can never fail.

use core::fmt;

/// The result of nearly every function of VexFS.
pub type Result<T = ()> = core::result::Result<T, Error>;

/// A failed device operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IoError {
    /// What was attempted: "read", "write", "flush", "discard".
    pub op: &'static str,
    /// Byte offset on the device, 0 for a flush.
    pub offset: u64,
    /// The host's positive errno.
    pub errno: i32,
}

/// A structure on disk that is not what it must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Corrupt {
    /// What is wrong.
    pub what: &'static str,
    /// The filesystem block it was found in, `u64::MAX` where no single block is to blame.
    pub block: u64,
    /// The object (inode number) it belongs to, 0 where there is none.
    pub owner: u64,
}

/// Why an operation failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// No memory (ENOMEM).
    NoMemory,
    /// No space on the device (ENOSPC).
    NoSpace,
    /// No such entry (ENOENT).
    NotFound,
    /// It exists already (EEXIST).
    Exists,
    /// Not a directory (ENOTDIR).
    NotDir,
    /// Is a directory (EISDIR).
    IsDir,
    /// Directory not empty (ENOTEMPTY).
    NotEmpty,
    /// Name longer than 255 bytes (ENAMETOOLONG).
    NameTooLong,
    /// Link count at its limit (EMLINK).
    TooManyLinks,
    /// Offset beyond the largest file (EFBIG).
    FileTooBig,
    /// No such extended attribute (ENODATA).
    NoData,
    /// Buffer too small for the answer (ERANGE).
    Range,
    /// Bad argument; says which (EINVAL).
    Invalid(&'static str),
    /// Valid, but not supported here; says what (EOPNOTSUPP).
    Unsupported(&'static str),
    /// Not permitted (EPERM).
    Permission,
    /// Permission denied (EACCES).
    Access,
    /// Read-only filesystem or device (EROFS).
    ReadOnly,
    /// In use (EBUSY).
    Busy,
    /// Stopped by a fatal signal (EINTR).
    Interrupted,
    /// The filesystem was shut down (EIO).
    Shutdown,
    /// A number does not fit (EOVERFLOW).
    Overflow,
    /// An argument is larger than allowed; says which (E2BIG).
    TooBig(&'static str),
    /// Not a collection (ENOTTY).
    NotCollection,
    /// Bad user memory (EFAULT).
    Fault,
    /// Across filesystems (EXDEV).
    CrossDevice,
    /// It would have to wait (EAGAIN).
    WouldBlock,
    /// A device operation failed (EIO).
    Io(IoError),
    /// Something on disk is damaged (EUCLEAN).
    Corrupt(Corrupt),
}

impl Error {
    /// The positive Linux errno that tells a caller of this error.
    pub const fn errno(&self) -> i32 {
        match self {
            Error::Permission => 1,
            Error::NotFound => 2,
            Error::Interrupted => 4,
            Error::Io(_) | Error::Shutdown => 5,
            Error::TooBig(_) => 7,
            Error::WouldBlock => 11,
            Error::NoMemory => 12,
            Error::Access => 13,
            Error::Fault => 14,
            Error::Busy => 16,
            Error::Exists => 17,
            Error::CrossDevice => 18,
            Error::NotDir => 20,
            Error::IsDir => 21,
            Error::Invalid(_) => 22,
            Error::NotCollection => 25,
            Error::FileTooBig => 27,
            Error::NoSpace => 28,
            Error::ReadOnly => 30,
            Error::TooManyLinks => 31,
            Error::Range => 34,
            Error::NameTooLong => 36,
            Error::NotEmpty => 39,
            Error::NoData => 61,
            Error::Overflow => 75,
            Error::Unsupported(_) => 95,
            Error::Corrupt(_) => 117,
        }
    }

    /// An error about damaged contents of filesystem block `block`, which belongs to object `owner` (0: none).
    pub const fn corrupt(what: &'static str, block: u64, owner: u64) -> Error {
        Error::Corrupt(Corrupt { what, block, owner })
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Error::NoMemory => "out of memory",
            Error::NoSpace => "no space left on the device",
            Error::NotFound => "no such entry",
            Error::Exists => "exists already",
            Error::NotDir => "not a directory",
            Error::IsDir => "is a directory",
            Error::NotEmpty => "directory not empty",
            Error::NameTooLong => "name too long",
            Error::TooManyLinks => "too many links",
            Error::FileTooBig => "file too big",
            Error::NoData => "no such attribute",
            Error::Range => "buffer too small",
            Error::Permission => "operation not permitted",
            Error::Access => "permission denied",
            Error::ReadOnly => "read-only filesystem",
            Error::Busy => "in use",
            Error::Interrupted => "interrupted",
            Error::Shutdown => "the filesystem was shut down",
            Error::Overflow => "value too large",
            Error::NotCollection => "not a collection",
            Error::Fault => "bad address",
            Error::CrossDevice => "not on the same filesystem",
            Error::WouldBlock => "would block",
            Error::Invalid(what) | Error::Unsupported(what) | Error::TooBig(what) => what,
            Error::Io(e) => return write!(f, "{} at byte {} failed (errno {})", e.op, e.offset, e.errno),
            Error::Corrupt(c) => {
                f.write_str(c.what)?;
                if c.block != u64::MAX {
                    write!(f, ", block {}", c.block)?;
                }
                if c.owner != 0 {
                    write!(f, ", object {}", c.owner)?;
                }
                return Ok(());
            }
        })
    }
}

impl core::error::Error for Error {}
