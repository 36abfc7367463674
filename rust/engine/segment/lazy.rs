// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! Something that is read from disk when it is first needed, and counted while it is in memory.

use super::account::Counter;
use super::account::Held;
use super::account::MemoryAccount;
use core::ops::Deref;
use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering;
use vexfs_host::nofs;
use vexfs_host::sync::Arc;
use vexfs_host::sync::RwLock;
use vexfs_host::Result;

/// A value in memory, which is counted until the last who uses it lets go of it.
pub(crate) struct Kept<T: Held> {
    value: T,
    counter: Counter,
}

impl<T: Held> Kept<T> {
    /// The value.
    pub(crate) fn value(&self) -> &T {
        &self.value
    }

    /// Counts again what takes more or less memory than before.
    pub(crate) fn recount(&self) {
        self.counter.set(self.value.memory_bytes());
    }
}

impl<T: Held> Deref for Kept<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

/// A value that may not be in memory yet.
pub(crate) struct Lazy<T: Held> {
    value: RwLock<Option<Arc<Kept<T>>>>,
    /// Held by who loads: others wait instead of reading the same.
    loading: RwLock<()>,
    account: Arc<MemoryAccount>,
    /// When it was used last.
    used: AtomicU64,
}

impl<T: Held> Lazy<T> {
    /// Nothing in memory.
    pub(crate) fn new(account: &Arc<MemoryAccount>) -> Result<Self> {
        Ok(Self {
            value: RwLock::new(None)?,
            loading: RwLock::new(())?,
            account: account.clone(),
            used: AtomicU64::new(0),
        })
    }

    /// The value if it is in memory.
    pub(crate) fn get(&self) -> Option<Arc<Kept<T>>> {
        let value = self.value.read().clone()?;
        self.used.store(self.account.now(), Ordering::Relaxed);
        Some(value)
    }

    /// The value, which `load` brings if need be.
    ///
    /// # Errors
    ///
    /// Those of `load`; `Interrupted` while another one loads.
    pub(crate) fn get_or_load(&self, load: impl FnOnce() -> Result<T>) -> Result<Arc<Kept<T>>> {
        if let Some(value) = self.get() {
            return Ok(value);
        }
        let _nofs = nofs();
        let _loading = self.loading.write_killable()?;
        if let Some(value) = self.get() {
            return Ok(value);
        }
        self.put(load()?)
    }

    /// Keeps a value that is known already.
    pub(crate) fn set(&self, value: T) -> Result {
        self.put(value).map(|_| ())
    }

    fn put(&self, value: T) -> Result<Arc<Kept<T>>> {
        let value = Arc::new(Kept {
            value,
            counter: Counter::new(&self.account),
        })?;
        value.recount();
        self.used.store(self.account.now(), Ordering::Relaxed);
        let before = self.value.write().replace(value.clone());
        drop(before);
        Ok(value)
    }
}

/// A part, of whatever it is.
pub(crate) trait Evict {
    /// When it was used last, `None` if it is not in memory.
    fn last_use(&self) -> Option<u64>;

    /// Forgets the value. Returns the bytes freed: none if it is still used by others.
    fn evict(&self) -> u64;

    /// Gives back the memory that the value could do without. Returns the bytes freed.
    fn trim(&self) -> u64;
}

impl<T: Held> Evict for Lazy<T> {
    fn last_use(&self) -> Option<u64> {
        let is_there = self.value.read().is_some();
        is_there.then(|| self.used.load(Ordering::Relaxed))
    }

    fn evict(&self) -> u64 {
        // Who changes it may be waiting for memory.
        let Some(mut slot) = self.value.try_write() else {
            return 0;
        };
        let taken = slot.take();
        drop(slot);
        let Some(value) = taken else { return 0 };
        let bytes = value.counter.bytes();
        if value.drop_last() {
            bytes
        } else {
            0
        }
    }

    fn trim(&self) -> u64 {
        let Some(value) = self.value.read().clone() else {
            return 0;
        };
        let freed = value.value.trim();
        value.recount();
        freed
    }
}
