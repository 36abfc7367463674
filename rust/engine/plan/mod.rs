// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! How a segment is searched: which of the ways to the same answer, for this filter, costs least.
//!
//! - **Scan**: the matching rows are compared one by one. Exact; its cost is their number.
//! - **Index**: the index is searched; there is no filter.
//! - **Filtered**: the index is searched for rows of a bitmap, which the field indexes made of the filter.
//! - **Post-filter**: the index is searched for more rows than wanted, and their payloads decide. For filters that the
//!   field indexes cannot answer and most rows match.
//!
//! The estimate of the field indexes tells which of them to prepare for, the exact number of matching rows then decides
//! between the first three. The figures are those of the index. Whatever is chosen, k rows are found if k rows match:
//! where an index finds fewer, or gives up, the matching rows are scanned. Nothing else decides to scan.
//!
//! Dead rows and the filter become one bitmap, made once for all queries of a call.

mod cost;
mod post;
#[cfg(test)]
mod recall;
mod scan;
#[cfg(test)]
mod tests;

use crate::bits::Bits;
use crate::fields::Estimate;
use crate::fields::FieldIndex;
use crate::fields::Payloads;
use crate::fields::Selection;
use crate::filter::Program;
use crate::index::Cost;
use crate::index::Costs;
use crate::index::Index;
use crate::index::Nearest;
use crate::index::Scope;
use crate::index::SearchParams;
use cost::Model;
use vexfs_host::relax;
use vexfs_host::sync::Arc;
use vexfs_host::Error;
use vexfs_host::Result;
use vexfs_simd::Kernels;
use vexfs_simd::Query;
use vexfs_simd::Rows;
use vexfs_uapi::Choice;
use vexfs_uapi::ExplainPart;
use vexfs_uapi::VEXFS_NOT_COUNTED;
use vexfs_uapi::VEXFS_PART_CACHED;

/// A segment at the moment of a search.
pub(crate) struct View<'a> {
    pub(crate) kernels: Kernels,
    /// The full vectors; none if the index has them.
    pub(crate) rows: Rows<'a>,
    /// Rows of the segment.
    pub(crate) count: usize,
    /// Rows that are dead at this moment; `None` if none are.
    pub(crate) dead: Option<&'a Bits>,
    /// `None`: rows can only be scanned.
    pub(crate) index: Option<&'a dyn Index>,
    /// The indexes of fields, which a filter needs.
    pub(crate) fields: Option<&'a FieldIndex>,
    pub(crate) payloads: &'a dyn Payloads,
    /// Asked now and then: whether to stop with what has been found.
    pub(crate) stop: &'a dyn Fn() -> bool,
}

impl<'a> View<'a> {
    fn costs(&self) -> Costs {
        Costs::new(&self.rows.space(), self.count as u64)
    }

    fn scope<'s>(&self, accept: Option<&'s Bits>) -> Scope<'s>
    where
        'a: 's,
    {
        Scope {
            kernels: self.kernels,
            rows: self.rows,
            accept,
            stop: self.stop,
        }
    }
}

/// What to search for.
#[derive(Clone, Copy)]
pub(crate) struct Ask<'a> {
    pub(crate) filter: Option<&'a Program>,
    pub(crate) params: SearchParams,
    /// Whether to compare all matching rows, whatever indexes there are.
    pub(crate) exact: bool,
}

/// How a segment is searched, and why.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Facts {
    /// What is told of it; what was done is in `cost` until the end.
    part: ExplainPart,
    /// How many rows, live and dead, were expected to match the filter.
    estimate: Estimate,
    /// What was done for all queries.
    cost: Cost,
}

impl Facts {
    pub(crate) fn new(rows: u64, live: u64) -> Self {
        Self {
            part: ExplainPart {
                choice: Choice::Scan.code(),
                rows,
                live,
                matching: VEXFS_NOT_COUNTED,
                index_cost: VEXFS_NOT_COUNTED,
                ..ExplainPart::default()
            },
            estimate: Estimate::exactly(rows),
            cost: Cost::default(),
        }
    }

    fn of_segment(rows: usize, dead: Option<&Bits>) -> Self {
        let (rows, dead) = (rows as u64, dead.map_or(0, Bits::count) as u64);
        Self::new(rows, rows.saturating_sub(dead))
    }

    /// All rows were compared, and the filter evaluated for so many of them.
    pub(crate) fn scanned(&mut self, cost: Cost, evaluated: u64) {
        self.part.scan_cost = self.part.rows;
        self.part.evaluated = evaluated;
        self.cost = cost;
    }

    fn choose(&mut self, choice: Choice) {
        self.part.choice = choice.code();
    }

    /// What the filter was evaluated for.
    fn evaluated(&mut self, payloads: u64) {
        self.part.evaluated = self.part.evaluated.saturating_add(payloads);
    }

    /// All of it, and what was done.
    pub(crate) fn told(self) -> (ExplainPart, Cost) {
        let Self {
            mut part,
            estimate,
            cost,
        } = self;
        part.expected = estimate.expected;
        part.expected_min = estimate.lower;
        part.expected_max = estimate.upper;
        cost.add_to(&mut part);
        (part, cost)
    }
}

/// Whether rows may match the filter.
#[inline(never)] // own frame
pub(crate) fn may_match(program: &Program, fields: &FieldIndex) -> Result<bool> {
    Ok(fields.estimate(program)?.upper > 0)
}

/// What is to be done in a segment of so many rows where nothing matches the filter.
#[inline(never)] // own frame
pub(crate) fn nothing(program: &Program, fields: &FieldIndex, rows: usize, dead: Option<&Bits>) -> Result<Facts> {
    let mut facts = Facts::of_segment(rows, dead);
    facts.estimate = fields.estimate(program)?;
    facts.part.matching = 0;
    Ok(facts)
}

/// Searches a segment for all queries; `nearest` has one heap for each, empty ones.
///
/// # Errors
///
/// `Invalid` if there is a filter and no field index, or vectors of another space; those of the index; `NoMemory`,
/// `Interrupted`.
pub(crate) fn search(view: &View<'_>, ask: &Ask<'_>, queries: &[Query<'_>], nearest: &mut [Nearest]) -> Result<Facts> {
    let mut facts = Facts::of_segment(view.count, view.dead);
    run(view, ask, queries, nearest, &mut facts)?;
    Ok(facts)
}

#[inline(never)] // own frame
fn run(view: &View<'_>, ask: &Ask<'_>, queries: &[Query<'_>], nearest: &mut [Nearest], facts: &mut Facts) -> Result {
    let Some(program) = ask.filter else {
        return choose(view, ask, &Accept::new(view, None)?, queries, nearest, facts);
    };
    let fields = view.fields.ok_or(Error::Invalid("a filter without field indexes"))?;
    facts.estimate = fields.estimate(program)?;
    if facts.estimate.upper == 0 {
        facts.part.matching = 0;
        return Ok(());
    }
    // Whether the matching rows are known from an earlier search does not matter here: one search gives one answer.
    if let Some(model) = Model::new(view, ask) {
        if let Some(cost) = model.post_filter(&facts.estimate, most(nearest), queries.len()) {
            facts.choose(Choice::PostFilter);
            facts.part.scan_cost = facts.estimate.expected;
            facts.part.index_cost = model.in_rows(cost);
            return post::search(view, ask, &model, program, queries, nearest, facts);
        }
    }
    let selection = select(view, program, facts)?;
    choose(view, ask, &Accept::new(view, Some(selection))?, queries, nearest, facts)
}

/// The largest k of the queries.
fn most(nearest: &[Nearest]) -> usize {
    nearest.iter().map(Nearest::k).max().unwrap_or(0)
}

/// Searches when it is known which rows may be found.
#[inline(never)] // own frame
fn choose(
    view: &View<'_>,
    ask: &Ask<'_>,
    accept: &Accept,
    queries: &[Query<'_>],
    nearest: &mut [Nearest],
    facts: &mut Facts,
) -> Result {
    let matching = accept.count(view) as u64;
    facts.part.matching = matching;
    facts.part.scan_cost = matching;
    if let Some(model) = Model::new(view, ask) {
        let k = most(nearest);
        let (cost, scan) = (model.search(k, matching), model.scan(matching));
        facts.part.index_cost = model.in_rows(cost);
        facts.part.scan_cost = model.in_rows(scan);
        if matching > k as u64 && cost < scan {
            facts.choose(match ask.filter {
                Some(_) => Choice::Filtered,
                None => Choice::Index,
            });
            return with_index(view, &model, accept, queries, nearest, facts);
        }
    }
    facts.choose(Choice::Scan);
    scan_rows(view, accept, queries, nearest, &mut facts.cost)
}

/// The rows that match the filter, for the facts as well.
#[inline(never)] // own frame
fn select(view: &View<'_>, program: &Program, facts: &mut Facts) -> Result<Arc<Selection>> {
    let fields = view.fields.ok_or(Error::Invalid("a filter without field indexes"))?;
    let (selection, cached) = fields.select(program, view.payloads)?;
    if cached {
        facts.part.flags |= VEXFS_PART_CACHED;
    } else {
        facts.evaluated(selection.evaluated);
    }
    Ok(selection)
}

/// Which rows may be found.
enum Accept {
    All,
    /// Those of a selection; none are dead.
    Selected(Arc<Selection>),
    /// Those of a bitmap made for this call.
    Made(Bits),
}

impl Accept {
    fn new(view: &View<'_>, selection: Option<Arc<Selection>>) -> Result<Self> {
        Ok(match (selection, view.dead) {
            (None, None) => Accept::All,
            (Some(selection), None) if selection.count == view.count => Accept::All,
            (Some(selection), None) => Accept::Selected(selection),
            (None, Some(dead)) => {
                let mut live = dead.try_clone()?;
                live.invert();
                Accept::Made(live)
            }
            (Some(selection), Some(dead)) => {
                let mut rows = selection.rows.try_clone()?;
                rows.and_not(dead);
                Accept::Made(rows)
            }
        })
    }

    fn bits(&self) -> Option<&Bits> {
        match self {
            Accept::All => None,
            Accept::Selected(selection) => Some(&selection.rows),
            Accept::Made(bits) => Some(bits),
        }
    }

    fn count(&self, view: &View<'_>) -> usize {
        match self {
            Accept::All => view.count,
            Accept::Selected(selection) => selection.count,
            Accept::Made(bits) => bits.count(),
        }
    }
}

/// Searches the index for each query, and scans where it finds too few.
#[inline(never)] // own frame
fn with_index(
    view: &View<'_>,
    model: &Model<'_>,
    accept: &Accept,
    queries: &[Query<'_>],
    nearest: &mut [Nearest],
    facts: &mut Facts,
) -> Result {
    let scope = view.scope(accept.bits());
    let matching = facts.part.matching;
    let (index, params) = (model.of(), model.tuned(matching));
    for (query, nearest) in queries.iter().zip(nearest.iter_mut()) {
        let (k, limit) = (nearest.k(), nearest.limit());
        let (found, cost) = if limit == u32::MAX {
            let cost = index.search(&scope, query, &params, nearest)?;
            (nearest.len(), cost)
        } else {
            // Rows beyond the radius tell that the index did find enough.
            let mut any = Nearest::new(k, view.count, u32::MAX)?;
            let cost = index.search(&scope, query, &params, &mut any)?;
            for (key, row) in any.iter() {
                nearest.offer(key, row)?;
            }
            (any.len(), cost)
        };
        facts.cost += cost;
        if facts.cost.stopped {
            break;
        }
        if cost.gave_up || (found as u64) < matching.min(k as u64) {
            facts.part.fallbacks = facts.part.fallbacks.saturating_add(1);
            *nearest = Nearest::new(k, view.count, limit)?;
            let (query, nearest) = (core::slice::from_ref(query), core::slice::from_mut(nearest));
            scan_rows(view, accept, query, nearest, &mut facts.cost)?;
        }
        relax()?;
    }
    Ok(())
}

/// Compares all rows that may be found.
#[inline(never)] // own frame
fn scan_rows(
    view: &View<'_>,
    accept: &Accept,
    queries: &[Query<'_>],
    nearest: &mut [Nearest],
    cost: &mut Cost,
) -> Result {
    let Some(index) = view.index.filter(|index| index.has_vectors()) else {
        return scan::search(view, accept.bits(), queries, nearest, cost);
    };
    let scope = view.scope(accept.bits());
    for (query, nearest) in queries.iter().zip(nearest) {
        *cost += index.scan(&scope, query, nearest)?;
        if cost.stopped {
            break;
        }
        relax()?;
    }
    Ok(())
}
