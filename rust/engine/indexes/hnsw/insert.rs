// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! Inserting rows into a builder (algorithm 1 of the paper), by several threads.
//!
//! All levels were drawn before, so that every list has its place, and the entry is at the top: no insertion changes
//! it.
//!
//! Rows of long vectors are looked for by temporary codes of a byte a dimension, a quarter of the memory to go through.
//! What is found is compared by full vectors before neighbours are chosen.

use super::builder::room;
use super::builder::DraftLayer;
use super::builder::Heuristic;
use super::builder::Locks;
use super::codes::Coding;
use super::codes::Work;
use super::layout::Shape;
use super::measure::Full;
use super::measure::Measure;
use super::select::Candidate;
use super::select::Select;
use super::walk::Walk;
use crate::index::Build;
use crate::index::Codes;
use crate::index::Cost;
use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::Relaxed;
use vexfs_host::mem::Box;
use vexfs_host::mem::Buffer;
use vexfs_host::mem::Vec;
use vexfs_host::threads;
use vexfs_host::Error;
use vexfs_host::Result;
use vexfs_simd::Sq8;

/// Vectors of so many bytes are looked for by codes: of shorter ones the links cost more than the vectors.
const LONG: usize = 256;

const MISSING: Error = Error::Invalid("a row is missing");

/// Nodes that a thread takes at a time.
const PORTION: u64 = 16;

/// The memory of one thread.
pub(super) struct Hand {
    walk: Walk,
    pub(super) select: Select,
    chosen: Vec<Candidate>,
    /// Nodes to look at, for callers.
    pub(super) open: Vec<u32>,
    rows: Vec<u32>,
    keys: Vec<u32>,
    /// A row in the form of the codes, and on the way to it.
    code: Vec<u8>,
    vector: Vec<u8>,
}

impl Hand {
    /// For a graph of `count` rows.
    pub(super) fn new(count: usize, shape: &Shape) -> Result<Self> {
        Ok(Self {
            walk: Walk::new(count, room(shape.degree(0)))?,
            select: Select::default(),
            chosen: Vec::new(),
            open: Vec::new(),
            rows: Vec::new(),
            keys: Vec::new(),
            code: Vec::new(),
            vector: Vec::new(),
        })
    }
}

/// Codes that rows are looked for by.
struct Rough {
    coding: Coding,
    params: Buffer,
    codes: Buffer,
    stride: usize,
}

impl Rough {
    /// Encodes the rows, if they are long floats.
    #[inline(never)] // own frame
    fn new(b: &Build<'_>) -> Result<Option<Box<Self>>> {
        let space = b.rows.space();
        if !Sq8::fits(&space) || space.row_bytes() < LONG {
            return Ok(None);
        }
        let coding = Coding::new(&space, Codes::Sq8)?;
        let stride = coding.code_bytes().next_multiple_of(4);
        let mut codes = Buffer::zeroed(b.rows.count().checked_mul(stride).ok_or(Error::NoMemory)?)?;
        let params = coding.encode(b.kernels, &b.rows, &mut codes, stride, 0)?;
        Box::new(Self {
            coding,
            params,
            codes,
            stride,
        })
        .map(Some)
    }
}

/// A graph that is being built, as its threads see it.
pub(super) struct Inserter<'a> {
    pub(super) heuristic: Heuristic<'a>,
    pub(super) layers: Vec<DraftLayer<'a>>,
    pub(super) locks: Locks,
    rough: Option<Box<Rough>>,
    levels: &'a [u8],
    shape: Shape,
    ef: usize,
    /// A row that is in the graph already, and its highest level.
    entry: (u32, usize),
}

impl<'a> Inserter<'a> {
    /// `entry` is a row in the graph; it need have no neighbours if it is alone.
    #[inline(never)] // own frame
    pub(super) fn new(
        b: &Build<'a>,
        shape: Shape,
        (levels, layers): (&'a [u8], Vec<DraftLayer<'a>>),
        entry: u32,
    ) -> Result<Self> {
        let mut inserter = Self {
            heuristic: Heuristic {
                kernels: b.kernels,
                rows: b.rows,
            },
            layers,
            locks: Locks::new(b.threads)?,
            rough: Rough::new(b)?,
            levels,
            shape,
            ef: (b.params.ef_construction as usize).max(1),
            entry: (entry, 0),
        };
        inserter.entry.1 = inserter.level(entry);
        Ok(inserter)
    }

    /// The row that every walk starts from.
    pub(super) fn entry(&self) -> u32 {
        self.entry.0
    }

    /// A row's highest level.
    fn level(&self, row: u32) -> usize {
        self.levels.get(row as usize).copied().unwrap_or(0).into()
    }

    /// Inserts a row and lets walks start from it.
    #[inline(never)] // own frame
    pub(super) fn raise(&mut self, row: u32) -> Result {
        let mut hand = Hand::new(self.levels.len(), &self.shape)?;
        self.insert(row, &mut hand)?;
        self.entry = (row, self.level(row));
        Ok(())
    }

    /// Does `work` for all numbers below `count`, in portions by all threads.
    #[inline(never)] // own frame
    pub(super) fn for_all(
        &self,
        threads: usize,
        count: usize,
        progress: &(dyn Fn(u64) + Sync),
        work: &(dyn Fn(u32, &mut Hand) -> Result + Sync),
    ) -> Result {
        let (next, count) = (AtomicU64::new(0), count as u64);
        threads::run(threads.max(1), &|_| {
            let mut hand = Hand::new(self.levels.len(), &self.shape)?;
            loop {
                let from = next.fetch_add(PORTION, Relaxed);
                if from >= count {
                    return Ok(());
                }
                for i in from..count.min(from.saturating_add(PORTION)) {
                    work(i as u32, &mut hand)?;
                }
                if from % 1024 == 0 {
                    progress(from);
                }
            }
        })
    }

    /// Inserts a row at its levels.
    pub(super) fn insert(&self, row: u32, hand: &mut Hand) -> Result {
        let query = self.heuristic.rows.query(row as usize).ok_or(MISSING)?;
        let kernels = self.heuristic.kernels;
        let Some(rough) = &self.rough else {
            let rows = self.heuristic.rows;
            return self.insert_by(row, &Full { kernels, query, rows }, hand);
        };
        let (mut code, mut vector) = (core::mem::take(&mut hand.code), core::mem::take(&mut hand.vector));
        let inserted = rough.coding.with_query(
            kernels,
            (&rough.params, &rough.codes),
            (rough.stride, 0, self.heuristic.rows.count()),
            &query,
            (&mut code, &mut vector),
            Insert {
                inserter: self,
                row,
                hand,
            },
        );
        (hand.code, hand.vector) = (code, vector);
        inserted
    }

    /// Inserts a row that `measure` compares others with.
    fn insert_by(&self, row: u32, measure: &impl Measure, hand: &mut Hand) -> Result {
        let (mut nearest, entry_level) = self.entry;
        let mut key = [0];
        measure.keys(&[nearest], &mut key)?;
        let [mut key] = key;
        let (level, mut cost) = (self.level(row), Cost::default());
        for (at, layer) in self.layers.iter().enumerate().take(entry_level + 1).rev() {
            let from = layer.node(nearest).ok_or(MISSING)?;
            let width = if at > level { 1 } else { self.ef };
            hand.walk
                .run(layer, measure, width, (key, from), &|| false, &mut cost)?;
            if at <= level {
                let node = layer.node(row).ok_or(MISSING)?;
                self.link(layer, node, row, hand)?;
            }
            if let Some((best, node)) = hand.walk.beam.iter().next() {
                (key, nearest) = (best, layer.row(node));
            }
        }
        Ok(())
    }

    /// Gives the candidates in `hand.select.from` their exact distances from a row, and sorts them.
    pub(super) fn compare(&self, row: u32, hand: &mut Hand) -> Result {
        let Hand { select, rows, keys, .. } = hand;
        rows.clear();
        for candidate in select.from.iter() {
            rows.push(candidate.row)?;
        }
        keys.resize(rows.len(), 0)?;
        let query = self.heuristic.rows.query(row as usize).ok_or(MISSING)?;
        let Heuristic { kernels, rows: all, .. } = &self.heuristic;
        kernels.gather(&query, all, rows, keys).map_err(|_| MISSING)?;
        for (candidate, key) in select.from.iter_mut().zip(keys.iter()) {
            candidate.key = *key;
        }
        select.sort()
    }

    /// Chooses a node's neighbours among the beam, and makes it one of theirs.
    fn link(&self, layer: &DraftLayer<'_>, node: u32, row: u32, hand: &mut Hand) -> Result {
        hand.select.from.clear();
        for (key, other) in hand.walk.beam.iter() {
            if other != node {
                hand.select.from.push(Candidate {
                    key,
                    node: other,
                    row: layer.row(other),
                    settled: false,
                })?;
            }
        }
        if self.rough.is_some() {
            // The order by codes is nearly the order: what is far by codes is not chosen.
            hand.select.from.truncate((self.ef / 2).max(2 * self.shape.m));
            self.compare(row, hand)?;
        }
        let Hand { select, chosen, .. } = hand;
        select.run(self.heuristic.kernels, &self.heuristic.rows, self.shape.m)?;
        chosen.clear();
        for one in select.chosen.iter() {
            chosen.push(Candidate { settled: true, ..*one })?;
        }
        self.locks.with(node, || {
            // Other threads may have met the node at a level above and made it a neighbour here.
            select.from.clear();
            layer.read(node, &mut select.from)?;
            layer.write(node, chosen, chosen.len());
            for i in 0..select.from.len() {
                let known = select.from.get(i).copied();
                let Some(other) = known else { break };
                if !chosen.iter().any(|one| one.node == other.node) && chosen.len() < layer.room {
                    chosen.push(Candidate {
                        settled: false,
                        ..other
                    })?;
                    layer.write(node, chosen, 0);
                }
            }
            Ok(())
        })?;
        for one in chosen.iter() {
            let back = Candidate {
                key: one.key,
                node,
                row,
                settled: false,
            };
            self.locks
                .with(one.node, || layer.add(one.node, back, select, &self.heuristic))?;
        }
        Ok(())
    }
}

/// The insertion of a row by codes.
struct Insert<'a, 'b> {
    inserter: &'a Inserter<'b>,
    row: u32,
    hand: &'a mut Hand,
}

impl Work for Insert<'_, '_> {
    fn with(self, measure: &impl Measure) -> Result {
        self.inserter.insert_by(self.row, measure, self.hand)
    }
}
