// SPDX-License-Identifier: GPL-2.0
//! The flags of `chattr` and `lsattr`.
//!
//! C header: `include/linux/fileattr.h`.

use vexfs_bindings as extra;

/// File attributes (`struct file_kattr`).
#[repr(transparent)]
pub struct FileAttr(extra::file_kattr);

impl FileAttr {
    /// Wraps the attributes of a call.
    ///
    /// # Safety
    ///
    /// `ptr` is valid and used by nobody else for `'a`.
    pub(crate) unsafe fn from_raw<'a>(ptr: *mut extra::file_kattr) -> &'a mut Self {
        // SAFETY: by the contract; the struct is transparent.
        unsafe { &mut *ptr.cast() }
    }

    /// Answers with these flags (`FS_*_FL`).
    pub fn fill(&mut self, flags: u32) {
        // SAFETY: a valid struct.
        unsafe { extra::fileattr_fill_flags(&mut self.0, flags) }
    }

    /// The flags to set (`FS_*_FL`).
    pub fn flags(&self) -> u32 {
        self.0.flags
    }

    /// Whether anything but flags is to be set (project, extent size hints).
    pub fn has_more(&self) -> bool {
        self.0.fsx_valid() && (self.0.fsx_extsize != 0 || self.0.fsx_projid != 0 || self.0.fsx_cowextsize != 0)
    }
}
