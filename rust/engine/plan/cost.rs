// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! What the ways to search a segment cost, from counts.
//!
//! The unit is one row compared with a query by its number (`Kernels::gather`), some 30 ns for 128 f32 and 90 ns for 384 on
//! rows beyond the caches. Everything else is expressed in it, so that the model holds for other CPUs and dimensions.

use crate::fields::Estimate;
use crate::index::IndexParams;
use crate::index::Kind;
use crate::index::Knobs;

/// The width of a graph search without `ef`.
const EF: u64 = 64;
/// Rows that a graph search compares for each unit of its width, and what a comparison in a graph costs more than one in
/// a list of numbers: it waits for the memory of rows that nobody could ask for earlier, and for that of their edges.
const GRAPH_PER_EF: u64 = 14;
const GRAPH_FACTOR: (u64, u64) = (3, 2);
/// Rows compared on the upper levels and until the first results are found.
const GRAPH_FIXED: u64 = 100;
/// Lists or buckets without `nprobe`: a share of all rows.
const PROBED_SHARE: u64 = 16;
/// A payload to be read and evaluated.
const EVALUATE: u64 = 8;
/// The most candidates that are looked for when payloads decide afterwards.
const CANDIDATES_MAX: u64 = 4096;

/// `a * b / c`; `u64::MAX` if it does not fit or `c` is 0.
fn scale(a: u64, b: u64, c: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    // A division of 64 bits: the kernel has no other.
    match u64::try_from(product) {
        Ok(product) => product.checked_div(c).unwrap_or(u64::MAX),
        Err(_) => a.checked_div(c).map_or(u64::MAX, |share| share.saturating_mul(b)),
    }
}

/// Comparing so many rows.
pub(super) fn scan(matching: u64) -> u64 {
    matching
}

/// Searching the index for `k` of the matching rows.
pub(super) fn index(params: &IndexParams, knobs: &Knobs, k: usize, rows: u64, matching: u64) -> u64 {
    match params.kind {
        Kind::Flat => u64::MAX,
        Kind::Hnsw | Kind::Vamana => {
            let ef = match knobs.ef {
                0 => EF,
                ef => ef.into(),
            };
            let compared = ef
                .max(k as u64)
                .saturating_mul(GRAPH_PER_EF)
                .saturating_add(GRAPH_FIXED);
            // Going through rows that do not match costs as if they did; where few match, the walk leaps over the others,
            // which costs about as much as where one in three does (see `hnsw::filtered`).
            let passed = scale(compared, rows, matching.max(rows / 3));
            scale(passed, GRAPH_FACTOR.0, GRAPH_FACTOR.1)
        }
        Kind::Ivf | Kind::IvfPq | Kind::Pq | Kind::Lsh => rows / PROBED_SHARE,
    }
}

/// The knobs for a search of which only the matching rows count.
pub(super) fn widen(params: &IndexParams, knobs: &Knobs, k: usize, rows: u64, matching: u64) -> Knobs {
    let _ = (params, k, rows, matching);
    *knobs
}

/// How many rows to look for if their payloads decide afterwards: half as many again as are expected to be needed.
pub(super) fn over_fetch(k: usize, estimate: &Estimate, rows: u64) -> usize {
    let want = scale((k as u64).saturating_mul(3), rows, estimate.expected.max(1)) / 2;
    usize::try_from(want.saturating_add(8)).unwrap_or(usize::MAX)
}

/// What searching first and filtering afterwards costs a query, if that is the cheapest.
pub(super) fn post_filter(
    params: &IndexParams,
    knobs: &Knobs,
    estimate: &Estimate,
    rows: u64,
    k: usize,
    queries: usize,
) -> Option<u64> {
    if estimate.doubtful == 0 {
        return None;
    }
    let want = over_fetch(k, estimate, rows);
    if want as u64 > CANDIDATES_MAX || want as u64 > rows / 4 {
        return None;
    }
    let after = index(params, knobs, want, rows, rows).saturating_add((want as u64).saturating_mul(EVALUATE));
    let search = scan(estimate.expected).min(index(params, knobs, k, rows, estimate.expected));
    let before = estimate.doubtful.saturating_mul(EVALUATE);
    let before = before
        .checked_div(queries as u64)
        .unwrap_or(before)
        .saturating_add(search);
    (after < before).then_some(after)
}
