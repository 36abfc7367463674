// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! The collections of a mounted filesystem that are in use.

use super::item::Item;
use super::Collection;
use super::Params;
use super::Tuning;
use crate::Ino;
use crate::Time;
use crate::Txg;
use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering;
use vexfs_core::Fs;
use vexfs_host::mem::U64Map;
use vexfs_host::mem::Vec;
use vexfs_host::nofs;
use vexfs_host::sync::Arc;
use vexfs_host::sync::Mutex;
use vexfs_host::Result;
use vexfs_simd::Kernels;

/// Hands out the collections of a filesystem, one [`Collection`] a directory.
///
/// Two of the same directory would not see each other's changes, so there is one `Collections` for each [`Fs`], and all
/// collections of that come from it.
pub struct Collections {
    fs: Arc<Fs>,
    kernels: Kernels,
    tuning: Tuning,
    open: Mutex<U64Map<Arc<Collection>>>,
    memory: Arc<AtomicU64>,
}

impl Collections {
    /// Those of a filesystem.
    ///
    /// # Errors
    ///
    /// `NoMemory`.
    pub fn new(fs: Arc<Fs>) -> Result<Self> {
        Self::tuned(fs, Tuning::default())
    }

    /// Those of a filesystem, with other sizes than usual.
    ///
    /// # Errors
    ///
    /// `NoMemory`.
    pub fn tuned(fs: Arc<Fs>, tuning: Tuning) -> Result<Self> {
        Ok(Self {
            fs,
            kernels: Kernels::detect(),
            tuning,
            open: Mutex::new(U64Map::new())?,
            memory: Arc::new(AtomicU64::new(0))?,
        })
    }

    /// The name of the instruction set that distances are computed with.
    pub fn kernels(&self) -> &'static str {
        self.kernels.name()
    }

    /// Makes directory `dir` an empty collection.
    ///
    /// # Errors
    ///
    /// `Exists` if it is one; those of the filesystem. Whether the directory is empty is the caller's business.
    pub fn create(&self, dir: Ino, params: &Params) -> Result<Txg> {
        let mut tail = [0];
        self.fs
            .create_collection_with(dir, &mut tail, Time::now(), &mut |files| {
                Item::new(params, files.first().copied().unwrap_or(0)).encode()
            })
    }

    /// The collection of directory `dir`.
    ///
    /// # Errors
    ///
    /// `NotCollection` if it is none; those of reading its item.
    pub fn get(&self, dir: Ino) -> Result<Arc<Collection>> {
        let _nofs = nofs();
        let mut open = self.open.lock();
        if let Some(collection) = open.get(dir) {
            return Ok(collection.clone());
        }
        let collection = Arc::new(Collection::open(
            self.fs.clone(),
            self.kernels,
            self.tuning,
            self.memory.clone(),
            dir,
        )?)?;
        open.insert(dir, collection.clone())?;
        Ok(collection)
    }

    /// Forgets directory `dir`, which is a collection no more or is about to go. Nobody may be using it at the moment: who
    /// gets it afterwards gets another [`Collection`], which knows nothing of what this one does.
    pub fn forget(&self, dir: Ino) {
        let gone = self.open.lock().remove(dir);
        drop(gone);
    }

    /// Bytes of memory that the rows of all collections take. Takes no lock.
    pub fn memory_bytes(&self) -> u64 {
        self.memory.load(Ordering::Relaxed)
    }

    /// Gives at least `bytes` of memory back, if there are so many that are not being changed. Returns how many.
    ///
    /// For memory pressure: waits for nobody who might be waiting for memory.
    pub fn shrink(&self, bytes: u64) -> u64 {
        let Some(open) = self.open.try_lock() else { return 0 };
        let mut freed = 0;
        for (_, collection) in open.iter() {
            if freed >= bytes {
                break;
            }
            freed += collection.drop_cache();
        }
        freed
    }

    /// The directories whose collections are in use.
    pub fn in_use(&self) -> Result<Vec<Ino>> {
        let _nofs = nofs();
        let open = self.open.lock();
        let mut dirs = Vec::with_capacity(open.len())?;
        for (dir, _) in open.iter() {
            dirs.push(dir)?;
        }
        Ok(dirs)
    }
}
