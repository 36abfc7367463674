// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! What a change of its contents does to the space that an inode counts.

use crate::format::items::DiskInode;
use crate::inode::Ino;
use vexfs_host::Result;

/// What the contents of an inode gained and lost, in units of 512 bytes.
#[derive(Clone, Copy, Default)]
pub(crate) struct Usage {
    pub gained: u64,
    pub lost: u64,
}

impl Usage {
    pub fn apply(&self, d: &mut DiskInode, ino: Ino) -> Result<()> {
        d.account(ino, self.gained, self.lost)
    }

    /// Takes `more` in.
    pub fn add(&mut self, more: &Usage) {
        self.gained = self.gained.saturating_add(more.gained);
        self.lost = self.lost.saturating_add(more.lost);
    }
}
