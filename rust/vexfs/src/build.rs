// SPDX-License-Identifier: Apache-2.0
//! Building indexes, and keeping a collection in shape.

use std::fmt;

use crate::backend::Change;
use crate::Collection;
use crate::IndexParams;
use crate::Result;

/// How to do long work: with how many threads, and whom to tell how far it is.
///
/// ```
/// use vexfs::Build;
///
/// let progress = |done, total| eprintln!("{done} of {total} rows");
/// let build = Build::new().threads(4).progress(&progress);
/// # let _ = build;
/// ```
#[derive(Clone, Copy)]
pub struct Build<'a> {
    pub(crate) threads: usize,
    pub(crate) progress: &'a (dyn Fn(u64, u64) + Sync),
}

impl<'a> Build<'a> {
    /// With all CPUs, and quietly.
    pub fn new() -> Self {
        Self {
            threads: 0,
            progress: &|_, _| {},
        }
    }

    /// With so many threads, 0 for all CPUs. With one, the same rows give the same index, byte for byte. A mounted
    /// filesystem always uses one.
    pub fn threads(mut self, threads: usize) -> Self {
        self.threads = threads;
        self
    }

    /// Tells this function now and then how many rows of how many are done, from any thread.
    pub fn progress(mut self, progress: &'a (dyn Fn(u64, u64) + Sync)) -> Self {
        self.progress = progress;
        self
    }
}

impl Default for Build<'_> {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Build<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Build")
            .field("threads", &self.threads)
            .finish_non_exhaustive()
    }
}

impl Collection {
    /// Gives the collection an index and builds it for the rows there are; rows that come later get it as they become
    /// many. Searches and changes go on meanwhile.
    ///
    /// ```
    /// use vexfs::{Build, IndexParams, Metric, Row, Search, Vexfs};
    ///
    /// let fs = Vexfs::in_memory(256 << 20)?;
    /// let points = fs.create_collection("/points", 2, Metric::L2)?;
    /// points.insert((0..500).map(|i| Row::new([(i % 25) as f32, (i / 25) as f32])))?;
    /// points.build_index(IndexParams { m: 8, ..IndexParams::HNSW }, &Build::new())?;
    ///
    /// let search = Search::new(3).ef(40);
    /// let near = points.search(&[7.2, 3.1], &search)?;
    /// assert_eq!(near[0].id, 82);
    /// assert_eq!(near, points.search(&[7.2, 3.1], &search.exact())?);
    /// # Ok::<(), vexfs::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// `Invalid` or `Unsupported` for parameters that make no sense for this collection; those of writing. The
    /// collection is as before then, or as after one of the steps.
    pub fn build_index(&self, index: impl Into<IndexParams>, build: &Build<'_>) -> Result<()> {
        self.0.build(Change::Set(index.into()), build).map(drop)
    }

    /// Takes the index away: every search compares all rows from now on.
    ///
    /// # Errors
    ///
    /// Those of writing.
    pub fn drop_index(&self) -> Result<()> {
        self.0.build(Change::Drop, &Build::new()).map(drop)
    }

    /// Merges all rows into one segment, without those that are deleted, and indexes it: the fastest to search.
    ///
    /// # Errors
    ///
    /// Those of writing.
    pub fn optimize(&self, build: &Build<'_>) -> Result<()> {
        self.0.build(Change::Optimize, build).map(drop)
    }

    /// Does one thing that is due: seals recent rows into a segment, merges small segments, indexes one that has no
    /// index. Returns whether anything was; call it until nothing is, from a thread that has time for it. Inserting
    /// never does it by itself, unless far too much has become due. A mounted filesystem does all that is due in one
    /// call.
    ///
    /// # Errors
    ///
    /// Those of writing.
    pub fn maintain(&self, build: &Build<'_>) -> Result<bool> {
        self.0.build(Change::Maintain, build)
    }
}
