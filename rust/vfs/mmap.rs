// SPDX-License-Identifier: GPL-2.0
//! Shared and private memory mappings of files.
//!
//! A write fault promises space for the folio before it becomes writable, so a program learns of a full device by
//! SIGBUS and never by data that silently could not be written back.
//!
//! C header: `include/linux/mm.h`.

use kernel::ffi::c_int;
use vexfs_bindings as bindings;

use crate::inode::Inode;
use crate::iomap;
use crate::iomap::BlockMap;

struct Tables<T>(core::marker::PhantomData<T>);

impl<T: BlockMap> Tables<T> {
    const VM_OPS: bindings::vm_operations_struct = {
        // SAFETY: All members are optional functions and pointers, for which zero is none.
        let mut table: bindings::vm_operations_struct = unsafe { core::mem::zeroed() };
        table.fault = Some(bindings::filemap_fault);
        table.map_pages = Some(bindings::filemap_map_pages);
        table.page_mkwrite = Some(page_mkwrite::<T>);
        table
    };
}

/// `file_operations.mmap_prepare`.
///
/// # Safety
///
/// The file belongs to a filesystem of type `T`.
pub(crate) unsafe extern "C" fn mmap_prepare<T: BlockMap>(desc: *mut bindings::vm_area_desc) -> c_int {
    // SAFETY: The VFS passes a description to fill in, of a mapping of a file of ours.
    unsafe {
        bindings::vexfs_file_accessed((*desc).file);
        (*desc).vm_ops = &Tables::<T>::VM_OPS;
    }
    0
}

/// Makes the folio of a fault writable.
///
/// # Safety
///
/// `vmf` is that of a `page_mkwrite` call on a file of type `T`, which `inode` is, within sb_start_pagefault().
unsafe fn write_fault<T: BlockMap>(inode: &Inode<T>, vmf: *mut bindings::vm_fault) -> bindings::vm_fault_t {
    // SAFETY: By the caller's promise.
    unsafe {
        bindings::vexfs_filemap_invalidate_lock_shared(inode.mapping());
        let result = iomap::page_mkwrite::<T>(vmf);
        bindings::vexfs_filemap_invalidate_unlock_shared(inode.mapping());
        result
    }
}

/// `vm_operations_struct.page_mkwrite`.
unsafe extern "C" fn page_mkwrite<T: BlockMap>(vmf: *mut bindings::vm_fault) -> bindings::vm_fault_t {
    // SAFETY: A fault in a mapping of a file of ours; the mapping holds the file. Freezing is kept out for the time of
    // the change, and the invalidate lock keeps truncation out.
    unsafe {
        let file = (*(*vmf).__bindgen_anon_1.vma).vm_file;
        let inode = Inode::<T>::from_raw((*file).f_inode);
        let sb = (*inode.as_ptr()).i_sb;
        bindings::vexfs_sb_start_pagefault(sb);
        // A time that cannot be set is no reason to kill the program.
        bindings::file_update_time(file);
        let mut result = write_fault::<T>(inode, vmf);
        // Promises are for the worst case, and space freed is free after the next commit only.
        if result & bindings::vm_fault_reason_VM_FAULT_SIGBUS != 0 && T::make_room(inode) {
            result = write_fault::<T>(inode, vmf);
        }
        bindings::vexfs_sb_end_pagefault(sb);
        result
    }
}
