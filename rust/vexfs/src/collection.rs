// SPDX-License-Identifier: Apache-2.0
//! A collection: its rows, changed and read by id, and what it consists of.

use std::fmt;
use std::sync::Arc as StdArc;

use serde::Serialize;
use vexfs_core::inode::SetAttr;
use vexfs_core::inode::Time;
use vexfs_engine as engine;
use vexfs_host::mem;
use vexfs_host::sync::Arc;

use crate::filesystem::Open;
use crate::Batch;
use crate::Element;
use crate::IndexParams;
use crate::Metric;
use crate::Payload;
use crate::Result;
use crate::Row;

/// An open collection. Clones share it.
#[derive(Clone)]
pub struct Collection {
    open: StdArc<Open>,
    pub(crate) engine: Arc<engine::Collection>,
}

/// What a collection is and consists of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Info {
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
    element: Element,
    dim: u32,
}

impl Stored {
    /// Its vector as numbers.
    pub fn vector(&self) -> Vec<f32> {
        crate::decode(self.element, &self.vector, self.dim as usize)
    }
}

pub(crate) fn info_of(id: u64, info: &engine::Info) -> Info {
    Info {
        id,
        dim: info.params.dim() as u32,
        element: info.params.element(),
        metric: info.params.metric(),
        index: *info.index.raw(),
        rows: info.rows,
        dead_rows: info.dead_rows,
        next_id: info.next_id,
        tail_rows: info.tail_rows,
        indexed_rows: info.indexed_rows,
        segments: info.segments,
        disk_bytes: info.disk_bytes,
        tail_bytes: info.tail_bytes,
        segment_bytes: info.segment_bytes,
        vector_bytes: info.vector_bytes,
        index_bytes: info.index_bytes,
        payload_bytes: info.payload_bytes,
        field_bytes: info.field_bytes,
        memory_bytes: info.memory_bytes,
    }
}

impl Collection {
    pub(crate) fn new(open: StdArc<Open>, engine: Arc<engine::Collection>) -> Self {
        Self { open, engine }
    }

    /// Elements of a vector.
    pub fn dim(&self) -> u32 {
        self.engine.params().dim() as u32
    }

    /// Their type.
    pub fn element(&self) -> Element {
        self.engine.params().element()
    }

    /// How vectors are compared.
    pub fn metric(&self) -> Metric {
        self.engine.params().metric()
    }

    /// What it is and consists of. Does not read the rows.
    ///
    /// # Errors
    ///
    /// Those of reading.
    pub fn info(&self) -> Result<Info> {
        Ok(info_of(self.engine.dir(), &self.engine.info()?))
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
        self.write(batch, engine::InsertMode::default())
    }

    /// Inserts the rows of a batch; those whose ids are there replace them.
    ///
    /// # Errors
    ///
    /// As [`Collection::upsert`].
    pub fn upsert_batch(&self, batch: &Batch) -> Result<Inserted> {
        self.write(
            batch,
            engine::InsertMode {
                upsert: true,
                ..engine::InsertMode::default()
            },
        )
    }

    /// Inserts the rows of a batch, their vectors scaled to unit length first; with `upsert`, they replace those whose ids
    /// are there.
    ///
    /// # Errors
    ///
    /// As [`Collection::insert`]; `Invalid` for a zero vector, and `Unsupported` for elements that are integers.
    pub fn insert_normalized(&self, batch: &Batch, upsert: bool) -> Result<Inserted> {
        self.write(
            batch,
            engine::InsertMode {
                upsert,
                normalize: true,
            },
        )
    }

    fn write(&self, batch: &Batch, mode: engine::InsertMode) -> Result<Inserted> {
        if batch.element() != self.element() || batch.dim() != self.dim() {
            return Err(crate::Error::invalid("the batch was made for another collection"));
        }
        let rows = engine::Batch {
            vectors: &batch.vectors,
            ids: batch.has_ids().then_some(batch.ids.as_slice()),
            payload_lens: match batch.payloads.is_empty() {
                true => &[],
                false => &batch.payload_lens,
            },
            payloads: &batch.payloads,
        };
        let done = self.engine.insert(&rows, mode)?;
        self.touch();
        Ok(Inserted {
            rows: done.count as u64,
            replaced: done.replaced as u64,
            first_id: (!batch.has_ids()).then_some(done.first_id),
        })
    }

    /// Says that the contents of the directory have changed just now. That the rows are there counts more than their time: a
    /// failure, say on a full device, is none of the change.
    fn touch(&self) {
        let now = Some(Time::now());
        let times = SetAttr {
            mtime: now,
            ctime: now,
            ..Default::default()
        };
        let _ = self.open.fs.set_attr(self.engine.dir(), &times);
    }

    /// Deletes rows, all in one step; returns how many there were. Ids that are not there are no error.
    ///
    /// # Errors
    ///
    /// `TooBig` for more than [`Batch::ROWS_MAX`]; those of writing.
    pub fn delete(&self, ids: &[u64]) -> Result<u64> {
        match ids {
            [] => Ok(0),
            ids => {
                let deleted = self.engine.delete(ids)?.count as u64;
                if deleted > 0 {
                    self.touch();
                }
                Ok(deleted)
            }
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
    /// `TooBig` for more than [`Batch::ROWS_MAX`]; those of reading.
    pub fn get(&self, ids: &[u64]) -> Result<Vec<Option<Stored>>> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let (element, dim) = (self.element(), self.dim());
        let got = self.engine.get(ids)?;
        got.rows
            .iter()
            .map(|row| {
                row.as_ref()
                    .map(|row| {
                        Ok(Stored {
                            id: row.id,
                            vector: self.vector(&got.contents, row)?,
                            payload: payload(&got.contents, row)?,
                            element,
                            dim,
                        })
                    })
                    .transpose()
            })
            .collect()
    }

    /// Writes to stable storage what has been changed here, and everywhere else in the filesystem.
    ///
    /// # Errors
    ///
    /// Those of writing.
    pub fn sync(&self) -> Result<()> {
        Ok(self.open.fs.sync()?)
    }

    /// Gives the memory of its rows and indexes back; the next use reads them again. Returns how many bytes.
    pub fn drop_cache(&self) -> u64 {
        self.engine.drop_cache()
    }

    /// The vector of a row, in its form.
    pub(crate) fn vector(&self, contents: &engine::Contents, row: &engine::RowRef) -> Result<Vec<u8>> {
        let mut vector = vec![0; self.engine.params().row_bytes()];
        contents.vector(row, &mut vector)?;
        Ok(vector)
    }
}

/// The payload of a row.
pub(crate) fn payload(contents: &engine::Contents, row: &engine::RowRef) -> Result<Payload> {
    let mut bytes = mem::Vec::new();
    contents.payload(row, &mut bytes)?;
    Ok(Payload::from_bytes(bytes.to_vec()))
}

impl fmt::Debug for Collection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Collection")
            .field("dir", &self.engine.dir())
            .field("dim", &self.dim())
            .field("element", &self.element())
            .field("metric", &self.metric())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Vexfs;

    #[test]
    fn changes_of_rows_move_the_times_of_the_directory_and_other_calls_do_not() {
        let fs = Vexfs::in_memory(64 << 20).unwrap();
        let docs = fs.create_collection("/docs", 2, Metric::L2).unwrap();
        let old = Time { sec: 1000, nsec: 0 };
        let moved = |change: &dyn Fn()| {
            let times = SetAttr {
                mtime: Some(old),
                ctime: Some(old),
                ..SetAttr::default()
            };
            docs.open.fs.set_attr(docs.engine.dir(), &times).unwrap();
            change();
            let now = docs.open.fs.inode(docs.engine.dir()).unwrap();
            assert_eq!(now.mtime, now.ctime);
            now.mtime != old
        };
        assert!(moved(&|| assert_eq!(
            docs.insert([Row::new([1.0, 0.0])]).unwrap().rows,
            1
        )));
        assert!(!moved(&|| drop(docs.get(&[0]).unwrap())));
        assert!(!moved(&|| assert_eq!(docs.delete(&[7]).unwrap(), 0)));
        assert!(moved(&|| assert_eq!(docs.delete(&[0]).unwrap(), 1)));
    }
}
