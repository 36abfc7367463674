// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! Changing the tree.

use super::read::Read;
use super::read::NESTED;
use crate::btree::env::Env;
use crate::btree::Around;
use crate::btree::How;
use crate::btree::Tree;
use crate::btree::Walk;
use crate::format::log::LOG_CHECKED_MAX;
use crate::format::Key;
use crate::format::FIRST_INO;
use crate::fs::Fs;
use crate::node::fetch::Fetched;
use crate::node::fetch::Miss;
use crate::space::changes::Adopted;
use crate::space::changes::BlockChanges;
use crate::space::Places;
use crate::space::Run;
use core::cell::Cell;
use vexfs_host::log;
use vexfs_host::sync::MutexGuard;
use vexfs_host::sync::RwLockWriteGuard;
use vexfs_host::Error;
use vexfs_host::Result;
use vexfs_host::SharedScope;

/// An operation that changes the tree.
///
/// It holds the writer lock throughout, and the tree's, but for the time that something has to be read from the device:
/// then the tree is made to say what it said before the operation, and readers go on.
pub struct Tx<'a> {
    fs: &'a Fs,
    /// Taken out while it is in use.
    tree: Cell<Option<RwLockWriteGuard<'a, Tree>>>,
    // Given back after the tree.
    _writer: MutexGuard<'a, ()>,
    fetched: Fetched,
    txg: u64,
    places: Places,
    changes: BlockChanges,
    /// `next_ino` and `inode_count` at the beginning.
    before: (u64, u64),
    /// Whether it finishes what is left of an orphan: damage then keeps only that from being done.
    of_orphan: bool,
    done: bool,
    // Dropped last.
    _shared: SharedScope,
}

impl Read for Tx<'_> {
    #[inline(never)] // own frame
    fn attempt(&self, f: &mut dyn FnMut(Walk<'_>) -> Result<()>) -> Result<()> {
        self.on_tree(|tree, env| {
            f(Walk {
                source: env.source(),
                tree,
                anew: false,
            })
        })
    }

    /// Damage that is met while something is changed stops all changes, unless it is an orphan's.
    fn met(&self, error: &Error) {
        if !self.of_orphan {
            self.fs.met_changing(error);
        }
    }
}

impl<'a> Tx<'a> {
    /// An operation that has its locks and its room.
    pub(super) fn new(
        fs: &'a Fs,
        writer: MutexGuard<'a, ()>,
        mut tree: RwLockWriteGuard<'a, Tree>,
        places: Places,
        shared: SharedScope,
    ) -> Tx<'a> {
        Tx {
            fs,
            _writer: writer,
            fetched: Fetched::new(),
            txg: tree.txg,
            places,
            changes: core::mem::take(&mut tree.changes),
            before: (tree.next_ino, tree.inode_count),
            of_orphan: false,
            done: false,
            tree: Cell::new(Some(tree)),
            _shared: shared,
        }
    }

    fn env(&self) -> Env<'_> {
        Env {
            nodes: &self.fs.nodes,
            space: &self.fs.space,
            fetched: &self.fetched,
        }
    }

    /// Runs `f` on the tree, and again whenever it lacked something, which has been read then.
    fn on_tree<R>(&self, mut f: impl FnMut(&mut Tree, Env<'_>) -> Result<R>) -> Result<R> {
        let mut tree = self.tree.take().ok_or(NESTED)?;
        let done = loop {
            let done = f(&mut tree, self.env());
            match self.fetched.lacked(&done) {
                Some(miss) => tree = self.fetch(tree, miss),
                None => break done,
            }
        };
        self.tree.set(Some(tree));
        done
    }

    /// Gets what a walk lacked. Meanwhile readers see the tree as it was before the operation.
    fn fetch(&self, mut tree: RwLockWriteGuard<'a, Tree>, miss: Miss) -> RwLockWriteGuard<'a, Tree> {
        let redo = match tree.suspend() {
            Ok(redo) => redo,
            Err(e) => {
                // Without the memory to step aside, the others wait.
                self.fs.met_changing(&e);
                self.fs.fetch(&self.fetched, miss);
                return tree;
            }
        };
        let now = (tree.next_ino, tree.inode_count);
        (tree.next_ino, tree.inode_count) = self.before;
        drop(tree);
        self.fs.fetch(&self.fetched, miss);
        let mut tree = self.fs.tree.write();
        (tree.next_ino, tree.inode_count) = now;
        if let Err(e) = tree.resume(redo) {
            self.fs.met_changing(&e);
        }
        tree
    }

    /// The tree, which is there unless a function given to [`Read`] asks.
    fn of_tree<R>(&self, f: impl FnOnce(&mut Tree) -> R) -> Option<R> {
        let mut tree = self.tree.take()?;
        let value = f(&mut tree);
        self.tree.set(Some(tree));
        Some(value)
    }

    /// The transaction group this operation belongs to.
    pub fn txg(&self) -> u64 {
        self.txg
    }

    /// The key of the hash of names.
    pub fn hash_key(&self) -> &[u64; 2] {
        self.fs.hash_key()
    }

    /// The same operation, for deleting what is left of an orphan: damage that it meets does not stop the filesystem.
    pub(crate) fn for_orphan(mut self) -> Self {
        self.of_orphan = true;
        self
    }

    /// The error for damage that the operation found by comparing what it read.
    pub(crate) fn damaged(&self, what: &'static str, owner: u64) -> Error {
        let error = Error::corrupt(what, u64::MAX, owner);
        self.met(&error);
        error
    }

    /// Objects in the tree.
    pub fn inode_count(&self) -> u64 {
        self.of_tree(|tree| tree.inode_count).unwrap_or(self.before.1)
    }

    /// Counts objects that were added or removed.
    ///
    /// # Errors
    ///
    /// `Corrupt` if fewer than none would be left.
    pub fn add_inodes(&mut self, n: i64) -> Result<()> {
        let count = self.inode_count().checked_add_signed(n);
        let count =
            count.ok_or_else(|| self.damaged("inodes added or removed beyond what the superblock counts", 0))?;
        self.of_tree(|tree| tree.inode_count = count).ok_or(NESTED)
    }

    /// Sets the counts that an operation in the intent log left. It has `entries` entries, so it cannot have changed
    /// them by more.
    pub(crate) fn set_counts(&mut self, next_ino: u64, inode_count: u64, entries: u64) -> Result<()> {
        let most = next_ino.saturating_sub(FIRST_INO).saturating_add(1);
        let set = self.of_tree(|tree| {
            let counts = (1..=most).contains(&inode_count) && inode_count.abs_diff(tree.inode_count) <= entries;
            if next_ino < tree.next_ino || !counts {
                return Err(Error::corrupt("intent log: impossible counts", u64::MAX, 0));
            }
            (tree.next_ino, tree.inode_count) = (next_ino, inode_count);
            Ok(())
        });
        set.ok_or(NESTED)?
    }

    /// A new inode number. Numbers are never given out twice.
    pub fn alloc_ino(&mut self) -> Result<u64> {
        let next = self.of_tree(|tree| {
            let ino = tree.next_ino;
            tree.next_ino = ino.checked_add(1)?;
            Some(ino)
        });
        next.ok_or(NESTED)?.ok_or(Error::NoSpace)
    }

    /// Calls `f` with the items around `k`, up to `to`, if one leaf can tell: `None` otherwise. The caller is about to
    /// change what is there.
    pub(crate) fn around<R>(
        &mut self,
        k: &Key,
        to: &Key,
        f: impl FnOnce(Around<'_>) -> Result<R>,
    ) -> Result<Option<R>> {
        let (mut f, mut found) = (Some(f), None);
        let done = self.on_tree(|tree, env| {
            tree.reach(env, k)?;
            let walk = Walk {
                source: env.source(),
                tree,
                anew: false,
            };
            walk.around(k, to, |around| {
                found = f.take().map(|f| f(around)).transpose()?;
                Ok(())
            })
        });
        done.inspect_err(|e| self.met(e))?;
        Ok(found)
    }

    /// Inserts an item.
    ///
    /// # Errors
    ///
    /// `Exists` if there is one with this key; those of reading and allocating nodes.
    #[inline(never)] // own frame
    pub fn insert(&mut self, key: &Key, data: &[u8]) -> Result<()> {
        let done = self.on_tree(|tree, env| tree.insert(env, key, data, How::Insert));
        done.inspect_err(|e| self.met(e))
    }

    /// Inserts an item or replaces it.
    #[inline(never)] // own frame
    pub fn put(&mut self, key: &Key, data: &[u8]) -> Result<()> {
        let done = self.on_tree(|tree, env| tree.insert(env, key, data, How::Put));
        done.inspect_err(|e| self.met(e))
    }

    /// Removes an item.
    ///
    /// # Errors
    ///
    /// `NotFound` if there is none with this key; those of reading and allocating nodes.
    #[inline(never)] // own frame
    pub fn remove(&mut self, key: &Key) -> Result<()> {
        let done = self.on_tree(|tree, env| tree.remove(env, key));
        done.inspect_err(|e| self.met(e))
    }

    /// Changes the value of an item in place, its length stays. `None` if there is no such item. If `f` fails, the item
    /// is as it was.
    pub fn modify<R>(&mut self, key: &Key, f: impl FnOnce(&mut [u8]) -> Result<R>) -> Result<Option<R>> {
        let (mut f, mut value) = (Some(f), None);
        self.modify_with(key, &mut |data| {
            value = Some(f.take().ok_or(NESTED)?(data)?);
            Ok(())
        })?;
        Ok(value)
    }

    #[inline(never)] // own frame
    fn modify_with(&mut self, key: &Key, f: &mut dyn FnMut(&mut [u8]) -> Result<()>) -> Result<()> {
        let done = self.on_tree(|tree, env| tree.modify(env, key, &mut *f));
        done.map(|_| ()).inspect_err(|e| self.met(e))
    }

    /// Makes data blocks in flight part of the tree; an extent item of this transaction refers to them. `csum` is the
    /// CRC-32C of what was written to them, if it is known: making this durable by the intent log then takes one flush
    /// less.
    ///
    /// # Errors
    ///
    /// `Corrupt` if they are not in flight; `NoMemory`.
    #[inline(never)] // own frame
    pub fn adopt_extent(&mut self, pblk: u64, len: u32, csum: Option<u32>) -> Result<()> {
        let run = Run { block: pblk, len };
        if !self.fs.space.lock().is_in_flight(run) {
            return Err(Error::corrupt("blocks that were not being written", pblk, 0));
        }
        let checked = u64::from(len).saturating_mul(u64::from(self.fs.block_size())) <= LOG_CHECKED_MAX;
        self.changes.adopted.push(Adopted {
            run,
            csum: csum.filter(|_| checked),
        })
    }

    /// Frees data blocks which no extent item refers to any more. `birth` is the extent's. They become available when
    /// the transaction group is on the device: not before, even if they were born in it, since someone who looked them
    /// up may still be about to read them.
    ///
    /// # Errors
    ///
    /// `Corrupt` if they are not in use; `NoMemory`, `Io`.
    #[inline(never)] // own frame
    pub fn free_extent(&mut self, pblk: u64, len: u32, _birth: u64) -> Result<()> {
        let run = Run { block: pblk, len };
        self.changes.freed.reserve(1)?;
        self.on_tree(|_, env| env.space(|space| space.prepare_free(run, true)))
            .inspect_err(|e| {
                if *e != Error::NoMemory {
                    log!(err, "freeing blocks {}+{}: {}", pblk, len, e);
                }
                self.met(e);
            })?;
        self.changes.freed.push(run)
    }

    /// Notes the end of the operation for the intent log.
    fn note(&self, tree: &mut Tree) {
        self.changes
            .adopted
            .iter()
            .for_each(|new| tree.redo.adopt(&new.run, new.csum));
        self.changes.freed.iter().for_each(|run| tree.redo.free(run));
        let lsn = tree.redo.end(tree.next_ino, tree.inode_count);
        self.fs.log.happened(lsn, tree.redo.adopted());
    }

    /// Ends the operation and makes its changes permanent. Returns the transaction group they belong to, for
    /// [`Fs::sync_txg`].
    #[inline(never)] // own frame
    pub fn commit(mut self) -> u64 {
        self.done = true;
        // It is there: others take it out only while a function of `self` runs.
        let Some(mut tree) = self.tree.take() else {
            return self.txg;
        };
        let changed = tree.has_undo() || !self.changes.is_empty();
        if changed || self.before != (tree.next_ino, tree.inode_count) {
            tree.changed = true;
            self.note(&mut tree);
        }
        tree.keep();
        let mut sound = true;
        {
            let mut space = self.fs.space.lock();
            for new in self.changes.adopted.iter() {
                sound &= space.adopt(new.run);
            }
            for run in self.changes.freed.iter() {
                sound &= space.free(*run, false);
            }
            space.end_prepared();
            if tree.is_tidy() {
                space.end_op(self.places);
            }
        }
        if !sound {
            self.fs
                .abort(Error::corrupt("blocks adopted or freed twice", u64::MAX, 0));
        }
        self.changes.clear();
        tree.changes = core::mem::take(&mut self.changes);
        if tree.is_tidy() {
            return self.txg;
        }
        tree.tidy(self.env());
        self.fs.space.lock().end_op(self.places);
        self.txg
    }
}

impl Drop for Tx<'_> {
    #[inline(never)] // own frame
    fn drop(&mut self) {
        let Some(mut tree) = self.tree.take().filter(|_| !self.done) else {
            return;
        };
        if !tree.undo() {
            // The invariants that make undoing infallible do not hold: what is in memory must never reach the device.
            self.fs
                .abort(Error::corrupt("an operation could not be undone", u64::MAX, 0));
        }
        tree.keep();
        tree.redo.rollback();
        self.changes.clear();
        tree.changes = core::mem::take(&mut self.changes);
        (tree.next_ino, tree.inode_count) = self.before;
        {
            let mut space = self.fs.space.lock();
            space.end_prepared();
            space.end_op(self.places);
        }
        tree.tidy(self.env());
    }
}
