// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! A collection: rows that are appended to a tail on disk and searched in memory.
//!
//! On disk it is the directory's collection item (`params`) and a hidden file, the tail, of records (`record`), each of
//! which is one change: a batch inserted or deleted. In memory it is an [`Image`]: all rows (`rows`) and an index of ids.
//! The image is made by replaying the tail when the collection is first used (`load`) and can be dropped at any time.
//!
//! # Locks
//!
//! Taken in this order: `writer` (changes, loading and rewriting exclude each other, and with it goes the right to do I/O on
//! the tail), `image` (held only to copy or replace the reference), `Image::index`, `Image::rows`. Readers take the last two
//! for short stretches; a writer takes them exclusively only to reserve memory and to publish a change that is on its way to
//! the disk already.

mod compact;
mod load;
mod params;
mod read;
mod record;
mod registry;
pub(crate) mod rows;
#[cfg(test)]
mod tests;
mod write;

pub use params::Params;
pub use read::Contents;
pub use read::Found;
pub use read::Got;
pub use read::Hit;
pub use read::RowRef;
pub use read::Search;
pub use registry::Collections;
pub use write::Batch;
pub use write::Deleted;
pub use write::InsertMode;
pub use write::Inserted;

use crate::Ino;
use crate::Time;
use crate::Txg;
use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering;
use load::Survey;
use rows::Rows;
use vexfs_core::Fs;
use vexfs_host::log;
use vexfs_host::mem::U64Map;
use vexfs_host::mem::Vec;
use vexfs_host::sync::Arc;
use vexfs_host::sync::Mutex;
use vexfs_host::sync::RwLock;
use vexfs_host::Error;
use vexfs_host::Result;
use vexfs_simd::Kernels;

/// A collection in use. There is at most one of these for a directory: get it from [`Collections`].
pub struct Collection {
    fs: Arc<Fs>,
    dir: Ino,
    params: Params,
    kernels: Kernels,
    writer: Mutex<Writer>,
    image: RwLock<Option<Arc<Image>>>,
    /// Bytes of the image, and of the images of all collections: read without a lock, since memory pressure asks for them
    /// while a writer may hold its locks and wait for memory.
    memory: AtomicU64,
    total_memory: Arc<AtomicU64>,
}

/// Who holds it may change the collection.
struct Writer {
    /// The hidden file.
    tail: Ino,
    /// The next id in the collection item.
    first_next_id: u64,
    /// What the image's tail looks like; `None` while there is no image.
    end: Option<TailEnd>,
    /// Where records are put together; kept between changes while it is small.
    record: Vec<u32>,
}

/// The end of a tail whose records are in the image.
struct TailEnd {
    /// Bytes of the file.
    len: u64,
    /// The id that the next row without one gets. `u64::MAX`: there is none left.
    next_id: u64,
    /// The transaction group of the last change, 0 if that was before the image was made.
    txg: Txg,
    /// While the tail is shorter, it is not rewritten.
    rewrite_at: u64,
    /// Whether it is known that the directory owns no other hidden file.
    is_alone: bool,
}

/// All rows in memory.
///
/// # Invariants
///
/// `index` has exactly the ids of the live rows. Both change together, under both locks.
struct Image {
    index: RwLock<U64Map<u32>>,
    rows: RwLock<Rows>,
}

impl Image {
    fn new(rows: Rows, index: U64Map<u32>) -> Result<Arc<Self>> {
        Arc::new(Self {
            index: RwLock::new(index)?,
            rows: RwLock::new(rows)?,
        })
    }
}

/// What there is to know about a collection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Info {
    /// Its parameters.
    pub params: Params,
    /// Rows that a search can return.
    pub rows: u64,
    /// Rows that were deleted or replaced and still take space.
    pub dead_rows: u64,
    /// The id that the next row without one gets.
    pub next_id: u64,
    /// Bytes on disk.
    pub disk_bytes: u64,
    /// Bytes in memory.
    pub memory_bytes: u64,
}

impl Collection {
    /// Opens the collection of directory `dir`.
    ///
    /// # Errors
    ///
    /// `NotCollection` if it is none, `Corrupt` if its item is damaged.
    fn open(fs: Arc<Fs>, kernels: Kernels, total_memory: Arc<AtomicU64>, dir: Ino) -> Result<Self> {
        let mut item = Vec::new();
        fs.collection(dir, &mut item)?;
        let (params, tail, first_next_id) = Params::decode(&item, dir)?;
        if record::RECORD_MAX > fs.write_atomic_max() {
            return Err(Error::Unsupported("a batch is larger than an atomic write"));
        }
        let writer = Writer {
            tail,
            first_next_id,
            end: None,
            record: Vec::new(),
        };
        Ok(Self {
            fs,
            dir,
            params,
            kernels,
            writer: Mutex::new(writer)?,
            image: RwLock::new(None)?,
            memory: AtomicU64::new(0),
            total_memory,
        })
    }

    /// The directory that is the collection.
    pub fn dir(&self) -> Ino {
        self.dir
    }

    /// Its parameters.
    pub fn params(&self) -> Params {
        self.params
    }

    /// Its size and state. Does not load the rows.
    ///
    /// # Errors
    ///
    /// Those of reading the tail's headers, if it is not in memory.
    pub fn info(&self) -> Result<Info> {
        let writer = self.writer.lock();
        let image = self.image.read().clone();
        let (survey, memory_bytes) = match (&writer.end, image) {
            (Some(end), Some(image)) => {
                let rows = image.rows.read();
                let (live, dead) = (rows.live(), rows.count() - rows.live());
                (
                    Survey {
                        len: end.len,
                        live,
                        dead,
                        next_id: end.next_id,
                    },
                    self.memory_bytes(),
                )
            }
            _ => (load::survey(self, writer.tail, writer.first_next_id)?, 0),
        };
        Ok(Info {
            params: self.params,
            rows: survey.live as u64,
            dead_rows: survey.dead as u64,
            next_id: survey.next_id,
            disk_bytes: survey.len,
            memory_bytes,
        })
    }

    /// Bytes of memory that [`Collection::drop_cache`] would give back. Takes no lock.
    pub fn memory_bytes(&self) -> u64 {
        self.memory.load(Ordering::Relaxed)
    }

    /// Counts what the image takes after a change of it. The caller holds `writer`.
    fn account(&self, image: Option<&Image>) {
        let bytes = image.map_or(0, |image| {
            let index_bytes = index_bytes(&image.index.read());
            index_bytes + image.rows.read().memory_bytes()
        });
        let before = self.memory.swap(bytes, Ordering::Relaxed);
        self.total_memory.fetch_add(bytes, Ordering::Relaxed);
        self.total_memory.fetch_sub(before, Ordering::Relaxed);
    }

    /// Forgets the rows in memory, unless a change is being made. The next use reads them again. Returns the bytes freed,
    /// which those who are searching at the moment keep a little longer.
    pub fn drop_cache(&self) -> u64 {
        let Some(mut writer) = self.writer.try_lock() else {
            return 0;
        };
        let bytes = self.memory_bytes();
        self.forget(&mut writer);
        bytes
    }

    fn forget(&self, writer: &mut Writer) {
        writer.end = None;
        writer.record = Vec::new();
        let image = self.image.write().take();
        drop(image);
        self.account(None);
    }

    /// The rows, loaded if need be.
    fn image(&self) -> Result<Arc<Image>> {
        if let Some(image) = self.image.read().clone() {
            return Ok(image);
        }
        self.loaded(&mut self.writer.lock())
    }

    /// The rows and, in `writer`, the tail's end.
    fn loaded(&self, writer: &mut Writer) -> Result<Arc<Image>> {
        if writer.end.is_some() {
            if let Some(image) = self.image.read().clone() {
                return Ok(image);
            }
        }
        let (image, end) = load::load(self, writer.tail, writer.first_next_id)?;
        writer.end = Some(end);
        *self.image.write() = Some(image.clone());
        self.account(Some(&image));
        Ok(image)
    }

    /// Deletes hidden files that an interrupted rewrite left behind. A failure is logged; the next change tries again.
    fn remove_leftovers(&self, writer: &mut Writer) {
        let Writer {
            tail, end: Some(end), ..
        } = writer
        else {
            return;
        };
        while !end.is_alone {
            let mut leftover = None;
            let listed = self.fs.hidden_files(self.dir, &mut |ino| {
                if ino != *tail {
                    leftover = Some(ino);
                }
            });
            match (listed, leftover) {
                (Ok(()), None) => end.is_alone = true,
                (Ok(()), Some(ino)) if self.remove_hidden(ino).is_ok() => {}
                _ => {
                    log!(warn, "collection {}: cannot remove an unused hidden file", self.dir);
                    return;
                }
            }
        }
    }

    fn remove_hidden(&self, ino: Ino) -> Result {
        self.fs.release_hidden(self.dir, ino, Time::now())?;
        self.fs.evict(ino)
    }
}

impl Drop for Collection {
    fn drop(&mut self) {
        self.account(None);
    }
}

fn index_bytes(index: &U64Map<u32>) -> u64 {
    // A slot is an optional pair; the table is between half and fully as large as its next power of two.
    (index.len() as u64 * 8 / 7).next_power_of_two() * size_of::<Option<(u64, u32)>>() as u64
}
