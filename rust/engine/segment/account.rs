// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! How much memory collections take, and when they were used.
//!
//! Everything here is read without a lock, since memory pressure asks for it while others may hold their locks and wait
//! for memory.

use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering;
use vexfs_host::sync::Arc;

/// What knows how much memory it takes.
pub(crate) trait Held {
    /// Bytes of memory.
    fn memory_bytes(&self) -> u64;

    /// Gives back what it could do without. Returns the bytes freed.
    fn trim(&self) -> u64 {
        0
    }
}

/// What all collections of a filesystem have in common.
pub(crate) struct Total {
    bytes: AtomicU64,
    /// Advances with every use of a collection.
    clock: AtomicU64,
}

impl Total {
    pub(crate) const fn new() -> Self {
        Self {
            bytes: AtomicU64::new(0),
            clock: AtomicU64::new(0),
        }
    }

    /// Bytes counted now.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// The present moment.
    pub(crate) fn now(&self) -> u64 {
        self.clock.load(Ordering::Relaxed)
    }
}

/// Bytes of memory that a collection's rows take, and those of all collections.
pub(crate) struct MemoryAccount {
    own: AtomicU64,
    total: Arc<Total>,
    /// When the collection was used last.
    used: AtomicU64,
}

impl MemoryAccount {
    /// Nothing yet, counted in `total` too.
    pub(crate) fn new(total: Arc<Total>) -> Self {
        Self {
            own: AtomicU64::new(0),
            total,
            used: AtomicU64::new(0),
        }
    }

    /// Bytes counted now.
    pub(crate) fn bytes(&self) -> u64 {
        self.own.load(Ordering::Relaxed)
    }

    /// Notes that the collection is being used.
    pub(crate) fn touch(&self) {
        let now = self.total.clock.fetch_add(1, Ordering::Relaxed);
        self.used.store(now.saturating_add(1), Ordering::Relaxed);
    }

    /// When it was used last.
    pub(crate) fn last_use(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// The present moment.
    pub(crate) fn now(&self) -> u64 {
        self.total.now()
    }

    /// Counts `now` bytes where there were `before`.
    fn change(&self, before: u64, now: u64) {
        for counter in [&self.own, &self.total.bytes] {
            counter.fetch_add(now, Ordering::Relaxed);
            counter.fetch_sub(before, Ordering::Relaxed);
        }
    }
}

/// The bytes of one thing in memory; they are counted for as long as this exists.
pub(crate) struct Counter {
    account: Arc<MemoryAccount>,
    bytes: AtomicU64,
}

impl Counter {
    /// No bytes.
    pub(crate) fn new(account: &Arc<MemoryAccount>) -> Self {
        Self {
            account: account.clone(),
            bytes: AtomicU64::new(0),
        }
    }

    /// Bytes counted now.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Counts so many from now on.
    pub(crate) fn set(&self, bytes: u64) {
        let before = self.bytes.swap(bytes, Ordering::Relaxed);
        self.account.change(before, bytes);
    }
}

impl Drop for Counter {
    fn drop(&mut self) {
        self.set(0);
    }
}
