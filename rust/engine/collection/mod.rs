// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! A collection: rows that are appended to a tail and moved on into segments.
//!
//! On disk it is the directory's collection item (`item`), which names hidden files: the segments, a bitmap of dead
//! rows for some of them (`tombstones`), and the tail, a file of records (`record`), each of which is one change since
//! the item was written. In memory it is a [`Version`]: the segments, the tail's rows (`crate::tail`) with an index of
//! their ids, and which rows of the segments are dead. It is made by replaying the tail when the collection is first
//! used (`load`) and can be dropped at any time.
//!
//! A change appends a record (`write`). Everything else is a publication (`publish`): sealing the tail into a segment,
//! merging segments, rewriting the tail without what is dead (`maintain` and `merge` decide what is due). It writes new
//! files, then one transaction replaces the item, with new segments, tombstones and tail together. The tail that a
//! publication names has only the rows that are in no segment, so every record of it is about the segments that the
//! same item names.
//!
//! # Locks
//!
//! Taken in this order: `maintenance` (merges exclude each other; held for as long as one takes), the [`Permit`] to
//! change the filesystem (a merge has it while it changes something, and not while it computes), `writer` (changes,
//! loading and publications exclude each other, and with it goes the right to do I/O on the tail), `version` (held only
//! to copy or replace the reference), `Version::index`, `Version::state`. Readers take the last two for short
//! stretches; a writer takes them exclusively only to reserve memory and to publish a change that is on its way to the
//! disk already. Who waits for one of the first three can be killed: they are held over device I/O.

mod item;
mod load;
mod maintain;
mod merge;
mod publish;
mod read;
mod record;
mod registry;
mod scan;
mod search;
mod shrink;
#[cfg(test)]
mod tests;
mod tombstones;
mod tuning;
mod write;

pub use read::Contents;
pub use read::Got;
pub use read::RowRef;
use read::TAIL;
pub use registry::Collections;
pub use search::Explained;
pub use search::Found;
pub use search::Hit;
pub use search::SearchRequest;
pub use tuning::Tuning;
pub use write::Batch;
pub use write::Deleted;
pub use write::InsertMode;
pub use write::Inserted;

use crate::bits::Bits;
use crate::index::IndexKind;
use crate::info::CollectionStats;
use crate::params::Params;
use crate::segment::CollectionContext;
use crate::segment::Counter;
use crate::segment::FileRefs;
use crate::segment::MemoryAccount;
use crate::segment::Segment;
use crate::segment::Total;
use crate::tail::TailRows;
use crate::tail::TailSnapshot;
use crate::Ino;
use crate::Time;
use crate::Txg;
use core::sync::atomic::AtomicBool;
use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering;
use item::Item;
use load::Survey;
use vexfs_core::Fs;
use vexfs_host::log;
use vexfs_host::mem::U64Map;
use vexfs_host::mem::Vec;
use vexfs_host::sync::Arc;
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
    tuning: Tuning,
    context: CollectionContext,
    maintenance: RwLock<()>,
    writer: RwLock<Writer>,
    version: RwLock<Option<Arc<Version>>>,
    /// Whether the log says already that unused files cannot be removed.
    has_complained: AtomicBool,
    /// What the build that is running has done, and all it has to do.
    build_done: AtomicU64,
    build_total: AtomicU64,
}

/// Who holds it may change the collection.
struct Writer {
    /// The collection item as it is on disk, but for the number of the next segment.
    item: Item,
    /// What the version's tail looks like; `None` while there is no version.
    end: Option<TailEnd>,
    /// Where records are put together; kept between changes while it is small.
    record: Vec<u8>,
    /// The directory was removed because there were no rows: none may come any more.
    is_removed: bool,
}

/// The end of a tail whose records are in the version.
struct TailEnd {
    /// Bytes of the file.
    len: u64,
    /// The id that the next row without one gets. `u64::MAX`: there is none left.
    next_id: u64,
    /// The transaction group of the last change, 0 if that was before the version was made.
    txg: Txg,
    /// While the tail is shorter, it is not rewritten.
    rewrite_at: u64,
    /// TailRows of segments that its records delete.
    deletes: usize,
    /// Whether it is known that the directory owns no hidden file but those of the item.
    is_alone: bool,
}

/// What is in memory of a collection.
///
/// # Invariants
///
/// `index` has exactly the ids of the live rows of the tail. Both change together, under both locks. Segments are those
/// of the collection item, in its order.
struct Version {
    segments: Vec<Arc<Segment>>,
    /// Whether the indexes of segments are to be used: not after the index was dropped.
    use_indexes: bool,
    index: RwLock<U64Map<u32>>,
    state: RwLock<State>,
    /// Bytes of all this without the segments.
    counter: Counter,
}

/// What changes of a version.
struct State {
    /// The tail's rows.
    pub(crate) rows: TailRows,
    /// For each segment, which of its rows are dead.
    dead: Vec<Dead>,
}

/// The dead rows of a segment. Sets are replaced and never changed, so who has one sees the moment at which he took it.
#[derive(Clone, Default)]
struct Dead {
    /// `None` if no row is dead.
    rows: Option<Arc<Bits>>,
    count: u32,
}

impl Dead {
    fn has(&self, row: u32) -> bool {
        self.rows.as_ref().is_some_and(|rows| rows.get(row))
    }
}

impl Version {
    #[inline(never)] // own frame
    fn new(
        context: &CollectionContext,
        item: &Item,
        segments: Vec<Arc<Segment>>,
        state: State,
        index: U64Map<u32>,
    ) -> Result<Arc<Self>> {
        let version = Arc::new(Self {
            segments,
            use_indexes: item.index.kind() != IndexKind::Flat,
            index: RwLock::new(index)?,
            state: RwLock::new(state)?,
            counter: Counter::new(&context.account),
        })?;
        version.account();
        Ok(version)
    }

    /// Counts the memory after a change.
    fn account(&self) {
        self.counter.set(self.memory_bytes());
    }

    /// The dead rows of all segments, and the state of the tail at the same moment.
    fn snapshot(&self) -> Result<(TailSnapshot, Vec<Dead>)> {
        // Memory first: no allocation under the lock. The number of segments of a version never changes.
        let mut dead = Vec::with_capacity(self.segments.len())?;
        let state = self.state.read();
        for of_segment in &state.dead {
            dead.push(of_segment.clone())?;
        }
        Ok((state.rows.snapshot(), dead))
    }

    /// Whether there is a segment without live rows.
    fn has_dead_segment(&self) -> Result<bool> {
        let (_, dead) = self.snapshot()?;
        let mut pairs = self.segments.iter().zip(&dead);
        Ok(pairs.any(|(segment, dead)| dead.count as usize >= segment.count()))
    }

    /// Bytes of memory without the segments.
    fn memory_bytes(&self) -> u64 {
        let index = index_bytes(&self.index.read());
        let state = self.state.read();
        let dead = state.dead.iter().filter_map(|dead| dead.rows.as_ref());
        let dead = dead.fold(0u64, |sum, rows| sum.saturating_add(rows.memory_bytes()));
        index.saturating_add(state.rows.memory_bytes()).saturating_add(dead)
    }
}

impl Collection {
    /// Opens the collection of directory `dir`.
    ///
    /// # Errors
    ///
    /// `NotCollection` if it is none, `Corrupt` if its item is damaged.
    fn open(fs: Arc<Fs>, kernels: Kernels, tuning: Tuning, total_memory: Arc<Total>, dir: Ino) -> Result<Self> {
        let item = read_item(&fs, dir)?;
        if record::RECORD_MAX > fs.write_atomic_max() {
            return Err(Error::Unsupported("a batch is larger than an atomic write"));
        }
        let params = item.params;
        let context = CollectionContext {
            fs: fs.clone(),
            dir,
            params,
            file_refs: Arc::new(FileRefs::new()?)?,
            account: Arc::new(MemoryAccount::new(total_memory))?,
        };
        let writer = Writer {
            item,
            end: None,
            record: Vec::new(),
            is_removed: false,
        };
        Ok(Self {
            fs,
            dir,
            params,
            kernels,
            tuning,
            context,
            maintenance: RwLock::new(())?,
            writer: RwLock::new(writer)?,
            version: RwLock::new(None)?,
            has_complained: AtomicBool::new(false),
            build_done: AtomicU64::new(0),
            build_total: AtomicU64::new(0),
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
    /// Those of reading headers, if they are not in memory.
    #[inline(never)] // own frame
    pub fn info(&self) -> Result<CollectionStats> {
        let writer = self.writer.write_killable()?;
        self.info_locked(&writer)
    }

    /// Runs `f`, which removes the collection, if there are no rows, and keeps rows from coming: until it is through,
    /// and for good if it succeeds. Who found the collection before that would otherwise be told that his rows are
    /// there.
    ///
    /// # Errors
    ///
    /// `NotEmpty` if there are rows; those of counting them and of `f`.
    pub fn if_empty<R>(&self, f: impl FnOnce() -> Result<R>) -> Result<R> {
        let mut writer = self.writer.write_killable()?;
        if self.info_locked(&writer)?.rows != 0 {
            return Err(Error::NotEmpty);
        }
        let done = f()?;
        writer.is_removed = true;
        Ok(done)
    }

    #[inline(never)] // own frame
    fn info_locked(&self, writer: &Writer) -> Result<CollectionStats> {
        let version = self.version.read().clone();
        let (survey, segments) = match (&writer.end, version) {
            (Some(end), Some(version)) => {
                let state = version.state.read();
                let killed = state.dead.iter().map(|dead| u64::from(dead.count)).sum();
                let survey = Survey {
                    len: end.len,
                    live: state.rows.live(),
                    dead: state.rows.count().saturating_sub(state.rows.live()),
                    killed,
                    next_id: end.next_id,
                };
                drop(state);
                let mut segments = Vec::with_capacity(version.segments.len())?;
                for segment in &version.segments {
                    segments.push(segment.clone())?;
                }
                (survey, segments)
            }
            _ => {
                let mut segments = Vec::with_capacity(writer.item.segments.len())?;
                for entry in &writer.item.segments {
                    segments.push(Segment::open(&self.context, entry.file)?)?;
                }
                let mut survey = load::survey(self, &writer.item)?;
                for entry in &writer.item.segments {
                    survey.killed = survey.killed.saturating_add(entry.dead.into());
                }
                (survey, segments)
            }
        };
        let mut info = CollectionStats {
            params: self.params,
            index: writer.item.index,
            rows: survey.live as u64,
            dead_rows: survey.dead as u64,
            next_id: survey.next_id,
            tail_rows: (survey.live as u64).saturating_add(survey.dead as u64),
            indexed_rows: 0,
            segments: segments.len() as u64,
            tail_bytes: survey.len,
            segment_bytes: 0,
            vector_bytes: 0,
            index_bytes: 0,
            payload_bytes: 0,
            field_bytes: 0,
            disk_bytes: survey.len,
            memory_bytes: self.memory_bytes(),
            build_done: self.build_done.load(Ordering::Relaxed),
            build_total: self.build_total.load(Ordering::Relaxed),
        };
        let mut rows = 0u64;
        for segment in &segments {
            segment.describe(&writer.item.index, &mut info);
            rows = rows.saturating_add(segment.count() as u64);
        }
        info.rows = info.rows.saturating_add(rows.saturating_sub(survey.killed));
        info.dead_rows = info.dead_rows.saturating_add(survey.killed);
        info.disk_bytes = info.disk_bytes.saturating_add(info.segment_bytes);
        Ok(info)
    }

    /// The rows, loaded if need be.
    fn version(&self) -> Result<Arc<Version>> {
        self.context.account.touch();
        if let Some(version) = self.version.read().clone() {
            return Ok(version);
        }
        self.loaded(&mut *self.writer.write_killable()?)
    }

    /// The rows and, in `writer`, the tail's end.
    fn loaded(&self, writer: &mut Writer) -> Result<Arc<Version>> {
        self.context.account.touch();
        if writer.end.is_some() {
            if let Some(version) = self.version.read().clone() {
                return Ok(version);
            }
        }
        let (version, end) = load::load(self, &writer.item)?;
        writer.end = Some(end);
        *self.version.write() = Some(version.clone());
        Ok(version)
    }

    /// Deletes hidden files that the collection does not consist of and nobody uses: what publications replaced, and
    /// what an interrupted one left behind. A failure is logged once; every further change tries again.
    fn remove_leftovers(&self, writer: &mut Writer) {
        let Writer {
            item, end: Some(end), ..
        } = writer
        else {
            return;
        };
        if end.is_alone {
            return;
        }
        match self.remove_unnamed(item) {
            Ok(is_alone) => {
                end.is_alone = is_alone;
                self.has_complained.store(false, Ordering::Relaxed);
            }
            Err(e) if !self.has_complained.swap(true, Ordering::Relaxed) => {
                log!(
                    warn,
                    "collection {}: cannot remove unused hidden files yet: {}",
                    self.dir,
                    e
                );
            }
            Err(_) => {}
        }
    }

    /// Deletes the hidden files that neither this item nor the one on disk names. Returns whether none is left.
    fn remove_unnamed(&self, item: &Item) -> Result<bool> {
        // What is on disk decides, in case that this is not what is believed to be there.
        let on_disk = read_item(&self.fs, self.dir)?;
        if on_disk.tail != item.tail {
            return Err(Error::corrupt(
                "collection item that somebody else changed",
                u64::MAX,
                self.dir,
            ));
        }
        let (mut leftovers, mut failed) = (Vec::new(), Ok(()));
        self.fs.hidden_files(self.dir, &mut |ino| {
            if failed.is_ok() && !on_disk.names(ino) && !item.names(ino) {
                failed = leftovers.push(ino);
            }
        })?;
        failed?;
        let mut is_alone = true;
        for ino in leftovers {
            match self.context.file_refs.is_used(ino) {
                true => is_alone = false,
                false => self.remove_hidden(ino)?,
            }
        }
        Ok(is_alone)
    }

    fn remove_hidden(&self, ino: Ino) -> Result {
        self.fs.release_hidden(self.dir, ino, Time::now())?;
        self.fs.evict(ino)
    }
}

fn read_item(fs: &Fs, dir: Ino) -> Result<Item> {
    let mut bytes = Vec::new();
    fs.collection(dir, &mut bytes)?;
    Item::decode(&bytes, dir)
}

fn index_bytes(index: &U64Map<u32>) -> u64 {
    // A slot is an optional pair; the table is between half and fully as large as its next power of two.
    (index.len() as u64 * 8 / 7).next_power_of_two() * size_of::<Option<(u64, u32)>>() as u64
}
