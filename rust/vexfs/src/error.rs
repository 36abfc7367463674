// SPDX-License-Identifier: Apache-2.0
//! The crate's error: what went wrong, in words and as an errno.

use std::fmt;
use std::io;

use nix::errno::Errno;

/// The result of nearly everything here.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why something could not be done.
///
/// Its text is for people. Programs look at [`Error::kind`], or at [`Error::errno`], which is what the kernel would
/// have said on a mounted filesystem.
#[derive(Debug)]
pub struct Error(Box<Cause>);

#[derive(Debug)]
enum Cause {
    /// The filesystem's own code.
    Filesystem(vexfs_host::Error),
    /// The host's.
    Io { what: String, error: io::Error },
    /// An argument that this crate refuses.
    Invalid(String),
    /// Somebody else has the image.
    InUse(String),
    /// What the kernel said of a mounted filesystem.
    Kernel(Errno),
    /// A directory that is on no mounted VexFS.
    NotMounted,
    /// The kernel does not know a call.
    OldKernel,
    /// The kernel knows something that this crate does not.
    Newer(String),
}

/// The kinds of errors that a program may want to tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// There is no such file, directory or collection.
    NotFound,
    /// A name or, inserting, an id that exists already.
    Exists,
    /// The directory is no collection.
    NotCollection,
    /// The directory is on no mounted VexFS.
    NotMounted,
    /// The directory holds files.
    NotEmpty,
    /// An argument makes no sense; the text says which.
    Invalid,
    /// More than a limit allows.
    TooBig,
    /// It is known, but cannot be done by this version, or by that of the kernel module.
    Unsupported,
    /// The filesystem was opened or mounted for reading only, or an error has stopped it.
    ReadOnly,
    /// Permission is missing.
    Denied,
    /// The image is open elsewhere.
    InUse,
    /// No space is left on the image, or no memory.
    NoSpace,
    /// Something on the image is damaged.
    Corrupt,
    /// Reading or writing failed.
    Io,
    /// Anything else.
    Other,
}

impl Error {
    /// An argument that makes no sense.
    pub(crate) fn invalid(text: impl Into<String>) -> Self {
        Self(Box::new(Cause::Invalid(text.into())))
    }

    pub(crate) fn in_use(text: impl Into<String>) -> Self {
        Self(Box::new(Cause::InUse(text.into())))
    }

    pub(crate) fn io(what: impl Into<String>, error: io::Error) -> Self {
        Self(Box::new(Cause::Io {
            what: what.into(),
            error,
        }))
    }

    /// What the kernel said of a call on a mounted filesystem.
    pub(crate) fn kernel(errno: Errno) -> Self {
        Self(Box::new(Cause::Kernel(errno)))
    }

    /// As [`Error::kernel`], of a call that older kernel modules do not have. The directory is known to be a
    /// collection.
    pub(crate) fn newer_call(errno: Errno) -> Self {
        match errno {
            Errno::ENOTTY => Self(Box::new(Cause::OldKernel)),
            errno => Self::kernel(errno),
        }
    }

    pub(crate) fn not_mounted() -> Self {
        Self(Box::new(Cause::NotMounted))
    }

    /// A code of the kernel that this crate does not know.
    pub(crate) fn newer(what: &str, code: u32) -> Self {
        let text = format!("{what} {code} is newer than this program");
        Self(Box::new(Cause::Newer(text)))
    }

    /// What kind of error it is.
    pub fn kind(&self) -> ErrorKind {
        use vexfs_host::Error as Fs;
        match &*self.0 {
            Cause::Invalid(_) => ErrorKind::Invalid,
            Cause::InUse(_) => ErrorKind::InUse,
            Cause::NotMounted => ErrorKind::NotMounted,
            Cause::OldKernel | Cause::Newer(_) => ErrorKind::Unsupported,
            Cause::Io { error, .. } => match error.kind() {
                io::ErrorKind::NotFound => ErrorKind::NotFound,
                io::ErrorKind::AlreadyExists => ErrorKind::Exists,
                io::ErrorKind::NotADirectory => ErrorKind::NotCollection,
                io::ErrorKind::PermissionDenied => ErrorKind::Denied,
                _ => ErrorKind::Io,
            },
            Cause::Kernel(errno) => match errno {
                Errno::ENOENT => ErrorKind::NotFound,
                Errno::EEXIST => ErrorKind::Exists,
                // What is not followed, a symbolic link, is no collection either.
                Errno::ENOTTY | Errno::ENOTDIR | Errno::ELOOP => ErrorKind::NotCollection,
                Errno::ENOTEMPTY => ErrorKind::NotEmpty,
                Errno::EINVAL | Errno::ENAMETOOLONG => ErrorKind::Invalid,
                Errno::E2BIG => ErrorKind::TooBig,
                Errno::EOPNOTSUPP => ErrorKind::Unsupported,
                Errno::EROFS => ErrorKind::ReadOnly,
                Errno::EACCES | Errno::EPERM => ErrorKind::Denied,
                Errno::EBUSY => ErrorKind::InUse,
                Errno::ENOSPC | Errno::EDQUOT | Errno::ENOMEM => ErrorKind::NoSpace,
                Errno::EUCLEAN => ErrorKind::Corrupt,
                Errno::EIO => ErrorKind::Io,
                _ => ErrorKind::Other,
            },
            Cause::Filesystem(e) => match e {
                Fs::NotFound => ErrorKind::NotFound,
                Fs::Exists => ErrorKind::Exists,
                Fs::NotCollection | Fs::NotDir => ErrorKind::NotCollection,
                Fs::NotEmpty => ErrorKind::NotEmpty,
                Fs::Invalid(_) | Fs::NameTooLong => ErrorKind::Invalid,
                Fs::TooBig(_) => ErrorKind::TooBig,
                Fs::Unsupported(_) => ErrorKind::Unsupported,
                Fs::ReadOnly | Fs::Shutdown => ErrorKind::ReadOnly,
                Fs::Permission | Fs::Access => ErrorKind::Denied,
                Fs::NoSpace | Fs::NoMemory => ErrorKind::NoSpace,
                Fs::Corrupt(_) => ErrorKind::Corrupt,
                Fs::Io(_) => ErrorKind::Io,
                _ => ErrorKind::Other,
            },
        }
    }

    /// The errno that says the same; `None` for arguments that no system call ever saw.
    pub fn errno(&self) -> Option<i32> {
        match &*self.0 {
            Cause::Filesystem(e) => Some(e.errno()),
            Cause::Io { error, .. } => error.raw_os_error(),
            Cause::InUse(_) => Some(libc::EBUSY),
            Cause::Kernel(errno) => Some(*errno as i32),
            Cause::NotMounted | Cause::OldKernel => Some(libc::ENOTTY),
            Cause::Invalid(_) | Cause::Newer(_) => None,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.0 {
            Cause::Filesystem(e) => e.fmt(f),
            Cause::Io { what, .. } => f.write_str(what),
            Cause::Invalid(text) | Cause::InUse(text) | Cause::Newer(text) => f.write_str(text),
            // Its own text, "Not a typewriter", is about other times.
            Cause::Kernel(Errno::ENOTTY) => f.write_str("not a VexFS collection"),
            Cause::Kernel(errno) => f.write_str(errno.desc()),
            Cause::NotMounted => f.write_str("not on a mounted VexFS"),
            Cause::OldKernel => f.write_str("the kernel module is older than this program"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &*self.0 {
            Cause::Io { error, .. } => Some(error),
            _ => None,
        }
    }
}

impl From<vexfs_host::Error> for Error {
    fn from(error: vexfs_host::Error) -> Self {
        Self(Box::new(Cause::Filesystem(error)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_says_is_of_the_kind_that_the_same_code_says_in_process() {
        use vexfs_host::Error as Fs;
        for error in [
            Fs::NotFound,
            Fs::Exists,
            Fs::NotCollection,
            Fs::NotDir,
            Fs::NotEmpty,
            Fs::NameTooLong,
            Fs::Invalid("k"),
            Fs::TooBig("k"),
            Fs::Unsupported("k"),
            Fs::ReadOnly,
            Fs::Permission,
            Fs::Access,
            Fs::NoSpace,
            Fs::NoMemory,
            Fs::corrupt("k", 0, 0),
            Fs::Overflow,
            Fs::Interrupted,
        ] {
            let kernel = Error::kernel(Errno::from_raw(error.errno()));
            let process = Error::from(error);
            assert_eq!(kernel.kind(), process.kind(), "{error:?}");
            assert_eq!(kernel.errno(), process.errno(), "{error:?}");
        }
        let old = Error::newer_call(Errno::ENOTTY);
        assert_eq!((old.kind(), old.errno()), (ErrorKind::Unsupported, Some(libc::ENOTTY)));
    }
}
