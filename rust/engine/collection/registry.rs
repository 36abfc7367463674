// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! The collections of a mounted filesystem that are in use.

use super::item::Item;
use super::Collection;
use super::Tuning;
use crate::params::Params;
use crate::segment::Total;
use crate::Ino;
use crate::Time;
use crate::Txg;
use vexfs_core::Fs;
use vexfs_host::mem::U64Map;
use vexfs_host::mem::Vec;
use vexfs_host::nofs;
use vexfs_host::sync::Arc;
use vexfs_host::sync::Mutex;
use vexfs_host::sync::RwLock;
use vexfs_host::Error;
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
    open: Mutex<U64Map<Slot>>,
    memory: Arc<Total>,
}

/// What there is for a directory.
enum Slot {
    /// Somebody is opening it and holds the lock meanwhile.
    Opening(Arc<RwLock<()>>),
    Open(Arc<Collection>),
}

impl Slot {
    fn collection(&self) -> Option<&Arc<Collection>> {
        match self {
            Slot::Opening(_) => None,
            Slot::Open(collection) => Some(collection),
        }
    }

    fn is_turn(&self, turn: &Arc<RwLock<()>>) -> bool {
        matches!(self, Slot::Opening(other) if Arc::ptr_eq(other, turn))
    }
}

/// Collections that [`Collections::shrink`] looks at together.
const TOGETHER: usize = 16;

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
            memory: Arc::new(Total::new())?,
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
    /// `NotCollection` if it is none; those of reading its item; `Interrupted` while another one opens it.
    pub fn get(&self, dir: Ino) -> Result<Arc<Collection>> {
        let _nofs = nofs();
        if let Some(collection) = self.open.lock().get(dir).and_then(Slot::collection) {
            return Ok(collection.clone());
        }
        // The device is read with this lock only, for which nobody waits but those who want the same collection.
        let mine = Arc::new(RwLock::new(())?)?;
        let _turn = loop {
            let others = {
                let mut open = self.open.lock();
                match open.get(dir) {
                    Some(Slot::Open(collection)) => return Ok(collection.clone()),
                    Some(Slot::Opening(turn)) => turn.clone(),
                    None => {
                        let turn = mine.try_write().ok_or(Error::Busy)?;
                        open.insert(dir, Slot::Opening(mine.clone()))?;
                        break turn;
                    }
                }
            };
            drop(others.write_killable()?);
        };
        let (fs, memory) = (self.fs.clone(), self.memory.clone());
        let opened = Collection::open(fs, self.kernels, self.tuning, memory, dir).and_then(Arc::new);
        let mut open = self.open.lock();
        // Unless it was forgotten meanwhile.
        let before = match (open.get_mut(dir).filter(|slot| slot.is_turn(&mine)), &opened) {
            (Some(slot), Ok(collection)) => Some(core::mem::replace(slot, Slot::Open(collection.clone()))),
            (Some(_), Err(_)) => open.remove(dir),
            (None, _) => None,
        };
        drop(open);
        drop(before);
        opened
    }

    /// Forgets directory `dir`, which is a collection no more or is about to go. Nobody may be using it at the moment:
    /// who gets it afterwards gets another [`Collection`], which knows nothing of what this one does.
    pub fn forget(&self, dir: Ino) {
        let gone = self.open.lock().remove(dir);
        drop(gone);
    }

    /// Bytes of memory that the rows of all collections take. Takes no lock.
    pub fn memory_bytes(&self) -> u64 {
        self.memory.bytes()
    }

    /// Gives at least `bytes` of memory back, if there are so many that nobody is using. Returns how many.
    ///
    /// First goes what only makes searches faster, then sections of segments, then all there is of a collection; each
    /// from the collection that was used longest ago to the one that was used last.
    ///
    /// For memory pressure: waits for nobody who might be waiting for memory.
    pub fn shrink(&self, bytes: u64) -> u64 {
        let Some(open) = self.open.try_lock() else { return 0 };
        let stages: [fn(&Collection, u64) -> u64; 3] =
            [Collection::trim, Collection::evict_sections, Collection::evict_rows];
        let now = self.memory.now();
        let mut freed = 0u64;
        for stage in stages {
            let mut behind = (0, 0);
            loop {
                let (some, count) = coldest(&open, behind, now);
                for key in some.iter().take(count) {
                    if freed >= bytes {
                        return freed;
                    }
                    if let Some(collection) = open.get(key.1).and_then(Slot::collection) {
                        freed = freed.saturating_add(stage(collection, bytes.saturating_sub(freed)));
                    }
                    behind = *key;
                }
                if count < TOGETHER {
                    break;
                }
            }
        }
        freed
    }

    /// The directories whose collections are in use.
    pub fn in_use(&self) -> Result<Vec<Ino>> {
        let _nofs = nofs();
        let open = self.open.lock();
        let mut dirs = Vec::with_capacity(open.len())?;
        for (dir, slot) in open.iter() {
            if slot.collection().is_some() {
                dirs.push(dir)?;
            }
        }
        Ok(dirs)
    }
}

/// The collections in memory that were used longest ago, of those used after `behind` and until `now`: when, and the
/// directory. They are in order, and only so many count.
fn coldest(open: &U64Map<Slot>, behind: (u64, Ino), now: u64) -> ([(u64, Ino); TOGETHER], usize) {
    let (mut found, mut count) = ([(0, 0); TOGETHER], 0);
    for (dir, slot) in open.iter() {
        let Some(collection) = slot.collection() else { continue };
        let key = (collection.last_use(), dir);
        if key <= behind || key.0 > now || collection.memory_bytes() == 0 {
            continue;
        }
        let place = found.iter().take(count).take_while(|other| **other < key).count();
        if place < TOGETHER {
            // What was at the end, if it was full, gives way.
            found.copy_within(place..TOGETHER - 1, place + 1);
            if let Some(slot) = found.get_mut(place) {
                *slot = key;
                count = count.saturating_add(1).min(TOGETHER);
            }
        }
    }
    (found, count)
}
