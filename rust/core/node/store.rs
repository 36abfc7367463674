// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! Where clean nodes come from: the cache, or else the device.

use super::cache::NodeCache;
use super::Node;
use crate::block_io::BlockIo;
use crate::format::node::NodePtr;
use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::Relaxed;
use vexfs_host::sync::Arc;
use vexfs_host::Error;
use vexfs_host::Result;

/// All clean nodes.
pub(crate) struct NodeStore {
    pub(crate) io: BlockIo,
    pub(crate) cache: NodeCache,
    /// Nodes read from the device.
    pub(crate) reads: AtomicU64,
}

impl NodeStore {
    pub(crate) fn new(io: BlockIo, cache_nodes: usize) -> Result<NodeStore> {
        Ok(NodeStore {
            io,
            cache: NodeCache::new(cache_nodes)?,
            reads: AtomicU64::new(0),
        })
    }

    /// The clean node that `ptr` points to.
    ///
    /// # Errors
    ///
    /// `Io` or `Corrupt`, which are logged here; `NoMemory`.
    pub(crate) fn get(&self, ptr: &NodePtr) -> Result<Arc<Node>> {
        match self.cached(ptr)? {
            Some(node) => Ok(node),
            None => self.read(ptr).inspect_err(|e| self.io.damage.note(e)),
        }
    }

    /// The same, if it is in memory.
    #[inline]
    pub(crate) fn cached(&self, ptr: &NodePtr) -> Result<Option<Arc<Node>>> {
        match self.cache.get(ptr.block, ptr.birth) {
            // Only a crafted filesystem refers to a node from two levels.
            Some(node) if node.level() != ptr.level => {
                Err(Error::corrupt("tree node: at the wrong level", ptr.block, 0))
            }
            found => Ok(found),
        }
    }

    /// Reads a clean node, and keeps it. What is wrong with it is for the caller to report.
    pub(crate) fn read(&self, ptr: &NodePtr) -> Result<Arc<Node>> {
        let geo = &self.io.geo;
        if !geo.is_node_place(ptr.block) {
            return Err(Error::corrupt("pointer to a place where no node can be", ptr.block, 0));
        }
        let buf = self.io.read_vec(ptr.block, geo.node_size as usize)?;
        self.reads.fetch_add(1, Relaxed);
        let node = Arc::new(Node::parse(buf, geo, &self.io.uuid, ptr)?)?;
        self.cache.insert(node.clone());
        Ok(node)
    }
}
