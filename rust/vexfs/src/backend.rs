// SPDX-License-Identifier: Apache-2.0
//! What runs a filesystem: this process, on an image, or the kernel, on a mounted one. Both do the same.

use std::ffi::OsStr;
use std::path::Component;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use crate::Answers;
use crate::Batch;
use crate::Build;
use crate::CollectionInfo;
use crate::CollectionOptions;
use crate::Element;
use crate::Error;
use crate::Explained;
use crate::IndexParams;
use crate::InsertOptions;
use crate::Inserted;
use crate::Metric;
use crate::Result;
use crate::Search;
use crate::Stat;
use crate::Stored;

/// An open filesystem.
pub(crate) trait Filesystem: Send + Sync {
    fn stat(&self) -> Result<Stat>;
    fn sync(&self) -> Result<()>;
    /// Syncs, and ends what this process has to end.
    fn close(&self) -> Result<()>;
    fn create(&self, path: &Path, options: &CollectionOptions) -> Result<Arc<dyn Collection>>;
    fn open(&self, path: &Path) -> Result<Arc<dyn Collection>>;
    fn drop_collection(&self, path: &Path) -> Result<()>;
    /// In any order.
    fn list(&self, dir: &Path, recursive: bool) -> Result<Vec<(PathBuf, CollectionInfo)>>;
}

/// What never changes about a collection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Schema {
    /// Inode number of its directory.
    pub id: u64,
    pub dim: u32,
    pub element: Element,
    pub metric: Metric,
}

impl Schema {
    /// Bytes of a vector.
    pub fn row_bytes(&self) -> usize {
        self.element.vector_bytes(self.dim as usize)
    }
}

/// What is done about an index.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Change {
    Set(IndexParams),
    Drop,
    Optimize,
    Maintain,
}

/// An open collection. Batches, queries and ids are those of this collection: callers have looked.
pub(crate) trait Collection: Send + Sync {
    fn schema(&self) -> Schema;
    fn info(&self) -> Result<CollectionInfo>;
    fn insert(&self, batch: &Batch, options: InsertOptions) -> Result<Inserted>;
    fn delete(&self, ids: &[u64], sync: bool) -> Result<u64>;
    /// The vectors of rows are empty unless they are wanted.
    fn get(&self, ids: &[u64], want_vectors: bool) -> Result<Vec<Option<Stored>>>;
    fn search(&self, queries: &[u8], search: &Search) -> Result<Answers>;
    fn explain(&self, query: &[u8], search: &Search) -> Result<Explained>;
    /// Returns whether there was anything to do, which only maintenance asks.
    fn build(&self, change: Change, build: &Build<'_>) -> Result<bool>;
    fn sync(&self) -> Result<()>;
    fn drop_cache(&self) -> u64;
}

/// The names that a path goes through, from the root.
pub(crate) fn names(path: &Path) -> Result<Vec<&OsStr>> {
    let mut names = Vec::new();
    for component in path.components() {
        match component {
            Component::RootDir | Component::CurDir => {}
            Component::Normal(name) => names.push(name),
            Component::ParentDir | Component::Prefix(_) => {
                return Err(Error::invalid(format!(
                    "{}: a path without .. is needed",
                    path.display()
                )))
            }
        }
    }
    Ok(names)
}

/// The names that lead to a path's parent, and the last one.
pub(crate) fn split(path: &Path) -> Result<(Vec<&OsStr>, &OsStr)> {
    let mut names = names(path)?;
    match names.pop() {
        Some(last) => Ok((names, last)),
        None => Err(Error::invalid(format!("{} does not end in a name", path.display()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_the_names_from_the_root_and_never_leads_back() {
        assert_eq!(names(Path::new("/a//b/./c/")).unwrap(), ["a", "b", "c"]);
        assert!(names(Path::new("/")).unwrap().is_empty());
        assert!(names(Path::new("a/../b")).is_err());
        assert_eq!(
            split(Path::new("a/b")).unwrap(),
            (vec![OsStr::new("a")], OsStr::new("b"))
        );
        assert!(split(Path::new("/")).is_err() && split(Path::new("a/..")).is_err());
    }
}
