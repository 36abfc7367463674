// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! What a walk compares: one query with many rows, by full vectors or by codes.

use crate::index::Cost;
use vexfs_host::Error;
use vexfs_host::Result;
use vexfs_simd::Kernels;
use vexfs_simd::Query;
use vexfs_simd::Rows;

/// A query that rows can be compared with.
pub(super) trait Measure {
    /// Writes the key of each of the rows. `keys` is as long as `rows`.
    fn keys(&self, rows: &[u32], keys: &mut [u32]) -> Result;
    /// Accounts for so many rows compared.
    fn count(&self, rows: usize, cost: &mut Cost);
}

/// The full vectors.
pub(super) struct Full<'a> {
    pub(super) kernels: Kernels,
    pub(super) query: Query<'a>,
    pub(super) rows: Rows<'a>,
}

impl Measure for Full<'_> {
    #[inline]
    fn keys(&self, rows: &[u32], keys: &mut [u32]) -> Result {
        self.kernels
            .gather(&self.query, &self.rows, rows, keys)
            .map_err(|_| Error::Invalid("the query does not fit the rows"))
    }

    #[inline]
    fn count(&self, rows: usize, cost: &mut Cost) {
        cost.distances = cost.distances.saturating_add(rows as u64);
    }
}
