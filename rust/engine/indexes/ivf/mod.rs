// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! IVF: the rows of the lists nearest to the query are compared exactly.
//!
//! Lists hold row numbers, not copies of vectors: the segment has them already, and fetching rows ahead of their use
//! costs less than a second copy of everything in memory.

mod lists;
mod probe;
mod select;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

pub(crate) use lists::check;
pub(crate) use lists::sample;
pub(crate) use lists::unpack;
pub(crate) use lists::Lists;
pub(crate) use probe::Probes;
pub(crate) use select::select;

use crate::index::scale;
use crate::index::Build;
use crate::index::Cost;
use crate::index::Costs;
use crate::index::Index;
use crate::index::IndexParams;
use crate::index::Kind;
use crate::index::Nearest;
use crate::index::Opening;
use crate::index::Scope;
use crate::index::SearchParams;
use crate::index::Sections;
use crate::kmeans::fits;
use crate::pool::bytes_of;
use crate::pool::Pool;
use crate::pool::Weighed;
use vexfs_host::mem::Vec;
use vexfs_host::relax;
use vexfs_host::Error;
use vexfs_host::Result;
use vexfs_simd::Query;
use vexfs_simd::Space;

/// Rows compared by one call of the kernels.
const CHUNK: usize = 256;

/// An open index.
pub(crate) struct Ivf {
    lists: Lists,
    scratch: Pool<Scratch>,
}

/// What a search needs.
struct Scratch {
    vector: Vec<u32>,
    probes: Probes,
    ids: Vec<u32>,
    keys: Vec<u32>,
}

impl Weighed for Scratch {
    fn memory_bytes(&self) -> u64 {
        bytes_of(&self.vector) + self.probes.memory_bytes() + bytes_of(&self.ids) + bytes_of(&self.keys)
    }
}

impl Scratch {
    fn new(lists: &Lists) -> Result<Self> {
        let mut scratch = Self {
            vector: Vec::new(),
            probes: Probes::new(lists)?,
            ids: Vec::with_capacity(CHUNK)?,
            keys: Vec::new(),
        };
        scratch.vector.resize(lists.dim(), 0)?;
        scratch.keys.resize(CHUNK, 0)?;
        Ok(scratch)
    }
}

/// The number of lists for some rows, if the user does not say it: twice the square root, so that looking for lists and
/// looking into them cost about the same.
pub(crate) fn default_lists(rows: usize) -> usize {
    rows.isqrt().saturating_mul(2).clamp(1, 1 << 16)
}

/// The number of lists to look into. If the user does not say it, it is what took SIFT and text embeddings of 25,000 to
/// 100,000 rows to a recall of about 0.95.
pub(crate) fn probes(params: &SearchParams, lists: usize) -> usize {
    match params.nprobe {
        0 => (32 + lists / 32).min(lists),
        probes => probes as usize,
    }
}

impl<R> Kind<R> for Ivf {
    fn check(space: &Space, _params: &IndexParams) -> Result {
        check(space)
    }

    #[inline(never)] // own frame
    fn build(build: &Build<'_>) -> Result<Sections> {
        let count = match build.params.nlist {
            0 => default_lists(build.rows.count()),
            count => count as usize,
        };
        let total = build.rows.count() as u64;
        let lists = Lists::build(build, count, &|done| (build.progress)(done as u64, total))?;
        let mut sections = Sections::new();
        lists.into_sections(&mut sections)?;
        Ok(sections)
    }

    #[inline(never)] // own frame
    fn open(mut opening: Opening<'_, R>) -> Result<Self> {
        Ok(Self {
            lists: Lists::open(opening.space, opening.count, &mut opening.sections)?,
            scratch: Pool::new()?,
        })
    }
}

impl Index for Ivf {
    #[inline(never)] // own frame
    fn search(
        &self,
        scope: &Scope<'_>,
        query: &Query<'_>,
        params: &SearchParams,
        nearest: &mut Nearest,
    ) -> Result<Cost> {
        self.scratch.with(
            || Scratch::new(&self.lists),
            |scratch| self.search_with(scratch, scope, query, params, nearest),
        )
    }

    fn cost(&self, costs: &Costs, params: &SearchParams, _k: usize, matching: u64) -> u64 {
        let (lists, probes) = (
            self.lists.count() as u64,
            probes_for(costs, self.lists.count(), params, matching),
        );
        let accepted = scale(matching, probes, lists);
        let looked_at = scale(costs.rows, probes, lists);
        costs.scan(lists.saturating_add(accepted)).saturating_add(looked_at)
    }

    fn tuned(&self, costs: &Costs, params: &SearchParams, matching: u64) -> SearchParams {
        tuned(costs, self.lists.count(), params, matching)
    }

    fn trim(&self) -> u64 {
        self.scratch.clear()
    }

    fn memory_bytes(&self) -> u64 {
        self.lists.memory_bytes() + self.scratch.memory_bytes()
    }
}

/// Lists to look into, if only the matching rows count. The nearest of few rows are farther away than the nearest of
/// all, and in more lists: half as many again are looked into for each time that the matching rows halve.
pub(crate) fn probes_for(costs: &Costs, lists: usize, params: &SearchParams, matching: u64) -> u64 {
    let probes = probes(params, lists) as u64;
    let halves = costs
        .rows
        .checked_div(matching)
        .and_then(u64::checked_ilog2)
        .unwrap_or(0);
    let more = probes.saturating_mul(u64::from(halves)) / 2;
    let partly = scale(probes, costs.rows, matching.saturating_mul(1 << halves)).saturating_sub(probes) / 2;
    probes.saturating_add(more).saturating_add(partly).min(lists as u64)
}

/// Search parameters that look into as many lists as it takes if only the matching rows count.
pub(crate) fn tuned(costs: &Costs, lists: usize, params: &SearchParams, matching: u64) -> SearchParams {
    let mut tuned = *params;
    if matching < costs.rows {
        tuned.nprobe = u32::try_from(probes_for(costs, lists, params, matching)).unwrap_or(u32::MAX);
    }
    tuned
}

impl Ivf {
    fn search_with(
        &self,
        scratch: &mut Scratch,
        scope: &Scope<'_>,
        query: &Query<'_>,
        params: &SearchParams,
        nearest: &mut Nearest,
    ) -> Result<Cost> {
        let probes = probes(params, self.lists.count());
        fits(scope.kernels.unpack_query(query, &mut scratch.vector))?;
        scratch
            .probes
            .rank(&scope.kernels, &self.lists, &scratch.vector, probes)?;
        let mut cost = Cost::default();
        let mut accepted = 0;
        let mut at = 0;
        // With a filter, on until enough rows were seen.
        while at < probes || accepted < nearest.k() {
            let Some((_, list)) = scratch.probes.get(at) else {
                break;
            };
            if (scope.stop)() {
                cost.stopped = true;
                break;
            }
            at += 1;
            cost.hops += 1;
            for rows in self.lists.rows_of(list).chunks(CHUNK) {
                scratch.ids.clear();
                for row in rows {
                    if scope.accepts(*row) {
                        scratch.ids.push(*row)?;
                    }
                }
                let keys = scratch.keys.get_mut(..scratch.ids.len()).ok_or(Error::Overflow)?;
                fits(scope.kernels.gather(query, &scope.rows, &scratch.ids, keys))?;
                for (key, row) in keys.iter().zip(&scratch.ids) {
                    if *key <= nearest.limit() {
                        nearest.offer(*key, *row)?;
                    }
                }
                accepted += scratch.ids.len();
                cost.distances += scratch.ids.len() as u64;
                relax()?;
            }
        }
        Ok(cost)
    }
}
