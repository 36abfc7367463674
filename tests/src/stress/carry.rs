// SPDX-License-Identifier: Apache-2.0
//! Carries the operations of a seat out on a mounted filesystem.

use super::choose::Op;
use super::model::fill;
use super::model::slot_name;
use super::model::word;
use super::model::Model;
use super::model::BLOCK;
use super::model::CELLS;
use super::model::CELL_STRIDE;
use super::model::SCATTERED;
use super::model::SLOTS;
use crate::collection::Collection;
use nix::fcntl::fallocate;
use nix::fcntl::renameat2;
use nix::fcntl::FallocateFlags;
use nix::fcntl::RenameFlags;
use nix::fcntl::AT_FDCWD;
use nix::sys::mman::mmap;
use nix::sys::mman::msync;
use nix::sys::mman::munmap;
use nix::sys::mman::MapFlags;
use nix::sys::mman::MsFlags;
use nix::sys::mman::ProtFlags;
use std::collections::btree_map::Entry;
use std::collections::BTreeMap;
use std::fs::File;
use std::fs::OpenOptions;
use std::io;
use std::num::NonZeroUsize;
use std::os::unix::fs::FileExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::path::PathBuf;
use zerocopy::FromBytes;
use zerocopy::Immutable;
use zerocopy::IntoBytes;

/// A block whose memory direct I/O accepts.
#[repr(C, align(4096))]
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable)]
pub struct Aligned(pub [u8; BLOCK]);

/// A seat's place on a filesystem.
pub struct Seat {
    pub dir: PathBuf,
    rows: Option<Collection>,
    /// Another seat's directory.
    pub other: Option<PathBuf>,
    /// What stays open, so that no error of writing back is lost; `None`: everything is opened for each operation.
    open: Option<Open>,
}

/// An error of writing back is told once to each open file that it concerns, and to one that is opened later only if
/// nobody was told before. Of a filesystem it is told the same way, to who syncs it: another seat's process may have
/// been.
struct Open {
    dir: File,
    files: BTreeMap<usize, File>,
}

impl Seat {
    /// The seat in `dir`, with the collection at `rows` if it has one.
    pub fn new(dir: &Path, rows: Option<&Path>, keep_open: bool) -> io::Result<Self> {
        let open = || -> io::Result<Open> {
            Ok(Open {
                dir: File::open(dir)?,
                files: BTreeMap::new(),
            })
        };
        Ok(Seat {
            dir: dir.to_path_buf(),
            rows: rows.map(Collection::open).transpose()?,
            other: None,
            open: keep_open.then(open).transpose()?,
        })
    }

    pub fn path(&self, slot: usize) -> PathBuf {
        self.dir.join(slot_name(slot))
    }

    pub fn scattered(&self) -> PathBuf {
        self.dir.join(SCATTERED)
    }

    pub fn rows(&self) -> io::Result<&Collection> {
        self.rows.as_ref().ok_or(io::ErrorKind::Unsupported.into())
    }

    pub fn has_rows(&self) -> bool {
        self.rows.is_some()
    }

    fn with_file<T>(&mut self, slot: usize, with: impl FnOnce(&File) -> io::Result<T>) -> io::Result<T> {
        let path = self.path(slot);
        let open = || {
            OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .open(path)
        };
        let Some(kept) = &mut self.open else {
            return with(&open()?);
        };
        match kept.files.entry(slot) {
            Entry::Occupied(file) => with(file.get()),
            Entry::Vacant(place) => with(place.insert(open()?)),
        }
    }

    /// Carries `op` out, which leads to `after`.
    pub fn carry_out(&mut self, op: Op, after: &Model) -> io::Result<()> {
        match op {
            Op::Write { slot, first, count } => {
                let data = contents(after, slot, first, count);
                self.with_file(slot, |f| write_once(f, &data, (first * BLOCK) as u64))
            }
            Op::Direct { slot, first, count } => {
                let data = contents(after, slot, first, count);
                let mut blocks = vec![Aligned([0; BLOCK]); count];
                blocks.as_mut_slice().as_mut_bytes().copy_from_slice(&data);
                let mut options = OpenOptions::new();
                options
                    .write(true)
                    .create(true)
                    .truncate(false)
                    .custom_flags(libc::O_DIRECT);
                let file = options.open(self.path(slot))?;
                write_once(&file, blocks.as_slice().as_bytes(), (first * BLOCK) as u64)
            }
            Op::Map {
                slot,
                first,
                count,
                sync,
            } => {
                let data = contents(after, slot, first, count);
                self.with_file(slot, |f| write_mapped(f, &data, first * BLOCK, sync))
            }
            Op::Truncate { slot, len } => self.with_file(slot, |f| f.set_len(len)),
            Op::Punch { slot, first, count } => self.with_file(slot, |f| {
                let flags = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
                Ok(fallocate(f, flags, (first * BLOCK) as i64, (count * BLOCK) as i64)?)
            }),
            Op::Unlink { slot } => std::fs::remove_file(self.path(slot)),
            Op::Rename { from, to } => std::fs::rename(self.path(from), self.path(to)),
            Op::Exchange { a, b } => {
                let (a, b) = (self.path(a), self.path(b));
                Ok(renameat2(AT_FDCWD, &a, AT_FDCWD, &b, RenameFlags::RENAME_EXCHANGE)?)
            }
            Op::Fsync { slot } => self.with_file(slot, File::sync_all),
            Op::Syncfs => Ok(match &self.open {
                Some(kept) => nix::unistd::syncfs(&kept.dir),
                None => nix::unistd::syncfs(File::open(&self.dir)?),
            }?),
            Op::Scatter => {
                let file = File::create(self.scattered())?;
                (0..CELLS).try_for_each(|n| {
                    let at = n * CELL_STRIDE;
                    write_once(&file, &word(after.scattered, at, 1).to_le_bytes(), at)
                })
            }
            Op::FsyncOther { slot } => {
                let other = self.other.as_ref().ok_or(io::ErrorKind::Unsupported)?;
                let name = if slot < SLOTS {
                    slot_name(slot)
                } else {
                    SCATTERED.into()
                };
                match File::open(other.join(name)) {
                    Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
                    file => file?.sync_all(),
                }
            }
            Op::FsyncScattered => File::open(self.scattered())?.sync_all(),
            Op::UnlinkScattered => std::fs::remove_file(self.scattered()),
            Op::Insert { count, sync } => self.rows()?.insert(after.rows_to - count, count, sync),
            Op::Delete { count } => {
                let ids: Vec<u64> = (after.rows_from - count..after.rows_from).collect();
                self.rows()?.delete(&ids, false)
            }
            Op::Search { id } => {
                let hits = self.rows()?.search(id, 10)?;
                let there = after.rows_from..after.rows_to + after.pending;
                match hits.iter().find(|id| !there.contains(id)) {
                    None => Ok(()),
                    Some(id) => Err(io::Error::other(format!("found row {id}, which is not there"))),
                }
            }
            Op::Maintain => self.rows()?.build(vexfs_uapi::VEXFS_BUILD_MAINTAIN, 0),
            Op::Index { kind } => self.rows()?.build(vexfs_uapi::VEXFS_BUILD_SET, kind),
            Op::Optimize => self.rows()?.build(vexfs_uapi::VEXFS_BUILD_OPTIMIZE, 0),
        }
    }
}

/// What blocks `first..first + count` of file `slot` hold.
fn contents(model: &Model, slot: usize, first: usize, count: usize) -> Vec<u8> {
    let slot = &model.slots[slot];
    (first..first + count)
        .flat_map(|n| fill(slot.content, n, slot.parts[n].generation))
        .collect()
}

/// One system call: a second one would hide that the first was cut short.
fn write_once(file: &File, data: &[u8], at: u64) -> io::Result<()> {
    match file.write_at(data, at)? {
        n if n == data.len() => Ok(()),
        // Only an error in the middle, which the next call would report, makes it short.
        n => file.write_all_at(&data[n..], at + n as u64),
    }
}

fn write_mapped(file: &File, data: &[u8], at: usize, sync: bool) -> io::Result<()> {
    let len = NonZeroUsize::new(data.len()).ok_or(io::ErrorKind::InvalidInput)?;
    let (prot, flags) = (ProtFlags::PROT_READ | ProtFlags::PROT_WRITE, MapFlags::MAP_SHARED);
    // SAFETY: a new mapping, of which only this function knows.
    let mapped = unsafe { mmap(None, len, prot, flags, file, at as i64) }?;
    // SAFETY: the mapping is that long; the copy goes through a pointer, so that nothing is assumed of what others
    // write.
    unsafe { std::ptr::copy_nonoverlapping(data.as_ptr(), mapped.cast().as_ptr(), data.len()) };
    let result = if sync {
        // SAFETY: the mapping made above.
        unsafe { msync(mapped, data.len(), MsFlags::MS_SYNC) }
    } else {
        Ok(())
    };
    // SAFETY: the mapping made above, which nothing refers to any more.
    unsafe { munmap(mapped, data.len()) }?;
    Ok(result?)
}
