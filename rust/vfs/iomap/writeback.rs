// SPDX-License-Identifier: GPL-2.0
//! Writeback: dirty folios on their way to newly allocated space.
//!
//! A lack of memory must not cost data: a folio that could not be put on its way for it stays dirty, and the call says
//! `ENOMEM`. The VFS tries again at once when somebody waits for the data, later otherwise. Any other error makes the
//! folio clean, as on other filesystems, and is kept for fsync.

use core::mem::offset_of;
use core::ptr;

use kernel::error::code::EIO;
use kernel::error::code::ENOMEM;
use kernel::error::code::ENOSPC;
use kernel::ffi::c_int;
use kernel::ffi::c_uint;
use vexfs_bindings as bindings;

use super::describe;
use super::Allocation;
use super::Backing;
use super::BlockMap;
use super::Mapping;
use crate::completion::complete;
use crate::completion::end_bio;
use crate::completion::private_csum;
use crate::fail;
use crate::folio::folio_end;
use crate::folio::MappedPage;
use crate::inode::Inode;
use crate::to_result;
use crate::Failure;
use crate::Result;

/// What a call of [`writepages`] keeps beside iomap's context.
#[repr(C)]
struct Context {
    wpc: bindings::iomap_writepage_ctx,
    /// Part of the present folio was skipped for a lack of memory.
    skipped: bool,
    /// Runs whose checksums were taken.
    checked: u32,
}

/// Runs of one writeback whose checksums are taken at most. They save a flush, and those of many cost more than it
/// does.
const CHECKED_RUNS: u32 = 64;

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
            Err(Failure::Host(vexfs_host::Error::NoMemory)) => {
                // Passed over like a hole; the promises stay, and `writepages` makes the folio dirty again.
                let context = wpc.byte_sub(offset_of!(Context, wpc)).cast::<Context>();
                (*context).skipped = true;
                let mapping = Mapping {
                    offset: pos,
                    length: u64::from(len),
                    backing: Backing::Hole,
                    reserved: false,
                    in_flight: false,
                };
                describe(inode, &mut (*wpc).iomap, &mapping);
                len as isize
            }
            Err(failure) => {
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
    // SAFETY: The folio is locked.
    let uptodate = unsafe { bindings::vexfs_folio_test_uptodate(folio) };
    let (addr, length) = match T::allocate(inode, pos, u64::from(len), uptodate)? {
        Allocation::Disk { addr, len } => (addr, len),
        Allocation::Nothing { len } => {
            mapping.length = len;
            describe(inode, iomap, &mapping);
            return Ok(len as isize);
        }
        Allocation::NoSpace { len } => {
            // Passed over, so that the rest of the folio, which may have promises, is written.
            // SAFETY: A live inode's mapping.
            unsafe { bindings::vexfs_mapping_set_error(inode.mapping(), ENOSPC.to_errno()) };
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
        take_csum::<T>(wpc, ioend);
        bindings::iomap_ioend_writeback_submit(wpc, error)
    }
}

/// Takes the checksum of a small write that somebody waits for, and who may be about to sync it.
///
/// # Safety
///
/// `wpc` is that of a [`Context`] of a writeback, `ioend` is ready to be submitted by it.
unsafe fn take_csum<T: BlockMap>(wpc: *mut bindings::iomap_writepage_ctx, ioend: *mut bindings::iomap_ioend) {
    // SAFETY: By the caller's promise. The folios of the bio are under writeback, so that nobody writes to them but who
    // has them pinned, and they stay in the bio when it is split or advanced.
    unsafe {
        let context = wpc.byte_sub(offset_of!(Context, wpc)).cast::<Context>();
        let whole = (*ioend).io_bio.bi_iter.bi_size as usize;
        let block = 1usize << (*(*ioend).io_inode).i_blkbits;
        let small = whole as u64 <= T::CHECKED_MAX && (*ioend).io_size.next_multiple_of(block) == whole;
        let waited_for = (*(*wpc).wbc).sync_mode == bindings::writeback_sync_modes_WB_SYNC_ALL;
        if small && waited_for && (*context).checked < CHECKED_RUNS {
            (*context).checked += 1;
            if let Some(csum) = csum_of(&raw const (*ioend).io_bio) {
                (*ioend).io_private = private_csum(csum);
            }
        }
    }
}

/// The CRC-32C of what a bio is going to take from folios under writeback; none if somebody who has one pinned may
/// change it.
///
/// # Safety
///
/// The bio is ready to be submitted and made of such folios.
unsafe fn csum_of(bio: *const bindings::bio) -> Option<u32> {
    let mut csum = 0;
    // SAFETY: By the caller's promise: the first `bi_vcnt` vectors are filled in, and nobody writes to what they refer
    // to. Each piece is unmapped before the next one is mapped.
    unsafe {
        for n in 0..usize::from((*bio).bi_vcnt) {
            let vec = (*bio).bi_io_vec.add(n);
            let mut done = 0;
            while done < (*vec).bv_len {
                let mut len = 0;
                let at = bindings::vexfs_map_bvec(vec, done, &raw mut len);
                if at.is_null() {
                    return None;
                }
                csum = vexfs_host::crc32c(csum, core::slice::from_raw_parts(at.cast(), len as usize));
                bindings::vexfs_kunmap_local(at);
                done += len;
            }
        }
    }
    Some(csum)
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
    // Blocks that are far apart in the file lie side by side on the device: held back for a moment they are one
    // request, which ends once.
    let mut plug = bindings::blk_plug::default();
    // SAFETY: The plug stays where it is until it is finished below.
    unsafe { bindings::blk_start_plug(&raw mut plug) };
    let mut context = Context {
        wpc: bindings::iomap_writepage_ctx {
            // SAFETY: A mapping knows its inode.
            inode: unsafe { (*mapping).host },
            wbc,
            ops: &Tables::<T>::WRITEBACK,
            ..Default::default()
        },
        skipped: false,
        checked: 0,
    };
    // `writeback_range` finds the whole by its part.
    let context = &raw mut context;
    let mut folio = ptr::null_mut();
    let mut error = 0;
    // What iomap_writepages() does, but for folios that stay dirty.
    loop {
        // SAFETY: By the caller's promise; the folio is the one that the call before returned.
        folio = unsafe { bindings::writeback_iter(mapping, wbc, folio, &mut error) };
        if folio.is_null() {
            break;
        }
        // SAFETY: The folio is locked, clean and not under writeback; the context lives for the call.
        error = unsafe { bindings::iomap_writeback_folio(&raw mut (*context).wpc, folio) };
        // SAFETY: The context is ours; nobody else refers to it between calls.
        let skipped = unsafe { core::mem::replace(&mut (*context).skipped, false) };
        if skipped {
            // All of its blocks become dirty, those too that are not even valid: what was skipped has its promise
            // still, which tells it from the others.
            // SAFETY: A locked folio of this mapping.
            unsafe { bindings::iomap_dirty_folio(mapping, folio) };
            // SAFETY: The control block is the caller's, and ours for the call. Without this the VFS would take the
            // inode for one that makes progress and try again at once.
            unsafe { (*wbc).pages_skipped += 1 };
            error = ENOMEM.to_errno();
        }
        // SAFETY: Locked by `writeback_iter`.
        unsafe { bindings::folio_unlock(folio) };
    }
    // SAFETY: The context is ours.
    if unsafe { !(*context).wpc.wb_ctx.is_null() } {
        // What was added to the last ioend is complete and goes to the device whatever became of other folios.
        // SAFETY: The context has an ioend.
        let submitted = unsafe { submit_last::<T>(&raw mut (*context).wpc) };
        if error == 0 {
            error = submitted;
        }
    }
    // SAFETY: Started above, by this thread.
    unsafe { bindings::blk_finish_plug(&raw mut plug) };
    error
}

/// Submits the last ioend of a writeback. A small one that the caller is about to wait for is waited for and recorded
/// here, which saves the way through the interrupt and the work item. It is no different for the locks: none of a folio
/// is held, and the caller waits for the recording in either case.
///
/// # Safety
///
/// The context has an ioend.
unsafe fn submit_last<T: BlockMap>(wpc: *mut bindings::iomap_writepage_ctx) -> c_int {
    // SAFETY: By the caller's promise.
    unsafe {
        let wbc = (*wpc).wbc;
        let ioend = (*wpc).wb_ctx.cast::<bindings::iomap_ioend>();
        let alone = (*wbc).sync_mode == bindings::writeback_sync_modes_WB_SYNC_ALL && (*wbc).for_sync() == 0;
        if !alone || (*ioend).io_size as u64 > T::CHECKED_MAX {
            return writeback_submit::<T>(wpc, 0);
        }
        take_csum::<T>(wpc, ioend);
        // What is recorded is everybody's, and no lack of memory of the caller's may keep it from being so.
        let _shared = vexfs_host::shared();
        // The error is in the bio, where `complete` looks for it; the mapping keeps it for who asks.
        bindings::submit_bio_wait(&raw mut (*ioend).io_bio);
        complete::<T>(ioend);
        0
    }
}
