// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! What an operation does to blocks of data: it collects this and does it at its end.

use super::Run;
use vexfs_host::mem::Vec;

/// Blocks of data that become part of the tree.
pub(crate) struct Adopted {
    pub(crate) run: Run,
    /// Checksum of what was written to them, if the intent log is to have it.
    pub(crate) csum: Option<u32>,
}

/// What an operation adopts and frees. The memory is used again by the next one.
#[derive(Default)]
pub(crate) struct BlockChanges {
    pub(crate) adopted: Vec<Adopted>,
    pub(crate) freed: Vec<Run>,
}

impl BlockChanges {
    /// Entries for which memory is kept.
    const KEEP: usize = 256;

    pub(crate) const fn new() -> BlockChanges {
        BlockChanges {
            adopted: Vec::new(),
            freed: Vec::new(),
        }
    }

    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.adopted.is_empty() && self.freed.is_empty()
    }

    /// Forgets them, and keeps the memory if it is not too much.
    pub(crate) fn clear(&mut self) {
        self.adopted.clear();
        self.freed.clear();
        if self.adopted.capacity().max(self.freed.capacity()) > Self::KEEP {
            *self = BlockChanges::new();
        }
    }
}
