// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! What the ways to search a segment cost a query: figures of the index and of the segment, compared.

use super::Ask;
use super::View;
use crate::fields::Estimate;
use crate::index::scale;
use crate::index::Costs;
use crate::index::Index;
use crate::index::SearchParams;

/// A payload fetched and evaluated.
const EVALUATE_NS: u64 = 250;
/// The most candidates that are looked for when payloads decide afterwards.
const CANDIDATES_MAX: u64 = 4096;

/// What the cost of searching a segment with its index depends on.
#[derive(Clone, Copy)]
pub(super) struct Model<'a> {
    index: &'a dyn Index,
    params: SearchParams,
    costs: Costs,
}

impl<'a> Model<'a> {
    /// `None` if the index may not be used or there is none.
    pub(super) fn new(view: &View<'a>, ask: &Ask<'_>) -> Option<Self> {
        Some(Self {
            index: view.index.filter(|_| !ask.exact)?,
            params: ask.params,
            costs: view.costs(),
        })
    }

    /// The index.
    pub(super) fn of(&self) -> &'a dyn Index {
        self.index
    }

    /// Compared rows that take as long.
    pub(super) fn in_rows(&self, cost: u64) -> u64 {
        self.costs.in_rows(cost)
    }

    /// Comparing so many rows.
    pub(super) fn scan(&self, matching: u64) -> u64 {
        self.index.scan_cost(&self.costs, matching)
    }

    /// Searching the index for `k` of the matching rows.
    pub(super) fn search(&self, k: usize, matching: u64) -> u64 {
        self.index.cost(&self.costs, &self.params, k, matching)
    }

    /// The search parameters for a search of which only the matching rows count.
    pub(super) fn tuned(&self, matching: u64) -> SearchParams {
        self.index.tuned(&self.costs, &self.params, matching)
    }

    /// How many rows to look for if their payloads decide afterwards: half as many again as are expected to be needed.
    pub(super) fn over_fetch(&self, k: usize, estimate: &Estimate) -> usize {
        let want = scale((k as u64).saturating_mul(3), self.costs.rows, estimate.expected.max(1)) / 2;
        usize::try_from(want.saturating_add(8)).unwrap_or(usize::MAX)
    }

    /// What searching first and filtering afterwards costs a query, if that is the cheapest.
    pub(super) fn post_filter(&self, estimate: &Estimate, k: usize, queries: usize) -> Option<u64> {
        if estimate.doubtful == 0 {
            return None;
        }
        let want = self.over_fetch(k, estimate);
        if want as u64 > CANDIDATES_MAX.min(self.costs.rows / 4) {
            return None;
        }
        let after = self.search(want, self.costs.rows);
        let after = after.saturating_add((want as u64).saturating_mul(EVALUATE_NS));
        let search = self.scan(estimate.expected).min(self.search(k, estimate.expected));
        let before = estimate.doubtful.saturating_mul(EVALUATE_NS);
        let before = before.checked_div(queries as u64).unwrap_or(before);
        (after < before.saturating_add(search)).then_some(after)
    }
}
