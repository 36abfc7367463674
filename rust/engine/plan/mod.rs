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
//! between the first three; `cost` has the figures. Whatever is chosen, k rows are found if k rows match: where an index
//! finds fewer, the matching rows are scanned.
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
use crate::index::IndexParams;
use crate::index::Knobs;
use crate::index::Nearest;
use crate::index::Scope;
use cost::Model;
use vexfs_host::relax;
use vexfs_host::sync::Arc;
use vexfs_host::Error;
use vexfs_host::Result;
use vexfs_simd::Kernels;
use vexfs_simd::Query;
use vexfs_simd::Rows;

/// An index that can be searched.
pub(crate) trait Searcher {
    /// Offers rows near the query that the scope accepts.
    ///
    /// # Errors
    ///
    /// Those of the index.
    fn search(&self, scope: &Scope<'_>, query: &Query<'_>, knobs: &Knobs, nearest: &mut Nearest) -> Result<Cost>;
}

/// A segment at the moment of a search.
pub(crate) struct View<'a> {
    pub(crate) kernels: Kernels,
    /// The full vectors.
    pub(crate) rows: Rows<'a>,
    /// Rows that are dead at this moment; `None` if none are.
    pub(crate) dead: Option<&'a Bits>,
    /// `None`: rows can only be scanned.
    pub(crate) index: Option<&'a dyn Searcher>,
    /// What the index was made with.
    pub(crate) params: &'a IndexParams,
    /// The indexes of fields, which a filter needs.
    pub(crate) fields: Option<&'a FieldIndex>,
    pub(crate) payloads: &'a dyn Payloads,
    /// Asked now and then: whether to stop with what has been found.
    pub(crate) stop: &'a dyn Fn() -> bool,
}

impl<'a> View<'a> {
    fn model<'s>(&'s self, ask: &'s Ask<'_>) -> Model<'s> {
        Model::new(self.params, &ask.knobs, &self.rows.space(), self.rows.count() as u64)
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
    pub(crate) knobs: Knobs,
    /// Whether to compare all matching rows, whatever indexes there are.
    pub(crate) exact: bool,
}

/// A way to search a segment.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Choice {
    /// All matching rows are compared.
    Scan,
    /// The index is searched; there is no filter.
    Index,
    /// The index is searched for matching rows.
    Filtered,
    /// The index is searched for more rows than wanted, and those that do not match are thrown away.
    PostFilter,
}

impl Choice {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Choice::Scan => "scan",
            Choice::Index => "index",
            Choice::Filtered => "filtered",
            Choice::PostFilter => "post-filter",
        }
    }
}

/// How a segment was searched, and why.
#[derive(Clone, Copy, Debug)]
pub struct SegmentFacts {
    /// The way that was chosen.
    pub choice: Choice,
    /// Rows, live and dead.
    pub rows: u64,
    /// Rows that a search can return.
    pub alive: u64,
    /// How many rows, live and dead, were expected to match the filter.
    pub estimate: Estimate,
    /// Live rows that match; `None` if they were not counted.
    pub matching: Option<u64>,
    /// What comparing the matching rows was expected to cost a query, in compared rows.
    pub scan_cost: u64,
    /// What using the index was expected to cost a query, in compared rows; `u64::MAX` if there is none.
    pub index_cost: u64,
    /// The rows that match the filter were known from an earlier search.
    pub cached: bool,
    /// Payloads that the filter was applied to one by one.
    pub evaluated: u64,
    /// Queries for which the index found too few rows, so that the matching ones were compared.
    pub fallbacks: u64,
    /// What was done for all queries.
    pub cost: Cost,
}

impl SegmentFacts {
    fn new(rows: usize, dead: Option<&Bits>) -> Self {
        let (rows, dead) = (rows as u64, dead.map_or(0, Bits::count) as u64);
        Self {
            choice: Choice::Scan,
            rows,
            alive: rows.saturating_sub(dead),
            estimate: Estimate::exactly(rows),
            matching: None,
            scan_cost: 0,
            index_cost: u64::MAX,
            cached: false,
            evaluated: 0,
            fallbacks: 0,
            cost: Cost::default(),
        }
    }
}

/// What is to be done in a segment of so many rows where nothing matches the filter; `None` if something may.
pub(crate) fn nothing(
    program: &Program,
    fields: &FieldIndex,
    rows: usize,
    dead: Option<&Bits>,
) -> Result<Option<SegmentFacts>> {
    let estimate = fields.estimate(program)?;
    Ok((estimate.upper == 0).then(|| SegmentFacts {
        estimate,
        matching: Some(0),
        ..SegmentFacts::new(rows, dead)
    }))
}

/// Searches a segment for all queries; `nearest` has one heap for each, empty ones.
///
/// # Errors
///
/// `Invalid` if there is a filter and no field index, or vectors of another space; those of the index; `NoMemory`,
/// `Interrupted`.
pub(crate) fn search(
    view: &View<'_>,
    ask: &Ask<'_>,
    queries: &[Query<'_>],
    nearest: &mut [Nearest],
) -> Result<SegmentFacts> {
    let mut facts = SegmentFacts::new(view.rows.count(), view.dead);
    run(view, ask, queries, nearest, &mut facts)?;
    Ok(facts)
}

#[inline(never)] // Its frame is not to be part of every caller's.
fn run(
    view: &View<'_>,
    ask: &Ask<'_>,
    queries: &[Query<'_>],
    nearest: &mut [Nearest],
    facts: &mut SegmentFacts,
) -> Result {
    let Some(program) = ask.filter else {
        return choose(view, ask, &Accept::new(view, None)?, queries, nearest, facts);
    };
    let fields = view.fields.ok_or(Error::Invalid("a filter without field indexes"))?;
    facts.estimate = fields.estimate(program)?;
    if facts.estimate.upper == 0 {
        facts.matching = Some(0);
        return Ok(());
    }
    // Whether the matching rows are known from an earlier search does not matter here: one search gives one answer.
    if let (Some(index), false) = (view.index, ask.exact) {
        let model = view.model(ask);
        if let Some(cost) = model.post_filter(&facts.estimate, most(nearest), queries.len()) {
            facts.choice = Choice::PostFilter;
            facts.scan_cost = facts.estimate.expected;
            facts.index_cost = model.in_rows(cost);
            return post::search(view, ask, index, program, queries, nearest, facts);
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
#[inline(never)] // Its frame is not to be part of every caller's.
fn choose(
    view: &View<'_>,
    ask: &Ask<'_>,
    accept: &Accept,
    queries: &[Query<'_>],
    nearest: &mut [Nearest],
    facts: &mut SegmentFacts,
) -> Result {
    let matching = accept.count(view) as u64;
    facts.matching = Some(matching);
    facts.scan_cost = matching;
    if let (Some(index), false) = (view.index, ask.exact) {
        let (model, k) = (view.model(ask), most(nearest));
        let cost = model.index(k, matching);
        facts.index_cost = model.in_rows(cost);
        if matching > k as u64 && cost < model.scan(matching) {
            facts.choice = match ask.filter {
                Some(_) => Choice::Filtered,
                None => Choice::Index,
            };
            return with_index(view, ask, index, accept, queries, nearest, facts);
        }
    }
    facts.choice = Choice::Scan;
    scan::search(view, accept.bits(), queries, nearest, &mut facts.cost)
}

/// The rows that match the filter, for the facts as well.
#[inline(never)] // Its frame is not to be part of every caller's.
fn select(view: &View<'_>, program: &Program, facts: &mut SegmentFacts) -> Result<Arc<Selection>> {
    let fields = view.fields.ok_or(Error::Invalid("a filter without field indexes"))?;
    let (selection, cached) = fields.select(program, view.payloads)?;
    facts.cached = cached;
    if !cached {
        facts.evaluated = facts.evaluated.saturating_add(selection.evaluated);
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
            (Some(selection), None) if selection.count == view.rows.count() => Accept::All,
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
            Accept::All => view.rows.count(),
            Accept::Selected(selection) => selection.count,
            Accept::Made(bits) => bits.count(),
        }
    }
}

/// Searches the index for each query, and scans where it finds too few.
#[inline(never)] // Its frame is not to be part of every caller's.
fn with_index(
    view: &View<'_>,
    ask: &Ask<'_>,
    index: &dyn Searcher,
    accept: &Accept,
    queries: &[Query<'_>],
    nearest: &mut [Nearest],
    facts: &mut SegmentFacts,
) -> Result {
    let scope = view.scope(accept.bits());
    let matching = facts.matching.unwrap_or(facts.alive);
    let knobs = view.model(ask).knobs(matching);
    for (query, nearest) in queries.iter().zip(nearest.iter_mut()) {
        let (k, limit) = (nearest.k(), nearest.limit());
        let found = if limit == u32::MAX {
            facts.cost += index.search(&scope, query, &knobs, nearest)?;
            nearest.len()
        } else {
            // Rows beyond the radius tell that the index did find enough.
            let mut any = Nearest::new(k, view.rows.count(), u32::MAX)?;
            facts.cost += index.search(&scope, query, &knobs, &mut any)?;
            for (key, row) in any.iter() {
                nearest.offer(key, row)?;
            }
            any.len()
        };
        if facts.cost.stopped {
            break;
        }
        if (found as u64) < matching.min(k as u64) {
            facts.fallbacks = facts.fallbacks.saturating_add(1);
            *nearest = Nearest::new(k, view.rows.count(), limit)?;
            let nearest = core::slice::from_mut(nearest);
            scan::search(
                view,
                accept.bits(),
                core::slice::from_ref(query),
                nearest,
                &mut facts.cost,
            )?;
        }
        relax()?;
    }
    Ok(())
}
