// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! Searching a graph.
//!
//! A search goes down the upper levels to a good entry, walks level 0, and offers what the walk found. Compared by
//! codes, the nearest rows of the walk are compared again by their full vectors; only exact keys leave this module.
//!
//! A walk that met less than its width of the rows that may be found says that it gave up.

use super::codes::Work;
use super::filtered::Plan;
use super::measure::Full;
use super::measure::Measure;
use super::scratch::Scratch;
use super::Hnsw;
use crate::index::Codes;
use crate::index::Cost;
use crate::index::Nearest;
use crate::index::Scope;
use crate::index::SearchParams;
use vexfs_host::mem::Vec;
use vexfs_host::Error;
use vexfs_host::Result;
use vexfs_simd::Query;

/// The width of a walk if the caller names none.
const EF: usize = 64;
/// The widest walk.
const EF_MAX: usize = 1 << 16;
/// Rows found by codes that are compared again, as a multiple of k, if the caller names no number.
const RERANK: usize = 2;

/// The width that a search is asked for.
pub(super) fn ef(params: &SearchParams) -> usize {
    match params.ef {
        0 => EF,
        ef => ef as usize,
    }
}

impl Hnsw {
    /// Offers the nearest rows that `scope` accepts, with their exact keys.
    pub(super) fn walk_and_rank(
        &self,
        scope: &Scope<'_>,
        query: &Query<'_>,
        params: &SearchParams,
        nearest: &mut Nearest,
    ) -> Result<Cost> {
        let mut cost = Cost::default();
        if scope.rows.count() != self.graph.count || query.space() != scope.rows.space() {
            return Err(Error::Invalid("the rows are not those of the graph"));
        }
        let accepted = scope.accept.map_or(self.graph.count, |accept| accept.count());
        if accepted == 0 {
            return Ok(cost);
        }
        let width = ef(params).min(EF_MAX).max(nearest.k());
        let make = || Scratch::new(self.graph.count, self.graph.shape.degree(0));
        self.pool.with(make, |scratch| {
            self.find(scope, query, width, accepted, scratch, &mut cost)?;
            cost.gave_up = !cost.stopped
                && match scope.accept {
                    Some(_) => !scratch.walk.beam.is_full() && scratch.walk.beam.len() < accepted,
                    None => scratch.walk.beam.len() < nearest.k().min(accepted),
                };
            let multiple = match (self.graph.shape.codes, params.rerank) {
                (Codes::None, _) => {
                    let beam = &scratch.walk.beam;
                    return beam.iter().try_for_each(|(key, row)| nearest.offer(key, row));
                }
                // The order by so few bits is a rough one.
                (Codes::Binary, 0) => usize::MAX,
                (_, 0) => RERANK,
                (_, multiple) => multiple as usize,
            };
            let count = nearest.k().saturating_mul(multiple);
            rank(scope, query, count, scratch, nearest, &mut cost)
        })?;
        Ok(cost)
    }

    /// Leaves about the `width` nearest accepted rows in the beam, with their keys or those of their codes.
    fn find(
        &self,
        scope: &Scope<'_>,
        query: &Query<'_>,
        width: usize,
        accepted: usize,
        scratch: &mut Scratch,
        cost: &mut Cost,
    ) -> Result {
        if self.graph.shape.codes == Codes::None {
            let full = Full {
                kernels: scope.kernels,
                query: *query,
                rows: scope.rows,
            };
            return self.walk(scope, &full, width, accepted, scratch, cost);
        }
        let (mut code, mut vector) = (core::mem::take(&mut scratch.code), core::mem::take(&mut scratch.vector));
        let graph = &self.graph;
        let found = self.coding.with_query(
            scope.kernels,
            (&graph.params, &graph.records),
            (graph.shape.record_bytes, graph.shape.code_at(), graph.count),
            query,
            (&mut code, &mut vector),
            ByCodes {
                graph: self,
                scope,
                width,
                accepted,
                scratch,
                cost,
            },
        );
        (scratch.code, scratch.vector) = (code, vector);
        found
    }

    /// Leaves about the `width` nearest accepted rows in the beam.
    fn walk(
        &self,
        scope: &Scope<'_>,
        measure: &impl Measure,
        width: usize,
        accepted: usize,
        scratch: &mut Scratch,
        cost: &mut Cost,
    ) -> Result {
        let (mut key, mut entry) = ([0], self.graph.entry);
        measure.keys(&[entry], &mut key)?;
        let [mut key] = key;
        for level in (1..self.graph.levels()).rev() {
            let Some(upper) = self.graph.upper(level) else { continue };
            let node = upper.node(entry).unwrap_or(0);
            let walk = &mut scratch.walk;
            walk.run(&upper, measure, 1, (key, node), scope.stop, cost)?;
            if let Some((best, node)) = walk.beam.iter().next() {
                key = best;
                entry = upper.rows.get(node as usize).copied().unwrap_or(0);
            }
        }
        match scope.accept {
            Some(accept) if accepted < self.graph.count => {
                let plan = Plan::new(self.graph.count, accepted, width);
                self.walk_filtered(scope, accept, measure, plan, (key, entry), scratch, cost)
            }
            _ => scratch
                .walk
                .run(&self.graph.base(), measure, width, (key, entry), scope.stop, cost),
        }
    }
}

/// A walk by codes.
struct ByCodes<'a, 'b> {
    graph: &'a Hnsw,
    scope: &'a Scope<'b>,
    width: usize,
    accepted: usize,
    scratch: &'a mut Scratch,
    cost: &'a mut Cost,
}

impl Work for ByCodes<'_, '_> {
    fn with(self, measure: &impl Measure) -> Result {
        self.graph
            .walk(self.scope, measure, self.width, self.accepted, self.scratch, self.cost)
    }
}

/// Offers the first `count` rows of the beam by their full vectors.
fn rank(
    scope: &Scope<'_>,
    query: &Query<'_>,
    count: usize,
    scratch: &mut Scratch,
    nearest: &mut Nearest,
    cost: &mut Cost,
) -> Result {
    let Scratch { walk, rows, keys, .. } = scratch;
    rows.clear();
    for (_, row) in walk.beam.iter().take(count) {
        rows.push(row)?;
    }
    compare(scope, query, rows, keys, nearest, cost)
}

/// Offers these rows.
fn compare(
    scope: &Scope<'_>,
    query: &Query<'_>,
    rows: &[u32],
    keys: &mut Vec<u32>,
    nearest: &mut Nearest,
    cost: &mut Cost,
) -> Result {
    keys.resize(rows.len(), 0)?;
    let misfit = |_| Error::Invalid("the query does not fit the rows");
    scope.kernels.gather(query, &scope.rows, rows, keys).map_err(misfit)?;
    cost.distances = cost.distances.saturating_add(rows.len() as u64);
    for (key, row) in keys.iter().zip(rows.iter()) {
        nearest.offer(*key, *row)?;
    }
    Ok(())
}
