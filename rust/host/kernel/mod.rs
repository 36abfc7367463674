// SPDX-License-Identifier: GPL-2.0
//! The kernel side of the platform layer: the kernel crate's containers and locks behind facades, block devices over
//! bios.
//!
//! Relies on process context: everything here may sleep, except the completion handler in `device`.

use crate::Error;
use crate::Level;
use crate::Result;
use core::fmt;
use core::marker::PhantomData;
use vexfs_bindings as bindings;

pub mod device;
pub mod mem;
pub mod sync;
pub mod threads;

/// Extends the CRC-32C `seed` of what came before by `data`; start with 0.
pub fn crc32c(seed: u32, data: &[u8]) -> u32 {
    // The kernel's function works on the inverted register and leaves both inversions to its caller.
    // SAFETY: `data` is readable for its whole length.
    !unsafe { bindings::crc32c(!seed, data.as_ptr().cast(), data.len()) }
}

/// SipHash-2-4 of `data` under `key`.
pub fn siphash24(key: &[u64; 2], data: &[u8]) -> u64 {
    // SAFETY: `data` is readable for its whole length.
    unsafe { bindings::vexfs_siphash(data.as_ptr().cast(), data.len(), key[0], key[1]) }
}

/// Fills `buf` from the kernel's random source.
///
/// # Errors
///
/// None; userspace has some.
pub fn random(buf: &mut [u8]) -> Result<()> {
    // SAFETY: `buf` is writable for its whole length.
    unsafe { bindings::get_random_bytes(buf.as_mut_ptr().cast(), buf.len()) };
    Ok(())
}

/// The time: seconds since 1970 and nanoseconds.
///
/// It is the coarse clock that the VFS stamps inodes with: a finer one would run ahead of it, and a file changed
/// later through the VFS would look older than one changed here.
pub fn now() -> (i64, u32) {
    let mut ts = bindings::timespec64 { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `ts` is a writable timespec64.
    unsafe { bindings::ktime_get_coarse_real_ts64(&mut ts) };
    (ts.tv_sec, u32::try_from(ts.tv_nsec).unwrap_or(0))
}

/// Nanoseconds since some moment, never going back. For deadlines.
pub fn monotonic() -> u64 {
    // SAFETY: reads a clock.
    let now = unsafe { bindings::ktime_get() };
    u64::try_from(now).unwrap_or(0)
}

/// Sleeps for some 30 microseconds, for whoever waits a little to be joined by others.
pub fn nap() {
    // SAFETY: called from process context without a spinlock held, as everything in this crate.
    unsafe { bindings::vexfs_nap() };
}

/// Lets others run.
#[inline]
pub fn cond_resched() {
    // SAFETY: called from process context without a spinlock held, as everything in this crate.
    unsafe { bindings::vexfs_cond_resched() };
}

/// A cooperative point for long loops that may end half-way: lets others run.
///
/// Only for work that nobody else depends on and that leaves nothing behind when it stops. What finishes something that
/// was begun, such as writing back, committing or deleting, uses [`cond_resched`].
///
/// # Errors
///
/// `Interrupted` when the calling task is being killed. A task that is already exiting runs on: what it does then,
/// such as releasing the last reference to an unlinked file, is clean-up that nobody would repeat.
#[inline]
pub fn relax() -> Result<()> {
    cond_resched();
    // SAFETY: looks at the current task only.
    if unsafe { bindings::vexfs_killed() } {
        return Err(Error::Interrupted);
    }
    Ok(())
}

/// Waits a while for memory to be freed, for work that has to be done however long it takes. Returns whether to try
/// again: always, since the kernel frees memory in the end. No lock that freeing memory may need is held.
pub fn wait_for_memory() -> bool {
    // SAFETY: called from process context without a spinlock held, as everything in this crate.
    unsafe { bindings::vexfs_memalloc_retry_wait() };
    true
}

/// A section in which memory reclaim does not enter a filesystem. Sections of a task nest and end in reverse order.
#[must_use]
pub struct NofsScope {
    saved: u32,
    // The state belongs to the task that opened the section.
    _not_send: PhantomData<*mut ()>,
}

/// Opens a section in which memory reclaim does not enter a filesystem.
#[inline]
pub fn nofs() -> NofsScope {
    NofsScope {
        // SAFETY: changes a flag of the current task; the guard's drop restores it, and the guard stays in the task.
        saved: unsafe { bindings::vexfs_memalloc_nofs_save() },
        _not_send: PhantomData,
    }
}

impl Drop for NofsScope {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: `saved` is what the matching save of this task returned.
        unsafe { bindings::vexfs_memalloc_nofs_restore(self.saved) };
    }
}

/// A section whose memory serves everybody and is charged to no memory cgroup. Memory reclaim does not enter a
/// filesystem in it either. Sections of a task nest and end in reverse order.
#[must_use]
pub struct SharedScope {
    memcg: *mut core::ffi::c_void,
    // Restored last, as it was saved first; a pointer besides, so the value stays in its task.
    _nofs: NofsScope,
}

/// Opens a section for filling what everybody uses, such as the cache of tree nodes. The cgroup of the task that
/// happens to need it first could not reclaim it later, and would have its tasks killed for it.
#[inline]
pub fn shared() -> SharedScope {
    let nofs = nofs();
    SharedScope {
        // SAFETY: changes a pointer of the current task; the guard's drop restores it, and the guard stays in the task.
        memcg: unsafe { bindings::vexfs_memcg_charge_root() },
        _nofs: nofs,
    }
}

impl Drop for SharedScope {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: `memcg` is what the matching change of this task returned; the task's own cgroup is not freed
        // meanwhile.
        unsafe { bindings::vexfs_memcg_restore(self.memcg) };
    }
}

#[doc(hidden)]
pub const fn has_log_hook() -> bool {
    false
}

#[doc(hidden)]
pub fn log_args(level: Level, args: fmt::Arguments<'_>) {
    let format = match level {
        Level::Err => c"\x013vexfs: %pA\n",
        Level::Warn => c"\x014vexfs: %pA\n",
        Level::Info => c"\x016vexfs: %pA\n",
    };
    // SAFETY: the format takes one argument, `%pA`, a pointer to `fmt::Arguments` that lives during the call.
    unsafe {
        bindings::_printk(
            format.as_ptr().cast(),
            core::ptr::from_ref(&args).cast::<core::ffi::c_void>(),
        )
    };
}
