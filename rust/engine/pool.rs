// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! Scratch memory that searches hand on to each other.
//!
//! What a search needs and is large, a set of visited rows for example, is made once for each search that runs at the same
//! time and used again by later ones.

use vexfs_host::mem::Box;
use vexfs_host::mem::Vec;
use vexfs_host::sync::Mutex;
use vexfs_host::Result;

/// Objects kept for later.
pub(crate) struct Pool<T> {
    idle: Mutex<Vec<Box<T>>>,
}

/// Most objects kept: more threads than that seldom search one segment at once.
const KEPT: usize = 64;

impl<T> Pool<T> {
    /// An empty pool.
    pub(crate) fn new() -> Result<Self> {
        Ok(Self {
            idle: Mutex::new(Vec::new())?,
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
            Some(object) => object,
            None => made(make)?,
        };
        let result = work(&mut object);
        let mut idle = self.idle.lock();
        if idle.len() < KEPT {
            // One that cannot be kept is made again.
            let _ = idle.push(object);
        }
        result
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

    #[test]
    fn objects_are_used_again() {
        let pool = Pool::new().unwrap();
        let made = core::cell::Cell::new(0);
        let make = || {
            made.set(made.get() + 1);
            Ok(0)
        };
        pool.with(make, |a| {
            *a += 1;
            pool.with(make, |b| {
                *b += 1;
                Ok(())
            })
        })
        .unwrap();
        assert_eq!(made.get(), 2);
        assert_eq!(pool.with(make, |a| Ok(*a)), Ok(1));
    }
}
