// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! Changing the tree: copying nodes, inserting, replacing, removing, and undoing that.
//!
//! A change first makes every node from the root to the leaf dirty, copying those that are not, and splits full
//! internal nodes on the way down, so that a split below never has to go back up. Copying and splitting do not change
//! what the tree says; if a later step fails they simply stay. Each step gets the memory and the block it needs before
//! it changes anything.

use super::env::Env;
use super::undo::Undo as TakenBack;
use super::Finger;
use super::How;
use super::NodeRef;
use super::Slot;
use super::Tree;
use super::LOST;
use crate::format::node::*;
use crate::format::Key;
use crate::format::ITEM_MAX;
use crate::format::MAX_LEVELS;
use crate::node::Node;
use crate::space::BlockAllocator;
use vexfs_host::sync::UniqueArc;
use vexfs_host::Error;
use vexfs_host::Result;

/// Where a descent ended: a dirty leaf, its dirty parent, and which of the parent's entries leads to it.
#[derive(Clone, Copy)]
struct Descent {
    leaf: u64,
    parent: Option<(u64, usize)>,
}

impl Tree {
    /// Dirty node `block`.
    pub(crate) fn own(&self, block: u64) -> Result<&Node> {
        self.dirty.get(block).and_then(Slot::node).ok_or(LOST)
    }

    /// Dirty node `block`, to change.
    pub(crate) fn own_mut(&mut self, block: u64) -> Result<&mut Node> {
        match self.dirty.get_mut(block) {
            Some(Slot::Own(n)) => Ok(n),
            _ => Err(LOST),
        }
    }

    /// The open transaction group's pointer to dirty node `block`.
    fn dirty_ptr(&self, block: u64, level: u8) -> NodePtr {
        NodePtr {
            block,
            birth: self.txg,
            csum: 0,
            level,
        }
    }

    /// Allocates a block and calls `make` for the node in it; if that fails, the block is free again.
    fn add_node(&mut self, env: Env<'_>, make: impl FnOnce(&mut Self, u64) -> Result<Node>) -> Result<u64> {
        // Whoever adds a node puts others in new places.
        self.finger = None;
        self.dirty.reserve(1)?;
        let block = env.space(BlockAllocator::alloc_node)?;
        let made = make(self, block).and_then(UniqueArc::new);
        let added = match made {
            Ok(node) => self.dirty.insert(block, Slot::Own(node)).map(|_| ()),
            Err(e) => Err(e),
        };
        if let Err(e) = added {
            env.space.lock().unalloc_node(block);
            return Err(e);
        }
        self.changed = true;
        Ok(block)
    }

    /// Makes a dirty copy of the node that `old` points to and frees the original.
    pub(super) fn copy(&mut self, env: Env<'_>, old: &NodePtr) -> Result<NodePtr> {
        env.space(|space| space.prepare_free(env.run(old.block), false))?;
        let txg = self.txg;
        let block = self.add_node(env, |tree, block| match tree.node(env.source(), old)? {
            NodeRef::Held(n) => n.copy_to(block, txg),
            NodeRef::Clean(n) => n.copy_to(block, txg),
        })?;
        env.space.lock().free(env.run(old.block), false);
        env.nodes.cache.remove(old.block);
        Ok(self.dirty_ptr(block, old.level))
    }

    /// Drops a node that nothing points to any more. [`BlockAllocator::prepare_free`] was called for it.
    pub(super) fn drop_node(&mut self, env: Env<'_>, ptr: &NodePtr) {
        self.finger = None;
        let now = ptr.birth == self.txg;
        env.space.lock().free(env.run(ptr.block), now);
        if now {
            self.dirty.remove(ptr.block);
        } else {
            env.nodes.cache.remove(ptr.block);
        }
        self.changed = true;
    }

    /// Puts a new root above the present one, which is dirty.
    fn grow(&mut self, env: Env<'_>) -> Result<()> {
        let old = self.root;
        if old.level + 1 >= MAX_LEVELS {
            return Err(Error::NoSpace);
        }
        let key = self.own(old.block)?.key_at(0).unwrap_or(Key::MIN);
        let (size, txg) = (env.nodes.io.geo.node_size, self.txg);
        let block = self.add_node(env, |_, block| {
            let mut root = Node::new(size, block, txg, old.level + 1)?;
            root.insert_entry(0, &DiskEntry::new(&key, &old));
            Ok(root)
        })?;
        self.root = self.dirty_ptr(block, old.level + 1);
        Ok(())
    }

    /// Splits dirty node `block`, which entry `at` of dirty node `parent` leads to, before its element `mid`. If that
    /// is the end, the new node is empty and begins at `key`. The parent is not full. Returns the new node.
    fn split(&mut self, env: Env<'_>, parent: u64, at: usize, block: u64, mid: usize, key: &Key) -> Result<u64> {
        let node = self.own(block)?;
        let (level, first) = (node.level(), node.key_at(0));
        let border = node.key_at(mid).unwrap_or(*key);
        if self.own(parent)?.is_full() {
            return Err(LOST);
        }
        let (size, txg) = (env.nodes.io.geo.node_size, self.txg);
        let right = self.add_node(env, |_, right| Node::new(size, right, txg, level))?;
        // Nothing fails from here on: items are in one of the two nodes at any time.
        let slot = self.dirty.get_mut(right).ok_or(LOST)?;
        let mut new = core::mem::replace(slot, Slot::Gone);
        if let (Slot::Own(new), Some(Slot::Own(old))) = (&mut new, self.dirty.get_mut(block)) {
            old.move_tail(mid, new, &mut self.scratch);
        }
        *self.dirty.get_mut(right).ok_or(LOST)? = new;
        let entry = DiskEntry::new(&border, &self.dirty_ptr(right, level));
        let parent = self.own_mut(parent)?;
        // Entry 0 leads to lower keys than its own; now that there is an entry for some of them, it must say so.
        if let Some(first) = first.filter(|_| at == 0 && parent.key_at(0).is_some_and(|k| k >= border)) {
            parent.set_key(0, &first);
        }
        parent.insert_entry(at + 1, &entry);
        Ok(right)
    }

    /// Makes the way to `key` dirty.
    ///
    /// # Errors
    ///
    /// Whatever stops nodes from being read, allocated or copied. The tree says the same as before.
    pub(crate) fn reach(&mut self, env: Env<'_>, key: &Key) -> Result<()> {
        self.dirty_leaf_of(env, key).map(|_| ())
    }

    /// The leaf into which `key` belongs, which is dirty then.
    fn dirty_leaf_of(&mut self, env: Env<'_>, key: &Key) -> Result<u64> {
        match self.at_finger(key) {
            Some(at) => Ok(at.block),
            None => self.descend(env, key, false).map(|place| place.leaf),
        }
    }

    /// Makes the way to `key` dirty. With `grow`, no internal node on it is full afterwards.
    fn descend(&mut self, env: Env<'_>, key: &Key, grow: bool) -> Result<Descent> {
        if self.root.birth != self.txg {
            self.root = self.copy(env, &self.root.clone())?;
        }
        if grow && self.root.level > 0 && self.own(self.root.block)?.is_full() {
            self.grow(env)?;
        }
        let mut at = self.root.block;
        let mut parent = None;
        let (mut lower, mut upper) = (None, None);
        for _ in 0..MAX_LEVELS {
            let node = self.own(at)?;
            let level = node.level();
            if level == 0 {
                self.finger = Some(Finger {
                    block: at,
                    txg: self.txg,
                    lower,
                    upper,
                });
                return Ok(Descent { leaf: at, parent });
            }
            let mut index = node.child_of(key);
            let Some(mut child) = node.entries().get(index).map(|e| e.ptr(level - 1)) else {
                return Err(Error::corrupt("internal tree node without entries", at, 0));
            };
            if child.birth != self.txg {
                child = self.copy(env, &child)?;
                self.own_mut(at)?.set_ptr(index, &child);
            }
            let below = self.own(child.block)?;
            if grow && child.level > 0 && below.is_full() {
                let nr = below.len();
                // At the right edge, where keys are appended, the left half stays nearly full.
                let mid = match below.child_of(key) + 1 == nr {
                    true => nr - nr / 8 - 1,
                    false => nr / 2,
                };
                let right = self.split(env, at, index, child.block, mid, key)?;
                if self.own(at)?.child_of(key) != index {
                    index += 1;
                    child = self.dirty_ptr(right, child.level);
                }
            }
            let entries = self.own(at)?.entries();
            if let Some(next) = entries.get(index + 1) {
                upper = Some(next.key());
            }
            if let Some(entry) = entries.get(index).filter(|_| index > 0) {
                lower = Some(entry.key());
            }
            parent = Some((at, index));
            at = child.block;
        }
        Err(Error::corrupt("tree too deep", self.root.block, 0))
    }

    /// Inserts an item, or with [`How::Put`] replaces it.
    ///
    /// # Errors
    ///
    /// `Exists`, `TooBig`, and whatever stops nodes from being read, allocated or copied. The tree says the same as
    /// before.
    pub(crate) fn insert(&mut self, env: Env<'_>, key: &Key, data: &[u8], how: How) -> Result<()> {
        if data.len() > ITEM_MAX {
            return Err(Error::TooBig("tree item"));
        }
        // The leaf that was changed last may have room; only a walk sees to it that there is room for a split above it.
        let mut known = self.at_finger(key).map(|at| at.block);
        let mut place = match known {
            Some(leaf) => Descent { leaf, parent: None },
            None => self.descend(env, key, true)?,
        };
        // At most one split is needed: each half has room for the largest item.
        for _ in 0..3 {
            let Some(Slot::Own(leaf)) = self.dirty.get_mut(place.leaf) else {
                return Err(LOST);
            };
            let found = leaf.find(key);
            if found.is_ok() && how == How::Insert {
                return Err(Error::Exists);
            }
            let done = match found {
                Ok(at) => {
                    let old = leaf.items().get(at).map(|i| leaf.data(i));
                    self.undo.note(key, old)?;
                    leaf.replace(at, data, &mut self.scratch)
                }
                Err(at) => {
                    self.undo.note(key, None)?;
                    leaf.insert(at, key, data, &mut self.scratch)
                }
            };
            if done {
                self.redo.put(key, data);
                self.changed = true;
                return Ok(());
            }
            self.undo.pop();
            place = match known.take() {
                Some(_) => self.descend(env, key, true)?,
                None => self.split_leaf(env, place, key, found)?,
            };
        }
        Err(Error::corrupt(
            "tree leaf without room after a split",
            place.leaf,
            key.obj,
        ))
    }

    /// Splits the leaf at `place` and returns the half into which `key` belongs.
    fn split_leaf(
        &mut self,
        env: Env<'_>,
        place: Descent,
        key: &Key,
        found: core::result::Result<usize, usize>,
    ) -> Result<Descent> {
        let (parent, index) = match place.parent {
            Some(p) => p,
            None => {
                self.grow(env)?;
                (self.root.block, 0)
            }
        };
        let leaf = self.own(place.leaf)?;
        // Appending is the common case and must not leave half-empty leaves behind.
        let mid = match found {
            Err(at) if at == leaf.len() => at,
            _ => leaf.middle(),
        };
        let right = self.split(env, parent, index, place.leaf, mid, key)?;
        let index = self.own(parent)?.child_of(key);
        let leaf = self.own(parent)?.entries().get(index).map(|e| e.block.get());
        match leaf {
            Some(leaf) if leaf == right || leaf == place.leaf => Ok(Descent {
                leaf,
                parent: Some((parent, index)),
            }),
            _ => Err(LOST),
        }
    }

    /// Changes the data of an item in place. `None` if there is none; if `f` fails, nothing has changed.
    pub(crate) fn modify<R>(
        &mut self,
        env: Env<'_>,
        key: &Key,
        f: impl FnOnce(&mut [u8]) -> Result<R>,
    ) -> Result<Option<R>> {
        let block = self.dirty_leaf_of(env, key)?;
        let Some(Slot::Own(leaf)) = self.dirty.get_mut(block) else {
            return Err(LOST);
        };
        let Ok(at) = leaf.find(key) else { return Ok(None) };
        self.undo.note(key, leaf.items().get(at).map(|i| leaf.data(i)))?;
        let Some(data) = leaf.data_mut(at) else {
            return Err(LOST);
        };
        match f(data) {
            Ok(r) => {
                self.redo.put(key, data);
                self.changed = true;
                Ok(Some(r))
            }
            Err(e) => {
                if let Some((_, Some(old))) = self.undo.last() {
                    if old.len() == data.len() {
                        data.copy_from_slice(old);
                    }
                }
                self.undo.pop();
                Err(e)
            }
        }
    }

    /// Removes an item.
    ///
    /// # Errors
    ///
    /// `NotFound`, and as for [`Tree::insert`].
    pub(crate) fn remove(&mut self, env: Env<'_>, key: &Key) -> Result<()> {
        let block = self.dirty_leaf_of(env, key)?;
        let Some(Slot::Own(leaf)) = self.dirty.get_mut(block) else {
            return Err(LOST);
        };
        let Ok(at) = leaf.find(key) else {
            return Err(Error::NotFound);
        };
        self.undo.note(key, leaf.items().get(at).map(|i| leaf.data(i)))?;
        leaf.remove(at);
        if leaf.used() < leaf.capacity() / 4 {
            self.hints.note(key, block);
        }
        self.redo.remove(key);
        self.changed = true;
        Ok(())
    }

    /// Whether something was noted for undoing.
    pub(crate) fn has_undo(&self) -> bool {
        !self.undo.is_empty()
    }

    /// Makes what was done since the last call permanent.
    pub(crate) fn keep(&mut self) {
        self.undo.clear();
    }

    /// Undoes what was done since the last [`Tree::keep`]. Needs neither memory nor I/O. False if the invariants of the
    /// tree were broken, after which it must not be committed.
    pub(crate) fn undo(&mut self) -> bool {
        let mut ok = true;
        while let Some((key, old)) = self.undo.last() {
            let leaf = dirty_leaf(&self.root, self.txg, &self.dirty, &key).and_then(|block| self.dirty.get_mut(block));
            if let Some(Slot::Own(leaf)) = leaf {
                ok &= set(leaf, &key, old, &mut self.scratch);
                if leaf.used() < leaf.capacity() / 4 {
                    self.hints.note(&key, leaf.block());
                }
            } else {
                ok = false;
            }
            self.undo.pop();
        }
        ok
    }

    /// Makes the tree say what it said before the transaction, which [`Tree::resume`] goes on with: in between, the
    /// tree's lock may be given up. Whoever does so keeps others from changing the tree.
    ///
    /// # Errors
    ///
    /// `NoMemory`; nothing has changed then. `Corrupt` if the invariants of the tree were broken.
    pub(crate) fn suspend(&mut self) -> Result<TakenBack> {
        let mut bytes = self.undo.bytes();
        for n in 0..self.undo.len() {
            let (key, _) = self.undo.step(n).ok_or(LOST)?;
            bytes = bytes.saturating_add(self.dirty_value(&key)?.map_or(0, <[u8]>::len));
        }
        let mut taken = TakenBack::with_room_for(self.undo.len(), bytes)?;
        for n in (0..self.undo.len()).rev() {
            let (key, old) = self.undo.step(n).ok_or(LOST)?;
            let block = dirty_leaf(&self.root, self.txg, &self.dirty, &key).ok_or(LOST)?;
            let Some(Slot::Own(leaf)) = self.dirty.get_mut(block) else {
                return Err(LOST);
            };
            let new = leaf.find(&key).ok().and_then(|at| leaf.items().get(at));
            taken.note(&key, new.map(|i| leaf.data(i)))?;
            if !set(leaf, &key, old, &mut self.scratch) {
                return Err(LOST);
            }
        }
        Ok(taken)
    }

    /// Does again what [`Tree::suspend`] took back. What it puts in was there before, in the same leaves, so there is
    /// room.
    ///
    /// # Errors
    ///
    /// `Corrupt` if the invariants of the tree were broken, after which it must not be committed.
    pub(crate) fn resume(&mut self, mut taken: TakenBack) -> Result<()> {
        while let Some((key, new)) = taken.last() {
            let block = dirty_leaf(&self.root, self.txg, &self.dirty, &key).ok_or(LOST)?;
            let Some(Slot::Own(leaf)) = self.dirty.get_mut(block) else {
                return Err(LOST);
            };
            if !set(leaf, &key, new, &mut self.scratch) {
                return Err(LOST);
            }
            taken.pop();
        }
        Ok(())
    }

    /// The value of `key`, whose leaf is dirty.
    fn dirty_value(&self, key: &Key) -> Result<Option<&[u8]>> {
        let block = dirty_leaf(&self.root, self.txg, &self.dirty, key).ok_or(LOST)?;
        let leaf = self.own(block)?;
        let item = leaf.find(key).ok().and_then(|at| leaf.items().get(at));
        Ok(item.map(|i| leaf.data(i)))
    }
}

/// Gives `key` a value in `leaf`, or takes it out. False if there is no room.
fn set(leaf: &mut Node, key: &Key, value: Option<&[u8]>, scratch: &mut [u8]) -> bool {
    match (leaf.find(key), value) {
        (Ok(at), Some(value)) => leaf.replace(at, value, scratch),
        (Err(at), Some(value)) => leaf.insert(at, key, value, scratch),
        (Ok(at), None) => {
            leaf.remove(at);
            true
        }
        (Err(_), None) => true,
    }
}

/// The dirty leaf of `key`, if all nodes on the way are dirty.
fn dirty_leaf(root: &NodePtr, txg: u64, dirty: &vexfs_host::mem::U64Map<Slot>, key: &Key) -> Option<u64> {
    let mut ptr = *root;
    loop {
        if ptr.birth != txg {
            return None;
        }
        let node = dirty.get(ptr.block).and_then(Slot::node)?;
        let Some(level) = node.level().checked_sub(1) else {
            return Some(ptr.block);
        };
        ptr = node.entries().get(node.child_of(key))?.ptr(level);
        // Levels descend by one each time, as `parse` and `split` see to, so this ends.
        if dirty.get(ptr.block).and_then(Slot::node)?.level() != level {
            return None;
        }
    }
}
