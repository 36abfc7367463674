// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! The tree: one copy-on-write B+tree holds all metadata.
//!
//! [`Tree`] is the tree of the open transaction group. Nodes born in it are dirty: they are in memory only, in `dirty`,
//! and change in place. Nodes of the group that is being written are in `writing` until they are on the device.
//! Everything older is clean and comes from the [`NodeStore`](crate::node::store::NodeStore). A pointer's birth says
//! which of the three a node is in.
//!
//! Invariants: every ancestor of a dirty node is dirty; the dirty nodes are exactly those reachable from the root with
//! `birth == txg`; a leaf may be empty, an internal node has an entry; the key of an internal node's entry `i > 0` is
//! the lowest its child may hold (entry 0 goes down to where its parent begins).

pub(crate) mod env;
mod hints;
mod seal;
mod shrink;
#[cfg(test)]
mod tests;
mod undo;
mod write;

use crate::format::node::NodePtr;
use crate::format::Key;
use crate::format::MAX_LEVELS;
use crate::log::redo::Redo;
use crate::node::fetch::Source;
use crate::node::Node;
use crate::space::changes::BlockChanges;
use core::ops::Deref;
use hints::Hints;
use undo::Undo;
use vexfs_host::mem::U64Map;
use vexfs_host::mem::Vec;
use vexfs_host::sync::Arc;
use vexfs_host::sync::UniqueArc;
use vexfs_host::Error;
use vexfs_host::Result;

/// A node that is not clean.
pub(crate) enum Slot {
    /// Dirty: it changes in place.
    Own(UniqueArc<Node>),
    /// Being written.
    Shared(Arc<Node>),
    /// Neither: it is just becoming one from the other.
    Gone,
}

impl Slot {
    #[inline]
    fn node(&self) -> Option<&Node> {
        match self {
            Slot::Own(n) => Some(n),
            Slot::Shared(n) => Some(n),
            Slot::Gone => None,
        }
    }
}

/// The tree of the open transaction group.
pub(crate) struct Tree {
    /// The root; its `csum` means nothing while it is dirty.
    pub(crate) root: NodePtr,
    /// The open transaction group.
    pub(crate) txg: u64,
    /// The next inode number to give out.
    pub(crate) next_ino: u64,
    /// Objects in the tree.
    pub(crate) inode_count: u64,
    /// Whether there is anything to commit.
    pub(crate) changed: bool,
    /// Nodes of the open transaction group by block.
    pub(crate) dirty: U64Map<Slot>,
    /// Nodes of the transaction group that is being written by block.
    pub(crate) writing: U64Map<Slot>,
    /// As large as a node, for compacting one.
    scratch: Vec<u8>,
    undo: Undo,
    /// What was done, for the intent log.
    pub(crate) redo: Redo,
    hints: Hints,
    finger: Option<Finger>,
    /// Memory for the next transaction.
    pub(crate) changes: BlockChanges,
}

/// The leaf that was changed last, and its keys: the next change in it needs no walk from the root. It is forgotten
/// when a node is added or dropped, since that may change which keys belong where, and with its transaction group.
struct Finger {
    block: u64,
    txg: u64,
    /// As in [`Leaf`].
    lower: Option<Key>,
    upper: Option<Key>,
}

/// A node that must be among the dirty ones. If it is not, the invariants of [`Tree`] are broken.
const LOST: Error = Error::corrupt("dirty tree node lost in memory", u64::MAX, 0);

/// What to do about an item that is there already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum How {
    /// Refuse.
    Insert,
    /// Replace it.
    Put,
}

/// A borrowed node, wherever it is.
pub(crate) enum NodeRef<'a> {
    /// One that is not clean.
    Held(&'a Node),
    /// A clean one.
    Clean(Arc<Node>),
}

impl Deref for NodeRef<'_> {
    type Target = Node;

    #[inline]
    fn deref(&self) -> &Node {
        match self {
            NodeRef::Held(n) => n,
            NodeRef::Clean(n) => n,
        }
    }
}

/// A leaf, and which keys belong into it.
pub(crate) struct Leaf<'a> {
    pub(crate) node: NodeRef<'a>,
    /// The lowest key; `None` in the leftmost leaf.
    pub(crate) lower: Option<Key>,
    /// The lowest key of the next leaf; `None` in the rightmost one.
    pub(crate) upper: Option<Key>,
}

impl Tree {
    /// The tree below `root`, with `txg` open.
    pub(crate) fn new(root: NodePtr, txg: u64, next_ino: u64, inode_count: u64, node_size: u32) -> Result<Tree> {
        let mut scratch = Vec::new();
        scratch.resize(node_size as usize, 0)?;
        Ok(Tree {
            root,
            txg,
            next_ino,
            inode_count,
            changed: false,
            dirty: U64Map::new(),
            writing: U64Map::new(),
            scratch,
            undo: Undo::new(),
            redo: Redo::new(),
            hints: Hints::new(),
            finger: None,
            changes: BlockChanges::new(),
        })
    }

    /// Levels of the tree, leaves included.
    pub(crate) fn levels(&self) -> u32 {
        u32::from(self.root.level) + 1
    }

    /// A node that is not clean, if `ptr` points to one.
    #[inline]
    pub(crate) fn held(&self, ptr: &NodePtr) -> Result<Option<&Node>> {
        let node = if ptr.birth == self.txg {
            match self.dirty.get(ptr.block).and_then(Slot::node) {
                Some(n) => n,
                // Only a pointer from a crafted filesystem is that young without a dirty node.
                None => return Err(Error::corrupt("pointer to a node of the future", ptr.block, 0)),
            }
        } else {
            match self.writing.get(ptr.block).and_then(Slot::node) {
                Some(n) if n.birth() == ptr.birth => n,
                _ => return Ok(None),
            }
        };
        match node.level() == ptr.level {
            true => Ok(Some(node)),
            false => Err(Error::corrupt("tree node: at the wrong level", ptr.block, 0)),
        }
    }

    /// The node that `ptr` points to.
    #[inline]
    pub(crate) fn node(&self, source: Source<'_>, ptr: &NodePtr) -> Result<NodeRef<'_>> {
        match self.held(ptr)? {
            Some(n) => Ok(NodeRef::Held(n)),
            None => Ok(NodeRef::Clean(source.get(ptr)?)),
        }
    }

    /// The leaf that was changed last, if `key` belongs into it.
    #[inline]
    fn at_finger(&self, key: &Key) -> Option<&Finger> {
        self.finger.as_ref().filter(|at| {
            at.txg == self.txg
                && at.lower.as_ref().is_none_or(|lower| lower <= key)
                && at.upper.as_ref().is_none_or(|upper| key < upper)
        })
    }

    /// The leaf into which `key` belongs.
    pub(crate) fn leaf(&self, source: Source<'_>, key: &Key) -> Result<Leaf<'_>> {
        if let Some(at) = self.at_finger(key) {
            return Ok(Leaf {
                node: NodeRef::Held(self.own(at.block)?),
                lower: at.lower,
                upper: at.upper,
            });
        }
        self.walk(source, key)
    }

    /// The same, from the root.
    fn walk(&self, source: Source<'_>, key: &Key) -> Result<Leaf<'_>> {
        let mut leaf = Leaf {
            node: self.node(source, &self.root)?,
            lower: None,
            upper: None,
        };
        for _ in 0..MAX_LEVELS {
            let level = leaf.node.level();
            if level == 0 {
                return Ok(leaf);
            }
            let at = leaf.node.child_of(key);
            let entries = leaf.node.entries();
            if let Some(next) = entries.get(at + 1) {
                leaf.upper = Some(next.key());
            }
            let Some(entry) = entries.get(at) else {
                return Err(Error::corrupt(
                    "internal tree node without entries",
                    leaf.node.block(),
                    0,
                ));
            };
            if at > 0 {
                leaf.lower = Some(entry.key());
            }
            let ptr = entry.ptr(level - 1);
            leaf.node = self.node(source, &ptr)?;
        }
        Err(Error::corrupt("tree too deep", self.root.block, 0))
    }
}

/// An item and its neighbours.
pub(crate) struct Around<'a> {
    /// The last item before the key.
    pub(crate) before: Option<(Key, &'a [u8])>,
    /// The value of the key.
    pub(crate) at: Option<&'a [u8]>,
    /// The first item behind the key. If there is none, none up to the end that was asked for, inclusive.
    pub(crate) after: Option<(Key, &'a [u8])>,
}

/// What a reader holds on to: a tree that does not change, and where its clean nodes come from.
///
/// A walk that lacks a node ends with `WouldBlock` and can be made again, from where it has come to. It yields between
/// leaves, and never fails because the task is being killed.
#[derive(Clone, Copy)]
pub struct Walk<'a> {
    pub(crate) source: Source<'a>,
    pub(crate) tree: &'a Tree,
    /// The tree may have changed since the last attempt: begin anew.
    pub(crate) anew: bool,
}

impl Walk<'_> {
    pub(crate) fn get(&self, key: &Key, f: impl FnOnce(&[u8]) -> Result<()>) -> Result<()> {
        let leaf = self.tree.leaf(self.source, key)?;
        let node = &leaf.node;
        match node.find(key).ok().and_then(|at| node.items().get(at)) {
            Some(item) => f(node.data(item)),
            None => Ok(()),
        }
    }

    /// Calls `f` with the item at or after `key`. Each leaf without one is passed once, so this ends.
    pub(crate) fn at_or_after(&self, key: &mut Key, f: impl FnOnce(&Key, &[u8]) -> Result<()>) -> Result<()> {
        loop {
            let leaf = self.tree.leaf(self.source, key)?;
            let (Ok(at) | Err(at)) = leaf.node.find(key);
            if let Some(item) = leaf.node.items().get(at) {
                return f(&item.key(), leaf.node.data(item));
            }
            // The next leaf begins above `key`, by how the leaf was chosen.
            match leaf.upper {
                Some(next) if next > *key => *key = next,
                _ => return Ok(()),
            }
            vexfs_host::cond_resched();
        }
    }

    /// Calls `f` with the item at or before `key`.
    pub(crate) fn at_or_before(&self, key: &mut Key, f: impl FnOnce(&Key, &[u8]) -> Result<()>) -> Result<()> {
        loop {
            let leaf = self.tree.leaf(self.source, key)?;
            let at = match leaf.node.find(key) {
                Ok(at) => Some(at),
                Err(at) => at.checked_sub(1),
            };
            if let Some(item) = at.and_then(|at| leaf.node.items().get(at)) {
                return f(&item.key(), leaf.node.data(item));
            }
            match leaf.lower.and_then(|l| l.pred()) {
                Some(prev) if prev < *key => *key = prev,
                _ => return Ok(()),
            }
            vexfs_host::cond_resched();
        }
    }

    /// Calls `f` with the items around `key`, up to `to`, if one leaf can tell.
    pub(crate) fn around(&self, key: &Key, to: &Key, f: impl FnOnce(Around<'_>) -> Result<()>) -> Result<()> {
        let leaf = self.tree.leaf(self.source, key)?;
        let (node, items) = (&leaf.node, leaf.node.items());
        let found = node.find(key);
        let (Ok(at) | Err(at)) = found;
        let value = |at: usize| items.get(at).map(|item| (item.key(), node.data(item)));
        let around = Around {
            before: at.checked_sub(1).and_then(value),
            at: found.ok().and_then(value).map(|(_, data)| data),
            after: value(at + usize::from(found.is_ok())),
        };
        let whole = (around.before.is_some() || leaf.lower.is_none())
            && (around.after.is_some() || leaf.upper.is_none_or(|upper| upper > *to));
        match whole {
            true => f(around),
            false => Ok(()),
        }
    }

    /// Calls `f` with the items from `key` to `to` in order until it returns false. Moves `key` to what comes after the
    /// items that `f` has seen.
    pub(crate) fn scan(&self, key: &mut Key, to: &Key, f: &mut dyn FnMut(&Key, &[u8]) -> Result<bool>) -> Result<()> {
        while *key <= *to {
            let leaf = self.tree.leaf(self.source, key)?;
            let (Ok(at) | Err(at)) = leaf.node.find(key);
            for item in leaf.node.items().get(at..).unwrap_or(&[]) {
                let found = item.key();
                if found > *to || !f(&found, leaf.node.data(item))? {
                    return Ok(());
                }
            }
            match leaf.upper {
                Some(next) if next > *key => *key = next,
                _ => return Ok(()),
            }
            vexfs_host::cond_resched();
        }
        Ok(())
    }
}
