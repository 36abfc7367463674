// SPDX-License-Identifier: GPL-2.0
//! The locks of an inode and of its page cache, as guards.
//!
//! Order: inode lock, then (page faults: the memory map's lock, then) invalidate lock, then folio locks.

use core::marker::PhantomData;

use kernel::error::code::EAGAIN;
use vexfs_bindings as bindings;

use crate::filesystem::FileSystem;
use crate::inode::Inode;
use crate::to_result;
use crate::Result;

/// The inode lock (`i_rwsem`), held.
pub struct InodeLock<'a, T: FileSystem> {
    inode: &'a Inode<T>,
    shared: bool,
    // To be released by the thread that took it.
    not_send: PhantomData<*mut ()>,
}

impl<T: FileSystem> Drop for InodeLock<'_, T> {
    fn drop(&mut self) {
        // SAFETY: The lock was taken, in this mode, when the guard was made.
        unsafe {
            if self.shared {
                bindings::vexfs_inode_unlock_shared(self.inode.as_ptr());
            } else {
                bindings::vexfs_inode_unlock(self.inode.as_ptr());
            }
        }
    }
}

/// The invalidate lock of an inode's page cache, held: no folio is added to it meanwhile.
pub struct InvalidateLock<'a, T: FileSystem> {
    inode: &'a Inode<T>,
    not_send: PhantomData<*mut ()>,
}

impl<T: FileSystem> Drop for InvalidateLock<'_, T> {
    fn drop(&mut self) {
        // SAFETY: Taken when the guard was made.
        unsafe { bindings::vexfs_filemap_invalidate_unlock(self.inode.mapping()) };
    }
}

impl<T: FileSystem> Inode<T> {
    /// Takes the inode lock.
    pub fn lock(&self) -> InodeLock<'_, T> {
        // SAFETY: A live inode.
        unsafe { bindings::vexfs_inode_lock(self.as_ptr()) };
        InodeLock {
            inode: self,
            shared: false,
            not_send: PhantomData,
        }
    }

    /// Takes the inode lock shared.
    pub fn lock_shared(&self) -> InodeLock<'_, T> {
        // SAFETY: A live inode.
        unsafe { bindings::vexfs_inode_lock_shared(self.as_ptr()) };
        InodeLock {
            inode: self,
            shared: true,
            not_send: PhantomData,
        }
    }

    /// Takes the inode lock for a request, which may not be allowed to wait for it (`EAGAIN`).
    pub fn lock_for(&self, shared: bool, nowait: bool) -> Result<InodeLock<'_, T>> {
        if !nowait {
            return Ok(if shared { self.lock_shared() } else { self.lock() });
        }
        // SAFETY: A live inode.
        let taken = unsafe {
            if shared {
                bindings::vexfs_inode_trylock_shared(self.as_ptr())
            } else {
                bindings::vexfs_inode_trylock(self.as_ptr())
            }
        };
        if taken {
            Ok(InodeLock {
                inode: self,
                shared,
                not_send: PhantomData,
            })
        } else {
            Err(EAGAIN.into())
        }
    }

    /// Takes the invalidate lock.
    pub fn lock_invalidate(&self) -> InvalidateLock<'_, T> {
        // SAFETY: A live inode's mapping.
        unsafe { bindings::vexfs_filemap_invalidate_lock(self.mapping()) };
        InvalidateLock {
            inode: self,
            not_send: PhantomData,
        }
    }

    pub(crate) fn mapping(&self) -> *mut bindings::address_space {
        // SAFETY: A live inode's mapping does not change.
        unsafe { (*self.as_ptr()).i_mapping }
    }

    /// Whether it is known that a write has no set-id bits or capabilities to drop; stays so while the inode lock is
    /// held.
    pub fn has_no_privileges(&self) -> bool {
        // SAFETY: A live inode; the flags are a plain word in C (IS_NOSEC()).
        unsafe { (&raw const (*self.as_ptr()).i_flags).read_volatile() & bindings::S_NOSEC != 0 }
    }

    /// Size of a block in bytes.
    pub fn block_size(&self) -> u64 {
        // SAFETY: A live inode; set when it was made.
        1 << unsafe { (*self.as_ptr()).i_blkbits }
    }

    /// Waits for direct I/O under way; the caller holds the inode lock, so that no more begins.
    pub fn wait_direct(&self) {
        // SAFETY: A live inode.
        unsafe { bindings::inode_dio_wait(self.as_ptr()) };
    }

    /// Writes back the dirty data in `start..end` and waits for it.
    pub fn write_and_wait_range(&self, start: u64, end: u64) -> Result {
        if end == 0 {
            return Ok(());
        }
        let last = i64::try_from(end - 1).unwrap_or(i64::MAX);
        // SAFETY: A live inode's mapping.
        to_result(unsafe { bindings::filemap_write_and_wait_range(self.mapping(), start as i64, last) })
    }

    /// Sets the size and drops what the page cache has beyond it; the caller holds the inode lock.
    pub fn truncate_cache(&self, size: u64, _lock: &InvalidateLock<'_, T>) {
        // SAFETY: A live inode; the caller holds its lock.
        unsafe { bindings::truncate_setsize(self.as_ptr(), size as i64) };
    }

    /// Drops what the page cache has of `start..end`, zeroing what is not a whole page of it.
    pub fn drop_cache_range(&self, start: u64, end: u64, _lock: &InvalidateLock<'_, T>) {
        if start < end {
            // SAFETY: A live inode, whose invalidate lock is held.
            unsafe { bindings::truncate_pagecache_range(self.as_ptr(), start as i64, (end - 1) as i64) };
        }
    }
}
