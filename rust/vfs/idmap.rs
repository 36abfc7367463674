// SPDX-License-Identifier: GPL-2.0
//! Identity mappings of mounts, and attribute changes.
//!
//! C headers: `include/linux/mnt_idmapping.h`, `include/linux/fs.h`.

use crate::Time;
use core::marker::PhantomData;
use kernel::bindings;

/// The identity mapping of the mount an operation came through.
#[derive(Clone, Copy)]
pub struct Idmap<'a>(*mut bindings::mnt_idmap, PhantomData<&'a ()>);

impl Idmap<'_> {
    /// Wraps a mapping that is valid for the lifetime.
    ///
    /// # Safety
    ///
    /// `ptr` is a valid mapping for as long as the value is used.
    pub(crate) unsafe fn from_raw(ptr: *mut bindings::mnt_idmap) -> Self {
        Self(ptr, PhantomData)
    }

    /// The C mapping.
    pub(crate) fn as_ptr(self) -> *mut bindings::mnt_idmap {
        self.0
    }
}

/// A change of attributes (`struct iattr`).
#[repr(transparent)]
pub struct Attr(bindings::iattr);

impl Attr {
    /// Wraps the attributes of a `setattr` call.
    ///
    /// # Safety
    ///
    /// `ptr` is valid and used by nobody else for `'a`.
    pub(crate) unsafe fn from_raw<'a>(ptr: *mut bindings::iattr) -> &'a mut Self {
        // SAFETY: by the contract; the struct is transparent.
        unsafe { &mut *ptr.cast() }
    }

    pub(crate) fn as_ptr(&self) -> *const bindings::iattr {
        &self.0
    }

    pub(crate) fn as_mut_ptr(&mut self) -> *mut bindings::iattr {
        &mut self.0
    }

    /// Which attributes change (`ATTR_*`).
    pub fn valid(&self) -> u32 {
        self.0.ia_valid
    }

    /// The new size, if it changes.
    pub fn size(&self) -> Option<u64> {
        if self.0.ia_valid & bindings::ATTR_SIZE != 0 {
            u64::try_from(self.0.ia_size).ok()
        } else {
            None
        }
    }

    /// Lets the change set the times of last change of contents and of anything to `now`.
    pub fn touch(&mut self, now: Time) {
        self.0.ia_valid |= bindings::ATTR_MTIME | bindings::ATTR_CTIME;
        self.0.ia_mtime = now.to_raw();
        self.0.ia_ctime = now.to_raw();
    }

    /// Whether the change sets the time of last change of contents or of anything.
    pub fn touches(&self) -> bool {
        self.0.ia_valid & (bindings::ATTR_MTIME | bindings::ATTR_CTIME) != 0
    }
}
