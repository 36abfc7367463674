// SPDX-License-Identifier: GPL-2.0
//! Giving cached memory back when the system runs short.
//!
//! C header: `include/linux/shrinker.h`.

use crate::Result;
use core::ptr::NonNull;
use kernel::alloc::KBox;
use kernel::bindings;
use kernel::error::code::*;
use kernel::ffi;
use kernel::prelude::GFP_KERNEL;
use kernel::str::CStr;
use vexfs_bindings as extra;

/// `SHRINK_STOP`.
const SHRINK_STOP: ffi::c_ulong = ffi::c_ulong::MAX;

/// A cache that can shrink.
pub trait Shrink: Send + Sync + 'static {
    /// How many objects could be freed. Takes no lock.
    fn count(&self) -> usize;

    /// Frees up to `wanted` objects, those used longest ago first, and returns how many it freed. Never called from
    /// within an allocation that a filesystem made, so it may take the cache's locks; it must not wait for them.
    fn scan(&self, wanted: usize) -> usize;
}

/// A registered cache; dropping it unregisters it and waits for calls in progress.
pub struct Shrinker<C: Shrink> {
    raw: NonNull<bindings::shrinker>,
    _cache: KBox<C>,
}

// SAFETY: the C shrinker may be freed from any thread; the cache is `Send` and `Sync`.
unsafe impl<C: Shrink> Send for Shrinker<C> {}
// SAFETY: as above; there are no methods on a shared reference.
unsafe impl<C: Shrink> Sync for Shrinker<C> {}

impl<C: Shrink> Shrinker<C> {
    /// Registers a cache under a name.
    pub fn new(name: &'static CStr, cache: C) -> Result<Self> {
        let cache = KBox::new(cache, GFP_KERNEL).map_err(|_| ENOMEM)?;
        // SAFETY: the format takes one string, and `name` is one; it is copied before the call returns.
        let raw = unsafe { bindings::shrinker_alloc(0, c"%s".as_ptr().cast(), name.as_ptr()) };
        let raw = NonNull::new(raw).ok_or(ENOMEM)?;
        // SAFETY: not registered yet, so it is ours to fill in; the box does not move its contents and outlives the
        // shrinker, which `drop` frees first.
        unsafe {
            let shrinker = raw.as_ptr();
            (*shrinker).count_objects = Some(count::<C>);
            (*shrinker).scan_objects = Some(scan::<C>);
            (*shrinker).private_data = (&raw const *cache).cast_mut().cast();
            bindings::shrinker_register(shrinker);
        }
        Ok(Self { raw, _cache: cache })
    }
}

impl<C: Shrink> Drop for Shrinker<C> {
    fn drop(&mut self) {
        // SAFETY: registered in `new`; waits for calls in progress.
        unsafe { bindings::shrinker_free(self.raw.as_ptr()) }
    }
}

unsafe extern "C" fn count<C: Shrink>(
    shrinker: *mut bindings::shrinker,
    _control: *mut bindings::shrink_control,
) -> ffi::c_ulong {
    // SAFETY: `private_data` is the cache, which outlives the registration.
    let cache = unsafe { &*(*shrinker).private_data.cast::<C>() };
    cache.count()
}

unsafe extern "C" fn scan<C: Shrink>(
    shrinker: *mut bindings::shrinker,
    control: *mut bindings::shrink_control,
) -> ffi::c_ulong {
    // SAFETY: as in `count`; the control is valid for the call.
    let (cache, control) = unsafe { (&*(*shrinker).private_data.cast::<C>(), &*control) };
    // Inside a filesystem's own allocation its locks may be held.
    if control.gfp_mask & extra::__GFP_FS == 0 {
        return SHRINK_STOP;
    }
    match cache.scan(control.nr_to_scan) {
        // All of it is in use or locked at the moment: asking again at once gives nothing either.
        0 => SHRINK_STOP,
        freed => freed,
    }
}
