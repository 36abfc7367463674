// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! A graph while threads build it.
//!
//! Lists are of atomic words: a reader may see a list half old and half new, but only nodes, and only ones that were
//! neighbours. Writers of one node hold its lock.

use core::sync::atomic::AtomicU32;
use core::sync::atomic::Ordering::Acquire;
use core::sync::atomic::Ordering::Relaxed;
use core::sync::atomic::Ordering::Release;
use vexfs_host::mem::Vec;
use vexfs_host::sync::Mutex;
use vexfs_host::Result;

/// Locks, each for many nodes: threads seldom meet.
const LOCKS: usize = 1024;

/// Lists of neighbours with some room to spare.
pub(super) struct GraphBuilder {
    /// `room` words a node.
    lists: Vec<AtomicU32>,
    degrees: Vec<AtomicU32>,
    locks: Vec<Mutex<()>>,
    pub(super) room: usize,
}

impl GraphBuilder {
    /// `count` nodes without neighbours.
    #[inline(never)] // own frame
    pub(super) fn new(count: usize, degree: usize, threads: usize) -> Result<Self> {
        // The authors' slack: a list is shortened only when it is so much longer than it may be in the end.
        let room = degree + degree / 3 + 1;
        let mut builder = Self {
            lists: Vec::new(),
            degrees: Vec::new(),
            locks: Vec::new(),
            room,
        };
        let words = count.checked_mul(room).ok_or(vexfs_host::Error::NoMemory)?;
        builder.lists.reserve(words)?;
        for _ in 0..words {
            builder.lists.push(AtomicU32::new(0))?;
        }
        builder.degrees.reserve(count)?;
        for _ in 0..count {
            builder.degrees.push(AtomicU32::new(0))?;
        }
        for _ in 0..if threads > 1 { LOCKS } else { 1 } {
            builder.locks.push(Mutex::new(())?)?;
        }
        Ok(builder)
    }

    fn list(&self, node: u32) -> &[AtomicU32] {
        let start = node as usize * self.room;
        self.lists.get(start..start + self.room).unwrap_or_default()
    }

    /// Hands the neighbours of a node to `take`.
    pub(super) fn neighbours(&self, node: u32, mut take: impl FnMut(u32) -> Result) -> Result {
        let degree = self.degrees.get(node as usize).map_or(0, |degree| degree.load(Acquire));
        self.list(node)
            .iter()
            .take(degree as usize)
            .try_for_each(|neighbour| take(neighbour.load(Relaxed)))
    }

    /// Replaces the neighbours of a node; the caller holds its lock.
    pub(super) fn set(&self, node: u32, neighbours: &[u32]) {
        let mut n = 0;
        for (to, from) in self.list(node).iter().zip(neighbours) {
            to.store(*from, Relaxed);
            n += 1;
        }
        if let Some(degree) = self.degrees.get(node as usize) {
            degree.store(n, Release);
        }
    }

    /// Adds a neighbour if there is room or it is there already; the caller holds the lock.
    pub(super) fn add(&self, node: u32, neighbour: u32) -> bool {
        let Some(degree) = self.degrees.get(node as usize) else {
            return true;
        };
        let n = degree.load(Relaxed);
        let list = self.list(node);
        if list
            .iter()
            .take(n as usize)
            .any(|other| other.load(Relaxed) == neighbour)
        {
            return true;
        }
        match list.get(n as usize) {
            Some(free) => {
                free.store(neighbour, Relaxed);
                degree.store(n + 1, Release);
                true
            }
            None => false,
        }
    }

    /// The number of a node's neighbours.
    pub(super) fn degree(&self, node: u32) -> usize {
        self.degrees.get(node as usize).map_or(0, |degree| degree.load(Acquire)) as usize
    }

    /// Does `work` while no other thread changes the node.
    pub(super) fn locked<R>(&self, node: u32, work: impl FnOnce() -> R) -> R {
        let lock = self
            .locks
            .get((node as usize).checked_rem(self.locks.len()).unwrap_or(0));
        let _guard = lock.map(|lock| lock.lock());
        work()
    }
}
