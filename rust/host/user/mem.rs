// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! Fallible facades over std's `Vec` and `Box`.

use crate::Error;
use crate::Result;
use core::cell::Cell;

std::thread_local! {
    /// Allocations of this thread that still succeed; `u64::MAX` means that they are not counted.
    static LEFT: Cell<u64> = const { Cell::new(u64::MAX) };
    /// Allocations that fail once `LEFT` is 0; `u64::MAX` means all of them.
    static FAILING: Cell<u64> = const { Cell::new(u64::MAX) };
    /// Allocations that failed since a test said which ones shall.
    static FAILED: Cell<u64> = const { Cell::new(0) };
}

/// Lets `n` more allocations of this thread succeed and fails the one after, and every later one; `None` stops failing.
/// For tests of what running out of memory does.
pub fn fail_allocations_after(n: Option<u64>) {
    LEFT.set(n.unwrap_or(u64::MAX));
    FAILING.set(u64::MAX);
    FAILED.set(0);
}

/// Lets `n` more allocations of this thread succeed, fails the `count` after, and lets all later ones succeed. For
/// tests of what a passing lack of memory does.
pub fn fail_some_allocations(n: u64, count: u64) {
    LEFT.set(n);
    FAILING.set(count);
    FAILED.set(0);
}

/// How many allocations of this thread failed since the last call that made them fail.
pub fn failed_allocations() -> u64 {
    FAILED.get()
}

/// Whether memory is lacking that will be there again.
pub(crate) fn lack_ends() -> bool {
    LEFT.get() != u64::MAX && FAILING.get() != u64::MAX
}

/// Counts an allocation.
pub(crate) fn allocate() -> Result<()> {
    match (LEFT.get(), FAILING.get()) {
        (u64::MAX, _) => Ok(()),
        (0, 0) => {
            LEFT.set(u64::MAX);
            Ok(())
        }
        (0, n) => {
            FAILING.set(if n == u64::MAX { n } else { n - 1 });
            FAILED.set(FAILED.get() + 1);
            Err(Error::NoMemory)
        }
        (n, _) => {
            LEFT.set(n - 1);
            Ok(())
        }
    }
}

/// Asks for huge pages for the memory of `v`, which is about to be filled and then read in random order.
pub(crate) fn expect_random_access<T>(v: &mut Vec<T>) {
    const HUGE: usize = 2 << 20;
    let bytes = v.0.capacity().saturating_mul(size_of::<T>());
    let start = v.0.as_mut_ptr().addr().next_multiple_of(HUGE);
    let end = v.0.as_mut_ptr().addr().saturating_add(bytes) / HUGE * HUGE;
    if bytes < HUGE || start >= end {
        return;
    }
    // SAFETY: the range lies in the array's own memory, and the advice changes nothing that a program can see.
    unsafe { libc::madvise(start as *mut libc::c_void, end - start, libc::MADV_HUGEPAGE) };
}

/// A growable array whose growth can fail.
pub struct Vec<T>(pub(crate) std::vec::Vec<T>);

impl<T> Vec<T> {
    /// An empty array, which holds no memory.
    pub const fn new() -> Self {
        Vec(std::vec::Vec::new())
    }

    /// An empty array with room for `n` elements.
    pub fn with_capacity(n: usize) -> Result<Self> {
        let mut v = Vec::new();
        v.reserve(n)?;
        Ok(v)
    }

    /// Makes room for `more` further elements.
    pub fn reserve(&mut self, more: usize) -> Result<()> {
        if self.0.capacity() - self.0.len() >= more {
            return Ok(());
        }
        allocate()?;
        self.0.try_reserve(more).map_err(|_| Error::NoMemory)
    }

    /// Appends an element.
    #[inline]
    pub fn push(&mut self, value: T) -> Result<()> {
        if self.0.len() == self.0.capacity() {
            self.reserve(1)?;
        }
        self.0.push(value);
        Ok(())
    }

    /// Appends copies of the elements of `other`.
    pub fn extend_from_slice(&mut self, other: &[T]) -> Result<()>
    where
        T: Copy,
    {
        self.reserve(other.len())?;
        self.0.extend_from_slice(other);
        Ok(())
    }

    /// Cuts or extends to `n` elements; new ones are `value`.
    pub fn resize(&mut self, n: usize, value: T) -> Result<()>
    where
        T: Copy,
    {
        self.reserve(n.saturating_sub(self.0.len()))?;
        self.0.resize(n, value);
        Ok(())
    }

    /// Inserts at `at`, which is at most the length, and shifts what follows.
    pub fn insert(&mut self, at: usize, value: T) -> Result<()> {
        if at > self.0.len() {
            return Err(Error::Invalid("insert past the end of an array"));
        }
        self.reserve(1)?;
        self.0.insert(at, value);
        Ok(())
    }

    /// Removes the element at `at` and shifts what follows.
    pub fn remove(&mut self, at: usize) -> Option<T> {
        (at < self.0.len()).then(|| self.0.remove(at))
    }

    /// Keeps the elements for which `keep` returns true.
    pub fn retain(&mut self, keep: impl FnMut(&mut T) -> bool) {
        self.0.retain_mut(keep);
    }
}

impl<T> IntoIterator for Vec<T> {
    type Item = T;
    type IntoIter = std::vec::IntoIter<T>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

/// A value on the heap.
pub struct Box<T>(pub(crate) std::boxed::Box<T>);

impl<T> Box<T> {
    /// Moves `value` to the heap.
    ///
    /// # Errors
    ///
    /// `NoMemory`, in the kernel. std has no stable fallible `Box`: here running out aborts the program.
    pub fn new(value: T) -> Result<Self> {
        allocate()?;
        Ok(Box(std::boxed::Box::new(value)))
    }

    /// Moves the value back.
    pub fn into_inner(self) -> T {
        *self.0
    }
}
