// SPDX-License-Identifier: Apache-2.0
//! Building indexes, and keeping a collection in shape.

use std::fmt;

use vexfs_host::threads;

use crate::Collection;
use crate::Index;
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
    threads: usize,
    progress: &'a (dyn Fn(u64, u64) + Sync),
}

impl<'a> Build<'a> {
    /// With all CPUs, and quietly.
    pub fn new() -> Self {
        Self {
            threads: 0,
            progress: &|_, _| {},
        }
    }

    /// With so many threads, 0 for all CPUs. With one, the same rows give the same index, byte for byte.
    pub fn threads(mut self, threads: usize) -> Self {
        self.threads = threads;
        self
    }

    /// Tells this function now and then how many rows of how many are done, from any thread.
    pub fn progress(mut self, progress: &'a (dyn Fn(u64, u64) + Sync)) -> Self {
        self.progress = progress;
        self
    }

    fn count(&self) -> usize {
        match self.threads {
            0 => threads::available(),
            threads => threads,
        }
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
    /// Gives the collection an index and builds it for the rows there are.
    pub fn build_index(&self, index: Index, build: &Build<'_>) -> Result<()> {
        let _ = (index.to_engine()?, build.count(), build.progress);
        Err(vexfs_host::Error::Unsupported("this version has no indexes").into())
    }

    /// Takes the index away.
    pub fn drop_index(&self) -> Result<()> {
        Err(vexfs_host::Error::Unsupported("this version has no indexes").into())
    }

    /// Merges all rows into one segment.
    pub fn optimize(&self, _build: &Build<'_>) -> Result<()> {
        Err(vexfs_host::Error::Unsupported("this version has no segments").into())
    }

    /// Does one thing that is due.
    pub fn maintain(&self, _build: &Build<'_>) -> Result<bool> {
        Err(vexfs_host::Error::Unsupported("this version has no segments").into())
    }

    /// Says how a query is answered.
    pub fn explain<'v>(
        &self,
        _query: impl Into<crate::Vectors<'v>>,
        _search: &crate::Search,
    ) -> Result<crate::Explained> {
        Err(vexfs_host::Error::Unsupported("this version has nothing to choose").into())
    }
}
