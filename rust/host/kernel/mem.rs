// SPDX-License-Identifier: GPL-2.0
//! Fallible facades over the kernel crate's vectors and `KBox`.
//!
//! Memory is charged to the memory cgroup of the task that asks for it: what users can grow must count against their limits,
//! and the containers do not know who uses them. What serves everybody is allocated in a [`shared`](crate::shared) section
//! and charged to nobody. A failed allocation is an ordinary error here, so it prints no warning.

use crate::Error;
use crate::Result;
use core::alloc::Layout;
use core::fmt;
use core::ops::Deref;
use core::ops::DerefMut;
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

/// `KVmalloc` without its limit: the vectors of a segment may be more than `INT_MAX` bytes, which `kvmalloc` never gives.
pub struct Memory;

// SAFETY: what `KVmalloc` promises of its memory it promises here. New memory that `Vmalloc` allocates stays until it is passed
// to `realloc` again, and what `KVmalloc` does with it there is right: kvrealloc() and kvfree() take any memory of vmalloc().
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
pub struct Vec<T>(kernel::alloc::Vec<T, Memory>);

impl<T> Vec<T> {
    /// An empty array, which holds no memory.
    pub const fn new() -> Self {
        Vec(kernel::alloc::Vec::new())
    }

    /// An empty array with room for `n` elements.
    pub fn with_capacity(n: usize) -> Result<Self> {
        kernel::alloc::Vec::with_capacity(n, gfp()).map(Vec).map_err(no_memory)
    }

    /// The number of elements there is room for.
    pub fn capacity(&self) -> usize {
        self.0.capacity()
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

    /// Removes the last element.
    pub fn pop(&mut self) -> Option<T> {
        self.0.pop()
    }

    /// Drops all elements from `n` on.
    pub fn truncate(&mut self, n: usize) {
        self.0.truncate(n);
    }

    /// Drops all elements and keeps the memory.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// Keeps the elements for which `keep` returns true.
    pub fn retain(&mut self, keep: impl FnMut(&mut T) -> bool) {
        self.0.retain(keep);
    }

    /// A copy.
    pub fn try_clone(&self) -> Result<Self>
    where
        T: Copy,
    {
        let mut v = Vec::new();
        v.extend_from_slice(self)?;
        Ok(v)
    }

    /// The elements.
    pub fn as_slice(&self) -> &[T] {
        self.0.as_slice()
    }

    /// The elements, to change.
    pub fn as_mut_slice(&mut self) -> &mut [T] {
        self.0.as_mut_slice()
    }
}

impl<T> Default for Vec<T> {
    fn default() -> Self {
        Vec::new()
    }
}

impl<T: fmt::Debug> fmt::Debug for Vec<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_slice().fmt(f)
    }
}

impl<T: PartialEq> PartialEq for Vec<T> {
    fn eq(&self, other: &Self) -> bool {
        self.as_slice() == other.as_slice()
    }
}

impl<T: Eq> Eq for Vec<T> {}

impl<T> Deref for Vec<T> {
    type Target = [T];

    #[inline]
    fn deref(&self) -> &[T] {
        self.0.as_slice()
    }
}

impl<T> DerefMut for Vec<T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut [T] {
        self.0.as_mut_slice()
    }
}

impl<T> IntoIterator for Vec<T> {
    type Item = T;
    type IntoIter = IntoIter<T, Memory>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<'a, T> IntoIterator for &'a Vec<T> {
    type Item = &'a T;
    type IntoIter = core::slice::Iter<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.as_slice().iter()
    }
}

impl<'a, T> IntoIterator for &'a mut Vec<T> {
    type Item = &'a mut T;
    type IntoIter = core::slice::IterMut<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.as_mut_slice().iter_mut()
    }
}

/// A value on the heap.
pub struct Box<T>(KBox<T>);

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

impl<T: fmt::Debug> fmt::Debug for Box<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<T> Deref for Box<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> DerefMut for Box<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0
    }
}
