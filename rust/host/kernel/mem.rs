// SPDX-License-Identifier: GPL-2.0
//! Fallible facades over the kernel crate's vectors and `KBox`.
//!
//! Memory is charged to the memory cgroup of the task that asks for it: what users can grow must count against their
//! limits, and the containers do not know who uses them. What serves everybody is allocated in a
//! [`shared`](crate::shared) section and charged to nobody. A failed allocation is an ordinary error here, so it prints
//! no warning.

use crate::Error;
use crate::Result;
use core::alloc::Layout;
use core::ptr::NonNull;
use kernel::alloc::allocator::KVmalloc;
use kernel::alloc::allocator::Vmalloc;
use kernel::alloc::flags::__GFP_NOWARN;
use kernel::alloc::flags::GFP_KERNEL_ACCOUNT;
use kernel::alloc::AllocError;
use kernel::alloc::Allocator;
use kernel::alloc::Flags;
use kernel::alloc::IntoIter;
use kernel::alloc::KBox;
use kernel::alloc::NumaNode;

/// How everything in the kernel side of the platform layer is allocated.
pub(super) fn gfp() -> Flags {
    GFP_KERNEL_ACCOUNT | __GFP_NOWARN
}

pub(super) fn no_memory(_: AllocError) -> Error {
    Error::NoMemory
}

/// `KVmalloc` without its limit: the vectors of a segment may be more than `INT_MAX` bytes, which `kvmalloc` never
/// gives.
pub struct Memory;

// SAFETY: what `KVmalloc` promises of its memory it promises here. New memory that `Vmalloc` allocates stays until it
// is passed to `realloc` again, and what `KVmalloc` does with it there is right: kvrealloc() and kvfree() take any
// memory of vmalloc().
unsafe impl Allocator for Memory {
    const MIN_ALIGN: usize = KVmalloc::MIN_ALIGN;

    #[inline]
    unsafe fn realloc(
        ptr: Option<NonNull<u8>>,
        layout: Layout,
        old_layout: Layout,
        flags: Flags,
        nid: NumaNode,
    ) -> core::result::Result<NonNull<[u8]>, AllocError> {
        let is_new = ptr.is_none() || old_layout.size() == 0;
        if is_new && layout.size() > i32::MAX as usize {
            return Vmalloc::alloc(layout, flags, nid);
        }
        // SAFETY: the caller's promise; see above for memory of `Vmalloc`.
        unsafe { KVmalloc::realloc(ptr, layout, old_layout, flags, nid) }
    }
}

/// Says that the memory of `v` will be read in random order. The kernel's allocator chooses page sizes by itself.
pub(crate) fn expect_random_access<T>(_v: &mut Vec<T>) {}

/// A growable array whose growth can fail.
pub struct Vec<T>(pub(crate) kernel::alloc::Vec<T, Memory>);

impl<T> Vec<T> {
    /// An empty array, which holds no memory.
    pub const fn new() -> Self {
        Vec(kernel::alloc::Vec::new())
    }

    /// An empty array with room for `n` elements.
    pub fn with_capacity(n: usize) -> Result<Self> {
        kernel::alloc::Vec::with_capacity(n, gfp()).map(Vec).map_err(no_memory)
    }

    /// Makes room for `more` further elements.
    pub fn reserve(&mut self, more: usize) -> Result<()> {
        self.0.reserve(more, gfp()).map_err(no_memory)
    }

    /// Appends an element.
    #[inline]
    pub fn push(&mut self, value: T) -> Result<()> {
        self.0.push(value, gfp()).map_err(no_memory)
    }

    /// Appends copies of the elements of `other`.
    pub fn extend_from_slice(&mut self, other: &[T]) -> Result<()>
    where
        T: Copy,
    {
        self.0.extend_from_slice(other, gfp()).map_err(no_memory)
    }

    /// Cuts or extends to `n` elements; new ones are `value`.
    pub fn resize(&mut self, n: usize, value: T) -> Result<()>
    where
        T: Copy,
    {
        self.0.resize(n, value, gfp()).map_err(no_memory)
    }

    /// Inserts at `at`, which is at most the length, and shifts what follows.
    pub fn insert(&mut self, at: usize, value: T) -> Result<()> {
        if at > self.0.len() {
            return Err(Error::Invalid("insert past the end of an array"));
        }
        self.reserve(1)?;
        self.0.insert_within_capacity(at, value).map_err(|_| Error::NoMemory)
    }

    /// Removes the element at `at` and shifts what follows.
    pub fn remove(&mut self, at: usize) -> Option<T> {
        self.0.remove(at).ok()
    }

    /// Keeps the elements for which `keep` returns true.
    pub fn retain(&mut self, keep: impl FnMut(&mut T) -> bool) {
        self.0.retain(keep);
    }
}

impl<T> IntoIterator for Vec<T> {
    type Item = T;
    type IntoIter = IntoIter<T, Memory>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

/// A value on the heap.
pub struct Box<T>(pub(crate) KBox<T>);

impl<T> Box<T> {
    /// Moves `value` to the heap.
    ///
    /// # Errors
    ///
    /// `NoMemory`.
    pub fn new(value: T) -> Result<Self> {
        KBox::new(value, gfp()).map(Box).map_err(no_memory)
    }

    /// Moves the value back.
    pub fn into_inner(self) -> T {
        KBox::into_inner(self.0)
    }
}
