// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! Reading the tree while nobody changes it.

use super::read::Read;
use super::read::NESTED;
use crate::btree::Tree;
use crate::btree::Walk;
use crate::format::MAX_LEVELS;
use crate::fs::Fs;
use crate::node::fetch::Fetched;
use crate::node::fetch::Miss;
use crate::node::fetch::Source;
use core::cell::Cell;
use vexfs_host::shared;
use vexfs_host::sync::RwLockReadGuard;
use vexfs_host::Result;
use vexfs_host::SharedScope;

/// How often a view gives up the lock to read a node, as long as it has seen nothing of the tree. It starts again from
/// the root each time, and if the tree kept changing it might never end otherwise.
const TURNS: u32 = 4 * MAX_LEVELS as u32;

/// The tree, to read.
///
/// The lock is given up while a node is read from the device, if that cannot show the caller two states of the tree:
/// before it has seen anything, or if nobody is changing the tree. Otherwise, which is rare, the node is read under the
/// lock.
pub struct View<'a> {
    fs: &'a Fs,
    /// Taken out while it is in use.
    tree: Cell<Option<RwLockReadGuard<'a, Tree>>>,
    fetched: Fetched,
    seen: Cell<bool>,
    _shared: SharedScope,
}

impl<'a> View<'a> {
    /// Gets what a walk lacked. Returns the lock, and whether the tree may have changed.
    fn fetch(&self, tree: RwLockReadGuard<'a, Tree>, miss: Miss) -> (RwLockReadGuard<'a, Tree>, bool) {
        if !self.seen.get() && self.fetched.count() < TURNS {
            drop(tree);
            self.fs.fetch(&self.fetched, miss);
            return (self.fs.tree.read(), true);
        }
        match self.fs.writer.try_lock() {
            Some(_alone) => {
                drop(tree);
                self.fs.fetch(&self.fetched, miss);
                (self.fs.tree.read(), false)
            }
            None => {
                self.fs.fetch(&self.fetched, miss);
                (tree, false)
            }
        }
    }

    fn of_tree(&self, f: impl FnOnce(&Tree) -> u64) -> u64 {
        self.seen.set(true);
        let tree = self.tree.take();
        let value = tree.as_ref().map_or(0, |tree| f(tree));
        self.tree.set(tree);
        value
    }

    /// The open transaction group.
    pub fn txg(&self) -> u64 {
        self.of_tree(|tree| tree.txg)
    }

    /// Objects in the tree.
    pub fn inode_count(&self) -> u64 {
        self.of_tree(|tree| tree.inode_count)
    }
}

impl Read for View<'_> {
    #[inline(never)] // own frame
    fn attempt(&self, f: &mut dyn FnMut(Walk<'_>) -> Result<()>) -> Result<()> {
        let mut tree = self.tree.take().ok_or(NESTED)?;
        let mut anew = false;
        let done = loop {
            let source = Source {
                nodes: &self.fs.nodes,
                fetched: Some(&self.fetched),
            };
            let done = f(Walk {
                source,
                tree: &tree,
                anew,
            });
            match self.fetched.lacked(&done) {
                Some(miss) => (tree, anew) = self.fetch(tree, miss),
                None => break done,
            }
        };
        self.tree.set(Some(tree));
        self.seen();
        done
    }

    fn seen(&self) {
        self.seen.set(true);
    }
}

impl Fs {
    /// Starts reading. What is read stays consistent, and nothing changes, for as long as the view lives.
    #[inline(never)] // own frame
    pub fn view(&self) -> Result<View<'_>> {
        let shared = shared();
        Ok(self.view_of(self.tree.read(), shared))
    }

    /// The same, if nobody changes the tree at the moment.
    pub(crate) fn try_view(&self) -> Option<View<'_>> {
        let shared = shared();
        Some(self.view_of(self.tree.try_read()?, shared))
    }

    fn view_of<'a>(&'a self, tree: RwLockReadGuard<'a, Tree>, shared: SharedScope) -> View<'a> {
        View {
            fs: self,
            tree: Cell::new(Some(tree)),
            fetched: Fetched::new(),
            seen: Cell::new(false),
            _shared: shared,
        }
    }
}
