// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! One search: buckets, then sketches, then full vectors.
//!
//! The rows of the probed buckets are candidates; those whose sketches differ in the fewest bits from the query's are
//! compared by their full vectors (Dong et al.: Asymmetric Distance Estimation with Sketches, SIGIR 2008, filter so
//! too).

use super::format::SKETCH_BITS;
use super::probe::Sequence;
use super::project::sketch;
use super::project::Workspace;
use super::Lsh;
use crate::index::Cost;
use crate::index::Nearest;
use crate::index::Scope;
use crate::index::SearchParams;
use crate::pool::bytes_of;
use crate::pool::Weighed;
use vexfs_host::mem::Box;
use vexfs_host::mem::Vec;
use vexfs_host::relax;
use vexfs_host::Error;
use vexfs_host::Result;
use vexfs_simd::Metric;
use vexfs_simd::Query;
use vexfs_simd::Which;
use vexfs_simd::SKETCH_BYTES;

/// Sketches compared at once.
const BATCH: usize = 512;
/// Full vectors compared at once.
const EXACT_BATCH: usize = 32;
/// Work between two cooperative points, in sketches; a bucket is some [`BUCKET_WORK`] of them.
const WORK: usize = 4096;
const BUCKET_WORK: usize = 16;
/// A probe sequence that finds too few rows is given up after this many times the probes asked for, for a look at all
/// sketches; no sequence goes on for longer than that look would take.
const PATIENCE: usize = 16;

/// Memory that searches hand on to each other.
pub(super) struct Scratch {
    pub(super) work: Workspace,
    pub(super) sequence: Box<Sequence>,
    /// The bits of the candidates.
    visited: Vec<u64>,
    candidates: Vec<u32>,
    selected: Box<Selection>,
    keys: Vec<u32>,
    rows: Vec<u32>,
    ids: Vec<u32>,
}

impl Scratch {
    #[inline(never)] // own frame
    pub(super) fn new(lsh: &Lsh) -> Result<Self> {
        let mut scratch = Self {
            work: Workspace::new(&lsh.projector, 1)?,
            sequence: Box::new(Sequence::new())?,
            visited: Vec::new(),
            candidates: Vec::new(),
            selected: Box::new(Selection::new()?)?,
            keys: Vec::new(),
            rows: Vec::new(),
            ids: Vec::with_capacity(BATCH)?,
        };
        scratch.visited.resize(lsh.rows.div_ceil(64), 0)?;
        scratch.keys.resize(BATCH, 0)?;
        scratch.rows.resize(BATCH, 0)?;
        Ok(scratch)
    }
}

impl Weighed for Scratch {
    fn memory_bytes(&self) -> u64 {
        self.work.memory_bytes()
            + self.sequence.memory_bytes()
            + bytes_of(&self.visited)
            + bytes_of(&self.candidates)
            + self.selected.memory_bytes()
            + bytes_of(&self.keys)
            + bytes_of(&self.rows)
            + bytes_of(&self.ids)
    }
}

/// Notes a row; whether it was not there yet.
#[inline]
fn visit(visited: &mut [u64], row: u32) -> bool {
    match visited.get_mut(row as usize / 64) {
        Some(word) => {
            let bit = 1 << (row % 64);
            let new = *word & bit == 0;
            *word |= bit;
            new
        }
        None => false,
    }
}

/// The rows of the fewest differing bits among those offered.
///
/// # Invariants
///
/// `counts[d]` rows at distance `d` were offered since the start, `within` of them at `cutoff` or less; those are in
/// `rows`.
struct Selection {
    rows: Vec<(u16, u32)>,
    counts: Vec<u32>,
    cutoff: usize,
    within: usize,
    wanted: usize,
}

impl Selection {
    /// Bytes of memory.
    pub(crate) fn memory_bytes(&self) -> u64 {
        bytes_of(&self.rows) + bytes_of(&self.counts)
    }

    #[inline(never)] // own frame
    fn new() -> Result<Self> {
        let mut counts = Vec::new();
        counts.resize(SKETCH_BITS + 1, 0)?;
        Ok(Self {
            rows: Vec::new(),
            counts,
            cutoff: SKETCH_BITS,
            within: 0,
            wanted: 1,
        })
    }

    fn start(&mut self, wanted: usize) {
        self.rows.clear();
        self.counts.fill(0);
        self.cutoff = SKETCH_BITS;
        self.within = 0;
        self.wanted = wanted.max(1);
    }

    #[inline]
    fn offer(&mut self, distance: u32, row: u32) -> Result {
        let distance = (distance as usize).min(SKETCH_BITS);
        if distance > self.cutoff {
            return Ok(());
        }
        self.rows.push((distance as u16, row))?;
        if let Some(count) = self.counts.get_mut(distance) {
            *count += 1;
        }
        self.within += 1;
        while let Some(last) = self.counts.get(self.cutoff).map(|last| *last as usize) {
            if self.cutoff == 0 || self.within - last < self.wanted {
                break;
            }
            self.within -= last;
            self.cutoff -= 1;
        }
        Ok(())
    }

    /// Leaves the wanted number of rows; of those at the cutoff, the ones that came first.
    fn finish(&mut self) {
        let cutoff = self.cutoff;
        let at_cutoff = self.counts.get(cutoff).map_or(0, |n| *n as usize);
        let mut room = self.wanted.saturating_sub(self.within.saturating_sub(at_cutoff));
        self.rows.retain(|(distance, _)| {
            let distance = usize::from(*distance);
            if distance == cutoff && room > 0 {
                room -= 1;
                return true;
            }
            distance < cutoff
        });
    }
}

impl Lsh {
    /// Makes the projections of a query ready in `work`.
    pub(super) fn project_query(&self, scope: &Scope<'_>, query: &Query<'_>, work: &mut Workspace) -> Result {
        self.projector.query(&scope.kernels, query, work)?;
        if self.space.metric() == Metric::Ip {
            // Taking a constant off all rows changes no order of inner products; thresholds are for rows only.
            for (output, threshold) in work.outputs.iter_mut().zip(self.thresholds.iter()) {
                *output = output.saturating_add(*threshold);
            }
        }
        Ok(())
    }

    pub(super) fn search_with(
        &self,
        scope: &Scope<'_>,
        query: &Query<'_>,
        params: &SearchParams,
        nearest: &mut Nearest,
        scratch: &mut Scratch,
    ) -> Result<Cost> {
        let mut cost = Cost::default();
        let k = nearest.k();
        let allowed = scope.accept.map_or(self.rows, |accept| accept.count());
        let rerank = match params.rerank {
            0 => (self.derived.rerank as usize).saturating_mul(k.max(10)) / 10,
            times => k.saturating_mul(times as usize),
        };
        let rerank = rerank.clamp(k, self.rows.max(k));
        let probes = match params.nprobe {
            0 => self.derived.probes,
            probes => probes,
        } as usize;
        // A filter must not leave fewer candidates than a search without one has.
        let needed = match scope.accept {
            Some(_) => rerank.max(self.derived.candidates as usize),
            None => rerank,
        };
        self.project_query(scope, query, &mut scratch.work)?;
        let outputs = scratch.work.outputs.get(..SKETCH_BITS).unwrap_or_default();
        let mut own = [0; SKETCH_BYTES];
        sketch(outputs, &self.thresholds, &mut own);
        scratch.selected.start(rerank);
        clear(&mut scratch.visited, &mut scratch.candidates);

        // Looking into so many buckets would be more work than looking at all sketches, which finds no less.
        let most = (self.rows / BUCKET_WORK).max(self.derived.probes as usize);
        let mut all = self.tables.shape.tables == 0 || allowed <= needed.saturating_mul(2) || probes > most;
        if !all {
            let patience = probes.saturating_mul(PATIENCE).min(most);
            all = !self.probe(scope, probes, patience, needed, scratch, &mut cost)?;
        }
        let near = Near {
            index: self,
            scope,
            own: &own,
        };
        match all {
            true => near.see_all(scratch, &mut cost)?,
            false => near.see_candidates(scratch, &mut cost)?,
        }
        scratch.selected.finish();
        rank(scope, query, scratch, nearest, &mut cost)?;
        Ok(cost)
    }

    /// Collects the rows of buckets; whether they were enough.
    fn probe(
        &self,
        scope: &Scope<'_>,
        probes: usize,
        patience: usize,
        needed: usize,
        scratch: &mut Scratch,
        cost: &mut Cost,
    ) -> Result<bool> {
        let Scratch {
            work,
            sequence,
            visited,
            candidates,
            ..
        } = scratch;
        let outputs = work.outputs.get(..SKETCH_BITS).unwrap_or_default();
        sequence.start(&self.functions, outputs)?;
        let mut since = 0;
        let mut done = 0usize;
        let enough = loop {
            if done >= probes && candidates.len() >= needed {
                break true;
            }
            if done >= patience {
                break false;
            }
            let Some((table, hash)) = sequence.next()? else {
                break candidates.len() >= needed;
            };
            done += 1;
            let rows = self.tables.bucket(table, self.functions.bucket(hash));
            candidates.reserve(rows.len())?;
            for row in rows {
                if scope.accepts(*row) && visit(visited, *row) {
                    candidates.push(*row)?;
                }
            }
            since += rows.len() + BUCKET_WORK;
            if since >= WORK {
                since = 0;
                let pause = relax();
                cost.stopped |= (scope.stop)();
                if pause.is_err() || cost.stopped {
                    // With what there is; a signal ends it at the next cooperative point.
                    break true;
                }
            }
        };
        cost.hops = done as u64;
        Ok(enough)
    }
}

/// Rows near a query by their sketches.
struct Near<'a> {
    index: &'a Lsh,
    scope: &'a Scope<'a>,
    /// The sketch of the query.
    own: &'a [u8; SKETCH_BYTES],
}

impl Near<'_> {
    /// Selects among some rows.
    fn see(
        &self,
        which: Which<'_>,
        selected: &mut Selection,
        (rows, keys): (&mut [u32], &mut [u32]),
        cost: &mut Cost,
    ) -> Result {
        let limit = selected.cutoff as u32;
        let found = self
            .scope
            .kernels
            .near_sketches(self.own, &self.index.sketches, which, limit, rows, keys)
            .map_err(|_| Error::Overflow)?;
        cost.codes += match which {
            Which::Range(from, to) => to - from,
            Which::Ids(ids) => ids.len(),
        } as u64;
        for (row, distance) in rows.iter().zip(keys.iter()).take(found) {
            selected.offer(*distance, *row)?;
        }
        Ok(())
    }

    /// Selects among the rows of buckets.
    fn see_candidates(&self, scratch: &mut Scratch, cost: &mut Cost) -> Result {
        let Scratch {
            candidates,
            selected,
            keys,
            rows,
            ..
        } = scratch;
        let mut work = 0;
        for batch in candidates.chunks(BATCH) {
            self.see(Which::Ids(batch), selected, (rows, keys), cost)?;
            work += batch.len();
            if work >= WORK {
                work = 0;
                relax()?;
            }
        }
        Ok(())
    }

    /// Selects among all rows that may be found.
    fn see_all(&self, scratch: &mut Scratch, cost: &mut Cost) -> Result {
        let Scratch {
            selected,
            keys,
            rows,
            ids,
            ..
        } = scratch;
        let count = self.index.rows;
        let mut marked = self.scope.accept.map(|accept| accept.iter());
        let (mut at, mut work) = (0, 0);
        while !cost.stopped {
            let seen = match &mut marked {
                Some(marked) => {
                    ids.clear();
                    for row in marked.take(BATCH) {
                        ids.push(row)?;
                    }
                    self.see(Which::Ids(ids), selected, (rows, keys), cost)?;
                    ids.len()
                }
                None => {
                    let end = (at + BATCH).min(count);
                    self.see(Which::Range(at, end), selected, (rows, keys), cost)?;
                    end - at
                }
            };
            at += seen;
            work += seen;
            if seen == 0 || marked.is_none() && at == count {
                break;
            }
            if work >= WORK {
                work = 0;
                relax()?;
                cost.stopped |= (self.scope.stop)();
            }
        }
        Ok(())
    }
}

/// Compares the selected rows exactly.
fn rank(scope: &Scope<'_>, query: &Query<'_>, scratch: &mut Scratch, nearest: &mut Nearest, cost: &mut Cost) -> Result {
    let Scratch {
        selected, keys, ids, ..
    } = scratch;
    for batch in selected.rows.chunks(EXACT_BATCH) {
        ids.clear();
        for (_, row) in batch {
            ids.push(*row)?;
        }
        let keys = keys.get_mut(..ids.len()).ok_or(Error::Overflow)?;
        scope
            .kernels
            .gather(query, &scope.rows, ids, keys)
            .map_err(|_| Error::Overflow)?;
        cost.distances += ids.len() as u64;
        for (row, key) in ids.iter().zip(keys.iter()) {
            nearest.offer(*key, *row)?;
        }
        relax()?;
    }
    Ok(())
}

/// Clears what the search before visited, bit by bit unless that is more work than all at once.
fn clear(visited: &mut [u64], candidates: &mut Vec<u32>) {
    if candidates.len() > visited.len() / 4 {
        visited.fill(0);
    } else {
        for row in candidates.iter() {
            if let Some(word) = visited.get_mut(*row as usize / 64) {
                *word = 0;
            }
        }
    }
    candidates.clear();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_selection_keeps_what_sorting_keeps() {
        let mut random = crate::random::Random(3);
        for wanted in [1, 10, 100, 5000] {
            let mut selection = Selection::new().unwrap();
            selection.start(wanted);
            let mut all = std::vec::Vec::new();
            for row in 0..3000 {
                let distance = (random.next() % 200) as u32;
                selection.offer(distance, row).unwrap();
                all.push((distance as u16, row));
            }
            selection.finish();
            all.sort();
            all.truncate(wanted);
            let mut kept = selection.rows.to_vec();
            kept.sort();
            assert_eq!(kept, all);
        }
    }
}
