// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! What changing the tree needs besides the tree: its clean nodes, the allocator, and what was read for the operation.

use crate::node::fetch::Fetched;
use crate::node::fetch::Miss;
use crate::node::fetch::Source;
use crate::node::store::NodeStore;
use crate::space::BlockAllocator;
use crate::space::Run;
use vexfs_host::sync::Mutex;
use vexfs_host::Error;
use vexfs_host::Result;

/// What changing the tree needs besides the tree.
#[derive(Clone, Copy)]
pub(crate) struct Env<'a> {
    pub(crate) nodes: &'a NodeStore,
    pub(crate) space: &'a Mutex<BlockAllocator>,
    pub(crate) fetched: &'a Fetched,
}

impl Env<'_> {
    /// Where clean nodes come from.
    pub(crate) fn source(&self) -> Source<'_> {
        Source {
            nodes: self.nodes,
            fetched: Some(self.fetched),
        }
    }

    /// Runs `f` on the allocator, and notes what it lacks.
    pub(crate) fn space<R>(&self, f: impl FnOnce(&mut BlockAllocator) -> Result<R>) -> Result<R> {
        let mut space = self.space.lock();
        let done = f(&mut space);
        match (done, space.wanted()) {
            (Err(Error::WouldBlock), Some(group)) => Err(self.fetched.lack(Miss::Bitmap(group))),
            (done, _) => done,
        }
    }

    /// The blocks of the node at `block`.
    pub(super) fn run(&self, block: u64) -> Run {
        Run {
            block,
            len: self.nodes.io.geo.node_blocks,
        }
    }
}
