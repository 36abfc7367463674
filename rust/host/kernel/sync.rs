// SPDX-License-Identifier: GPL-2.0
//! Facades over the kernel crate's locks and `Arc`, and a reader-writer lock over `rw_semaphore`.
//!
//! Kernel locks must not move once initialised, and the types above the platform layer move freely: every lock lives in
//! an allocation of its own.

use super::mem::gfp;
use super::mem::no_memory;
#[cfg(CONFIG_LOCKDEP)]
use crate::call_site::intern;
#[cfg(CONFIG_LOCKDEP)]
use crate::call_site::CallSite;
use crate::Error;
use crate::Result;
use core::cell::UnsafeCell;
use core::ffi::CStr;
use core::fmt;
use core::marker::PhantomData;
use core::ops::Deref;
use core::ops::DerefMut;
use core::panic::Location;
use core::pin::Pin;
use kernel::alloc::KBox;
use kernel::init::InPlaceInit;
use kernel::sync::lock::mutex::MutexBackend;
use kernel::sync::lock::Guard;
use kernel::sync::LockClassKey;
use kernel::types::Opaque;
use vexfs_bindings as bindings;

/// What lockdep knows a lock by: its name and its key. Lockdep tells locks apart by the place that initialises them;
/// behind this facade that would be one place for all. The facade's caller is the place instead.
#[cfg(CONFIG_LOCKDEP)]
fn lock_class(caller: &'static Location<'static>) -> (&'static CStr, Pin<&'static LockClassKey>) {
    // Several times as many as there are.
    static CLASSES: [CallSite<LockClassKey>; 128] = [const {
        // SAFETY: the array is a static.
        CallSite::new(unsafe { LockClassKey::new_static() })
    }; 128];
    let class = intern(&CLASSES, caller);
    // Locks that share a class look like one that is taken twice, and lockdep ends at the first such report.
    debug_assert!(class.is_some(), "more lock constructors than lock classes");
    let class = class.unwrap_or(&CLASSES[CLASSES.len() - 1]);
    let name = CStr::from_bytes_until_nul(class.name()).unwrap_or(c"vexfs");
    (name, Pin::static_ref(&class.value))
}

/// Without lockdep nobody looks at either.
#[cfg(not(CONFIG_LOCKDEP))]
fn lock_class(_: &'static Location<'static>) -> (&'static CStr, Pin<&'static LockClassKey>) {
    (c"vexfs", kernel::sync::static_lock_class!())
}

/// A shared reference-counted value.
pub struct Arc<T>(kernel::sync::Arc<T>);

impl<T> Arc<T> {
    /// Moves `value` into shared ownership.
    ///
    /// # Errors
    ///
    /// `NoMemory`.
    pub fn new(value: T) -> Result<Self> {
        kernel::sync::Arc::new(value, gfp()).map(Arc).map_err(no_memory)
    }

    /// Whether both refer to the same value.
    pub fn ptr_eq(a: &Self, b: &Self) -> bool {
        kernel::sync::Arc::ptr_eq(&a.0, &b.0)
    }

    /// Drops this reference. Whether it was the last one, so that the value is gone.
    pub fn drop_last(self) -> bool {
        kernel::sync::Arc::into_unique_or_drop(self.0).is_some()
    }

    /// Gives the reference up to C code as a pointer; [`Arc::from_raw`] takes it back.
    pub fn into_raw(self) -> *const T {
        self.0.into_raw()
    }

    /// Takes back a reference that [`Arc::into_raw`] gave up.
    ///
    /// # Safety
    ///
    /// `ptr` came from `into_raw`, and this is the only call for that one.
    pub unsafe fn from_raw(ptr: *const T) -> Self {
        // SAFETY: the caller's promise is the one the wrapped function asks for.
        Arc(unsafe { kernel::sync::Arc::from_raw(ptr) })
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

impl<T: fmt::Debug> fmt::Debug for Arc<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

/// A value that will be shared later: the only reference to it, so it can be changed.
pub struct UniqueArc<T>(kernel::sync::UniqueArc<T>);

impl<T> UniqueArc<T> {
    /// Moves `value` to the heap, ready for sharing without a further allocation.
    ///
    /// # Errors
    ///
    /// `NoMemory`.
    pub fn new(value: T) -> Result<Self> {
        kernel::sync::UniqueArc::new(value, gfp())
            .map(UniqueArc)
            .map_err(no_memory)
    }

    /// Starts sharing. Never allocates.
    pub fn into_arc(self) -> Arc<T> {
        Arc(self.0.into())
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
        &mut self.0
    }
}

/// Whether a lock that is free is taken without the chance to be scheduled away that every other way of taking one is.
/// Who takes a small lock under a large one would make everybody wait who needs that. Kernels that watch the order of
/// locks and who may sleep are shown every one.
const TRY_FIRST: bool = cfg!(not(any(CONFIG_PROVE_LOCKING, CONFIG_DEBUG_ATOMIC_SLEEP)));

/// How often a reader looks whether a lock becomes free before it waits. Whoever changes something holds it for some
/// microseconds, and a reader that waits in the kernel's queue gets it before it gets a CPU: meanwhile nobody can
/// change anything.
const READ_SPINS: u32 = 200;

/// A mutual-exclusion lock.
pub struct Mutex<T>(Pin<KBox<kernel::sync::Mutex<T>>>);

/// Access to what a [`Mutex`] protects.
pub type MutexGuard<'a, T> = Guard<'a, T, MutexBackend>;

impl<T> Mutex<T> {
    /// A lock around `value`.
    ///
    /// # Errors
    ///
    /// `NoMemory`.
    #[track_caller]
    pub fn new(value: T) -> Result<Self> {
        let (name, class) = lock_class(Location::caller());
        KBox::pin_init(kernel::sync::Mutex::new(value, name, class), gfp())
            .map(Mutex)
            .map_err(|_| Error::NoMemory)
    }

    /// Waits for the lock and takes it.
    #[inline]
    pub fn lock(&self) -> MutexGuard<'_, T> {
        if TRY_FIRST {
            if let Some(guard) = self.0.try_lock() {
                return guard;
            }
        }
        self.0.lock()
    }

    /// Takes the lock when it is free.
    pub fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        self.0.try_lock()
    }
}

/// Waits for a change of what a [`Mutex`] protects.
pub struct CondVar(Pin<KBox<kernel::sync::CondVar>>);

impl CondVar {
    /// A new one.
    ///
    /// # Errors
    ///
    /// `NoMemory`.
    #[track_caller]
    pub fn new() -> Result<Self> {
        let (name, class) = lock_class(Location::caller());
        KBox::pin_init(kernel::sync::CondVar::new(name, class), gfp())
            .map(CondVar)
            .map_err(|_| Error::NoMemory)
    }

    /// Gives the lock up, waits for a notification, takes the lock again. May also wake up for no reason.
    pub fn wait<'a, T>(&self, mut guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
        self.0.wait(&mut guard);
        guard
    }

    /// Wakes all waiters.
    pub fn notify_all(&self) {
        self.0.notify_all();
    }
}

struct RwInner<T> {
    sem: Opaque<bindings::rw_semaphore>,
    data: UnsafeCell<T>,
}

/// A lock that many readers or one writer hold.
///
/// # Invariants
///
/// The semaphore is initialised and never moves: the box is allocated once and never opened.
pub struct RwLock<T>(KBox<RwInner<T>>);

// SAFETY: the lock owns its value and is moved with it; the semaphore has no owner outside of an acquisition.
unsafe impl<T: Send> Send for RwLock<T> {}
// SAFETY: readers share `&T`, which needs `Sync`; a writer takes `&mut T` from another thread, which needs `Send`.
unsafe impl<T: Send + Sync> Sync for RwLock<T> {}

impl<T> RwLock<T> {
    /// A lock around `value`.
    ///
    /// # Errors
    ///
    /// `NoMemory`.
    #[track_caller]
    pub fn new(value: T) -> Result<Self> {
        let (name, class) = lock_class(Location::caller());
        let inner = KBox::new(
            RwInner {
                sem: Opaque::uninit(),
                data: UnsafeCell::new(value),
            },
            gfp(),
        )
        .map_err(no_memory)?;
        // SAFETY: the semaphore is in its final place, the name and the key are static.
        unsafe { bindings::__init_rwsem(inner.sem.get(), name.as_ptr().cast(), class.as_ptr()) };
        Ok(RwLock(inner))
    }

    /// Waits for shared access.
    #[inline]
    pub fn read(&self) -> RwLockReadGuard<'_, T> {
        if TRY_FIRST {
            for _ in 0..READ_SPINS {
                if let Some(guard) = self.try_read() {
                    return guard;
                }
                // SAFETY: waits for a moment and looks at the current task.
                if !unsafe { bindings::vexfs_spin_once() } {
                    break;
                }
            }
        }
        // SAFETY: by the type's invariant the semaphore is initialised.
        unsafe { bindings::down_read(self.0.sem.get()) };
        self.shared()
    }

    /// Takes shared access when nobody else has or awaits exclusive access.
    pub fn try_read(&self) -> Option<RwLockReadGuard<'_, T>> {
        // SAFETY: by the type's invariant the semaphore is initialised.
        let taken = unsafe { bindings::down_read_trylock(self.0.sem.get()) } != 0;
        taken.then(|| self.shared())
    }

    /// The guard of a task that has just got shared access.
    #[inline]
    fn shared(&self) -> RwLockReadGuard<'_, T> {
        RwLockReadGuard {
            inner: &self.0,
            _not_send: PhantomData,
        }
    }

    /// Waits for exclusive access.
    #[inline]
    pub fn write(&self) -> RwLockWriteGuard<'_, T> {
        let sem = self.0.sem.get();
        // SAFETY: by the type's invariant the semaphore is initialised.
        unsafe {
            if !TRY_FIRST || bindings::down_write_trylock(sem) == 0 {
                bindings::down_write(sem);
            }
        }
        self.written()
    }

    /// Waits for exclusive access, or for a fatal signal. A lock that is free is taken in any case.
    ///
    /// # Errors
    ///
    /// `Interrupted`.
    pub fn write_killable(&self) -> Result<RwLockWriteGuard<'_, T>> {
        // SAFETY: by the type's invariant the semaphore is initialised.
        match unsafe { bindings::down_write_killable(self.0.sem.get()) } {
            0 => Ok(self.written()),
            _ => Err(Error::Interrupted),
        }
    }

    /// Takes exclusive access when nobody else has any.
    pub fn try_write(&self) -> Option<RwLockWriteGuard<'_, T>> {
        // SAFETY: by the type's invariant the semaphore is initialised.
        let taken = unsafe { bindings::down_write_trylock(self.0.sem.get()) } != 0;
        taken.then(|| self.written())
    }

    /// The guard of a task that has just got exclusive access.
    #[inline]
    fn written(&self) -> RwLockWriteGuard<'_, T> {
        RwLockWriteGuard {
            inner: &self.0,
            _not_send: PhantomData,
        }
    }
}

/// Shared access to what an [`RwLock`] protects. Ends in the task that began it.
#[must_use]
pub struct RwLockReadGuard<'a, T> {
    inner: &'a RwInner<T>,
    _not_send: PhantomData<*mut ()>,
}

impl<T> Deref for RwLockReadGuard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: while the guard lives the semaphore is held for reading, so there is no `&mut` to the value.
        unsafe { &*self.inner.data.get() }
    }
}

impl<T> Drop for RwLockReadGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: the guard stands for one `down_read` of this task.
        unsafe { bindings::up_read(self.inner.sem.get()) };
    }
}

/// Exclusive access to what an [`RwLock`] protects. Ends in the task that began it.
#[must_use]
pub struct RwLockWriteGuard<'a, T> {
    inner: &'a RwInner<T>,
    _not_send: PhantomData<*mut ()>,
}

impl<T> Deref for RwLockWriteGuard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: while the guard lives the semaphore is held for writing by it alone.
        unsafe { &*self.inner.data.get() }
    }
}

impl<T> DerefMut for RwLockWriteGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as above, and `&mut self` makes this the only reference made through the guard.
        unsafe { &mut *self.inner.data.get() }
    }
}

impl<T> Drop for RwLockWriteGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: the guard stands for one `down_write` of this task.
        unsafe { bindings::up_write(self.inner.sem.get()) };
    }
}
