// SPDX-License-Identifier: Apache-2.0
//! A collection: its rows, changed and read by id, and what it consists of.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use serde::Serialize;

use crate::backend;
use crate::mounted;
use crate::Batch;
use crate::Element;
use crate::Error;
use crate::IndexParams;
use crate::Metric;
use crate::Payload;
use crate::Result;
use crate::Row;

/// An open collection. Clones share it.
#[derive(Clone)]
pub struct Collection(pub(crate) Arc<dyn backend::Collection>);

/// What a collection is and consists of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct CollectionInfo {
    /// Inode number of its directory.
    pub id: u64,
    /// Elements of a vector.
    pub dim: u32,
    /// Their type.
    pub element: Element,
    /// How vectors are compared.
    pub metric: Metric,
    /// The index it is to have.
    pub index: IndexParams,
    /// Rows that a search can return.
    pub rows: u64,
    /// Rows that were deleted or replaced and still take space.
    pub dead_rows: u64,
    /// The id that the next row without one gets.
    pub next_id: u64,
    /// Rows, live and dead, that are in no segment yet.
    pub tail_rows: u64,
    /// Rows, live and dead, of segments that have the index.
    pub indexed_rows: u64,
    /// Segments.
    pub segments: u64,
    /// Bytes on disk.
    pub disk_bytes: u64,
    /// Of them, rows that are in no segment yet.
    pub tail_bytes: u64,
    /// Of them, segments: what follows, and their headers.
    pub segment_bytes: u64,
    /// Of the segments, vectors.
    pub vector_bytes: u64,
    /// Of the segments, indexes.
    pub index_bytes: u64,
    /// Of the segments, payloads.
    pub payload_bytes: u64,
    /// Of the segments, indexes of payload fields.
    pub field_bytes: u64,
    /// Bytes in memory.
    pub memory_bytes: u64,
    /// Rows that a build which is running has done,
    pub build_done: u64,
    /// of so many; 0 if none is running.
    pub build_total: u64,
}

/// How to insert.
///
/// ```
/// use vexfs::InsertOptions;
///
/// let options = InsertOptions::new().upsert(true).sync(true);
/// # let _ = options;
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InsertOptions {
    pub(crate) upsert: bool,
    pub(crate) normalize: bool,
    pub(crate) sync: bool,
}

impl InsertOptions {
    /// Rows whose ids are there are an error, vectors are stored as they are, and nobody waits for stable storage.
    pub fn new() -> Self {
        Self::default()
    }

    /// Replace rows whose ids are there. Every row needs an id.
    pub fn upsert(mut self, upsert: bool) -> Self {
        self.upsert = upsert;
        self
    }

    /// Scale vectors to unit length.
    pub fn normalize(mut self, normalize: bool) -> Self {
        self.normalize = normalize;
        self
    }

    /// Return when the rows are on stable storage.
    pub fn sync(mut self, sync: bool) -> Self {
        self.sync = sync;
        self
    }
}

/// What an insert did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Inserted {
    /// Rows inserted.
    pub rows: u64,
    /// How many of them replaced a row.
    pub replaced: u64,
    /// The id of the first row, if ids were assigned; the others follow it.
    pub first_id: Option<u64>,
}

/// A row that was read.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Stored {
    /// Its id.
    pub id: u64,
    /// Its vector, in the form of the collection's element type.
    pub vector: Vec<u8>,
    /// Its payload; empty if it has none.
    pub payload: Payload,
    pub(crate) element: Element,
    pub(crate) dim: u32,
}

impl Stored {
    /// Its vector as numbers.
    pub fn vector(&self) -> Vec<f32> {
        crate::decode(self.element, &self.vector, self.dim as usize)
    }
}

impl Collection {
    pub(crate) fn new(collection: Arc<dyn backend::Collection>) -> Self {
        Self(collection)
    }

    /// Opens a collection of a mounted filesystem, by its own path. That of an image is opened by
    /// [`Vexfs::collection`](crate::Vexfs::collection).
    ///
    /// ```no_run
    /// use vexfs::{Collection, Row, Search};
    ///
    /// let docs = Collection::open("/mnt/docs")?;
    /// docs.insert([Row::new([0.1, 0.2, 0.3])])?;
    /// assert_eq!(docs.search(&[0.1, 0.2, 0.3], &Search::new(1))?.len(), 1);
    /// # Ok::<(), vexfs::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// `NotCollection` for another directory or a file, wherever it is; `NotFound`, `Denied` and others of opening it.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Ok(Self(Arc::new(mounted::MountedCollection::open(path.as_ref())?)))
    }

    /// Inode number of its directory.
    pub fn id(&self) -> u64 {
        self.0.schema().id
    }

    /// Elements of a vector.
    pub fn dim(&self) -> u32 {
        self.0.schema().dim
    }

    /// Their type.
    pub fn element(&self) -> Element {
        self.0.schema().element
    }

    /// How vectors are compared.
    pub fn metric(&self) -> Metric {
        self.0.schema().metric
    }

    /// What it is and consists of. Does not read the rows.
    ///
    /// # Errors
    ///
    /// Those of reading.
    pub fn info(&self) -> Result<CollectionInfo> {
        self.0.info()
    }

    /// An empty batch for this collection.
    pub fn batch(&self) -> Batch {
        Batch::new(self.element(), self.dim())
    }

    /// Inserts rows, all of them or none. Those without ids get them in order, from one behind the largest that was
    /// ever used.
    ///
    /// ```
    /// # let fs = vexfs::Vexfs::in_memory(64 << 20)?;
    /// # let docs = fs.create_collection("/docs", 2, vexfs::Metric::L2)?;
    /// use vexfs::Row;
    ///
    /// let inserted = docs.insert([Row::new([1.0, 0.0]), Row::new([0.0, 1.0])])?;
    /// assert_eq!((inserted.rows, inserted.first_id), (2, Some(0)));
    /// assert!(docs.insert([Row::new([1.0, 1.0]).id(1)]).is_err());
    /// # Ok::<(), vexfs::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// `Exists` for an id that is there; `Invalid` for a vector, payload or id that does not fit; `TooBig` beyond the
    /// limits of a [`Batch`]; those of writing.
    pub fn insert(&self, rows: impl IntoIterator<Item = Row>) -> Result<Inserted> {
        self.insert_batch(&self.collect(rows)?)
    }

    /// As [`Collection::insert`], but a row whose id is there replaces that one. Every row needs an id.
    ///
    /// # Errors
    ///
    /// As [`Collection::insert`], without `Exists`.
    pub fn upsert(&self, rows: impl IntoIterator<Item = Row>) -> Result<Inserted> {
        self.upsert_batch(&self.collect(rows)?)
    }

    fn collect(&self, rows: impl IntoIterator<Item = Row>) -> Result<Batch> {
        let mut batch = self.batch();
        for row in rows {
            batch.push_row(&row)?;
        }
        Ok(batch)
    }

    /// Inserts the rows of a batch, all of them or none.
    ///
    /// # Errors
    ///
    /// As [`Collection::insert`].
    pub fn insert_batch(&self, batch: &Batch) -> Result<Inserted> {
        self.insert_with(batch, InsertOptions::new())
    }

    /// Inserts the rows of a batch; those whose ids are there replace them.
    ///
    /// # Errors
    ///
    /// As [`Collection::upsert`].
    pub fn upsert_batch(&self, batch: &Batch) -> Result<Inserted> {
        self.insert_with(batch, InsertOptions::new().upsert(true))
    }

    /// Inserts the rows of a batch, all of them or none.
    ///
    /// ```
    /// # let fs = vexfs::Vexfs::in_memory(64 << 20)?;
    /// # let docs = fs.create_collection("/docs", 2, vexfs::Metric::Ip)?;
    /// # use vexfs::{InsertOptions, Payload};
    /// let mut batch = docs.batch();
    /// batch.push(1, &[3.0, 4.0], &Payload::default())?;
    /// docs.insert_with(&batch, InsertOptions::new().normalize(true).sync(true))?;
    /// assert_eq!(docs.get(&[1])?[0].as_ref().unwrap().vector(), [0.6, 0.8]);
    /// # Ok::<(), vexfs::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`Collection::insert`], without `Exists` for upserting; normalizing, `Invalid` for a zero vector, and
    /// `Unsupported` for elements that are integers. If syncing fails, the rows are there and may be gone after a
    /// crash.
    pub fn insert_with(&self, batch: &Batch, options: InsertOptions) -> Result<Inserted> {
        if batch.element() != self.element() || batch.dim() != self.dim() {
            return Err(Error::invalid("the batch was made for another collection"));
        }
        self.0.insert(batch, options)
    }

    /// Deletes rows, all in one step; returns how many there were. Ids that are not there are no error.
    ///
    /// # Errors
    ///
    /// `TooBig` for more than [`Batch::ROWS_MAX`]; those of writing.
    pub fn delete(&self, ids: &[u64]) -> Result<u64> {
        match ids {
            [] => Ok(0),
            ids => self.0.delete(ids, false),
        }
    }

    /// As [`Collection::delete`], and returns when the deletion is on stable storage. Changes before it are then, too.
    ///
    /// # Errors
    ///
    /// As [`Collection::delete`].
    pub fn delete_sync(&self, ids: &[u64]) -> Result<u64> {
        match ids {
            [] => self.sync().map(|()| 0),
            ids => self.0.delete(ids, true),
        }
    }

    /// Reads rows, in the order of the ids; `None` where there is no such row.
    ///
    /// ```
    /// # let fs = vexfs::Vexfs::in_memory(64 << 20)?;
    /// # let docs = fs.create_collection("/docs", 2, vexfs::Metric::L2)?;
    /// # use vexfs::Row;
    /// docs.insert([Row::new([1.0, 0.5]).id(3).payload(serde_json::json!({"title": "third"}))])?;
    /// let rows = docs.get(&[3, 4])?;
    /// let third = rows[0].as_ref().unwrap();
    /// assert_eq!(third.vector(), [1.0, 0.5]);
    /// assert_eq!(third.payload.to_json()?["title"], "third");
    /// assert!(rows[1].is_none());
    /// # Ok::<(), vexfs::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of reading.
    pub fn get(&self, ids: &[u64]) -> Result<Vec<Option<Stored>>> {
        self.0.get(ids, true)
    }

    /// Reads the payloads of rows, in the order of the ids, without their vectors; `None` where there is no such row.
    ///
    /// # Errors
    ///
    /// Those of reading.
    pub fn payloads(&self, ids: &[u64]) -> Result<Vec<Option<Payload>>> {
        let rows = self.0.get(ids, false)?;
        Ok(rows.into_iter().map(|row| row.map(|row| row.payload)).collect())
    }

    /// Writes to stable storage what has been changed here, and everywhere else in the filesystem.
    ///
    /// # Errors
    ///
    /// Those of writing.
    pub fn sync(&self) -> Result<()> {
        self.0.sync()
    }

    /// Gives the memory of its rows and indexes back; the next use reads them again. Returns how many bytes. What a
    /// mounted filesystem keeps is the kernel's business: it gives nothing back.
    pub fn drop_cache(&self) -> u64 {
        self.0.drop_cache()
    }
}

impl fmt::Debug for Collection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Collection")
            .field("id", &self.id())
            .field("dim", &self.dim())
            .field("element", &self.element())
            .field("metric", &self.metric())
            .finish_non_exhaustive()
    }
}
