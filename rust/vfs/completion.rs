// SPDX-License-Identifier: GPL-2.0
//! Completion of data writes: from the interrupt, through the inode's work item, into the filesystem's metadata.
//!
//! Data always goes to newly allocated space, so a write is not done when its bytes are on the device: the extent has
//! to be recorded, which takes locks and memory. The end-of-I/O handler therefore only pushes the ioend onto its
//! inode's [`IoQueue`]; the work item takes all of them at once, merges what is adjacent and tells the filesystem of
//! several runs at a time. Only after that does the writeback of the folios end, so a folio that is clean is reachable
//! through metadata.
//!
//! # Invariants
//!
//! - The work item is pending or about to run exactly if the list is not empty: whoever makes it non-empty queues it,
//!   and the worker empties it in one step and never looks at the inode again after it has ended the last folio. An
//!   inode stays alive while one of its ioends exists, because eviction waits for folios under writeback and for direct
//!   I/O.

use core::ffi::CStr;
use core::mem::offset_of;
use core::ptr;
use core::ptr::NonNull;
use core::sync::atomic::AtomicPtr;
use core::sync::atomic::Ordering;

use kernel::error::code::ENOMEM;
use kernel::types::Opaque;
use vexfs_bindings as bindings;

use crate::fail;
use crate::inode::Container;
use crate::inode::Inode;
use crate::iomap::BlockMap;
use crate::iomap::Written;
use crate::iomap::TOGETHER;
use crate::Result;

/// The work queue of a mount on which its data writes are recorded.
///
/// It has a rescuer thread of its own: memory may be short exactly because writeback has to go on. Work runs on the CPU
/// that took the interrupt, whose caches know the ioend. Dropping it waits for all its work.
///
/// # Invariants
///
/// The pointer is what `alloc_workqueue` returned, and nobody else destroys it.
pub struct IoWorkqueue(NonNull<bindings::workqueue_struct>);

// SAFETY: A work queue may be used and destroyed from any thread.
unsafe impl Send for IoWorkqueue {}
// SAFETY: Queueing work is synchronised by the work queue itself.
unsafe impl Sync for IoWorkqueue {}

impl IoWorkqueue {
    /// Makes a work queue; `name` is what its threads are called.
    pub fn new(name: &CStr) -> Result<Self> {
        let flags = bindings::wq_flags_WQ_MEM_RECLAIM | bindings::wq_flags_WQ_PERCPU;
        // SAFETY: The format takes one string, and `name` is one; it is copied before the call returns.
        let queue = unsafe { bindings::alloc_workqueue_noprof(c"%s".as_ptr().cast(), flags, 0, name.as_ptr()) };
        // INVARIANT: Just allocated.
        Ok(Self(NonNull::new(queue).ok_or(ENOMEM)?))
    }

    /// Queues `work` if it is not pending.
    ///
    /// # Safety
    ///
    /// `work` is initialised and stays valid until its function has begun to run for this queueing.
    unsafe fn queue(&self, work: *mut bindings::work_struct) {
        // SAFETY: By the type invariant and the caller's promise.
        unsafe { bindings::queue_work_on(bindings::wq_misc_consts_WORK_CPU_UNBOUND as i32, self.0.as_ptr(), work) };
    }
}

impl Drop for IoWorkqueue {
    fn drop(&mut self) {
        // SAFETY: By the type invariant; drains the queue first.
        unsafe { bindings::destroy_workqueue(self.0.as_ptr()) };
    }
}

/// The finished but unrecorded writes of an inode.
///
/// # Invariants
///
/// The list is linked through `io_list.next` of ioends whose bios have ended; a null pointer ends it.
pub(crate) struct IoQueue {
    list: AtomicPtr<bindings::iomap_ioend>,
    work: Opaque<bindings::work_struct>,
}

impl IoQueue {
    /// Initialises the queue of an inode that is being made.
    ///
    /// # Safety
    ///
    /// `this` is valid for writes and stays where it is; nobody else uses it yet. `worker` is [`worker`] for the type
    /// of the inode.
    pub(crate) unsafe fn init(this: *mut Self, worker: bindings::work_func_t) {
        // SAFETY: By the caller's promise.
        unsafe {
            (&raw mut (*this).list).write(AtomicPtr::new(ptr::null_mut()));
            bindings::vexfs_init_work(Opaque::cast_into(&raw const (*this).work), worker);
        }
    }

    /// Adds an ioend; true if the list was empty, so that the caller has to queue the work item.
    ///
    /// # Safety
    ///
    /// The bio of `ioend` has ended and nobody else uses its `io_list`.
    unsafe fn push(&self, ioend: *mut bindings::iomap_ioend) -> bool {
        let mut head = self.list.load(Ordering::Relaxed);
        loop {
            // SAFETY: The ioend is the caller's until it is on the list.
            unsafe { (*ioend).io_list.next = head.cast() };
            // Release: the worker sees the link. The list is only ever taken whole, so an address that comes back
            // cannot be mistaken for the list it was on before.
            match self
                .list
                .compare_exchange_weak(head, ioend, Ordering::AcqRel, Ordering::Relaxed)
            {
                Ok(_) => return head.is_null(),
                Err(now) => head = now,
            }
        }
    }
}

/// `bio->bi_end_io` of a data write.
///
/// # Safety
///
/// `bio` is that of an ioend made for an inode of a filesystem of type `T` with an initialised [`IoQueue`], and has
/// ended.
pub(crate) unsafe extern "C" fn end_bio<T: BlockMap>(bio: *mut bindings::bio) {
    // SAFETY: By the caller's promise the bio is the last member of an ioend.
    let ioend = unsafe { bio.byte_sub(offset_of!(bindings::iomap_ioend, io_bio)) }.cast::<bindings::iomap_ioend>();
    // SAFETY: The ioend names its inode, which lives at least as long as the ioend.
    let inode = unsafe { Inode::<T>::from_raw((*ioend).io_inode) };
    let queue = T::io_workqueue(inode);
    let container = inode.as_ptr().cast::<Container<T>>();
    // SAFETY: Every inode lives in a container; its queue is only used through shared references.
    let io = unsafe { &(*container).io };
    // SAFETY: The bio has ended; its ioend is ours.
    if unsafe { io.push(ioend) } {
        // SAFETY: Initialised when the inode was made. The list is not empty, so the inode is alive when the work runs.
        unsafe { queue.queue(io.work.get()) };
    }
}

/// The function of an [`IoQueue`]'s work item.
///
/// # Safety
///
/// `work` is the work item of an `IoQueue` in the container of an inode of type `T`.
pub(crate) unsafe extern "C" fn worker<T: BlockMap>(work: *mut bindings::work_struct) {
    // SAFETY: By the caller's promise.
    let queue = unsafe { work.byte_sub(offset_of!(IoQueue, work)) }.cast::<IoQueue>();
    // SAFETY: The list is not empty, which keeps the inode alive. Acquire pairs with the release of `push`.
    let mut ioend = unsafe { (*queue).list.swap(ptr::null_mut(), Ordering::Acquire) };
    let mut list = bindings::list_head::default();
    let head = &raw mut list;
    list.next = head;
    list.prev = head;
    while !ioend.is_null() {
        // SAFETY: The ioends of the list taken are ours; the local list lives until the end of the function and is
        // empty by then.
        unsafe {
            let next = (*ioend).io_list.next.cast();
            bindings::list_add_tail(&raw mut (*ioend).io_list, head);
            ioend = next;
        }
    }
    // SAFETY: A list of ioends of one inode, ours alone.
    unsafe { bindings::iomap_sort_ioends(head) };
    let mut batch = Batch::new();
    loop {
        // SAFETY: `io_list` is the first member of an ioend; entries of the list are valid, and the one taken out is
        // linked to itself, by iomap_ioend_try_merge() if not here. A run with a checksum stays by itself.
        let ioend = unsafe {
            let entry = (*head).next;
            if entry == head {
                break;
            }
            (*head).next = (*entry).next;
            (*(*entry).next).prev = head;
            let ioend = entry
                .byte_sub(offset_of!(bindings::iomap_ioend, io_list))
                .cast::<bindings::iomap_ioend>();
            if csum(ioend).is_some() {
                (*entry).next = entry;
                (*entry).prev = entry;
            } else {
                bindings::iomap_ioend_try_merge(ioend, head);
            }
            ioend
        };
        // SAFETY: A run of finished ioends, ours alone, of the same inode as the others.
        unsafe { batch.add::<T>(ioend) };
    }
    // SAFETY: As above.
    unsafe { batch.complete::<T>() };
}

/// Runs of written data of one inode, in the order of the file, that are about to be recorded together: a transaction
/// for each would take the filesystem's locks as often.
struct Batch {
    ioends: [*mut bindings::iomap_ioend; TOGETHER],
    runs: [Written; TOGETHER],
    len: usize,
}

impl Batch {
    fn new() -> Self {
        let none = Written {
            pos: 0,
            len: 0,
            addr: 0,
            csum: None,
        };
        Self {
            ioends: [ptr::null_mut(); TOGETHER],
            runs: [none; TOGETHER],
            len: 0,
        }
    }

    /// Adds a run; completes those there are if there is no room.
    ///
    /// # Safety
    ///
    /// As for [`complete`]. All of a batch are of one inode.
    unsafe fn add<T: BlockMap>(&mut self, ioend: *mut bindings::iomap_ioend) {
        if self.len == TOGETHER {
            // SAFETY: By the caller's promise.
            unsafe { self.complete::<T>() };
        }
        // SAFETY: By the caller's promise.
        let (written, error) = unsafe { outcome(ioend) };
        match (self.ioends.get_mut(self.len), self.runs.get_mut(self.len)) {
            (Some(to), Some(run)) if error == 0 => {
                (*to, *run) = (ioend, written);
                self.len += 1;
            }
            // SAFETY: By the caller's promise.
            _ => unsafe { complete::<T>(ioend) },
        }
    }

    /// Records all of it and ends the I/O of what it came from.
    ///
    /// # Safety
    ///
    /// As for [`complete`], of everything that was added.
    unsafe fn complete<T: BlockMap>(&mut self) {
        let ioends = self.ioends.get(..self.len).unwrap_or_default();
        let runs = self.runs.get(..self.len).unwrap_or_default();
        let together = match ioends.first() {
            Some(first) if runs.len() > 1 => {
                // SAFETY: The ioend keeps its inode alive.
                let inode = unsafe { Inode::from_raw((**first).io_inode) };
                T::record_together(inode, runs).is_ok()
            }
            _ => false,
        };
        for ioend in ioends {
            // SAFETY: By the caller's promise. Each is ended once, and after the last one the inode may be gone.
            unsafe {
                if together {
                    bindings::iomap_finish_ioends(*ioend, 0);
                } else {
                    complete::<T>(*ioend);
                }
            }
        }
        self.len = 0;
        // SAFETY: A work item may sleep.
        unsafe { bindings::vexfs_cond_resched() };
    }
}

/// A checksum in the form of an ioend's private member, where null is none.
pub(crate) fn private_csum(csum: u32) -> *mut core::ffi::c_void {
    ptr::without_provenance_mut(1 << 32 | csum as usize)
}

/// The CRC-32C of all that the bio of an ioend has written, if it was taken when that was submitted.
///
/// # Safety
///
/// `ioend` is that of a data write.
unsafe fn csum(ioend: *const bindings::iomap_ioend) -> Option<u32> {
    // SAFETY: By the caller's promise.
    match unsafe { (*ioend).io_private.addr() } {
        0 => None,
        csum => Some(csum as u32),
    }
}

/// What a run of finished ioends wrote, and its error or 0.
///
/// # Safety
///
/// `ioend` and the ioends merged into it are finished and the caller's.
unsafe fn outcome(ioend: *mut bindings::iomap_ioend) -> (Written, i32) {
    // SAFETY: By the caller's promise.
    unsafe {
        let written = Written {
            pos: (*ioend).io_offset as u64,
            len: (*ioend).io_size as u64,
            addr: (*ioend).io_sector << bindings::SECTOR_SHIFT,
            csum: csum(ioend),
        };
        (written, bindings::vexfs_bio_error(&raw mut (*ioend).io_bio))
    }
}

/// Records a run of written data and ends the I/O of what it came from.
///
/// # Safety
///
/// `ioend` and the ioends merged into it are finished and the caller's; none is used afterwards.
pub(crate) unsafe fn complete<T: BlockMap>(ioend: *mut bindings::iomap_ioend) {
    // SAFETY: By the caller's promise.
    let (inode, (run, mut error)) = unsafe { (Inode::<T>::from_raw((*ioend).io_inode), outcome(ioend)) };
    if error != 0 {
        T::release(inode, run.pos, run.len, run.addr);
    } else if let Err(failure) = T::record(inode, run.pos, run.len, run.addr, run.csum) {
        error = fail(inode.super_block(), failure);
    }
    // SAFETY: Ends the folios or the direct I/O and frees the ioends; the inode may be gone afterwards.
    unsafe { bindings::iomap_finish_ioends(ioend, error) };
}
