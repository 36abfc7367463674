// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! The order in which lists are looked into: by the distance of their centroids.

use super::lists::Lists;
use super::select::select;
use crate::heap;
use crate::kmeans::fits;
use crate::pool::bytes_of;
use vexfs_host::mem::Vec;
use vexfs_host::Result;
use vexfs_simd::quant::LANES;
use vexfs_simd::Kernels;

/// The lists by the distance of their centroids from a query.
///
/// # Invariants
///
/// The first `sorted` entries, `key << 32 | list` each, are the smallest, in order.
pub(crate) struct Probes {
    keys: Vec<u32>,
    order: Vec<u64>,
    sorted: usize,
}

impl Probes {
    /// Bytes of memory.
    pub(crate) fn memory_bytes(&self) -> u64 {
        bytes_of(&self.keys) + bytes_of(&self.order)
    }

    /// Memory for the lists.
    pub(crate) fn new(lists: &Lists) -> Result<Self> {
        let mut probes = Self {
            keys: Vec::new(),
            order: Vec::with_capacity(lists.count())?,
            sorted: 0,
        };
        probes.keys.resize(lists.count().div_ceil(LANES) * LANES, 0)?;
        Ok(probes)
    }

    /// Finds the `first` nearest lists of a vector; more are found when they are asked for.
    pub(crate) fn rank(&mut self, kernels: &Kernels, lists: &Lists, vector: &[u32], first: usize) -> Result {
        fits(kernels.centroid_keys(vector, &lists.panels()?, lists.l2(), &mut self.keys))?;
        self.order.clear();
        for (list, key) in self.keys.iter().take(lists.count()).enumerate() {
            self.order.push(u64::from(*key) << 32 | list as u64)?;
        }
        self.sorted = 0;
        self.sort_to(first);
        Ok(())
    }

    fn sort_to(&mut self, end: usize) {
        let from = self.sorted;
        self.sorted = end.min(self.order.len());
        if let Some(rest) = self.order.get_mut(from..) {
            let more = self.sorted.saturating_sub(from);
            select(rest, more);
            heap::sort(rest.get_mut(..more).unwrap_or_default());
        }
    }

    /// The key and the number of the `i`-th nearest list.
    pub(crate) fn get(&mut self, i: usize) -> Option<(u32, usize)> {
        if i >= self.sorted && i < self.order.len() {
            self.sort_to((i + 1).saturating_mul(2));
        }
        self.order
            .get(i)
            .map(|entry| ((entry >> 32) as u32, *entry as u32 as usize))
    }
}
