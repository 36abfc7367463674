// SPDX-License-Identifier: GPL-2.0
//! What stat and statfs return.
//!
//! C headers: `include/linux/stat.h`, `include/linux/statfs.h`.

use crate::filesystem::FileSystem;
use crate::idmap::Idmap;
use crate::inode::Inode;
use crate::Time;
use kernel::bindings;
use kernel::ffi;
use vexfs_bindings as extra;

/// The attributes of one inode, for `statx`.
#[repr(transparent)]
pub struct KStat(bindings::kstat);

impl KStat {
    /// Wraps the buffer of a `getattr` call.
    ///
    /// # Safety
    ///
    /// `ptr` is valid, initialised and used by nobody else for `'a`.
    pub(crate) unsafe fn from_raw<'a>(ptr: *mut bindings::kstat) -> &'a mut Self {
        // SAFETY: by the contract; the struct is transparent.
        unsafe { &mut *ptr.cast() }
    }

    /// Fills in what the VFS inode knows.
    pub fn fill<T: FileSystem>(&mut self, idmap: Idmap<'_>, request_mask: u32, inode: &Inode<T>) {
        // SAFETY: valid pointers for the call.
        unsafe { bindings::generic_fillattr(idmap.as_ptr(), request_mask, inode.as_ptr(), &mut self.0) }
    }

    /// The time of creation.
    pub fn set_btime(&mut self, time: Time) {
        self.0.result_mask |= bindings::STATX_BTIME;
        self.0.btime = time.to_raw();
    }

    /// Attribute bits (`STATX_ATTR_*`) that are supported, and those that are set.
    pub fn set_attributes(&mut self, supported: u32, set: u32) {
        self.0.attributes_mask |= u64::from(supported);
        self.0.attributes |= u64::from(set & supported);
    }

    /// Alignments that direct I/O needs, in memory and in the file.
    pub fn set_dio_align(&mut self, memory: u32, offset: u32) {
        self.0.result_mask |= bindings::STATX_DIOALIGN;
        self.0.dio_mem_align = memory;
        self.0.dio_offset_align = offset;
    }

    /// The size, in bytes.
    pub fn set_size(&mut self, bytes: u64) {
        self.0.size = bytes.min(i64::MAX as u64) as i64;
    }

    /// The space used, in units of 512 bytes.
    pub fn set_blocks(&mut self, sectors: u64) {
        self.0.blocks = sectors;
    }

    /// Adds to the space used, in units of 512 bytes (data that has no blocks yet).
    pub fn add_blocks(&mut self, sectors: u64) {
        self.0.blocks = self.0.blocks.saturating_add(sectors);
    }
}

/// Space and files of a filesystem.
#[repr(transparent)]
pub struct StatFs(extra::kstatfs);

impl StatFs {
    /// Wraps the buffer of a `statfs` call.
    ///
    /// # Safety
    ///
    /// `ptr` is valid, initialised and used by nobody else for `'a`.
    pub(crate) unsafe fn from_raw<'a>(ptr: *mut extra::kstatfs) -> &'a mut Self {
        // SAFETY: by the contract; the struct is transparent.
        unsafe { &mut *ptr.cast() }
    }

    /// Type, block size and identity.
    pub fn set_identity(&mut self, magic: u32, block_size: u32, id: u64, name_max: u32) {
        self.0.f_type = magic as ffi::c_long;
        self.0.f_bsize = block_size as ffi::c_long;
        self.0.f_frsize = block_size as ffi::c_long;
        self.0.f_fsid.val = [id as i32, (id >> 32) as i32];
        self.0.f_namelen = name_max as ffi::c_long;
    }

    /// Blocks: all, free, and free for unprivileged users.
    pub fn set_blocks(&mut self, all: u64, free: u64, available: u64) {
        self.0.f_blocks = all;
        self.0.f_bfree = free;
        self.0.f_bavail = available;
    }

    /// Files: all there can be, and how many more.
    pub fn set_files(&mut self, all: u64, free: u64) {
        self.0.f_files = all;
        self.0.f_ffree = free;
    }
}
