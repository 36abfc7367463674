// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! What every estimate of a search's cost is made of.
//!
//! Costs are nanoseconds on one core of a 2.x GHz AVX2 machine, with vectors that are in memory and not in its caches;
//! only their relations matter, which are much the same elsewhere. They were measured on 50,000 vectors of 128 f32
//! (SIFT, l2) and 20,000 of 384 (sentences, cosine), with 16 neighbours a node: scanning 25,000 and 2,000 random rows,
//! and searching the graph with widths 32, 64 and 128 for half of the rows, a tenth and a hundredth.

use vexfs_simd::Space;

/// A code of a product quantizer compared by tables.
const CODE_NS: u64 = 2;

/// `a * b / c`, rounded down; `u64::MAX` if it does not fit or `c` is 0.
pub(crate) fn scale(a: u64, b: u64, c: u64) -> u64 {
    match a.checked_mul(b) {
        Some(product) => product.checked_div(c).unwrap_or(u64::MAX),
        None => a.checked_div(c).map_or(u64::MAX, |share| share.saturating_mul(b)),
    }
}

/// The segment that is searched, as far as costs depend on it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Costs {
    /// Rows.
    pub(crate) rows: u64,
    /// Bytes of a vector.
    pub(crate) bytes: u64,
    /// Elements of a vector.
    pub(crate) dim: u64,
}

impl Costs {
    pub(crate) fn new(space: &Space, rows: u64) -> Self {
        Self {
            rows,
            bytes: space.row_bytes() as u64,
            dim: space.dim() as u64,
        }
    }

    /// Comparing a row of a list of row numbers: 25 ns for 512 bytes, 56 for 1,536.
    pub(crate) fn row(&self) -> u64 {
        10 + self.bytes * 3 / 100
    }

    /// Comparing a row that a graph leads to by so many bytes, its share of edges, heaps and visited rows included: 67
    /// ns for 512 bytes, 117 for 1,536.
    pub(crate) fn node(&self, bytes: u64) -> u64 {
        42 + bytes / 20
    }

    /// Comparing so many rows.
    pub(crate) fn scan(&self, rows: u64) -> u64 {
        rows.saturating_mul(self.row())
    }

    /// Comparing so many codes of a product quantizer.
    pub(crate) fn codes(&self, rows: u64) -> u64 {
        rows.saturating_mul(CODE_NS)
    }

    /// Compared rows that take as long.
    pub(crate) fn in_rows(&self, cost: u64) -> u64 {
        cost.checked_div(self.row()).unwrap_or(u64::MAX)
    }
}
