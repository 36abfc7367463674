// SPDX-License-Identifier: GPL-2.0
//! Inodes under construction.
//!
//! C header: `include/linux/fs.h`.

use crate::completion::IoQueue;
use crate::file::FileOpsTable;
use crate::filesystem::FileSystem;
use crate::idmap::Idmap;
use crate::inode::AspaceOpsTable;
use crate::inode::Container;
use crate::inode::Inode;
use crate::inode::InodeRef;
use crate::inode_ops::InodeOpsTable;
use crate::super_block::SuperBlock;
use crate::Result;
use core::mem::ManuallyDrop;
use core::ops::Deref;
use kernel::bindings;
use kernel::error::code::*;
use vexfs_bindings as extra;

/// An inode under construction.
///
/// It is either not hashed, or hashed and locked (`I_NEW`), so nobody else works with it yet. Dropping it makes it a
/// bad inode and forgets it.
pub struct NewInode<T: FileSystem> {
    inode: ManuallyDrop<InodeRef<T>>,
    hashed: bool,
}

impl<T: FileSystem> NewInode<T> {
    /// Allocates an inode that has no number yet.
    pub fn new(sb: &SuperBlock<T>) -> Result<Self> {
        // SAFETY: a live superblock.
        let inode = unsafe { bindings::new_inode(sb.as_ptr()) };
        if inode.is_null() {
            return Err(ENOMEM.into());
        }
        Ok(Self {
            // SAFETY: fresh, with one reference, which is ours.
            inode: ManuallyDrop::new(unsafe { InodeRef::from_raw(inode) }),
            hashed: false,
        })
    }

    /// Takes over an inode that the inode cache returned locked (`I_NEW`).
    ///
    /// # Safety
    ///
    /// As for `InodeRef::from_raw`, and the inode is hashed and has `I_NEW` set on the caller's behalf.
    pub(crate) unsafe fn from_locked(ptr: *mut bindings::inode) -> Self {
        Self {
            // SAFETY: by the contract.
            inode: ManuallyDrop::new(unsafe { InodeRef::from_raw(ptr) }),
            hashed: true,
        }
    }

    /// Takes mode and owner from the caller's credentials and from the directory.
    pub fn init_owner(&self, idmap: Idmap<'_>, dir: &Inode<T>, mode: u16) {
        dir.init_owner(idmap, self, mode);
    }

    /// Gives the inode its number and makes it findable, locked. Returns the inode that somebody else has made of the
    /// number meanwhile, if there is one: then that is to be used, and this one stays without a number.
    ///
    /// The number is no other new inode's.
    pub fn hash(&mut self, ino: u64) -> Option<InodeRef<T>> {
        loop {
            // SAFETY: not hashed yet, so we are its only user.
            unsafe { (*self.as_ptr()).i_ino = ino };
            // SAFETY: a valid inode that is not hashed.
            if unsafe { bindings::insert_inode_locked(self.as_ptr()) } == 0 {
                self.hashed = true;
                return None;
            }
            // SAFETY: as above: still not hashed.
            unsafe { (*self.as_ptr()).i_ino = 0 };
            // SAFETY: a live superblock.
            let found = unsafe { bindings::ilookup(self.super_block().as_ptr(), ino) };
            if !found.is_null() {
                // SAFETY: `ilookup` gave us a reference to an inode of this superblock.
                return Some(unsafe { InodeRef::from_raw(found) });
            }
            // It has left memory again.
        }
    }

    /// Sets the generation.
    pub fn set_generation(&self, generation: u32) {
        // SAFETY: nobody else uses the inode yet.
        unsafe { (*self.as_ptr()).i_generation = generation }
    }

    /// Sets the inode operations.
    pub fn set_ops(&self, table: InodeOpsTable<T>) {
        // SAFETY: nobody else uses the inode yet; the table lives for ever and is made for inodes of type `T`.
        unsafe { (*self.as_ptr()).i_op = table.as_ptr() }
    }

    /// Sets the file operations.
    pub fn set_file_ops(&self, table: FileOpsTable<T>) {
        // SAFETY: as for `set_ops`.
        unsafe { (*self.as_ptr()).__bindgen_anon_3.i_fop = table.as_ptr() }
    }

    /// Sets the operations of the page cache.
    pub fn set_aspace_ops(&self, table: AspaceOpsTable<T>) {
        // SAFETY: as for `set_ops`; a new inode's mapping is its own `i_data`, and its container is not shared yet.
        unsafe {
            IoQueue::init(&raw mut (*self.as_ptr().cast::<Container<T>>()).io, table.worker);
            (*(*self.as_ptr()).i_mapping).a_ops = table.table;
        }
    }

    /// Makes this a device, socket or fifo; `rdev` is in the encoding of `Inode`'s users (see [`encode_dev`]).
    pub fn init_special(&self, rdev: u32) {
        // SAFETY: nobody else uses the inode yet.
        unsafe { bindings::init_special_inode(self.as_ptr(), self.mode(), extra::vexfs_new_decode_dev(rdev)) }
    }

    /// Sets the target of a symlink; the memory belongs to the inode from here on.
    pub fn set_link(&self, target: &[u8]) -> Result {
        let len = i32::try_from(target.len()).map_err(|_| vexfs_host::Error::NameTooLong)?;
        // SAFETY: `target` is readable for its length.
        let link = unsafe { bindings::kmemdup_nul(target.as_ptr().cast(), target.len(), bindings::GFP_KERNEL_ACCOUNT) };
        if link.is_null() {
            return Err(ENOMEM.into());
        }
        // SAFETY: nobody else uses the inode yet; `free_link` frees the string after the inode's last use.
        unsafe { extra::vexfs_inode_set_cached_link(self.as_ptr(), link, len) };
        Ok(())
    }

    /// Whether `set_link` was called.
    pub fn has_link(&self) -> bool {
        // SAFETY: nobody else uses the inode yet; the pointer is null in a fresh inode.
        unsafe { !(*self.as_ptr()).__bindgen_anon_5.i_link.is_null() }
    }

    /// Makes a hashed inode available to everybody.
    pub fn unlock(self) -> InodeRef<T> {
        let mut this = ManuallyDrop::new(self);
        if this.hashed {
            // SAFETY: `I_NEW` was set on our behalf.
            unsafe { bindings::unlock_new_inode(this.as_ptr()) };
        }
        // SAFETY: `this` is never used again, not even dropped.
        unsafe { ManuallyDrop::take(&mut this.inode) }
    }

    /// Binds the inode to the dentry of its name and makes it available.
    pub fn instantiate(self, dentry: &crate::Dentry<T>) {
        let this = ManuallyDrop::new(self);
        // SAFETY: the dentry is negative and its directory locked (we are in a creating operation); the inode is locked
        // and new. The dentry takes over our reference.
        unsafe { bindings::d_instantiate_new(dentry.as_ptr(), this.as_ptr()) }
    }
}

impl<T: FileSystem> Deref for NewInode<T> {
    type Target = Inode<T>;

    fn deref(&self) -> &Inode<T> {
        &self.inode
    }
}

impl<T: FileSystem> Drop for NewInode<T> {
    fn drop(&mut self) {
        if self.hashed {
            // SAFETY: hashed and locked on our behalf; this unhashes it and gives back our reference.
            unsafe { bindings::iget_failed(self.as_ptr()) }
        } else {
            // SAFETY: `inode` is not used again. It is unhashed, so the last reference frees it.
            drop(unsafe { ManuallyDrop::take(&mut self.inode) });
        }
    }
}

/// The 32-bit form of a device number that userspace and disks use.
pub fn encode_dev(dev: u32) -> u32 {
    // SAFETY: pure arithmetic.
    unsafe { extra::vexfs_new_encode_dev(dev) }
}
