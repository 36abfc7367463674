// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! What all indexes have in common.
//!
//! An index is made once, of rows that never change, and is a set of [`Section`]s of a segment file; opened again, it
//! answers searches. Each kind is a module of `indexes` and has two traits: [`Kind`] makes the sections and opens them,
//! checking every byte, so that [`Index`], the open index, may trust what it reads.
//!
//! Rows are numbers below the segment's count, in the order of their ids: the order by (key, row) is that by (key, id).

mod cost;
mod params;

pub(crate) use crate::topk::Nearest;
pub(crate) use cost::scale;
pub(crate) use cost::Costs;
pub use params::IndexParams;
pub use vexfs_uapi::Codes;
pub use vexfs_uapi::IndexKind;

use crate::bits::Bits;
use vexfs_core::file::ReadAt as Read;
use vexfs_host::mem::Buffer;
use vexfs_host::mem::Vec;
use vexfs_host::Error;
use vexfs_host::Result;
use vexfs_simd::Kernels;
use vexfs_simd::Query;
use vexfs_simd::Rows;
use vexfs_simd::Space;
use vexfs_uapi::ExplainPart;
use vexfs_uapi::VEXFS_PART_STOPPED;

/// A part of a segment file.
pub(crate) struct Section {
    /// What it is: the kinds of an index begin at a number of its own.
    pub(crate) kind: u32,
    pub(crate) bytes: Buffer,
}

/// The parts of an index.
pub(crate) type Sections = Vec<Section>;

/// Takes the section of this kind out.
pub(crate) fn take_section(sections: &mut Sections, kind: u32) -> Option<Buffer> {
    let at = sections.iter().position(|section| section.kind == kind)?;
    sections.remove(at).map(|section| section.bytes)
}

/// An open index.
pub(crate) trait Index {
    /// Offers rows near the query that the scope accepts, by their exact keys. It does not compare every accepted row:
    /// where it finds too few, or says that it gave up, the planner does.
    ///
    /// # Errors
    ///
    /// `NoMemory`; `Interrupted` by a fatal signal; `Invalid` if the query or the rows are not of its space; those of
    /// reading.
    fn search(
        &self,
        scope: &Scope<'_>,
        query: &Query<'_>,
        params: &SearchParams,
        nearest: &mut Nearest,
    ) -> Result<Cost>;

    /// What a search for `k` rows is expected to cost if `matching` rows of the segment are accepted: see [`Costs`].
    fn cost(&self, costs: &Costs, params: &SearchParams, k: usize, matching: u64) -> u64;

    /// The search parameters where only so many rows of the segment are accepted. Graphs and hash tables go on by
    /// themselves until they have met enough of those, so that little has to be changed for them.
    fn tuned(&self, _costs: &Costs, params: &SearchParams, _matching: u64) -> SearchParams {
        *params
    }

    /// Whether it has the full vectors itself, on disk: a search does without the segment's own.
    fn has_vectors(&self) -> bool {
        false
    }

    /// What comparing so many rows costs; if it has the vectors, that is reading them.
    fn scan_cost(&self, costs: &Costs, rows: u64) -> u64 {
        costs.scan(rows)
    }

    /// Offers every accepted row; only if it has the vectors.
    ///
    /// # Errors
    ///
    /// Those of [`search`](Self::search).
    fn scan(&self, _scope: &Scope<'_>, _query: &Query<'_>, _nearest: &mut Nearest) -> Result<Cost> {
        Err(Error::Unsupported("this index has no vectors"))
    }

    /// Gives back memory that searches hand on to each other. Returns the bytes freed.
    fn trim(&self) -> u64;

    /// Bytes of memory held.
    fn memory_bytes(&self) -> u64;
}

/// A kind of index. `R` reads the section that stays on disk.
pub(crate) trait Kind<R>: Index + Sized {
    /// Whether an index with these parameters can be made for such rows.
    ///
    /// # Errors
    ///
    /// `Invalid` or `Unsupported` with the reason.
    fn check(_space: &Space, _params: &IndexParams) -> Result {
        Ok(())
    }

    /// Makes the sections of an index of these rows.
    ///
    /// # Errors
    ///
    /// `NoMemory`; `Interrupted` by a fatal signal; those of [`check`](Self::check).
    fn build(build: &Build<'_>) -> Result<Sections>;

    /// Whether an index with parameters `of` can be extended to one with these.
    fn can_extend(_params: &IndexParams, _of: &IndexParams) -> bool {
        false
    }

    /// Makes the sections from the index of some of the rows. `map` has the new number of each of its rows, `u32::MAX`
    /// for those that are left out.
    ///
    /// # Errors
    ///
    /// Those of [`build`](Self::build).
    fn extend(build: &Build<'_>, _base: &Self, _map: &[u32]) -> Result<Sections> {
        Self::build(build)
    }

    /// The kind of the section that stays on disk and is read when it is needed.
    fn section_on_demand(_params: &IndexParams) -> Option<u32> {
        None
    }

    /// Opens what [`build`](Self::build) made, checking every byte.
    ///
    /// # Errors
    ///
    /// `Corrupt` if a byte of the sections cannot be what was made; `NoMemory`.
    fn open(opening: Opening<'_, R>) -> Result<Self>;
}

/// What an index is opened from.
pub(crate) struct Opening<'a, R> {
    /// The rows' space.
    pub(crate) space: &'a Space,
    /// Their number.
    pub(crate) count: usize,
    /// What it was made with.
    pub(crate) params: &'a IndexParams,
    /// Its sections, but for the one that `reader` reads.
    pub(crate) sections: Sections,
    pub(crate) reader: Option<R>,
}

/// Something that holds the section which stays on disk.
pub(crate) trait ReadAt {
    /// Fills all buffers, each from its offset in the section; offsets and lengths are whole blocks of 4 KiB. The reads
    /// are under way together.
    fn read_many(&self, reads: &mut [Read<'_>]) -> Result;
}

/// What an index is made of.
pub(crate) struct Build<'a> {
    pub(crate) kernels: Kernels,
    /// The full vectors.
    pub(crate) rows: Rows<'a>,
    pub(crate) params: &'a IndexParams,
    /// Threads to use; with 1 the same input makes the same index, byte for byte.
    pub(crate) threads: usize,
    /// Told now and then how much of all work is done.
    pub(crate) progress: &'a (dyn Fn(u64, u64) + Sync),
}

/// How thorough a search is. 0 means the index's default.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct SearchParams {
    /// Width of a graph search.
    pub ef: u32,
    /// Lists or buckets to look into.
    pub nprobe: u32,
    /// Candidates found by codes that are compared by their full vectors, as a multiple of k.
    pub rerank: u32,
}

/// What a search may see.
pub(crate) struct Scope<'a> {
    pub(crate) kernels: Kernels,
    /// The full vectors.
    pub(crate) rows: Rows<'a>,
    /// The rows that may be found; all if `None`.
    pub(crate) accept: Option<&'a Bits>,
    /// Asked now and then: whether to stop with what has been found.
    pub(crate) stop: &'a dyn Fn() -> bool,
}

impl Scope<'_> {
    /// Whether a row may be found.
    #[inline]
    pub(crate) fn accepts(&self, row: u32) -> bool {
        self.accept.is_none_or(|accept| accept.get(row))
    }

    /// The rows below `count` that may be found, ascending.
    pub(crate) fn accepted(&self, count: usize) -> impl Iterator<Item = u32> + '_ {
        let mut all = 0..count as u32;
        let mut marked = self.accept.map(|accept| accept.iter());
        core::iter::from_fn(move || match &mut marked {
            Some(marked) => marked.next(),
            None => all.next(),
        })
    }
}

/// What a search did.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Cost {
    /// Rows whose full vector was compared with the query.
    pub distances: u64,
    /// Rows whose code was compared with the query.
    pub codes: u64,
    /// Nodes or lists that were expanded.
    pub hops: u64,
    /// Reads of the device.
    pub reads: u64,
    /// It was told to stop before it was done.
    pub stopped: bool,
    /// It may have missed rows, and comparing all accepted ones is no more work than going on.
    pub gave_up: bool,
}

impl Cost {
    /// Adds it to what is said of a part of a collection.
    pub(crate) fn add_to(&self, part: &mut ExplainPart) {
        part.distances = part.distances.saturating_add(self.distances);
        part.codes = part.codes.saturating_add(self.codes);
        part.hops = part.hops.saturating_add(self.hops);
        part.reads = part.reads.saturating_add(self.reads);
        if self.stopped {
            part.flags |= VEXFS_PART_STOPPED;
        }
    }
}

impl core::ops::AddAssign for Cost {
    fn add_assign(&mut self, other: Self) {
        self.distances = self.distances.saturating_add(other.distances);
        self.codes = self.codes.saturating_add(other.codes);
        self.hops = self.hops.saturating_add(other.hops);
        self.reads = self.reads.saturating_add(other.reads);
        self.stopped = self.stopped || other.stopped;
        self.gave_up = self.gave_up || other.gave_up;
    }
}
