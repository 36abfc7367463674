// SPDX-License-Identifier: GPL-2.0
//! The page cache's view of a file.
//!
//! C header: `include/linux/fs.h`.

use kernel::ffi::c_int;
use vexfs_bindings as bindings;

use crate::completion;
use crate::inode::AspaceOpsTable;
use crate::iomap;
use crate::iomap::BlockMap;
use crate::new_inode::NewInode;

struct Tables<T>(core::marker::PhantomData<T>);

impl<T: BlockMap> Tables<T> {
    const ASPACE: bindings::address_space_operations = {
        // SAFETY: All members are optional functions, for which zero is none.
        let mut table: bindings::address_space_operations = unsafe { core::mem::zeroed() };
        table.read_folio = Some(read_folio::<T>);
        table.readahead = Some(readahead::<T>);
        table.writepages = Some(writepages::<T>);
        table.dirty_folio = Some(bindings::iomap_dirty_folio);
        table.release_folio = Some(bindings::iomap_release_folio);
        table.invalidate_folio = Some(bindings::iomap_invalidate_folio);
        table.migrate_folio = Some(bindings::filemap_migrate_folio);
        table.is_partially_uptodate = Some(bindings::iomap_is_partially_uptodate);
        table.error_remove_folio = Some(bindings::generic_error_remove_folio);
        table
    };
}

/// The table for regular files.
pub fn table<T: BlockMap>() -> AspaceOpsTable<T> {
    // SAFETY: The functions below fit inodes of type `T`, as does the worker.
    unsafe { AspaceOpsTable::new(&Tables::<T>::ASPACE, Some(completion::worker::<T>)) }
}

impl<T: BlockMap> NewInode<T> {
    /// Lets the page cache use large folios, none smaller than a block.
    pub fn allow_large_folios(&self) {
        // SAFETY: A new inode, which has no folios yet.
        unsafe {
            let order = u32::from((*self.as_ptr()).i_blkbits).saturating_sub(bindings::PAGE_SHIFT);
            bindings::vexfs_mapping_set_folio_min_order(self.mapping(), order);
        }
    }

    /// Lets nobody write to a folio while it is on its way to the device: its checksum must be that of what arrives
    /// there.
    pub fn keep_writes_stable(&self) {
        // SAFETY: As above.
        unsafe { bindings::vexfs_mapping_set_stable_writes(self.mapping()) };
    }
}

unsafe extern "C" fn read_folio<T: BlockMap>(_file: *mut bindings::file, folio: *mut bindings::folio) -> c_int {
    // SAFETY: Called by the page cache for an inode of ours.
    unsafe { iomap::read_folio::<T>(folio) };
    0
}

unsafe extern "C" fn readahead<T: BlockMap>(rac: *mut bindings::readahead_control) {
    // SAFETY: Called by the page cache for an inode of ours.
    unsafe { iomap::readahead::<T>(rac) };
}

unsafe extern "C" fn writepages<T: BlockMap>(
    mapping: *mut bindings::address_space,
    wbc: *mut bindings::writeback_control,
) -> c_int {
    // SAFETY: Called by the page cache for an inode of ours.
    unsafe { iomap::writepages::<T>(mapping, wbc) }
}
