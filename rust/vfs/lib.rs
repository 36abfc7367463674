// SPDX-License-Identifier: GPL-2.0
//! Safe abstractions over the C VFS.
//!
//! Everything here is generic over a [`FileSystem`]: it names the types a filesystem attaches to mounts and inodes and
//! the functions the VFS calls. A filesystem implements these traits in safe code; the tables of C function pointers,
//! the trampolines behind them and every raw pointer stay in this crate. Each file covers one C concept and is named
//! after it.
//!
//! Relies on: the kernel crate, `vexfs_bindings` for what that leaves out, and on `vexfs_host` for the error type. It
//! knows nothing of VexFS's format or of what its files contain.

#![deny(unsafe_op_in_unsafe_fn)]
#![warn(missing_docs)]

pub mod dentry;
pub mod dir;
pub mod export;
pub mod file;
pub mod fileattr;
pub mod filesystem;
pub mod fs_context;
pub mod idmap;
pub mod inode;
mod inode_cache;
pub mod inode_ops;
pub mod new_inode;
pub mod panic;
pub mod proc;
pub mod security;
pub mod shrinker;
pub mod stat;
pub mod super_block;
pub mod workqueue;
pub mod xattr;
// The data path.
pub mod address_space;
pub mod completion;
pub mod file_ops;
pub mod folio;
pub mod ioctl;
pub mod iomap;
pub mod kiocb;
pub mod locks;
pub mod lookup;
pub mod mmap;

pub use dentry::Dentry;
pub use dentry::MovingDentry;
pub use dentry::Spliced;
pub use file::File;
pub use file::FileOpsTable;
pub use filesystem::FileSystem;
pub use idmap::Attr;
pub use idmap::Idmap;
pub use inode::AspaceOpsTable;
pub use inode::Inode;
pub use inode::InodeRef;
pub use inode_ops::InodeOpsTable;
pub use new_inode::NewInode;
pub use super_block::SuperBlock;

use kernel::bindings;
use kernel::error::Error as Errno;
use kernel::ffi;

/// Why an operation failed: an error of VexFS's own layers, or an errno that C code returned.
#[derive(Clone, Copy)]
pub enum Failure {
    /// From the layers below.
    Host(vexfs_host::Error),
    /// From the kernel.
    Errno(Errno),
}

impl From<vexfs_host::Error> for Failure {
    fn from(error: vexfs_host::Error) -> Self {
        Failure::Host(error)
    }
}

impl From<Errno> for Failure {
    fn from(error: Errno) -> Self {
        Failure::Errno(error)
    }
}

impl Failure {
    /// The negative errno.
    pub fn to_errno(self) -> ffi::c_int {
        match self {
            Failure::Host(error) => -error.errno(),
            Failure::Errno(error) => error.to_errno(),
        }
    }
}

/// The result of what the VFS calls.
pub type Result<T = ()> = core::result::Result<T, Failure>;

/// Turns what a C function returned into a result.
pub(crate) fn to_result(code: ffi::c_int) -> Result {
    kernel::error::to_result(code).map_err(Failure::Errno)
}

/// Reports a failure to the filesystem and returns what C gets.
pub(crate) fn fail<T: FileSystem>(sb: &SuperBlock<T>, failure: Failure) -> ffi::c_int {
    if let Failure::Host(error) = &failure {
        T::report(sb, error);
    }
    failure.to_errno()
}

/// Turns a result into what C gets, reporting a failure to the filesystem.
pub(crate) fn answer<T: FileSystem>(sb: &SuperBlock<T>, result: Result) -> ffi::c_int {
    match result {
        Ok(()) => 0,
        Err(failure) => fail(sb, failure),
    }
}

/// A point in time, since 1970.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time {
    /// Seconds, negative before 1970.
    pub sec: i64,
    /// Nanoseconds, below a billion.
    pub nsec: u32,
}

impl Time {
    /// The beginning of 1970.
    pub const EPOCH: Time = Time { sec: 0, nsec: 0 };

    pub(crate) fn from_raw(time: bindings::timespec64) -> Self {
        Self {
            sec: time.tv_sec,
            nsec: time.tv_nsec as u32,
        }
    }

    pub(crate) fn to_raw(self) -> bindings::timespec64 {
        bindings::timespec64 {
            tv_sec: self.sec,
            tv_nsec: self.nsec as ffi::c_long,
        }
    }
}
