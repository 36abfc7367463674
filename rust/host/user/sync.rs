// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! Facades over std's locks and `Arc`. A poisoned lock is taken over: what it protects keeps its own invariants.
//!
//! With the feature `model` the locks are those of a scheduler that tries schedules (`tests/concurrency`): each is then
//! a place where it may go on with another thread. Outside of such a test they do not work.

use crate::Error;
use crate::Result;
use core::ops::Deref;
use core::ops::DerefMut;
#[cfg(feature = "model")]
use shuttle::sync as locks;
#[cfg(not(feature = "model"))]
use std::sync as locks;

/// A shared reference-counted value.
#[derive(Debug)]
pub struct Arc<T>(std::sync::Arc<T>);

impl<T> Arc<T> {
    /// Moves `value` into shared ownership. Running out of memory is `NoMemory` in the kernel and aborts here.
    pub fn new(value: T) -> Result<Self> {
        super::mem::allocate()?;
        Ok(Arc(std::sync::Arc::new(value)))
    }

    /// Whether both refer to the same value.
    pub fn ptr_eq(a: &Self, b: &Self) -> bool {
        std::sync::Arc::ptr_eq(&a.0, &b.0)
    }

    /// Drops this reference. Whether it was the last one, so that the value is gone.
    pub fn drop_last(self) -> bool {
        std::sync::Arc::into_inner(self.0).is_some()
    }
}

impl<T> Clone for Arc<T> {
    #[inline]
    fn clone(&self) -> Self {
        Arc(self.0.clone())
    }
}

impl<T> Deref for Arc<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.0
    }
}

/// A value that will be shared later: the only reference to it, so it can be changed.
#[derive(Debug)]
pub struct UniqueArc<T>(std::sync::Arc<T>);

impl<T> UniqueArc<T> {
    /// Moves `value` to the heap, ready for sharing without a further allocation.
    pub fn new(value: T) -> Result<Self> {
        super::mem::allocate()?;
        Ok(UniqueArc(std::sync::Arc::new(value)))
    }

    /// Starts sharing. Never allocates.
    pub fn into_arc(self) -> Arc<T> {
        Arc(self.0)
    }
}

impl<T> Deref for UniqueArc<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> DerefMut for UniqueArc<T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // The inner Arc is never handed out before `into_arc`, so there is no second reference.
        std::sync::Arc::get_mut(&mut self.0).expect("a UniqueArc has one reference")
    }
}

/// A mutual-exclusion lock.
#[derive(Debug)]
pub struct Mutex<T>(locks::Mutex<T>);

/// Access to what a [`Mutex`] protects.
pub type MutexGuard<'a, T> = locks::MutexGuard<'a, T>;

impl<T> Mutex<T> {
    /// A lock around `value`. In the kernel it needs an allocation and can fail.
    pub fn new(value: T) -> Result<Self> {
        Ok(Mutex(locks::Mutex::new(value)))
    }

    /// Waits for the lock and takes it.
    #[inline]
    pub fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Takes the lock when it is free.
    pub fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        match self.0.try_lock() {
            Ok(guard) => Some(guard),
            Err(std::sync::TryLockError::Poisoned(e)) => Some(e.into_inner()),
            Err(std::sync::TryLockError::WouldBlock) => None,
        }
    }
}

/// A lock that many readers or one writer hold.
#[derive(Debug)]
pub struct RwLock<T>(locks::RwLock<T>);

/// Shared access to what an [`RwLock`] protects.
pub type RwLockReadGuard<'a, T> = locks::RwLockReadGuard<'a, T>;
/// Exclusive access to what an [`RwLock`] protects.
pub type RwLockWriteGuard<'a, T> = locks::RwLockWriteGuard<'a, T>;

impl<T> RwLock<T> {
    /// A lock around `value`. In the kernel it needs an allocation and can fail.
    pub fn new(value: T) -> Result<Self> {
        Ok(RwLock(locks::RwLock::new(value)))
    }

    /// Waits for shared access.
    #[inline]
    pub fn read(&self) -> RwLockReadGuard<'_, T> {
        self.0.read().unwrap_or_else(|e| e.into_inner())
    }

    /// Takes shared access when nobody else has or awaits exclusive access.
    pub fn try_read(&self) -> Option<RwLockReadGuard<'_, T>> {
        self.0.try_read().ok()
    }

    /// Waits for exclusive access.
    #[inline]
    pub fn write(&self) -> RwLockWriteGuard<'_, T> {
        self.0.write().unwrap_or_else(|e| e.into_inner())
    }

    /// Waits for exclusive access, or for a fatal signal. A lock that is free is taken in any case.
    ///
    /// # Errors
    ///
    /// `Interrupted`.
    pub fn write_killable(&self) -> Result<RwLockWriteGuard<'_, T>> {
        match self.try_write() {
            Some(guard) => Ok(guard),
            None if super::is_killed() => Err(Error::Interrupted),
            None => Ok(self.write()),
        }
    }

    /// Takes exclusive access when nobody else has any.
    pub fn try_write(&self) -> Option<RwLockWriteGuard<'_, T>> {
        match self.0.try_write() {
            Ok(guard) => Some(guard),
            Err(std::sync::TryLockError::Poisoned(e)) => Some(e.into_inner()),
            Err(std::sync::TryLockError::WouldBlock) => None,
        }
    }
}

/// Waits for a change of what a [`Mutex`] protects.
#[derive(Debug)]
pub struct CondVar(locks::Condvar);

impl CondVar {
    /// A new one. In the kernel it needs an allocation and can fail.
    pub fn new() -> Result<Self> {
        Ok(CondVar(locks::Condvar::new()))
    }

    /// Gives the lock up, waits for a notification, takes the lock again. May also wake up for no reason.
    pub fn wait<'a, T>(&self, guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
        self.0.wait(guard).unwrap_or_else(|e| e.into_inner())
    }

    /// Wakes all waiters.
    pub fn notify_all(&self) {
        self.0.notify_all();
    }
}
