// SPDX-License-Identifier: GPL-2.0
//! Reading: into the page cache, and where there is data and where there are holes.
//!
//! Blocks that are looked up here are pinned until their reads are on their way; then the folio's lock keeps writeback,
//! and with it what frees them, away.

use core::ptr;

use kernel::error::code::EAGAIN;
use kernel::error::code::EIO;
use kernel::ffi::c_int;
use kernel::ffi::c_uint;
use kernel::types::Opaque;
use vexfs_bindings as bindings;

use super::describe;
use super::transferred;
use super::Backing;
use super::BlockMap;
use super::ReadPin;
use crate::fail;
use crate::folio::MappedPage;
use crate::inode::Inode;
use crate::to_result;
use crate::Result;

pub(super) struct Tables<T>(core::marker::PhantomData<T>);

impl<T: BlockMap> Tables<T> {
    pub(super) const READ: bindings::iomap_ops = bindings::iomap_ops {
        iomap_begin: Some(read_begin::<T>),
        iomap_end: None,
        iomap_next: None,
    };
    const REPORT: bindings::iomap_ops = bindings::iomap_ops {
        iomap_begin: Some(report_begin::<T>),
        iomap_end: None,
        iomap_next: None,
    };
    const READ_FOLIO: bindings::iomap_read_ops = bindings::iomap_read_ops {
        read_folio_range: Some(read_folio_range::<T>),
        submit_read: Some(submit_read),
        bio_set: ptr::null_mut(),
    };
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

/// Fills part of a locked folio from inline data.
///
/// # Safety
///
/// `folio` is locked and not up to date at `pos`, and belongs to `inode`.
pub(super) unsafe fn fill_inline<T: BlockMap>(
    inode: &Inode<T>,
    folio: *mut bindings::folio,
    pos: u64,
    len: usize,
) -> Result {
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

/// Reads a folio.
///
/// # Safety
///
/// As for `address_space_operations.read_folio`, for an inode of type `T`.
pub(crate) unsafe fn read_folio<T: BlockMap>(folio: *mut bindings::folio) {
    let mut ctx = bindings::iomap_read_folio_ctx {
        ops: &Tables::<T>::READ_FOLIO,
        cur_folio: folio,
        ..Default::default()
    };
    // SAFETY: By the caller's promise a locked folio of an inode of ours.
    let inode = unsafe { Inode::<T>::from_raw((*(*folio).__bindgen_anon_1.__bindgen_anon_1.mapping).host) };
    let _pin = ReadPin::new(inode);
    // SAFETY: By the caller's promise.
    unsafe { bindings::iomap_read_folio(&Tables::<T>::READ, &mut ctx, ptr::null_mut()) };
}

/// Reads ahead.
///
/// # Safety
///
/// As for `address_space_operations.readahead`, for an inode of type `T`.
pub(crate) unsafe fn readahead<T: BlockMap>(rac: *mut bindings::readahead_control) {
    let mut ctx = bindings::iomap_read_folio_ctx {
        ops: &Tables::<T>::READ_FOLIO,
        rac,
        ..Default::default()
    };
    // SAFETY: By the caller's promise for an inode of ours.
    let _pin = ReadPin::new(unsafe { Inode::<T>::from_raw((*(*rac).mapping).host) });
    // SAFETY: By the caller's promise.
    unsafe { bindings::iomap_readahead(&Tables::<T>::READ, &mut ctx, ptr::null_mut()) };
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
