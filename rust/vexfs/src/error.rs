// SPDX-License-Identifier: Apache-2.0
//! The crate's error: what went wrong, in words and as an errno.

use std::fmt;
use std::io;

/// The result of nearly everything here.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why something could not be done.
///
/// Its text is for people. Programs look at [`Error::kind`], or at [`Error::errno`], which is what the kernel would have
/// said on a mounted filesystem.
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
    /// The directory holds files.
    NotEmpty,
    /// An argument makes no sense; the text says which.
    Invalid,
    /// More than a limit allows.
    TooBig,
    /// It is known, but cannot be done by this version.
    Unsupported,
    /// The image was opened for reading only, or an error has stopped it.
    ReadOnly,
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

    /// What kind of error it is.
    pub fn kind(&self) -> ErrorKind {
        use vexfs_host::Error as Fs;
        match &*self.0 {
            Cause::Invalid(_) => ErrorKind::Invalid,
            Cause::InUse(_) => ErrorKind::InUse,
            Cause::Io { error, .. } => match error.kind() {
                io::ErrorKind::NotFound => ErrorKind::NotFound,
                io::ErrorKind::AlreadyExists => ErrorKind::Exists,
                _ => ErrorKind::Io,
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
            Cause::Invalid(_) => None,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.0 {
            Cause::Filesystem(e) => e.fmt(f),
            Cause::Io { what, .. } => f.write_str(what),
            Cause::Invalid(text) | Cause::InUse(text) => f.write_str(text),
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
