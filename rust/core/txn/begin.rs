// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! Beginning an operation: the room it needs is set aside before it changes anything.

use super::tx::Tx;
use crate::fs::Fs;
use crate::space::Class;
use vexfs_host::shared;
use vexfs_host::Error;
use vexfs_host::Result;

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

    /// How many nodes may become dirty. For each item: the nodes from the root to the leaf, a split on each level and a
    /// new root. For neighbours: all of that once, and the leaves that they fill, of a few items each.
    fn nodes(&self, levels: u32) -> u64 {
        let way = u64::from(levels) * 2 + 1;
        let runs = self.items.saturating_add(u64::from(self.neighbours > 0));
        runs.saturating_mul(way).saturating_add(self.neighbours / 3)
    }
}

/// Items that one transaction removes at most.
const STEP: usize = 64;

/// A transaction that removes items, and one for when the device is nearly full.
const LARGE_STEP: Reserve = Reserve::items(6).clustered(STEP).deleting();
const SMALL_STEP: Reserve = Reserve::items(8).deleting();

impl Fs {
    /// Starts an operation. Waits for others, and commits first if too much is dirty or if that makes the room it
    /// needs.
    ///
    /// # Errors
    ///
    /// `NoSpace`, `ReadOnly`, `Shutdown`; what stopped the commit.
    #[inline(never)] // own frame
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
                    return Ok(Tx::new(self, writer, tree, places, shared));
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

    /// Starts an operation of the intent log, of up to `items` items, on a filesystem that nobody uses yet and that may
    /// be read-only: it does not commit.
    pub(crate) fn begin_replay(&self, items: usize) -> Result<Tx<'_>> {
        let shared = shared();
        let writer = self.writer.lock();
        let tree = self.tree.write();
        let nodes = Reserve::items(items).nodes(tree.levels());
        let places = self.space.lock().begin_op(nodes, Class::Urgent).ok_or(Error::NoSpace)?;
        Ok(Tx::new(self, writer, tree, places, shared))
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
        Some(Tx::new(self, writer, tree, places, shared))
    }

    /// Begins a transaction that removes up to the returned number of items: fewer when the device is nearly full.
    pub(crate) fn begin_step(&self) -> Result<(Tx<'_>, usize)> {
        match self.begin(LARGE_STEP) {
            Ok(tx) => Ok((tx, STEP)),
            Err(Error::NoSpace) => Ok((self.begin(SMALL_STEP)?, 4)),
            Err(e) => Err(e),
        }
    }

    /// The same for data on its way into the tree.
    pub(crate) fn begin_data_step(&self) -> Result<(Tx<'_>, usize)> {
        match self.begin(LARGE_STEP.of_data()) {
            Ok(tx) => Ok((tx, STEP)),
            Err(Error::NoSpace) => Ok((self.begin(SMALL_STEP.of_data())?, 4)),
            Err(e) => Err(e),
        }
    }
}
