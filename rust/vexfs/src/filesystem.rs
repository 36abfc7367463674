// SPDX-License-Identifier: Apache-2.0
//! An open filesystem, and the collections in it by their paths.

use std::fmt;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use serde::Serialize;

use crate::backend::Filesystem;
use crate::image::Image;
use crate::mounted::Mounted;
use crate::Collection;
use crate::CollectionInfo;
use crate::Element;
use crate::Error;
use crate::IndexKind;
use crate::Metric;
use crate::Result;

/// An open filesystem: an image in this process, or a mounted one of the kernel's.
///
/// Clones and collections of it share it. What was changed in an image is written by [`Vexfs::sync`], by
/// [`Vexfs::close`], and when the last of them is dropped, which cannot report errors. A mounted filesystem writes by
/// itself, too, as for every program.
#[derive(Clone)]
pub struct Vexfs(Arc<dyn Filesystem>);

/// How to open an image.
#[derive(Clone, Copy, Debug, Default)]
pub struct OpenOptions {
    read_only: bool,
}

impl OpenOptions {
    /// For reading and writing.
    pub fn new() -> Self {
        Self::default()
    }

    /// For reading only: nothing at all is written to the image.
    pub fn read_only(mut self, read_only: bool) -> Self {
        self.read_only = read_only;
        self
    }

    /// Opens an image file or an unmounted device.
    ///
    /// # Errors
    ///
    /// As [`Vexfs::open`].
    pub fn open(self, path: impl AsRef<Path>) -> Result<Vexfs> {
        Ok(Vexfs(Arc::new(Image::open(path.as_ref(), self.read_only)?)))
    }
}

/// What a new collection is like.
///
/// A dimension and a metric are enough, as in [`Vexfs::create_collection`]; the rest has defaults.
#[derive(Clone, Copy, Debug)]
pub struct CollectionOptions {
    pub(crate) dim: u32,
    pub(crate) metric: Metric,
    pub(crate) element: Element,
    pub(crate) index: IndexKind,
}

impl CollectionOptions {
    /// Vectors of `dim` (1 to 4096) f32, without an index.
    pub fn new(dim: u32, metric: Metric) -> Self {
        Self {
            dim,
            metric,
            element: Element::F32,
            index: IndexKind::Flat,
        }
    }

    /// Elements of another type.
    pub fn element(mut self, element: Element) -> Self {
        self.element = element;
        self
    }

    /// An index with default parameters, which rows get as they become many. [`Collection::build_index`] sets others.
    pub fn index(mut self, index: IndexKind) -> Self {
        self.index = index;
        self
    }
}

/// State of a filesystem.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Stat {
    /// Its uuid.
    pub uuid: [u8; 16],
    /// Its label.
    pub label: String,
    /// Whether nothing can be changed.
    pub read_only: bool,
    /// Whether an error has stopped all changes.
    pub aborted: bool,
    /// Bytes of a block.
    pub block_size: u32,
    /// Bytes for data and metadata, used and free.
    pub total_bytes: u64,
    /// Bytes free.
    pub free_bytes: u64,
    /// Files and directories.
    pub inodes: u64,
    /// The open transaction group.
    pub txg: u64,
    /// Transaction groups committed since it was opened.
    pub commits: u64,
    /// Tree nodes in memory.
    pub cached_nodes: u64,
    /// What distances are computed with: "avx2".
    pub simd: String,
    /// What it has done since it was mounted; of a mounted one only.
    pub activity: Option<Activity>,
}

/// What a mounted filesystem has done with collections since it was mounted, and holds of them in memory, for all
/// programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Activity {
    /// Collections in memory.
    pub collections_loaded: u64,
    /// Bytes of them.
    pub vector_bytes: u64,
    /// Queries answered.
    pub queries: u64,
    /// Rows compared with them.
    pub rows_scanned: u64,
    /// Rows inserted.
    pub rows_inserted: u64,
    /// Rows deleted.
    pub rows_deleted: u64,
}

impl Vexfs {
    /// Makes a file of `bytes` bytes with an empty filesystem in it, and opens that. The file is sparse: it takes the
    /// space of what is stored.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let path = dir.path().join("vectors.img");
    /// use vexfs::{Metric, Row, Vexfs};
    ///
    /// let fs = Vexfs::create(&path, 64 << 20)?;
    /// fs.create_collection("/docs", 2, Metric::L2)?.insert([Row::new([1.0, 2.0])])?;
    /// fs.close()?;
    ///
    /// let fs = Vexfs::open(&path)?;
    /// assert_eq!(fs.collection("/docs")?.info()?.rows, 1);
    /// # Ok::<(), vexfs::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// `Exists` if there is a file already; too few bytes; those of writing.
    pub fn create(path: impl AsRef<Path>, bytes: u64) -> Result<Self> {
        Ok(Self(Arc::new(Image::create(path.as_ref(), bytes)?)))
    }

    /// Opens an image file or an unmounted device for reading and writing.
    ///
    /// # Errors
    ///
    /// `InUse` if it is mounted or open elsewhere; `Corrupt` or `Unsupported` if it has no filesystem that this version
    /// can use; those of opening the file.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        OpenOptions::new().open(path)
    }

    /// An empty filesystem in memory: for tests, and for collections that need not last. Memory is taken as it is
    /// needed.
    ///
    /// # Errors
    ///
    /// Too few bytes.
    pub fn in_memory(bytes: u64) -> Result<Self> {
        Ok(Self(Arc::new(Image::in_memory(bytes)?)))
    }

    /// A mounted filesystem, by any directory of it, which is then the root: with "/mnt", the collection "/docs" is
    /// /mnt/docs. Paths lead below that directory, not through symbolic links, and into no other filesystem.
    ///
    /// [`mounts`](crate::mounts) tells what is mounted; [`Collection::open`] opens a collection by its own path.
    ///
    /// ```no_run
    /// use vexfs::{Search, Vexfs};
    ///
    /// let fs = Vexfs::mounted("/mnt")?;
    /// let hits = fs.collection("/docs")?.search(&[0.1, 0.2, 0.2], &Search::new(10))?;
    /// println!("{} hits, {} queries so far", hits.len(), fs.stat()?.activity.unwrap().queries);
    /// # Ok::<(), vexfs::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// `NotMounted` for a directory elsewhere; `NotFound`, `Denied` and others of opening it.
    pub fn mounted(dir: impl AsRef<Path>) -> Result<Self> {
        Ok(Self(Arc::new(Mounted::open(dir.as_ref())?)))
    }

    /// Writes everything to stable storage.
    ///
    /// # Errors
    ///
    /// Those of writing; a later call tries again unless the filesystem has stopped ([`Stat::aborted`]).
    pub fn sync(&self) -> Result<()> {
        self.0.sync()
    }

    /// Writes everything to stable storage and, of an image, allows no more changes, through whatever clone or
    /// collection.
    ///
    /// # Errors
    ///
    /// Those of writing.
    pub fn close(self) -> Result<()> {
        self.0.close()
    }

    /// State and free space.
    ///
    /// # Errors
    ///
    /// Those of asking the kernel; an image has none.
    pub fn stat(&self) -> Result<Stat> {
        self.0.stat()
    }

    /// Makes a collection of f32 vectors without an index; its parent must be there.
    ///
    /// # Errors
    ///
    /// `Exists`, `NotFound` (the parent), `Invalid` (the dimension); those of writing.
    pub fn create_collection(&self, path: impl AsRef<Path>, dim: u32, metric: Metric) -> Result<Collection> {
        self.create_collection_with(path, CollectionOptions::new(dim, metric))
    }

    /// Makes a collection.
    ///
    /// ```
    /// use vexfs::{CollectionOptions, Element, Metric, Vexfs};
    ///
    /// let fs = Vexfs::in_memory(64 << 20)?;
    /// let options = CollectionOptions::new(256, Metric::Hamming).element(Element::Binary);
    /// let prints = fs.create_collection_with("/fingerprints", options)?;
    /// assert_eq!(prints.info()?.element, Element::Binary);
    /// # Ok::<(), vexfs::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`Vexfs::create_collection`]; `Unsupported` or `Invalid` for an element type and a metric that do not go
    /// together.
    pub fn create_collection_with(&self, path: impl AsRef<Path>, options: CollectionOptions) -> Result<Collection> {
        if (options.metric == Metric::Hamming) != (options.element == Element::Binary) {
            return Err(Error::invalid(
                "the metric hamming and the element type binary belong together",
            ));
        }
        Ok(Collection::new(self.0.create(path.as_ref(), &options)?))
    }

    /// Opens a collection. Rows are read when they are first needed.
    ///
    /// # Errors
    ///
    /// `NotFound`; `NotCollection` for another directory or a file; `Corrupt`.
    pub fn collection(&self, path: impl AsRef<Path>) -> Result<Collection> {
        Ok(Collection::new(self.0.open(path.as_ref())?))
    }

    /// Removes a collection with its rows, and its directory. Nobody may be using it.
    ///
    /// # Errors
    ///
    /// `NotEmpty` if the directory holds files; as [`Vexfs::collection`]; those of writing.
    pub fn drop_collection(&self, path: impl AsRef<Path>) -> Result<()> {
        self.0.drop_collection(path.as_ref())
    }

    /// Describes the collections directly in a directory, or with `recursive` everywhere below it, sorted by path.
    ///
    /// ```
    /// use vexfs::{Metric, Vexfs};
    ///
    /// let fs = Vexfs::in_memory(64 << 20)?;
    /// fs.create_collection("/b", 2, Metric::L2)?;
    /// fs.create_collection("/a", 3, Metric::Ip)?;
    /// let all = fs.collections("/", false)?;
    /// assert_eq!(all[0].0.to_str(), Some("/a"));
    /// assert_eq!(all[1].1.dim, 2);
    /// # Ok::<(), vexfs::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// `NotFound`, `Corrupt`.
    pub fn collections(&self, dir: impl AsRef<Path>, recursive: bool) -> Result<Vec<(PathBuf, CollectionInfo)>> {
        let mut found = self.0.list(dir.as_ref(), recursive)?;
        found.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(found)
    }
}

impl fmt::Debug for Vexfs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vexfs").field("stat", &self.stat()).finish()
    }
}
