// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! Sealing the tree of a transaction group, so that it can be written while operations of the next group go on.

use super::Slot;
use super::Tree;
use super::LOST;
use crate::format::MAX_LEVELS;
use crate::node::Node;
use vexfs_host::mem::Vec;
use vexfs_host::sync::Arc;
use vexfs_host::Result;

impl Tree {
    /// Puts the checksums of all dirty nodes into their parents, from the leaves up, and adds the nodes to `nodes`,
    /// which has room for them; they stay in `dirty` as shared ones.
    #[inline(never)] // own frame
    pub(crate) fn seal(&mut self, uuid: &[u8; 16], nodes: &mut Vec<Arc<Node>>) -> Result<()> {
        if self.root.birth == self.txg {
            // The way from the root to the node at work, and the entry of each to look at next.
            let mut path = [(0u64, 0usize); MAX_LEVELS as usize];
            let mut depth = 0usize;
            *path.first_mut().ok_or(LOST)? = (self.root.block, 0);
            loop {
                let (block, next) = *path.get(depth).ok_or(LOST)?;
                match self.dirty_child(block, next)? {
                    Some((index, child)) => {
                        path.get_mut(depth).ok_or(LOST)?.1 = index;
                        depth += 1;
                        *path.get_mut(depth).ok_or(LOST)? = (child, 0);
                    }
                    None => {
                        let csum = self.own_mut(block)?.seal(uuid);
                        let Some(up) = depth.checked_sub(1) else {
                            self.root.csum = csum;
                            break;
                        };
                        depth = up;
                        let (parent, index) = path.get_mut(depth).ok_or(LOST)?;
                        self.own_mut(*parent)?.set_csum(*index, csum);
                        *index += 1;
                    }
                }
            }
        }
        if self.dirty.len() > nodes.capacity() {
            return Err(LOST);
        }
        for (_, slot) in self.dirty.iter_mut() {
            if let Slot::Own(node) = core::mem::replace(slot, Slot::Gone) {
                let node = node.into_arc();
                nodes.push(node.clone())?;
                *slot = Slot::Shared(node);
            }
        }
        Ok(())
    }

    /// The first entry from `from` on of dirty node `block` that leads to a dirty node.
    fn dirty_child(&self, block: u64, from: usize) -> Result<Option<(usize, u64)>> {
        let node = self.own(block)?;
        let entries = node.entries().get(from..).unwrap_or(&[]);
        let found = entries.iter().position(|e| e.birth.get() == self.txg);
        Ok(found.and_then(|n| entries.get(n).map(|e| (from + n, e.block.get()))))
    }

    /// Opens the next transaction group: the nodes of this one, which are sealed, are being written from now on.
    pub(crate) fn open_next_group(&mut self) {
        // `writing` is empty but keeps its memory, which the next group uses.
        core::mem::swap(&mut self.writing, &mut self.dirty);
        self.changed = false;
        self.txg = self.txg.saturating_add(1);
    }
}
