// SPDX-License-Identifier: Apache-2.0
//! The backend of a mounted filesystem: one ioctl a call.
//!
//! A collection is used through an fd on its directory with an empty name; creating and dropping go through
//! the parent's fd with the collection's name, since they need write permission there.

use std::ffi::OsStr;
use std::fs::File;
use std::fs::OpenOptions;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::path::PathBuf;

use anyhow::bail;
use anyhow::Context;
use anyhow::Result;
use nix::errno::Errno;
use vexfs_uapi as uapi;
use zerocopy::FromZeros;

use crate::backend::uuid_text;
use crate::backend::Activity;
use crate::backend::Answer;
use crate::backend::Answers;
use crate::backend::Backend;
use crate::backend::Batch;
use crate::backend::Collection;
use crate::backend::Hit;
use crate::backend::Info;
use crate::backend::InsertOptions;
use crate::backend::Inserted;
use crate::backend::Metric;
use crate::backend::Row;
use crate::backend::Search;
use crate::backend::Status;
use crate::error::SysError;
use crate::error::Usage;

/// Mounted filesystems.
pub struct Kernel;

/// An argument struct and the ioctl that takes it.
///
/// # Safety
///
/// The kernel reads and writes exactly `size_of::<Self>()` bytes at the struct for `CMD`, plus the memory its
/// members point to.
unsafe trait Argument: FromZeros {
    const CMD: u32;
    fn set_size(&mut self, size: u32);
}

macro_rules! arguments {
    ($($type:ident: $cmd:ident,)*) => {
        $(
            // SAFETY: both come from the ABI crate, where the command encodes the struct's size and the kernel
            // writes back at most `size` bytes, which `set_size` is always given the struct's own size for.
            unsafe impl Argument for uapi::$type {
                const CMD: u32 = uapi::$cmd;
                fn set_size(&mut self, size: u32) {
                    self.size = size;
                }
            }
        )*
    };
}

arguments! {
    CreateCollection: VEXFS_IOC_CREATE_COLLECTION,
    InsertVectors: VEXFS_IOC_INSERT_VECTORS,
    SearchVectors: VEXFS_IOC_SEARCH_VECTORS,
    GetStats: VEXFS_IOC_GET_STATS,
    GetVectors: VEXFS_IOC_GET_VECTORS,
    DeleteVectors: VEXFS_IOC_DELETE_VECTORS,
    CollectionInfo: VEXFS_IOC_COLLECTION_INFO,
    DropCollection: VEXFS_IOC_DROP_COLLECTION,
}

/// Makes the call.
///
/// # Safety
///
/// Every user pointer in `arg` is 0 or points to memory of the length that `arg` states, alive for the call, and
/// writable where the kernel writes.
unsafe fn call<T: Argument>(file: &File, arg: &mut T) -> Result<(), Errno> {
    arg.set_size(std::mem::size_of::<T>() as u32);
    // SAFETY: the fd is open, `arg` is a T as CMD demands (trait's contract), the rest is the caller's promise.
    let ret = unsafe { libc::ioctl(file.as_raw_fd(), T::CMD as libc::Ioctl, std::ptr::from_mut(arg)) };
    Errno::result(ret).map(drop)
}

fn address<T>(slice: &[T]) -> u64 {
    slice.as_ptr() as usize as u64
}

fn address_mut<T>(slice: &mut [T]) -> u64 {
    slice.as_mut_ptr() as usize as u64
}

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
    Ok(Info {
        path: path.to_path_buf(),
        id: info.id,
        dim: info.dim,
        element: match info.element {
            uapi::VEXFS_ELEMENT_F32 => "f32",
            other => bail!("{}: element type {other} is newer than this program", path.display()),
        },
        metric: match info.metric {
            uapi::VEXFS_METRIC_L2 => Metric::L2,
            uapi::VEXFS_METRIC_COSINE => Metric::Cosine,
            uapi::VEXFS_METRIC_IP => Metric::Ip,
            uapi::VEXFS_METRIC_HAMMING => Metric::Hamming,
            other => bail!("{}: metric {other} is newer than this program", path.display()),
        },
        index: match info.index {
            uapi::VEXFS_INDEX_FLAT => "flat",
            other => bail!("{}: index {other} is newer than this program", path.display()),
        },
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

/// A mounted VexFS.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Mount {
    path: PathBuf,
    source: String,
}

/// Returns the mounted VexFS filesystems.
fn mounts() -> Result<Vec<Mount>> {
    let text = std::fs::read_to_string("/proc/self/mountinfo").context("cannot read /proc/self/mountinfo")?;
    Ok(parse_mounts(&text))
}

fn parse_mounts(text: &str) -> Vec<Mount> {
    let mut mounts = Vec::new();
    for line in text.lines() {
        let Some((left, right)) = line.split_once(" - ") else {
            continue;
        };
        let mut right = right.split(' ');
        if right.next() != Some("vexfs") {
            continue;
        }
        if let (Some(path), Some(source)) = (left.split(' ').nth(4), right.next()) {
            mounts.push(Mount {
                path: PathBuf::from(unescape(path)),
                source: unescape(source),
            });
        }
    }
    mounts
}

/// Undoes the octal escapes of /proc's mount tables.
fn unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('\\') {
        out.push_str(before);
        let code = after.get(..3).and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match code {
            Some(code) => {
                out.push(code.into());
                rest = &after[3..];
            }
            None => {
                out.push('\\');
                rest = after;
            }
        }
    }
    out.push_str(rest);
    out
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

    fn create(&self, path: &Path, dim: u32, metric: Metric) -> Result<u64> {
        let (parent, name) = open_parent("create", path)?;
        let mut arg = uapi::CreateCollection::new_zeroed();
        arg.name = name;
        arg.dim = dim;
        arg.element = uapi::VEXFS_ELEMENT_F32;
        arg.metric = match metric {
            Metric::L2 => uapi::VEXFS_METRIC_L2,
            Metric::Cosine => uapi::VEXFS_METRIC_COSINE,
            Metric::Ip => uapi::VEXFS_METRIC_IP,
            Metric::Hamming => uapi::VEXFS_METRIC_HAMMING,
        };
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
        let file = open_dir("open", path)?;
        Ok(Box::new(Open {
            file,
            path: path.to_path_buf(),
        }))
    }
}

/// An open directory that is a collection.
struct Open {
    file: File,
    path: PathBuf,
}

impl Open {
    fn error(&self, verb: &'static str, errno: Errno) -> anyhow::Error {
        SysError::new(verb, &self.path, errno as i32).into()
    }

    /// Answers as many queries as fit one call.
    fn search_some(&self, search: &Search<'_>, queries: &[f32], answers: &mut Answers) -> Result<()> {
        let (dim, k) = (search.dim as usize, search.k as usize);
        let count = queries.len() / dim;
        let mut results = vec![uapi::QueryResult::default(); count];
        let mut hits = vec![uapi::Hit::default(); count * k];
        let mut vectors = vec![0f32; if search.want_vectors { count * k * dim } else { 0 }];
        let mut payloads = vec![
            0u8;
            if search.want_payloads {
                count * k * PAYLOAD_GUESS
            } else {
                0
            }
        ];
        let arg = loop {
            let mut arg = uapi::SearchVectors::new_zeroed();
            arg.count = count as u32;
            arg.dim = search.dim;
            arg.element = uapi::VEXFS_ELEMENT_F32;
            arg.queries = address(queries);
            arg.k = search.k;
            if let Some(radius) = search.radius {
                arg.flags |= uapi::VEXFS_SEARCH_RADIUS;
                arg.radius = uapi::F32(radius.to_bits());
            }
            if search.exact {
                arg.flags |= uapi::VEXFS_SEARCH_EXACT;
            }
            arg.results = address_mut(&mut results);
            arg.hits = address_mut(&mut hits);
            arg.hits_max = hits.len() as u64;
            if search.want_vectors {
                arg.vectors = address_mut(&mut vectors);
                arg.vectors_bytes = (vectors.len() * 4) as u64;
            }
            if search.want_payloads {
                arg.payloads = address_mut(&mut payloads);
                arg.payloads_bytes = payloads.len() as u64;
            }
            // SAFETY: `queries` holds count * dim floats, `results` count and `hits` hits_max elements; `vectors`
            // and `payloads` are as long as stated. All live, the latter four mutably borrowed, past the call.
            match unsafe { call(&self.file, &mut arg) } {
                Ok(()) => break arg,
                Err(Errno::ERANGE) if grow(&mut payloads, arg.payloads_bytes) => {}
                Err(e) => return Err(self.error("search", e)),
            }
        };
        answers.scanned += arg.scanned;
        for (i, result) in results.iter().enumerate() {
            let mut answer = Answer {
                hits: Vec::with_capacity(result.count as usize),
                stopped_early: result.flags & uapi::VEXFS_RESULT_STOPPED_EARLY != 0,
            };
            for (j, hit) in hits[i * k..(i + 1) * k].iter().enumerate().take(result.count as usize) {
                let at = (i * k + j) * dim;
                answer.hits.push(Hit {
                    row: Row {
                        id: hit.id,
                        inode: hit.inode,
                        found: true,
                        payload: payload_at(search.want_payloads, &payloads, hit.payload_offset, hit.payload_len)?,
                        vector: search.want_vectors.then(|| vectors[at..at + dim].to_vec()),
                    },
                    distance: f32::from_bits(hit.distance.0),
                });
            }
            answers.answers.push(answer);
        }
        Ok(())
    }
}

/// Room for a payload before it is known how long they are.
const PAYLOAD_GUESS: usize = 512;

/// Grows a buffer to what the kernel said it needs; false when it is as large already.
fn grow(buffer: &mut Vec<u8>, needed: u64) -> bool {
    let more = needed > buffer.len() as u64;
    if more {
        buffer.resize(needed as usize, 0);
    }
    more
}

fn payload_at(wanted: bool, payloads: &[u8], offset: u64, len: u32) -> Result<Option<Vec<u8>>> {
    if !wanted {
        return Ok(None);
    }
    let start = usize::try_from(offset)?;
    let bytes = start.checked_add(len as usize).and_then(|end| payloads.get(start..end));
    bytes
        .map(|b| Some(b.to_vec()))
        .context("the kernel returned a payload outside its buffer")
}

impl Collection for Open {
    fn info(&self) -> Result<Info> {
        let info = query_info(&self.file, [0; 256]).map_err(|e| self.error("describe", e))?;
        info_of(&self.path, &info)
    }

    fn insert(&self, batch: &Batch, options: InsertOptions) -> Result<Inserted> {
        let rows = batch.rows as usize;
        assert!(batch.vectors.len() == rows * batch.dim as usize && (batch.ids.is_empty() || batch.ids.len() == rows));
        assert!(batch.payload_lens.is_empty() || batch.payload_lens.len() == rows);
        let mut arg = uapi::InsertVectors::new_zeroed();
        for (on, flag) in [
            (options.upsert, uapi::VEXFS_INSERT_UPSERT),
            (options.normalize, uapi::VEXFS_INSERT_NORMALIZE),
            (options.sync, uapi::VEXFS_INSERT_SYNC),
        ] {
            arg.flags |= if on { flag } else { 0 };
        }
        arg.count = batch.rows;
        arg.dim = batch.dim;
        arg.element = uapi::VEXFS_ELEMENT_F32;
        arg.vectors = address(&batch.vectors);
        if !batch.ids.is_empty() {
            arg.ids = address(&batch.ids);
        }
        if !batch.payloads.is_empty() {
            arg.payload_lens = address(&batch.payload_lens);
            arg.payloads = address(&batch.payloads);
            arg.payload_bytes = batch.payloads.len() as u64;
        }
        // SAFETY: the lengths were checked above, `payload_bytes` is the buffer's; all outlive the call, and the
        // kernel only reads them.
        unsafe { call(&self.file, &mut arg) }.map_err(|e| self.error("insert into", e))?;
        Ok(Inserted {
            rows: arg.inserted.into(),
            replaced: arg.replaced.into(),
            first_id: batch.ids.is_empty().then_some(arg.first_id),
        })
    }

    fn get(&self, ids: &[u64], want_vectors: bool) -> Result<Vec<Row>> {
        let dim = if want_vectors { self.info()?.dim } else { 0 };
        let mut out = Vec::with_capacity(ids.len());
        for ids in ids.chunks(1024) {
            let mut rows = vec![uapi::Row::default(); ids.len()];
            let mut vectors = vec![0f32; ids.len() * dim as usize];
            let mut payloads = vec![0u8; ids.len() * PAYLOAD_GUESS];
            loop {
                let mut arg = uapi::GetVectors::new_zeroed();
                arg.count = ids.len() as u32;
                arg.dim = dim;
                arg.ids = address(ids);
                arg.rows = address_mut(&mut rows);
                if want_vectors {
                    arg.vectors = address_mut(&mut vectors);
                    arg.vectors_bytes = (vectors.len() * 4) as u64;
                }
                arg.payloads = address_mut(&mut payloads);
                arg.payloads_bytes = payloads.len() as u64;
                // SAFETY: `ids` and `rows` hold count elements, the other two are as long as stated; all live, the
                // latter three mutably borrowed, past the call.
                match unsafe { call(&self.file, &mut arg) } {
                    Ok(()) => break,
                    Err(Errno::ERANGE) if grow(&mut payloads, arg.payloads_bytes) => {}
                    Err(e) => return Err(self.error("read from", e)),
                }
            }
            for (i, row) in rows.iter().enumerate() {
                let found = row.flags & uapi::VEXFS_ROW_FOUND != 0;
                let at = i * dim as usize;
                out.push(Row {
                    id: row.id,
                    inode: row.inode,
                    found,
                    payload: payload_at(found, &payloads, row.payload_offset, row.payload_len)?,
                    vector: (found && want_vectors).then(|| vectors[at..at + dim as usize].to_vec()),
                });
            }
        }
        Ok(out)
    }

    fn delete(&self, ids: &[u64], sync: bool) -> Result<u64> {
        let mut deleted = 0;
        let chunks = ids.chunks(uapi::VEXFS_BATCH_ROWS_MAX as usize);
        let last = chunks.len().saturating_sub(1);
        for (i, ids) in chunks.enumerate() {
            let mut arg = uapi::DeleteVectors::new_zeroed();
            // The last call's SYNC covers those before it: commits are ordered.
            arg.flags = if sync && i == last { uapi::VEXFS_DELETE_SYNC } else { 0 };
            arg.count = ids.len() as u32;
            arg.ids = address(ids);
            // SAFETY: `ids` holds count elements, outlives the call, and is only read.
            unsafe { call(&self.file, &mut arg) }.map_err(|e| self.error("delete from", e))?;
            deleted += u64::from(arg.deleted);
        }
        Ok(deleted)
    }

    fn search(&self, search: &Search<'_>) -> Result<Answers> {
        let mut answers = Answers::default();
        // As many queries a call as its limits allow, with at most 64 MiB of vectors in the answer.
        let mut queries = (uapi::VEXFS_HITS_MAX / search.k).min(uapi::VEXFS_QUERIES_MAX) as usize;
        if search.want_vectors {
            queries = queries.min((16 << 20) / (search.k as usize * search.dim as usize));
        }
        for queries in search.queries.chunks(queries.max(1) * search.dim as usize) {
            self.search_some(search, queries, &mut answers)?;
        }
        Ok(answers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_are_found_with_their_escapes_undone() {
        let text = "36 35 98:0 / /mnt rw,noatime master:1 - ext4 /dev/root rw\n\
                    40 36 0:40 / /mnt/a\\040b rw shared:1 - vexfs /dev/vdb rw\n";
        assert_eq!(
            parse_mounts(text),
            [Mount {
                path: "/mnt/a b".into(),
                source: "/dev/vdb".into()
            }]
        );
        assert_eq!(unescape("a\\134b\\x"), "a\\b\\x");
    }

    #[test]
    fn a_payload_outside_the_buffer_is_an_error() {
        assert_eq!(payload_at(true, &[1, 2, 3], 1, 2).unwrap(), Some(vec![2, 3]));
        assert!(payload_at(true, &[1, 2, 3], 2, 2).is_err());
        assert!(payload_at(true, &[1, 2, 3], u64::MAX, 2).is_err());
        assert_eq!(payload_at(false, &[], 9, 9).unwrap(), None);
    }
}
