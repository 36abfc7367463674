// SPDX-License-Identifier: GPL-2.0
//! Direct I/O. Writes go to newly allocated space as everything does and complete like writeback.

use core::ptr;

use kernel::error::code::EAGAIN;
use kernel::ffi::c_int;
use kernel::ffi::c_uint;
use vexfs_bindings as bindings;

use super::describe;
use super::read;
use super::transferred;
use super::Backing;
use super::BlockMap;
use super::Mapping;
use crate::completion::end_bio;
use crate::fail;
use crate::inode::Inode;
use crate::kiocb::IovIter;
use crate::kiocb::Kiocb;
use crate::Result;

struct Tables<T>(core::marker::PhantomData<T>);

impl<T: BlockMap> Tables<T> {
    const DIRECT_WRITE: bindings::iomap_ops = bindings::iomap_ops {
        iomap_begin: Some(direct_begin::<T>),
        iomap_end: Some(direct_end::<T>),
        iomap_next: None,
    };
    const DIRECT: bindings::iomap_dio_ops = bindings::iomap_dio_ops {
        end_io: None,
        submit_io: Some(direct_submit::<T>),
        // SAFETY: Only the address is taken.
        bio_set: &raw mut bindings::iomap_ioend_bioset,
    };
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
            T::release(
                inode,
                start,
                end - start,
                (*iomap).addr + (start - (*iomap).offset as u64),
            );
        }
    }
    0
}

/// `iomap_dio_ops.submit_io` of direct writes: their bios are ioends and complete like writeback.
unsafe extern "C" fn direct_submit<T: BlockMap>(iter: *const bindings::iomap_iter, bio: *mut bindings::bio, pos: i64) {
    // SAFETY: The bio comes from iomap_ioend_bioset, as `DIRECT` asks for, and is complete but for its ending.
    unsafe {
        bindings::iomap_init_ioend((*iter).inode, bio, pos, bindings::IOMAP_IOEND_DIRECT as u16);
        (*bio).bi_end_io = Some(end_bio::<T>);
        bindings::submit_bio(bio);
    }
}

/// Reads around the page cache; the caller holds the inode lock shared. May return less than was asked for.
pub fn direct_read<T: BlockMap>(iocb: &mut Kiocb<T>, to: &mut IovIter) -> Result<usize> {
    // SAFETY: Both are live until the I/O has ended, on a file of type `T`.
    transferred(unsafe {
        bindings::iomap_dio_rw(
            iocb.as_ptr(),
            to.as_ptr(),
            &read::Tables::<T>::READ,
            ptr::null(),
            0,
            ptr::null_mut(),
            0,
        )
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
