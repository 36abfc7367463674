// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! What all indexes have in common.
//!
//! An index is made once, of rows that never change, and is a set of [`Section`]s of a segment file; opened again, it
//! answers searches. Each kind is a module of the crate with the same three functions: `build` makes the sections, `open`
//! checks every byte of them, so that `search` may trust what it reads.
//!
//! Rows are numbers below the segment's count, in the order of their ids: the order by (key, row) is that by (key, id).

mod nearest;
mod params;

pub(crate) use nearest::Nearest;
pub use params::Codes;
pub use params::IndexParams;
pub use params::Kind;

use crate::bits::Bits;
use vexfs_host::mem::Buffer;
use vexfs_host::mem::Vec;
use vexfs_simd::Kernels;
use vexfs_simd::Rows;

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
pub struct Knobs {
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
}

impl core::ops::AddAssign for Cost {
    fn add_assign(&mut self, other: Self) {
        self.distances = self.distances.saturating_add(other.distances);
        self.codes = self.codes.saturating_add(other.codes);
        self.hops = self.hops.saturating_add(other.hops);
        self.reads = self.reads.saturating_add(other.reads);
        self.stopped = self.stopped || other.stopped;
    }
}
