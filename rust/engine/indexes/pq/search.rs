// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! The search: scan the codes of the nearest lists, then compare the best candidates exactly.

use super::index::PqIndex;
use super::scratch::Scratch;
use super::scratch::CHUNK;
use crate::index::scale;
use crate::index::Cost;
use crate::index::Costs;
use crate::index::Index;
use crate::index::Nearest;
use crate::index::Scope;
use crate::index::SearchParams;
use crate::indexes::ivf;
use crate::kmeans::fits;
use vexfs_host::relax;
use vexfs_host::Error;
use vexfs_host::Result;
use vexfs_simd::bits_of;
use vexfs_simd::Query;
use zerocopy::FromBytes as _;

/// Rows compared exactly by one call of the kernels.
const GATHER: usize = 128;
/// Candidates for each hit, if the user does not say it.
const RERANK: usize = 12;

/// Rows found by their codes that are compared exactly, for `k` hits.
fn candidates(params: &SearchParams, k: usize) -> usize {
    k.saturating_mul(match params.rerank {
        0 => RERANK,
        times => times as usize,
    })
}

impl Index for PqIndex {
    #[inline(never)] // own frame
    fn search(
        &self,
        scope: &Scope<'_>,
        query: &Query<'_>,
        params: &SearchParams,
        nearest: &mut Nearest,
    ) -> Result<Cost> {
        self.scratch.with(
            || Scratch::new(&self.pq, &self.lists),
            |scratch| self.search_with(scratch, scope, query, params, nearest),
        )
    }

    fn cost(&self, costs: &Costs, params: &SearchParams, k: usize, matching: u64) -> u64 {
        let rerank = costs.scan(candidates(params, k) as u64);
        let (lists, looked_at) = match self.lists.count() {
            1 => (0, costs.rows),
            count => {
                let probes = ivf::probes_for(costs, count, params, matching);
                (count as u64, scale(costs.rows, probes, count as u64))
            }
        };
        costs
            .codes(looked_at)
            .saturating_add(costs.scan(lists))
            .saturating_add(rerank)
    }

    fn tuned(&self, costs: &Costs, params: &SearchParams, matching: u64) -> SearchParams {
        ivf::tuned(costs, self.lists.count(), params, matching)
    }

    fn trim(&self) -> u64 {
        self.scratch.clear()
    }

    fn memory_bytes(&self) -> u64 {
        let terms = self.terms.as_ref().map_or(0, |(_, terms)| terms.memory_bytes());
        self.lists.memory_bytes()
            + self.book.memory_bytes()
            + self.codes.memory_bytes()
            + terms
            + self.scratch.memory_bytes()
    }
}

impl PqIndex {
    fn search_with(
        &self,
        scratch: &mut Scratch,
        scope: &Scope<'_>,
        query: &Query<'_>,
        params: &SearchParams,
        nearest: &mut Nearest,
    ) -> Result<Cost> {
        let wanted = candidates(params, nearest.k()).min(self.lists.rows().len());
        let mut cost = Cost::default();
        self.scan_lists(scratch, scope, query, params, wanted, &mut cost)?;
        rank(scratch, scope, query, nearest, &mut cost)?;
        Ok(cost)
    }

    /// Scans the codes of the nearest lists, and leaves the best `wanted` rows as candidates.
    fn scan_lists(
        &self,
        scratch: &mut Scratch,
        scope: &Scope<'_>,
        query: &Query<'_>,
        params: &SearchParams,
        wanted: usize,
        cost: &mut Cost,
    ) -> Result {
        let kernels = &scope.kernels;
        let rows = self.lists.rows();
        let probes = ivf::probes(params, self.lists.count());
        let candidates = &mut scratch.candidates;
        candidates.start(wanted)?;

        fits(kernels.unpack_query(query, &mut scratch.vector))?;
        let vector = scratch.vector.get(..self.lists.dim()).ok_or(Error::Overflow)?;
        scratch.probes.rank(kernels, &self.lists, vector, probes)?;
        let (range, terms) = match &self.terms {
            Some((range, terms)) => (Some(*range), terms.as_bytes()),
            None => (None, [].as_slice()),
        };
        let terms = <[u16]>::ref_from_bytes(terms).unwrap_or_default();
        let table = fits(kernels.pq_scan_table(
            &self.book()?,
            &scratch.vector,
            self.lists.l2(),
            range,
            &mut scratch.values,
            &mut scratch.table,
        ))?;

        let (mut at, mut accepted, mut work) = (0, 0, 0);
        // With a filter, on until there are as many candidates as without.
        while at < probes || accepted < wanted {
            let Some((key, list)) = scratch.probes.get(at) else {
                break;
            };
            if (scope.stop)() {
                cost.stopped = true;
                break;
            }
            at += 1;
            cost.hops += 1;
            let places = self.lists.places(list);
            let mut first = places.start;
            while first < places.end {
                let count = CHUNK.min(places.end - first);
                let found = fits(kernels.pq_scan(
                    &table,
                    self.codes.as_bytes(),
                    terms,
                    first,
                    count,
                    bits_of(key),
                    candidates.limit,
                    &mut scratch.places,
                    &mut scratch.keys,
                ))?;
                for (place, key) in scratch.places.iter().zip(&scratch.keys).take(found) {
                    let row = rows.get(*place as usize).copied().unwrap_or_default();
                    if scope.accepts(row) {
                        accepted += 1;
                        candidates.entries.push(u64::from(*key) << 32 | u64::from(row))?;
                    }
                }
                if candidates.entries.len() >= candidates.full() {
                    candidates.cut();
                }
                first += count;
                cost.codes += count as u64;
                work += count;
                if work >= CHUNK {
                    work = 0;
                    relax()?;
                }
            }
        }
        candidates.cut();
        Ok(())
    }
}

/// Compares the candidates exactly.
fn rank(scratch: &mut Scratch, scope: &Scope<'_>, query: &Query<'_>, nearest: &mut Nearest, cost: &mut Cost) -> Result {
    let candidates = &scratch.candidates;
    for entries in candidates.entries.chunks(GATHER) {
        scratch.ids.clear();
        for entry in entries {
            scratch.ids.push(*entry as u32)?;
        }
        let keys = scratch.keys.get_mut(..entries.len()).ok_or(Error::Overflow)?;
        fits(scope.kernels.gather(query, &scope.rows, &scratch.ids, keys))?;
        for (key, row) in keys.iter().zip(&scratch.ids) {
            if *key <= nearest.limit() {
                nearest.offer(*key, *row)?;
            }
        }
        relax()?;
    }
    cost.distances += candidates.entries.len() as u64;
    Ok(())
}
