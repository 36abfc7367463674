// SPDX-License-Identifier: GPL-2.0
//! The memory of inodes: a slab cache of [`Container`]s.
//!
//! The C part is constructed once a slab (`inode_init_once`). The Rust part is made in `alloc_inode` and dropped in
//! `destroy_inode`, which is always process context, so dropping it may sleep. The memory itself goes back after an RCU
//! grace period, because path walks under RCU may still look at the C part and at a symlink's target.
//!
//! C header: `include/linux/slab.h`.

use crate::filesystem::FileSystem;
use crate::inode::Container;
use crate::Result;
use core::mem::MaybeUninit;
use core::ptr::NonNull;
use kernel::bindings;
use kernel::error::code::*;
use kernel::ffi;
use vexfs_bindings as extra;

/// Makes the slab cache of the containers.
pub(crate) fn create<T: FileSystem>() -> Result<NonNull<bindings::kmem_cache>> {
    let mut args = bindings::kmem_cache_args {
        ctor: Some(construct),
        ..Default::default()
    };
    let size = core::mem::size_of::<Container<T>>();
    args.align = core::mem::align_of::<Container<T>>() as ffi::c_uint;
    // SAFETY: the name is static, `args` lives across the call, and the constructor suits objects that start with an
    // inode.
    let cache = unsafe {
        bindings::__kmem_cache_create_args(
            T::CACHE_NAME.as_ptr().cast(),
            size as ffi::c_uint,
            &mut args,
            extra::SLAB_RECLAIM_ACCOUNT | extra::SLAB_ACCOUNT,
        )
    };
    NonNull::new(cache).ok_or(ENOMEM.into())
}

unsafe extern "C" fn construct(object: *mut ffi::c_void) {
    // SAFETY: the slab allocator passes an object of the cache, which begins with a `struct inode`.
    unsafe { bindings::inode_init_once(object.cast()) }
}

/// `super_operations.alloc_inode`.
pub(crate) unsafe extern "C" fn alloc_inode<T: FileSystem>(sb: *mut bindings::super_block) -> *mut bindings::inode {
    let cache = T::fs_type().cache();
    // SAFETY: `sb` is live and the cache exists as long as the type is registered.
    let inode = unsafe { extra::vexfs_alloc_inode_sb(sb, cache) };
    if inode.is_null() {
        return inode;
    }
    match T::new_inode_data() {
        Ok(data) => {
            let container = inode.cast::<Container<T>>();
            // SAFETY: the object is a container of ours alone; its data is uninitialised.
            unsafe { (&raw mut (*container).data).write(MaybeUninit::new(data)) };
            inode
        }
        Err(_) => {
            // SAFETY: just allocated from this cache.
            unsafe { bindings::kmem_cache_free(cache, inode.cast()) };
            core::ptr::null_mut()
        }
    }
}

/// `super_operations.destroy_inode`.
pub(crate) unsafe extern "C" fn destroy_inode<T: FileSystem>(inode: *mut bindings::inode) {
    let container = inode.cast::<Container<T>>();
    // SAFETY: the inode is a container whose data `alloc_inode` made; the last reference is gone, so nobody uses the
    // data any more (RCU walkers only look at the C part), and this runs once.
    unsafe { (*container).data.assume_init_drop() }
}

/// `super_operations.free_inode`, called after a grace period.
pub(crate) unsafe extern "C" fn free_inode<T: FileSystem>(inode: *mut bindings::inode) {
    // SAFETY: nobody sees the inode any more. A symlink's `i_link` is null or came from `set_link`; other types use the
    // union for other things.
    unsafe {
        if u32::from((*inode).i_mode) & bindings::S_IFMT == bindings::S_IFLNK {
            bindings::kfree((*inode).__bindgen_anon_5.i_link.cast());
        }
        bindings::kmem_cache_free(T::fs_type().cache(), inode.cast());
    }
}
