// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! Finding data and holes (`SEEK_DATA`, `SEEK_HOLE`).
//!
//! Blocks that are reserved or in flight are data, though the tree knows nothing of them yet.

use super::delalloc::DataState;
use super::map::MapKind;
use super::map::Mapping;
use crate::fs::Fs;
use crate::inode::Ino;
use vexfs_host::nofs;
use vexfs_host::relax;
use vexfs_host::Result;

impl Mapping {
    /// Whether the blocks read as zeros because nothing was ever written to them.
    pub fn is_hole(&self) -> bool {
        self.kind == MapKind::Hole && !self.reserved && !self.in_flight
    }
}

impl Fs {
    /// The first byte at or after `off` that is data, in file `ino` of `size` bytes; `None` when only a hole is left.
    pub fn next_data(&self, ino: Ino, data: Option<&DataState>, off: u64, size: u64) -> Result<Option<u64>> {
        let found = self.seek(ino, data, off, size, false)?;
        Ok(found.filter(|at| *at < size))
    }

    /// The first byte at or after `off` that lies in a hole, in file `ino` of `size` bytes; the end of the file is one.
    /// `None` when `off` is not in the file.
    pub fn next_hole(&self, ino: Ino, data: Option<&DataState>, off: u64, size: u64) -> Result<Option<u64>> {
        let found = self.seek(ino, data, off, size, true)?;
        Ok(found.map(|at| at.min(size)))
    }

    /// The first byte from `off` on whose block is a hole or not, as wanted, or `size`. `None` from `size` on.
    fn seek(&self, ino: Ino, data: Option<&DataState>, off: u64, size: u64, hole: bool) -> Result<Option<u64>> {
        let _nofs = nofs();
        let block = self.blocks();
        if off >= size {
            return Ok(None);
        }
        let end = block.covering(size);
        let mut at = block.holding(off);
        while at < end {
            let m = match data {
                Some(data) => self.map(ino, data, at, end - at)?,
                None => self.map_tree(ino, at, end - at)?,
            };
            if m.is_hole() == hole {
                return Ok(Some(off.max(block.start(at))));
            }
            at = at.saturating_add(m.len);
            relax()?;
        }
        Ok(Some(size))
    }
}
