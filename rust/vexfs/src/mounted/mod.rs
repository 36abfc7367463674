// SPDX-License-Identifier: Apache-2.0
//! A mounted filesystem: one ioctl a call.
//!
//! A collection is used through an fd on its directory with an empty name (`collection.rs`); creating and dropping go
//! through the parent's fd with the collection's name, since they need write permission there.

#[allow(unsafe_code)]
mod call;
mod collection;
mod mounts;

use std::ffi::OsStr;
use std::fs::File;
use std::fs::OpenOptions;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use nix::dir::Dir;
use nix::dir::Type;
use nix::errno::Errno;
use nix::fcntl::openat2;
use nix::fcntl::OFlag;
use nix::fcntl::OpenHow;
use nix::fcntl::ResolveFlag;
use vexfs_uapi as uapi;
use zerocopy::FromZeros;

pub(crate) use self::collection::MountedCollection;
pub use self::mounts::mounts;
pub use self::mounts::Mount;
use crate::backend;
use crate::Activity;
use crate::CollectionInfo;
use crate::CollectionOptions;
use crate::Error;
use crate::Result;
use crate::Stat;

/// A directory of a mounted filesystem, and what is below it.
pub(crate) struct Mounted {
    root: File,
}

/// Opens a directory by its own path.
fn open_dir(path: &Path) -> Result<File> {
    OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_DIRECTORY | libc::O_CLOEXEC)
        .open(path)
        .map_err(|e| Error::io(format!("cannot open {}", path.display()), e))
}

/// Opens a directory below another one.
fn open_below(dir: &File, names: &[&OsStr]) -> Result<File, Errno> {
    let path: PathBuf = match names {
        [] => ".".into(),
        names => names.iter().collect(),
    };
    let how = OpenHow::new()
        .flags(OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS | ResolveFlag::RESOLVE_NO_XDEV);
    Ok(File::from(openat2(dir, &path, how)?))
}

fn name_of(name: &OsStr) -> Result<uapi::Name, Errno> {
    uapi::name_from(name.as_bytes()).ok_or(Errno::ENAMETOOLONG)
}

/// The text of a member that ends with a NUL.
fn text(chars: &[u8]) -> String {
    let end = chars.iter().position(|&c| c == 0).unwrap_or(chars.len());
    String::from_utf8_lossy(&chars[..end]).into_owned()
}

impl Mounted {
    /// Takes a directory as the root.
    pub fn open(dir: &Path) -> Result<Self> {
        let mounted = Self { root: open_dir(dir)? };
        match mounted.stats() {
            Ok(_) => Ok(mounted),
            Err(Errno::ENOTTY) => Err(Error::not_mounted()),
            Err(e) => Err(Error::kernel(e)),
        }
    }

    fn stats(&self) -> Result<uapi::GetStats, Errno> {
        let mut arg = uapi::GetStats::new_zeroed();
        call::get_stats(&self.root, &mut arg)?;
        Ok(arg)
    }

    fn dir(&self, names: &[&OsStr]) -> Result<File> {
        open_below(&self.root, names).map_err(Error::kernel)
    }
}

impl backend::Filesystem for Mounted {
    fn stat(&self) -> Result<Stat> {
        let stats = self.stats().map_err(Error::kernel)?;
        let block = u64::from(stats.block_size);
        Ok(Stat {
            uuid: stats.uuid,
            label: text(&stats.label),
            read_only: stats.state & uapi::VEXFS_STATE_READ_ONLY != 0,
            aborted: stats.state & uapi::VEXFS_STATE_ABORTED != 0,
            block_size: stats.block_size,
            total_bytes: stats.blocks.saturating_mul(block),
            free_bytes: stats.free_blocks.saturating_mul(block),
            inodes: stats.inodes,
            txg: stats.txg,
            commits: stats.commits,
            cached_nodes: stats.cached_nodes,
            simd: text(&stats.simd),
            activity: Some(Activity {
                collections_loaded: stats.collections_loaded,
                vector_bytes: stats.vector_bytes,
                queries: stats.queries,
                rows_scanned: stats.rows_scanned,
                rows_inserted: stats.rows_inserted,
                rows_deleted: stats.rows_deleted,
            }),
        })
    }

    fn sync(&self) -> Result<()> {
        nix::unistd::syncfs(&self.root).map_err(Error::kernel)
    }

    fn close(&self) -> Result<()> {
        self.sync()
    }

    fn create(&self, path: &Path, options: &CollectionOptions) -> Result<Arc<dyn backend::Collection>> {
        let (parent, name) = backend::split(path)?;
        let parent = self.dir(&parent)?;
        let mut arg = uapi::CreateCollection::new_zeroed();
        arg.name = name_of(name).map_err(Error::kernel)?;
        arg.dim = options.dim;
        arg.element = options.element.code();
        arg.metric = options.metric.code();
        arg.index = options.index.code();
        call::create_collection(&parent, &mut arg).map_err(Error::kernel)?;
        let dir = open_below(&parent, &[name]).map_err(Error::kernel)?;
        Ok(Arc::new(MountedCollection::new(dir)?))
    }

    fn open(&self, path: &Path) -> Result<Arc<dyn backend::Collection>> {
        let dir = self.dir(&backend::names(path)?)?;
        Ok(Arc::new(MountedCollection::new(dir)?))
    }

    fn drop_collection(&self, path: &Path) -> Result<()> {
        let (parent, name) = backend::split(path)?;
        let parent = self.dir(&parent)?;
        let mut arg = uapi::DropCollection::new_zeroed();
        arg.name = name_of(name).map_err(Error::kernel)?;
        call::drop_collection(&parent, &mut arg).map_err(Error::kernel)
    }

    fn list(&self, dir: &Path, recursive: bool) -> Result<Vec<(PathBuf, CollectionInfo)>> {
        let mut found = Vec::new();
        let mut pending = vec![dir.to_path_buf()];
        while let Some(path) = pending.pop() {
            let dir = match open_below(&self.root, &backend::names(&path)?) {
                Err(e) if path != dir && is_not_ours(e) => continue,
                opened => opened.map_err(Error::kernel)?,
            };
            // Reading a directory moves its fd.
            let entries = open_below(&dir, &[]).and_then(|again| Dir::from_fd(again.into()));
            for entry in entries.map_err(Error::kernel)?.iter() {
                let entry = entry.map_err(Error::kernel)?;
                let name = OsStr::from_bytes(entry.file_name().to_bytes());
                if entry.file_type() != Some(Type::Directory) || name == "." || name == ".." {
                    continue;
                }
                let below = path.join(name);
                let child = match open_below(&dir, &[name]) {
                    Err(e) if is_not_ours(e) => continue,
                    opened => opened.map_err(Error::kernel)?,
                };
                if let Some(info) = collection::info_of(&child)? {
                    found.push((below.clone(), info));
                }
                if recursive {
                    pending.push(below);
                }
            }
        }
        Ok(found)
    }
}

/// Whether a directory that was seen a moment ago is gone, not ours to look into, or of another filesystem.
fn is_not_ours(errno: Errno) -> bool {
    matches!(
        errno,
        Errno::ENOENT | Errno::ENOTDIR | Errno::EACCES | Errno::EXDEV | Errno::ELOOP
    )
}
