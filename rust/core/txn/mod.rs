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
//! Locks, outermost first: commit or log, writer, tree, space, a shard of the cache. None is held while a node or a bitmap is read
//! from the device (`fetch`), but for the writer lock of an operation that needs it.

pub(crate) mod commit;
pub(crate) mod fetch;
pub(crate) mod order;
#[cfg(test)]
mod tests;

use crate::btree::Around;
use crate::btree::Env;
use crate::btree::How;
use crate::btree::Tree;
use crate::btree::Walk;
use crate::format::log::LOG_CHECKED_MAX;
use crate::format::Key;
use crate::format::FIRST_INO;
use crate::mount::Fs;
use crate::space::Class;
use crate::space::Places;
use crate::space::Run;
use core::cell::Cell;
use fetch::Fetched;
use fetch::Miss;
use fetch::Source;
use vexfs_host::log;
use vexfs_host::mem::Vec;
use vexfs_host::shared;
use vexfs_host::sync::MutexGuard;
use vexfs_host::sync::RwLockReadGuard;
use vexfs_host::sync::RwLockWriteGuard;
use vexfs_host::Error;
use vexfs_host::Result;
use vexfs_host::SharedScope;

/// Blocks of data that become part of the tree.
pub(crate) struct Adopted {
    run: Run,
    /// Checksum of what was written to them, if the intent log is to have it.
    csum: Option<u32>,
}

/// Memory for what an operation adopts and frees, which the next one uses again.
#[derive(Default)]
pub(crate) struct Lists {
    adopted: Vec<Adopted>,
    freed: Vec<Run>,
}

impl Lists {
    /// Entries for which memory is kept.
    const KEEP: usize = 256;

    pub(crate) const fn new() -> Lists {
        Lists {
            adopted: Vec::new(),
            freed: Vec::new(),
        }
    }

    fn clear(&mut self) {
        self.adopted.clear();
        self.freed.clear();
        if self.adopted.capacity().max(self.freed.capacity()) > Self::KEEP {
            *self = Lists::new();
        }
    }
}

/// Reading the tree, in a [`View`] or within a [`Tx`].
///
/// The functions given to these methods run while the tree is locked: they must not call into the filesystem again, nor do
/// anything that may (such as touching user memory).
pub trait Read {
    /// Calls `f` on the tree, and again whenever it lacked a node, which has been read then.
    #[doc(hidden)]
    fn attempt(&self, f: &mut dyn FnMut(Walk<'_>) -> Result<()>) -> Result<()>;

    /// Hears of every error of reading before the caller does.
    #[doc(hidden)]
    fn met(&self, _error: &Error) {}

    /// Calls `f` with the value of `k`. `None` if there is no such item.
    ///
    /// # Errors
    ///
    /// Those of `f`; `Io` and `Corrupt` from reading nodes, `NoMemory`.
    fn get<R>(&self, k: &Key, f: impl FnOnce(&[u8]) -> Result<R>) -> Result<Option<R>> {
        let (mut f, mut found) = (Some(f), None);
        let done = self.attempt(&mut |walk| {
            walk.get(k, |data| {
                found = f.take().map(|f| f(data)).transpose()?;
                Ok(())
            })
        });
        done.inspect_err(|e| self.met(e))?;
        Ok(found)
    }

    /// Calls `f` with the first item whose key is not below `k`. `None` if there is none.
    fn first_at_or_after<R>(&self, k: &Key, f: impl FnOnce(&Key, &[u8]) -> Result<R>) -> Result<Option<R>> {
        let (mut f, mut found, mut at) = (Some(f), None, *k);
        let done = self.attempt(&mut |walk| {
            if walk.anew {
                at = *k;
            }
            walk.at_or_after(&mut at, |key, data| {
                found = f.take().map(|f| f(key, data)).transpose()?;
                Ok(())
            })
        });
        done.inspect_err(|e| self.met(e))?;
        Ok(found)
    }

    /// Calls `f` with the last item whose key is not above `k`. `None` if there is none.
    fn last_at_or_before<R>(&self, k: &Key, f: impl FnOnce(&Key, &[u8]) -> Result<R>) -> Result<Option<R>> {
        let (mut f, mut found, mut at) = (Some(f), None, *k);
        let done = self.attempt(&mut |walk| {
            if walk.anew {
                at = *k;
            }
            walk.at_or_before(&mut at, |key, data| {
                found = f.take().map(|f| f(key, data)).transpose()?;
                Ok(())
            })
        });
        done.inspect_err(|e| self.met(e))?;
        Ok(found)
    }

    /// Calls `f` with each item from `from` to `to_inclusive`, in order, until it returns false.
    fn scan(&self, from: &Key, to_inclusive: &Key, f: &mut dyn FnMut(&Key, &[u8]) -> Result<bool>) -> Result<()> {
        let mut at = *from;
        let done = self.attempt(&mut |walk| {
            // Once `f` has seen an item, the tree does not change between attempts.
            if walk.anew {
                at = *from;
            }
            walk.scan(&mut at, to_inclusive, &mut |key, data| {
                self.seen();
                f(key, data)
            })
        });
        done.inspect_err(|e| self.met(e))
    }

    /// The caller has seen something of the tree: what it sees from now on must be of the same state.
    #[doc(hidden)]
    fn seen(&self) {}
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

/// A use of the tree within a function that was called with something of it.
const NESTED: Error = Error::Busy;

/// How often a view gives up the lock to read what it lacks, before it has seen anything: a tree that changes all the time
/// must not make it begin anew for ever.
const TURNS: u32 = 4 * crate::format::MAX_LEVELS as u32;

/// The tree, to read.
///
/// The lock is given up while a node is read from the device, if that cannot show the caller two states of the tree: before
/// it has seen anything, or if nobody is changing the tree. Otherwise, which is rare, the node is read under the lock.
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
            self.fetched.fetch(self.fs, miss);
            return (self.fs.tree.read(), true);
        }
        match self.fs.writer.try_lock() {
            Some(_alone) => {
                drop(tree);
                self.fetched.fetch(self.fs, miss);
                (self.fs.tree.read(), false)
            }
            None => {
                self.fetched.fetch(self.fs, miss);
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
    #[inline(never)]
    fn attempt(&self, f: &mut dyn FnMut(Walk<'_>) -> Result<()>) -> Result<()> {
        let mut tree = self.tree.take().ok_or(NESTED)?;
        let mut anew = false;
        let done = loop {
            let source = Source {
                store: &self.fs.store,
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

/// An operation that changes the tree.
///
/// It holds the writer lock throughout, and the tree's, but for the time that something has to be read from the device: then
/// the tree is made to say what it said before the operation, and readers go on.
pub struct Tx<'a> {
    fs: &'a Fs,
    /// Taken out while it is in use.
    tree: Cell<Option<RwLockWriteGuard<'a, Tree>>>,
    // Given back after the tree.
    _writer: MutexGuard<'a, ()>,
    fetched: Fetched,
    txg: u64,
    places: Places,
    lists: Lists,
    /// `next_ino` and `inode_count` at the beginning.
    before: (u64, u64),
    /// Whether it finishes what is left of an orphan: damage then keeps only that from being done.
    of_orphan: bool,
    done: bool,
    // Dropped last.
    _shared: SharedScope,
}

impl Read for Tx<'_> {
    #[inline(never)]
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

impl Fs {
    /// Starts reading. What is read stays consistent, and nothing changes, for as long as the view lives.
    #[inline(never)]
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

    /// Starts an operation. Waits for others, and commits first if too much is dirty or if that makes the room it needs.
    ///
    /// # Errors
    ///
    /// `NoSpace`, `ReadOnly`, `Shutdown`; what stopped the commit.
    #[inline(never)]
    pub fn begin(&self, r: Reserve) -> Result<Tx<'_>> {
        let shared = shared();
        let mut commits = 0;
        loop {
            self.check_writable()?;
            // Rather than commit without the data that is waited for, let some more become dirty.
            let patient = r.of_data && self.order.is_outstanding();
            let limit = self.dirty_limit.saturating_mul(if patient { 2 } else { 1 });
            let writer = self.writer.lock();
            let tree = self.tree.write();
            let mut space = self.space.lock();
            // What is dirty cannot be reclaimed; a bitmap and its copy take half a small node.
            let full = tree.dirty.len() >= limit || space.dirty_groups() >= limit;
            if !full || commits > 0 {
                if let Some(places) = space.begin_op(r.nodes(tree.levels()), r.class) {
                    drop(space);
                    return Ok(self.operation(writer, tree, places, shared));
                }
                if commits > 1 || !space.has_pending() {
                    self.room.refused();
                    return Err(Error::NoSpace);
                }
            }
            drop(space);
            drop(tree);
            drop(writer);
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
        let writer = self.writer.lock();
        let tree = self.tree.write();
        let nodes = Reserve::items(items).nodes(tree.levels());
        let places = self.space.lock().begin_op(nodes, Class::Urgent).ok_or(Error::NoSpace)?;
        Ok(self.operation(writer, tree, places, shared))
    }

    /// Starts an operation if that takes no waiting for others and no commit.
    pub(crate) fn try_begin(&self, r: Reserve) -> Option<Tx<'_>> {
        let shared = shared();
        self.check_writable().ok()?;
        let writer = self.writer.try_lock()?;
        let tree = self.tree.try_write()?;
        let mut space = self.space.lock();
        if tree.dirty.len() >= self.dirty_limit || space.dirty_groups() >= self.dirty_limit {
            return None;
        }
        let places = space.begin_op(r.nodes(tree.levels()), r.class)?;
        drop(space);
        Some(self.operation(writer, tree, places, shared))
    }

    /// An operation that has its locks and its room.
    fn operation<'a>(
        &'a self,
        writer: MutexGuard<'a, ()>,
        mut tree: RwLockWriteGuard<'a, Tree>,
        places: Places,
        shared: SharedScope,
    ) -> Tx<'a> {
        Tx {
            fs: self,
            _writer: writer,
            fetched: Fetched::new(),
            txg: tree.txg,
            places,
            lists: core::mem::take(&mut tree.lists),
            before: (tree.next_ino, tree.inode_count),
            of_orphan: false,
            done: false,
            tree: Cell::new(Some(tree)),
            _shared: shared,
        }
    }
}

impl<'a> Tx<'a> {
    fn env(&self) -> Env<'_> {
        Env {
            store: &self.fs.store,
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
                self.fetched.fetch(self.fs, miss);
                return tree;
            }
        };
        let now = (tree.next_ino, tree.inode_count);
        (tree.next_ino, tree.inode_count) = self.before;
        drop(tree);
        self.fetched.fetch(self.fs, miss);
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

    /// Sets what an operation of `entries` entries in the intent log left.
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

    /// Calls `f` with the items around `k`, up to `to`, if one leaf can tell: `None` otherwise. The caller is about to change
    /// what is there.
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
    #[inline(never)]
    pub fn insert(&mut self, key: &Key, data: &[u8]) -> Result<()> {
        let done = self.on_tree(|tree, env| tree.insert(env, key, data, How::Insert));
        done.inspect_err(|e| self.met(e))
    }

    /// Inserts an item or replaces it.
    #[inline(never)]
    pub fn put(&mut self, key: &Key, data: &[u8]) -> Result<()> {
        let done = self.on_tree(|tree, env| tree.insert(env, key, data, How::Put));
        done.inspect_err(|e| self.met(e))
    }

    /// Removes an item.
    ///
    /// # Errors
    ///
    /// `NotFound` if there is none with this key; those of reading and allocating nodes.
    #[inline(never)]
    pub fn remove(&mut self, key: &Key) -> Result<()> {
        let done = self.on_tree(|tree, env| tree.remove(env, key));
        done.inspect_err(|e| self.met(e))
    }

    /// Changes the value of an item in place, its length stays. `None` if there is no such item. If `f` fails, the item is
    /// as it was.
    pub fn modify<R>(&mut self, key: &Key, f: impl FnOnce(&mut [u8]) -> Result<R>) -> Result<Option<R>> {
        let (mut f, mut value) = (Some(f), None);
        self.modify_with(key, &mut |data| {
            value = Some(f.take().ok_or(NESTED)?(data)?);
            Ok(())
        })?;
        Ok(value)
    }

    #[inline(never)]
    fn modify_with(&mut self, key: &Key, f: &mut dyn FnMut(&mut [u8]) -> Result<()>) -> Result<()> {
        let done = self.on_tree(|tree, env| tree.modify(env, key, &mut *f));
        done.map(|_| ()).inspect_err(|e| self.met(e))
    }

    /// Makes data blocks in flight part of the tree; an extent item of this transaction refers to them. `csum` is the CRC-32C
    /// of what was written to them, if it is known: making this durable by the intent log then takes one flush less.
    ///
    /// # Errors
    ///
    /// `Corrupt` if they are not in flight; `NoMemory`.
    #[inline(never)]
    pub fn adopt_extent(&mut self, pblk: u64, len: u32, csum: Option<u32>) -> Result<()> {
        let run = Run { block: pblk, len };
        if !self.fs.space.lock().is_in_flight(run) {
            return Err(Error::corrupt("blocks that were not being written", pblk, 0));
        }
        let checked = u64::from(len).saturating_mul(u64::from(self.fs.block_size())) <= LOG_CHECKED_MAX;
        self.lists.adopted.push(Adopted {
            run,
            csum: csum.filter(|_| checked),
        })
    }

    /// Frees data blocks which no extent item refers to any more. `birth` is the extent's. They become available when the
    /// transaction group is on the device: not before, even if they were born in it, since someone who looked them up may
    /// still be about to read them.
    ///
    /// # Errors
    ///
    /// `Corrupt` if they are not in use; `NoMemory`, `Io`.
    #[inline(never)]
    pub fn free_extent(&mut self, pblk: u64, len: u32, _birth: u64) -> Result<()> {
        let run = Run { block: pblk, len };
        self.lists.freed.reserve(1)?;
        self.on_tree(|_, env| env.space(|space| space.prepare_free(run, true)))
            .inspect_err(|e| {
                if *e != Error::NoMemory {
                    log!(err, "freeing blocks {}+{}: {}", pblk, len, e);
                }
                self.met(e);
            })?;
        self.lists.freed.push(run)
    }

    /// Ends the operation for the intent log.
    fn note(&self, tree: &mut Tree) {
        self.lists
            .adopted
            .iter()
            .for_each(|new| tree.redo.adopt(&new.run, new.csum));
        self.lists.freed.iter().for_each(|run| tree.redo.free(run));
        let lsn = tree.redo.end(tree.next_ino, tree.inode_count);
        self.fs.log.happened(lsn, tree.redo.adopted());
    }

    /// Ends the operation and makes its changes permanent. Returns the transaction group they belong to, for
    /// [`Fs::sync_txg`].
    #[inline(never)]
    pub fn commit(mut self) -> u64 {
        self.done = true;
        // Nobody else has it: that is only while a function of `self` runs.
        let Some(mut tree) = self.tree.take() else {
            return self.txg;
        };
        let changed = tree.has_undo() || !self.lists.adopted.is_empty() || !self.lists.freed.is_empty();
        if changed || self.before != (tree.next_ino, tree.inode_count) {
            tree.changed = true;
            self.note(&mut tree);
        }
        tree.keep();
        let mut sound = true;
        {
            let mut space = self.fs.space.lock();
            for new in self.lists.adopted.iter() {
                sound &= space.adopt(new.run);
            }
            for run in self.lists.freed.iter() {
                sound &= space.free(*run, false);
            }
            space.end_deferred();
            if tree.is_tidy() {
                space.end_op(self.places);
            }
        }
        if !sound {
            self.fs
                .abort(Error::corrupt("blocks adopted or freed twice", u64::MAX, 0));
        }
        self.lists.clear();
        tree.lists = core::mem::take(&mut self.lists);
        if tree.is_tidy() {
            return self.txg;
        }
        tree.tidy(self.env());
        self.fs.space.lock().end_op(self.places);
        self.txg
    }
}

impl Drop for Tx<'_> {
    #[inline(never)]
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
        self.lists.clear();
        tree.lists = core::mem::take(&mut self.lists);
        (tree.next_ino, tree.inode_count) = self.before;
        {
            let mut space = self.fs.space.lock();
            space.end_deferred();
            space.end_op(self.places);
        }
        tree.tidy(self.env());
    }
}
