// SPDX-License-Identifier: Apache-2.0
//! The backend of a mounted filesystem: one ioctl a call.
//!
//! A collection is used through an fd on its directory with an empty name (`collection.rs`); creating and dropping go
//! through the parent's fd with the collection's name, since they need write permission there.

mod call;
mod collection;
mod mounts;

use std::ffi::OsStr;
use std::fs::File;
use std::fs::OpenOptions;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::path::PathBuf;

use anyhow::Context;
use anyhow::Result;
use nix::errno::Errno;
use vexfs::Element;
use vexfs::IndexKind;
use vexfs::Metric;
use vexfs_uapi as uapi;
use zerocopy::FromZeros;

use self::call::call;
use self::mounts::mounts;
use crate::backend::uuid_text;
use crate::backend::Activity;
use crate::backend::Backend;
use crate::backend::Collection;
use crate::backend::Info;
use crate::backend::NewCollection;
use crate::backend::Status;
use crate::error::SysError;
use crate::error::Usage;

/// Mounted filesystems.
pub struct Kernel;

fn open_dir(verb: &'static str, path: &Path) -> Result<File> {
    OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_DIRECTORY | libc::O_CLOEXEC)
        .open(path)
        .map_err(|e| SysError::new(verb, path, e.raw_os_error().unwrap_or(libc::EIO)).into())
}

/// Splits a collection's path into an fd on its parent and its name there.
fn open_parent(verb: &'static str, path: &Path) -> Result<(File, uapi::Name)> {
    let Some(name) = path.file_name() else {
        return Err(Usage(format!("{} does not end in a name", path.display())).into());
    };
    let parent = match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    Ok((open_dir(verb, parent)?, name_array(verb, path, name)?))
}

fn name_array(verb: &'static str, path: &Path, name: &OsStr) -> Result<uapi::Name> {
    uapi::name_from(name.as_bytes()).ok_or_else(|| SysError::new(verb, path, libc::ENAMETOOLONG).into())
}

fn info_of(path: &Path, info: &uapi::CollectionInfo) -> Result<Info> {
    let newer = |what: &str, code: u32| format!("{}: {what} {code} is newer than this program", path.display());
    Ok(Info {
        path: path.to_path_buf(),
        id: info.id,
        dim: info.dim,
        element: Element::from_code(info.element).with_context(|| newer("element type", info.element))?,
        metric: Metric::from_code(info.metric).with_context(|| newer("metric", info.metric))?,
        index: IndexKind::from_code(info.index).with_context(|| newer("index", info.index))?,
        rows: info.rows,
        dead_rows: info.dead_rows,
        next_id: info.next_id,
        disk_bytes: info.disk_bytes,
        memory_bytes: info.memory_bytes,
    })
}

fn query_info(file: &File, name: uapi::Name) -> Result<uapi::CollectionInfo, Errno> {
    let mut arg = uapi::CollectionInfo::new_zeroed();
    arg.name = name;
    // SAFETY: the struct has no pointers.
    unsafe { call(file, &mut arg) }?;
    Ok(arg)
}

fn text(chars: &[u8]) -> String {
    let end = chars.iter().position(|&c| c == 0).unwrap_or(chars.len());
    String::from_utf8_lossy(&chars[..end]).into_owned()
}

impl Backend for Kernel {
    fn roots(&self) -> Result<Vec<PathBuf>> {
        Ok(mounts()?.into_iter().map(|m| m.path).collect())
    }

    fn finish(&self) -> Result<()> {
        Ok(())
    }

    fn status(&self, path: &Path) -> Result<Status> {
        let error = |errno: i32| SysError::new("read the status of", path, errno);
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_CLOEXEC | libc::O_NONBLOCK)
            .open(path)
            .map_err(|e| error(e.raw_os_error().unwrap_or(libc::EIO)))?;
        let mut arg = uapi::GetStats::new_zeroed();
        // SAFETY: the struct has no pointers.
        unsafe { call(&file, &mut arg) }.map_err(|e| error(e as i32))?;
        let block = u64::from(arg.block_size);
        // The deepest mount point that the path is under is the one it is on.
        let absolute = path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
        let source = mounts()
            .unwrap_or_default()
            .into_iter()
            .filter(|m| absolute.starts_with(&m.path))
            .max_by_key(|m| m.path.as_os_str().len())
            .map(|m| m.source);
        Ok(Status {
            path: path.to_path_buf(),
            source,
            uuid: uuid_text(&arg.uuid),
            label: text(&arg.label),
            read_only: arg.state & uapi::VEXFS_STATE_READ_ONLY != 0,
            aborted: arg.state & uapi::VEXFS_STATE_ABORTED != 0,
            block_size: arg.block_size,
            total_bytes: arg.blocks.saturating_mul(block),
            free_bytes: arg.free_blocks.saturating_mul(block),
            inodes: arg.inodes,
            txg: arg.txg,
            commits: arg.commits,
            cached_nodes: arg.cached_nodes,
            simd: text(&arg.simd),
            activity: Some(Activity {
                collections_loaded: arg.collections_loaded,
                vector_bytes: arg.vector_bytes,
                queries: arg.queries,
                rows_scanned: arg.rows_scanned,
                rows_inserted: arg.rows_inserted,
                rows_deleted: arg.rows_deleted,
            }),
        })
    }

    fn create(&self, path: &Path, new: &NewCollection) -> Result<u64> {
        let (parent, name) = open_parent("create", path)?;
        let mut arg = uapi::CreateCollection::new_zeroed();
        arg.name = name;
        arg.dim = new.dim;
        arg.element = new.element.code();
        arg.metric = new.metric.code();
        arg.index = new.index.code();
        // SAFETY: the struct has no pointers.
        unsafe { call(&parent, &mut arg) }.map_err(|e| SysError::new("create", path, e as i32))?;
        Ok(arg.id)
    }

    fn drop_collection(&self, path: &Path) -> Result<()> {
        let (parent, name) = open_parent("drop", path)?;
        let mut arg = uapi::DropCollection::new_zeroed();
        arg.name = name;
        // SAFETY: the struct has no pointers.
        unsafe { call(&parent, &mut arg) }.map_err(|e| SysError::new("drop", path, e as i32))?;
        Ok(())
    }

    fn list(&self, dir: &Path, recursive: bool) -> Result<Vec<Info>> {
        let device = std::fs::metadata(dir)
            .with_context(|| format!("cannot list {}", dir.display()))?
            .dev();
        let mut found = Vec::new();
        let mut pending = vec![dir.to_path_buf()];
        while let Some(dir) = pending.pop() {
            let file = open_dir("list", &dir)?;
            for entry in std::fs::read_dir(&dir).with_context(|| format!("cannot list {}", dir.display()))? {
                let entry = entry.with_context(|| format!("cannot list {}", dir.display()))?;
                if !entry.file_type().is_ok_and(|t| t.is_dir()) {
                    continue;
                }
                let path = entry.path();
                match query_info(&file, name_array("list", &path, &entry.file_name())?) {
                    Ok(info) => found.push(info_of(&path, &info)?),
                    // An ordinary directory; one that is gone meanwhile; one that is not ours to look into.
                    Err(Errno::ENOTTY | Errno::ENOENT | Errno::EACCES | Errno::EXDEV) => {}
                    Err(e) => return Err(SysError::new("describe", &path, e as i32).into()),
                }
                if recursive && std::fs::symlink_metadata(&path).is_ok_and(|m| m.dev() == device) {
                    pending.push(path);
                }
            }
        }
        found.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(found)
    }

    fn open(&self, path: &Path) -> Result<Box<dyn Collection>> {
        Ok(Box::new(collection::Open::new(open_dir("open", path)?, path)))
    }
}
