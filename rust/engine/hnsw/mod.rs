// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! Hierarchical navigable small world graphs (Malkov, Yashunin: arXiv 1603.09320, "the paper").

mod build;
mod codes;
mod draft;
mod extend;
mod filtered;
mod layout;
mod levels;
mod measure;
mod reach;
mod search;
mod select;
#[cfg(test)]
mod tests;
mod walk;
mod weave;

use crate::graph::beam;
use crate::graph::visited;
use crate::index::Build;
use crate::index::IndexParams;
use crate::index::Sections;
use crate::pool::Pool;
use codes::Coding;
use layout::Graph;
use layout::Shape;
use search::Scratch;
use vexfs_host::Result;
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
    let coding = Coding::new(space, params.codes)?;
    Ok((Shape::new(m as usize, params.codes, coding.code_bytes()), coding))
}

/// Parameters without defaults.
fn filled(params: &IndexParams) -> IndexParams {
    let or = |value, default| if value == 0 { default } else { value };
    IndexParams {
        m: or(params.m, M),
        ef_construction: or(params.ef_construction, EF_CONSTRUCTION),
        ..*params
    }
}

/// Builds the graph of all rows.
///
/// # Errors
///
/// `NoMemory`; `Interrupted` by a fatal signal; `Invalid` if rows of this space have no such codes.
#[inline(never)] // Its frame is not to be part of every caller's.
pub(crate) fn build(b: &Build<'_>) -> Result<Sections> {
    let params = filled(b.params);
    let b = Build { params: &params, ..*b };
    let (shape, coding) = shape(&b.rows.space(), &params)?;
    let mut graph = build::build(&b, shape)?;
    graph.encode(&b, &coding)?;
    graph.into_sections()
}

/// Builds the graph of all rows, which begins with that of some of them: row `i` of `base` is row `map[i]` now, or was dropped if
/// that is `u32::MAX`.
///
/// # Errors
///
/// As [`build`]; `Invalid` if `map` is not an ascending one of the rows of `base`.
#[inline(never)] // Its frame is not to be part of every caller's.
pub(crate) fn extend(b: &Build<'_>, base: &Hnsw, map: &[u32]) -> Result<Sections> {
    let params = filled(b.params);
    let b = Build { params: &params, ..*b };
    let (shape, coding) = shape(&b.rows.space(), &params)?;
    let mut graph = extend::extend(&b, shape, &base.graph, map)?;
    graph.encode(&b, &coding)?;
    graph.into_sections()
}

impl Hnsw {
    /// Whether a graph of such rows can be built.
    ///
    /// # Errors
    ///
    /// `Invalid` if rows of this space have no such codes.
    pub(crate) fn check(space: &Space, params: &IndexParams) -> Result {
        shape(space, params).map(drop)
    }

    /// Whether a graph with parameters `of` can be extended to one with these: its lists must be as long.
    pub(crate) fn can_extend(params: &IndexParams, of: &IndexParams) -> bool {
        filled(params).m == filled(of).m
    }

    /// Opens what [`build`] made of `count` rows of this space.
    ///
    /// # Errors
    ///
    /// `Corrupt` if a byte of the sections cannot be what `build` made; `NoMemory`.
    #[inline(never)] // Its frame is not to be part of every caller's.
    pub(crate) fn open(space: &Space, count: usize, params: &IndexParams, mut sections: Sections) -> Result<Self> {
        let (shape, coding) = shape(space, params)?;
        Ok(Self {
            graph: Graph::open(count, shape, &coding, &mut sections)?,
            coding,
            pool: Pool::new()?,
        })
    }

    /// Gives back memory that searches hand on to each other. Returns the bytes freed.
    pub(crate) fn trim(&self) -> u64 {
        self.pool.clear()
    }

    /// Bytes of memory held.
    pub(crate) fn memory_bytes(&self) -> u64 {
        self.graph.memory_bytes() + self.pool.memory_bytes()
    }
}
