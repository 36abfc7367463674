// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! Transactions: operations that happen completely or not at all.
//!
//! A [`View`] reads the tree as it is; any number of them exist at a time. A [`Tx`] changes it and is alone. An operation
//! begins a `Tx` with the number of items it may touch at most, so that a lack of space shows before anything has changed,
//! makes its changes, and calls [`Tx::commit`], which cannot fail. A `Tx` that is dropped instead takes all its changes back,
//! which cannot fail either.
//!
//! What a `Tx` commits is in memory; it becomes durable with the transaction group it belongs to (`commit`).
//!
//! Space that a `Tx` frees or adopts changes hands in [`Tx::commit`] only. Nodes that it copied or split stay so after a
//! rollback: that changes nothing of what the tree says.
//!
//! Locks, outermost first: commit or log, tree, space, a shard of the cache.

pub(crate) mod commit;
pub(crate) mod order;
#[cfg(test)]
mod tests;

use crate::btree::Env;
use crate::btree::How;
use crate::btree::Tree;
use crate::btree::Walk;
use crate::format::Key;
use crate::format::FIRST_INO;
use crate::mount::Fs;
use crate::space::Class;
use crate::space::Places;
use crate::space::Run;
use vexfs_host::log;
use vexfs_host::mem::Vec;
use vexfs_host::shared;
use vexfs_host::sync::RwLockReadGuard;
use vexfs_host::sync::RwLockWriteGuard;
use vexfs_host::Error;
use vexfs_host::Result;
use vexfs_host::SharedScope;

/// Reading the tree, in a [`View`] or within a [`Tx`].
///
/// The functions given to these methods run while the tree is locked: they must not call into the filesystem again, nor do
/// anything that may (such as touching user memory).
pub trait Read {
    #[doc(hidden)]
    fn walk(&self) -> Walk<'_>;

    /// Hears of every error of reading before the caller does.
    #[doc(hidden)]
    fn met(&self, _error: &Error) {}

    /// Calls `f` with the value of `k`. `None` if there is no such item.
    ///
    /// # Errors
    ///
    /// Those of `f`; `Io` and `Corrupt` from reading nodes, `NoMemory`.
    fn get<R>(&self, k: &Key, f: impl FnOnce(&[u8]) -> Result<R>) -> Result<Option<R>> {
        self.walk().get(k, f).inspect_err(|e| self.met(e))
    }

    /// Calls `f` with the first item whose key is not below `k`. `None` if there is none.
    fn first_at_or_after<R>(&self, k: &Key, f: impl FnOnce(&Key, &[u8]) -> Result<R>) -> Result<Option<R>> {
        self.walk().at_or_after(k, f).inspect_err(|e| self.met(e))
    }

    /// Calls `f` with the last item whose key is not above `k`. `None` if there is none.
    fn last_at_or_before<R>(&self, k: &Key, f: impl FnOnce(&Key, &[u8]) -> Result<R>) -> Result<Option<R>> {
        self.walk().at_or_before(k, f).inspect_err(|e| self.met(e))
    }

    /// Calls `f` with each item from `from` to `to_inclusive`, in order, until it returns false.
    fn scan(&self, from: &Key, to_inclusive: &Key, f: &mut dyn FnMut(&Key, &[u8]) -> Result<bool>) -> Result<()> {
        self.walk().scan(from, to_inclusive, f).inspect_err(|e| self.met(e))
    }
}

/// The room an operation needs at most.
#[derive(Clone, Copy, Debug)]
pub struct Reserve {
    items: u64,
    neighbours: u64,
    class: Class,
    of_data: bool,
}

impl Reserve {
    /// An operation that inserts, replaces or removes up to `n` items.
    pub const fn items(n: usize) -> Reserve {
        Reserve {
            items: n as u64,
            neighbours: 0,
            class: Class::Normal,
            of_data: false,
        }
    }

    /// And up to `n` further items whose keys follow one another.
    pub const fn clustered(self, n: usize) -> Reserve {
        Reserve {
            neighbours: n as u64,
            ..self
        }
    }

    /// The operation frees space or must not fail for a lack of it: it may use the emergency reserve.
    pub const fn deleting(self) -> Reserve {
        self.class(Class::Urgent)
    }

    /// Who asks.
    pub(crate) const fn class(self, class: Class) -> Reserve {
        Reserve { class, ..self }
    }

    /// The operation brings data into the tree for which a commit may be waiting: it must not wait for that commit.
    pub const fn of_data(self) -> Reserve {
        Reserve { of_data: true, ..self }
    }

    /// Nodes that may become dirty: for each item the way down, a split on each level and a new root; for neighbours all of
    /// that once, and leaves that hold a few items each.
    fn nodes(&self, levels: u32) -> u64 {
        let way = u64::from(levels) * 2 + 1;
        let runs = self.items.saturating_add(u64::from(self.neighbours > 0));
        runs.saturating_mul(way).saturating_add(self.neighbours / 3)
    }
}

/// The tree, to read.
pub struct View<'a> {
    fs: &'a Fs,
    tree: RwLockReadGuard<'a, Tree>,
    _shared: SharedScope,
}

impl Read for View<'_> {
    fn walk(&self) -> Walk<'_> {
        Walk {
            store: &self.fs.store,
            tree: &self.tree,
        }
    }
}

impl View<'_> {
    /// The open transaction group.
    pub fn txg(&self) -> u64 {
        self.tree.txg
    }

    /// Objects in the tree.
    pub fn inode_count(&self) -> u64 {
        self.tree.inode_count
    }
}

/// An operation that changes the tree.
pub struct Tx<'a> {
    fs: &'a Fs,
    tree: RwLockWriteGuard<'a, Tree>,
    places: Places,
    adopted: Vec<Run>,
    freed: Vec<Run>,
    /// `next_ino` and `inode_count` at the beginning.
    before: (u64, u64),
    /// Whether it finishes what is left of an orphan: damage then keeps only that from being done.
    of_orphan: bool,
    done: bool,
    // Dropped last.
    _shared: SharedScope,
}

impl Read for Tx<'_> {
    fn walk(&self) -> Walk<'_> {
        Walk {
            store: &self.fs.store,
            tree: &self.tree,
        }
    }

    /// Damage that is met while something is changed stops all changes, unless it is an orphan's.
    fn met(&self, error: &Error) {
        if !self.of_orphan {
            self.fs.met_changing(error);
        }
    }
}

impl Fs {
    /// Starts reading. What is read stays consistent, and nothing changes, for as long as the view lives.
    pub fn view(&self) -> Result<View<'_>> {
        let shared = shared();
        Ok(View {
            fs: self,
            tree: self.tree.read(),
            _shared: shared,
        })
    }

    /// Starts an operation. Waits for others, and commits first if too much is dirty or if that makes the room it needs.
    ///
    /// # Errors
    ///
    /// `NoSpace`, `ReadOnly`, `Shutdown`; what stopped the commit.
    pub fn begin(&self, r: Reserve) -> Result<Tx<'_>> {
        let shared = shared();
        let mut commits = 0;
        loop {
            self.check_writable()?;
            // Rather than commit without the data that is waited for, let some more become dirty.
            let patient = r.of_data && self.order.is_outstanding();
            let limit = self.dirty_limit.saturating_mul(if patient { 2 } else { 1 });
            let tree = self.tree.write();
            let mut space = self.space.lock();
            // What is dirty cannot be reclaimed; a bitmap and its copy take half a small node.
            let full = tree.dirty.len() >= limit || space.dirty_groups() >= limit;
            if !full || commits > 0 {
                if let Some(places) = space.begin_op(r.nodes(tree.levels()), r.class) {
                    drop(space);
                    return Ok(Tx {
                        fs: self,
                        places,
                        adopted: Vec::new(),
                        freed: Vec::new(),
                        before: (tree.next_ino, tree.inode_count),
                        of_orphan: false,
                        done: false,
                        tree,
                        _shared: shared,
                    });
                }
                if commits > 1 || !space.has_pending() {
                    return Err(Error::NoSpace);
                }
            }
            drop(space);
            drop(tree);
            match r.of_data {
                true => self.commit_at_once()?,
                false => self.commit()?,
            };
            commits += 1;
        }
    }

    /// Starts an operation of the intent log, of up to `items` items, on a filesystem that nobody uses yet and that may be
    /// read-only: it does not commit.
    pub(crate) fn begin_replay(&self, items: usize) -> Result<Tx<'_>> {
        let shared = shared();
        let tree = self.tree.write();
        let nodes = Reserve::items(items).nodes(tree.levels());
        let places = self.space.lock().begin_op(nodes, Class::Urgent).ok_or(Error::NoSpace)?;
        Ok(Tx {
            fs: self,
            places,
            adopted: Vec::new(),
            freed: Vec::new(),
            before: (tree.next_ino, tree.inode_count),
            of_orphan: false,
            done: false,
            tree,
            _shared: shared,
        })
    }

    pub(crate) fn env(&self) -> Env<'_> {
        Env {
            store: &self.store,
            space: &self.space,
        }
    }
}

impl Tx<'_> {
    /// The transaction group this operation belongs to.
    pub fn txg(&self) -> u64 {
        self.tree.txg
    }

    /// The key of the hash of names.
    pub fn hash_key(&self) -> &[u64; 2] {
        self.fs.hash_key()
    }

    /// The same operation, for what is left of an orphan: damage that it meets does not stop the filesystem.
    pub(crate) fn for_orphan(mut self) -> Self {
        self.of_orphan = true;
        self
    }

    /// Damage that the operation found by comparing what it read; returns it as an error.
    pub(crate) fn damaged(&self, what: &'static str, owner: u64) -> Error {
        let error = Error::corrupt(what, u64::MAX, owner);
        self.met(&error);
        error
    }

    /// Objects in the tree.
    pub fn inode_count(&self) -> u64 {
        self.tree.inode_count
    }

    /// Counts objects that were added or removed.
    ///
    /// # Errors
    ///
    /// `Corrupt` if fewer than none would be left.
    pub fn add_inodes(&mut self, n: i64) -> Result<()> {
        let count = self.tree.inode_count.checked_add_signed(n);
        self.tree.inode_count =
            count.ok_or_else(|| self.damaged("inodes added or removed beyond what the superblock counts", 0))?;
        Ok(())
    }

    /// Sets what an operation of `entries` entries in the intent log left.
    pub(crate) fn set_counts(&mut self, next_ino: u64, inode_count: u64, entries: u64) -> Result<()> {
        let most = next_ino.saturating_sub(FIRST_INO).saturating_add(1);
        let counts = (1..=most).contains(&inode_count) && inode_count.abs_diff(self.tree.inode_count) <= entries;
        if next_ino < self.tree.next_ino || !counts {
            return Err(Error::corrupt("intent log: impossible counts", u64::MAX, 0));
        }
        (self.tree.next_ino, self.tree.inode_count) = (next_ino, inode_count);
        Ok(())
    }

    /// A new inode number. Numbers are never given out twice.
    pub fn alloc_ino(&mut self) -> Result<u64> {
        let ino = self.tree.next_ino;
        self.tree.next_ino = ino.checked_add(1).ok_or(Error::NoSpace)?;
        Ok(ino)
    }

    /// Inserts an item.
    ///
    /// # Errors
    ///
    /// `Exists` if there is one with this key; those of reading and allocating nodes.
    pub fn insert(&mut self, key: &Key, data: &[u8]) -> Result<()> {
        let done = self.tree.insert(self.fs.env(), key, data, How::Insert);
        done.inspect_err(|e| self.met(e))
    }

    /// Inserts an item or replaces it.
    pub fn put(&mut self, key: &Key, data: &[u8]) -> Result<()> {
        let done = self.tree.insert(self.fs.env(), key, data, How::Put);
        done.inspect_err(|e| self.met(e))
    }

    /// Removes an item.
    ///
    /// # Errors
    ///
    /// `NotFound` if there is none with this key; those of reading and allocating nodes.
    pub fn remove(&mut self, key: &Key) -> Result<()> {
        let done = self.tree.remove(self.fs.env(), key);
        done.inspect_err(|e| self.met(e))
    }

    /// Changes the value of an item in place, its length stays. `None` if there is no such item. If `f` fails, the item is
    /// as it was.
    pub fn modify<R>(&mut self, key: &Key, f: impl FnOnce(&mut [u8]) -> Result<R>) -> Result<Option<R>> {
        let done = self.tree.modify(self.fs.env(), key, f);
        done.inspect_err(|e| self.met(e))
    }

    /// Makes data blocks in flight part of the tree; an extent item of this transaction refers to them.
    ///
    /// # Errors
    ///
    /// `Corrupt` if they are not in flight; `NoMemory`.
    pub fn adopt_extent(&mut self, pblk: u64, len: u32) -> Result<()> {
        let run = Run { block: pblk, len };
        if !self.fs.space.lock().is_in_flight(run) {
            return Err(Error::corrupt("blocks that were not being written", pblk, 0));
        }
        self.adopted.push(run)
    }

    /// Frees data blocks which no extent item refers to any more. `birth` is the extent's. They become available when the
    /// transaction group is on the device: not before, even if they were born in it, since someone who looked them up may
    /// still be about to read them.
    ///
    /// # Errors
    ///
    /// `Corrupt` if they are not in use; `NoMemory`, `Io`.
    pub fn free_extent(&mut self, pblk: u64, len: u32, _birth: u64) -> Result<()> {
        let run = Run { block: pblk, len };
        self.freed.reserve(1)?;
        self.fs
            .space
            .lock()
            .prepare_free(&self.fs.store, run, true)
            .inspect_err(|e| {
                if *e != Error::NoMemory {
                    log!(err, "freeing blocks {}+{}: {}", pblk, len, e);
                }
                self.met(e);
            })?;
        self.freed.push(run)
    }

    /// Ends the operation for the intent log.
    fn note(&mut self) {
        let tree = &mut *self.tree;
        self.adopted.iter().for_each(|run| tree.redo.adopt(run));
        self.freed.iter().for_each(|run| tree.redo.free(run));
        let lsn = tree.redo.end(tree.next_ino, tree.inode_count);
        self.fs.log.happened(lsn, tree.redo.adopted());
    }

    /// Ends the operation and makes its changes permanent. Returns the transaction group they belong to, for
    /// [`Fs::sync_txg`].
    pub fn commit(mut self) -> u64 {
        self.done = true;
        let txg = self.tree.txg;
        let changed = self.tree.has_undo() || !self.adopted.is_empty() || !self.freed.is_empty();
        if changed || self.before != (self.tree.next_ino, self.tree.inode_count) {
            self.tree.changed = true;
            self.note();
        }
        self.tree.keep();
        let mut sound = true;
        {
            let mut space = self.fs.space.lock();
            for run in self.adopted.iter() {
                sound &= space.adopt(*run);
            }
            for run in self.freed.iter() {
                sound &= space.free(*run, false);
            }
            space.end_deferred();
        }
        if !sound {
            self.fs
                .abort(Error::corrupt("blocks adopted or freed twice", u64::MAX, 0));
        }
        self.tree.tidy(self.fs.env());
        self.fs.space.lock().end_op(self.places);
        txg
    }
}

impl Drop for Tx<'_> {
    fn drop(&mut self) {
        if self.done {
            return;
        }
        if !self.tree.undo() {
            // The invariants that make undoing infallible do not hold: what is in memory must never reach the device.
            self.fs
                .abort(Error::corrupt("an operation could not be undone", u64::MAX, 0));
        }
        self.tree.keep();
        self.tree.redo.rollback();
        (self.tree.next_ino, self.tree.inode_count) = self.before;
        {
            let mut space = self.fs.space.lock();
            space.end_deferred();
            space.end_op(self.places);
        }
        self.tree.tidy(self.fs.env());
    }
}
