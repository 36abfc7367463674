// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! The exact scan of a tail: every query against every row.
//!
//! Rows are taken in blocks that fit a core's cache, and each block meets all queries, so that a batch of queries reads
//! memory once. The rows' lock is held for one group of queries and one block, at most [`WORK`] bytes (well under 100
//! µs), and between two holds the scan may be rescheduled or stopped. A filter takes far longer than comparing, up to
//! milliseconds a row: with one, a hold is for few rows and one query. What the scan returns is the state of its
//! snapshot all the same: later rows are beyond its count, and a row that died later counts as alive (see
//! `crate::tail`).

use super::State;
use super::TAIL;
use crate::filter::Program;
use crate::index::Cost;
use crate::plan::Facts;
use crate::tail::TailSnapshot;
use crate::topk::Candidate;
use crate::topk::TopK;
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
/// Most rows of one block if there is a filter.
const FILTERED_ROWS: usize = 128;
/// Payloads that a filter is applied to between two cooperative points, besides those within one.
const EVALUATED: u64 = 16;

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
    fn new(row_bytes: usize, queries: usize, is_filtered: bool) -> Result<Self> {
        let (rows_max, group_max) = if is_filtered {
            (FILTERED_ROWS, 1)
        } else {
            (BLOCK_ROWS, 16)
        };
        let block = (BLOCK / row_bytes.max(1)).clamp(1, rows_max);
        let group = (WORK / (block * row_bytes.max(1)).max(1))
            .clamp(1, group_max)
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

/// A scan of a tail.
pub(super) struct Scan<'a> {
    pub(super) kernels: Kernels,
    /// The moment that is looked at.
    pub(super) snapshot: TailSnapshot,
    /// What the payload of a row must match.
    pub(super) filter: Option<&'a Program>,
    /// Asked now and then: whether to stop with what has been found.
    pub(super) stop: &'a dyn Fn() -> bool,
}

impl Scan<'_> {
    /// Finds the nearest rows; `tops` has one heap a query.
    ///
    /// # Errors
    ///
    /// `NoMemory`; `Interrupted` by a fatal signal.
    pub(super) fn search(
        &self,
        state: &RwLock<State>,
        queries: &[Query<'_>],
        tops: &mut [TopK<Candidate>],
    ) -> Result<Facts> {
        let count = self.snapshot.count;
        let (mut cost, mut evaluated) = (Cost::default(), 0u64);
        let row_bytes = queries.first().map_or(1, |query| query.bytes().len());
        let mut plan = Plan::new(row_bytes, queries.len(), self.filter.is_some())?;
        let mut first = 0;
        while first < count {
            if (self.stop)() {
                cost.stopped = true;
                break;
            }
            let mut block_len = 0;
            for (queries, tops) in queries.chunks(plan.group).zip(tops.chunks_mut(plan.group)) {
                let guard = state.read();
                let block = guard.rows.block(first, plan.block.min(count - first))?;
                block_len = block.ids.len();
                let keys = plan.keys.get_mut(..block_len * queries.len()).ok_or(Error::Overflow)?;
                self.kernels
                    .scan(queries, &block.vectors, keys)
                    .map_err(|_| Error::Invalid("dimension"))?;
                for (keys, top) in keys.chunks(block_len).zip(tops.iter_mut()) {
                    for (i, key) in keys.iter().enumerate() {
                        if *key > top.limit() {
                            continue;
                        }
                        let (Some(id), Some(died)) = (block.ids.get(i), block.died.get(i)) else {
                            continue;
                        };
                        let row = (first + i) as u32;
                        if !self.snapshot.sees(*died) {
                            continue;
                        }
                        if let Some(filter) = self.filter {
                            evaluated = evaluated.saturating_add(1);
                            if evaluated % EVALUATED == 0 {
                                relax()?;
                            }
                            if !filter.matches(guard.rows.payload(row).unwrap_or_default())? {
                                continue;
                            }
                        }
                        top.push(Candidate {
                            key: *key,
                            id: *id,
                            segment: TAIL,
                            row,
                        })?;
                    }
                }
                drop(guard);
                cost.distances = cost.distances.saturating_add((block_len * queries.len()) as u64);
                plan.did(block_len * queries.len() * row_bytes)?;
            }
            first += block_len;
        }
        let mut facts = Facts::new(count as u64, self.snapshot.live as u64);
        facts.scanned(cost, evaluated);
        Ok(facts)
    }
}
