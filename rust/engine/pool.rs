// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! Scratch memory that searches hand on to each other.
//!
//! What a search needs and is large, a set of visited rows for example, is made once for each search that runs at the
//! same time and used again by later ones. What is kept is counted, and given back when memory is short; an object that
//! a search has blown up is not kept.

use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering;
use vexfs_host::mem::Box;
use vexfs_host::mem::Vec;
use vexfs_host::sync::Mutex;
use vexfs_host::Result;

/// What knows how much memory it takes.
pub(crate) trait Weighed {
    /// Bytes of memory.
    fn memory_bytes(&self) -> u64;
}

/// Bytes of memory of an array.
pub(crate) fn bytes_of<T>(array: &Vec<T>) -> u64 {
    (array.capacity() as u64).saturating_mul(size_of::<T>() as u64)
}

/// Objects kept for later.
pub(crate) struct Pool<T: Weighed> {
    idle: Mutex<Vec<Box<T>>>,
    /// Bytes of the idle objects.
    bytes: AtomicU64,
    /// Bytes of the largest object when it was made.
    fresh: AtomicU64,
}

/// Most objects kept: more threads than that seldom search one segment at once.
const KEPT: usize = 64;
/// Bytes by which an object that is kept may have grown.
const GROWTH: u64 = 256 * 1024;

impl<T: Weighed> Pool<T> {
    /// An empty pool.
    pub(crate) fn new() -> Result<Self> {
        Ok(Self {
            idle: Mutex::new(Vec::new())?,
            bytes: AtomicU64::new(0),
            fresh: AtomicU64::new(0),
        })
    }

    /// Runs `work` with an object that somebody used before, or that `make` makes.
    ///
    /// # Errors
    ///
    /// Those of `make` and `work`; `NoMemory`.
    pub(crate) fn with<R>(
        &self,
        make: impl FnOnce() -> Result<T>,
        work: impl FnOnce(&mut T) -> Result<R>,
    ) -> Result<R> {
        let idle = self.idle.lock().pop();
        let mut object = match idle {
            Some(object) => {
                self.bytes.fetch_sub(object.memory_bytes(), Ordering::Relaxed);
                object
            }
            None => {
                let object = made(make)?;
                self.fresh.fetch_max(object.memory_bytes(), Ordering::Relaxed);
                object
            }
        };
        let result = work(&mut object);
        let bytes = object.memory_bytes();
        if bytes > self.fresh.load(Ordering::Relaxed).saturating_add(GROWTH) {
            return result;
        }
        let mut idle = self.idle.lock();
        // One that cannot be kept is made again.
        if idle.len() < KEPT && idle.push(object).is_ok() {
            self.bytes.fetch_add(bytes, Ordering::Relaxed);
        }
        result
    }

    /// Bytes of the objects that nobody uses at the moment.
    pub(crate) fn memory_bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Drops the objects that nobody uses at the moment. Returns the bytes freed.
    pub(crate) fn clear(&self) -> u64 {
        // Who has the lock may be waiting for memory.
        let Some(mut idle) = self.idle.try_lock() else {
            return 0;
        };
        let all = core::mem::take(&mut *idle);
        drop(idle);
        let bytes = all
            .iter()
            .fold(0u64, |sum, object| sum.saturating_add(object.memory_bytes()));
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        bytes
    }
}

/// What `make` makes, in a frame of its own.
#[inline(never)]
fn made<T>(make: impl FnOnce() -> Result<T>) -> Result<Box<T>> {
    Box::new(make()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Weighed for Vec<u8> {
        fn memory_bytes(&self) -> u64 {
            bytes_of(self)
        }
    }

    #[test]
    fn objects_are_used_again_and_counted() {
        let pool = Pool::new().unwrap();
        let made = core::cell::Cell::new(0);
        let make = || {
            made.set(made.get() + 1);
            Vec::with_capacity(100)
        };
        pool.with(make, |_| pool.with(make, |_| Ok(()))).unwrap();
        assert_eq!((made.get(), pool.memory_bytes()), (2, 200));
        pool.with(make, |object| {
            assert_eq!(pool.memory_bytes(), 100);
            object.reserve(1000)
        })
        .unwrap();
        assert_eq!(made.get(), 2);
        assert!(pool.memory_bytes() >= 1100);
        let bytes = pool.memory_bytes();
        assert_eq!((pool.clear(), pool.memory_bytes()), (bytes, 0));
    }

    #[test]
    fn an_object_that_a_search_has_blown_up_is_not_kept() {
        let pool = Pool::new().unwrap();
        let make = || Vec::with_capacity(100);
        pool.with(make, |object| object.reserve(GROWTH as usize + 200)).unwrap();
        assert_eq!(pool.memory_bytes(), 0);
    }
}
