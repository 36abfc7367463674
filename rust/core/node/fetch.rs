// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! What an operation reads from the device while it holds no lock.
//!
//! A walk that comes to a node which is not in memory, or an allocator that comes to such a bitmap, does not read it:
//! it notes what it lacks and returns `WouldBlock`. Whoever holds the locks gives them up, reads, takes them again and
//! starts the walk from the root. What was read is held until the operation is over, so that memory reclaim cannot make
//! it read the same again and again.
//!
//! While no lock was held, the place may have been freed and written anew, and what was read there is then not what the
//! pointer says. That is no damage: a failed read counts only if the walk comes to the same pointer again. A clean
//! node's pointer, once gone from the tree, never comes back, since its birth is in it.

use super::store::NodeStore;
use super::Node;
use crate::format::node::NodePtr;
use crate::format::MAX_LEVELS;
use core::cell::Cell;
use core::cell::OnceCell;
use vexfs_host::mem::Box;
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

/// What an operation has read while it held no lock. It takes memory only when something is read: most operations read
/// nothing.
pub(crate) struct Fetched(OnceCell<Box<Fetches>>);

struct Fetches {
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
        Fetched(OnceCell::new())
    }

    fn find(&self, ptr: &NodePtr) -> Option<Arc<Node>> {
        self.0.get()?.nodes.iter().find_map(|place| {
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
    #[inline(never)] // own frame
    pub(crate) fn lack(&self, miss: Miss) -> Error {
        let fetches = match self.0.get() {
            Some(fetches) => fetches,
            None => match Fetches::new() {
                Ok(new) => self.0.get_or_init(|| new),
                Err(e) => return e,
            },
        };
        match fetches.failed.take() {
            Some((what, e)) if what == miss => e,
            _ => {
                fetches.miss.set(Some(miss));
                Error::WouldBlock
            }
        }
    }

    /// What an attempt lacked that ended with `done`.
    pub(crate) fn lacked<R>(&self, done: &Result<R>) -> Option<Miss> {
        let miss = self.0.get()?.miss.take();
        miss.filter(|_| matches!(done, Err(Error::WouldBlock)))
    }

    /// How often something had to be read.
    pub(crate) fn count(&self) -> u32 {
        self.0.get().map_or(0, |fetches| fetches.count.get())
    }

    /// Gets what is lacking from `read`, which is told how many things have been read with this one. An error comes to
    /// light when it is asked for again.
    pub(crate) fn fetch(&self, miss: Miss, read: impl FnOnce(u32) -> Result<Option<Arc<Node>>>) {
        if let Some(fetches) = self.0.get() {
            fetches.fetch(miss, read);
        }
    }
}

impl Fetches {
    #[inline(never)] // own frame
    fn new() -> Result<Box<Fetches>> {
        Box::new(Fetches {
            nodes: [const { Cell::new(None) }; MAX_LEVELS as usize],
            next: Cell::new(0),
            miss: Cell::new(None),
            failed: Cell::new(None),
            count: Cell::new(0),
        })
    }

    fn fetch(&self, miss: Miss, read: impl FnOnce(u32) -> Result<Option<Arc<Node>>>) {
        let count = self.count.get().saturating_add(1);
        self.count.set(count);
        match read(count) {
            Ok(None) => {}
            Ok(node) => {
                let at = self.next.get() % self.nodes.len();
                self.next.set(at + 1);
                if let Some(place) = self.nodes.get(at) {
                    place.set(node);
                }
            }
            Err(e) => self.failed.set(Some((miss, e))),
        }
    }
}

/// Where a walk gets clean nodes from.
#[derive(Clone, Copy)]
pub(crate) struct Source<'a> {
    pub(crate) nodes: &'a NodeStore,
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
            return self.nodes.get(ptr);
        };
        if let Some(node) = self.nodes.cached(ptr)? {
            return Ok(node);
        }
        if let Some(node) = fetched.find(ptr) {
            return Ok(node);
        }
        let error = fetched.lack(Miss::Node(*ptr));
        if error != Error::WouldBlock {
            self.nodes.io.damage.note(&error);
        }
        Err(error)
    }
}
