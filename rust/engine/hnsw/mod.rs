// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! Hierarchical navigable small world graphs (Malkov, Yashunin: arXiv 1603.09320, "the paper").

mod build;
mod draft;
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
use crate::index::Codes;
use crate::index::IndexParams;
use crate::index::Sections;
use crate::pool::Pool;
use layout::Graph;
use layout::Shape;
use search::Scratch;
use vexfs_host::Result;
use vexfs_simd::Space;

/// Neighbours if the parameters name no number.
const M: u32 = 16;
/// Candidates if the parameters name no number.
const EF_CONSTRUCTION: u32 = 200;

pub(crate) struct Hnsw {
    graph: Graph,
    pool: Pool<Scratch>,
}

fn shape(space: &Space, params: &IndexParams) -> Shape {
    let m = if params.m == 0 { M } else { params.m };
    let _ = space;
    Shape::new(m as usize, Codes::None, 0)
}

pub(crate) fn build(b: &Build<'_>) -> Result<Sections> {
    let mut params = *b.params;
    if params.ef_construction == 0 {
        params.ef_construction = EF_CONSTRUCTION;
    }
    let shape = shape(&b.rows.space(), &params);
    params.m = shape.m as u32;
    let b = Build { params: &params, ..*b };
    build::build(&b, shape)?.into_sections()
}

impl Hnsw {
    pub(crate) fn open(space: &Space, count: usize, params: &IndexParams, mut sections: Sections) -> Result<Self> {
        let shape = shape(space, params);
        Ok(Self {
            graph: Graph::open(count, shape, &mut sections)?,
            pool: Pool::new()?,
        })
    }

    pub(crate) fn memory_bytes(&self) -> u64 {
        self.graph.memory_bytes()
    }
}
