// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! Reading from the device with no lock held.
//!
//! A walk that comes to a node which is not in memory, or an allocator that comes to such a bitmap, does not read it: it
//! notes what it lacks and returns `WouldBlock`. Whoever holds the locks gives them up, reads, takes them again and starts
//! the walk from the root. What was read is held until the operation is over, so that memory reclaim cannot make it read
//! the same again and again.
//!
//! While no lock was held, the place may have been freed and written anew, and what was read there is then not what the
//! pointer says. That is no damage: a failed read counts only if the walk comes to the same pointer again. A clean node's
//! pointer, once gone from the tree, never comes back, since its birth is in it.

use crate::btree::Node;
use crate::cache::Store;
use crate::format::node::NodePtr;
use crate::format::MAX_LEVELS;
use crate::mount::Fs;
use crate::space::group::Maps;
use core::cell::Cell;
use vexfs_host::sync::Arc;
use vexfs_host::Error;
use vexfs_host::Result;

/// What an operation lacks.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Miss {
    /// A clean node.
    Node(NodePtr),
    /// The bitmaps of a group.
    Bitmap(u64),
}

/// What an operation has read while it held no lock.
pub(crate) struct Fetched {
    /// As many as a walk needs at once; the oldest makes room.
    nodes: [Cell<Option<Arc<Node>>>; MAX_LEVELS as usize],
    next: Cell<usize>,
    /// What the last attempt lacked.
    miss: Cell<Option<Miss>>,
    /// What could not be read.
    failed: Cell<Option<(Miss, Error)>>,
    /// Things read.
    count: Cell<u32>,
}

impl Fetched {
    pub(crate) const fn new() -> Fetched {
        Fetched {
            nodes: [const { Cell::new(None) }; MAX_LEVELS as usize],
            next: Cell::new(0),
            miss: Cell::new(None),
            failed: Cell::new(None),
            count: Cell::new(0),
        }
    }

    fn find(&self, ptr: &NodePtr) -> Option<Arc<Node>> {
        if self.count.get() == 0 {
            return None;
        }
        self.nodes.iter().find_map(|place| {
            let node = place.take();
            let found = node
                .as_ref()
                .filter(|n| n.block() == ptr.block && n.birth() == ptr.birth && n.level() == ptr.level)
                .cloned();
            place.set(node);
            found
        })
    }

    /// Notes what is lacking, as an error; if it could not be read the last time, that error.
    pub(crate) fn lack(&self, miss: Miss) -> Error {
        match self.failed.take() {
            Some((what, e)) if what == miss => e,
            _ => {
                self.miss.set(Some(miss));
                Error::WouldBlock
            }
        }
    }

    /// What an attempt lacked that ended with `done`.
    pub(crate) fn lacked<R>(&self, done: &Result<R>) -> Option<Miss> {
        let miss = self.miss.take();
        miss.filter(|_| matches!(done, Err(Error::WouldBlock)))
    }

    /// How often something had to be read.
    pub(crate) fn count(&self) -> u32 {
        self.count.get()
    }

    /// Reads what is lacking. An error comes to light when it is asked for again.
    pub(crate) fn fetch(&self, fs: &Fs, miss: Miss) {
        let count = self.count.get().saturating_add(1);
        self.count.set(count);
        let done = match miss {
            Miss::Node(ptr) => fs.store.read(&ptr).map(|node| {
                let at = self.next.get() % self.nodes.len();
                self.next.set(at + 1);
                if let Some(place) = self.nodes.get(at) {
                    place.set(Some(node));
                }
            }),
            Miss::Bitmap(group) => fs.load_bitmap(group, count),
        };
        if let Err(e) = done {
            self.failed.set(Some((miss, e)));
        }
    }
}

/// Where a walk gets clean nodes from.
#[derive(Clone, Copy)]
pub(crate) struct Source<'a> {
    pub(crate) store: &'a Store,
    /// Without it, nodes are read on the spot.
    pub(crate) fetched: Option<&'a Fetched>,
}

impl Source<'_> {
    /// The clean node that `ptr` points to.
    ///
    /// # Errors
    ///
    /// `WouldBlock` if it has to be fetched; `Io` or `Corrupt`, which are counted and logged; `NoMemory`.
    #[inline]
    pub(crate) fn get(&self, ptr: &NodePtr) -> Result<Arc<Node>> {
        let Some(fetched) = self.fetched else {
            return self.store.get(ptr);
        };
        if let Some(node) = self.store.cached(ptr)? {
            return Ok(node);
        }
        if let Some(node) = fetched.find(ptr) {
            return Ok(node);
        }
        let error = fetched.lack(Miss::Node(*ptr));
        if error != Error::WouldBlock {
            self.store.damage.note(&error);
        }
        Err(error)
    }
}

impl Fs {
    /// Loads the bitmaps of `group` with no lock held. They stay in memory for `keep` attempts of memory reclaim.
    ///
    /// # Errors
    ///
    /// `Io`, or `Corrupt` if the bitmap is not the one that the descriptor describes; both are logged. `NoMemory`.
    pub(crate) fn load_bitmap(&self, group: u64, keep: u32) -> Result<()> {
        let Some(described) = self.space.lock().lacking(group) else {
            return Ok(());
        };
        let read = Maps::read(&self.store, group, &described);
        let mut space = self.space.lock();
        // Somebody else may have loaded it, and it may even have been changed, written and dropped again since.
        if space.lacking(group) != Some(described) {
            return Ok(());
        }
        let maps = read.inspect_err(|e| self.store.damage.note(e))?;
        space.install(group, maps, keep);
        Ok(())
    }
}
