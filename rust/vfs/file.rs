// SPDX-License-Identifier: GPL-2.0
//! Open files.
//!
//! C header: `include/linux/fs.h`.

use crate::filesystem::FileSystem;
use crate::inode::Inode;
use core::marker::PhantomData;
use kernel::bindings;
use kernel::types::Opaque;
use vexfs_bindings as extra;

/// An open file description of a filesystem of type `T`.
///
/// # Invariants
///
/// Its inode belongs to a superblock of type `T`.
#[repr(transparent)]
pub struct File<T: FileSystem>(Opaque<bindings::file>, PhantomData<T>);

impl<T: FileSystem> File<T> {
    /// Makes a reference from a C pointer.
    ///
    /// # Safety
    ///
    /// `ptr` is a valid open file on a superblock of type `T` for `'a`.
    pub(crate) unsafe fn from_raw<'a>(ptr: *mut bindings::file) -> &'a Self {
        // SAFETY: by the contract; the struct is transparent.
        unsafe { &*ptr.cast() }
    }

    /// The C file.
    pub fn as_ptr(&self) -> *mut bindings::file {
        self.0.get()
    }

    /// The inode.
    pub fn inode(&self) -> &Inode<T> {
        // SAFETY: an open file's inode does not change and is held by it.
        unsafe { Inode::from_raw((*self.as_ptr()).f_inode) }
    }

    /// The dentry it was opened through.
    pub(crate) fn dentry(&self) -> *mut bindings::dentry {
        // SAFETY: a valid file; an open file's path does not change. A file without a name gets its dentry first.
        unsafe { (*self.as_ptr()).__bindgen_anon_1.f_path.dentry }
    }

    /// The flags it was opened with and those set since (`O_*`).
    pub fn flags(&self) -> u32 {
        // SAFETY: a valid file; one word.
        unsafe { (&raw const (*self.as_ptr()).f_flags).read_volatile() }
    }

    /// Whether it was opened for reading.
    pub fn is_readable(&self) -> bool {
        self.f_mode() & extra::FMODE_READ != 0
    }

    /// Whether it was opened for writing.
    pub fn is_writable(&self) -> bool {
        self.f_mode() & extra::FMODE_WRITE != 0
    }

    fn f_mode(&self) -> bindings::fmode_t {
        // SAFETY: a valid file; the mode is set at open.
        unsafe { (&raw const (*self.as_ptr()).f_mode).read_volatile() }
    }
}

/// A table of file operations for inodes of type `T`.
pub struct FileOpsTable<T>(*const bindings::file_operations, PhantomData<T>);

impl<T> Clone for FileOpsTable<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for FileOpsTable<T> {}

impl<T: FileSystem> FileOpsTable<T> {
    /// Wraps a table.
    ///
    /// # Safety
    ///
    /// Every function in the table is sound when the VFS calls it for an open file of an inode of type `T`.
    pub(crate) const unsafe fn new(table: &'static bindings::file_operations) -> Self {
        Self(table, PhantomData)
    }

    pub(crate) fn as_ptr(self) -> *const bindings::file_operations {
        self.0
    }
}
