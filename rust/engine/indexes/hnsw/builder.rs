// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! A graph while it is built.
//!
//! A list has room for half as many neighbours again as a finished one: it is shortened by the heuristic only when that
//! is full, once in many insertions instead of at each. Next to each neighbour is its distance, so that shortening
//! compares neighbours with each other only, and of those only pairs that have not been compared before.
//!
//! Several threads add at once. They read lists without a lock, seeing some state of each word; writers of one list
//! exclude each other by a lock.

use super::layout::Shape;
use super::layout::NONE;
use super::levels::rows_above;
use super::select::Candidate;
use super::select::Select;
use super::visited::Visited;
use super::walk::Layer;
use core::sync::atomic::AtomicU32;
use core::sync::atomic::Ordering::Relaxed;
use vexfs_host::mem::Buffer;
use vexfs_host::mem::Vec;
use vexfs_host::sync::Mutex;
use vexfs_host::Error;
use vexfs_host::Result;
use vexfs_simd::Kernels;
use vexfs_simd::Rows;
use zerocopy::FromBytes as _;

/// Words of a list of `degree` neighbours while the graph is built.
pub(super) fn room(degree: usize) -> usize {
    degree + degree / 2
}

/// The memory of a graph that is being built.
pub(super) struct GraphBuilder {
    /// The highest level of each row.
    levels: Vec<u8>,
    /// The rows of the levels from 1 on.
    pub(super) above: Vec<Vec<u32>>,
    /// The three arrays of all [`DraftLayer`]s, one behind the other.
    links: Buffer,
    keys: Buffer,
    settled: Buffer,
    shape: Shape,
}

impl GraphBuilder {
    /// A graph of rows with these highest levels, whose lists are empty.
    #[inline(never)] // own frame
    pub(super) fn new(shape: Shape, levels: Vec<u8>) -> Result<Self> {
        let above = rows_above(&levels)?;
        let (mut words, mut nodes) = (levels.len().saturating_mul(room(shape.degree(0))), levels.len());
        for rows in above.iter() {
            words = words.saturating_add(rows.len().saturating_mul(room(shape.m)));
            nodes = nodes.saturating_add(rows.len());
        }
        let mut links = Buffer::zeroed(words.saturating_mul(4))?;
        links.as_bytes_mut().fill(0xff);
        Ok(Self {
            levels,
            above,
            links,
            keys: Buffer::zeroed(words.saturating_mul(4))?,
            settled: Buffer::zeroed(nodes.saturating_mul(4))?,
            shape,
        })
    }

    /// The highest level of each row, and the levels from 0 on.
    #[inline(never)] // own frame
    pub(super) fn layers(&mut self) -> Result<(&[u8], Vec<DraftLayer<'_>>)> {
        let mut links = atomics(&mut self.links)?;
        let mut keys = atomics(&mut self.keys)?;
        let mut settled = atomics(&mut self.settled)?;
        let mut layers = Vec::new();
        for level in 0..=self.above.len() {
            let rows = level.checked_sub(1).and_then(|i| self.above.get(i)).map(Vec::as_slice);
            let (count, degree) = (rows.map_or(self.levels.len(), <[u32]>::len), self.shape.degree(level));
            let words = count.saturating_mul(room(degree));
            layers.push(DraftLayer {
                links: split(&mut links, words)?,
                keys: split(&mut keys, words)?,
                settled: split(&mut settled, count)?,
                room: room(degree),
                degree,
                rows,
            })?;
        }
        Ok((&self.levels, layers))
    }
}

/// A buffer's words, for several threads.
fn atomics(buffer: &mut Buffer) -> Result<&[AtomicU32]> {
    match <[AtomicU32]>::mut_from_bytes(buffer.as_bytes_mut()) {
        Ok(words) => Ok(words),
        Err(_) => Err(Error::Overflow),
    }
}

/// Takes the first words.
fn split<'a>(words: &mut &'a [AtomicU32], count: usize) -> Result<&'a [AtomicU32]> {
    let (first, rest) = words.split_at_checked(count).ok_or(Error::Overflow)?;
    *words = rest;
    Ok(first)
}

/// One level.
///
/// # Invariants
///
/// Node `i` has words `i * room ..` of `links` and `keys`: its neighbours and their distances, then [`NONE`]. The first
/// `settled[i]` of them were chosen together and ascend.
pub(super) struct DraftLayer<'a> {
    pub(super) links: &'a [AtomicU32],
    pub(super) keys: &'a [AtomicU32],
    pub(super) settled: &'a [AtomicU32],
    /// Words of a list.
    pub(super) room: usize,
    /// Neighbours of a shortened list.
    pub(super) degree: usize,
    /// Rows of the nodes; `None` at level 0.
    pub(super) rows: Option<&'a [u32]>,
}

impl Layer for DraftLayer<'_> {
    #[inline]
    fn fresh(&self, node: u32, visited: &mut Visited, fresh: &mut [u32]) -> usize {
        let mut count = 0;
        for link in self.list(self.links, node) {
            let link = link.load(Relaxed);
            if link == NONE {
                break;
            }
            if let Some(place) = fresh.get_mut(count) {
                *place = link;
                count += usize::from(visited.insert(link));
            }
        }
        count
    }

    #[inline]
    fn prefetch(&self, node: u32) {
        let list = self.list(self.links, node);
        for line in list.chunks(16) {
            if let Some(first) = line.first() {
                vexfs_simd::prefetch(first);
            }
        }
    }

    fn rows(&self) -> Option<&[u32]> {
        self.rows
    }
}

impl<'a> DraftLayer<'a> {
    /// A node's words of `links` or `keys`.
    #[inline]
    fn list(&self, of: &'a [AtomicU32], node: u32) -> &'a [AtomicU32] {
        let start = (node as usize).saturating_mul(self.room);
        of.get(start..start.saturating_add(self.room)).unwrap_or_default()
    }

    /// The row of a node.
    #[inline]
    pub(super) fn row(&self, node: u32) -> u32 {
        match self.rows {
            Some(rows) => rows.get(node as usize).copied().unwrap_or(0),
            None => node,
        }
    }

    /// The node of a row that is at this level.
    pub(super) fn node(&self, row: u32) -> Option<u32> {
        match self.rows {
            Some(rows) => rows.binary_search(&row).ok().map(|node| node as u32),
            None => Some(row),
        }
    }

    /// Appends a node's neighbours to `from`.
    pub(super) fn read(&self, node: u32, from: &mut Vec<Candidate>) -> Result {
        let settled = self.settled.get(node as usize).map_or(0, |word| word.load(Relaxed)) as usize;
        let (links, keys) = (self.list(self.links, node), self.list(self.keys, node));
        for (i, (link, key)) in links.iter().zip(keys).enumerate() {
            let node = link.load(Relaxed);
            if node == NONE {
                break;
            }
            from.push(Candidate {
                key: key.load(Relaxed),
                node,
                row: self.row(node),
                settled: i < settled,
            })?;
        }
        Ok(())
    }

    /// Replaces a node's neighbours. The caller holds the node's lock.
    pub(super) fn write(&self, node: u32, chosen: &[Candidate], settled: usize) {
        let (links, keys) = (self.list(self.links, node), self.list(self.keys, node));
        for (i, (link, key)) in links.iter().zip(keys).enumerate() {
            match chosen.get(i) {
                Some(neighbour) => {
                    key.store(neighbour.key, Relaxed);
                    link.store(neighbour.node, Relaxed);
                }
                None => link.store(NONE, Relaxed),
            }
        }
        if let Some(word) = self.settled.get(node as usize) {
            word.store(settled as u32, Relaxed);
        }
    }

    /// Adds a neighbour to a node, and shortens the list if it has no room. The caller holds the node's lock.
    pub(super) fn add(&self, node: u32, new: Candidate, select: &mut Select, heuristic: &Heuristic<'_>) -> Result {
        let (links, keys) = (self.list(self.links, node), self.list(self.keys, node));
        for (link, key) in links.iter().zip(keys) {
            let present = link.load(Relaxed);
            if present == new.node {
                return Ok(());
            }
            if present == NONE {
                key.store(new.key, Relaxed);
                link.store(new.node, Relaxed);
                return Ok(());
            }
        }
        select.from.clear();
        self.read(node, &mut select.from)?;
        select.from.push(Candidate { settled: false, ..new })?;
        self.shorten(node, false, select, heuristic)
    }

    /// Makes the best of `select.from` a node's neighbours; with `fill`, the nearest of the others too while there is
    /// room. The caller holds the node's lock.
    pub(super) fn shorten(&self, node: u32, fill: bool, select: &mut Select, heuristic: &Heuristic<'_>) -> Result {
        select.sort()?;
        select.run(heuristic.kernels, &heuristic.rows, self.degree)?;
        let settled = select.chosen.len();
        if fill {
            select.fill(self.degree)?;
        }
        self.write(node, &select.chosen, settled);
        Ok(())
    }
}

/// What the heuristic is given.
pub(super) struct Heuristic<'a> {
    pub(super) kernels: Kernels,
    pub(super) rows: Rows<'a>,
}

/// Locks that nodes share.
pub(super) struct Locks(Vec<Mutex<()>>);

impl Locks {
    /// As many as keep `threads` threads from waiting for each other often.
    pub(super) fn new(threads: usize) -> Result<Self> {
        let count = if threads <= 1 { 1 } else { 1024 };
        let mut locks = Vec::with_capacity(count)?;
        for _ in 0..count {
            locks.push(Mutex::new(())?)?;
        }
        Ok(Self(locks))
    }

    /// Runs `work` while nobody else has the node's lock.
    #[inline]
    pub(super) fn with(&self, node: u32, work: impl FnOnce() -> Result) -> Result {
        let _guard = match self.0.len() {
            0 | 1 => None,
            count => self.0.get(node as usize % count).map(Mutex::lock),
        };
        work()
    }
}
