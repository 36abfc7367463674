// SPDX-License-Identifier: Apache-2.0
//! An open filesystem, and the collections in it by their paths.

use std::ffi::OsStr;
use std::fmt;
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::path::Component;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc as StdArc;

use nix::fcntl::Flock;
use vexfs_core::format::ROOT_INO;
use vexfs_core::inode::NewInode;
use vexfs_core::inode::Time;
use vexfs_core::mkfs::FormatOptions;
use vexfs_core::mount::MountOptions;
use vexfs_core::Fs;
use vexfs_engine as engine;
use vexfs_host::device::Backend;
use vexfs_host::device::Device;
use vexfs_host::device::FileBackend;
use vexfs_host::device::RamBackend;
use vexfs_host::sync::Arc;

use crate::collection::info_of;
use crate::collection::Info;
use crate::lock;
use crate::Collection;
use crate::Element;
use crate::Error;
use crate::IndexKind;
use crate::Metric;
use crate::Result;

/// An open filesystem.
///
/// Clones and collections of it share it. What was changed is written by [`Vexfs::sync`], by [`Vexfs::close`], and when
/// the last of them is dropped, which cannot report errors.
#[derive(Clone)]
pub struct Vexfs(StdArc<Open>);

pub(crate) struct Open {
    pub(crate) fs: Arc<Fs>,
    pub(crate) collections: engine::Collections,
    /// Keeps other processes off.
    _lock: Option<Flock<File>>,
}

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
        let (file, lock) = lock::open(path.as_ref(), !self.read_only)?;
        let backend = FileBackend::from_file(file, self.read_only)
            .map_err(|e| Error::io(format!("cannot use {}", path.as_ref().display()), e))?;
        Vexfs::mount(Device::from_backend(StdArc::new(backend)), self.read_only, Some(lock))
    }
}

/// What a new collection is like.
///
/// A dimension and a metric are enough, as in [`Vexfs::create_collection`]; the rest has defaults.
#[derive(Clone, Copy, Debug)]
pub struct CollectionOptions {
    dim: u32,
    metric: Metric,
    element: Element,
    index: IndexKind,
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
    pub simd: &'static str,
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
        let path = path.as_ref();
        let cannot = |e| Error::io(format!("cannot create {}", path.display()), e);
        let file = File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .open(path)
            .map_err(cannot)?;
        let made = file.set_len(bytes).map_err(cannot).and_then(|()| {
            let (file, lock) = lock::open(path, true)?;
            let backend = FileBackend::from_file(file, false).map_err(cannot)?;
            Self::format(StdArc::new(backend), Some(lock))
        });
        if made.is_err() {
            // It is ours, it is empty, and the error says more than a failure to remove it would.
            let _ = std::fs::remove_file(path);
        }
        made
    }

    /// Opens an image file or an unmounted device for reading and writing.
    ///
    /// # Errors
    ///
    /// `InUse` if it is mounted or open elsewhere; `Corrupt` or `Unsupported` if it has no filesystem that this version can
    /// use; those of opening the file.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        OpenOptions::new().open(path)
    }

    /// An empty filesystem in memory: for tests, and for collections that need not last. Memory is taken as it is needed.
    ///
    /// # Errors
    ///
    /// Too few bytes.
    pub fn in_memory(bytes: u64) -> Result<Self> {
        Self::format(StdArc::new(RamBackend::new(bytes)), None)
    }

    fn format(backend: StdArc<dyn Backend>, lock: Option<Flock<File>>) -> Result<Self> {
        let device = Device::from_backend(backend);
        let options = FormatOptions {
            owner: (nix::unistd::geteuid().as_raw(), nix::unistd::getegid().as_raw()),
            // It is new: there is nothing to discard.
            discard: false,
            ..FormatOptions::default()
        };
        Fs::format(&device, &options)?;
        Self::mount(device, false, lock)
    }

    fn mount(device: Device, read_only: bool, lock: Option<Flock<File>>) -> Result<Self> {
        let options = MountOptions {
            read_only,
            ..MountOptions::default()
        };
        let fs = Fs::mount(device, options)?;
        let collections = engine::Collections::new(fs.clone())?;
        Ok(Self(StdArc::new(Open {
            fs,
            collections,
            _lock: lock,
        })))
    }

    /// Writes everything to stable storage.
    ///
    /// # Errors
    ///
    /// Those of writing; a later call tries again unless the filesystem has stopped ([`Stat::aborted`]).
    pub fn sync(&self) -> Result<()> {
        Ok(self.0.fs.sync()?)
    }

    /// Writes everything to stable storage and allows no more changes, through whatever clone or collection.
    ///
    /// # Errors
    ///
    /// Those of writing.
    pub fn close(self) -> Result<()> {
        self.0.close()
    }

    /// State and free space.
    pub fn stat(&self) -> Stat {
        let Open { fs, collections, .. } = &*self.0;
        let stat = fs.statfs();
        let counters = fs.counters();
        let block = u64::from(stat.block_size);
        Stat {
            uuid: stat.uuid,
            label: String::from_utf8_lossy(fs.label()).into_owned(),
            read_only: fs.is_read_only(),
            aborted: fs.abort_reason().is_some(),
            block_size: stat.block_size,
            total_bytes: stat.blocks.saturating_mul(block),
            free_bytes: stat.free.saturating_mul(block),
            inodes: stat.inodes,
            txg: counters.open_txg,
            commits: counters.commits,
            cached_nodes: counters.cached_nodes,
            simd: collections.kernels(),
        }
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
    /// As [`Vexfs::create_collection`]; `Unsupported` or `Invalid` for an element type and a metric that do not go together.
    pub fn create_collection_with(&self, path: impl AsRef<Path>, options: CollectionOptions) -> Result<Collection> {
        let path = path.as_ref();
        let (parent, name) = self.parent(path)?;
        let CollectionOptions {
            dim,
            metric,
            element,
            index,
        } = options;
        if (metric == Metric::Hamming) != (element == Element::Binary) {
            return Err(Error::invalid(
                "the metric hamming and the element type binary belong together",
            ));
        }
        let params = engine::Params::new(dim, element.code(), metric.code(), index.code())?;
        let fs = &self.0.fs;
        let now = Time::now();
        let new = NewInode {
            mode: libc::S_IFDIR | (0o777 & !umask()),
            uid: nix::unistd::geteuid().as_raw(),
            gid: nix::unistd::getegid().as_raw(),
            rdev: 0,
            target: None,
            now,
            xattrs: &[],
        };
        let dir = fs.create(parent, name, &new)?.ino;
        if let Err(e) = self.0.collections.create(dir, &params) {
            // Without rows there is nothing to keep; what went wrong first is what counts.
            let _ = fs.rmdir(parent, name, now).and_then(|dir| fs.evict(dir.ino));
            return Err(e.into());
        }
        self.collection(path)
    }

    /// Opens a collection. Rows are read when they are first needed.
    ///
    /// # Errors
    ///
    /// `NotFound`; `NotCollection` for another directory or a file; `Corrupt`.
    pub fn collection(&self, path: impl AsRef<Path>) -> Result<Collection> {
        let dir = self.lookup(path.as_ref())?;
        Ok(Collection::new(self.0.clone(), self.0.collections.get(dir)?))
    }

    /// Removes a collection with its rows, and its directory. Nobody may be using it.
    ///
    /// # Errors
    ///
    /// `NotEmpty` if the directory holds files; as [`Vexfs::collection`]; those of writing.
    pub fn drop_collection(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        let (parent, name) = self.parent(path)?;
        let dir = self.lookup(path)?;
        let Open { fs, collections, .. } = &*self.0;
        collections.get(dir)?;
        fs.remove_collection(parent, name, Time::now())?;
        collections.forget(dir);
        Ok(fs.evict(dir)?)
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
    pub fn collections(&self, dir: impl AsRef<Path>, recursive: bool) -> Result<Vec<(PathBuf, Info)>> {
        let mut found = Vec::new();
        let mut pending = vec![(self.lookup(dir.as_ref())?, dir.as_ref().to_path_buf())];
        while let Some((dir, path)) = pending.pop() {
            let mut entries = Vec::new();
            let mut emit = |_, name: &[u8], ino, dtype| {
                if dtype == libc::DT_DIR {
                    entries.push((ino, path.join(OsStr::from_bytes(name))));
                }
                true
            };
            self.0.fs.readdir(dir, 0, &mut emit)?;
            for (ino, path) in entries {
                match self.0.collections.get(ino).and_then(|c| c.info()) {
                    Ok(info) => found.push((path.clone(), info_of(ino, &info))),
                    Err(vexfs_host::Error::NotCollection) => {}
                    Err(e) => return Err(e.into()),
                }
                if recursive {
                    pending.push((ino, path));
                }
            }
        }
        found.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(found)
    }

    /// Walks a path from the root; symbolic links are not followed.
    fn lookup(&self, path: &Path) -> Result<u64> {
        let mut ino = ROOT_INO;
        for component in path.components() {
            match component {
                Component::RootDir | Component::CurDir => {}
                Component::Normal(name) => {
                    let found = self.0.fs.lookup(ino, name.as_bytes())?;
                    ino = found.ok_or(vexfs_host::Error::NotFound)?.0;
                }
                Component::ParentDir | Component::Prefix(_) => {
                    return Err(Error::invalid(format!(
                        "{}: a path without .. is needed",
                        path.display()
                    )))
                }
            }
        }
        Ok(ino)
    }

    /// Splits a path into its parent's inode and its last name.
    fn parent<'a>(&self, path: &'a Path) -> Result<(u64, &'a [u8])> {
        let name = path
            .file_name()
            .ok_or_else(|| Error::invalid(format!("{} does not end in a name", path.display())))?;
        Ok((self.lookup(path.parent().unwrap_or(Path::new("/")))?, name.as_bytes()))
    }
}

impl fmt::Debug for Vexfs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vexfs").field("stat", &self.stat()).finish()
    }
}

impl Open {
    fn close(&self) -> Result<()> {
        if self.fs.is_read_only() && self.fs.abort_reason().is_none() {
            return Ok(());
        }
        Ok(self.fs.unmount()?)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        // Nobody is left to be told; `close` is for those who want to know.
        let _ = self.close();
    }
}

/// Permission bits that new directories do not get. Asking the system call for them would change them for a moment, which
/// other threads would see.
fn umask() -> u32 {
    std::fs::read_to_string("/proc/self/status")
        .ok()
        .and_then(|status| {
            let line = status.lines().find_map(|line| line.strip_prefix("Umask:"))?;
            u32::from_str_radix(line.trim(), 8).ok()
        })
        .unwrap_or(0o022)
}
