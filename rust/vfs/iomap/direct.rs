// SPDX-License-Identifier: GPL-2.0
//! Direct I/O. Writes go to newly allocated space as everything does. Those that nobody waits for complete like
//! writeback, the others in the thread that waits.

use core::mem::offset_of;
use core::ptr;

use kernel::error::code::EAGAIN;
use kernel::ffi::c_int;
use kernel::ffi::c_uint;
use vexfs_bindings as bindings;
use vexfs_host::mem::Vec;

use super::describe;
use super::read;
use super::transferred;
use super::Backing;
use super::BlockMap;
use super::Mapping;
use super::ReadPin;
use crate::completion::end_bio;
use crate::fail;
use crate::inode::Inode;
use crate::kiocb::IovIter;
use crate::kiocb::Kiocb;
use crate::Result;

struct Tables<T>(core::marker::PhantomData<T>);

impl<T: BlockMap> Tables<T> {
    const MAP: bindings::iomap_ops = bindings::iomap_ops {
        iomap_begin: Some(direct_begin::<T>),
        iomap_end: Some(direct_end::<T>),
        iomap_next: None,
    };
    const ASYNC: bindings::iomap_dio_ops = bindings::iomap_dio_ops {
        end_io: None,
        submit_io: Some(direct_submit::<T>),
        // SAFETY: Only the address is taken.
        bio_set: &raw mut bindings::iomap_ioend_bioset,
    };
    const READ_ASYNC: bindings::iomap_dio_ops = bindings::iomap_dio_ops {
        end_io: None,
        submit_io: Some(read_submit::<T>),
        // SAFETY: Only the address is taken.
        bio_set: &raw mut bindings::iomap_ioend_bioset,
    };
    const WAITING: bindings::iomap_dio_ops = bindings::iomap_dio_ops {
        end_io: Some(direct_done::<T>),
        submit_io: None,
        bio_set: ptr::null_mut(),
    };
}

/// Part of a write that somebody waits for: what was allocated for it.
#[derive(Clone, Copy)]
struct Run {
    pos: u64,
    len: u64,
    addr: u64,
}

/// The parts of a write that somebody waits for, in the order of the file.
///
/// The caller of [`direct_write`] has them on its stack until all I/O has ended. iomap hands them to the functions that
/// map (`iomap_iter.private`), and `kiocb.private` to the one that completes.
#[derive(Default)]
struct Runs {
    /// Most writes have no other: it needs no memory.
    first: Option<Run>,
    more: Vec<Run>,
}

impl Runs {
    fn push(&mut self, run: Run) -> vexfs_host::Result<()> {
        if self.first.is_some() {
            return self.more.push(run);
        }
        self.first = Some(run);
        Ok(())
    }

    fn last_mut(&mut self) -> Option<&mut Run> {
        self.more.last_mut().or(self.first.as_mut())
    }

    fn iter(&self) -> impl Iterator<Item = &Run> {
        self.first.iter().chain(&self.more)
    }
}

/// The runs of the write that a mapping is for; none if nobody waits for it.
///
/// # Safety
///
/// `iomap` is that of an iteration [`direct_write`] started.
unsafe fn runs<'a>(iomap: *mut bindings::iomap) -> Option<&'a mut Runs> {
    // SAFETY: iomap's functions pass the member of the iterator; its private pointer is null or to the runs, which
    // nobody else uses at this time.
    unsafe {
        let iter = iomap
            .byte_sub(offset_of!(bindings::iomap_iter, iomap))
            .cast::<bindings::iomap_iter>();
        (*iter).private.cast::<Runs>().as_mut()
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
            // SAFETY: The mapping of an iteration that `direct_write` started.
            if let Some(runs) = unsafe { runs(iomap) } {
                let pos = pos as u64;
                if let Err(error) = runs.push(Run { pos, len, addr }) {
                    T::release(inode, pos, len, addr);
                    return fail(inode.super_block(), error.into());
                }
            }
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
            if let Some(last) = runs(iomap).and_then(|runs| runs.last_mut()) {
                last.len = start - last.pos;
            }
            let addr = (*iomap).addr + (start - (*iomap).offset as u64);
            T::release(inode, start, end - start, addr);
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

/// `iomap_dio_ops.end_io` of direct writes that somebody waits for: records them, before the page cache is emptied
/// again.
unsafe extern "C" fn direct_done<T: BlockMap>(
    iocb: *mut bindings::kiocb,
    _size: isize,
    error: c_int,
    _flags: c_uint,
) -> c_int {
    // SAFETY: The request of `direct_write`, whose runs nobody else uses any more.
    let (inode, runs) = unsafe {
        let inode = Inode::<T>::from_raw((*(*iocb).ki_filp).f_inode);
        match (*iocb).private.cast::<Runs>().as_mut() {
            Some(runs) => (inode, runs),
            None => return error,
        }
    };
    let mut error = error;
    let runs = core::mem::take(runs);
    for run in runs.iter().filter(|run| run.len > 0) {
        if error != 0 {
            T::release(inode, run.pos, run.len, run.addr);
        } else if let Err(failure) = T::record(inode, run.pos, run.len, run.addr, None) {
            error = fail(inode.super_block(), failure);
        }
    }
    error
}

/// `iomap_dio_ops.submit_io` of direct reads that nobody waits for: each bio holds a pin of its own.
unsafe extern "C" fn read_submit<T: BlockMap>(iter: *const bindings::iomap_iter, bio: *mut bindings::bio, pos: i64) {
    // SAFETY: The bio comes from iomap_ioend_bioset, as `READ_ASYNC` asks for, and is complete but for its ending.
    unsafe {
        let inode = Inode::<T>::from_raw((*iter).inode);
        let ioend = bindings::iomap_init_ioend(inode.as_ptr(), bio, pos, bindings::IOMAP_IOEND_DIRECT as u16);
        (*ioend).io_private = ptr::without_provenance_mut(T::pin_reads(inode) as usize);
        (*bio).bi_end_io = Some(read_end::<T>);
        bindings::submit_bio(bio);
    }
}

/// `bio->bi_end_io` of direct reads that nobody waits for.
unsafe extern "C" fn read_end<T: BlockMap>(bio: *mut bindings::bio) {
    // SAFETY: The bio is that of an ioend of `read_submit`; the request keeps the inode until iomap_dio_bio_end_io().
    unsafe {
        let ioend = bio
            .byte_sub(offset_of!(bindings::iomap_ioend, io_bio))
            .cast::<bindings::iomap_ioend>();
        T::unpin_reads(Inode::from_raw((*ioend).io_inode), (*ioend).io_private.addr() as u64);
        bindings::iomap_dio_bio_end_io(bio);
    }
}

/// Reads around the page cache; the caller holds the inode lock shared. May return less than was asked for.
///
/// A program that writes to a mapping of the file meanwhile can make writeback free the blocks that are being read:
/// pins keep them from becoming another file's before.
pub fn direct_read<T: BlockMap>(iocb: &mut Kiocb<T>, to: &mut IovIter) -> Result<usize> {
    let ops = if iocb.is_waited_for() {
        ptr::null()
    } else {
        &Tables::<T>::READ_ASYNC
    };
    let raw = iocb.as_ptr();
    let _pin = ReadPin::new(iocb.inode());
    // SAFETY: Both are live until the I/O has ended, on a file of type `T`.
    transferred(unsafe {
        bindings::iomap_dio_rw(raw, to.as_ptr(), &read::Tables::<T>::READ, ops, 0, ptr::null_mut(), 0)
    })
}

/// Writes around the page cache; the caller holds the inode lock, has checked the write and it is aligned to blocks.
pub fn direct_write<T: BlockMap>(iocb: &mut Kiocb<T>, from: &mut IovIter, wait: bool) -> Result<usize> {
    let raw = iocb.as_ptr();
    if !wait && !iocb.is_waited_for() {
        // SAFETY: Both are live until the I/O has ended, on a file of type `T`.
        return transferred(unsafe {
            bindings::iomap_dio_rw(
                raw,
                from.as_ptr(),
                &Tables::<T>::MAP,
                &Tables::<T>::ASYNC,
                bindings::IOMAP_DIO_FSBLOCK_ALIGNED,
                ptr::null_mut(),
                0,
            )
        });
    }
    // Completing here rather than in the work item saves two switches between threads.
    let mut runs = Runs::default();
    let runs = &raw mut runs;
    // SAFETY: As above, and the runs outlive the I/O, which has ended when the call returns. Polling, the other user of
    // `private`, is for asynchronous I/O.
    transferred(unsafe {
        (*raw).ki_flags &= !(bindings::IOCB_HIPRI as c_int);
        (*raw).private = runs.cast();
        let written = bindings::iomap_dio_rw(
            raw,
            from.as_ptr(),
            &Tables::<T>::MAP,
            &Tables::<T>::WAITING,
            bindings::IOMAP_DIO_FSBLOCK_ALIGNED | bindings::IOMAP_DIO_FORCE_WAIT,
            runs.cast(),
            0,
        );
        (*raw).private = ptr::null_mut();
        written
    })
}
