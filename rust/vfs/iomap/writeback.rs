// SPDX-License-Identifier: GPL-2.0
//! Writeback: dirty folios on their way to newly allocated space.

use kernel::error::code::EIO;
use kernel::ffi::c_int;
use kernel::ffi::c_uint;
use vexfs_bindings as bindings;

use super::describe;
use super::Allocation;
use super::Backing;
use super::BlockMap;
use super::Mapping;
use crate::completion::end_bio;
use crate::fail;
use crate::folio::folio_end;
use crate::folio::MappedPage;
use crate::inode::Inode;
use crate::to_result;
use crate::Result;

struct Tables<T>(core::marker::PhantomData<T>);

impl<T: BlockMap> Tables<T> {
    const WRITEBACK: bindings::iomap_writeback_ops = bindings::iomap_writeback_ops {
        writeback_range: Some(writeback_range::<T>),
        writeback_submit: Some(writeback_submit::<T>),
    };
}

/// `iomap_writeback_ops.writeback_range`.
unsafe extern "C" fn writeback_range<T: BlockMap>(
    wpc: *mut bindings::iomap_writepage_ctx,
    folio: *mut bindings::folio,
    pos: u64,
    len: c_uint,
    end: u64,
) -> isize {
    // SAFETY: iomap passes its context, for an inode of ours and a locked folio of it.
    unsafe {
        let inode = Inode::<T>::from_raw((*wpc).inode);
        match write_range(inode, wpc, folio, pos, len, end) {
            Ok(done) => done,
            Err(failure) => {
                // The folio becomes clean all the same, as with other filesystems; the error is kept for fsync.
                T::unreserve(inode, pos, folio_end(folio).saturating_sub(pos));
                fail(inode.super_block(), failure) as isize
            }
        }
    }
}

/// Puts dirty data on its way; returns how much of it.
///
/// # Safety
///
/// `wpc` and `folio` are those of a `writeback_range` call.
unsafe fn write_range<T: BlockMap>(
    inode: &Inode<T>,
    wpc: *mut bindings::iomap_writepage_ctx,
    folio: *mut bindings::folio,
    pos: u64,
    len: c_uint,
    end: u64,
) -> Result<isize> {
    // SAFETY: By the caller's promise; nobody else uses the context.
    let iomap = unsafe { &mut (*wpc).iomap };
    let mut mapping = Mapping {
        offset: pos,
        length: u64::from(len),
        backing: Backing::Hole,
        reserved: false,
        in_flight: false,
    };
    // `end` is the end of the file if that lies in this folio, so this is the whole content.
    if pos == 0 && end <= T::INLINE_MAX {
        // SAFETY: The folio is locked, so referenced; the mapping of the page ends within this block.
        let page = unsafe { MappedPage::first(folio) }.ok_or(EIO)?;
        if T::write_inline(inode, end as usize, &mut |to| page.copy_to(to))? {
            // Recorded already: iomap has nothing to wait for.
            describe(inode, iomap, &mapping);
            return Ok(len as isize);
        }
    }
    let (addr, length) = match T::allocate(inode, pos, u64::from(len))? {
        Allocation::Disk { addr, len } => (addr, len),
        Allocation::Nothing { len } => {
            mapping.length = len;
            describe(inode, iomap, &mapping);
            return Ok(len as isize);
        }
    };
    mapping.backing = Backing::Disk(addr);
    mapping.length = length;
    describe(inode, iomap, &mapping);
    // SAFETY: The mapping covers the range, which lies in the locked folio.
    let added = unsafe { bindings::iomap_add_to_ioend(wpc, folio, pos as i64, end as i64, length as c_uint) };
    if added < 0 {
        T::release(inode, pos, length, addr);
        to_result(added as c_int)?;
    }
    Ok(added)
}

/// `iomap_writeback_ops.writeback_submit`.
unsafe extern "C" fn writeback_submit<T: BlockMap>(wpc: *mut bindings::iomap_writepage_ctx, error: c_int) -> c_int {
    // SAFETY: iomap passes a context with an ioend; its bio completes through `end_bio`, also when there is an error.
    unsafe {
        let ioend = (*wpc).wb_ctx.cast::<bindings::iomap_ioend>();
        (*ioend).io_bio.bi_end_io = Some(end_bio::<T>);
        bindings::iomap_ioend_writeback_submit(wpc, error)
    }
}

/// Writes back dirty folios.
///
/// # Safety
///
/// As for `address_space_operations.writepages`, for an inode of type `T`.
pub(crate) unsafe fn writepages<T: BlockMap>(
    mapping: *mut bindings::address_space,
    wbc: *mut bindings::writeback_control,
) -> c_int {
    // Folios are locked from here on, and reclaim that enters a filesystem may wait for one of them.
    let _nofs = vexfs_host::nofs();
    let mut wpc = bindings::iomap_writepage_ctx {
        // SAFETY: A mapping knows its inode.
        inode: unsafe { (*mapping).host },
        wbc,
        ops: &Tables::<T>::WRITEBACK,
        ..Default::default()
    };
    // SAFETY: By the caller's promise.
    unsafe { bindings::iomap_writepages(&mut wpc) }
}
