// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! Inserting rows into a draft (algorithm 1 of the paper), by several threads.
//!
//! All levels were drawn before, so that every list has its place, and the entry is at the top: no insertion changes it.

use super::draft::room;
use super::draft::Choice;
use super::draft::DraftLayer;
use super::draft::Locks;
use super::layout::Shape;
use super::measure::Full;
use super::measure::Measure;
use super::select::Candidate;
use super::select::Select;
use super::walk::Walk;
use crate::index::Build;
use crate::index::Cost;
use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::Relaxed;
use vexfs_host::mem::Vec;
use vexfs_host::threads;
use vexfs_host::Error;
use vexfs_host::Result;

/// Nodes that a thread takes at a time.
const PORTION: u64 = 16;

/// The memory of one thread.
pub(super) struct Hand {
    walk: Walk,
    pub(super) select: Select,
    chosen: Vec<Candidate>,
}

impl Hand {
    /// For a graph of `count` rows.
    pub(super) fn new(count: usize, shape: &Shape) -> Result<Self> {
        Ok(Self {
            walk: Walk::new(count, room(shape.degree(0)))?,
            select: Select::default(),
            chosen: Vec::new(),
        })
    }
}

/// A graph that is being built, as its threads see it.
pub(super) struct Weaver<'a> {
    pub(super) choice: Choice<'a>,
    pub(super) layers: Vec<DraftLayer<'a>>,
    pub(super) locks: Locks,
    levels: &'a [u8],
    shape: Shape,
    ef: usize,
    /// A row that is in the graph already, and its highest level.
    entry: (u32, usize),
}

impl<'a> Weaver<'a> {
    /// `entry` is a row in the graph; it need have no neighbours if it is alone.
    pub(super) fn new(
        b: &Build<'a>,
        shape: Shape,
        (levels, layers): (&'a [u8], Vec<DraftLayer<'a>>),
        entry: u32,
    ) -> Result<Self> {
        let mut weaver = Self {
            choice: Choice {
                kernels: b.kernels,
                rows: b.rows,
            },
            layers,
            locks: Locks::new(b.threads)?,
            levels,
            shape,
            ef: (b.params.ef_construction as usize).max(1),
            entry: (entry, 0),
        };
        weaver.entry.1 = weaver.level(entry);
        Ok(weaver)
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
    pub(super) fn raise(&mut self, row: u32) -> Result {
        let mut hand = Hand::new(self.levels.len(), &self.shape)?;
        self.insert(row, &mut hand)?;
        self.entry = (row, self.level(row));
        Ok(())
    }

    /// Does `work` for all numbers below `count`, in portions by all threads.
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
        let missing = Error::Invalid("a row is missing");
        let measure = Full {
            kernels: self.choice.kernels,
            query: self.choice.rows.query(row as usize).ok_or(missing)?,
            rows: self.choice.rows,
        };
        let (mut nearest, entry_level) = self.entry;
        let mut key = [0];
        measure.keys(&[nearest], &mut key)?;
        let [mut key] = key;
        let (level, mut cost) = (self.level(row), Cost::default());
        for (at, layer) in self.layers.iter().enumerate().take(entry_level + 1).rev() {
            let from = layer.node(nearest).ok_or(missing)?;
            let width = if at > level { 1 } else { self.ef };
            hand.walk
                .run(layer, &measure, width, (key, from), &|| false, &mut cost)?;
            if at <= level {
                let node = layer.node(row).ok_or(missing)?;
                self.link(layer, node, row, hand)?;
            }
            if let Some((best, node)) = hand.walk.beam.iter().next() {
                (key, nearest) = (best, layer.row(node));
            }
        }
        Ok(())
    }

    /// Chooses a node's neighbours among the beam, and makes it one of theirs.
    fn link(&self, layer: &DraftLayer<'_>, node: u32, row: u32, hand: &mut Hand) -> Result {
        let Hand { walk, select, chosen } = hand;
        select.from.clear();
        for (key, other) in walk.beam.iter() {
            if other != node {
                select.from.push(Candidate {
                    key,
                    node: other,
                    row: layer.row(other),
                    settled: false,
                })?;
            }
        }
        select.run(self.choice.kernels, &self.choice.rows, self.shape.m)?;
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
                .with(one.node, || layer.add(one.node, back, select, &self.choice))?;
        }
        Ok(())
    }
}
