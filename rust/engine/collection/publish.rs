// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! Replacing what a collection consists of, in one transaction.
//!
//! New files first: the segment (which the caller has written), a tombstone file for each segment of which the old tail
//! ended rows, and a new tail with the live rows that are in no segment. Then the collection item changes, and with it
//! everything at once. Before that a crash leaves the new files unused, afterwards the old ones; either are removed
//! with the next change. Ids stay; the numbers of records begin at 1 again.

use super::item::Entry;
use super::item::Item;
use super::record;
use super::record::Change;
use super::record::Header;
use super::record::Insert;
use super::tombstones;
use super::Collection;
use super::Dead;
use super::State;
use super::TailEnd;
use super::Version;
use super::Writer;
use crate::index::IndexParams;
use crate::segment::Segment;
use crate::tail::NewRows;
use crate::tail::TailRows;
use crate::Ino;
use crate::Time;
use crate::Txg;
use vexfs_host::log;
use vexfs_host::mem::U64Map;
use vexfs_host::mem::Vec;
use vexfs_host::relax;
use vexfs_host::sync::Arc;
use vexfs_host::Error;
use vexfs_host::Result;

/// A shorter tail is not worth rewriting.
const TAIL_MIN: u64 = 1 << 20;
/// Bytes of vectors and payloads in one record of a new tail, unless a single row has more.
const RECORD: usize = 1 << 20;
/// TailRows of one record of a new tail.
const RECORD_ROWS: usize = 4096;

/// What a publication changes.
#[derive(Default)]
pub(super) struct Update {
    /// The files of segments that are no more.
    pub(super) gone: Vec<Ino>,
    /// A new segment, and which of its rows are dead.
    pub(super) new: Option<(Arc<Segment>, Dead)>,
    /// The live rows of the tail are in the new segment.
    pub(super) sealed: bool,
    /// The index that segments are to have from now on.
    pub(super) index: Option<IndexParams>,
    /// More is freed than written: the new tail may use the reserve of a full device.
    pub(super) urgent: bool,
}

/// A group of rows on its way into a new tail.
#[derive(Default)]
struct Group {
    ids: Vec<u64>,
    vectors: Vec<u8>,
    payload_lens: Vec<u32>,
    payloads: Vec<u8>,
    inv_norms: Vec<u32>,
}

impl Group {
    fn clear(&mut self) {
        self.ids.clear();
        self.vectors.clear();
        self.payload_lens.clear();
        self.payloads.clear();
    }

    fn is_full(&self) -> bool {
        self.ids.len() >= RECORD_ROWS || self.vectors.len() + self.payloads.len() >= RECORD
    }

    fn push(&mut self, rows: &TailRows, row: u32, id: u64) -> Result {
        let gone = Error::Invalid("no such row");
        let payload = rows.payload(row).ok_or(gone)?;
        self.ids.push(id)?;
        self.vectors.extend_from_slice(rows.vector(row).ok_or(gone)?)?;
        self.payload_lens.push(payload.len() as u32)?;
        self.payloads.extend_from_slice(payload)
    }
}

/// A tail that is being made.
struct NewTail {
    file: Ino,
    rows: TailRows,
    index: U64Map<u32>,
    end: TailEnd,
    record: Vec<u8>,
    urgent: bool,
}

impl Collection {
    /// Rewrites the tail if most of it is dead. A failure is logged and changes nothing.
    pub(super) fn rewrite_if_wasteful(&self, writer: &mut Writer) {
        let (Some(end), Some(version)) = (&mut writer.end, self.version.read().clone()) else {
            return;
        };
        let (live, dead) = {
            let rows = &version.state.read().rows;
            (rows.live(), rows.count().saturating_sub(rows.live()))
        };
        drop(version);
        if end.len < TAIL_MIN.max(end.rewrite_at) || dead.saturating_add(end.deletes) <= live {
            return;
        }
        // Whatever happens: not again before the tail has grown by a quarter.
        end.rewrite_at = end.len + end.len / 4;
        let update = Update {
            urgent: true,
            ..Update::default()
        };
        if let Err(e) = self.publish(writer, update) {
            log!(
                warn,
                "collection {}: the space of deleted rows stays taken: {}",
                self.dir,
                e
            );
        }
        self.remove_leftovers(writer);
    }

    /// Makes the changes, and a new tail without what is dead or sealed. The version must be loaded.
    ///
    /// # Errors
    ///
    /// Those of writing, after which nothing has changed.
    #[inline(never)] // own frame
    pub(super) fn publish(&self, writer: &mut Writer, update: Update) -> Result<Txg> {
        let version = self.version.read().clone().ok_or(Error::Overflow)?;
        let Some(end) = &mut writer.end else {
            return Err(Error::Overflow);
        };
        // From here on there are files that may have to be removed.
        end.is_alone = false;
        let (empty, next_id) = (end.len == 0, end.next_id);
        let mut item = writer.item.try_clone()?;
        item.index = update.index.unwrap_or(item.index);
        item.next_id = next_id;
        let (segments, dead) = self.next_segments(&mut item, &version, &update)?;
        let (state, index, end) = match empty {
            // The file can stay: nothing is in it.
            true => {
                let rows = TailRows::new(&self.params.space());
                (State { rows, dead }, U64Map::new(), self.tail_end(next_id))
            }
            false => {
                item.tail = self.fs.create_hidden(self.dir, Time::now())?;
                let mut tail = NewTail {
                    file: item.tail,
                    rows: TailRows::new(&self.params.space()),
                    index: U64Map::new(),
                    end: self.tail_end(next_id),
                    record: Vec::new(),
                    urgent: update.urgent,
                };
                if !update.sealed {
                    self.copy_live(&version, &mut tail)?;
                }
                let NewTail { rows, index, end, .. } = tail;
                (State { rows, dead }, index, end)
            }
        };
        let new_image = Version::new(&self.context, &item, segments, state, index)?;
        let txg = self.fs.update_collection(self.dir, &item.encode()?)?;
        writer.item = item;
        writer.end = Some(TailEnd { txg, ..end });
        let before = self.version.write().replace(new_image);
        drop(before);
        Ok(txg)
    }

    fn tail_end(&self, next_id: u64) -> TailEnd {
        TailEnd {
            len: 0,
            next_id,
            txg: 0,
            rewrite_at: 0,
            deletes: 0,
            is_alone: false,
        }
    }

    /// Changes the segments of an item, and writes their tombstones.
    #[inline(never)]
    fn next_segments(
        &self,
        item: &mut Item,
        version: &Version,
        update: &Update,
    ) -> Result<(Vec<Arc<Segment>>, Vec<Dead>)> {
        let (_, old_dead) = version.snapshot()?;
        let count = item.segments.len().saturating_add(1);
        let (mut entries, mut segments, mut dead) = (
            Vec::with_capacity(count)?,
            Vec::with_capacity(count)?,
            Vec::with_capacity(count)?,
        );
        let mut add = |entry: Entry, segment: &Arc<Segment>, of_segment: Dead| -> Result {
            // One without live rows is not needed any more.
            if of_segment.count < entry.rows {
                entries.push(self.with_tombstones(entry, &of_segment)?)?;
                segments.push(segment.clone())?;
                dead.push(of_segment)?;
            }
            Ok(())
        };
        for ((entry, segment), of_segment) in item.segments.iter().zip(&version.segments).zip(old_dead) {
            if !update.gone.contains(&entry.file) {
                add(*entry, segment, of_segment)?;
            }
        }
        if let Some((segment, of_segment)) = &update.new {
            let header = segment.header();
            let entry = Entry {
                file: segment.ino(),
                tombstones: 0,
                number: header.number,
                rows: header.rows,
                dead: 0,
            };
            add(entry, segment, of_segment.clone())?;
        }
        item.segments = entries;
        Ok((segments, dead))
    }

    /// The entry with the dead rows that there are now.
    fn with_tombstones(&self, entry: Entry, dead: &Dead) -> Result<Entry> {
        let Some(rows) = dead.rows.as_ref().filter(|_| dead.count != entry.dead) else {
            return Ok(entry);
        };
        let file = self.fs.create_hidden(self.dir, Time::now())?;
        tombstones::write(&self.context, file, entry.file, rows)?;
        Ok(Entry {
            tombstones: file,
            dead: dead.count,
            ..entry
        })
    }

    /// Copies the live rows of the tail to a new one, in their order.
    #[inline(never)]
    fn copy_live(&self, version: &Version, tail: &mut NewTail) -> Result {
        let mut group = Group::default();
        let (mut row, count) = {
            let rows = &version.state.read().rows;
            tail.index.reserve(rows.live())?;
            (0, rows.count())
        };
        while row < count {
            group.clear();
            {
                let old = &version.state.read().rows;
                while row < count && !group.is_full() {
                    match old.identity(row as u32) {
                        Some((id, 0)) => group.push(old, row as u32, id)?,
                        Some(_) => {}
                        None => return Err(Error::Invalid("no such row")),
                    }
                    row += 1;
                }
            }
            if !group.ids.is_empty() {
                self.copy_group(&mut group, tail)?;
            }
            relax()?;
        }
        Ok(())
    }

    fn copy_group(&self, group: &mut Group, tail: &mut NewTail) -> Result {
        self.inv_norms(&group.vectors, &mut group.inv_norms)?;
        let payloads = !group.payloads.is_empty();
        let payload_lens = if payloads { &group.payload_lens[..] } else { &[] };
        let change = Change::Insert {
            upsert: false,
            payloads,
        };
        let NewTail {
            file,
            rows,
            index,
            end,
            record,
            urgent,
        } = tail;
        let header = Header {
            change,
            seq: rows.seq() + 1,
            next_id: end.next_id,
            count: group.ids.len(),
            dim: self.params.dim(),
            row_bytes: self.params.row_bytes(),
            payload_bytes: group.payloads.len(),
            live: rows.live() + group.ids.len(),
            killed: 0,
            body_csum: 0,
        };
        let insert = Insert {
            ids: &group.ids,
            vectors: &group.vectors,
            payload_lens,
            payloads: &group.payloads,
        };
        record::write_insert(record, &header, &insert)?;
        record::seal(record, header, *file);
        match *urgent {
            true => self.fs.write_urgent(*file, end.len, record, Time::now())?,
            false => self.fs.write(*file, end.len, record, Time::now())?,
        };
        end.len += record.len() as u64;
        let new = NewRows {
            ids: &group.ids,
            vectors: &group.vectors,
            inv_norms: &group.inv_norms,
            payload_lens,
            payloads: &group.payloads,
        };
        rows.reserve(&new)?;
        rows.append(index, header.seq, &new)?;
        Ok(())
    }
}
