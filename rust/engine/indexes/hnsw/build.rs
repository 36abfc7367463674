// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! Building a graph, from nothing or from the graph of some of its rows.

use super::builder::GraphBuilder;
use super::insert::Inserter;
use super::layout::Graph;
use super::layout::Shape;
use super::layout::NONE;
use super::levels::level_of;
use super::reach::connect;
use crate::index::Build;
use vexfs_host::mem::Buffer;
use vexfs_host::mem::Vec;
use vexfs_host::relax;
use vexfs_host::Error;
use vexfs_host::Result;

/// Builds the graph of all rows.
pub(super) fn build(b: &Build<'_>, shape: Shape) -> Result<Graph> {
    let count = b.rows.count();
    let mut builder = unconnected(b, shape)?;
    let entry = builder
        .above
        .iter()
        .next_back()
        .and_then(|top| top.first().copied())
        .unwrap_or(0);
    let (levels, layers) = builder.layers()?;
    let inserter = Inserter::new(b, shape, (levels, layers), entry)?;
    let progress = |done| (b.progress)(done, count as u64);
    inserter.for_all(b.threads, count, &progress, &|row, hand| {
        if row == entry {
            return Ok(());
        }
        inserter.insert(row, hand)
    })?;
    let mut graph = finish(&inserter, shape, count)?;
    connect(b, &mut graph)?;
    progress(count as u64);
    Ok(graph)
}

/// A graph of all rows without an edge.
#[inline(never)] // own frame
fn unconnected(b: &Build<'_>, shape: Shape) -> Result<GraphBuilder> {
    let count = b.rows.count();
    let mut levels = Vec::with_capacity(count)?;
    for row in 0..count as u64 {
        levels.push(level_of(b.params.seed, row, shape.m as u32))?;
    }
    GraphBuilder::new(shape, levels)
}

/// Shortens all lists to their final length and puts them in the form of the sections.
#[inline(never)] // own frame
pub(super) fn finish(inserter: &Inserter<'_>, shape: Shape, count: usize) -> Result<Graph> {
    let mut records = Buffer::zeroed(count.checked_mul(shape.record_bytes).ok_or(Error::NoMemory)?)?;
    let mut nodes = Vec::new();
    let mut upper_words = 0usize;
    for layer in inserter.layers.iter().skip(1) {
        nodes.push(layer.settled.len())?;
        upper_words = upper_words.saturating_add(layer.settled.len().saturating_mul(1 + shape.m));
    }
    let mut upper = Buffer::zeroed(upper_words.saturating_mul(4))?;
    let mut rest = upper.as_u32s_mut();
    let mut select = super::select::Select::default();
    for layer in inserter.layers.iter() {
        let stride = match layer.rows {
            None => shape.record_bytes / 4,
            Some(rows) => {
                let (head, behind) = rest.split_at_mut_checked(rows.len()).ok_or(Error::Overflow)?;
                head.copy_from_slice(rows);
                rest = behind;
                shape.m
            }
        };
        let lists = match layer.rows {
            None => records.as_u32s_mut(),
            Some(rows) => {
                let (lists, behind) = rest
                    .split_at_mut_checked(rows.len().saturating_mul(stride))
                    .ok_or(Error::Overflow)?;
                rest = behind;
                lists
            }
        };
        for (node, record) in lists.chunks_mut(stride).enumerate() {
            let node = node as u32;
            select.from.clear();
            layer.read(node, &mut select.from)?;
            if select.from.len() > layer.degree {
                layer.shorten(node, true, &mut select, &inserter.heuristic)?;
                select.from.clear();
                layer.read(node, &mut select.from)?;
            }
            if let Some(list) = record.get_mut(..layer.degree) {
                list.fill(NONE);
                for (place, neighbour) in list.iter_mut().zip(select.from.iter()) {
                    *place = neighbour.node;
                }
            }
            if node % 64 == 0 {
                relax()?;
            }
        }
    }
    Graph::new(shape, inserter.entry(), records, upper, &nodes)
}
