// SPDX-License-Identifier: GPL-2.0
//! Writing into the page cache, zeroing in it, and write faults.

use core::ptr;

use kernel::error::code::EAGAIN;
use kernel::ffi::c_int;
use kernel::ffi::c_uint;
use kernel::types::Opaque;
use vexfs_bindings as bindings;

use super::describe;
use super::read::fill_inline;
use super::transferred;
use super::Backing;
use super::BlockMap;
use crate::fail;
use crate::inode::Inode;
use crate::kiocb::IovIter;
use crate::kiocb::Kiocb;
use crate::locks::InvalidateLock;
use crate::to_result;
use crate::Result;

struct Tables<T>(core::marker::PhantomData<T>);

impl<T: BlockMap> Tables<T> {
    const WRITE: bindings::iomap_ops = bindings::iomap_ops {
        iomap_begin: Some(write_begin::<T>),
        iomap_end: Some(write_end::<T>),
        iomap_next: None,
    };
    const WRITE_FOLIO: bindings::iomap_write_ops = bindings::iomap_write_ops {
        get_folio: None,
        put_folio: None,
        iomap_valid: Some(iomap_valid::<T>),
        read_folio_range: Some(read_folio_range_sync::<T>),
    };
}

/// Most bytes for which one step of a write promises space, so that a huge write near the end of the space gets as far
/// as it can.
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
    if flags & bindings::IOMAP_FAULT != 0 {
        // A fault makes all blocks of its folio dirty with the first mapping of it. If there is no room for some, the
        // others, which may have promises, must not become dirty along with those.
        T::reserve(inode, start, (pos + len).div_ceil(block) * block - start)?;
    } else if !mapping.reserved {
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
    let start = if written == 0 {
        pos / block * block
    } else {
        (pos + written).div_ceil(block) * block
    };
    let end = (pos + length as u64).div_ceil(block) * block;
    if start >= end {
        return 0;
    }
    // Zeroing runs under the invalidate lock already.
    let _lock = if flags & bindings::IOMAP_ZERO == 0 {
        Some(this.lock_invalidate())
    } else {
        None
    };
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
    // SAFETY: The bio and its one vector live until it has been waited for; the range lies in the locked folio and in
    // the source mapping.
    unsafe {
        bindings::bio_init(bio.get(), source.bdev, &raw mut vector, 1, bindings::REQ_OP_READ);
        (*bio.get()).bi_iter.bi_sector = (source.addr + (pos as u64 - source.offset as u64)) >> bindings::SECTOR_SHIFT;
        let offset = (pos - bindings::vexfs_folio_pos(folio)) as usize;
        bindings::bio_add_folio_nofail(bio.get(), folio, len, offset);
        let error = bindings::submit_bio_wait(bio.get());
        bindings::bio_uninit(bio.get());
        error
    }
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
