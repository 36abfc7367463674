// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! The exact way: queries against every row that may be found.
//!
//! Rows are taken in blocks that fit a core's cache, and each block meets all queries, so that a batch of queries reads
//! memory once.

use super::View;
use crate::bits::Bits;
use crate::index::Cost;
use crate::index::Nearest;
use vexfs_host::mem::Vec;
use vexfs_host::relax;
use vexfs_host::Error;
use vexfs_host::Result;
use vexfs_simd::Query;

/// Bytes of one block of rows, which every core's L2 holds.
const BLOCK: usize = 128 * 1024;
/// Most rows of one block, which bounds the keys of short rows.
const BLOCK_ROWS: usize = 2048;
/// Bytes compared between two cooperative points: some tens of microseconds.
const WORK: usize = 512 * 1024;
/// Most queries that meet a block together, which bounds the keys.
const GROUP: usize = 16;

const SHAPE: Error = Error::Invalid("vectors of another dimension");

/// Rows of a segment between two cooperative points.
struct Scan<'v, 'a> {
    view: &'v View<'a>,
    block_rows: usize,
    keys: Vec<u32>,
    work: usize,
    cost: Cost,
}

/// Offers all rows that are accepted (all if `None`) to each query's heap.
pub(super) fn search(
    view: &View<'_>,
    accept: Option<&Bits>,
    queries: &[Query<'_>],
    nearest: &mut [Nearest],
    cost: &mut Cost,
) -> Result {
    let block_rows = BLOCK
        .checked_div(view.rows.space().row_bytes())
        .unwrap_or(0)
        .clamp(1, BLOCK_ROWS);
    let mut keys = Vec::new();
    keys.resize(block_rows.saturating_mul(queries.len().min(GROUP)), 0)?;
    let mut scan = Scan {
        view,
        block_rows,
        keys,
        work: 0,
        cost: Cost::default(),
    };
    match accept {
        None => scan.all(queries, nearest)?,
        Some(accept) => scan.accepted(accept, queries, nearest)?,
    }
    *cost += scan.cost;
    Ok(())
}

impl Scan<'_, '_> {
    fn all(&mut self, queries: &[Query<'_>], nearest: &mut [Nearest]) -> Result {
        let count = self.view.rows.count();
        let mut first = 0;
        while first < count && !self.cost.stopped {
            let end = count.min(first + self.block_rows);
            self.range(first, end, None, queries, nearest)?;
            first = end;
        }
        Ok(())
    }

    /// Takes stretches of rows as they lie where most of them are accepted, and gathers the others.
    fn accepted(&mut self, accept: &Bits, queries: &[Query<'_>], nearest: &mut [Nearest]) -> Result {
        let words_a_block = (self.block_rows / 64).max(1);
        let mut ids: Vec<u32> = Vec::with_capacity(self.block_rows.saturating_add(64 * words_a_block))?;
        let mut first = 0usize;
        for words in accept.words().chunks(words_a_block) {
            let end = first.saturating_add(64 * words.len()).min(accept.len());
            let count = words.iter().map(|word| word.count_ones() as usize).sum::<usize>();
            // Reading a row that lies behind the one before costs about two thirds of reading one picked by number
            // (measured: 128 f32, rows beyond the caches).
            if 3 * count >= 2 * end.saturating_sub(first) {
                let mut from = first;
                while from < end {
                    let to = end.min(from + self.block_rows);
                    self.range(from, to, Some(accept), queries, nearest)?;
                    from = to;
                }
            } else {
                for (word, start) in words.iter().zip((first as u32..).step_by(64)) {
                    let mut rest = *word;
                    while rest != 0 {
                        ids.push(start + rest.trailing_zeros())?;
                        rest &= rest - 1;
                    }
                }
            }
            first = end;
            while ids.len() >= self.block_rows && !self.cost.stopped {
                let from = ids.len() - self.block_rows;
                let some = ids.get(from..).unwrap_or_default();
                self.gather(some, queries, nearest)?;
                ids.truncate(from);
            }
            if self.cost.stopped {
                return Ok(());
            }
        }
        for some in ids.chunks(self.block_rows.max(1)) {
            self.gather(some, queries, nearest)?;
        }
        Ok(())
    }

    /// Compares rows that follow each other.
    fn range(
        &mut self,
        first: usize,
        end: usize,
        accept: Option<&Bits>,
        queries: &[Query<'_>],
        nearest: &mut [Nearest],
    ) -> Result {
        let rows = self.view.rows.slice(first..end).ok_or(SHAPE)?;
        for (queries, nearest) in queries.chunks(GROUP).zip(nearest.chunks_mut(GROUP)) {
            let keys = self.keys.get_mut(..rows.count() * queries.len()).ok_or(SHAPE)?;
            self.view.kernels.scan(queries, &rows, keys).map_err(|_| SHAPE)?;
            for (keys, nearest) in keys.chunks(rows.count().max(1)).zip(nearest) {
                for (key, row) in keys.iter().zip(first as u32..) {
                    if *key <= nearest.limit() && accept.is_none_or(|accept| accept.get(row)) {
                        nearest.offer(*key, row)?;
                    }
                }
            }
            self.done(rows.count(), queries.len())?;
        }
        Ok(())
    }

    /// Compares rows picked by number.
    fn gather(&mut self, ids: &[u32], queries: &[Query<'_>], nearest: &mut [Nearest]) -> Result {
        for (queries, nearest) in queries.chunks(GROUP).zip(nearest.chunks_mut(GROUP)) {
            let keys = self.keys.get_mut(..ids.len()).ok_or(SHAPE)?;
            for (query, nearest) in queries.iter().zip(nearest) {
                let gathered = self.view.kernels.gather(query, &self.view.rows, ids, keys);
                gathered.map_err(|_| SHAPE)?;
                for (key, row) in keys.iter().zip(ids) {
                    if *key <= nearest.limit() {
                        nearest.offer(*key, *row)?;
                    }
                }
            }
            self.done(ids.len(), queries.len())?;
        }
        Ok(())
    }

    fn done(&mut self, rows: usize, queries: usize) -> Result {
        let compared = rows.saturating_mul(queries);
        self.cost.distances = self.cost.distances.saturating_add(compared as u64);
        let bytes = compared.saturating_mul(self.view.rows.space().row_bytes());
        self.work = self.work.saturating_add(bytes);
        if self.work >= WORK {
            self.work = 0;
            self.cost.stopped |= (self.view.stop)();
            relax()?;
        }
        Ok(())
    }
}
