// SPDX-License-Identifier: GPL-2.0
//! File handles: names for inodes that survive a reboot, for NFS and `name_to_handle_at`.
//!
//! A handle is the inode number (64 bits, low word first) and the generation, for a child with a parent twice: the
//! types `FILEID_INO64_GEN` and `FILEID_INO64_GEN_PARENT` of the kernel.
//!
//! C header: `include/linux/exportfs.h`.

use crate::answer;
use crate::filesystem::FileSystem;
use crate::inode::Inode;
use crate::inode::InodeRef;
use crate::super_block::SuperBlock;
use crate::Failure;
use crate::Result;
use core::marker::PhantomData;
use kernel::bindings;
use kernel::error::Error as Errno;
use kernel::ffi;
use vexfs_bindings as extra;

/// 32-bit words of one inode in a handle.
const WORDS: usize = 3;

/// The table for superblocks of type `T`.
pub(crate) const fn operations<T: FileSystem>() -> *const extra::export_operations {
    Table::<T>::OPERATIONS
}

struct Table<T>(PhantomData<T>);

/// Writes an inode's words.
fn put<T: FileSystem>(words: &mut [u32], inode: &Inode<T>) {
    let values = [inode.ino() as u32, (inode.ino() >> 32) as u32, inode.generation()];
    for (word, value) in words.iter_mut().zip(values) {
        *word = value;
    }
}

/// Reads an inode's words.
fn take(words: &[u32]) -> Option<(u64, u32)> {
    match words {
        [low, high, generation, ..] => Some((u64::from(*low) | u64::from(*high) << 32, *generation)),
        _ => None,
    }
}

fn dentry_of<T: FileSystem>(sb: &SuperBlock<T>, found: Result<InodeRef<T>>) -> *mut bindings::dentry {
    match found {
        // SAFETY: takes over the reference.
        Ok(inode) => unsafe { bindings::d_obtain_alias(inode.into_raw()) },
        Err(failure) => Errno::from_errno(crate::fail(sb, failure)).to_ptr(),
    }
}

impl<T: FileSystem> Table<T> {
    const OPERATIONS: &'static extra::export_operations = &extra::export_operations {
        encode_fh: Some(Self::encode_fh),
        fh_to_dentry: Some(Self::fh_to_dentry),
        fh_to_parent: Some(Self::fh_to_parent),
        get_parent: Some(Self::get_parent),
        commit_metadata: Some(Self::commit_metadata),
        // SAFETY: nullable pointers and integers, for which zero is a valid value.
        ..unsafe { core::mem::MaybeUninit::zeroed().assume_init() }
    };

    unsafe extern "C" fn encode_fh(
        inode: *mut bindings::inode,
        fh: *mut u32,
        max_len: *mut ffi::c_int,
        parent: *mut bindings::inode,
    ) -> ffi::c_int {
        let needed = if parent.is_null() { WORDS } else { 2 * WORDS };
        // SAFETY: `max_len` is valid for the call.
        let room = unsafe { *max_len };
        // SAFETY: as above.
        unsafe { *max_len = needed as ffi::c_int };
        if usize::try_from(room).unwrap_or(0) < needed {
            return extra::fid_type_FILEID_INVALID as ffi::c_int;
        }
        // SAFETY: the buffer has `room` words; live inodes of this type, the second one if not null.
        unsafe {
            let words = core::slice::from_raw_parts_mut(fh, needed);
            put(words, Inode::<T>::from_raw(inode));
            if parent.is_null() {
                extra::fid_type_FILEID_INO64_GEN as ffi::c_int
            } else {
                if let Some(rest) = words.get_mut(WORDS..) {
                    put(rest, Inode::<T>::from_raw(parent));
                }
                extra::fid_type_FILEID_INO64_GEN_PARENT as ffi::c_int
            }
        }
    }

    /// # Safety
    ///
    /// A live superblock of this type, and `len` words at `fid`.
    unsafe fn find(
        sb: *mut bindings::super_block,
        fid: *mut extra::fid,
        len: ffi::c_int,
        skip: usize,
    ) -> *mut bindings::dentry {
        let Ok(len) = usize::try_from(len) else {
            return core::ptr::null_mut();
        };
        // SAFETY: by the contract.
        let (sb, words) = unsafe {
            (
                SuperBlock::<T>::from_raw(sb),
                core::slice::from_raw_parts(fid.cast::<u32>(), len),
            )
        };
        match words.get(skip..).and_then(take) {
            Some((ino, generation)) => dentry_of(sb, T::by_handle(sb, ino, generation)),
            None => core::ptr::null_mut(),
        }
    }

    unsafe extern "C" fn fh_to_dentry(
        sb: *mut bindings::super_block,
        fid: *mut extra::fid,
        len: ffi::c_int,
        kind: ffi::c_int,
    ) -> *mut bindings::dentry {
        if kind != extra::fid_type_FILEID_INO64_GEN as ffi::c_int
            && kind != extra::fid_type_FILEID_INO64_GEN_PARENT as ffi::c_int
        {
            return core::ptr::null_mut();
        }
        // SAFETY: called by exportfs with a handle of `len` words.
        unsafe { Self::find(sb, fid, len, 0) }
    }

    unsafe extern "C" fn fh_to_parent(
        sb: *mut bindings::super_block,
        fid: *mut extra::fid,
        len: ffi::c_int,
        kind: ffi::c_int,
    ) -> *mut bindings::dentry {
        if kind != extra::fid_type_FILEID_INO64_GEN_PARENT as ffi::c_int {
            return core::ptr::null_mut();
        }
        // SAFETY: as above.
        unsafe { Self::find(sb, fid, len, WORDS) }
    }

    unsafe extern "C" fn get_parent(child: *mut bindings::dentry) -> *mut bindings::dentry {
        // SAFETY: called by exportfs: a positive dentry of a directory.
        let dir = unsafe { Inode::<T>::from_raw((*child).d_inode) };
        dentry_of(dir.super_block(), T::parent(dir))
    }

    unsafe extern "C" fn commit_metadata(inode: *mut bindings::inode) -> ffi::c_int {
        // SAFETY: a live inode of this type.
        let inode = unsafe { Inode::<T>::from_raw(inode) };
        answer(inode.super_block(), T::commit_metadata(inode))
    }
}

/// The error for a handle whose inode is gone.
pub fn stale() -> Failure {
    Failure::Errno(Errno::from_errno(-(extra::ESTALE as ffi::c_int)))
}
