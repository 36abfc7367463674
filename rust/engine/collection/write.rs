// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! Inserting and deleting.
//!
//! A change goes through the same steps always: check everything, take all memory, append the record to the tail in one
//! atomic write, then publish in memory, which cannot fail any more. An error before the write has changed nothing, and
//! a failed write has changed nothing on disk.

use super::record;
use super::record::Change;
use super::record::Header;
use super::record::Insert;
use super::Collection;
use super::Dead;
use super::Version;
use super::Writer;
use crate::bits::Bits;
use crate::heap;
use crate::limits::BATCH_BYTES_MAX;
use crate::limits::BATCH_ROWS_MAX;
use crate::payload::Payload;
use crate::permit::Always;
use crate::permit::Permit;
use crate::segment::find_id;
use crate::tail::NewRows;
use crate::Time;
use crate::Txg;
use vexfs_host::log;
use vexfs_host::mem::Vec;
use vexfs_host::nofs;
use vexfs_host::relax;
use vexfs_host::sync::Arc;
use vexfs_host::Error;
use vexfs_host::Result;
use vexfs_simd as simd;

/// Bytes of record memory that are kept between changes.
const KEEP: usize = 1 << 20;

/// Rows to insert.
#[derive(Clone, Copy, Default)]
pub struct Batch<'a> {
    /// The vectors, one after the other, in the form of the collection's elements (see `vexfs_simd::Element`).
    pub vectors: &'a [u8],
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

/// Rows of segments that a change ends.
struct Deletions {
    /// For each of the given ids, in their order, whether there is such a row.
    found: Vec<bool>,
    /// For each segment of which a row ends, its place among the segments and its dead rows afterwards.
    dead: Vec<(usize, Dead)>,
    count: usize,
}

impl Deletions {
    /// Says that the rows have ended. Returns what was said before, to be dropped without a lock.
    fn publish(self, dead: &mut [Dead]) -> Vec<(usize, Dead)> {
        let mut new = self.dead;
        for (at, of_segment) in &mut new {
            if let Some(place) = dead.get_mut(*at) {
                core::mem::swap(place, of_segment);
            }
        }
        new
    }
}

/// Looks ascending ids up among the live rows of segments.
fn find_deletions(version: &Version, ids: &[u64]) -> Result<Deletions> {
    let mut deletions = Deletions {
        found: Vec::new(),
        dead: Vec::new(),
        count: 0,
    };
    deletions.found.resize(ids.len(), false)?;
    let (_, dead) = version.snapshot()?;
    for (at, (segment, before)) in version.segments.iter().zip(&dead).enumerate() {
        let start = ids.partition_point(|id| *id < segment.header().min_id);
        let end = ids.partition_point(|id| *id <= segment.header().max_id);
        if start >= end {
            continue;
        }
        let rows = segment.ids()?;
        let mut after: Option<Bits> = None;
        let (mut from, mut count) = (0, 0u32);
        let wanted = ids.get(start..end).unwrap_or_default();
        let found = deletions.found.get_mut(start..end).unwrap_or_default();
        for (i, (id, found)) in wanted.iter().zip(found).enumerate() {
            if i % 256 == 255 {
                relax()?;
            }
            from = match find_id(rows.as_u64s(), from, *id) {
                Err(behind) => behind,
                Ok(row) if before.has(row as u32) => row,
                Ok(row) => {
                    let after = match &mut after {
                        Some(after) => after,
                        None => after.insert(match &before.rows {
                            Some(rows) => rows.try_clone()?,
                            None => Bits::new(segment.count())?,
                        }),
                    };
                    after.set(row as u32);
                    count = count.saturating_add(1);
                    *found = true;
                    row
                }
            };
        }
        if let Some(after) = after {
            let rows = Some(Arc::new(after)?);
            let count_after = before.count.saturating_add(count);
            deletions.dead.push((
                at,
                Dead {
                    rows,
                    count: count_after,
                },
            ))?;
            deletions.count = deletions.count.saturating_add(count as usize);
        }
    }
    Ok(deletions)
}

/// What the ids of a batch mean for the collection.
struct Numbers {
    /// The first id, if they were assigned, else 0.
    first_id: u64,
    /// The id that the next row without one gets.
    next_id: u64,
    /// Rows of the tail that the batch replaces.
    there: usize,
}

/// Looks up the ids that a batch has; those below `known` may be there.
fn given_ids(version: &Version, ids: &[u64], known: u64) -> Result<Numbers> {
    let index = version.index.read();
    let is_old = |id: &&u64| **id < known || **id == u64::MAX;
    let there = ids.iter().filter(is_old).filter(|id| index.contains(**id)).count();
    // The largest number there is does not end numbering: it is never given, so numbering goes on behind the others.
    let largest = ids.iter().copied().filter(|id| *id != u64::MAX).max();
    let behind = largest.map_or(0, |largest| largest.saturating_add(1));
    Ok(Numbers {
        first_id: 0,
        next_id: known.max(behind),
        there,
    })
}

/// Gives `count` rows the ids from `known` on.
fn assign_ids(count: usize, known: u64, assigned: &mut Vec<u64>) -> Result<Numbers> {
    let next_id = known.checked_add(count as u64).ok_or(Error::Overflow)?;
    assigned.reserve(count)?;
    for id in known..next_id {
        assigned.push(id)?;
    }
    Ok(Numbers {
        first_id: known,
        next_id,
        there: 0,
    })
}

impl Collection {
    /// Inserts a batch of rows.
    ///
    /// # Errors
    ///
    /// `Invalid` for a batch that is empty, has lengths that do not agree, an id twice, a NaN, an infinity, a zero
    /// vector where the metric or normalizing forbids it, or a malformed payload; `TooBig` for one over the limits;
    /// `Exists` if an id is there already and `upsert` is off. Those of the filesystem.
    pub fn insert(&self, batch: &Batch<'_>, mode: InsertMode) -> Result<Inserted> {
        self.insert_with(batch, mode, &Always)
    }

    /// [`Collection::insert`], asking for a permit before each change. It is not held while waiting for a merge to end:
    /// a merge may need it for that.
    ///
    /// # Errors
    ///
    /// As there; those of the permit.
    pub fn insert_with(&self, batch: &Batch<'_>, mode: InsertMode, permit: &dyn Permit) -> Result<Inserted> {
        let count = self.check_batch(batch, mode)?;
        let mut sorted = Vec::new();
        let ascending = match batch.ids {
            Some(ids) => ascending(ids, &mut sorted)?,
            None => &[],
        };
        let _nofs = nofs();
        let (_permitted, mut writer) = self.writer_with_room(permit)?;
        let version = self.loaded(&mut writer)?;
        self.remove_leftovers(&mut writer);
        let inserted = self.append(&mut writer, &version, batch, ascending, count, mode)?;
        drop(version);
        self.rewrite_if_wasteful(&mut writer);
        Ok(inserted)
    }

    /// Checks all of a batch that does not depend on the rows there are. Returns the number of rows.
    fn check_batch(&self, batch: &Batch<'_>, mode: InsertMode) -> Result<usize> {
        let row_bytes = self.params.row_bytes();
        let count = batch.vectors.len().checked_div(row_bytes).unwrap_or(0);
        if count == 0 || batch.vectors.len().checked_rem(row_bytes) != Some(0) {
            return Err(Error::Invalid(
                "a batch is one or more vectors of the collection's dimension",
            ));
        }
        if count > BATCH_ROWS_MAX {
            return Err(Error::TooBig("rows of a batch"));
        }
        if batch.vectors.len().saturating_add(batch.payloads.len()) > BATCH_BYTES_MAX {
            return Err(Error::TooBig("bytes of a batch"));
        }
        match batch.ids {
            Some(ids) if ids.len() != count => return Err(Error::Invalid("as many ids as vectors are needed")),
            None if mode.upsert => return Err(Error::Invalid("replacing rows needs their ids")),
            _ => {}
        }
        let mut space = self.params.space();
        if mode.normalize {
            if !space.element().is_float() {
                return Err(Error::Invalid("only floats can be normalized"));
            }
            // Normalizing needs a direction just as the cosine does.
            let cosine = simd::Space::new(space.element(), simd::Metric::Cosine, space.dim());
            space = cosine.ok_or(Error::Invalid("only floats can be normalized"))?;
        }
        for (i, vector) in batch.vectors.chunks(row_bytes).enumerate() {
            space.check(vector).map_err(refusal)?;
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

    /// Appends a batch; `ascending` are its ids in order.
    #[inline(never)] // own frame
    fn append(
        &self,
        writer: &mut Writer,
        version: &Version,
        batch: &Batch<'_>,
        ascending: &[u64],
        count: usize,
        mode: InsertMode,
    ) -> Result<Inserted> {
        let end = writer.end.as_ref().ok_or(Error::Overflow)?;
        let known = end.next_id;
        // An id that is still to be given is new; those before it may be anywhere.
        let old = ascending.partition_point(|id| *id < known);
        let deletions = match ascending.last().copied() {
            Some(u64::MAX) => find_deletions(version, ascending)?,
            _ => find_deletions(version, ascending.get(..old).unwrap_or_default())?,
        };
        let mut assigned = Vec::new();
        let Numbers {
            first_id,
            next_id,
            there,
        } = match batch.ids {
            Some(ids) => given_ids(version, ids, known)?,
            None => assign_ids(count, known, &mut assigned)?,
        };
        let ids = batch.ids.unwrap_or(&assigned);
        if there + deletions.count > 0 && !mode.upsert {
            return Err(Error::Exists);
        }

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
            let state = version.state.read();
            (state.rows.seq().saturating_add(1), state.rows.live())
        };
        let header = Header {
            change,
            seq,
            next_id,
            count,
            dim: self.params.dim(),
            row_bytes: self.params.row_bytes(),
            payload_bytes: batch.payloads.len(),
            live: (live + count).saturating_sub(there),
            killed: deletions.count,
            body_csum: 0,
        };
        let insert = Insert {
            ids,
            vectors: batch.vectors,
            payload_lens,
            payloads: batch.payloads,
        };
        let mut bytes = core::mem::take(&mut writer.record);
        record::write_insert(&mut bytes, &header, &insert)?;
        let vectors = record::vectors_mut(&mut bytes, &header);
        if mode.normalize {
            let scaled = self.kernels.normalize(&self.params.space(), vectors);
            scaled.map_err(|_| Error::Invalid("vectors of another dimension"))?;
        }
        let mut inv_norms = Vec::new();
        self.inv_norms(vectors, &mut inv_norms)?;
        record::seal(&mut bytes, header, writer.item.tail);

        let vectors = header.split(record::body(&bytes))?.vectors;
        let new = NewRows {
            ids,
            vectors,
            inv_norms: &inv_norms,
            payload_lens,
            payloads: batch.payloads,
        };
        let mut done = version.index.write().reserve(count);
        if done.is_ok() {
            done = version.state.write().rows.reserve(&new);
        }
        let written = done.and_then(|()| self.write_record(writer, &bytes, next_id, false));
        if written.is_err() {
            // What was taken stays, for the next attempt.
            version.account();
        }
        let txg = written?;
        let killed = deletions.count;
        let (published, before) = {
            let mut index = version.index.write();
            let mut state = version.state.write();
            let before = deletions.publish(&mut state.dead);
            (state.rows.append(&mut index, seq, &new), before)
        };
        drop(before);
        keep(writer, bytes);
        match published {
            Ok(replaced) => {
                version.account();
                Ok(Inserted {
                    first_id,
                    count,
                    replaced: replaced + killed,
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

    /// Deletes the rows of these ids. Ids that are not there are ignored, as are repetitions. Works on a full device;
    /// [`Collection::optimize`] gives the space of the rows back.
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
        // A tail that is full has room for this: it adds no rows.
        let mut writer = self.writer.write_killable()?;
        let version = self.loaded(&mut writer)?;
        self.remove_leftovers(&mut writer);
        let different = distinct(&mut sorted);
        sorted.truncate(different);
        let deletions = find_deletions(&version, &sorted)?;
        {
            let index = version.index.read();
            let mut found = deletions.found.iter();
            sorted.retain(|id| found.next() == Some(&true) || index.contains(*id));
        }
        let end = writer.end.as_mut().ok_or(Error::Overflow)?;
        if sorted.is_empty() {
            return Ok(Deleted { count: 0, txg: end.txg });
        }
        let next_id = end.next_id;
        let (seq, live) = {
            let state = version.state.read();
            (state.rows.seq().saturating_add(1), state.rows.live())
        };
        let killed = deletions.count;
        let header = Header {
            change: Change::Delete,
            seq,
            next_id,
            count: sorted.len(),
            dim: self.params.dim(),
            row_bytes: self.params.row_bytes(),
            payload_bytes: 0,
            live: (live + killed).saturating_sub(sorted.len()),
            killed,
            body_csum: 0,
        };
        let mut bytes = core::mem::take(&mut writer.record);
        record::write_delete(&mut bytes, &header, &sorted)?;
        record::seal(&mut bytes, header, writer.item.tail);
        let txg = self.write_record(&mut writer, &bytes, next_id, true)?;
        let (deleted, before) = {
            let mut index = version.index.write();
            let mut state = version.state.write();
            let before = deletions.publish(&mut state.dead);
            (state.rows.delete(&mut index, seq, sorted.iter().copied()), before)
        };
        drop(before);
        if let Some(end) = &mut writer.end {
            end.deletes = end.deletes.saturating_add(killed);
        }
        keep(&mut writer, bytes);
        version.account();
        drop(version);
        self.rewrite_if_wasteful(&mut writer);
        Ok(Deleted {
            count: deleted + killed,
            txg,
        })
    }

    /// Appends a record to the tail; an `urgent` one works on a full device.
    fn write_record(&self, writer: &mut Writer, bytes: &[u8], next_id: u64, urgent: bool) -> Result<Txg> {
        let Writer {
            item, end: Some(end), ..
        } = &mut *writer
        else {
            return Err(Error::Overflow);
        };
        let tail = item.tail;
        let written = match urgent {
            true => self.fs.write_urgent(tail, end.len, bytes, Time::now()),
            false => self.fs.write(tail, end.len, bytes, Time::now()),
        };
        match written {
            Ok(txg) => {
                end.len += bytes.len() as u64;
                end.next_id = next_id;
                end.txg = txg;
                Ok(txg)
            }
            Err(e) => {
                // A signal may have come after the write had been done. The file tells.
                let len = end.len;
                if self.fs.inode(tail).map_or(true, |inode| inode.size != len) {
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
fn keep(writer: &mut Writer, bytes: Vec<u8>) {
    if bytes.capacity() <= KEEP {
        writer.record = bytes;
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

/// The ids in ascending order, in `sorted` unless they are already.
///
/// # Errors
///
/// `Invalid` if one is there twice.
fn ascending<'a>(ids: &'a [u64], sorted: &'a mut Vec<u64>) -> Result<&'a [u64]> {
    if ids.windows(2).all(|pair| pair.first() < pair.last()) {
        return Ok(ids);
    }
    sorted.extend_from_slice(ids)?;
    heap::sort(sorted);
    if sorted.windows(2).any(|pair| pair.first() == pair.last()) {
        return Err(Error::Invalid("an id is twice in the batch"));
    }
    Ok(sorted)
}

/// Moves the different ones of ascending ids to the front and returns how many there are.
fn distinct(ids: &mut [u64]) -> usize {
    let (mut kept, mut previous) = (0, None);
    for at in 0..ids.len() {
        let id = ids.get(at).copied();
        if id != previous {
            if let (Some(place), Some(id)) = (ids.get_mut(kept), id) {
                *place = id;
                kept += 1;
            }
            previous = id;
        }
    }
    kept
}
