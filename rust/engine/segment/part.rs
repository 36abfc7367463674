// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! Something that is read from disk when it is first needed, and counted while it is in memory.

use super::column::Held;
use super::file::Meter;
use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering;
use vexfs_host::nofs;
use vexfs_host::sync::Arc;
use vexfs_host::sync::Mutex;
use vexfs_host::sync::RwLock;
use vexfs_host::Result;

/// A value that may not be in memory yet.
pub(crate) struct Part<T: Held> {
    value: RwLock<Option<Arc<T>>>,
    /// Held by who loads: others wait instead of reading the same.
    loading: Mutex<()>,
    meter: Arc<Meter>,
    /// Bytes that the meter was told of.
    counted: AtomicU64,
}

impl<T: Held> Part<T> {
    /// Nothing in memory.
    pub(crate) fn new(meter: &Arc<Meter>) -> Result<Self> {
        Ok(Self {
            value: RwLock::new(None)?,
            loading: Mutex::new(())?,
            meter: meter.clone(),
            counted: AtomicU64::new(0),
        })
    }

    /// The value, which `load` brings if need be.
    pub(crate) fn get_or_load(&self, load: impl FnOnce() -> Result<T>) -> Result<Arc<T>> {
        if let Some(value) = &*self.value.read() {
            return Ok(value.clone());
        }
        let _nofs = nofs();
        let _loading = self.loading.lock();
        if let Some(value) = &*self.value.read() {
            return Ok(value.clone());
        }
        self.put(load()?)
    }

    /// Keeps a value that is known already.
    pub(crate) fn set(&self, value: T) -> Result {
        self.put(value).map(|_| ())
    }

    fn put(&self, value: T) -> Result<Arc<T>> {
        let value = Arc::new(value)?;
        let before = self.value.write().replace(value.clone());
        drop(before);
        self.count(value.memory_bytes());
        Ok(value)
    }

    fn count(&self, bytes: u64) {
        let before = self.counted.swap(bytes, Ordering::Relaxed);
        self.meter.change(before, bytes);
    }
}

impl<T: Held> Drop for Part<T> {
    fn drop(&mut self) {
        self.count(0);
    }
}
