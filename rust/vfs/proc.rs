// SPDX-License-Identifier: GPL-2.0
//! Folders, links and files in /proc.
//!
//! C header: `include/linux/proc_fs.h`.

use crate::Result;
use core::ptr::NonNull;
use kernel::alloc::KBox;
use kernel::bindings;
use kernel::error::code::*;
use kernel::ffi;
use kernel::prelude::GFP_KERNEL;
use kernel::seq_file::SeqFile;
use kernel::str::CStr;
use vexfs_bindings as extra;

/// Something that prints itself into a file of /proc.
pub trait Show: Send + Sync + 'static {
    /// Prints.
    fn show(&self, seq: &SeqFile);
}

/// A folder in /proc; dropping it removes it with all that is in it.
pub struct Folder(NonNull<bindings::proc_dir_entry>);

// SAFETY: /proc entries are protected by locks of their own.
unsafe impl Send for Folder {}
// SAFETY: as above.
unsafe impl Sync for Folder {}

impl Folder {
    /// Makes a folder; `path` is relative to /proc and its parent exists.
    pub fn new(path: &CStr) -> Result<Self> {
        // SAFETY: a string that lives across the call; the name is copied.
        let entry = unsafe { extra::proc_mkdir(path.as_ptr().cast(), core::ptr::null_mut()) };
        Ok(Self(NonNull::new(entry.cast()).ok_or(ENOMEM)?))
    }
}

/// A symlink in /proc; dropping it removes it.
pub struct Link {
    _entry: Folder,
}

impl Link {
    /// Makes a link called `name` in /proc itself.
    pub fn new(name: &CStr, target: &CStr) -> Result<Self> {
        // SAFETY: strings that live across the call; both are copied.
        let entry = unsafe { extra::proc_symlink(name.as_ptr().cast(), core::ptr::null_mut(), target.as_ptr().cast()) };
        Ok(Self {
            _entry: Folder(NonNull::new(entry.cast()).ok_or(ENOMEM)?),
        })
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // SAFETY: made in `new`; waits for readers.
        unsafe { extra::proc_remove(self.0.as_ptr().cast()) }
    }
}

/// A folder with one file in it that prints `C`.
pub struct Report<C: Show> {
    // Removed before the context is dropped: members are dropped in this order.
    _folder: Folder,
    _context: KBox<C>,
}

impl<C: Show> Report<C> {
    /// Makes the folder `path` (relative to /proc) and in it the file `name`, readable by all.
    pub fn new(path: &CStr, name: &CStr, context: C) -> Result<Self> {
        let context = KBox::new(context, GFP_KERNEL).map_err(|_| ENOMEM)?;
        let folder = Folder::new(path)?;
        // SAFETY: strings that live across the call; the context outlives the file, which goes with the folder.
        let entry = unsafe {
            extra::proc_create_single_data(
                name.as_ptr().cast(),
                0o444,
                folder.0.as_ptr().cast(),
                Some(show::<C>),
                (&raw const *context).cast_mut().cast(),
            )
        };
        if entry.is_null() {
            return Err(ENOMEM.into());
        }
        Ok(Self {
            _folder: folder,
            _context: context,
        })
    }
}

unsafe extern "C" fn show<C: Show>(seq: *mut bindings::seq_file, _v: *mut ffi::c_void) -> ffi::c_int {
    // SAFETY: `private` is the data the file was made with, and the seq file is ours for the call.
    let (context, seq) = unsafe { (&*(*seq).private.cast::<C>(), SeqFile::from_raw(seq)) };
    context.show(seq);
    0
}
