// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! Hierarchical navigable small world graphs (Malkov, Yashunin: arXiv 1603.09320, "the paper").

mod build;
mod builder;
mod codes;
mod extend;
mod filtered;
mod insert;
mod layout;
mod levels;
mod measure;
mod reach;
mod scratch;
mod search;
mod select;
#[cfg(test)]
mod tests;
mod walk;

use crate::graph;
use crate::graph::beam;
use crate::graph::visited;
use crate::index::scale;
use crate::index::Build;
use crate::index::Codes;
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
use crate::pool::Pool;
use codes::Coding;
use layout::Graph;
use layout::Shape;
use scratch::Scratch;
use vexfs_host::Result;
use vexfs_simd::Query;
use vexfs_simd::Space;

/// Neighbours if the parameters name no number.
const M: u32 = 16;
/// Candidates if the parameters name no number.
const EF_CONSTRUCTION: u32 = 200;

/// A graph that answers searches.
pub(crate) struct Hnsw {
    graph: Graph,
    coding: Coding,
    pool: Pool<Scratch>,
}

/// What a graph of rows of this space looks like.
fn shape(space: &Space, params: &IndexParams) -> Result<(Shape, Coding)> {
    let m = if params.m == 0 { M } else { params.m };
    let coding = Coding::new(space, params.codes())?;
    Ok((Shape::new(m as usize, params.codes(), coding.code_bytes()), coding))
}

/// Parameters without defaults.
fn filled(params: &IndexParams) -> IndexParams {
    params.with_graph_defaults(M, EF_CONSTRUCTION)
}

impl<R> Kind<R> for Hnsw {
    fn check(space: &Space, params: &IndexParams) -> Result {
        shape(space, params).map(drop)
    }

    #[inline(never)] // own frame
    fn build(build: &Build<'_>) -> Result<Sections> {
        let params = filled(build.params);
        let b = Build {
            params: &params,
            ..*build
        };
        let (shape, coding) = shape(&b.rows.space(), &params)?;
        let mut graph = build::build(&b, shape)?;
        graph.encode(&b, &coding)?;
        graph.into_sections()
    }

    /// Its lists must be as long.
    fn can_extend(params: &IndexParams, of: &IndexParams) -> bool {
        filled(params).m == filled(of).m
    }

    #[inline(never)] // own frame
    fn extend(build: &Build<'_>, base: &Self, map: &[u32]) -> Result<Sections> {
        let params = filled(build.params);
        let b = Build {
            params: &params,
            ..*build
        };
        let (shape, coding) = shape(&b.rows.space(), &params)?;
        let mut graph = extend::extend(&b, shape, &base.graph, map)?;
        graph.encode(&b, &coding)?;
        graph.into_sections()
    }

    #[inline(never)] // own frame
    fn open(mut opening: Opening<'_, R>) -> Result<Self> {
        let (shape, coding) = shape(opening.space, opening.params)?;
        Ok(Self {
            graph: Graph::open(opening.count, shape, &coding, &mut opening.sections)?,
            coding,
            pool: Pool::new()?,
        })
    }
}

impl Index for Hnsw {
    #[inline(never)] // own frame
    fn search(
        &self,
        scope: &Scope<'_>,
        query: &Query<'_>,
        params: &SearchParams,
        nearest: &mut Nearest,
    ) -> Result<Cost> {
        self.walk_and_rank(scope, query, params, nearest)
    }

    fn cost(&self, costs: &Costs, params: &SearchParams, k: usize, matching: u64) -> u64 {
        let shape = &self.graph.shape;
        let bytes = match shape.codes {
            Codes::None => costs.bytes,
            Codes::Sq8 => costs.dim,
            Codes::Bf16 => 2 * costs.dim,
            Codes::Binary => costs.dim / 8,
        };
        let width = width(costs, params, matching).max(k as u64);
        let cost = graph::compared(width).saturating_mul(costs.node(bytes));
        if two_hops(costs, matching) {
            let m = shape.m as u64;
            let edges = width.saturating_mul(4).saturating_mul(m).saturating_mul(m);
            return cost.saturating_add(edges.saturating_mul(EDGE_TENTHS) / 10);
        }
        // Rows that do not match are gone through, not all as if they did.
        let more = scale(cost, costs.rows.saturating_sub(matching), matching);
        cost.saturating_add(more.saturating_mul(PASSED_PERCENT) / 100)
    }

    fn tuned(&self, costs: &Costs, params: &SearchParams, matching: u64) -> SearchParams {
        let mut tuned = *params;
        if matching < costs.rows {
            tuned.ef = u32::try_from(width(costs, params, matching)).unwrap_or(u32::MAX);
        }
        tuned
    }

    fn trim(&self) -> u64 {
        self.pool.clear()
    }

    fn memory_bytes(&self) -> u64 {
        self.graph.memory_bytes() + self.pool.memory_bytes()
    }
}

/// How many more rows are compared for each that does not match, in percent: at width 32, 977 if a half matches, 1,419
/// if three tenths do and 2,546 if 13 % do, instead of 608.
const PASSED_PERCENT: u64 = 55;
/// Looking at an edge when a walk looks behind rows that do not match: a hop took 1.6 µs for 32 * 32 of them.
const EDGE_TENTHS: u64 = 16;

/// Whether a walk for so many matching rows looks behind those that do not match. Numbers of rows fit 32 bits.
fn two_hops(costs: &Costs, matching: u64) -> bool {
    filtered::is_two_hop(costs.rows as usize, matching as usize)
}

/// The width of a search. A walk that looks behind rows misses a little: with a quarter more width it finds as much as
/// others do (0.948 instead of 0.956 of ten rows of 384 dimensions, at width 32 and a tenth of the rows).
fn width(costs: &Costs, params: &SearchParams, matching: u64) -> u64 {
    let ef = search::ef(params) as u64;
    match two_hops(costs, matching) {
        true => ef.saturating_add(ef / 4),
        false => ef,
    }
}
