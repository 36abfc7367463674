// SPDX-License-Identifier: GPL-2.0
//! Work that repeats.
//!
//! C header: `include/linux/workqueue.h`.

use crate::Result;
use kernel::alloc::KBox;
use kernel::bindings;
use kernel::error::code::*;
use kernel::prelude::GFP_KERNEL;
use kernel::types::Opaque;
use vexfs_bindings as extra;

/// Something to do again and again, in process context.
pub trait Repeat: Send + Sync + 'static {
    /// Does it, and says after how many milliseconds to do it again.
    fn run(&self) -> u32;
}

#[repr(C)]
struct Inner<C: Repeat> {
    /// First, so that a pointer to the work is a pointer to the whole.
    work: Opaque<bindings::delayed_work>,
    context: C,
}

/// Repeating work; dropping it cancels it and waits for a run in progress.
///
/// # Invariants
///
/// The box's contents never move: C holds pointers into them.
pub struct Repeating<C: Repeat>(KBox<Inner<C>>);

// SAFETY: the work runs on another thread anyway, and `C` is `Send` and `Sync`.
unsafe impl<C: Repeat> Send for Repeating<C> {}
// SAFETY: as above; there are no methods on a shared reference.
unsafe impl<C: Repeat> Sync for Repeating<C> {}

impl<C: Repeat> Repeating<C> {
    /// Runs `context` for the first time after `delay` milliseconds.
    pub fn start(context: C, delay: u32) -> Result<Self> {
        let inner = Inner {
            work: Opaque::uninit(),
            context,
        };
        let this = Self(KBox::new(inner, GFP_KERNEL).map_err(|_| ENOMEM)?);
        let work = this.0.work.get();
        // SAFETY: pinned in the box from here on; `drop` cancels the work before the box goes.
        unsafe {
            extra::vexfs_init_delayed_work(work, Some(run::<C>));
            extra::vexfs_queue_delayed_work(work, delay);
        }
        Ok(this)
    }
}

impl<C: Repeat> Drop for Repeating<C> {
    fn drop(&mut self) {
        // SAFETY: initialised in `start`. Waits, and keeps a run in progress from queueing itself again.
        unsafe { bindings::cancel_delayed_work_sync(self.0.work.get()) };
    }
}

unsafe extern "C" fn run<C: Repeat>(work: *mut bindings::work_struct) {
    // `work_struct` is the first member of `delayed_work`, and that of `Inner`.
    let inner = work.cast::<Inner<C>>();
    // SAFETY: the box outlives every run.
    let delay = unsafe { &(*inner).context }.run();
    // SAFETY: as above; refused by C while the work is being cancelled.
    unsafe { extra::vexfs_queue_delayed_work((*inner).work.get(), delay) };
}
