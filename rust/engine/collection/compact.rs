// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! Giving the space of dead rows back: the live rows are written to a new tail, which replaces the old one.
//!
//! The replacement is one transaction that changes the collection item. Before it, a crash leaves the new file unused,
//! after it the old one; either is removed with the next change. Ids stay; record numbers begin at 1 again.
//!
//! It happens when more rows are dead than alive in a tail of some size. So the tail is at most about twice as long as its
//! live rows need, and rewriting a row is paid for by the change that killed another one.

use super::record;
use super::record::Change;
use super::record::Header;
use super::record::Insert;
use super::rows::NewRows;
use super::rows::Rows;
use super::Collection;
use super::Image;
use super::TailEnd;
use super::Writer;
use crate::Ino;
use crate::Time;
use vexfs_host::log;
use vexfs_host::mem::U64Map;
use vexfs_host::mem::Vec;
use vexfs_host::relax;
use vexfs_host::sync::Arc;
use vexfs_host::Error;
use vexfs_host::Result;
use zerocopy::IntoBytes as _;

/// A shorter tail is not worth rewriting.
const TAIL_MIN: u64 = 1 << 20;
/// Bytes of vectors and payloads in one record of a new tail, unless a single row has more.
const RECORD: usize = 1 << 20;
/// Rows of one record of a new tail.
const RECORD_ROWS: usize = 4096;

/// A group of rows on its way into the new tail.
#[derive(Default)]
struct Group {
    ids: Vec<u64>,
    vectors: Vec<u32>,
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
        self.ids.len() >= RECORD_ROWS || self.vectors.len() * 4 + self.payloads.len() >= RECORD
    }

    fn push(&mut self, rows: &Rows, row: u32, id: u64) -> Result {
        let gone = Error::Invalid("no such row");
        let payload = rows.payload(row).ok_or(gone)?;
        self.ids.push(id)?;
        self.vectors.extend_from_slice(rows.vector(row).ok_or(gone)?)?;
        self.payload_lens.push(payload.len() as u32)?;
        self.payloads.extend_from_slice(payload)
    }
}

impl Collection {
    /// Rewrites the tail if most of it is dead. A failure is logged and changes nothing.
    pub(super) fn rewrite_if_wasteful(&self, writer: &mut Writer, image: &Arc<Image>) {
        let Some(end) = &mut writer.end else { return };
        let (live, count) = {
            let rows = image.rows.read();
            (rows.live(), rows.count())
        };
        if end.len < TAIL_MIN.max(end.rewrite_at) || count - live <= live {
            return;
        }
        // Whatever happens: not again before the tail has grown by a quarter.
        end.rewrite_at = end.len + end.len / 4;
        if let Err(e) = self.rewrite(writer, image) {
            log!(
                warn,
                "collection {}: the space of deleted rows stays taken: {}",
                self.dir,
                e
            );
        }
    }

    #[inline(never)] // Its frame is not to be part of every caller's.
    fn rewrite(&self, writer: &mut Writer, image: &Image) -> Result {
        let next_id = writer.end.as_ref().map_or(0, |end| end.next_id);
        let file = self.fs.create_hidden(self.dir, Time::now())?;
        let switched = self.copy_live(image, file, next_id).and_then(|(new, end)| {
            let item = self.params.encode(file, next_id)?;
            let txg = self.fs.update_collection(self.dir, &item)?;
            Ok((new, TailEnd { txg, ..end }))
        });
        let unused = match switched {
            Ok((new, end)) => {
                let old = core::mem::replace(&mut writer.tail, file);
                writer.first_next_id = next_id;
                writer.end = Some(end);
                self.account(Some(&new));
                *self.image.write() = Some(new);
                Ok(old)
            }
            Err(e) => Err((file, e)),
        };
        let (file, result) = match unused {
            Ok(old) => (old, Ok(())),
            Err((new, e)) => (new, Err(e)),
        };
        if let Err(e) = self.remove_hidden(file) {
            log!(
                warn,
                "collection {}: an unused file is removed with the next change: {}",
                self.dir,
                e
            );
        }
        result
    }

    /// Copies the live rows to `file` and to a new image, in their order.
    #[inline(never)]
    fn copy_live(&self, image: &Image, file: Ino, next_id: u64) -> Result<(Arc<Image>, TailEnd)> {
        let mut rows = Rows::new(&self.params);
        let mut index = U64Map::new();
        index.reserve(image.rows.read().live())?;
        let mut end = TailEnd {
            len: 0,
            next_id,
            txg: 0,
            rewrite_at: 0,
            is_alone: false,
        };
        let mut group = Group::default();
        let mut words = Vec::new();
        let mut row = 0;
        let count = image.rows.read().count();
        while row < count {
            group.clear();
            {
                let old = image.rows.read();
                while row < count && !group.is_full() {
                    match old.identity(row as u32) {
                        Some((id, 0)) => group.push(&old, row as u32, id)?,
                        Some(_) => {}
                        None => return Err(Error::Invalid("no such row")),
                    }
                    row += 1;
                }
            }
            if !group.ids.is_empty() {
                self.copy_group(&mut group, &mut rows, &mut index, &mut words, file, &mut end)?;
            }
            relax()?;
        }
        Ok((Image::new(rows, index)?, end))
    }

    fn copy_group(
        &self,
        group: &mut Group,
        rows: &mut Rows,
        index: &mut U64Map<u32>,
        words: &mut Vec<u32>,
        file: Ino,
        end: &mut TailEnd,
    ) -> Result {
        self.inv_norms(&group.vectors, &mut group.inv_norms)?;
        let payloads = !group.payloads.is_empty();
        let payload_lens = if payloads { &group.payload_lens[..] } else { &[] };
        let change = Change::Insert {
            upsert: false,
            payloads,
        };
        let (count, dim) = (group.ids.len(), self.params.dim());
        let header = Header {
            change,
            seq: rows.seq() + 1,
            next_id: end.next_id,
            count,
            dim,
            payload_bytes: group.payloads.len(),
            live: rows.live() + count,
            body_csum: 0,
        };
        let insert = Insert {
            ids: &group.ids,
            vectors: &group.vectors,
            payload_lens,
            payloads: &group.payloads,
        };
        record::write_insert(words, &header, &insert)?;
        record::seal(words, header, file);
        self.fs.write(file, end.len, words.as_bytes(), Time::now())?;
        end.len += 4 * words.len() as u64;
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
