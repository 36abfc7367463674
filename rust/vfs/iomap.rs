// SPDX-License-Identifier: GPL-2.0
//! File data through iomap: buffered and direct I/O, faults, writeback, holes.
//!
//! iomap's interface changes with every kernel release; what uses it is in this file and in `completion.rs` only. A
//! filesystem says where its data is by implementing [`BlockMap`] and gets page cache, large folios, delayed allocation
//! and direct I/O for it.
//!
//! Data is never overwritten in place. A buffered write promises space for the blocks it dirties ([`BlockMap::reserve`])
//! and reads what it does not overwrite from where it is now (iomap's source mapping). Writeback allocates new space under
//! the folio lock, and when the bytes are there the run is recorded ([`BlockMap::record`]) before the folio's writeback
//! ends. Inline data is presented as a mapped block that has no address (`IOMAP_F_PRIVATE`): this file reads it through
//! [`BlockMap::read_inline`].
//!
//! # Invariants
//!
//! - A dirty block of the page cache has a promise, or is data of a mapping that was dirtied behind the filesystem's back.
//! - A mapping handed to a write carries the sequence number it was made under, and is dropped if that has changed once
//!   the folio is locked: an old address might have been freed, an old hole filled.
//!
//! C header: `include/linux/iomap.h`.

use core::ptr;

use kernel::error::code::EAGAIN;
use kernel::error::code::EIO;
use kernel::ffi::c_int;
use kernel::ffi::c_uint;
use kernel::types::Opaque;
use vexfs_bindings as bindings;

use crate::completion::end_bio;
use crate::completion::IoWorkqueue;
use crate::fail;
use crate::filesystem::FileSystem;
use crate::folio::folio_end;
use crate::folio::MappedPage;
use crate::inode::Inode;
use crate::kiocb::IovIter;
use crate::kiocb::Kiocb;
use crate::locks::InvalidateLock;
use crate::to_result;
use crate::Result;

/// Where the bytes of a range are.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Backing {
    /// Nowhere: they read as zeros.
    Hole,
    /// In metadata; only the first block of a file can be.
    Inline,
    /// On the device, from this byte on.
    Disk(u64),
}

/// What is known of a range of a file. Offsets and lengths are multiples of the block size.
#[derive(Clone, Copy)]
pub struct Mapping {
    /// Offset in the file.
    pub offset: u64,
    /// Length, not 0.
    pub length: u64,
    /// Where its bytes are, as far as metadata knows.
    pub backing: Backing,
    /// Space is promised for all of it: the page cache may have newer bytes.
    pub reserved: bool,
    /// All of it is being written to a new place: the page cache has newer bytes.
    pub in_flight: bool,
}

/// What writeback is to do with a range that starts at the position asked for.
pub enum Allocation {
    /// Write `len` bytes to the device at `addr`.
    Disk {
        /// Offset on the device.
        addr: u64,
        /// Length, a multiple of the block size, at most what was asked for.
        len: u64,
    },
    /// There is nothing to write in the next `len` bytes: they lie in a hole and nobody promised space for them.
    Nothing {
        /// Length, a multiple of the block size, at most what was asked for.
        len: u64,
    },
}

/// A filesystem whose files' data goes through iomap.
///
/// All positions are bytes; ranges passed in are multiples of the block size unless a function says otherwise. Everything
/// here may be called with folios locked and may sleep; none may wait for a folio or an inode lock.
pub trait BlockMap: FileSystem {
    /// Longest content of a file that is kept inline.
    const INLINE_MAX: u64;

    /// Describes a range that contains the byte `pos` and reaches `len` bytes from there or less.
    fn map(inode: &Inode<Self>, pos: u64, len: u64) -> Result<Mapping>;

    /// A number that changes whenever bytes of the file become reachable at another place or not at all.
    fn sequence(inode: &Inode<Self>) -> u64;

    /// Promises space for a range, all of it or none; what is promised already stays so.
    fn reserve(inode: &Inode<Self>, pos: u64, len: u64) -> Result;

    /// Takes back the promises in a range.
    fn unreserve(inode: &Inode<Self>, pos: u64, len: u64);

    /// Fills `buf` with the inline data of the file and zeros behind it.
    fn read_inline(inode: &Inode<Self>, buf: &mut [u8]) -> Result;

    /// Writes back the content of a file of at most [`Self::INLINE_MAX`] bytes that `copy` copies out, using up the
    /// promise for its first block. False if it should be written to a block after all.
    fn write_inline(inode: &Inode<Self>, len: usize, copy: &mut dyn FnMut(&mut [u8])) -> Result<bool>;

    /// Allocates space for a range of dirty data, using up its promise.
    fn allocate(inode: &Inode<Self>, pos: u64, len: u64) -> Result<Allocation>;

    /// Allocates space for a direct write: where, and how many bytes of the range. Promises are left alone.
    fn allocate_direct(inode: &Inode<Self>, pos: u64, len: u64) -> Result<(u64, u64)>;

    /// Records that the `len` bytes at `pos` are now at `addr`, and that the file is at least `pos + len` bytes long. The
    /// length need not be a multiple of the block size. Gives the space back if it fails.
    fn record(inode: &Inode<Self>, pos: u64, len: u64, addr: u64) -> Result;

    /// Gives back what was allocated for the `len` bytes at `pos`.
    fn release(inode: &Inode<Self>, pos: u64, len: u64, addr: u64);

    /// Where the writes of an inode are recorded.
    fn io_workqueue(inode: &Inode<Self>) -> &IoWorkqueue;
}

const NO_ADDRESS: u64 = u64::MAX;

/// The tables for one filesystem.
struct Tables<T>(core::marker::PhantomData<T>);

impl<T: BlockMap> Tables<T> {
    const READ: bindings::iomap_ops = bindings::iomap_ops {
        iomap_begin: Some(read_begin::<T>),
        iomap_end: None,
        iomap_next: None,
    };
    const REPORT: bindings::iomap_ops = bindings::iomap_ops {
        iomap_begin: Some(report_begin::<T>),
        iomap_end: None,
        iomap_next: None,
    };
    const WRITE: bindings::iomap_ops = bindings::iomap_ops {
        iomap_begin: Some(write_begin::<T>),
        iomap_end: Some(write_end::<T>),
        iomap_next: None,
    };
    const DIRECT_WRITE: bindings::iomap_ops = bindings::iomap_ops {
        iomap_begin: Some(direct_begin::<T>),
        iomap_end: Some(direct_end::<T>),
        iomap_next: None,
    };
    const READ_FOLIO: bindings::iomap_read_ops = bindings::iomap_read_ops {
        read_folio_range: Some(read_folio_range::<T>),
        submit_read: Some(submit_read),
        bio_set: ptr::null_mut(),
    };
    const WRITE_FOLIO: bindings::iomap_write_ops = bindings::iomap_write_ops {
        get_folio: None,
        put_folio: None,
        iomap_valid: Some(iomap_valid::<T>),
        read_folio_range: Some(read_folio_range_sync::<T>),
    };
    const WRITEBACK: bindings::iomap_writeback_ops = bindings::iomap_writeback_ops {
        writeback_range: Some(writeback_range::<T>),
        writeback_submit: Some(writeback_submit::<T>),
    };
    const DIRECT: bindings::iomap_dio_ops = bindings::iomap_dio_ops {
        end_io: None,
        submit_io: Some(direct_submit::<T>),
        // SAFETY: Only the address is taken.
        bio_set: &raw mut bindings::iomap_ioend_bioset,
    };
}

/// Fills in an iomap from a mapping; leaves its validity cookie alone.
fn describe<T: BlockMap>(inode: &Inode<T>, to: &mut bindings::iomap, mapping: &Mapping) {
    let (kind, addr, flags) = match mapping.backing {
        Backing::Hole => (bindings::IOMAP_HOLE, NO_ADDRESS, 0),
        Backing::Inline => (bindings::IOMAP_MAPPED, NO_ADDRESS, bindings::IOMAP_F_PRIVATE),
        Backing::Disk(addr) => (bindings::IOMAP_MAPPED, addr, 0),
    };
    to.type_ = kind as u16;
    to.addr = addr;
    to.flags = flags as u16;
    to.offset = mapping.offset as i64;
    to.length = mapping.length;
    // SAFETY: The superblock of an inode and its block device outlive it.
    to.bdev = unsafe { (*(*inode.as_ptr()).i_sb).s_bdev };
}

/// `iomap_begin` of buffered and direct reads.
unsafe extern "C" fn read_begin<T: BlockMap>(
    inode: *mut bindings::inode,
    pos: i64,
    length: i64,
    flags: c_uint,
    iomap: *mut bindings::iomap,
    _source: *mut bindings::iomap,
) -> c_int {
    // SAFETY: iomap passes a live inode of ours.
    let inode = unsafe { Inode::<T>::from_raw(inode) };
    if flags & bindings::IOMAP_NOWAIT != 0 {
        // Looking up a mapping may read nodes of the tree.
        return EAGAIN.to_errno();
    }
    match T::map(inode, pos as u64, length as u64) {
        Ok(mapping) => {
            if flags & bindings::IOMAP_DIRECT != 0 && mapping.backing == Backing::Inline {
                // Not on the device: makes iomap_dio_rw() return what it has, and the caller goes on through the cache.
                return -(bindings::ENOTBLK as c_int);
            }
            // SAFETY: iomap passes a mapping to fill in.
            describe(inode, unsafe { &mut *iomap }, &mapping);
            0
        }
        Err(failure) => fail(inode.super_block(), failure),
    }
}

/// `iomap_begin` of FIEMAP, SEEK_DATA and SEEK_HOLE.
unsafe extern "C" fn report_begin<T: BlockMap>(
    inode: *mut bindings::inode,
    pos: i64,
    length: i64,
    _flags: c_uint,
    iomap: *mut bindings::iomap,
    _source: *mut bindings::iomap,
) -> c_int {
    // SAFETY: iomap passes a live inode of ours.
    let inode = unsafe { Inode::<T>::from_raw(inode) };
    match T::map(inode, pos as u64, length as u64) {
        Ok(mapping) => {
            // SAFETY: iomap passes a mapping to fill in.
            let iomap = unsafe { &mut *iomap };
            describe(inode, iomap, &mapping);
            match mapping.backing {
                Backing::Hole if mapping.reserved || mapping.in_flight => iomap.type_ = bindings::IOMAP_DELALLOC as u16,
                Backing::Inline => {
                    iomap.type_ = bindings::IOMAP_INLINE as u16;
                    iomap.flags = 0;
                }
                _ => {}
            }
            0
        }
        Err(failure) => fail(inode.super_block(), failure),
    }
}

/// Most bytes for which one step of a write promises space, so that a huge write near the end of the space gets as far as
/// it can.
const RESERVE_STEP: u64 = 8 << 20;

/// Promises space for the mapping from `pos` on, or for as much of it as there is, and returns where that ends.
fn reserve_some<T: BlockMap>(inode: &Inode<T>, start: u64, end: u64, block: u64) -> Result<u64> {
    let mut len = (end - start).min(RESERVE_STEP);
    loop {
        match T::reserve(inode, start, len) {
            Ok(()) => return Ok(start + len),
            Err(crate::Failure::Host(vexfs_host::Error::NoSpace)) if len > block => {
                len = (len / 2 / block * block).max(block);
            }
            Err(failure) => return Err(failure),
        }
    }
}

/// `iomap_begin` of buffered writes, write faults and zeroing.
unsafe extern "C" fn write_begin<T: BlockMap>(
    inode: *mut bindings::inode,
    pos: i64,
    length: i64,
    flags: c_uint,
    iomap: *mut bindings::iomap,
    source: *mut bindings::iomap,
) -> c_int {
    // SAFETY: iomap passes a live inode of ours.
    let inode = unsafe { Inode::<T>::from_raw(inode) };
    // SAFETY: iomap passes two mappings to fill in.
    let (iomap, source) = unsafe { (&mut *iomap, &mut *source) };
    if flags & bindings::IOMAP_NOWAIT != 0 {
        // Promising space may have to wait for a commit.
        return EAGAIN.to_errno();
    }
    match map_write(inode, pos as u64, length as u64, flags, iomap, source) {
        Ok(()) => 0,
        Err(failure) => fail(inode.super_block(), failure),
    }
}

fn map_write<T: BlockMap>(
    inode: &Inode<T>,
    pos: u64,
    len: u64,
    flags: c_uint,
    iomap: &mut bindings::iomap,
    source: &mut bindings::iomap,
) -> Result {
    let block = inode.block_size();
    let mut mapping;
    loop {
        // Before the mapping is looked up: a change in between makes the mapping invalid rather than missed.
        iomap.validity_cookie = T::sequence(inode);
        mapping = T::map(inode, pos, len)?;
        if flags & bindings::IOMAP_ZERO == 0 || mapping.reserved {
            break;
        }
        // Inline data ends at the end of the file or before.
        let zeros = match mapping.backing {
            Backing::Disk(_) => break,
            Backing::Inline if pos < inode.size() => break,
            Backing::Inline => true,
            Backing::Hole => !mapping.in_flight,
        };
        if zeros {
            mapping.backing = Backing::Hole;
            describe(inode, iomap, &mapping);
            return Ok(());
        }
        // Written but not recorded: iomap would take it for zeros. Wait until it is data.
        inode.write_and_wait_range(mapping.offset, mapping.offset + mapping.length)?;
    }
    if mapping.backing != Backing::Hole {
        describe(inode, source, &mapping);
    }
    let mut end = mapping.offset + mapping.length;
    let start = pos / block * block;
    let mut new = false;
    if !mapping.reserved {
        end = end.min((pos + len).div_ceil(block) * block);
        end = reserve_some(inode, start, end, block)?;
        new = true;
    }
    mapping.backing = Backing::Hole;
    mapping.offset = start;
    mapping.length = end - start;
    describe(inode, iomap, &mapping);
    iomap.type_ = bindings::IOMAP_DELALLOC as u16;
    if new {
        iomap.flags = bindings::IOMAP_F_NEW as u16;
    }
    Ok(())
}

/// `iomap_end` of buffered writes: takes back promises for what was not written.
unsafe extern "C" fn write_end<T: BlockMap>(
    inode: *mut bindings::inode,
    pos: i64,
    length: i64,
    written: isize,
    flags: c_uint,
    iomap: *mut bindings::iomap,
) -> c_int {
    // SAFETY: iomap passes back the mapping of `write_begin`.
    let (kind, own) = unsafe { (u32::from((*iomap).type_), u32::from((*iomap).flags)) };
    // Promises that were there before belong to dirty folios, and a write fault dirties all it asked for.
    if kind != bindings::IOMAP_DELALLOC || own & bindings::IOMAP_F_NEW == 0 || flags & bindings::IOMAP_FAULT != 0 {
        return 0;
    }
    // SAFETY: iomap passes a live inode of ours.
    let this = unsafe { Inode::<T>::from_raw(inode) };
    let block = this.block_size();
    let (pos, written) = (pos as u64, written.max(0) as u64);
    let start = if written == 0 { pos / block * block } else { (pos + written).div_ceil(block) * block };
    let end = (pos + length as u64).div_ceil(block) * block;
    if start >= end {
        return 0;
    }
    // Zeroing runs under the invalidate lock already.
    let _lock = if flags & bindings::IOMAP_ZERO == 0 { Some(this.lock_invalidate()) } else { None };
    // SAFETY: The invalidate lock is held; `punch` fits the inode's type. Folios that are dirty keep their promise.
    unsafe {
        bindings::iomap_write_delalloc_release(inode, start as i64, end as i64, flags, iomap, Some(punch::<T>));
    }
    0
}

unsafe extern "C" fn punch<T: BlockMap>(
    inode: *mut bindings::inode,
    pos: i64,
    length: i64,
    _iomap: *mut bindings::iomap,
) {
    // SAFETY: iomap passes a live inode of ours.
    T::unreserve(unsafe { Inode::<T>::from_raw(inode) }, pos as u64, length as u64);
}

/// `iomap_write_ops.iomap_valid`.
unsafe extern "C" fn iomap_valid<T: BlockMap>(inode: *mut bindings::inode, iomap: *const bindings::iomap) -> bool {
    // SAFETY: iomap passes a live inode of ours and the mapping of `write_begin`.
    unsafe { T::sequence(Inode::<T>::from_raw(inode)) == (*iomap).validity_cookie }
}

/// Fills part of a locked folio from inline data.
///
/// # Safety
///
/// `folio` is locked and not up to date at `pos`, and belongs to `inode`.
unsafe fn fill_inline<T: BlockMap>(inode: &Inode<T>, folio: *mut bindings::folio, pos: u64, len: usize) -> Result {
    // Inline data is the start of the file's first block, and blocks are filled whole.
    if pos != 0 || len as u64 > inode.block_size() {
        return Err(EIO.into());
    }
    // SAFETY: The folio is locked, so referenced; the mapping ends within this function.
    let mut page = unsafe { MappedPage::first(folio) }.ok_or(EIO)?;
    // SAFETY: Locked and not up to date, so nobody else looks at the range.
    T::read_inline(inode, unsafe { page.bytes_mut(len) })?;
    drop(page);
    if len > bindings::PAGE_SIZE {
        let page = bindings::PAGE_SIZE;
        // SAFETY: The range lies in the folio, as iomap asked for it.
        unsafe { bindings::vexfs_folio_zero_range(folio, page, len - page) };
    }
    Ok(())
}

/// `iomap_write_ops.read_folio_range`: the part of a block that a write leaves as it is.
unsafe extern "C" fn read_folio_range_sync<T: BlockMap>(
    iter: *const bindings::iomap_iter,
    folio: *mut bindings::folio,
    pos: i64,
    len: usize,
) -> c_int {
    // SAFETY: iomap passes a live iterator over an inode of ours; it only reads where the source is mapped, which
    // `map_write` says through the source mapping alone.
    let (inode, source) = unsafe { (Inode::<T>::from_raw((*iter).inode), &(*iter).srcmap) };
    if u32::from(source.flags) & bindings::IOMAP_F_PRIVATE != 0 {
        // SAFETY: iomap holds the folio locked and found the range not up to date.
        return match unsafe { fill_inline(inode, folio, pos as u64, len) } {
            Ok(()) => 0,
            Err(failure) => fail(inode.super_block(), failure),
        };
    }
    let mut vector = bindings::bio_vec::default();
    let bio = Opaque::<bindings::bio>::uninit();
    // SAFETY: The bio and its one vector live until it has been waited for; the range lies in the locked folio and in the
    // source mapping.
    unsafe {
        bindings::bio_init(bio.get(), source.bdev, &raw mut vector, 1, bindings::REQ_OP_READ);
        (*bio.get()).bi_iter.bi_sector =
            (source.addr + (pos as u64 - source.offset as u64)) >> bindings::SECTOR_SHIFT;
        let offset = (pos - bindings::vexfs_folio_pos(folio)) as usize;
        bindings::bio_add_folio_nofail(bio.get(), folio, len, offset);
        let error = bindings::submit_bio_wait(bio.get());
        bindings::bio_uninit(bio.get());
        error
    }
}

/// `iomap_read_ops.read_folio_range`.
unsafe extern "C" fn read_folio_range<T: BlockMap>(
    iter: *const bindings::iomap_iter,
    ctx: *mut bindings::iomap_read_folio_ctx,
    len: usize,
) -> c_int {
    // SAFETY: iomap passes a live iterator over an inode of ours and the folio it reads, locked.
    unsafe {
        if u32::from((*iter).iomap.flags) & bindings::IOMAP_F_PRIVATE == 0 {
            return bindings::iomap_bio_read_folio_range(iter, ctx, len);
        }
        let inode = Inode::<T>::from_raw((*iter).inode);
        let folio = (*ctx).cur_folio;
        let offset = ((*iter).pos - bindings::vexfs_folio_pos(folio)) as usize;
        let error = match fill_inline(inode, folio, (*iter).pos as u64, len) {
            Ok(()) => 0,
            Err(failure) => fail(inode.super_block(), failure),
        };
        // From here on the range counts as read, well or not.
        bindings::iomap_finish_folio_read(folio, offset, len, error);
    }
    0
}

/// `iomap_read_ops.submit_read`.
unsafe extern "C" fn submit_read(iter: *const bindings::iomap_iter, ctx: *mut bindings::iomap_read_folio_ctx) {
    // SAFETY: A constant table of the kernel; called as iomap would.
    unsafe {
        if let Some(submit) = bindings::iomap_bio_read_ops.submit_read {
            submit(iter, ctx);
        }
    }
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

/// `iomap_begin` of direct writes.
unsafe extern "C" fn direct_begin<T: BlockMap>(
    inode: *mut bindings::inode,
    pos: i64,
    length: i64,
    flags: c_uint,
    iomap: *mut bindings::iomap,
    _source: *mut bindings::iomap,
) -> c_int {
    // SAFETY: iomap passes a live inode of ours.
    let inode = unsafe { Inode::<T>::from_raw(inode) };
    if flags & bindings::IOMAP_NOWAIT != 0 {
        return EAGAIN.to_errno();
    }
    match T::allocate_direct(inode, pos as u64, length as u64) {
        Ok((addr, len)) => {
            let mapping = Mapping {
                offset: pos as u64,
                length: len,
                backing: Backing::Disk(addr),
                reserved: false,
                in_flight: true,
            };
            // SAFETY: iomap passes a mapping to fill in.
            let iomap = unsafe { &mut *iomap };
            describe(inode, iomap, &mapping);
            // The write is not done before it is recorded.
            iomap.flags = (bindings::IOMAP_F_DIRTY | bindings::IOMAP_F_SHARED) as u16;
            0
        }
        Err(failure) => fail(inode.super_block(), failure),
    }
}

/// `iomap_end` of direct writes: gives back what no bio was made for.
unsafe extern "C" fn direct_end<T: BlockMap>(
    inode: *mut bindings::inode,
    pos: i64,
    _length: i64,
    written: isize,
    _flags: c_uint,
    iomap: *mut bindings::iomap,
) -> c_int {
    // SAFETY: iomap passes a live inode of ours and the mapping of `direct_begin`.
    unsafe {
        let inode = Inode::<T>::from_raw(inode);
        let start = pos as u64 + written.max(0) as u64;
        let end = (*iomap).offset as u64 + (*iomap).length;
        if start < end {
            T::release(inode, start, end - start, (*iomap).addr + (start - (*iomap).offset as u64));
        }
    }
    0
}

/// `iomap_dio_ops.submit_io` of direct writes: their bios are ioends and complete like writeback.
unsafe extern "C" fn direct_submit<T: BlockMap>(
    iter: *const bindings::iomap_iter,
    bio: *mut bindings::bio,
    pos: i64,
) {
    // SAFETY: The bio comes from iomap_ioend_bioset, as `DIRECT` asks for, and is complete but for its ending.
    unsafe {
        bindings::iomap_init_ioend((*iter).inode, bio, pos, bindings::IOMAP_IOEND_DIRECT as u16);
        (*bio).bi_end_io = Some(end_bio::<T>);
        bindings::submit_bio(bio);
    }
}

/// Reads a folio.
///
/// # Safety
///
/// As for `address_space_operations.read_folio`, for an inode of type `T`.
pub(crate) unsafe fn read_folio<T: BlockMap>(folio: *mut bindings::folio) {
    let mut ctx =
        bindings::iomap_read_folio_ctx { ops: &Tables::<T>::READ_FOLIO, cur_folio: folio, ..Default::default() };
    // SAFETY: By the caller's promise.
    unsafe { bindings::iomap_read_folio(&Tables::<T>::READ, &mut ctx, ptr::null_mut()) };
}

/// Reads ahead.
///
/// # Safety
///
/// As for `address_space_operations.readahead`, for an inode of type `T`.
pub(crate) unsafe fn readahead<T: BlockMap>(rac: *mut bindings::readahead_control) {
    let mut ctx = bindings::iomap_read_folio_ctx { ops: &Tables::<T>::READ_FOLIO, rac, ..Default::default() };
    // SAFETY: By the caller's promise.
    unsafe { bindings::iomap_readahead(&Tables::<T>::READ, &mut ctx, ptr::null_mut()) };
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

/// Makes a folio writable for a shared mapping.
///
/// # Safety
///
/// `vmf` is that of a `page_mkwrite` call on a file of type `T`, within sb_start_pagefault().
pub(crate) unsafe fn page_mkwrite<T: BlockMap>(vmf: *mut bindings::vm_fault) -> bindings::vm_fault_t {
    // SAFETY: By the caller's promise.
    unsafe { bindings::iomap_page_mkwrite(vmf, &Tables::<T>::WRITE, ptr::null_mut()) }
}

/// Turns what an I/O function returned into a result; asynchronous I/O under way is the errno EIOCBQUEUED.
fn transferred(code: isize) -> Result<usize> {
    usize::try_from(code).map_err(|_| match to_result(code as c_int) {
        Err(failure) => failure,
        Ok(()) => EIO.into(),
    })
}

/// Writes through the page cache; the caller holds the inode lock and has checked the write.
pub fn buffered_write<T: BlockMap>(iocb: &mut Kiocb<T>, from: &mut IovIter) -> Result<usize> {
    // SAFETY: Both are live for the call, on a file of type `T`.
    transferred(unsafe {
        bindings::iomap_file_buffered_write(
            iocb.as_ptr(),
            from.as_ptr(),
            &Tables::<T>::WRITE,
            &Tables::<T>::WRITE_FOLIO,
            ptr::null_mut(),
        )
    })
}

/// Reads around the page cache; the caller holds the inode lock shared. May return less than was asked for.
pub fn direct_read<T: BlockMap>(iocb: &mut Kiocb<T>, to: &mut IovIter) -> Result<usize> {
    // SAFETY: Both are live until the I/O has ended, on a file of type `T`.
    transferred(unsafe {
        bindings::iomap_dio_rw(iocb.as_ptr(), to.as_ptr(), &Tables::<T>::READ, ptr::null(), 0, ptr::null_mut(), 0)
    })
}

/// Writes around the page cache; the caller holds the inode lock, has checked the write and it is aligned to blocks.
pub fn direct_write<T: BlockMap>(iocb: &mut Kiocb<T>, from: &mut IovIter, wait: bool) -> Result<usize> {
    let mut flags = bindings::IOMAP_DIO_FSBLOCK_ALIGNED;
    if wait {
        flags |= bindings::IOMAP_DIO_FORCE_WAIT;
    }
    // SAFETY: Both are live until the I/O has ended, on a file of type `T`.
    transferred(unsafe {
        bindings::iomap_dio_rw(
            iocb.as_ptr(),
            from.as_ptr(),
            &Tables::<T>::DIRECT_WRITE,
            &Tables::<T>::DIRECT,
            flags,
            ptr::null_mut(),
            0,
        )
    })
}

/// Makes a range of a file zeros through the page cache, leaving holes alone; true if there was something to do.
pub fn zero_range<T: BlockMap>(inode: &Inode<T>, pos: u64, len: u64, _lock: &InvalidateLock<'_, T>) -> Result<bool> {
    let mut zeroed = false;
    // SAFETY: A live inode, whose invalidate lock is held.
    to_result(unsafe {
        bindings::iomap_zero_range(
            inode.as_ptr(),
            pos as i64,
            len as i64,
            &mut zeroed,
            &Tables::<T>::WRITE,
            &Tables::<T>::WRITE_FOLIO,
            ptr::null_mut(),
        )
    })?;
    Ok(zeroed)
}

/// The first byte of data at or after `pos`; ENXIO if there is none.
pub fn seek_data<T: BlockMap>(inode: &Inode<T>, pos: i64) -> Result<u64> {
    // SAFETY: A live inode.
    transferred(unsafe { bindings::iomap_seek_data(inode.as_ptr(), pos, &Tables::<T>::REPORT) } as isize)
        .map(|pos| pos as u64)
}

/// The first byte of a hole at or after `pos`, the end of the file counting as one; ENXIO behind it.
pub fn seek_hole<T: BlockMap>(inode: &Inode<T>, pos: i64) -> Result<u64> {
    // SAFETY: A live inode.
    transferred(unsafe { bindings::iomap_seek_hole(inode.as_ptr(), pos, &Tables::<T>::REPORT) } as isize)
        .map(|pos| pos as u64)
}

/// A FIEMAP request.
#[repr(transparent)]
pub struct FiemapInfo(Opaque<bindings::fiemap_extent_info>);

impl FiemapInfo {
    /// Wraps a request.
    ///
    /// # Safety
    ///
    /// `ptr` is valid and nobody else's for `'a`.
    pub(crate) unsafe fn from_raw<'a>(ptr: *mut bindings::fiemap_extent_info) -> &'a mut Self {
        // SAFETY: By the caller's promise; the wrapper is transparent.
        unsafe { &mut *ptr.cast() }
    }

    /// Answers the request for a range of a file.
    pub fn fill<T: BlockMap>(&mut self, inode: &Inode<T>, start: u64, len: u64) -> Result {
        // SAFETY: A live inode and a live request.
        to_result(unsafe {
            bindings::iomap_fiemap(inode.as_ptr(), self.0.get().cast(), start, len, &Tables::<T>::REPORT)
        })
    }
}
