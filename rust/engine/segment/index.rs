// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! The index of a segment, whatever its kind.

use super::reader::Reader;
use crate::hnsw;
use crate::hnsw::Hnsw;
use crate::index::Build;
use crate::index::Cost;
use crate::index::IndexParams;
use crate::index::Kind;
use crate::index::Knobs;
use crate::index::Nearest;
use crate::index::Scope;
use crate::index::Sections;
use crate::ivf::Ivf;
use crate::lsh::Lsh;
use crate::plan::Searcher;
use crate::pq::PqIndex;
use crate::vamana::ReadAt;
use crate::vamana::Vamana;
use vexfs_host::mem::Box;
use vexfs_host::Error;
use vexfs_host::Result;
use vexfs_simd::Query;
use vexfs_simd::Space;

/// An open index.
pub(crate) enum Index {
    Hnsw(Box<Hnsw>),
    Ivf(Box<Ivf>),
    /// Pq and ivf-pq.
    Pq(Box<PqIndex>),
    Lsh(Box<Lsh>),
    /// With where it reads what is not in memory.
    Vamana(Box<Vamana>, Option<Reader>),
}

/// What `open` opens, in a frame of its own: indexes are large to be moved about.
#[inline(never)]
fn boxed<T>(open: impl FnOnce() -> Result<T>) -> Result<Box<T>> {
    Box::new(open()?)
}

/// What an index is extended from.
pub(crate) struct Base<'a> {
    /// The index of fewer rows.
    pub(crate) index: &'a Index,
    /// The new number of each of its rows, `u32::MAX` for those that are left out.
    pub(crate) map: &'a [u32],
}

impl Index {
    /// Makes the sections of an index, if possible from that of a part of the rows.
    #[inline(never)] // Its frame is not to be part of every caller's.
    pub(crate) fn build(build: &Build<'_>, base: Option<Base<'_>>) -> Result<Sections> {
        match build.params.kind {
            Kind::Flat => Ok(Sections::new()),
            Kind::Hnsw => match base {
                Some(Base {
                    index: Self::Hnsw(index),
                    map,
                }) => hnsw::extend(build, index, map),
                _ => hnsw::build(build),
            },
            Kind::Ivf => Ivf::build(build),
            Kind::Pq | Kind::IvfPq => PqIndex::build(build),
            Kind::Lsh => Lsh::build(build),
            Kind::Vamana => Vamana::build(build),
        }
    }

    /// Whether an index with these parameters can be made for such rows.
    pub(crate) fn check(space: &Space, params: &IndexParams) -> Result {
        match params.kind {
            Kind::Flat | Kind::Lsh => Ok(()),
            Kind::Hnsw => Hnsw::check(space, params),
            Kind::Ivf => Ivf::check(space, params),
            Kind::Pq | Kind::IvfPq => PqIndex::check(space, params),
            Kind::Vamana => Vamana::check(space, params),
        }
    }

    /// Whether an index with parameters `of` can be extended to one with these.
    pub(crate) fn can_extend(params: &IndexParams, of: &IndexParams) -> bool {
        params.kind == Kind::Hnsw && of.kind == Kind::Hnsw && Hnsw::can_extend(params, of)
    }

    /// Opens an index, checking every byte.
    pub(crate) fn open(space: &Space, count: usize, params: &IndexParams, sections: Sections) -> Result<Self> {
        match params.kind {
            Kind::Hnsw => boxed(|| Hnsw::open(space, count, params, sections)).map(Self::Hnsw),
            Kind::Ivf => boxed(|| Ivf::open(space, count, params, sections)).map(Self::Ivf),
            Kind::Pq | Kind::IvfPq => boxed(|| PqIndex::open(space, count, params, sections)).map(Self::Pq),
            Kind::Lsh => boxed(|| Lsh::open(space, count, params, sections)).map(Self::Lsh),
            Kind::Vamana => {
                let index = boxed(|| Vamana::open(space, count, params, sections, None))?;
                Ok(Self::Vamana(index, None))
            }
            Kind::Flat => Err(Error::Unsupported("this kind of index")),
        }
    }

    /// Opens an index that reads a part of it when it is needed.
    pub(crate) fn open_on(
        space: &Space,
        count: usize,
        params: &IndexParams,
        sections: Sections,
        reader: Reader,
    ) -> Result<Self> {
        let index = boxed(|| Vamana::open(space, count, params, sections, Some(&reader)))?;
        Ok(Self::Vamana(index, Some(reader)))
    }

    /// Whether it reads the vectors that it compares: a search does without the segment's own.
    pub(crate) fn reads_vectors(&self) -> bool {
        matches!(self, Self::Vamana(_, Some(_)))
    }

    /// Gives back memory that searches hand on to each other. Returns the bytes freed.
    pub(crate) fn trim(&self) -> u64 {
        match self {
            Self::Hnsw(index) => index.trim(),
            Self::Ivf(index) => index.trim(),
            Self::Pq(index) => index.trim(),
            Self::Lsh(index) => index.trim(),
            Self::Vamana(index, _) => index.trim(),
        }
    }

    /// Bytes of memory held.
    pub(crate) fn memory_bytes(&self) -> u64 {
        match self {
            Self::Hnsw(index) => index.memory_bytes(),
            Self::Ivf(index) => index.memory_bytes(),
            Self::Pq(index) => index.memory_bytes(),
            Self::Lsh(index) => index.memory_bytes(),
            Self::Vamana(index, _) => index.memory_bytes(),
        }
    }
}

impl Searcher for Index {
    fn search(&self, scope: &Scope<'_>, query: &Query<'_>, knobs: &Knobs, nearest: &mut Nearest) -> Result<Cost> {
        match self {
            Self::Hnsw(index) => index.search(scope, query, knobs, nearest),
            Self::Ivf(index) => index.search(scope, query, knobs, nearest),
            Self::Pq(index) => index.search(scope, query, knobs, nearest),
            Self::Lsh(index) => index.search(scope, query, knobs, nearest),
            Self::Vamana(index, reader) => {
                let reader = reader.as_ref().map(|reader| reader as &dyn ReadAt);
                index.search(scope, query, knobs, nearest, reader)
            }
        }
    }
}
