// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! The exact scan: every query against every row.
//!
//! Rows are taken in blocks that fit a core's cache, and each block meets all queries, so that a batch of queries reads
//! memory once. Of a tail the rows' lock is held for one group of queries and one block, at most [`WORK`] bytes (well under
//! 100 µs), and between two holds the scan may be rescheduled or stopped. What it returns is the state of its snapshot all
//! the same: later rows are beyond its count, and a row that died later counts as alive (see `collection::rows`).

mod topk;

pub(crate) use topk::Candidate;
pub(crate) use topk::TopK;

use crate::collection::rows::Snapshot;
use crate::collection::State;
use crate::collection::TAIL;
use crate::index::Cost;
use crate::index::Nearest;
use crate::index::Scope;
use vexfs_host::mem::Vec;
use vexfs_host::relax;
use vexfs_host::sync::RwLock;
use vexfs_host::Error;
use vexfs_host::Result;
use vexfs_simd::Kernels;
use vexfs_simd::Query;

/// Bytes of one block of rows, which every core's L2 holds.
const BLOCK: usize = 128 * 1024;
/// Most rows of one block, which bounds the keys of short rows.
const BLOCK_ROWS: usize = 2048;
/// Bytes compared between two cooperative points.
const WORK: usize = 1 << 20;

/// How a scan is divided.
struct Plan {
    /// Rows of a block.
    block: usize,
    /// Queries that meet a block in one go.
    group: usize,
    keys: Vec<u32>,
    /// Bytes compared since the last cooperative point.
    work: usize,
}

impl Plan {
    fn new(row_bytes: usize, queries: usize) -> Result<Self> {
        let block = (BLOCK / row_bytes.max(1)).clamp(1, BLOCK_ROWS);
        let group = (WORK / (block * row_bytes.max(1)).max(1))
            .clamp(1, 16)
            .min(queries.max(1));
        let mut keys = Vec::new();
        keys.resize(block * group, 0u32)?;
        Ok(Self {
            block,
            group,
            keys,
            work: 0,
        })
    }

    fn did(&mut self, bytes: usize) -> Result {
        self.work = self.work.saturating_add(bytes);
        if self.work >= WORK {
            self.work = 0;
            relax()?;
        }
        Ok(())
    }
}

/// Finds the nearest rows of a tail; `tops` has one heap a query.
///
/// # Errors
///
/// `NoMemory`; `Interrupted` by a fatal signal.
pub(crate) fn scan(
    kernels: Kernels,
    state: &RwLock<State>,
    snapshot: Snapshot,
    queries: &[Query<'_>],
    stop: &dyn Fn() -> bool,
    tops: &mut [TopK],
) -> Result<Cost> {
    let mut cost = Cost::default();
    let row_bytes = queries.first().map_or(1, |query| query.bytes().len());
    let mut plan = Plan::new(row_bytes, queries.len())?;
    let mut first = 0;
    while first < snapshot.count {
        if stop() {
            cost.stopped = true;
            break;
        }
        let mut block_len = 0;
        for (queries, tops) in queries.chunks(plan.group).zip(tops.chunks_mut(plan.group)) {
            let guard = state.read();
            let block = guard.rows.block(first, plan.block.min(snapshot.count - first))?;
            block_len = block.ids.len();
            let keys = plan.keys.get_mut(..block_len * queries.len()).ok_or(Error::Overflow)?;
            kernels
                .scan(queries, &block.vectors, keys)
                .map_err(|_| Error::Invalid("dimension"))?;
            for (keys, top) in keys.chunks(block_len).zip(tops.iter_mut()) {
                for (i, key) in keys.iter().enumerate() {
                    if *key > top.limit() {
                        continue;
                    }
                    if let (Some(id), Some(died)) = (block.ids.get(i), block.died.get(i)) {
                        if snapshot.sees(*died) {
                            top.offer(Candidate {
                                key: *key,
                                id: *id,
                                segment: TAIL,
                                row: (first + i) as u32,
                            })?;
                        }
                    }
                }
            }
            drop(guard);
            cost.distances = cost.distances.saturating_add((block_len * queries.len()) as u64);
            plan.did(block_len * queries.len() * row_bytes)?;
        }
        first += block_len;
    }
    Ok(cost)
}

/// Finds the nearest rows that a search may see; `nearests` has one heap a query.
///
/// # Errors
///
/// `NoMemory`; `Interrupted` by a fatal signal.
pub(crate) fn scan_rows(scope: &Scope<'_>, queries: &[Query<'_>], nearests: &mut [Nearest]) -> Result<Cost> {
    let mut cost = Cost::default();
    let row_bytes = scope.rows.space().row_bytes();
    let mut plan = Plan::new(row_bytes, queries.len())?;
    let mut first = 0;
    while first < scope.rows.count() {
        if (scope.stop)() {
            cost.stopped = true;
            break;
        }
        let end = first.saturating_add(plan.block).min(scope.rows.count());
        let block = scope.rows.slice(first..end).ok_or(Error::Overflow)?;
        for (queries, nearests) in queries.chunks(plan.group).zip(nearests.chunks_mut(plan.group)) {
            let keys = plan
                .keys
                .get_mut(..block.count() * queries.len())
                .ok_or(Error::Overflow)?;
            scope
                .kernels
                .scan(queries, &block, keys)
                .map_err(|_| Error::Invalid("dimension"))?;
            for (keys, nearest) in keys.chunks(block.count()).zip(nearests.iter_mut()) {
                for (i, key) in keys.iter().enumerate() {
                    let row = (first + i) as u32;
                    if *key <= nearest.limit() && scope.accepts(row) {
                        nearest.offer(*key, row)?;
                    }
                }
            }
            cost.distances = cost.distances.saturating_add((block.count() * queries.len()) as u64);
            plan.did(block.count() * queries.len() * row_bytes)?;
        }
        first = end;
    }
    Ok(cost)
}
