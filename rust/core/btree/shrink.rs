// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! Making the tree smaller after items were removed.
//!
//! Nothing is merged while a transaction can still be rolled back. Once it is over, the leaves it left less than a
//! quarter full are looked at again: an empty one goes, one that fits into three quarters of a node together with a
//! neighbour is merged with it, and so on up the tree. All of this only saves space. It ends as soon as something is
//! missing: a neighbour that is not in memory, a block, memory.

use super::env::Env;
use super::Slot;
use super::Tree;
use crate::format::node::NodePtr;
use crate::format::Key;
use crate::format::MAX_LEVELS;

/// The dirty nodes from the root to a leaf, and in each the entry that leads on.
struct Path {
    nodes: [(u64, usize); MAX_LEVELS as usize],
    len: usize,
}

impl Tree {
    /// Whether the last transaction left nothing nearly empty.
    pub(crate) fn is_tidy(&self) -> bool {
        self.hints.keys.is_empty()
    }

    /// Merges what the last transaction left nearly empty.
    pub(crate) fn tidy(&mut self, env: Env<'_>) {
        self.hints.last = u64::MAX;
        while let Some(key) = self.hints.keys.pop() {
            self.tidy_at(env, &key);
        }
    }

    fn path(&self, key: &Key) -> Option<Path> {
        let mut path = Path {
            nodes: [(0, 0); MAX_LEVELS as usize],
            len: 0,
        };
        let mut ptr = self.root;
        while ptr.birth == self.txg {
            let node = self.dirty.get(ptr.block).and_then(Slot::node)?;
            let index = node.child_of(key);
            *path.nodes.get_mut(path.len)? = (ptr.block, index);
            path.len += 1;
            let Some(level) = node.level().checked_sub(1) else {
                return Some(path);
            };
            ptr = node.entries().get(index)?.ptr(level);
        }
        None
    }

    fn tidy_at(&mut self, env: Env<'_>, key: &Key) {
        let Some(path) = self.path(key) else { return };
        let mut nodes = path.nodes.iter().take(path.len).rev();
        let Some((mut block, _)) = nodes.next().copied() else {
            return;
        };
        for (parent, index) in nodes {
            if self.shrink_child(env, *parent, *index, block).is_none() {
                break;
            }
            block = *parent;
        }
        while self.drop_root(env).is_some() {}
    }

    /// Takes away a root with a single child.
    fn drop_root(&mut self, env: Env<'_>) -> Option<()> {
        let old = self.root;
        if old.birth != self.txg || old.level == 0 {
            return None;
        }
        let root = self.own(old.block).ok()?;
        if root.len() != 1 {
            return None;
        }
        let child = root.entries().first()?.ptr(old.level - 1);
        self.prepare(env, old.block)?;
        self.root = child;
        self.drop_node(env, &old);
        Some(())
    }

    fn prepare(&self, env: Env<'_>, block: u64) -> Option<()> {
        env.space(|space| space.prepare_free(env.run(block), false)).ok()
    }

    /// Removes or merges dirty node `block`, to which entry `index` of dirty node `parent` leads. `None` if there was
    /// no reason or no way to, so that nothing has changed for the parent.
    fn shrink_child(&mut self, env: Env<'_>, parent: u64, index: usize, block: u64) -> Option<()> {
        let node = self.own(block).ok()?;
        if node.used() >= node.capacity() / 4 {
            return None;
        }
        let (level, siblings) = (node.level(), self.own(parent).ok()?.len());
        if siblings < 2 {
            return None;
        }
        if node.is_empty() {
            let ptr = self.own(parent).ok()?.entries().get(index)?.ptr(level);
            self.prepare(env, block)?;
            self.own_mut(parent).ok()?.remove_entry(index);
            self.drop_node(env, &ptr);
            return Some(());
        }
        self.merge(env, parent, index)
            .or_else(|| self.merge(env, parent, index.checked_sub(1)?))
    }

    /// Merges the children of `parent` at `left` and the entry after it.
    fn merge(&mut self, env: Env<'_>, parent: u64, left: usize) -> Option<()> {
        let node = self.own(parent).ok()?;
        let level = node.level().checked_sub(1)?;
        let (l, r) = (node.entries().get(left)?, node.entries().get(left + 1)?);
        let (mut l, r, border) = (l.ptr(level), r.ptr(level), r.key());
        let (size, capacity) = self.in_memory(env, &l)?;
        if size + self.in_memory(env, &r)?.0 > capacity / 4 * 3 {
            return None;
        }
        let clean = match self.writing.get(r.block) {
            _ if r.birth == self.txg => None,
            Some(Slot::Shared(n)) if n.birth() == r.birth => Some(n.clone()),
            _ => Some(env.nodes.cache.get(r.block, r.birth)?),
        };
        self.prepare(env, r.block)?;
        if l.birth != self.txg {
            l = self.copy(env, &l).ok()?;
            self.own_mut(parent).ok()?.set_ptr(left, &l);
        }
        // Nothing fails from here on.
        let owned = match clean {
            Some(_) => None,
            None => self.dirty.remove(r.block),
        };
        let from = owned.as_ref().and_then(Slot::node).or(clean.as_deref());
        if let (Some(from), Some(Slot::Own(to))) = (from, self.dirty.get_mut(l.block)) {
            to.tidy(&mut self.scratch);
            let at = to.len();
            to.append(from, 0);
            // What was the right node's entry 0 begins where that node began.
            to.set_key(at, &border);
        }
        self.own_mut(parent).ok()?.remove_entry(left + 1);
        self.drop_node(env, &r);
        Some(())
    }

    /// Bytes used in a node and bytes there are, if the node is in memory.
    fn in_memory(&self, env: Env<'_>, ptr: &NodePtr) -> Option<(usize, usize)> {
        if let Some(n) = self.held(ptr).ok()? {
            return Some((n.used(), n.capacity()));
        }
        let n = env.nodes.cache.get(ptr.block, ptr.birth)?;
        (n.level() == ptr.level).then(|| (n.used(), n.capacity()))
    }
}
