// SPDX-License-Identifier: GPL-2.0
//! Bytes of locked folios.

use core::ptr::NonNull;

use vexfs_bindings as bindings;

/// The first page of a locked folio, mapped for the time of a call.
///
/// # Invariants
///
/// The pointer is to `PAGE_SIZE` mapped bytes.
pub(crate) struct MappedPage(NonNull<u8>);

impl MappedPage {
    /// Maps the first page of `folio`.
    ///
    /// # Safety
    ///
    /// The caller holds a reference to `folio`. The page is dropped in the reverse order of mapping, by the thread
    /// that mapped it.
    pub(crate) unsafe fn first(folio: *mut bindings::folio) -> Option<Self> {
        // SAFETY: By the caller's promise; offset 0 lies in every folio.
        let page = unsafe { bindings::vexfs_kmap_local_folio(folio, 0) };
        // INVARIANT: A page was mapped.
        NonNull::new(page.cast()).map(Self)
    }

    /// Copies the first bytes of the page into `to`, at most a page of them.
    pub(crate) fn copy_to(&self, to: &mut [u8]) {
        let len = to.len().min(bindings::PAGE_SIZE);
        // SAFETY: `len` bytes are valid on both sides, which cannot overlap: a folio is never behind a Rust slice.
        // A program that has the page mapped may write to it meanwhile; then the folio is dirty again and what is
        // copied here will be replaced.
        unsafe { core::ptr::copy_nonoverlapping(self.0.as_ptr(), to.as_mut_ptr(), len) };
    }

    /// Returns the first `len` bytes of the page, at most a page of them.
    ///
    /// # Safety
    ///
    /// Nobody else reads or writes the page: the folio is locked and not up to date, so it is not mapped anywhere.
    pub(crate) unsafe fn bytes_mut(&mut self, len: usize) -> &mut [u8] {
        let len = len.min(bindings::PAGE_SIZE);
        // SAFETY: By the type invariant and the caller's promise.
        unsafe { core::slice::from_raw_parts_mut(self.0.as_ptr(), len) }
    }
}

impl Drop for MappedPage {
    fn drop(&mut self) {
        // SAFETY: Mapped by `first`, in reverse order by its promise.
        unsafe { bindings::vexfs_kunmap_local(self.0.as_ptr().cast()) };
    }
}

/// Offset in the file of the byte behind `folio`.
///
/// # Safety
///
/// `folio` is locked or under writeback, so it belongs to a file.
pub(crate) unsafe fn folio_end(folio: *mut bindings::folio) -> u64 {
    // SAFETY: By the caller's promise.
    unsafe { (bindings::vexfs_folio_pos(folio) as u64).saturating_add(bindings::vexfs_folio_size(folio) as u64) }
}
