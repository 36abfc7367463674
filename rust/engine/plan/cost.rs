// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! What the ways to search a segment cost a query, from counts.
//!
//! The figures are nanoseconds on one core of a 2.x GHz AVX2 machine, with vectors that are in memory and not in its caches; only
//! their relations matter, which are much the same elsewhere. They were measured on 50,000 vectors of 128 f32 (SIFT, l2) and
//! 20,000 of 384 (sentences, cosine), with 16 neighbours a node: scanning 25,000 and 2,000 random rows, and searching the graph
//! with widths 32, 64 and 128 for half of the rows, a tenth and a hundredth.

use crate::fields::Estimate;
use crate::index::Codes;
use crate::index::IndexParams;
use crate::index::Kind;
use crate::index::Knobs;
use crate::ivf;
use vexfs_simd::Space;

/// The width of a graph search without `ef`, and the neighbours of a node without `m`.
const EF: u64 = 64;
const M: u64 = 16;
/// Rows that a graph search compares for each unit of its width, and besides: 992 at width 64 and 1,640 at width 128 of 128
/// dimensions, 1,139 and 2,006 of 384.
const COMPARED_PER_EF: u64 = 12;
const COMPARED_FIXED: u64 = 220;
/// How many more rows are compared for each that does not match, in percent: at width 32, 977 if a half matches, 1,419 if
/// three tenths do and 2,546 if 13 % do, instead of 608.
const PASSED_PERCENT: u64 = 55;
/// Looking at an edge when a walk leaps over rows that do not match: a hop took 1.6 µs for 32 * 32 of them.
const LEAP_EDGE_TENTHS: u64 = 16;
/// A walk leaps if fewer than one row in so many matches (`hnsw::filtered`).
const LEAP_BELOW: u64 = 8;
/// A code of a product quantizer compared by tables.
const CODE_NS: u64 = 2;
/// Candidates compared by vectors after a search by codes, as a multiple of k.
const RERANK: u64 = 10;
/// The share of its rows that a hash index looks at: one in so many.
const HASHED: u64 = 16;
/// A payload fetched and evaluated.
const EVALUATE_NS: u64 = 250;
/// The most candidates that are looked for when payloads decide afterwards.
const CANDIDATES_MAX: u64 = 4096;

/// `a * b / c`, rounded down; `u64::MAX` if it does not fit or `c` is 0.
fn scale(a: u64, b: u64, c: u64) -> u64 {
    match a.checked_mul(b) {
        Some(product) => product.checked_div(c).unwrap_or(u64::MAX),
        None => a.checked_div(c).map_or(u64::MAX, |share| share.saturating_mul(b)),
    }
}

/// What the cost of searching a segment depends on.
pub(super) struct Model<'a> {
    /// What its index was made with.
    params: &'a IndexParams,
    knobs: &'a Knobs,
    rows: u64,
    /// Bytes of a vector.
    bytes: u64,
    dim: u64,
}

impl<'a> Model<'a> {
    pub(super) fn new(params: &'a IndexParams, knobs: &'a Knobs, space: &Space, rows: u64) -> Self {
        Self {
            params,
            knobs,
            rows,
            bytes: space.row_bytes() as u64,
            dim: space.dim() as u64,
        }
    }

    /// Comparing a row of a list of row numbers: 25 ns for 512 bytes, 56 for 1,536.
    fn row_ns(&self) -> u64 {
        10 + self.bytes * 3 / 100
    }

    /// Comparing a row that a graph leads to, its share of edges, heaps and visited rows included: 67 ns for 512 bytes, 117
    /// for 1,536.
    fn node_ns(&self) -> u64 {
        let bytes = match self.params.codes {
            Codes::None => self.bytes,
            Codes::Sq8 => self.dim,
            Codes::Bf16 => 2 * self.dim,
            Codes::Binary => self.dim / 8,
        };
        42 + bytes / 20
    }

    /// Compared rows that take as long.
    pub(super) fn in_rows(&self, ns: u64) -> u64 {
        ns.checked_div(self.row_ns()).unwrap_or(u64::MAX)
    }

    /// Comparing so many rows.
    pub(super) fn scan(&self, matching: u64) -> u64 {
        matching.saturating_mul(self.row_ns())
    }

    /// Searching the index for `k` of the matching rows; `u64::MAX` if there is none.
    pub(super) fn index(&self, k: usize, matching: u64) -> u64 {
        match self.params.kind {
            Kind::Flat => u64::MAX,
            Kind::Hnsw | Kind::Vamana => self.graph(k, matching),
            Kind::Ivf => {
                let (lists, probes) = (self.lists(), self.probes(matching));
                let accepted = scale(matching, probes, lists);
                let looked_at = scale(self.rows, probes, lists);
                lists
                    .saturating_add(accepted)
                    .saturating_mul(self.row_ns())
                    .saturating_add(looked_at)
            }
            Kind::IvfPq => {
                let (lists, probes) = (self.lists(), self.probes(matching));
                let codes = scale(self.rows, probes, lists).saturating_mul(CODE_NS);
                codes.saturating_add(self.scan(lists)).saturating_add(self.rerank(k))
            }
            Kind::Pq => self.rows.saturating_mul(CODE_NS).saturating_add(self.rerank(k)),
            Kind::Lsh => self.scan(self.rows / HASHED).max(self.scan(k as u64)),
        }
    }

    fn graph(&self, k: usize, matching: u64) -> u64 {
        let ef = self.width(matching);
        let m = match self.params.m {
            0 => M,
            m => m.into(),
        };
        let ef = ef.max(k as u64);
        let compared = ef.saturating_mul(COMPARED_PER_EF).saturating_add(COMPARED_FIXED);
        let cost = compared.saturating_mul(self.node_ns());
        if matching.saturating_mul(LEAP_BELOW) < self.rows {
            let edges = ef.saturating_mul(4).saturating_mul(m).saturating_mul(m);
            return cost.saturating_add(edges.saturating_mul(LEAP_EDGE_TENTHS) / 10);
        }
        // Rows that do not match are gone through, not all as if they did.
        let more = scale(cost, self.rows.saturating_sub(matching), matching);
        cost.saturating_add(more.saturating_mul(PASSED_PERCENT) / 100)
    }

    /// The width of a graph search. A walk that leaps misses a little: with a quarter more width it finds as much as others do
    /// (0.948 instead of 0.956 of ten rows of 384 dimensions, at width 32 and a tenth of the rows).
    fn width(&self, matching: u64) -> u64 {
        let ef = match self.knobs.ef {
            0 => EF,
            ef => ef.into(),
        };
        if self.params.kind == Kind::Hnsw && matching.saturating_mul(LEAP_BELOW) < self.rows {
            ef.saturating_add(ef / 4)
        } else {
            ef
        }
    }

    fn rerank(&self, k: usize) -> u64 {
        let times = match self.knobs.rerank {
            0 => RERANK,
            times => times.into(),
        };
        self.scan((k as u64).saturating_mul(times))
    }

    fn lists(&self) -> u64 {
        match self.params.nlist {
            0 => ivf::default_lists(self.rows as usize) as u64,
            lists => lists.into(),
        }
    }

    /// Lists to look into, if only the matching rows count. The nearest of few rows are farther away than the nearest of all,
    /// and in more lists: half as many again are looked into for each time that the matching rows halve.
    fn probes(&self, matching: u64) -> u64 {
        let lists = self.lists();
        let probes = match self.knobs.nprobe {
            0 => ivf::default_probes(lists as usize) as u64,
            probes => probes.into(),
        };
        let halves = self
            .rows
            .checked_div(matching)
            .and_then(u64::checked_ilog2)
            .unwrap_or(0);
        let more = probes.saturating_mul(u64::from(halves)) / 2;
        let partly = scale(probes, self.rows, matching.saturating_mul(1 << halves)).saturating_sub(probes) / 2;
        probes.saturating_add(more).saturating_add(partly).min(lists)
    }

    /// The knobs for a search of which only the matching rows count. Graphs and hash tables go on by themselves until they have
    /// met enough of those, so that little has to be changed for them.
    pub(super) fn knobs(&self, matching: u64) -> Knobs {
        let mut knobs = *self.knobs;
        if self.params.kind == Kind::Hnsw && matching < self.rows {
            knobs.ef = u32::try_from(self.width(matching)).unwrap_or(u32::MAX);
        }
        if matches!(self.params.kind, Kind::Ivf | Kind::IvfPq) && matching < self.rows {
            knobs.nprobe = u32::try_from(self.probes(matching)).unwrap_or(u32::MAX);
        }
        knobs
    }

    /// How many rows to look for if their payloads decide afterwards: half as many again as are expected to be needed.
    pub(super) fn over_fetch(&self, k: usize, estimate: &Estimate) -> usize {
        let want = scale((k as u64).saturating_mul(3), self.rows, estimate.expected.max(1)) / 2;
        usize::try_from(want.saturating_add(8)).unwrap_or(usize::MAX)
    }

    /// What searching first and filtering afterwards costs a query, if that is the cheapest.
    pub(super) fn post_filter(&self, estimate: &Estimate, k: usize, queries: usize) -> Option<u64> {
        if estimate.doubtful == 0 {
            return None;
        }
        let want = self.over_fetch(k, estimate);
        if want as u64 > CANDIDATES_MAX.min(self.rows / 4) {
            return None;
        }
        let after = self.index(want, self.rows);
        let after = after.saturating_add((want as u64).saturating_mul(EVALUATE_NS));
        let search = self.scan(estimate.expected).min(self.index(k, estimate.expected));
        let before = estimate.doubtful.saturating_mul(EVALUATE_NS);
        let before = before.checked_div(queries as u64).unwrap_or(before);
        (after < before.saturating_add(search)).then_some(after)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vexfs_simd::Element;
    use vexfs_simd::Metric;

    #[test]
    fn more_rows_never_cost_a_scan_less_and_never_make_an_index_look_into_less() {
        let space = Space::new(Element::F32, Metric::L2, 128).unwrap();
        for kind in [Kind::Hnsw, Kind::Ivf, Kind::Pq, Kind::IvfPq, Kind::Lsh, Kind::Vamana] {
            let (params, knobs) = (IndexParams::new(kind), Knobs::default());
            let model = Model::new(&params, &knobs, &space, 100_000);
            let all = model.index(10, 100_000);
            assert!(all < model.scan(100_000), "{kind:?}");
            assert_eq!(model.knobs(100_000), knobs);
            let mut probes = 0;
            for matching in [100_000, 70_000, 50_000, 30_000, 10_000, 1000, 10, 1, 0] {
                let knobs = model.knobs(matching);
                assert!(matching == 100_000 || knobs.nprobe >= probes, "{kind:?} {matching}");
                probes = knobs.nprobe;
                assert!(model.scan(matching) <= model.scan(matching + 1));
                // Few rows are scanned.
                assert!(
                    matching > 1000 || model.scan(matching) < model.index(10, matching),
                    "{kind:?} {matching}"
                );
            }
        }
    }
}
