// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! IVF: the rows of the lists nearest to the query are compared exactly.
//!
//! Lists hold row numbers, not copies of vectors: the segment has them already, and fetching rows ahead of their use costs less
//! than a second copy of everything in memory.

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

use crate::index::Build;
use crate::index::Cost;
use crate::index::IndexParams;
use crate::index::Knobs;
use crate::index::Nearest;
use crate::index::Scope;
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

/// The number of lists for some rows, if the user does not say it: twice the square root, so that looking for lists and looking
/// into them cost about the same.
pub(crate) fn default_lists(rows: usize) -> usize {
    rows.isqrt().saturating_mul(2).clamp(1, 1 << 16)
}

/// The number of lists to look into, if the user does not say it: what took SIFT and text embeddings of 25,000 to 100,000 rows to
/// a recall of about 0.95.
pub(crate) fn default_probes(lists: usize) -> usize {
    (32 + lists / 32).min(lists)
}

impl Ivf {
    /// Makes the sections of an index.
    #[inline(never)] // Its frame is not to be part of every caller's.
    pub(crate) fn build(build: &Build<'_>) -> Result<Sections> {
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

    /// Whether such rows can have one.
    pub(crate) fn check(space: &Space, _params: &IndexParams) -> Result {
        check(space)
    }

    /// Opens an index, checking every byte.
    #[inline(never)] // Its frame is not to be part of every caller's.
    pub(crate) fn open(space: &Space, count: usize, _params: &IndexParams, mut sections: Sections) -> Result<Self> {
        Ok(Self {
            lists: Lists::open(space, count, &mut sections)?,
            scratch: Pool::new()?,
        })
    }

    /// Offers the rows nearest to the query.
    #[inline(never)] // Its frame is not to be part of every caller's.
    pub(crate) fn search(
        &self,
        scope: &Scope<'_>,
        query: &Query<'_>,
        knobs: &Knobs,
        nearest: &mut Nearest,
    ) -> Result<Cost> {
        self.scratch.with(
            || Scratch::new(&self.lists),
            |scratch| self.search_with(scratch, scope, query, knobs, nearest),
        )
    }

    fn search_with(
        &self,
        scratch: &mut Scratch,
        scope: &Scope<'_>,
        query: &Query<'_>,
        knobs: &Knobs,
        nearest: &mut Nearest,
    ) -> Result<Cost> {
        let probes = match knobs.nprobe {
            0 => default_probes(self.lists.count()),
            probes => probes as usize,
        };
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

    /// Gives back memory that searches hand on to each other. Returns the bytes freed.
    pub(crate) fn trim(&self) -> u64 {
        self.scratch.clear()
    }

    /// Bytes of memory held.
    pub(crate) fn memory_bytes(&self) -> u64 {
        self.lists.memory_bytes() + self.scratch.memory_bytes()
    }
}
