// SPDX-License-Identifier: Apache-2.0
//! Errors a person can act on: what was attempted, what the system said, what to try.

use std::fmt;
use std::path::Path;

use nix::errno::Errno;
use vexfs::ErrorKind;

/// Arguments that make no sense together; exit code 2, as for those clap refuses.
#[derive(Debug)]
pub struct Usage(pub String);

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Usage {}

/// A failed call.
#[derive(Debug)]
pub struct SysError {
    /// What was attempted, with the path: "create /mnt/docs".
    pub what: String,
    /// What the system said.
    pub errno: i32,
    /// More than errno tells, when there is more.
    pub detail: Option<String>,
    /// What to try, when there is something to say.
    pub hint: Option<&'static str>,
}

impl fmt::Display for SysError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let errno = Errno::from_raw(self.errno);
        let text = match (&self.detail, errno) {
            (Some(detail), _) => detail,
            (None, other) => other.desc(),
        };
        write!(f, "cannot {}: {text} ({errno:?})", self.what)
    }
}

impl std::error::Error for SysError {}

impl SysError {
    /// An error of the collection call `verb` on `path`.
    pub fn new(verb: &'static str, path: &Path, errno: i32) -> SysError {
        SysError {
            what: format!("{verb} {}", path.display()),
            errno,
            detail: None,
            hint: hint(verb, errno),
        }
    }

    /// An error of the library, which may say more than an errno.
    pub fn of(verb: &'static str, path: &Path, error: vexfs::Error) -> SysError {
        let errno = error.errno().unwrap_or(libc::EINVAL);
        let mut made = SysError::new(verb, path, errno);
        // One of the host's names the file again, which `what` does already.
        if std::error::Error::source(&error).is_none() {
            made.detail = Some(error.to_string());
        }
        if (error.kind(), errno) == (ErrorKind::Unsupported, libc::ENOTTY) {
            made.hint = Some("load a newer module, or unmount and work on the device with --image");
        }
        made
    }
}

/// Says during what an error of the library came up.
pub trait During<T> {
    fn during(self, verb: &'static str, path: &Path) -> Result<T, SysError>;
}

impl<T> During<T> for vexfs::Result<T> {
    fn during(self, verb: &'static str, path: &Path) -> Result<T, SysError> {
        self.map_err(|e| SysError::of(verb, path, e))
    }
}

/// What usually is behind an errno of a collection call.
fn hint(verb: &str, errno: i32) -> Option<&'static str> {
    Some(match (verb, errno) {
        ("read the status of", libc::ENOTTY) => "that path is not on a mounted VexFS; see: grep vexfs /proc/mounts",
        ("create", libc::ENOTTY) => "the parent directory is not on a mounted VexFS; see: grep vexfs /proc/mounts",
        (_, libc::ENOTTY) => "that directory is not a collection; vexctl collection list shows those there are",
        ("insert into", libc::EEXIST) => "a row with such an id exists already; --upsert replaces it",
        ("create", libc::EEXIST) => "the name is taken; choose another or drop what has it",
        ("drop", libc::ENOTEMPTY) => "the directory holds files; move or remove them first",
        (_, libc::ENOENT) => "there is no such collection; vexctl collection list shows those there are",
        (_, libc::EROFS) => "the filesystem is mounted read-only",
        (_, libc::EUCLEAN) => "the filesystem is damaged there; the kernel log names the block",
        (_, libc::EIO) => "the device failed; see the kernel log",
        (
            "read the status of" | "open" | "describe" | "read from" | "search" | "explain",
            libc::EACCES | libc::EPERM,
        ) => "this needs read permission on the collection's directory",
        (_, libc::EACCES | libc::EPERM) => "this needs write permission on the directory",
        ("search" | "explain", libc::EOPNOTSUPP) => {
            "this kernel's VexFS only scans: leave --ef, --nprobe, --rerank, --filter and --time-limit out"
        }
        ("create", libc::EOPNOTSUPP) => "this kernel's VexFS has no such element type, metric or index",
        (_, libc::E2BIG) => "too much for one call; try a smaller --batch or -k",
        _ => return None,
    })
}
