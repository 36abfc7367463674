// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! Building a graph (Subramanya et al., algorithm 3).
//!
//! Every node in a random order is searched for from the medoid; its neighbours are chosen among what the search
//! expanded, and it is made one of theirs. Two passes, the first with alpha one. The graph starts empty, not random:
//! the first pass links each node to those before it, which costs less and searches better.

use super::builder::GraphBuilder;
use super::prune::Prune;
use crate::graph::Beam;
use crate::graph::Visited;
use crate::index::Build;
use crate::random::Random;
use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::Relaxed;
use vexfs_host::mem::Vec;
use vexfs_host::relax;
use vexfs_host::threads;
use vexfs_host::Error;
use vexfs_host::Result;

/// Nodes that a thread takes at a time.
const PORTION: u64 = 16;

/// What the parameters say, or what it is if they say nothing.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Settings {
    /// Most neighbours of a node: R.
    pub(super) degree: usize,
    /// The width of a search while building: L.
    pub(super) width: usize,
    /// Alpha in thousandths.
    pub(super) alpha: u32,
}

impl Settings {
    pub(super) fn new(params: &crate::index::IndexParams) -> Self {
        let or = |value: u32, default: u32| if value == 0 { default } else { value };
        Self {
            degree: or(params.m, 64) as usize,
            width: or(params.ef_construction, 100) as usize,
            alpha: or(params.alpha_permille, 1200),
        }
    }
}

/// The memory of one thread.
struct Hand {
    visited: Visited,
    beam: Beam,
    fresh: Vec<u32>,
    keys: Vec<u32>,
    prune: Prune,
    back: Prune,
}

impl Hand {
    /// For graphs of so many rows.
    fn new(count: usize) -> Result<Self> {
        Ok(Self {
            visited: Visited::new(count)?,
            beam: Beam::new(),
            fresh: Vec::new(),
            keys: Vec::new(),
            prune: Prune::default(),
            back: Prune::default(),
        })
    }
}

/// Builds the graph; returns it and the node that searches start from.
#[inline(never)] // own frame
pub(super) fn build(b: &Build<'_>, settings: &Settings) -> Result<(GraphBuilder, u32)> {
    let count = b.rows.count();
    let builder = GraphBuilder::new(count, settings.degree, b.threads)?;
    let entry = medoid(b)?;
    let mut order = Vec::with_capacity(count)?;
    for node in 0..count as u32 {
        order.push(node)?;
    }
    let mut random = Random(b.params.seed);
    for i in (1..count).rev() {
        order.swap(i, random.next().checked_rem(i as u64 + 1).unwrap_or(0) as usize);
    }
    let total = 2 * count as u64;
    let passes: &[u32] = if settings.alpha > 1000 {
        &[1000, settings.alpha]
    } else {
        &[1000]
    };
    for (pass, alpha) in passes.iter().enumerate() {
        let next = AtomicU64::new(0);
        threads::run(b.threads.max(1), &|_| {
            let mut hand = Hand::new(count)?;
            loop {
                let from = next.fetch_add(PORTION, Relaxed) as usize;
                if from >= count {
                    return Ok(());
                }
                for node in order.get(from..count.min(from + PORTION as usize)).unwrap_or_default() {
                    insert(b, &builder, settings, *alpha, entry, *node, &mut hand)?;
                }
                if from % 1024 == 0 {
                    (b.progress)((pass * count + from) as u64, total);
                }
            }
        })?;
    }
    let mut prune = Prune::default();
    for node in 0..count as u32 {
        shorten(b, &builder, settings.degree, settings.alpha, node, &mut prune)?;
        if node % 16 == 0 {
            relax()?;
        }
    }
    connect(b, &builder, settings, entry)?;
    Ok((builder, entry))
}

/// Gives every node that no walk from the entry can reach an edge from a near one that walks reach.
#[inline(never)] // own frame
fn connect(b: &Build<'_>, builder: &GraphBuilder, settings: &Settings, entry: u32) -> Result {
    let count = b.rows.count();
    let mut reached = Visited::new(count)?;
    reached.clear();
    let mut queue = Vec::new();
    let mut hand = Hand::new(count)?;
    if reached.insert(entry) && count > 0 {
        spread(builder, entry, &mut reached, &mut queue)?;
    }
    for node in 0..count as u32 {
        if !reached.insert(node) {
            continue;
        }
        walk(b, builder, settings.width, entry, node, &mut hand)?;
        // All that the walk met is reached. The nearest that has room; if none has, the row is only found by scans.
        let mut from = hand.beam.iter().map(|(_, other)| other);
        if let Some(other) = from.find(|other| *other != node && builder.degree(*other) < settings.degree) {
            builder.add(other, node);
        }
        spread(builder, node, &mut reached, &mut queue)?;
    }
    Ok(())
}

/// Marks all that can be reached from a node.
fn spread(builder: &GraphBuilder, node: u32, reached: &mut Visited, queue: &mut Vec<u32>) -> Result {
    queue.push(node)?;
    let mut steps = 0u32;
    while let Some(node) = queue.pop() {
        builder.neighbours(node, |neighbour| {
            if reached.insert(neighbour) {
                queue.push(neighbour)?;
            }
            Ok(())
        })?;
        steps = steps.wrapping_add(1);
        if steps % 256 == 0 {
            relax()?;
        }
    }
    Ok(())
}

/// Searches for a node's row: what is expanded, and the node's neighbours, become candidates in `hand.prune`.
fn walk(b: &Build<'_>, builder: &GraphBuilder, width: usize, entry: u32, node: u32, hand: &mut Hand) -> Result {
    let Hand {
        visited,
        beam,
        fresh,
        keys,
        prune,
        ..
    } = hand;
    let query = b.rows.query(node as usize).ok_or(Error::Overflow)?;
    let fits = |_| Error::Invalid("a row does not fit its space");
    visited.clear();
    // Its own edges are candidates without being walked along.
    visited.insert(node);
    prune.from.clear();
    fresh.clear();
    builder.neighbours(node, |neighbour| fresh.push(neighbour))?;
    keys.resize(fresh.len(), 0)?;
    b.kernels.gather(&query, &b.rows, fresh, keys).map_err(fits)?;
    for (key, other) in keys.iter().zip(fresh.iter()) {
        prune.from.push(u64::from(*key) << 32 | u64::from(*other))?;
    }
    beam.reset(width)?;
    if visited.insert(entry) {
        let mut key = [0];
        b.kernels.gather(&query, &b.rows, &[entry], &mut key).map_err(fits)?;
        let [key] = key;
        beam.offer(key, entry);
    }
    let mut hops = 0u32;
    while let Some((key, at)) = beam.pop_entry() {
        prune.from.push(u64::from(key) << 32 | u64::from(at))?;
        fresh.clear();
        builder.neighbours(at, |neighbour| {
            if visited.insert(neighbour) {
                fresh.push(neighbour)?;
            }
            Ok(())
        })?;
        keys.resize(fresh.len(), 0)?;
        b.kernels.gather(&query, &b.rows, fresh, keys).map_err(fits)?;
        for (key, other) in keys.iter().zip(fresh.iter()) {
            if *key <= beam.limit() {
                beam.offer(*key, *other);
            }
        }
        hops += 1;
        if hops % 16 == 0 {
            relax()?;
        }
    }
    Ok(())
}

/// Finds a node's neighbours and links them both ways.
#[inline(never)] // own frame
fn insert(
    b: &Build<'_>,
    builder: &GraphBuilder,
    settings: &Settings,
    alpha: u32,
    entry: u32,
    node: u32,
    hand: &mut Hand,
) -> Result {
    walk(b, builder, settings.width, entry, node, hand)?;
    let Hand { prune, back, .. } = hand;
    prune.run(b.kernels, &b.rows, node, settings.degree, alpha)?;
    relax()?;
    // What another thread has linked here meanwhile is lost, as in the authors' program.
    builder.locked(node, || builder.set(node, &prune.chosen));
    for other in prune.chosen.iter() {
        builder.locked(*other, || -> Result {
            if builder.add(*other, node) {
                return Ok(());
            }
            candidates(b, builder, *other, Some(node), back)?;
            back.run(b.kernels, &b.rows, *other, settings.degree, alpha)?;
            builder.set(*other, &back.chosen);
            Ok(())
        })?;
    }
    relax()
}

/// Makes candidates of a node's neighbours, and of one more.
fn candidates(b: &Build<'_>, builder: &GraphBuilder, node: u32, more: Option<u32>, prune: &mut Prune) -> Result {
    prune.chosen.clear();
    let ids = &mut prune.chosen;
    builder.neighbours(node, |neighbour| ids.push(neighbour))?;
    if let Some(more) = more {
        ids.push(more)?;
    }
    let query = b.rows.query(node as usize).ok_or(Error::Overflow)?;
    let mut keys = Vec::new();
    keys.resize(ids.len(), 0)?;
    let fits = |_| Error::Invalid("a row does not fit its space");
    b.kernels.gather(&query, &b.rows, ids, &mut keys).map_err(fits)?;
    prune.from.clear();
    for (key, other) in keys.iter().zip(prune.chosen.iter()) {
        prune.from.push(u64::from(*key) << 32 | u64::from(*other))?;
    }
    Ok(())
}

/// Cuts a list to its final length.
#[inline(never)] // own frame
fn shorten(b: &Build<'_>, builder: &GraphBuilder, degree: usize, alpha: u32, node: u32, prune: &mut Prune) -> Result {
    let mut n = 0;
    builder.neighbours(node, |_| {
        n += 1;
        Ok(())
    })?;
    if n > degree {
        candidates(b, builder, node, None, prune)?;
        prune.run(b.kernels, &b.rows, node, degree, alpha)?;
        builder.set(node, &prune.chosen);
    }
    Ok(())
}

/// A row in the middle: of some, the one whose median distance to others is the least.
#[inline(never)] // own frame
fn medoid(b: &Build<'_>) -> Result<u32> {
    const CANDIDATES: usize = 128;
    const OTHERS: usize = 512;
    let count = b.rows.count();
    let mut others = Vec::with_capacity(OTHERS)?;
    for i in 0..OTHERS.min(count) {
        others.push(
            (i as u64 * count as u64)
                .checked_div(OTHERS.min(count) as u64)
                .unwrap_or(0) as u32,
        )?;
    }
    let mut keys = Vec::new();
    keys.resize(others.len(), 0)?;
    let mut best = (u32::MAX, 0);
    for i in 0..CANDIDATES.min(count) {
        let row = (i as u64 * count as u64)
            .checked_div(CANDIDATES.min(count) as u64)
            .unwrap_or(0) as u32;
        let query = b.rows.query(row as usize).ok_or(Error::Overflow)?;
        let fits = |_| Error::Invalid("a row does not fit its space");
        b.kernels.gather(&query, &b.rows, &others, &mut keys).map_err(fits)?;
        crate::heap::sort(&mut keys);
        let median = keys.get(keys.len() / 2).copied().unwrap_or(u32::MAX);
        best = best.min((median, row));
        relax()?;
    }
    Ok(best.1)
}
