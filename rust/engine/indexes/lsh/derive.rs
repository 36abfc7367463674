// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! Parameters from a recall and the rows themselves.
//!
//! Some rows are taken as queries and their nearest rows found exactly. Many shapes of tables are then made of a sample
//! that has these nearest rows among others, and probed: which rank in the sequence of buckets a near row is found at,
//! and how many other rows come up until then, says what a shape costs at the wanted recall. The cheapest is made for
//! all rows, and its numbers of probes and of exact comparisons are raised until its own searches reach the recall.

use super::format::Derived;
use super::format::Family;
use super::format::Shape;
use super::format::BUCKET_BITS_MAX;
use super::format::FUNCTIONS_MAX;
use super::format::SKETCH_BITS;
use super::format::SKETCH_BYTES;
use super::probe::Sequence;
use super::project;
use super::project::Functions;
use super::project::Projector;
use super::project::Workspace;
use super::tables;
use super::tables::Tables;
use super::Lsh;
use crate::heap;
use crate::index::Build;
use crate::index::Index as _;
use crate::index::Nearest;
use crate::index::Scope;
use crate::index::SearchParams;
use vexfs_host::mem::Buffer;
use vexfs_host::mem::Vec;
use vexfs_host::relax;
use vexfs_host::Error;
use vexfs_host::Result;
use vexfs_simd::Element;
use vexfs_simd::Metric;
use vexfs_simd::Rows;
use vexfs_simd::Space;

/// Recall at 10, in thousandths, if none is asked for.
const RECALL: u32 = 900;
/// Rows taken as queries.
const QUERIES: usize = 96;
/// Near rows of each.
const NEAR: usize = 10;
/// Rows that shapes are tried on.
const SAMPLE: usize = 16_384;
/// Most buckets tried for a query.
const PROBES_MAX: usize = 4096;

// What steps of a search cost, in tenths of a nanosecond; measured on a 2023 x86-64 server with rows in its third-level
// cache. Only their ratios matter.
/// A bucket: its place in the sequence, its row list.
const COST_PROBE: u64 = 1000;
/// A row of a bucket, seen before or not.
const COST_ENTRY: u64 = 25;
/// A sketch in no order, or in memory's order.
const COST_SKETCH: u64 = 45;
const COST_SKETCH_SCAN: u64 = 13;
/// A full vector: so much and half as much as it has bytes.
const COST_EXACT: u64 = 200;

/// The queries and what is near them.
struct Truth {
    /// Numbers of rows that are queries.
    queries: Vec<u32>,
    /// The rows near each, [`NEAR`] a query, or fewer if there are fewer rows.
    near: Vec<u32>,
    near_each: usize,
    /// For each near row the number of rows whose sketches are at most as far away.
    ranks: Vec<u32>,
}

/// A shape with its probes and exact comparisons.
#[derive(Clone, Copy)]
struct Tuning {
    cost: u64,
    shape: Shape,
    probes: u32,
    rerank: u32,
    candidates: u32,
}

/// The quotient; of nothing, all.
fn part(total: u64, parts: usize) -> u64 {
    total.checked_div(parts as u64).unwrap_or(total)
}

/// Makes an index.
#[inline(never)] // own frame
pub(super) fn build(b: &Build<'_>) -> Result<Lsh> {
    let rows = &b.rows;
    let space = rows.space();
    let count = rows.count();
    let seed = b.params.seed;
    let total = 3 * count as u64;
    let scale = project::scale_of(&b.kernels, rows)?;
    let projector = Projector::new(&space, seed, scale)?;
    let thresholds = project::medians(&b.kernels, &projector, rows)?;
    let mut sketches = Buffer::zeroed(project::sketches_len(count)?)?;
    tables::hash_rows(
        &tables::Hashing {
            kernels: b.kernels,
            projector: &projector,
            thresholds: &thresholds,
            functions: None,
            threads: b.threads,
        },
        rows,
        &mut sketches,
        &mut [],
    )?;
    (b.progress)(count as u64, total);
    let truth = find_truth(b, &sketches)?;
    (b.progress)(2 * count as u64, total);
    let target = match b.params.recall_permille {
        0 => RECALL,
        recall => recall,
    };
    // Rows have nearer rows than queries that are none: a tenth of what is left to 1 makes up for it.
    let target = target + 1000u32.saturating_sub(target) / 10;
    let tuning = choose(b, &projector, &thresholds, &truth, target)?;
    finished(b, &tuning, scale, (&projector, thresholds, sketches), (&truth, target))
}

/// Makes the index of what was chosen, and sees to it that it reaches its target.
#[inline(never)] // own frame
fn finished(
    b: &Build<'_>,
    tuning: &Tuning,
    scale: u32,
    parts: (&Projector, Vec<i32>, Buffer),
    (truth, target): (&Truth, u32),
) -> Result<Lsh> {
    let mut lsh = hashed(b, tuning, scale, parts)?;
    raise(b, &mut lsh, truth, target)?;
    let total = 3 * b.rows.count() as u64;
    (b.progress)(total, total);
    Ok(lsh)
}

/// Hashes the rows into the tables that were chosen.
#[inline(never)] // own frame
fn hashed(
    b: &Build<'_>,
    tuning: &Tuning,
    scale: u32,
    (projector, thresholds, mut sketches): (&Projector, Vec<i32>, Buffer),
) -> Result<Lsh> {
    let rows = &b.rows;
    let (space, count, seed) = (rows.space(), rows.count(), b.params.seed);
    let mut buckets = Vec::new();
    buckets.resize(count.checked_mul(tuning.shape.tables).ok_or(Error::Overflow)?, 0u32)?;
    let functions = Functions::new(&tuning.shape, seed, &thresholds)?;
    if tuning.shape.tables > 0 {
        tables::hash_rows(
            &tables::Hashing {
                kernels: b.kernels,
                projector,
                thresholds: &thresholds,
                functions: Some(&functions),
                threads: b.threads,
            },
            rows,
            &mut sketches,
            &mut buckets,
        )?;
    }
    let derived = Derived {
        shape: tuning.shape,
        scale,
        probes: tuning.probes,
        rerank: tuning.rerank,
        candidates: tuning.candidates,
        seed,
    };
    let tables = Tables::build(&tuning.shape, count, &buckets)?;
    drop(buckets);
    Lsh::assemble(&space, derived, thresholds, sketches, tables)
}

/// Finds the rows nearest to some, and the ranks of their sketches.
#[inline(never)] // own frame
fn find_truth(b: &Build<'_>, sketches: &Buffer) -> Result<Truth> {
    const BLOCK: usize = 512;
    const GROUP: usize = 8;
    let rows = &b.rows;
    let count = rows.count();
    let wanted = QUERIES.min(count);
    let near_each = NEAR.min(count.saturating_sub(1));
    let mut truth = Truth {
        queries: Vec::with_capacity(wanted)?,
        near: Vec::with_capacity(wanted * near_each)?,
        near_each,
        ranks: Vec::with_capacity(wanted * near_each)?,
    };
    let sketch_space = Space::new(Element::Binary, Metric::Hamming, SKETCH_BITS).ok_or(Error::Overflow)?;
    let sketches = Rows::new(&sketch_space, sketches, SKETCH_BYTES, count, &[]).map_err(|_| Error::Overflow)?;
    for i in 0..wanted {
        truth.queries.push(part(i as u64 * count as u64, wanted) as u32)?;
    }
    let mut keys = Vec::new();
    keys.resize(BLOCK * GROUP, 0u32)?;
    let mut near = Vec::new();
    for group in truth.queries.chunks(GROUP) {
        let mut queries = Vec::with_capacity(GROUP)?;
        let mut nearests = Vec::with_capacity(GROUP)?;
        for row in group {
            queries.push(rows.query(*row as usize).ok_or(Error::Overflow)?)?;
            nearests.push(Nearest::new(near_each + 1, count, u32::MAX)?)?;
        }
        for first in (0..count).step_by(BLOCK) {
            let block = rows.slice(first..(first + BLOCK).min(count)).ok_or(Error::Overflow)?;
            let keys = keys.get_mut(..block.count() * queries.len()).ok_or(Error::Overflow)?;
            b.kernels.scan(&queries, &block, keys).map_err(|_| Error::Overflow)?;
            for (nearest, keys) in nearests.iter_mut().zip(keys.chunks(block.count())) {
                for (i, key) in keys.iter().enumerate() {
                    nearest.offer(*key, (first + i) as u32)?;
                }
            }
            relax()?;
        }
        for (query, nearest) in group.iter().zip(nearests) {
            near.clear();
            let found = nearest.into_sorted();
            for entry in found.iter() {
                // The query itself is among them, unless inner products put others before it.
                let row = *entry as u32;
                if row != *query && near.len() < near_each {
                    near.push(row)?;
                }
            }
            rank(b, &sketches, *query, &near, &mut keys, &mut truth.ranks)?;
            truth.near.extend_from_slice(&near)?;
        }
    }
    Ok(truth)
}

/// Adds how many sketches are nearer to the query's than those of the near rows are.
fn rank(
    b: &Build<'_>,
    sketches: &Rows<'_>,
    query: u32,
    near: &[u32],
    keys: &mut [u32],
    ranks: &mut Vec<u32>,
) -> Result {
    let query = sketches.query(query as usize).ok_or(Error::Overflow)?;
    let first = ranks.len();
    let mut own = [0; NEAR];
    let own = own.get_mut(..near.len()).ok_or(Error::Overflow)?;
    b.kernels
        .gather(&query, sketches, near, own)
        .map_err(|_| Error::Overflow)?;
    ranks.resize(first + near.len(), 0)?;
    for start in (0..sketches.count()).step_by(keys.len().max(1)) {
        let end = (start + keys.len()).min(sketches.count());
        let block = sketches.slice(start..end).ok_or(Error::Overflow)?;
        let keys = keys.get_mut(..block.count()).ok_or(Error::Overflow)?;
        b.kernels.scan(&[query], &block, keys).map_err(|_| Error::Overflow)?;
        for (rank, own) in ranks.iter_mut().skip(first).zip(own.iter()) {
            // Of those at the same distance any may come first.
            let nearer = keys.iter().filter(|key| *key <= own).count();
            *rank = rank.saturating_add(nearer as u32);
        }
        relax()?;
    }
    Ok(())
}

/// The projections of some rows.
struct Sample {
    /// For each row of the truth, queries first and then near rows, its number in the sample.
    outputs: Vec<i32>,
    rows: usize,
}

impl Sample {
    /// The projections of a row.
    fn outputs(&self, row: usize) -> &[i32] {
        let at = row * SKETCH_BITS;
        self.outputs.get(at..at + SKETCH_BITS).unwrap_or_default()
    }
}

/// Finds the cheapest shape.
#[inline(never)] // own frame
fn choose(b: &Build<'_>, projector: &Projector, thresholds: &Vec<i32>, truth: &Truth, target: u32) -> Result<Tuning> {
    let count = b.rows.count();
    let none = Shape {
        family: Family::Hyperplanes,
        tables: 0,
        functions: 1,
        bucket_bits: 1,
    };
    let exact = COST_EXACT + b.rows.space().row_bytes() as u64 / 2;
    // Without tables, every sketch is looked at: the near rows whose ranks are low enough are found.
    let mut ranks = truth.ranks.try_clone()?;
    heap::sort(&mut ranks);
    let at = (ranks.len() as u64 * u64::from(target))
        .div_ceil(1000)
        .saturating_sub(1);
    let rerank = ranks
        .get(at as usize)
        .map_or(0, |rank| rank.saturating_add(1))
        .max(NEAR as u32);
    let mut best = Tuning {
        cost: count as u64 * COST_SKETCH_SCAN + u64::from(rerank) * exact,
        shape: none,
        probes: 0,
        rerank,
        candidates: count as u32,
    };
    if count < 1024 || truth.near.is_empty() {
        return Ok(best);
    }
    let sample = project_sample(b, projector, truth)?;
    let log = count.ilog2();
    let deviation = deviation(&sample, thresholds)?;
    let mut trial = Trial {
        truth,
        sample: &sample,
        count,
        target,
        exact,
        sequence: Sequence::new(),
        visited: Vec::new(),
        marks: Vec::new(),
    };
    // From fuller buckets to emptier ones.
    for functions in [7, 5, 3, 1, 0].map(|fewer| (log - fewer).clamp(4, FUNCTIONS_MAX as u32)) {
        for tables in [8, 16] {
            if tables * functions as usize > SKETCH_BITS {
                continue;
            }
            let shape = Shape {
                family: Family::Hyperplanes,
                tables,
                functions: functions as usize,
                bucket_bits: functions,
            };
            let thorough = trial.run(b.params.seed, thresholds, &shape, &mut best)?;
            if b.rows.space().metric() != Metric::L2 || !thorough {
                continue;
            }
            for quarters in [8, 12] {
                let width = i32::try_from(deviation * quarters / 4).unwrap_or(i32::MAX).max(1);
                let shape = Shape {
                    family: Family::PStable(width),
                    bucket_bits: (log + 1).min(BUCKET_BITS_MAX),
                    ..shape
                };
                trial.run(b.params.seed, thresholds, &shape, &mut best)?;
            }
        }
    }
    Ok(best)
}

/// The median distance of projections from their medians, times 1.5: the standard deviation of a normal distribution.
fn deviation(sample: &Sample, thresholds: &[i32]) -> Result<i64> {
    let mut distances = Vec::new();
    for outputs in sample.outputs.chunks(SKETCH_BITS).step_by(16) {
        for (output, threshold) in outputs.iter().zip(thresholds).step_by(16) {
            distances.push(output.abs_diff(*threshold))?;
        }
    }
    heap::sort(&mut distances);
    let median = distances.get(distances.len() / 2).copied().unwrap_or(0);
    Ok(i64::from(median) * 3 / 2)
}

/// Projects the rows of the truth and others.
fn project_sample(b: &Build<'_>, projector: &Projector, truth: &Truth) -> Result<Sample> {
    let count = b.rows.count();
    let mut sample = Sample {
        outputs: Vec::new(),
        rows: 0,
    };
    let mut work = Workspace::new(projector, 1)?;
    let others = SAMPLE.min(count);
    let others = (0..others).map(|i| part(i as u64 * count as u64, others) as u32);
    let known = truth.queries.iter().chain(truth.near.iter()).copied();
    for row in known.chain(others) {
        let row = row as usize;
        let row = b.rows.slice(row..row + 1).ok_or(Error::Overflow)?;
        let outputs = projector.rows(&b.kernels, &row, &mut work)?;
        sample.outputs.extend_from_slice(outputs)?;
        sample.rows += 1;
        if sample.rows % 64 == 0 {
            relax()?;
        }
    }
    Ok(sample)
}

/// Trials of shapes, one after the other.
struct Trial<'a> {
    truth: &'a Truth,
    sample: &'a Sample,
    count: usize,
    target: u32,
    /// The cost of an exact comparison.
    exact: u64,
    sequence: Sequence,
    visited: Vec<u64>,
    marks: Vec<Mark>,
}

/// A shape that is tried.
struct Attempt<'a> {
    functions: &'a Functions,
    /// Those of the tables here, which are of fewer rows.
    here: &'a Functions,
    tables: &'a Tables,
    /// A query that costs more is given up.
    limit: u64,
}

/// What all queries together had done when each had looked into so many buckets.
#[derive(Clone, Copy, Default)]
struct Mark {
    entries: u64,
    candidates: u64,
}

/// Numbers of probes at which a search may end: four for each doubling.
fn grid(step: usize) -> usize {
    let (doublings, quarter) = (step / 4, step % 4);
    ((4 + quarter) << doublings) / 4
}

impl Trial<'_> {
    /// Tries a shape; whether it came near enough to the best that variants of it may be worth a try.
    fn run(&mut self, seed: u64, thresholds: &[i32], shape: &Shape, best: &mut Tuning) -> Result<bool> {
        let functions = Functions::new(shape, seed, thresholds)?;
        // As full as with all rows: hashes of p-stable functions collide by chance too.
        let sparse = part(self.count as u64, self.others()).max(1).ilog2();
        let shape_here = match shape.family {
            Family::Hyperplanes => *shape,
            Family::PStable(_) => Shape {
                bucket_bits: shape.bucket_bits.saturating_sub(sparse).max(1),
                ..*shape
            },
        };
        let here = Functions::new(&shape_here, seed, thresholds)?;
        let attempt = Attempt {
            functions: &functions,
            here: &here,
            tables: &self.fill(&here)?,
            limit: best.cost + best.cost / 2,
        };
        let mut found = Vec::new();
        found.resize(self.truth.near.len(), u32::MAX)?;
        let mut homes = Vec::new();
        homes.resize(self.truth.near_each * shape.tables, 0u32)?;
        self.visited.clear();
        self.visited.resize(self.others().div_ceil(64), 0)?;
        self.marks.clear();
        for query in 0..self.truth.queries.len() {
            self.find_homes(&functions, query, &mut homes);
            self.probe(&attempt, query, &homes, &mut found)?;
            relax()?;
        }
        self.pick(shape, &found, best)
    }

    /// Rows of the sample that are not of the truth.
    fn others(&self) -> usize {
        self.sample.rows - self.truth.queries.len() - self.truth.near.len()
    }

    /// What is counted among the others, for all rows.
    fn scaled(&self, counted: u64) -> u64 {
        part(counted.saturating_mul(self.count as u64), self.others())
    }

    /// Tables of the others.
    fn fill(&self, here: &Functions) -> Result<Tables> {
        let others = self.others();
        let known = self.sample.rows - others;
        let mut buckets = Vec::new();
        buckets.resize(others * here.shape.tables, 0u32)?;
        for (table, buckets) in buckets.chunks_mut(others.max(1)).enumerate() {
            for (i, bucket) in buckets.iter_mut().enumerate() {
                *bucket = here.bucket_of(self.sample.outputs(known + i), table);
            }
            relax()?;
        }
        Tables::build(&here.shape, others, &buckets)
    }

    /// The bucket of each row near the query in each table.
    fn find_homes(&self, functions: &Functions, query: usize, homes: &mut [u32]) {
        let first = self.truth.queries.len() + query * self.truth.near_each;
        for (i, homes) in homes.chunks_mut(functions.shape.tables).enumerate() {
            for (table, home) in homes.iter_mut().enumerate() {
                *home = functions.bucket_of(self.sample.outputs(first + i), table);
            }
        }
    }

    /// Looks into one bucket after the other for a query, until that costs too much: `found` gets for each near row the
    /// number of the probe that finds it, and the marks what was done until then.
    fn probe(&mut self, attempt: &Attempt<'_>, query: usize, homes: &[u32], found: &mut [u32]) -> Result {
        let Attempt { functions, here, .. } = attempt;
        let first = query * self.truth.near_each;
        self.sequence.start(here, self.sample.outputs(query))?;
        self.visited.fill(0);
        let (mut entries, mut candidates) = (0u64, 0u64);
        let mut step = 0;
        for probe in 1..=PROBES_MAX {
            let Some((table, hash)) = self.sequence.next()? else {
                break;
            };
            let bucket = functions.bucket(hash);
            for (i, homes) in homes.chunks(functions.shape.tables).enumerate() {
                if homes.get(table) == Some(&bucket) {
                    if let Some(found) = found.get_mut(first + i) {
                        *found = (*found).min(probe as u32);
                    }
                }
            }
            let rows = attempt.tables.bucket(table, here.bucket(hash));
            entries += rows.len() as u64;
            for row in rows {
                if let Some(word) = self.visited.get_mut(*row as usize / 64) {
                    candidates += *word >> (row % 64) & 1 ^ 1;
                    *word |= 1 << (row % 64);
                }
            }
            while grid(step) <= probe {
                // The first query makes the marks; what a later one does not reach goes.
                if query == 0 {
                    self.marks.resize(step + 1, Mark::default())?;
                }
                if let Some(mark) = self.marks.get_mut(step) {
                    mark.entries += entries;
                    mark.candidates += candidates;
                }
                step += 1;
            }
            let (entries, candidates) = (self.scaled(entries), self.scaled(candidates));
            if probe as u64 * COST_PROBE + entries * COST_ENTRY + candidates * COST_SKETCH > attempt.limit {
                break;
            }
        }
        self.marks.truncate(step);
        Ok(())
    }

    /// Compares all numbers of probes and of exact comparisons of a shape with the best tuning.
    fn pick(&self, shape: &Shape, found: &[u32], best: &mut Tuning) -> Result<bool> {
        let queries = self.truth.queries.len();
        let needed = (found.len() as u64 * u64::from(self.target)).div_ceil(1000) as usize;
        let mut near_best = false;
        let mut ranks = Vec::with_capacity(found.len())?;
        for (step, mark) in self.marks.iter().enumerate() {
            let probes = grid(step) as u32;
            ranks.clear();
            for (found, rank) in found.iter().zip(self.truth.ranks.iter()) {
                if *found <= probes {
                    ranks.push(*rank)?;
                }
            }
            if ranks.len() < needed || needed == 0 {
                continue;
            }
            heap::sort(&mut ranks);
            let rerank = ranks
                .get(needed - 1)
                .map_or(0, |rank| rank.saturating_add(1))
                .max(NEAR as u32);
            let scaled = |n: u64| self.scaled(part(n, queries));
            let cost = u64::from(probes) * COST_PROBE
                + scaled(mark.entries) * COST_ENTRY
                + scaled(mark.candidates) * COST_SKETCH
                + u64::from(rerank) * self.exact;
            near_best |= cost < best.cost.saturating_mul(2);
            if cost < best.cost {
                *best = Tuning {
                    cost,
                    shape: *shape,
                    probes,
                    rerank,
                    candidates: u32::try_from(scaled(mark.candidates)).unwrap_or(u32::MAX),
                };
            }
        }
        Ok(near_best)
    }
}

/// Raises the numbers of probes and exact comparisons until searches for the queries reach the recall.
#[inline(never)] // own frame
fn raise(b: &Build<'_>, lsh: &mut Lsh, truth: &Truth, target: u32) -> Result {
    const TRIES: usize = 24;
    let scope = Scope {
        kernels: b.kernels,
        rows: b.rows,
        accept: None,
        stop: &|| false,
    };
    // Each query finds itself besides: one near row less is looked for.
    let wanted = truth.queries.len().saturating_mul(truth.near_each.saturating_sub(1));
    let needed = (wanted as u64 * u64::from(target)).div_ceil(1000);
    for _ in 0..TRIES {
        let mut found = 0u64;
        for (query, near) in truth.queries.iter().zip(truth.near.chunks(truth.near_each.max(1))) {
            let query = b.rows.query(*query as usize).ok_or(Error::Overflow)?;
            let mut nearest = Nearest::new(truth.near_each.max(1), lsh.rows, u32::MAX)?;
            let params = SearchParams::default();
            lsh.search(&scope, &query, &params, &mut nearest)?;
            let others = near.iter().take(truth.near_each.saturating_sub(1));
            found += others.filter(|row| nearest.contains(**row)).count() as u64;
            relax()?;
        }
        if found >= needed {
            break;
        }
        lsh.derived.probes = lsh.derived.probes.saturating_add(lsh.derived.probes / 6 + 1);
        lsh.derived.candidates = lsh.derived.candidates.saturating_add(lsh.derived.candidates / 8);
        lsh.derived.rerank = lsh.derived.rerank.saturating_add(lsh.derived.rerank / 8 + 1);
    }
    Ok(())
}
