// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! Making every row reachable from the entry.
//!
//! The heuristic may leave a row that nobody has as a neighbour, most often one of many equal rows. Such a row is hung
//! to a near row that is reachable: in a free place, or in the place of that row's last neighbour, which the hung row
//! takes over.

use super::layout::Graph;
use super::layout::NONE;
use super::measure::Full;
use super::measure::Measure as _;
use super::walk::Walk;
use crate::bits::Bits;
use crate::index::Build;
use crate::index::Cost;
use vexfs_host::mem::Vec;
use vexfs_host::relax;
use vexfs_host::Error;
use vexfs_host::Result;

/// Near rows that are looked at for a free place.
const WIDTH: usize = 32;

/// Rows expanded between two cooperative points.
const ROWS: usize = 1024;

/// Marks what can be reached from the rows in `open`.
fn spread(graph: &Graph, reached: &mut Bits, open: &mut Vec<u32>) -> Result {
    let base = graph.base();
    let mut steps = 0usize;
    while let Some(row) = open.pop() {
        for link in base.list(row).iter().take_while(|link| **link != NONE) {
            if !reached.get(*link) {
                reached.set(*link);
                open.push(*link)?;
            }
        }
        steps = steps.wrapping_add(1);
        if steps % ROWS == 0 {
            relax()?;
        }
    }
    Ok(())
}

/// Makes all rows reachable at level 0.
#[inline(never)] // own frame
pub(super) fn connect(b: &Build<'_>, graph: &mut Graph) -> Result {
    let mut reached = Bits::new(graph.count)?;
    let mut open = Vec::with_capacity(graph.count.min(4096))?;
    reached.set(graph.entry);
    open.push(graph.entry)?;
    spread(graph, &mut reached, &mut open)?;
    if reached.count() == graph.count {
        return Ok(());
    }
    let mut walk = Walk::new(graph.count, graph.shape.degree(0))?;
    for row in 0..graph.count as u32 {
        if reached.get(row) {
            continue;
        }
        hang(b, graph, &mut walk, row)?;
        reached.set(row);
        open.push(row)?;
        spread(graph, &mut reached, &mut open)?;
        relax()?;
    }
    Ok(())
}

/// Makes an unreachable row the neighbour of a reachable one.
fn hang(b: &Build<'_>, graph: &mut Graph, walk: &mut Walk, row: u32) -> Result {
    let measure = Full {
        kernels: b.kernels,
        query: b.rows.query(row as usize).ok_or(Error::Invalid("a row is missing"))?,
        rows: b.rows,
    };
    let mut key = [0];
    measure.keys(&[graph.entry], &mut key)?;
    let [key] = key;
    let from = (key, graph.entry);
    walk.run(&graph.base(), &measure, WIDTH, from, &|| false, &mut Cost::default())?;
    let near = |(_, near): (u32, u32)| near;
    let free = |near: &u32| graph.base().list(*near).last() == Some(&NONE);
    let roomy = walk.beam.iter().map(near).find(free);
    let Some(by) = roomy.or_else(|| walk.beam.iter().map(near).next()) else {
        return Ok(());
    };
    let place = |list: &mut [u32]| list.iter().position(|link| *link == NONE).unwrap_or(list.len() - 1);
    let given_up = match graph.list_mut(by) {
        Some(list) if !list.is_empty() => {
            let at = place(list);
            list.get_mut(at).map(|link| core::mem::replace(link, row))
        }
        _ => None,
    };
    if let (Some(other), Some(list)) = (given_up.filter(|link| *link != NONE), graph.list_mut(row)) {
        if !list.contains(&other) && !list.is_empty() {
            let at = place(list);
            if let Some(link) = list.get_mut(at) {
                *link = other;
            }
        }
    }
    Ok(())
}
