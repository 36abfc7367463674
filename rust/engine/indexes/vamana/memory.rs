// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! Searching with everything in memory: lists of neighbours here, full vectors where all rows are.
//!
//! With a filter the walk goes through all rows and is wider the fewer are accepted; where it would compare most of
//! them, they are compared without it.

use super::format::bad;
use super::format::Shape;
use super::format::NONE;
use crate::graph::Beam;
use crate::graph::Visited;
use crate::index::Cost;
use crate::index::Nearest;
use crate::index::Scope;
use crate::pool::bytes_of;
use crate::pool::Weighed;
use vexfs_host::mem::Buffer;
use vexfs_host::mem::Vec;
use vexfs_host::relax;
use vexfs_host::Error;
use vexfs_host::Result;
use vexfs_simd::Query;

/// Hops between two cooperative points.
const HOPS: u64 = 16;
/// Rows compared at once by a scan.
const BATCH: usize = 256;

/// Lists of neighbours by row.
///
/// # Invariants
///
/// `lists` has `degree` words a row, each below the number of rows or [`NONE`].
pub(super) struct Memory {
    pub(super) lists: Buffer,
}

/// What a walk is for.
pub(super) struct Ask<'a> {
    pub(super) shape: &'a Shape,
    pub(super) scope: &'a Scope<'a>,
    pub(super) query: &'a Query<'a>,
    pub(super) width: usize,
}

/// The memory of a search.
pub(super) struct Scratch {
    visited: Visited,
    beam: Beam,
    pub(super) ids: Vec<u32>,
    pub(super) keys: Vec<u32>,
}

impl Weighed for Scratch {
    fn memory_bytes(&self) -> u64 {
        self.visited.memory_bytes() + self.beam.memory_bytes() + bytes_of(&self.ids) + bytes_of(&self.keys)
    }
}

impl Scratch {
    pub(super) fn new(shape: &Shape) -> Result<Self> {
        Ok(Self {
            visited: Visited::new(shape.rows)?,
            beam: Beam::new(),
            ids: Vec::with_capacity(shape.degree.max(BATCH))?,
            keys: Vec::new(),
        })
    }
}

impl Memory {
    /// Checks the lists.
    pub(super) fn open(shape: &Shape, lists: Buffer) -> Result<Self> {
        if Some(lists.len()) != shape.rows.checked_mul(shape.list_words() * 4) {
            return Err(bad("vamana: length of the graph"));
        }
        for part in lists.as_u32s().chunks(1 << 16) {
            let rows = shape.rows as u32;
            if part.iter().any(|node| *node >= rows && *node != NONE) {
                return Err(bad("vamana: neighbour"));
            }
            relax()?;
        }
        Ok(Self { lists })
    }

    /// Walks from the entry and offers the nearest accepted rows.
    pub(super) fn walk(&self, ask: &Ask<'_>, nearest: &mut Nearest, scratch: &mut Scratch) -> Result<Cost> {
        let Ask {
            shape,
            scope,
            query,
            width,
        } = *ask;
        let Scratch {
            visited,
            beam,
            ids,
            keys,
        } = scratch;
        let lists = self.lists.as_u32s();
        let fits = |_| Error::Invalid("the query does not fit the rows");
        let mut cost = Cost::default();
        visited.clear();
        beam.reset(width)?;
        let mut offer = |key: u32, row: u32| -> Result {
            if scope.accept.is_some_and(|accept| accept.get(row)) {
                nearest.offer(key, row)?;
            }
            Ok(())
        };
        visited.insert(shape.entry);
        let mut key = [0];
        scope
            .kernels
            .gather(query, &scope.rows, &[shape.entry], &mut key)
            .map_err(fits)?;
        let [key] = key;
        beam.offer(key, shape.entry);
        offer(key, shape.entry)?;
        let mut compared = 1;
        let mut hops = 0;
        while let Some(node) = beam.pop() {
            hops += 1;
            if hops % HOPS == 0 {
                relax()?;
                if (scope.stop)() {
                    cost.stopped = true;
                    break;
                }
            }
            let start = node as usize * shape.list_words();
            let list = lists.get(start..start + shape.list_words()).unwrap_or_default();
            ids.clear();
            for neighbour in list {
                if *neighbour == NONE {
                    break;
                }
                if visited.insert(*neighbour) {
                    ids.push(*neighbour)?;
                }
            }
            if let Some(next) = beam.peek() {
                let start = next as usize * shape.list_words();
                for line in lists
                    .get(start..start + shape.list_words())
                    .unwrap_or_default()
                    .chunks(16)
                {
                    if let Some(first) = line.first() {
                        vexfs_simd::prefetch(first);
                    }
                }
            }
            keys.resize(ids.len(), 0)?;
            scope.kernels.gather(query, &scope.rows, ids, keys).map_err(fits)?;
            compared += ids.len();
            for (key, row) in keys.iter().zip(ids.iter()) {
                if *key <= beam.limit() {
                    beam.offer(*key, *row);
                }
                if scope.accept.is_some() {
                    offer(*key, *row)?;
                }
            }
        }
        cost.hops += hops;
        cost.distances += compared as u64;
        if scope.accept.is_none() {
            for (key, row) in beam.iter() {
                nearest.offer(key, row)?;
            }
        }
        Ok(cost)
    }
}
