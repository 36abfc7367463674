// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! The exact scan: every query against every row.
//!
//! Rows are taken in blocks that fit a core's cache, and each block meets all queries, so that a batch of queries reads
//! memory once. The rows' lock is held for one group of queries and one block, at most [`WORK`] elements (well under
//! 100 µs), and between two holds the scan may be rescheduled or stopped. What it returns is the state at its start all the
//! same: later rows are beyond its count, and a row that died later counts as alive (see `collection::rows`).

mod topk;

pub(crate) use topk::Candidate;
pub(crate) use topk::TopK;

use crate::collection::rows::Rows;
use vexfs_host::mem::Vec;
use vexfs_host::relax;
use vexfs_host::sync::RwLock;
use vexfs_host::Error;
use vexfs_host::Result;
use vexfs_simd::Kernels;
use vexfs_simd::Query;

/// Elements of one block of rows: 128 KiB, which every core's L2 holds.
const BLOCK: usize = 32 * 1024;
/// Most rows of one block, which bounds the keys of low-dimensional rows.
const BLOCK_ROWS: usize = 2048;
/// Elements compared between two cooperative points.
const WORK: usize = 256 * 1024;

/// Finds the nearest rows of each query; `tops` has one heap a query. Returns the number of comparisons.
///
/// # Errors
///
/// `NoMemory`; `Interrupted` by a fatal signal.
pub(crate) fn scan(
    kernels: Kernels,
    dim: usize,
    rows: &RwLock<Rows>,
    queries: &[Query<'_>],
    tops: &mut [TopK],
) -> Result<u64> {
    let block_rows = (BLOCK / dim).clamp(1, BLOCK_ROWS);
    let group = (WORK / (block_rows * dim)).clamp(1, 16).min(queries.len().max(1));
    let mut keys = Vec::new();
    keys.resize(block_rows * group, 0u32)?;

    let snapshot = rows.read().snapshot();
    let mut first = 0;
    let mut work = 0;
    while first < snapshot.count {
        let mut block_len = 0;
        for (queries, tops) in queries.chunks(group).zip(tops.chunks_mut(group)) {
            let guard = rows.read();
            let block = guard.block(first, block_rows.min(snapshot.count - first))?;
            block_len = block.ids.len();
            let keys = keys.get_mut(..block_len * queries.len()).ok_or(Error::Overflow)?;
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
                                row: (first + i) as u32,
                            })?;
                        }
                    }
                }
            }
            drop(guard);
            work += block_len * queries.len() * dim;
            if work >= WORK {
                work = 0;
                relax()?;
            }
        }
        first += block_len;
    }
    Ok(snapshot.count as u64 * queries.len() as u64)
}
