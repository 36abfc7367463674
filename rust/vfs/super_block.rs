// SPDX-License-Identifier: GPL-2.0
//! Superblocks: the wrapper type, the table of superblock operations and how a mount fills one in.
//!
//! A mount's own state ([`FileSystem::Info`]) hangs off `s_fs_info`. It is made before the root inode is read and
//! dropped in `put_super`, or in `fill_super` when the mount fails before there is a root: C calls `put_super` only for
//! superblocks with a root.
//!
//! C headers: `include/linux/fs/super.h`, `include/linux/fs/super_types.h`.

use crate::answer;
use crate::fail;
use crate::filesystem::FileSystem;
use crate::inode::Inode;
use crate::inode::InodeRef;
use crate::inode_cache;
use crate::new_inode::NewInode;
use crate::stat::StatFs;
use crate::to_result;
use crate::Failure;
use crate::Result;
use core::marker::PhantomData;
use kernel::alloc::KBox;
use kernel::bindings;
use kernel::error::code::*;
use kernel::ffi;
use kernel::prelude::GFP_KERNEL;
use kernel::seq_file::SeqFile;
use kernel::types::ForeignOwnable;
use kernel::types::Opaque;
use vexfs_bindings as extra;

/// A superblock of a filesystem of type `T`.
///
/// # Invariants
///
/// `s_fs_info` is null or points to a `T::Info` made by `fill_super`.
#[repr(transparent)]
pub struct SuperBlock<T: FileSystem>(Opaque<bindings::super_block>, PhantomData<T>);

// SAFETY: superblocks are used from all threads; the methods touch words the VFS lets everybody read, or call functions
// that do their own locking.
unsafe impl<T: FileSystem> Send for SuperBlock<T> {}
// SAFETY: as above; `T::Info` is `Sync`.
unsafe impl<T: FileSystem> Sync for SuperBlock<T> {}

/// What a filesystem says of itself when it is mounted.
pub struct Geometry {
    /// The `f_type` of statfs.
    pub magic: u32,
    /// Bytes in a block, a power of two.
    pub block_size: u32,
    /// The largest file, in bytes.
    pub max_bytes: u64,
    /// Oldest and newest second a file time can hold.
    pub time_range: (i64, i64),
    /// The filesystem's UUID.
    pub uuid: [u8; 16],
    /// The most links a file can have.
    pub max_links: u32,
}

impl<T: FileSystem> SuperBlock<T> {
    /// Makes a reference from a C pointer.
    ///
    /// # Safety
    ///
    /// `ptr` is a valid superblock of a filesystem of type `T` for `'a`.
    pub unsafe fn from_raw<'a>(ptr: *mut bindings::super_block) -> &'a Self {
        // SAFETY: by the contract; the struct is transparent.
        unsafe { &*ptr.cast() }
    }

    /// The C superblock.
    pub fn as_ptr(&self) -> *mut bindings::super_block {
        self.0.get()
    }

    /// The mount's own state.
    ///
    /// It is there from before the root inode is read until `put_super` returns, that is, whenever the VFS can call an
    /// operation of an inode, a file or the superblock. What makes it gets a [`NewSuperBlock`] instead.
    pub fn info(&self) -> &T::Info {
        // SAFETY: by the type invariant and because every caller of this crate's traits that gets a `SuperBlock` runs
        // inside an operation of a mounted superblock; `fill` sets the pointer before the first of them.
        unsafe { &*(*self.as_ptr()).s_fs_info.cast::<T::Info>() }
    }

    /// The name of the device, for messages and paths.
    pub fn id(&self) -> &str {
        // SAFETY: set before `fill_super`, NUL-terminated, constant afterwards.
        let id = unsafe { &(*self.as_ptr()).s_id };
        let len = id.iter().position(|&byte| byte == 0).unwrap_or(id.len());
        // SAFETY: `c_char` is a byte; `len` is within the array.
        let id = unsafe { core::slice::from_raw_parts(id.as_ptr().cast(), len) };
        core::str::from_utf8(id).unwrap_or("?")
    }

    /// The device number in the encoding userspace knows.
    pub fn dev(&self) -> u32 {
        // SAFETY: constant after the superblock was made.
        crate::new_inode::encode_dev(unsafe { (*self.as_ptr()).s_dev })
    }

    /// Whether the filesystem is mounted read-only.
    pub fn is_read_only(&self) -> bool {
        self.has_flag(extra::SB_RDONLY)
    }

    fn has_flag(&self, flag: u32) -> bool {
        // SAFETY: a valid superblock; one word.
        let flags = unsafe { (&raw const (*self.as_ptr()).s_flags).read_volatile() };
        flags & (flag as ffi::c_ulong) != 0
    }

    /// Whether there are inodes without links that someone still uses.
    pub fn has_unlinked_inodes(&self) -> bool {
        // SAFETY: a valid superblock; an atomic counter, read as one word.
        unsafe { (&raw const (*self.as_ptr()).s_remove_count.counter).read_volatile() != 0 }
    }

    /// Finds an inode by number, calling `fill` for one that is not in memory.
    pub fn iget(&self, ino: u64, fill: impl FnOnce(&NewInode<T>) -> Result) -> Result<InodeRef<T>> {
        // SAFETY: a live superblock.
        let inode = unsafe { bindings::iget_locked(self.as_ptr(), ino) };
        if inode.is_null() {
            return Err(ENOMEM.into());
        }
        // SAFETY: a valid inode; I_NEW cannot change under us if it is set, and is never set again once it is clear.
        let state = unsafe { (&raw const (*inode).i_state.__state).read_volatile() };
        if state & bindings::inode_state_flags_enum_I_NEW == 0 {
            // SAFETY: `iget_locked` gave us a reference.
            let inode = unsafe { InodeRef::from_raw(inode) };
            return if inode.is_bad() { Err(EIO.into()) } else { Ok(inode) };
        }
        // SAFETY: `iget_locked` returned it hashed and locked, with a reference for us.
        let new = unsafe { NewInode::from_locked(inode) };
        fill(&new)?;
        Ok(new.unlock())
    }

    /// Keeps the filesystem from being frozen while the result lives; waits while it is frozen.
    ///
    /// For changes that no system call protects: deleting an inode when its last user goes away.
    pub fn no_freeze(&self) -> FreezeGuard<'_, T> {
        // SAFETY: a live superblock.
        unsafe { extra::vexfs_sb_start_intwrite(self.as_ptr()) };
        FreezeGuard(self)
    }

    fn set_geometry(&self, geometry: &Geometry) -> Result {
        let sb = self.as_ptr();
        let size = ffi::c_int::try_from(geometry.block_size).map_err(|_| EINVAL)?;
        // SAFETY: the superblock is being set up and belongs to this thread.
        unsafe {
            if bindings::sb_set_blocksize(sb, size) == 0 {
                vexfs_host::log!(err, "the device cannot do blocks of {} bytes", size);
                return Err(EINVAL.into());
            }
            (*sb).s_magic = geometry.magic as ffi::c_ulong;
            (*sb).s_maxbytes = i64::try_from(geometry.max_bytes).unwrap_or(i64::MAX);
            (*sb).s_time_gran = 1;
            (*sb).s_time_min = geometry.time_range.0;
            (*sb).s_time_max = geometry.time_range.1;
            (*sb).s_max_links = geometry.max_links;
            extra::vexfs_super_set_uuid(sb, geometry.uuid.as_ptr(), 16);
        }
        Ok(())
    }
}

/// A superblock that is being mounted and has no state of its own yet.
pub struct NewSuperBlock<'a, T: FileSystem>(&'a SuperBlock<T>);

impl<T: FileSystem> NewSuperBlock<'_, T> {
    /// The block device as the layers below see it.
    pub fn device(&self) -> Result<vexfs_host::device::Device> {
        // SAFETY: set before `fill_super`, where we are.
        let file = core::ptr::NonNull::new(unsafe { (*self.0.as_ptr()).s_bdev_file }).ok_or(ENODEV)?;
        // SAFETY: opened on the device for this superblock, and for writing unless that is read-only.
        Ok(unsafe { vexfs_host::device::Device::from_file(file) }.ok_or(ENODEV)?)
    }

    /// Whether it is mounted read-only.
    pub fn is_read_only(&self) -> bool {
        self.0.is_read_only()
    }
}

/// Proof that the filesystem is not frozen; see [`SuperBlock::no_freeze`].
pub struct FreezeGuard<'a, T: FileSystem>(&'a SuperBlock<T>);

impl<T: FileSystem> Drop for FreezeGuard<'_, T> {
    fn drop(&mut self) {
        // SAFETY: pairs with `vexfs_sb_start_intwrite` in `no_freeze`.
        unsafe { extra::vexfs_sb_end_intwrite(self.0.as_ptr()) }
    }
}

/// Sets a superblock up for a mount; `get_tree_bdev` calls it (see `fs_context`).
pub(crate) fn fill<T: FileSystem>(sb: &SuperBlock<T>, options: &T::Options) -> Result {
    let raw = sb.as_ptr();
    // SAFETY: the superblock is new and belongs to this thread.
    unsafe {
        (*raw).s_op = Table::<T>::OPERATIONS;
        (*raw).s_xattr = T::xattr_handlers().as_ptr();
        (*raw).s_export_op = crate::export::operations::<T>().cast();
        (*raw).s_iflags |= extra::SB_I_CGROUPWB as ffi::c_ulong;
    }
    let (info, geometry) = T::mount(&NewSuperBlock(sb), options)?;
    sb.set_geometry(&geometry)?;
    let info = KBox::new(info, GFP_KERNEL).map_err(|_| ENOMEM)?;
    // SAFETY: as above. This establishes the type invariant.
    unsafe { (*raw).s_fs_info = info.into_foreign().cast() };
    let result = T::root(sb).and_then(|root| {
        // SAFETY: takes over the reference to a valid directory inode of this superblock.
        let dentry = unsafe { bindings::d_make_root(root.into_raw()) };
        if dentry.is_null() {
            return Err(ENOMEM.into());
        }
        // SAFETY: the superblock belongs to this thread.
        unsafe { (*raw).s_root = dentry };
        Ok(())
    });
    if let Err(failure) = result {
        drop_info(sb);
        return Err(failure);
    }
    // From here on put_super() cleans up.
    T::mounted(sb)
}

/// Drops the mount's state, if there is one.
fn drop_info<T: FileSystem>(sb: &SuperBlock<T>) {
    let raw = sb.as_ptr();
    // SAFETY: nobody uses the superblock any more, or yet; the pointer is null or came from `into_foreign` in `fill`.
    unsafe {
        let info = (*raw).s_fs_info;
        (*raw).s_fs_info = core::ptr::null_mut();
        if !info.is_null() {
            drop(KBox::<T::Info>::from_foreign(info.cast()));
        }
    }
}

/// The operations of superblocks of type `T`.
struct Table<T>(PhantomData<T>);

impl<T: FileSystem> Table<T> {
    const OPERATIONS: &'static bindings::super_operations = &bindings::super_operations {
        alloc_inode: Some(inode_cache::alloc_inode::<T>),
        destroy_inode: Some(inode_cache::destroy_inode::<T>),
        free_inode: Some(inode_cache::free_inode::<T>),
        write_inode: Some(Self::write_inode),
        evict_inode: Some(Self::evict_inode),
        put_super: Some(Self::put_super),
        sync_fs: Some(Self::sync_fs),
        freeze_fs: Some(Self::freeze_fs),
        unfreeze_fs: Some(Self::unfreeze_fs),
        statfs: Some(Self::statfs),
        show_options: Some(Self::show_options),
        shutdown: Some(Self::shutdown),
        // SAFETY: all members are nullable function pointers, for which zero is a valid value.
        ..unsafe { core::mem::MaybeUninit::zeroed().assume_init() }
    };

    unsafe extern "C" fn write_inode(inode: *mut bindings::inode, _: *mut bindings::writeback_control) -> ffi::c_int {
        // SAFETY: the VFS passes a live inode of this filesystem.
        let inode = unsafe { Inode::<T>::from_raw(inode) };
        answer(inode.super_block(), T::write_inode(inode))
    }

    unsafe extern "C" fn evict_inode(inode: *mut bindings::inode) {
        // SAFETY: the inode is being freed: this call is its only user, and `i_data` is its own.
        unsafe { bindings::truncate_inode_pages_final(&raw mut (*inode).i_data) };
        {
            // SAFETY: as above; the Rust data lives until `destroy_inode`.
            let inode = unsafe { Inode::<T>::from_raw(inode) };
            if let Err(failure) = T::evict(inode) {
                fail(inode.super_block(), failure);
            }
        }
        // SAFETY: as above.
        unsafe { bindings::clear_inode(inode) };
    }

    unsafe extern "C" fn put_super(sb: *mut bindings::super_block) {
        // SAFETY: a superblock that was mounted; all its inodes are gone.
        let sb = unsafe { SuperBlock::<T>::from_raw(sb) };
        T::put_super(sb);
        drop_info(sb);
    }

    unsafe extern "C" fn sync_fs(sb: *mut bindings::super_block, wait: ffi::c_int) -> ffi::c_int {
        // SAFETY: a mounted superblock.
        let sb = unsafe { SuperBlock::<T>::from_raw(sb) };
        answer(sb, T::sync_fs(sb, wait != 0))
    }

    unsafe extern "C" fn freeze_fs(sb: *mut bindings::super_block) -> ffi::c_int {
        // SAFETY: a mounted superblock.
        let sb = unsafe { SuperBlock::<T>::from_raw(sb) };
        answer(sb, T::freeze(sb))
    }

    unsafe extern "C" fn unfreeze_fs(sb: *mut bindings::super_block) -> ffi::c_int {
        // SAFETY: a mounted superblock.
        let sb = unsafe { SuperBlock::<T>::from_raw(sb) };
        answer(sb, T::unfreeze(sb))
    }

    unsafe extern "C" fn shutdown(sb: *mut bindings::super_block) {
        // SAFETY: a mounted superblock whose device went away.
        T::device_gone(unsafe { SuperBlock::<T>::from_raw(sb) });
    }

    unsafe extern "C" fn statfs(dentry: *mut bindings::dentry, buf: *mut bindings::kstatfs) -> ffi::c_int {
        // SAFETY: a live dentry of this filesystem and a buffer for the answer, which is ours for the call.
        let (sb, buf) = unsafe { (SuperBlock::<T>::from_raw((*dentry).d_sb), StatFs::from_raw(buf.cast())) };
        answer(sb, T::statfs(sb, buf))
    }

    unsafe extern "C" fn show_options(seq: *mut bindings::seq_file, dentry: *mut bindings::dentry) -> ffi::c_int {
        // SAFETY: a live dentry of this filesystem and a seq file that is ours for the call.
        let (sb, seq) = unsafe { (SuperBlock::<T>::from_raw((*dentry).d_sb), SeqFile::from_raw(seq)) };
        T::show_options(sb, seq);
        0
    }
}

/// The callback of `get_tree_bdev`.
pub(crate) unsafe extern "C" fn fill_super<T: FileSystem>(
    sb: *mut bindings::super_block,
    fc: *mut extra::fs_context,
) -> ffi::c_int {
    // SAFETY: a new superblock of this filesystem, and the context whose options `init_fs_context` made.
    let (sb, options) = unsafe { (SuperBlock::<T>::from_raw(sb), crate::fs_context::options::<T>(fc)) };
    match fill(sb, options) {
        Ok(()) => 0,
        Err(failure) => {
            // Not reported to the filesystem: there is none yet. A silent mount tries one type after another.
            if let (Failure::Host(error), false) = (&failure, sb.has_flag(extra::SB_SILENT)) {
                vexfs_host::log!(err, "{}: cannot be mounted: {}", sb.id(), error);
            }
            failure.to_errno()
        }
    }
}

/// `sync_filesystem`, before a remount changes anything.
pub(crate) fn sync<T: FileSystem>(sb: &SuperBlock<T>) -> Result {
    // SAFETY: the caller holds `s_umount` (we are in a remount).
    to_result(unsafe { bindings::sync_filesystem(sb.as_ptr()) })
}
