// SPDX-License-Identifier: GPL-2.0
//! Read and write requests, and the memory they are about.
//!
//! C headers: `include/linux/fs.h`, `include/linux/uio.h`.

use core::marker::PhantomData;

use kernel::types::Opaque;
use vexfs_bindings as bindings;

use crate::file::File;
use crate::filesystem::FileSystem;
use crate::inode::Inode;
use crate::to_result;
use crate::Result;

/// A read or write under way on a file of type `T`.
///
/// # Invariants
///
/// Its file is an open file of a filesystem of type `T`.
#[repr(transparent)]
pub struct Kiocb<T: FileSystem>(Opaque<bindings::kiocb>, PhantomData<T>);

impl<T: FileSystem> Kiocb<T> {
    /// Wraps a request.
    ///
    /// # Safety
    ///
    /// `ptr` is a valid request on a file of type `T`, and nobody else's for `'a`.
    pub(crate) unsafe fn from_raw<'a>(ptr: *mut bindings::kiocb) -> &'a mut Self {
        // SAFETY: By the caller's promise; the wrapper is transparent.
        unsafe { &mut *ptr.cast() }
    }

    pub(crate) fn as_ptr(&mut self) -> *mut bindings::kiocb {
        self.0.get()
    }

    /// The file.
    pub fn file(&self) -> &File<T> {
        // SAFETY: By the type invariant; the request holds the file.
        unsafe { File::from_raw((*self.0.get()).ki_filp) }
    }

    /// The file's inode.
    pub fn inode(&self) -> &Inode<T> {
        self.file().inode()
    }

    /// Where in the file it begins, from here on.
    pub fn pos(&self) -> u64 {
        // SAFETY: A valid request. Positions are not negative for the files of a filesystem.
        unsafe { (*self.0.get()).ki_pos as u64 }
    }

    fn has(&self, flag: u32) -> bool {
        // SAFETY: A valid request.
        unsafe { (*self.0.get()).ki_flags as u32 & flag != 0 }
    }

    /// Whether it goes around the page cache.
    pub fn is_direct(&self) -> bool {
        self.has(bindings::IOCB_DIRECT)
    }

    /// Lets the rest of the request go through the page cache.
    pub fn clear_direct(&mut self) {
        // SAFETY: A valid request, ours alone.
        unsafe { (*self.0.get()).ki_flags &= !(bindings::IOCB_DIRECT as core::ffi::c_int) };
    }

    /// Whether it must fail with EAGAIN rather than wait.
    pub fn is_nowait(&self) -> bool {
        self.has(bindings::IOCB_NOWAIT as u32)
    }

    /// Whether what it writes must be on stable storage when it is done.
    pub fn is_sync(&self) -> bool {
        self.has(bindings::IOCB_DSYNC as u32)
    }

    /// Whether it writes at the end of the file, wherever that is by then.
    pub fn is_append(&self) -> bool {
        self.has(bindings::IOCB_APPEND as u32)
    }

    /// Whether who made it waits for it to end.
    pub fn is_waited_for(&self) -> bool {
        // SAFETY: A valid request (is_sync_kiocb()).
        unsafe { (*self.0.get()).ki_complete.is_none() }
    }

    /// Notes that the file has been read.
    pub fn accessed(&self) {
        // SAFETY: By the type invariant.
        unsafe { bindings::vexfs_file_accessed(self.file().as_ptr()) };
    }

    /// Applies limits and O_APPEND to a write of `from`; false if nothing is left to write. The caller holds the inode
    /// lock, shared if it is no [`Self::is_append`].
    pub fn check_write(&mut self, from: &mut IovIter) -> Result<bool> {
        // SAFETY: A valid request and iterator.
        let left = unsafe { bindings::generic_write_checks(self.as_ptr(), from.as_ptr()) };
        to_result(left.min(0) as i32)?;
        Ok(left > 0)
    }

    /// Drops set-id bits and sets the times before a write; the caller holds the inode lock, shared if there are none
    /// to drop ([`Inode::has_no_privileges`]).
    pub fn modified(&mut self) -> Result {
        // SAFETY: A valid request.
        to_result(unsafe { bindings::kiocb_modified(self.as_ptr()) })
    }

    /// Makes what was just written durable if the file or the request asks for it.
    pub fn sync_written(&mut self, written: usize) -> Result<usize> {
        // SAFETY: A valid request; no locks of the inode are held.
        let code = unsafe { bindings::vexfs_generic_write_sync(self.as_ptr(), written as isize) };
        to_result(code.min(0) as i32)?;
        Ok(code as usize)
    }

    /// Reads through the page cache.
    pub fn read_cached(&mut self, to: &mut IovIter, already: usize) -> Result<usize> {
        // SAFETY: A valid request and iterator.
        let code = unsafe { bindings::filemap_read(self.as_ptr(), to.as_ptr(), already as isize) };
        to_result(code.min(0) as i32)?;
        Ok(code as usize)
    }
}

/// Memory to copy from or to.
#[repr(transparent)]
pub struct IovIter(Opaque<bindings::iov_iter>);

impl IovIter {
    /// Wraps an iterator.
    ///
    /// # Safety
    ///
    /// `ptr` is valid and nobody else's for `'a`.
    pub(crate) unsafe fn from_raw<'a>(ptr: *mut bindings::iov_iter) -> &'a mut Self {
        // SAFETY: By the caller's promise; the wrapper is transparent.
        unsafe { &mut *ptr.cast() }
    }

    pub(crate) fn as_ptr(&mut self) -> *mut bindings::iov_iter {
        self.0.get()
    }

    /// Bytes left.
    pub fn count(&self) -> usize {
        // SAFETY: A valid iterator.
        unsafe { bindings::vexfs_iov_iter_count(self.0.get()) }
    }
}
