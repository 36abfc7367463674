// SPDX-License-Identifier: GPL-2.0
//! The kernel's block device: synchronous calls over asynchronous bios.
//!
//! A batch is cut into bios, all are submitted under one plug, and the caller sleeps until the last one completes.
//! Buffers may be kmalloc or vmalloc memory; one that the device cannot address as it lies goes through a copy.

use crate::device::Read;
use crate::device::Write;
use crate::Error;
use crate::IoError;
use crate::Result;
use core::ptr::NonNull;
use core::sync::atomic::AtomicI32;
use core::sync::atomic::AtomicU32;
use core::sync::atomic::Ordering;
use kernel::types::Opaque;
use vexfs_bindings as bindings;

const SECTOR: u64 = 512;
const PAGE: usize = bindings::PAGE_SIZE;
const WRITE: bindings::blk_opf_t = bindings::REQ_OP_WRITE | bindings::REQ_SYNC | bindings::REQ_META;

/// An open block device.
///
/// # Invariants
///
/// One count of the open file is this value's, so that the device stays open for as long as it lives; `bdev` is the
/// file's device.
pub struct Device {
    bdev: NonNull<bindings::block_device>,
    file: NonNull<bindings::file>,
}

impl Clone for Device {
    fn clone(&self) -> Self {
        // SAFETY: by the type's invariant the file is open.
        unsafe { bindings::get_file(self.file.as_ptr()) };
        // INVARIANT: counted just now.
        Device {
            bdev: self.bdev,
            file: self.file,
        }
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        // SAFETY: gives back the count of the type's invariant.
        unsafe { bindings::fput(self.file.as_ptr()) };
    }
}

// SAFETY: a block device may be used from any task.
unsafe impl Send for Device {}
// SAFETY: and from several at once: every call below is independent of the others.
unsafe impl Sync for Device {}

/// What the bios of one batch report to. It lives on the submitter's stack until the last of them has reported.
struct Batch {
    /// Bios that have not completed, plus one for the submitter while it still submits.
    pending: AtomicU32,
    /// The negative errno of the first failed bio, or 0.
    error: AtomicI32,
    done: Opaque<bindings::completion>,
}

impl Batch {
    /// Accounts for one part that has finished. `self` may be gone when this returns.
    fn put(&self) {
        if self.pending.fetch_sub(1, Ordering::AcqRel) == 1 {
            // SAFETY: the submitter initialised the completion and leaves its frame only after this.
            unsafe { bindings::complete(self.done.get()) };
        }
    }
}

/// Runs in interrupt context.
///
/// # Safety
///
/// `bio` was submitted by [`Device::submit`] and has just completed.
unsafe extern "C" fn end_io(bio: *mut bindings::bio) {
    // SAFETY: `bi_private` is the batch, which outlives its bios; the bio is complete, so nobody changes it.
    let (batch, error) = unsafe { (&*(*bio).bi_private.cast::<Batch>(), bindings::vexfs_bio_error(bio)) };
    if error != 0 {
        // The first error stays; that a later one fails to replace it is meant.
        let _ = batch
            .error
            .compare_exchange(0, error, Ordering::Relaxed, Ordering::Relaxed);
    }
    // SAFETY: this is the reference that allocating the bio gave.
    unsafe { bindings::bio_put(bio) };
    batch.put();
}

/// A piece of kernel memory for the device to read or to fill.
#[derive(Clone, Copy)]
struct Span {
    offset: u64,
    at: *mut u8,
    len: usize,
}

impl Device {
    /// The device that a file is open on; it stays open until the last copy of this value is gone.
    ///
    /// # Safety
    ///
    /// `file` is an open block device, for writing too unless it is read-only.
    pub unsafe fn from_file(file: NonNull<bindings::file>) -> Option<Self> {
        // SAFETY: the caller's promise.
        let bdev = NonNull::new(unsafe { bindings::file_bdev(file.as_ptr()) })?;
        // SAFETY: as above.
        unsafe { bindings::get_file(file.as_ptr()) };
        // INVARIANT: counted just now.
        Some(Device { bdev, file })
    }

    fn bdev(&self) -> *mut bindings::block_device {
        self.bdev.as_ptr()
    }

    /// Size in bytes.
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> u64 {
        // SAFETY: by the type's invariant the device is valid.
        unsafe { bindings::vexfs_bdev_nr_bytes(self.bdev()) }
    }

    /// The unit of reads and writes in bytes.
    pub fn logical_block_size(&self) -> u32 {
        // SAFETY: by the type's invariant the device is valid.
        unsafe { bindings::vexfs_bdev_logical_block_size(self.bdev()) }
    }

    /// Whether writes are refused.
    pub fn is_read_only(&self) -> bool {
        // SAFETY: by the type's invariant the device is valid.
        unsafe { bindings::vexfs_bdev_read_only(self.bdev()) }
    }

    fn check(&self, op: &'static str, offset: u64, len: u64) -> Result<()> {
        let unit = u64::from(self.logical_block_size());
        let aligned = offset & (unit - 1) == 0 && len & (unit - 1) == 0;
        match offset.checked_add(len) {
            Some(end) if aligned && end <= self.len() => Ok(()),
            _ => Err(Error::Io(IoError { op, offset, errno: 22 })),
        }
    }

    fn check_write(&self, offset: u64, len: usize) -> Result<()> {
        if self.is_read_only() {
            return Err(Error::ReadOnly);
        }
        self.check("write", offset, len as u64)
    }

    /// Fills `buf` from byte `offset`. Needs no memory that might not be had.
    ///
    /// # Errors
    ///
    /// `Io`; the contents of `buf` are then undefined.
    pub fn read(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        self.read_batch(&mut [Read { offset, data: buf }])
    }

    /// Submits all `reads` together and waits for the last. Needs no memory that might not be had.
    ///
    /// # Errors
    ///
    /// `Io` of the first that failed; the contents of all are then undefined.
    pub fn read_batch(&self, reads: &mut [Read<'_>]) -> Result<()> {
        for r in reads.iter() {
            self.check("read", r.offset, r.data.len() as u64)?;
        }
        let (spans, mut rest) = (reads.iter_mut(), 0usize);
        self.transfer(
            "read",
            bindings::REQ_OP_READ,
            &mut spans.filter_map(|r| match self.addressable(r.data) {
                true => Some(span(r.offset, r.data)),
                false => {
                    rest += 1;
                    None
                }
            }),
        )?;
        if rest > 0 {
            for r in reads.iter_mut().filter(|r| !self.addressable(r.data)) {
                self.read_slowly(r.offset, r.data)?;
            }
        }
        Ok(())
    }

    /// Writes `data` at byte `offset`.
    ///
    /// # Errors
    ///
    /// `Io`, `ReadOnly`.
    pub fn write(&self, offset: u64, data: &[u8]) -> Result<()> {
        self.write_with(WRITE, &mut [Write { offset, data }].into_iter())
    }

    /// Submits all `writes` together and waits for the last; their order is not defined. Needs no memory that might not
    /// be had.
    ///
    /// # Errors
    ///
    /// `Io` of the first that failed, `ReadOnly`. Any of the others may have been written.
    pub fn write_batch(&self, writes: &[Write<'_>]) -> Result<()> {
        self.write_with(WRITE, &mut writes.iter().copied())
    }

    /// The same, for writes that are not in one list.
    ///
    /// # Errors
    ///
    /// Those of [`write_batch`](Self::write_batch).
    pub fn write_all<'a>(&self, writes: &mut dyn Iterator<Item = Write<'a>>) -> Result<()> {
        self.write_with(WRITE, writes)
    }

    /// Writes `data` at byte `offset` durably; says nothing about earlier writes. Needs no memory that might not be
    /// had.
    ///
    /// # Errors
    ///
    /// `Io`, `ReadOnly`.
    pub fn write_fua(&self, offset: u64, data: &[u8]) -> Result<()> {
        self.write_with(WRITE | bindings::REQ_FUA, &mut [Write { offset, data }].into_iter())
    }

    fn write_with<'a>(&self, op: bindings::blk_opf_t, writes: &mut dyn Iterator<Item = Write<'a>>) -> Result<()> {
        // What is wrong with a write ends the batch before it.
        let mut refused = Ok(());
        let done = self.transfer(
            "write",
            op,
            &mut writes.map_while(|w| {
                refused = self.check_write(w.offset, w.data.len());
                if refused.is_ok() && !self.addressable(w.data) {
                    refused = self.write_slowly(op, w.offset, w.data);
                    // Written: what is left of it is nothing.
                    return refused.is_ok().then_some(Span {
                        offset: w.offset,
                        at: core::ptr::null_mut(),
                        len: 0,
                    });
                }
                refused.is_ok().then_some(Span {
                    offset: w.offset,
                    // The device only reads it: `transfer` gets a write operation.
                    at: w.data.as_ptr().cast_mut(),
                    len: w.data.len(),
                })
            }),
        );
        refused.and(done)
    }

    /// Fills memory that the device cannot reach, a piece at a time.
    fn read_slowly(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        let mut bounce = Bounce::new(self)?;
        let mut at = offset;
        for piece in buf.chunks_mut(bounce.len) {
            let copy = bounce.bytes(piece.len());
            self.transfer("read", bindings::REQ_OP_READ, &mut [span(at, copy)].into_iter())?;
            piece.copy_from_slice(copy);
            at = at.saturating_add(piece.len() as u64);
        }
        Ok(())
    }

    /// Writes memory that the device cannot reach, a piece at a time.
    fn write_slowly(&self, op: bindings::blk_opf_t, offset: u64, data: &[u8]) -> Result<()> {
        let mut bounce = Bounce::new(self)?;
        let mut at = offset;
        for piece in data.chunks(bounce.len) {
            let copy = bounce.bytes(piece.len());
            copy.copy_from_slice(piece);
            self.transfer("write", op, &mut [span(at, copy)].into_iter())?;
            at = at.saturating_add(piece.len() as u64);
        }
        Ok(())
    }

    /// Makes everything written so far durable.
    ///
    /// # Errors
    ///
    /// `Io`.
    pub fn flush(&self) -> Result<()> {
        if self.is_read_only() {
            return Ok(());
        }
        // SAFETY: by the type's invariant the device is valid.
        to_result("flush", 0, unsafe { bindings::blkdev_issue_flush(self.bdev()) })
    }

    /// Tells the device that `len` bytes from `offset` hold nothing of interest.
    ///
    /// # Errors
    ///
    /// `Io`, `ReadOnly`. A device that cannot discard is no error: it is advice.
    pub fn discard(&self, offset: u64, len: u64) -> Result<()> {
        if self.is_read_only() {
            return Err(Error::ReadOnly);
        }
        self.check("discard", offset, len)?;
        // SAFETY: by the type's invariant the device is valid.
        if len == 0 || unsafe { bindings::vexfs_bdev_max_discard_sectors(self.bdev()) } == 0 {
            return Ok(());
        }
        // SAFETY: as above, and the range was checked.
        let error =
            unsafe { bindings::blkdev_issue_discard(self.bdev(), offset / SECTOR, len / SECTOR, bindings::GFP_NOFS) };
        to_result("discard", offset, error)
    }

    /// Whether the device can reach `buf` as it lies in memory.
    fn addressable(&self, buf: &[u8]) -> bool {
        // SAFETY: by the type's invariant the device is valid.
        let mask = unsafe { bindings::vexfs_bdev_dma_alignment(self.bdev()) };
        buf.as_ptr() as usize & mask as usize == 0
    }

    /// Moves all `spans`, which are addressable kernel memory that stays valid until this returns.
    fn transfer(
        &self,
        op_name: &'static str,
        op: bindings::blk_opf_t,
        spans: &mut dyn Iterator<Item = Span>,
    ) -> Result<()> {
        let batch = Batch {
            pending: AtomicU32::new(1),
            error: AtomicI32::new(0),
            done: Opaque::uninit(),
        };
        let plug = Opaque::<bindings::blk_plug>::uninit();
        // SAFETY: both are in their final place on this frame, which is left only after the wait below.
        unsafe {
            bindings::init_completion(batch.done.get());
            bindings::blk_start_plug(plug.get());
        }
        let mut first = 0;
        for (n, span) in spans.enumerate() {
            if n == 0 {
                first = span.offset;
            }
            self.submit(op, span, &batch);
        }
        // SAFETY: the plug was started above by this task.
        unsafe { bindings::blk_finish_plug(plug.get()) };
        batch.put();
        // SAFETY: the completion was initialised; the last `put` completes it exactly once.
        unsafe { bindings::wait_for_completion_io(batch.done.get()) };
        to_result(op_name, first, batch.error.load(Ordering::Acquire))
    }

    /// Submits `span` as as many bios as it takes.
    fn submit(&self, op: bindings::blk_opf_t, span: Span, batch: &Batch) {
        let mut done = 0;
        while done < span.len {
            let pages = (span.len - done).div_ceil(PAGE).saturating_add(1);
            let pages = pages.min(bindings::BIO_MAX_VECS as usize);
            // SAFETY: the device is valid. The allocation waits for memory and cannot fail: its pool has a reserve,
            // and bios already taken from it have been submitted.
            let bio = unsafe { bindings::vexfs_bio_alloc(self.bdev(), pages as u16, op, bindings::GFP_NOFS) };
            // SAFETY: `bio` is fresh and ours until it is submitted.
            unsafe {
                (*bio).bi_iter.bi_sector = (span.offset + done as u64) / SECTOR;
                (*bio).bi_private = core::ptr::from_ref(batch).cast_mut().cast();
                (*bio).bi_end_io = Some(end_io);
            }
            batch.pending.fetch_add(1, Ordering::Relaxed);
            let start = done;
            while done < span.len {
                // SAFETY: `done` is less than the length of the span.
                let at = unsafe { span.at.add(done) };
                let in_page = PAGE - (at as usize & (PAGE - 1));
                let n = in_page.min(span.len - done);
                // SAFETY: `at` is kernel memory, linear or vmalloc, and `n` bytes from it are in one page.
                if unsafe { bindings::vexfs_bio_add_virt(bio, at.cast(), n as u32) } < n as u32 {
                    break;
                }
                done += n;
            }
            if done == start {
                // A fresh bio has room for a page; if one ever had not, trying again would never end.
                // SAFETY: `bio` is ours; this completes it with an error instead of submitting it.
                unsafe { bindings::vexfs_bio_io_error(bio) };
                return;
            }
            // SAFETY: the bio is complete and its memory stays valid until the batch is done.
            unsafe { bindings::submit_bio(bio) };
        }
    }
}

fn span(offset: u64, buf: &mut [u8]) -> Span {
    Span {
        offset,
        at: buf.as_mut_ptr(),
        len: buf.len(),
    }
}

/// Memory that every device can reach, for a piece of what one cannot. Getting it waits for memory and cannot fail.
///
/// # Invariants
///
/// `at` is `len` bytes from `vexfs_kvmalloc_nofail`, initialised and this value's own.
struct Bounce {
    at: NonNull<u8>,
    len: usize,
}

impl Bounce {
    fn new(dev: &Device) -> Result<Self> {
        // A power of two, so that it is aligned to itself or to a page.
        let len = PAGE.max(dev.logical_block_size() as usize);
        // SAFETY: called from process context, as everything in this crate.
        let at = unsafe { bindings::vexfs_kvmalloc_nofail(len) }.cast::<u8>();
        // INVARIANT: the memory is zeroed. That there is none cannot happen.
        NonNull::new(at).map(|at| Bounce { at, len }).ok_or(Error::NoMemory)
    }

    /// The first `n` bytes.
    fn bytes(&mut self, n: usize) -> &mut [u8] {
        // SAFETY: by the type's invariant; no more than there are.
        unsafe { core::slice::from_raw_parts_mut(self.at.as_ptr(), n.min(self.len)) }
    }
}

impl Drop for Bounce {
    fn drop(&mut self) {
        // SAFETY: by the type's invariant.
        unsafe { bindings::kvfree(self.at.as_ptr().cast()) };
    }
}

fn to_result(op: &'static str, offset: u64, error: i32) -> Result<()> {
    if error == 0 {
        return Ok(());
    }
    Err(Error::Io(IoError {
        op,
        offset,
        errno: error.saturating_neg(),
    }))
}
