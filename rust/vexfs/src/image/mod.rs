// SPDX-License-Identifier: Apache-2.0
//! A filesystem in an image file, on an unmounted device or in memory: the filesystem's own code, in this process.

mod collection;
mod lock;

use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
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

use self::collection::info_of;
use self::collection::ImageCollection;
use crate::backend;
use crate::CollectionInfo;
use crate::CollectionOptions;
use crate::Error;
use crate::Result;
use crate::Stat;

/// An open image.
pub(crate) struct Image(StdArc<Open>);

/// What an image and its collections share.
struct Open {
    fs: Arc<Fs>,
    collections: engine::Collections,
    /// Keeps other processes off.
    _lock: Option<Flock<File>>,
}

impl Image {
    /// Makes a file with an empty filesystem in it.
    pub fn create(path: &Path, bytes: u64) -> Result<Self> {
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

    /// Opens an image file or an unmounted device.
    pub fn open(path: &Path, read_only: bool) -> Result<Self> {
        let (file, lock) = lock::open(path, !read_only)?;
        let backend = FileBackend::from_file(file, read_only)
            .map_err(|e| Error::io(format!("cannot use {}", path.display()), e))?;
        Self::mount(Device::from_backend(StdArc::new(backend)), read_only, Some(lock))
    }

    /// An empty filesystem in memory.
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

    /// Walks these names from the root; symbolic links are not followed.
    fn lookup(&self, names: &[&OsStr]) -> Result<u64> {
        let mut ino = ROOT_INO;
        for name in names {
            let found = self.0.fs.lookup(ino, name.as_bytes())?;
            ino = found.ok_or(vexfs_host::Error::NotFound)?.0;
        }
        Ok(ino)
    }

    fn collection(&self, dir: u64) -> Result<StdArc<dyn backend::Collection>> {
        let engine = self.0.collections.get(dir)?;
        Ok(StdArc::new(ImageCollection::new(self.0.clone(), engine)))
    }
}

impl backend::Filesystem for Image {
    fn stat(&self) -> Result<Stat> {
        let Open { fs, collections, .. } = &*self.0;
        let stat = fs.statfs();
        let counters = fs.counters();
        let block = u64::from(stat.block_size);
        Ok(Stat {
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
            simd: collections.kernels().to_string(),
            activity: None,
        })
    }

    fn sync(&self) -> Result<()> {
        Ok(self.0.fs.sync()?)
    }

    fn close(&self) -> Result<()> {
        self.0.close()
    }

    fn create(&self, path: &Path, options: &CollectionOptions) -> Result<StdArc<dyn backend::Collection>> {
        let (parent, name) = backend::split(path)?;
        let (parent, name) = (self.lookup(&parent)?, name.as_bytes());
        let CollectionOptions {
            dim,
            metric,
            element,
            index,
        } = *options;
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
        self.collection(dir)
    }

    fn open(&self, path: &Path) -> Result<StdArc<dyn backend::Collection>> {
        self.collection(self.lookup(&backend::names(path)?)?)
    }

    fn drop_collection(&self, path: &Path) -> Result<()> {
        let (parent, name) = backend::split(path)?;
        let parent = self.lookup(&parent)?;
        let Open { fs, collections, .. } = &*self.0;
        let dir = fs
            .lookup(parent, name.as_bytes())?
            .ok_or(vexfs_host::Error::NotFound)?
            .0;
        collections.get(dir)?;
        fs.remove_collection(parent, name.as_bytes(), Time::now())?;
        collections.forget(dir);
        Ok(fs.evict(dir)?)
    }

    fn list(&self, dir: &Path, recursive: bool) -> Result<Vec<(PathBuf, CollectionInfo)>> {
        let mut found = Vec::new();
        let mut pending = vec![(self.lookup(&backend::names(dir)?)?, dir.to_path_buf())];
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
        Ok(found)
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

/// Permission bits that new directories do not get. Asking the system call for them would change them for a moment,
/// which other threads would see.
fn umask() -> u32 {
    std::fs::read_to_string("/proc/self/status")
        .ok()
        .and_then(|status| {
            let line = status.lines().find_map(|line| line.strip_prefix("Umask:"))?;
            u32::from_str_radix(line.trim(), 8).ok()
        })
        .unwrap_or(0o022)
}
