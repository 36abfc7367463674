// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! The choice of neighbours (algorithm 4 of the paper): near ones, each in another direction.
//!
//! A candidate is left out if one chosen before is nearer to it than the node itself is. The paper compares each
//! candidate with all chosen; here each chosen one is compared with all candidates that are left, in one call, which
//! are the same pairs.

use crate::heap;
use vexfs_host::mem::Vec;
use vexfs_host::Error;
use vexfs_host::Result;
use vexfs_simd::Kernels;
use vexfs_simd::Rows;

/// Candidates taken at a time: most that come late are never looked at.
const CHUNK: usize = 64;

/// The key of distance zero, below which are inner products only.
const ZERO: u32 = 0x8000_0000;

/// A node that may become a neighbour.
#[derive(Clone, Copy, Default)]
pub(super) struct Candidate {
    /// Its distance from the node whose neighbours are chosen.
    pub(super) key: u32,
    pub(super) node: u32,
    pub(super) row: u32,
    /// It was chosen together with all others that are marked so: they need no comparison.
    pub(super) settled: bool,
}

/// The memory of a choice.
#[derive(Default)]
pub(super) struct Select {
    /// The candidates, nearest first: filled by the caller.
    pub(super) from: Vec<Candidate>,
    /// The result, nearest first.
    pub(super) chosen: Vec<Candidate>,
    /// Scratch of sorting `from`.
    order: Vec<u64>,
    sorted: Vec<Candidate>,
    rest: Vec<Candidate>,
    rows: Vec<u32>,
    keys: Vec<u32>,
}

impl Select {
    /// Sorts `from`.
    pub(super) fn sort(&mut self) -> Result {
        self.order.clear();
        for (i, candidate) in self.from.iter().enumerate() {
            self.order.push(u64::from(candidate.key) << 32 | i as u64)?;
        }
        heap::sort(&mut self.order);
        self.sorted.clear();
        for entry in self.order.iter() {
            if let Some(candidate) = self.from.get(*entry as u32 as usize) {
                self.sorted.push(*candidate)?;
            }
        }
        core::mem::swap(&mut self.from, &mut self.sorted);
        Ok(())
    }

    /// Adds the nearest of those left out, until `max` are chosen.
    pub(super) fn fill(&mut self, max: usize) -> Result {
        let chosen = self.chosen.len();
        for candidate in self.from.iter() {
            if self.chosen.len() >= max {
                break;
            }
            let known = self
                .chosen
                .iter()
                .take(chosen)
                .any(|other| other.node == candidate.node);
            if !known {
                self.chosen.push(*candidate)?;
            }
        }
        Ok(())
    }

    /// Chooses at most `max` of `from`.
    pub(super) fn run(&mut self, kernels: Kernels, rows: &Rows<'_>, max: usize) -> Result {
        self.chosen.clear();
        for chunk in self.from.chunks(CHUNK) {
            self.rest.clear();
            self.rest.extend_from_slice(chunk)?;
            for i in 0..self.chosen.len() {
                if let Some(by) = self.chosen.get(i) {
                    leave_out(kernels, rows, by, &mut self.rest, &mut self.rows, &mut self.keys)?;
                }
            }
            while let Some(next) = self.rest.remove(0) {
                self.chosen.push(next)?;
                if self.chosen.len() >= max {
                    return Ok(());
                }
                leave_out(kernels, rows, &next, &mut self.rest, &mut self.rows, &mut self.keys)?;
            }
        }
        Ok(())
    }
}

/// Removes from `rest` what is nearer to `by` than to the node.
fn leave_out(
    kernels: Kernels,
    rows: &Rows<'_>,
    by: &Candidate,
    rest: &mut Vec<Candidate>,
    ids: &mut Vec<u32>,
    keys: &mut Vec<u32>,
) -> Result {
    ids.clear();
    for other in rest.iter() {
        if !(by.settled && other.settled) {
            ids.push(other.row)?;
        }
    }
    if ids.is_empty() {
        return Ok(());
    }
    keys.resize(ids.len(), 0)?;
    let misfit = |_| Error::Invalid("a row does not fit its space");
    let query = rows.query(by.row as usize).ok_or(Error::Invalid("a row is missing"))?;
    kernels.gather(&query, rows, ids, keys).map_err(misfit)?;
    let mut keys = keys.iter();
    rest.retain(|other| {
        if by.settled && other.settled {
            return true;
        }
        let key = keys.next().copied().unwrap_or(0);
        // Of equal rows one is enough: the others are found through it.
        key >= other.key && key != ZERO
    });
    Ok(())
}
