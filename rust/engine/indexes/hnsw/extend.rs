// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! Building a graph from that of some of its rows.
//!
//! Lists of the old graph are taken over. Where a neighbour was dropped, its own neighbours become candidates in its
//! stead, and the heuristic chooses among them and those that are left (FreshDiskANN: Singh, Subramanya, Krishnaswamy,
//! Simhadri, arXiv 2105.09613, algorithm 4). Then the new rows are inserted. Both cost what changed, not what is there.

use super::build::finish;
use super::builder::DraftLayer;
use super::builder::GraphBuilder;
use super::insert::Hand;
use super::insert::Inserter;
use super::layout::Graph;
use super::layout::Shape;
use super::layout::NONE;
use super::levels::level_of;
use super::reach::connect;
use super::select::Candidate;
use crate::index::Build;
use vexfs_host::mem::Vec;
use vexfs_host::relax;
use vexfs_host::Error;
use vexfs_host::Result;

/// Most candidates that stand in for dropped neighbours.
const CANDIDATES: usize = 256;

const MISFIT: Error = Error::Invalid("the rows are not those of the graph");

/// The old graph and where its rows went.
struct Old<'a> {
    graph: &'a Graph,
    /// The new row of each old one, or [`NONE`].
    map: &'a [u32],
}

impl Old<'_> {
    /// The number of a level's nodes.
    fn nodes(&self, level: usize) -> usize {
        match self.graph.upper(level) {
            Some(upper) => upper.rows.len(),
            None => self.graph.count,
        }
    }

    /// An old node's neighbours.
    fn list(&self, level: usize, node: u32) -> &[u32] {
        match self.graph.upper(level) {
            Some(upper) => upper.list(node),
            None => self.graph.base().list(node),
        }
    }

    /// The new row of an old node, unless it was dropped.
    fn row(&self, level: usize, node: u32) -> Option<u32> {
        let row = match self.graph.upper(level) {
            Some(upper) => upper.rows.get(node as usize).copied()?,
            None => node,
        };
        self.map.get(row as usize).copied().filter(|row| *row != NONE)
    }
}

/// Builds the graph of all rows, of which `map` tells where those of `base` are.
#[inline(never)] // own frame
pub(super) fn extend(b: &Build<'_>, shape: Shape, base: &Graph, map: &[u32]) -> Result<Graph> {
    let count = b.rows.count();
    let old = Old { graph: base, map };
    if map.len() != base.count || base.shape.m != shape.m {
        return Err(MISFIT);
    }
    let Ranks { levels, new, kept } = ranks(b, shape, &old)?;
    let Some((highest, entry)) = kept else {
        return super::build::build(b, shape);
    };
    let above = new.iter().copied().find(|row| {
        let level = levels.get(*row as usize).copied().unwrap_or(0);
        level > highest && levels.iter().all(|other| *other <= level)
    });

    let mut builder = GraphBuilder::new(shape, levels)?;
    let (levels, layers) = builder.layers()?;
    let mut inserter = Inserter::new(b, shape, (levels, layers), entry)?;
    for level in 0..base.levels() {
        let Some(layer) = inserter.layers.get(level) else { break };
        inserter.for_all(b.threads, old.nodes(level), &|_| {}, &|node, hand| {
            adopt(&inserter, layer, &old, (level, node), hand)
        })?;
    }
    if let Some(row) = above {
        inserter.raise(row)?;
    }
    let progress = |done| (b.progress)(done, new.len() as u64);
    inserter.for_all(b.threads, new.len(), &progress, &|i, hand| match new.get(i as usize) {
        Some(row) if Some(*row) != above => inserter.insert(*row, hand),
        _ => Ok(()),
    })?;
    let mut graph = finish(&inserter, shape, count)?;
    connect(b, &mut graph)?;
    progress(new.len() as u64);
    Ok(graph)
}

/// The highest levels of the nodes of a graph that grows.
struct Ranks {
    /// A level a row.
    levels: Vec<u8>,
    /// The rows that were not in the old graph.
    new: Vec<u32>,
    /// The highest level of a row that was, and the first such row.
    kept: Option<(u8, u32)>,
}

/// Old nodes keep their levels, new ones get theirs.
#[inline(never)] // own frame
fn ranks(b: &Build<'_>, shape: Shape, old: &Old<'_>) -> Result<Ranks> {
    let (count, base) = (b.rows.count(), old.graph);
    // `NONE` until the row's level is known.
    const UNKNOWN: u8 = u8::MAX;
    let mut levels = Vec::new();
    levels.resize(count, UNKNOWN)?;
    let mut last = None;
    for row in old.map.iter().copied().filter(|row| *row != NONE) {
        // Both are sorted by id, so kept rows keep their order.
        if last.is_some_and(|last| row <= last) {
            return Err(MISFIT);
        }
        last = Some(row);
        *levels.get_mut(row as usize).ok_or(MISFIT)? = 0;
    }
    for level in 1..base.levels() {
        for node in 0..old.nodes(level) as u32 {
            if let Some(known) = old.row(level, node).and_then(|row| levels.get_mut(row as usize)) {
                *known = level as u8;
            }
        }
    }
    let (mut new, mut kept) = (Vec::new(), None);
    for (row, level) in levels.iter_mut().enumerate() {
        if *level == UNKNOWN {
            *level = level_of(b.params.seed, row as u64, shape.m as u32);
            new.push(row as u32)?;
        } else if kept.is_none_or(|(highest, _)| *level > highest) {
            kept = Some((*level, row as u32));
        }
    }
    Ok(Ranks { levels, new, kept })
}

/// Takes an old node's list over.
fn adopt(
    inserter: &Inserter<'_>,
    layer: &DraftLayer<'_>,
    old: &Old<'_>,
    (level, old_node): (usize, u32),
    hand: &mut Hand,
) -> Result {
    let Some(row) = old.row(level, old_node) else {
        return Ok(());
    };
    let node = layer.node(row).ok_or(MISFIT)?;
    let Hand { select, open, .. } = hand;
    select.from.clear();
    open.clear();
    let mut dropped = false;
    for link in old.list(level, old_node).iter().take_while(|link| **link != NONE) {
        match old.row(level, *link) {
            Some(row) => select.from.push(candidate(layer, row)?)?,
            None => {
                dropped = true;
                open.push(*link)?;
            }
        }
    }
    // The neighbours of those dropped, and if they were dropped too, theirs.
    let mut next = 0;
    while let Some(gone) = open.get(next).copied() {
        next += 1;
        for link in old.list(level, gone).iter().take_while(|link| **link != NONE) {
            if select.from.len() >= CANDIDATES {
                break;
            }
            match old.row(level, *link) {
                Some(near) if near != row && !select.from.iter().any(|known| known.row == near) => {
                    select.from.push(candidate(layer, near)?)?;
                }
                None if open.len() < CANDIDATES && !open.contains(link) => open.push(*link)?,
                _ => {}
            }
        }
    }
    inserter.compare(row, hand)?;
    let select = &mut hand.select;
    if dropped {
        layer.shorten(node, false, select, &inserter.heuristic)?;
    } else {
        layer.write(node, &select.from, 0);
    }
    relax()
}

/// A kept row whose distance is not known yet.
fn candidate(layer: &DraftLayer<'_>, row: u32) -> Result<Candidate> {
    Ok(Candidate {
        key: 0,
        node: layer.node(row).ok_or(MISFIT)?,
        row,
        settled: false,
    })
}
