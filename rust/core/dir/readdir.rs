// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! Listing directories.
//!
//! Entries are copied out in batches and handed over without the tree lock: in the kernel, handing one over can fault
//! on user memory and wait for anything.

use super::entry::SEQ_MASK;
use crate::format::items::DiskDirent;
use crate::fs::Fs;
use crate::inode;
use crate::inode::key;
use crate::inode::Ino;
use crate::txn::Read;
use vexfs_host::mem::Vec;
use vexfs_host::nofs;
use vexfs_host::relax;
use vexfs_host::Error;
use vexfs_host::Result;

/// Bytes of names copied out under one hold of the tree lock.
const BATCH: usize = 16 << 10;

/// What gets the entries of a listing: position, name, inode number and `DT_*` type of each. False ends the listing.
pub type EmitEntry<'a> = dyn FnMut(u64, &[u8], Ino, u8) -> bool + 'a;

/// An entry of a batch; its name is the next `len` bytes of the batch's names.
struct ReadEntry {
    slot: u64,
    ino: Ino,
    dtype: u8,
    len: u8,
}

impl Fs {
    /// Hands the entries of directory `dir` from position `pos` on to `emit`, in the order of their positions, until it
    /// returns false. `emit` gets an entry's position, name, inode number and `DT_*` type; `.` and `..` are the
    /// caller's.
    ///
    /// Returns the position to go on from: that of the entry that `emit` refused, or `i64::MAX` at the end. An entry
    /// that exists during the whole listing is handed over exactly once, whatever happens to others.
    pub fn readdir(&self, dir: Ino, pos: u64, emit: &mut EmitEntry<'_>) -> Result<u64> {
        let mut names: Vec<u8> = Vec::new();
        let mut entries: Vec<ReadEntry> = Vec::new();
        let mut from = pos.max(SEQ_MASK + 1);
        loop {
            let full = self.copy_entries(dir, from, &mut names, &mut entries)?;
            let mut rest: &[u8] = &names;
            for e in &entries {
                let (name, after) = rest.split_at_checked(usize::from(e.len)).unwrap_or((rest, &[]));
                if !emit(e.slot, name, e.ino, e.dtype) {
                    return Ok(e.slot);
                }
                rest = after;
                from = e.slot + 1;
            }
            if !full {
                return Ok(i64::MAX as u64);
            }
            relax()?;
        }
    }

    /// Copies a batch and returns whether there may be more.
    fn copy_entries(&self, dir: Ino, from: u64, names: &mut Vec<u8>, entries: &mut Vec<ReadEntry>) -> Result<bool> {
        let _nofs = nofs();
        names.clear();
        entries.clear();
        let view = self.view()?;
        if !inode::expect(&view, dir)?.is_dir() {
            return Err(Error::NotDir);
        }
        let mut full = false;
        view.scan(&key::dirent(dir, from), &key::dirent(dir, u64::MAX), &mut |k, data| {
            let (head, name) = DiskDirent::parse(data, dir)?;
            if head.ino.get() == 0 {
                return Ok(true);
            }
            if k.offset >= i64::MAX as u64 {
                return Err(Error::corrupt(
                    "directory entry beyond the last position",
                    u64::MAX,
                    dir,
                ));
            }
            names.extend_from_slice(name)?;
            entries.push(ReadEntry {
                slot: k.offset,
                ino: head.ino.get(),
                dtype: head.dtype,
                // A name has at most 255 bytes: `parse` saw to it.
                len: name.len() as u8,
            })?;
            full = names.len() >= BATCH;
            Ok(!full)
        })?;
        Ok(full)
    }
}
