// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! The best-first walk over one level (algorithm 2 of the paper), which building and searching share.
//!
//! A hop takes the nearest node that was not expanded, collects those of its neighbours that were not met, and compares
//! all of them with the query in one call, which knows all rows it will need in advance.

use super::beam::Beam;
use super::measure::Measure;
use super::visited::Visited;
use crate::index::Cost;
use crate::pool::bytes_of;
use vexfs_host::mem::Vec;
use vexfs_host::relax;
use vexfs_host::Result;

/// Hops between two cooperative points: a hop is at most some microseconds.
const HOPS: u64 = 32;

/// One level of a graph. Its nodes are numbered from 0; at level 0 the numbers are those of the rows.
pub(super) trait Layer {
    /// Writes the neighbours of `node` that `visited` had not met to the start of `fresh`, and returns how many they
    /// are.
    fn fresh(&self, node: u32, visited: &mut Visited, fresh: &mut [u32]) -> usize;
    /// A hint that the neighbours of `node` are wanted soon.
    fn prefetch(&self, node: u32);
    /// The rows of the nodes, ascending; `None` at level 0.
    fn rows(&self) -> Option<&[u32]>;
}

/// The memory of a walk.
pub(super) struct Walk {
    pub(super) visited: Visited,
    pub(super) beam: Beam,
    pub(super) fresh: Vec<u32>,
    pub(super) rows: Vec<u32>,
    pub(super) keys: Vec<u32>,
}

impl Walk {
    /// Bytes of memory.
    pub(super) fn memory_bytes(&self) -> u64 {
        self.visited.memory_bytes()
            + self.beam.memory_bytes()
            + bytes_of(&self.fresh)
            + bytes_of(&self.rows)
            + bytes_of(&self.keys)
    }

    /// For levels of at most `count` nodes with at most `degree` neighbours each.
    pub(super) fn new(count: usize, degree: usize) -> Result<Self> {
        let buffer = || -> Result<Vec<u32>> {
            let mut words = Vec::new();
            words.resize(degree, 0)?;
            Ok(words)
        };
        Ok(Self {
            visited: Visited::new(count)?,
            beam: Beam::new(),
            fresh: buffer()?,
            rows: buffer()?,
            keys: buffer()?,
        })
    }

    /// Finds about the `width` nearest nodes of a level, which are in `self.beam` afterwards, from node `entry` with
    /// this key.
    pub(super) fn run(
        &mut self,
        layer: &impl Layer,
        measure: &impl Measure,
        width: usize,
        (key, entry): (u32, u32),
        stop: &dyn Fn() -> bool,
        cost: &mut Cost,
    ) -> Result {
        self.visited.clear();
        self.visited.insert(entry);
        self.beam.reset(width)?;
        self.beam.offer(key, entry);
        let (mut hops, mut compared) = (0u64, 0usize);
        while let Some(node) = self.beam.pop() {
            hops += 1;
            if hops % HOPS == 0 {
                relax()?;
                if stop() {
                    cost.stopped = true;
                    break;
                }
            }
            let count = layer.fresh(node, &mut self.visited, &mut self.fresh);
            if let Some(next) = self.beam.peek() {
                layer.prefetch(next);
            }
            let (Some(fresh), Some(keys)) = (self.fresh.get(..count), self.keys.get_mut(..count)) else {
                break;
            };
            match (layer.rows(), self.rows.get_mut(..count)) {
                (Some(all), Some(rows)) => {
                    for (row, node) in rows.iter_mut().zip(fresh) {
                        *row = all.get(*node as usize).copied().unwrap_or(0);
                    }
                    measure.keys(rows, keys)?;
                }
                _ => measure.keys(fresh, keys)?,
            }
            compared = compared.saturating_add(count);
            for (key, node) in keys.iter().zip(fresh) {
                if *key <= self.beam.limit() {
                    self.beam.offer(*key, *node);
                }
            }
        }
        cost.hops = cost.hops.saturating_add(hops);
        measure.count(compared, cost);
        Ok(())
    }
}
