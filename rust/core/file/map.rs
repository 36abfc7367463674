// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! Mapping: where the blocks of a file are.

use super::delalloc::DataState;
use super::extents;
use super::inline;
use crate::fs::Fs;
use crate::inode;
use crate::inode::Ino;
use vexfs_host::nofs;
use vexfs_host::Result;

/// What the blocks of a [`Mapping`] are on the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MapKind {
    /// Nothing: they read as zeros.
    Hole,
    /// Block 0 as `len` bytes of inline data; see [`Fs::read_inline`].
    Inline {
        /// Bytes of data; the rest of the block reads as zeros.
        len: u32,
    },
    /// Blocks from `pblk` on.
    Extent {
        /// First block on the device.
        pblk: u64,
    },
}

/// A run of blocks of a file that are alike in every respect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// First logical block.
    pub lblk: u64,
    /// Number of blocks, not 0.
    pub len: u64,
    /// What they are on the device.
    pub kind: MapKind,
    /// Whether they are reserved: the page cache has newer contents.
    pub reserved: bool,
    /// Whether newer contents are being written.
    pub in_flight: bool,
}

impl Fs {
    /// Maps the blocks of inode `ino` from `lblk` on, at most `max` (not 0).
    pub fn map(&self, ino: Ino, data: &DataState, lblk: u64, max: u64) -> Result<Mapping> {
        let _nofs = nofs();
        // The state first: what is in flight here and lands meanwhile is then found in the tree.
        let (reserved, in_flight, n) = data.run(lblk, max);
        let mut m = self.map_tree(ino, lblk, n)?;
        m.reserved = reserved;
        m.in_flight = in_flight;
        Ok(m)
    }

    /// Maps what is in the tree.
    pub(crate) fn map_tree(&self, ino: Ino, lblk: u64, max: u64) -> Result<Mapping> {
        let view = self.view()?;
        let mut m = Mapping {
            lblk,
            len: max.min(u64::MAX.saturating_sub(lblk)),
            kind: MapKind::Hole,
            reserved: false,
            in_flight: false,
        };
        if let Some(e) = extents::covering(&view, ino, lblk)? {
            m.len = m.len.min(e.end().saturating_sub(lblk));
            m.kind = MapKind::Extent {
                pblk: e.pblk.saturating_add(lblk.saturating_sub(e.lblk)),
            };
            return Ok(m);
        }
        if lblk == 0 {
            if let Some(len) = inline::len(&view, ino)? {
                m.len = m.len.min(1);
                m.kind = MapKind::Inline { len: len as u32 };
                return Ok(m);
            }
        }
        if let Some(e) = extents::first_at_or_after(&view, ino, lblk)? {
            m.len = m.len.min(e.lblk.saturating_sub(lblk));
        } else {
            // Not even one inode: tell it from a file that is one hole.
            inode::expect(&view, ino)?;
        }
        Ok(m)
    }
}
