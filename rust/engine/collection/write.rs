// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! Inserting and deleting.
//!
//! A change goes through the same steps always: check everything, take all memory, append the record to the tail in one
//! atomic write, then publish in memory, which cannot fail any more. An error before the write has changed nothing, and a
//! failed write has changed nothing on disk.

use super::record;
use super::record::Change;
use super::record::Header;
use super::record::Insert;
use super::rows::NewRows;
use super::Collection;
use super::Image;
use super::Writer;
use crate::heap;
use crate::limits::BATCH_BYTES_MAX;
use crate::limits::BATCH_ROWS_MAX;
use crate::payload::Payload;
use crate::Time;
use crate::Txg;
use vexfs_host::log;
use vexfs_host::mem::Vec;
use vexfs_host::nofs;
use vexfs_host::relax;
use vexfs_host::Error;
use vexfs_host::Result;
use vexfs_simd as simd;
use zerocopy::IntoBytes as _;

/// Words of record memory that are kept between changes.
const KEEP: usize = 256 * 1024;

/// Rows to insert.
#[derive(Clone, Copy, Default)]
pub struct Batch<'a> {
    /// The vectors, one after the other, as bits of f32.
    pub vectors: &'a [u32],
    /// An id a row, all different; `None` to have them assigned in order.
    pub ids: Option<&'a [u64]>,
    /// A payload length a row, 0 for a row without one; empty if no row has one.
    pub payload_lens: &'a [u32],
    /// The payloads, one after the other.
    pub payloads: &'a [u8],
}

/// What to do with the rows of a [`Batch`].
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct InsertMode {
    /// Replace rows whose id is there already.
    pub upsert: bool,
    /// Scale every vector to unit length.
    pub normalize: bool,
}

/// What an insert did.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Inserted {
    /// The id of the first row if ids were assigned, else 0.
    pub first_id: u64,
    /// Rows inserted.
    pub count: usize,
    /// How many of them replaced another.
    pub replaced: usize,
    /// With this transaction group they are durable.
    pub txg: Txg,
}

/// What a deletion did.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Deleted {
    /// Rows deleted.
    pub count: usize,
    /// With this transaction group the deletion, and every change before it, is durable.
    pub txg: Txg,
}

impl Collection {
    /// Inserts a batch of rows.
    ///
    /// # Errors
    ///
    /// `Invalid` for a batch that is empty, has lengths that do not agree, an id twice, a NaN, an infinity, a zero vector
    /// where the metric or normalizing forbids it, or a malformed payload; `TooBig` for one over the limits; `Exists` if an
    /// id is there already and `upsert` is off. Those of the filesystem.
    pub fn insert(&self, batch: &Batch<'_>, mode: InsertMode) -> Result<Inserted> {
        let count = self.check_batch(batch, mode)?;
        if let Some(ids) = batch.ids {
            check_distinct(ids)?;
        }
        let _nofs = nofs();
        let mut writer = self.writer.lock();
        let image = self.loaded(&mut writer)?;
        self.remove_leftovers(&mut writer);
        let inserted = self.append(&mut writer, &image, batch, count, mode)?;
        self.rewrite_if_wasteful(&mut writer, &image);
        Ok(inserted)
    }

    /// Checks all of a batch that does not depend on the rows there are. Returns the number of rows.
    fn check_batch(&self, batch: &Batch<'_>, mode: InsertMode) -> Result<usize> {
        let dim = self.params.dim();
        let count = batch.vectors.len().checked_div(dim).unwrap_or(0);
        if count == 0 || batch.vectors.len().checked_rem(dim) != Some(0) {
            return Err(Error::Invalid(
                "a batch is one or more vectors of the collection's dimension",
            ));
        }
        if count > BATCH_ROWS_MAX {
            return Err(Error::TooBig("rows of a batch"));
        }
        if batch
            .vectors
            .len()
            .saturating_mul(4)
            .saturating_add(batch.payloads.len())
            > BATCH_BYTES_MAX
        {
            return Err(Error::TooBig("bytes of a batch"));
        }
        match batch.ids {
            Some(ids) if ids.len() != count => return Err(Error::Invalid("as many ids as vectors are needed")),
            None if mode.upsert => return Err(Error::Invalid("replacing rows needs their ids")),
            _ => {}
        }
        let mut space = self.params.space()?;
        if mode.normalize {
            // Normalizing needs a direction just as the cosine does.
            space =
                simd::Space::new(space.element(), simd::Metric::Cosine, dim).ok_or(Error::Invalid("normalizing"))?;
        }
        for (i, vector) in batch.vectors.chunks(dim).enumerate() {
            space.check(vector.as_bytes()).map_err(refusal)?;
            if i % 256 == 255 {
                relax()?;
            }
        }
        if !batch.payload_lens.is_empty() && batch.payload_lens.len() != count {
            return Err(Error::Invalid("as many payload lengths as vectors are needed"));
        }
        let mut rest = batch.payloads;
        for (i, len) in batch.payload_lens.iter().enumerate() {
            let (payload, after) = rest
                .split_at_checked(*len as usize)
                .ok_or(Error::Invalid("payload lengths exceed the payloads"))?;
            rest = after;
            if !payload.is_empty() {
                Payload::parse(payload)?;
            }
            if i % 256 == 255 {
                relax()?;
            }
        }
        if !rest.is_empty() {
            return Err(Error::Invalid("more payload bytes than the lengths say"));
        }
        Ok(count)
    }

    fn append(
        &self,
        writer: &mut Writer,
        image: &Image,
        batch: &Batch<'_>,
        count: usize,
        mode: InsertMode,
    ) -> Result<Inserted> {
        let end = writer.end.as_ref().ok_or(Error::Overflow)?;
        let mut assigned = Vec::new();
        let mut there = 0;
        let (ids, first_id, next_id) = match batch.ids {
            Some(ids) => {
                let index = image.index.read();
                there = ids.iter().filter(|id| index.contains(**id)).count();
                if there > 0 && !mode.upsert {
                    return Err(Error::Exists);
                }
                let largest = ids.iter().copied().max().unwrap_or(0);
                (ids, 0, end.next_id.max(largest.saturating_add(1)))
            }
            None => {
                let first = end.next_id;
                let next = first.checked_add(count as u64).ok_or(Error::Overflow)?;
                assigned.reserve(count)?;
                for id in first..next {
                    assigned.push(id)?;
                }
                (&assigned[..], first, next)
            }
        };

        let change = Change::Insert {
            upsert: mode.upsert,
            payloads: !batch.payloads.is_empty(),
        };
        let payload_lens = if batch.payloads.is_empty() {
            &[]
        } else {
            batch.payload_lens
        };
        let (seq, live) = {
            let rows = image.rows.read();
            (rows.seq().saturating_add(1), rows.live())
        };
        let header = Header {
            change,
            seq,
            next_id,
            count,
            dim: self.params.dim(),
            payload_bytes: batch.payloads.len(),
            live: (live + count).saturating_sub(there),
            body_csum: 0,
        };
        let insert = Insert {
            ids,
            vectors: batch.vectors,
            payload_lens,
            payloads: batch.payloads,
        };
        let mut words = core::mem::take(&mut writer.record);
        record::write_insert(&mut words, &header, &insert)?;
        let vectors = record::vectors_mut(&mut words, &header);
        if mode.normalize {
            let scaled = self.kernels.normalize(&self.params.space()?, vectors.as_mut_bytes());
            scaled.map_err(|_| Error::Invalid("vectors of another dimension"))?;
        }
        let mut inv_norms = Vec::new();
        self.inv_norms(vectors, &mut inv_norms)?;
        record::seal(&mut words, header, writer.tail);

        let vectors = header.split(record::body(&words))?.vectors;
        let new = NewRows {
            ids,
            vectors,
            inv_norms: &inv_norms,
            payload_lens,
            payloads: batch.payloads,
        };
        image.index.write().reserve(count)?;
        image.rows.write().reserve(&new)?;
        let txg = self.write_record(writer, &words, next_id)?;
        let published = {
            let mut index = image.index.write();
            let mut rows = image.rows.write();
            rows.append(&mut index, seq, &new)
        };
        keep(writer, words);
        match published {
            Ok(replaced) => {
                self.account(Some(image));
                Ok(Inserted {
                    first_id,
                    count,
                    replaced,
                    txg,
                })
            }
            Err(e) => {
                // Memory was reserved, so this is unreachable; what counts is on disk, and will be read from there.
                self.forget(writer);
                Err(e)
            }
        }
    }

    /// Deletes the rows of these ids. Ids that are not there are ignored, as are repetitions.
    ///
    /// # Errors
    ///
    /// `Invalid` for no ids, `TooBig` for too many. Those of the filesystem.
    pub fn delete(&self, ids: &[u64]) -> Result<Deleted> {
        if ids.is_empty() {
            return Err(Error::Invalid("no ids"));
        }
        if ids.len() > BATCH_ROWS_MAX {
            return Err(Error::TooBig("rows of a batch"));
        }
        let mut sorted = Vec::new();
        sorted.extend_from_slice(ids)?;
        heap::sort(&mut sorted);

        let _nofs = nofs();
        let mut writer = self.writer.lock();
        let image = self.loaded(&mut writer)?;
        self.remove_leftovers(&mut writer);
        {
            let index = image.index.read();
            let mut previous = None;
            sorted.retain(|id| previous.replace(*id) != Some(*id) && index.contains(*id));
        }
        let end = writer.end.as_ref().ok_or(Error::Overflow)?;
        if sorted.is_empty() {
            return Ok(Deleted { count: 0, txg: end.txg });
        }
        let next_id = end.next_id;
        let (seq, live) = {
            let rows = image.rows.read();
            (rows.seq().saturating_add(1), rows.live())
        };
        let header = Header {
            change: Change::Delete,
            seq,
            next_id,
            count: sorted.len(),
            dim: self.params.dim(),
            payload_bytes: 0,
            live: live.saturating_sub(sorted.len()),
            body_csum: 0,
        };
        let mut words = core::mem::take(&mut writer.record);
        record::write_delete(&mut words, &header, &sorted)?;
        record::seal(&mut words, header, writer.tail);
        let txg = self.write_record(&mut writer, &words, next_id)?;
        let count = {
            let mut index = image.index.write();
            let mut rows = image.rows.write();
            rows.delete(&mut index, seq, sorted.iter().copied())
        };
        keep(&mut writer, words);
        self.rewrite_if_wasteful(&mut writer, &image);
        Ok(Deleted { count, txg })
    }

    /// Appends a record to the tail.
    fn write_record(&self, writer: &mut Writer, words: &[u32], next_id: u64) -> Result<Txg> {
        let Writer {
            tail, end: Some(end), ..
        } = &mut *writer
        else {
            return Err(Error::Overflow);
        };
        match self.fs.write(*tail, end.len, words.as_bytes(), Time::now()) {
            Ok(txg) => {
                end.len += 4 * words.len() as u64;
                end.next_id = next_id;
                end.txg = txg;
                Ok(txg)
            }
            Err(e) => {
                // A signal may have come after the write had been done. The file tells.
                let len = end.len;
                if self.fs.inode(*tail).map_or(true, |inode| inode.size != len) {
                    log!(
                        warn,
                        "collection {}: state of a change unknown, reading it again",
                        self.dir
                    );
                    self.forget(writer);
                }
                Err(e)
            }
        }
    }
}

/// Keeps the memory of a record for the next one.
fn keep(writer: &mut Writer, words: Vec<u32>) {
    if words.capacity() <= KEEP {
        writer.record = words;
    }
}

pub(super) fn refusal(bad: simd::BadVector) -> Error {
    match bad {
        simd::BadVector::NotFinite => Error::Invalid("a vector has a NaN or an infinity"),
        simd::BadVector::Length => Error::Invalid("a vector of another dimension"),
        simd::BadVector::PadBits => Error::Invalid("a bit beyond the dimension is set"),
        simd::BadVector::Zero => Error::Invalid("a zero vector has no direction"),
    }
}

fn check_distinct(ids: &[u64]) -> Result {
    if ids.windows(2).all(|pair| pair.first() < pair.last()) {
        return Ok(());
    }
    let mut sorted = Vec::new();
    sorted.extend_from_slice(ids)?;
    heap::sort(&mut sorted);
    if sorted.windows(2).any(|pair| pair.first() == pair.last()) {
        return Err(Error::Invalid("an id is twice in the batch"));
    }
    Ok(())
}
