// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! Locality-sensitive hashing: tables of buckets in which near rows meet, probed in many places (Lv et al.: Multi-Probe
//! LSH, VLDB 2007), then 256-bit sketches, then full vectors.
//!
//! Angles (cosine, inner product) are hashed by random hyperplanes, l2 by p-stable projections or, where the rows'
//! lengths tell little, by hyperplanes through their middle. How many tables, functions, probes and exact comparisons
//! there are is derived from a recall and the rows when the index is made ([`derive`](mod@derive)).
//!
//! - `format`: the sections; `project`: vectors to integers; `tables`: buckets; `probe`: their order for a query;
//!   `search`: one search; `derive`: parameters.
//!
//! Invariants: searches see all accepted rows as candidates where probing finds too few of them, so that they return k
//! rows whenever there are k; rows are compared exactly before they are returned.

mod derive;
mod format;
mod probe;
mod project;
mod search;
mod tables;
#[cfg(test)]
mod tests;

use crate::index::take_section;
use crate::index::Build;
use crate::index::Cost;
use crate::index::Costs;
use crate::index::Index;
use crate::index::Kind;
use crate::index::Nearest;
use crate::index::Opening;
use crate::index::Scope;
use crate::index::SearchParams;
use crate::index::Section;
use crate::index::Sections;
use crate::pool::Pool;
use format::Derived;
use format::SKETCH_BITS;
use project::Functions;
use project::Projector;
use search::Scratch;
use tables::Tables;
use vexfs_host::mem::Buffer;
use vexfs_host::mem::Vec;
use vexfs_host::Error;
use vexfs_host::Result;
use vexfs_simd::Query;
use vexfs_simd::Space;

/// An open index.
pub(crate) struct Lsh {
    space: Space,
    rows: usize,
    derived: Derived,
    thresholds: Vec<i32>,
    projector: Projector,
    functions: Functions,
    sketches: Buffer,
    tables: Tables,
    scratch: Pool<Scratch>,
}

/// The share of its rows that a search looks at: one in so many.
const LOOKED_AT: u64 = 16;

impl<R> Kind<R> for Lsh {
    #[inline(never)] // own frame
    fn build(b: &Build<'_>) -> Result<Sections> {
        let lsh = derive::build(b)?;
        let mut header = Buffer::zeroed(format::HEADER_BYTES)?;
        lsh.derived.encode(lsh.rows, &mut header)?;
        let mut thresholds = Buffer::zeroed(SKETCH_BITS * 4)?;
        for (word, threshold) in thresholds.as_u32s_mut().iter_mut().zip(lsh.thresholds.iter()) {
            *word = *threshold as u32;
        }
        let mut sections = Sections::new();
        for (kind, bytes) in [
            (format::HEADER, header),
            (format::THRESHOLDS, thresholds),
            (format::SKETCHES, lsh.sketches),
            (format::DIRECTORIES, lsh.tables.directories),
            (format::LISTS, lsh.tables.lists),
        ] {
            sections.push(Section { kind, bytes })?;
        }
        Ok(sections)
    }

    #[inline(never)] // own frame
    fn open(opening: Opening<'_, R>) -> Result<Self> {
        let Opening {
            space,
            count,
            mut sections,
            ..
        } = opening;
        let mut take = |kind| take_section(&mut sections, kind).ok_or(bad("lsh: section missing"));
        let derived = Derived::decode(count, &take(format::HEADER)?)?;
        let words = take(format::THRESHOLDS)?;
        let sketches = take(format::SKETCHES)?;
        let tables = Tables {
            shape: derived.shape,
            rows: count,
            directories: take(format::DIRECTORIES)?,
            lists: take(format::LISTS)?,
        };
        if words.len() != SKETCH_BITS * 4 || sketches.len() != project::sketches_len(count)? {
            return Err(bad("lsh: length of a section"));
        }
        tables.check()?;
        let mut thresholds = Vec::with_capacity(SKETCH_BITS)?;
        for word in words.as_u32s() {
            thresholds.push(*word as i32)?;
        }
        Self::assemble(space, derived, thresholds, sketches, tables)
    }
}

impl Index for Lsh {
    #[inline(never)] // own frame
    fn search(
        &self,
        scope: &Scope<'_>,
        query: &Query<'_>,
        params: &SearchParams,
        nearest: &mut Nearest,
    ) -> Result<Cost> {
        self.scratch.with(
            || Scratch::new(self),
            |scratch| self.search_with(scope, query, params, nearest, scratch),
        )
    }

    fn cost(&self, costs: &Costs, _knobs: &SearchParams, k: usize, _matching: u64) -> u64 {
        costs.scan((costs.rows / LOOKED_AT).max(k as u64))
    }

    fn trim(&self) -> u64 {
        self.scratch.clear()
    }

    fn memory_bytes(&self) -> u64 {
        self.sketches.memory_bytes()
            + self.tables.directories.memory_bytes()
            + self.tables.lists.memory_bytes()
            + self.projector.memory_bytes()
            + self.functions.memory_bytes()
            + self.scratch.memory_bytes()
    }
}

impl Lsh {
    #[inline(never)] // own frame
    fn assemble(
        space: &Space,
        derived: Derived,
        thresholds: Vec<i32>,
        sketches: Buffer,
        tables: Tables,
    ) -> Result<Self> {
        Ok(Self {
            space: *space,
            rows: tables.rows,
            projector: Projector::new(space, derived.seed, derived.scale)?,
            functions: Functions::new(&derived.shape, derived.seed, &thresholds)?,
            derived,
            thresholds,
            sketches,
            tables,
            scratch: Pool::new()?,
        })
    }
}

fn bad(what: &'static str) -> Error {
    Error::corrupt(what, u64::MAX, 0)
}
